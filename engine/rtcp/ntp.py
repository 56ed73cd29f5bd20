"""NTP timestamps of RTCP.

32 bits of seconds since 1900, 32 bits of fraction (RFC 3550 section 4, RFC 5905 section 6).
"""

from __future__ import annotations

from math import floor
from typing import Final

__all__ = ["NTP_UNIX_OFFSET_S", "compact_to_seconds", "middle_32", "ntp_to_unix", "seconds_to_compact", "unix_to_ntp"]

NTP_UNIX_OFFSET_S: Final = 2_208_988_800
_ERA_S: Final = 1 << 32
_FIRST_UNIX_SECOND_BIT: Final = 1 << 31


def unix_to_ntp(unix_s: float) -> int:
    """Return Unix time in seconds as a 64-bit NTP timestamp; 7 February 2036 wraps it into era 1."""
    seconds = floor(unix_s)
    fraction = int((unix_s - seconds) * _ERA_S)
    return (((seconds + NTP_UNIX_OFFSET_S) % _ERA_S) << 32) | fraction


def ntp_to_unix(ntp_timestamp: int) -> float:
    """Return a 64-bit NTP timestamp as Unix time in seconds.

    Seconds with a clear top bit are of era 1, which is right from 1968 to 2104 (RFC 4330 section 3).
    """
    seconds = ntp_timestamp >> 32
    if seconds < _FIRST_UNIX_SECOND_BIT:
        seconds += _ERA_S
    return seconds - NTP_UNIX_OFFSET_S + (ntp_timestamp & 0xFFFFFFFF) / _ERA_S


def middle_32(ntp_timestamp: int) -> int:
    """Return the middle 32 bits of an NTP timestamp, the form of LSR and DLSR: units of 1/65536 s (RFC 3550 4)."""
    return (ntp_timestamp >> 16) & 0xFFFFFFFF


def seconds_to_compact(duration_s: float) -> int:
    """Return a duration in seconds in units of 1/65536 s, clamped to 32 bits."""
    return min(max(int(duration_s * 65536), 0), 0xFFFFFFFF)


def compact_to_seconds(compact: int) -> float:
    """Return units of 1/65536 s in seconds."""
    return compact / 65536
