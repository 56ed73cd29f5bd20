"""RFC 3551 section 4.5.14: PCMU and PCMA."""

from __future__ import annotations

import pytest

from triortc.codecs.payload import g711
from triortc.errors import ConfigurationError


def test_samples_are_cut_without_a_gap_and_joined_again() -> None:
    samples = bytes(range(250)) * 2
    payloads = g711.G711Packetizer().packetize(samples, 160)
    assert [g711.duration_samples(payload) for payload in payloads] == [160, 160, 160, 20]
    assert g711.G711Depacketizer().depacketize(payloads) == samples


def test_every_payload_stands_alone() -> None:
    depacketizer = g711.G711Depacketizer()
    assert depacketizer.is_frame_start(b"\xff")
    assert depacketizer.is_keyframe(b"\xff")
    assert not depacketizer.is_frame_start(b"")
    assert not depacketizer.is_keyframe(b"")
    assert depacketizer.depacketize([]) is None
    assert depacketizer.depacketize([b""]) is None


def test_no_room_for_a_sample_raises() -> None:
    with pytest.raises(ConfigurationError):
        g711.packetize(b"\xff", 0)
