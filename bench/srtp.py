"""What SRTP costs: nanoseconds to protect and to unprotect one packet, for every profile."""

from __future__ import annotations

import time
from typing import Any, TypeAlias

from triortc.engine.srtp import PROFILES, SrtpInbound, SrtpOutbound, SrtpProfile

__all__ = ["measure"]

Figures: TypeAlias = dict[str, Any]

_SSRC = 0x5EED
_HEADER_BYTES = 12


def _measure_profile(profile: SrtpProfile, packet_bytes: int, packets: int, rounds: int) -> Figures:
    """The best of ``rounds``: noise only ever adds."""
    key, salt = bytes(range(profile.key_bytes)), bytes(range(profile.salt_bytes))
    outbound, inbound = SrtpOutbound(profile, key, salt), SrtpInbound(profile, key, salt)
    payload = bytes(packet_bytes - _HEADER_BYTES - profile.rtp_tag_bytes)
    prefix, suffix = b"\x80\x60", bytes(4) + _SSRC.to_bytes(4, "big")
    buffers = [memoryview(bytearray(packet_bytes)) for _ in range(packets)]
    plain = memoryview(bytearray(packet_bytes))
    protect_ns, unprotect_ns = [], []
    for turn in range(rounds):
        numbers = [(turn * packets + n) & 0xFFFF for n in range(packets)]
        headers = [prefix + number.to_bytes(2, "big") + suffix for number in numbers]
        start = time.perf_counter_ns()
        for number, header, out in zip(numbers, headers, buffers, strict=True):
            outbound.protect_rtp(header, number, _SSRC, payload, out)
        middle = time.perf_counter_ns()
        for number, packet in zip(numbers, buffers, strict=True):
            inbound.unprotect_rtp(packet, _HEADER_BYTES, number, _SSRC, plain)
        end = time.perf_counter_ns()
        protect_ns.append((middle - start) / packets)
        unprotect_ns.append((end - middle) / packets)
    dropped = inbound.dropped_authentication + inbound.dropped_malformed + inbound.dropped_replay
    return {
        "what": "srtp",
        "profile": profile.name,
        "packet_bytes": packet_bytes,
        "protect_ns": min(protect_ns),
        "unprotect_ns": min(unprotect_ns),
        "dropped": dropped,
    }


def measure(*, packet_bytes: int = 1200, packets: int = 200, rounds: int = 100) -> list[Figures]:
    """Measure every profile on one core.

    Arguments:
        packet_bytes: size of the protected packet, header and tag included.
        packets: how many are worked on in one go; 200 fit in the cache.
        rounds: how often; the best round counts.

    Returns:
        Nanoseconds per packet for each profile.
    """
    return [_measure_profile(profile, packet_bytes, packets, rounds) for profile in PROFILES]
