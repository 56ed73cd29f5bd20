"""The SRTP benchmark's report."""

from __future__ import annotations

import json

from triortc.bench.srtp import measure
from triortc.engine.srtp import PROFILES


def test_the_report_names_machine_versions_and_every_profile_and_is_json() -> None:
    report = json.loads(json.dumps(measure(packet_bytes=200, packets=5, rounds=2)))
    assert {"machine", "processor", "system", "python", "cryptography", "openssl"} <= report.keys()
    assert [entry["profile"] for entry in report["profiles"]] == [profile.name for profile in PROFILES]
    assert all(entry["protect_ns"] > 0 and entry["unprotect_ns"] > 0 for entry in report["profiles"])
    assert all(entry["dropped"] == 0 for entry in report["profiles"])
