"""What SRTP costs: nanoseconds to protect and to unprotect one packet, for every profile."""

from __future__ import annotations

import json
import platform
import time
from typing import TypeAlias

import cryptography
from cryptography.hazmat.backends.openssl import backend

from triortc.engine.srtp import PROFILES, SrtpInbound, SrtpOutbound, SrtpProfile

__all__ = ["measure"]

Result: TypeAlias = dict[str, object]

_SSRC = 0x5EED
_HEADER_BYTES = 12


def _measure_profile(profile: SrtpProfile, packet_bytes: int, packets: int, rounds: int) -> Result:
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
        "profile": profile.name,
        "protect_ns": round(min(protect_ns)),
        "unprotect_ns": round(min(unprotect_ns)),
        "dropped": dropped,
    }


def measure(*, packet_bytes: int = 1200, packets: int = 200, rounds: int = 100) -> Result:
    """Measure every profile on one core.

    Arguments:
        packet_bytes: size of the protected packet, header and tag included.
        packets: how many are worked on in one go; 200 fit in the cache.
        rounds: how often; the best round counts.

    Returns:
        Machine, versions and, per profile, nanoseconds per packet; ready for ``json.dumps``.
    """
    return {
        "benchmark": "srtp",
        "packet_bytes": packet_bytes,
        "machine": platform.machine(),
        "processor": _processor(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "cryptography": cryptography.__version__,
        "openssl": backend.openssl_version_text(),
        "profiles": [_measure_profile(profile, packet_bytes, packets, rounds) for profile in PROFILES],
    }


def _processor() -> str:
    """The processor's name, where the system tells it."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    except OSError:
        return platform.processor()
    return names[0] if names else platform.processor()


if __name__ == "__main__":
    print(json.dumps(measure(), indent=2))
