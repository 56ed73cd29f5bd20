"""Of which protocol a datagram is, by its first bytes (RFC 7983, RFC 5761)."""

from __future__ import annotations

from typing import Final

__all__ = ["SHORTEST_RTCP_BYTES", "is_rtcp"]

#: Shorter datagrams have no numbers in a batch's heads.
SHORTEST_RTCP_BYTES: Final = 12


def is_rtcp(first_word: int) -> bool:
    """Whether a datagram's first 16 bits are those of RTCP (RFC 5761 section 4)."""
    return first_word >> 14 == 2 and 192 <= first_word & 0xFF <= 223
