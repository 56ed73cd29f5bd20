"""The SRTP benchmark's figures."""

from __future__ import annotations

import json

from triortc.bench.srtp import measure
from triortc.engine.srtp import PROFILES


def test_every_profile_is_measured_and_no_packet_is_dropped() -> None:
    figures = json.loads(json.dumps(measure(packet_bytes=200, packets=5, rounds=2)))
    assert [entry["profile"] for entry in figures] == [profile.name for profile in PROFILES]
    assert all(entry["protect_ns"] > 0 and entry["unprotect_ns"] > 0 for entry in figures)
    assert all(entry["dropped"] == 0 for entry in figures)
