"""RFC 6716 section 3 and RFC 7587: framing and durations of Opus packets."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from triortc.codecs.payload import opus
from triortc.errors import ConfigurationError

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "opus_toc.json").read_text())


@pytest.mark.parametrize("vector", VECTORS["vectors"], ids=lambda vector: f"config_{vector['config']}")
def test_rfc6716_table_2_configuration(vector: dict[str, Any]) -> None:
    toc = vector["config"] << 3
    assert opus.frame_samples(toc) == vector["frame_ms"] * 48
    packet = opus.parse_packet(bytes((toc, 0)))
    assert packet is not None
    assert (packet.mode, packet.bandwidth) == (vector["mode"], vector["bandwidth"])


@pytest.mark.parametrize("vector", VECTORS["packets"], ids=lambda vector: vector["name"])
def test_rfc6716_3_2_packet_vector(vector: dict[str, Any]) -> None:
    data = bytes.fromhex(vector["packet"])
    packet = opus.parse_packet(data)
    depacketizer = opus.OpusDepacketizer()
    if vector["expect"] == "reject":
        assert packet is None
        assert depacketizer.depacketize([data]) is None
        return
    assert packet is not None
    expect = vector["expect"]
    assert len(packet.frames) == expect["frames"]
    assert packet.duration_samples == expect["duration_ms"] * 48 == opus.duration_samples(data)
    assert [end - start for start, end in packet.frames] == expect["sizes"]
    assert packet.stereo == expect["stereo"]
    assert depacketizer.depacketize([data]) == data
    assert depacketizer.is_frame_start(data)
    assert depacketizer.is_keyframe(data)


def test_rfc6716_3_4_r2_a_frame_is_at_most_1275_bytes() -> None:
    assert opus.parse_packet(b"\x78" + bytes(1275)) is not None
    assert opus.parse_packet(b"\x78" + bytes(1276)) is None


@pytest.mark.parametrize("data", ["7b43ff", "7b43", "7b82fc", "7bc2", "7a", "7afc", "7a05aa", "7b41ff0a61"])
def test_rfc6716_3_4_sizes_that_overrun_are_rejected(data: str) -> None:
    assert opus.parse_packet(bytes.fromhex(data)) is None


def test_padding_of_more_than_254_bytes_is_read() -> None:
    packet = opus.parse_packet(b"\x7b\x41\xff\x01" + b"abc" + bytes(255))
    assert packet is not None
    assert packet.frames == ((4, 7),)


def test_rfc7587_4_2_one_packet_is_one_payload() -> None:
    packetizer = opus.OpusPacketizer()
    assert packetizer.packetize(b"\x78abc", 1200) == [b"\x78abc"]
    assert packetizer.packetize(b"", 1200) == []
    assert opus.OpusDepacketizer().depacketize([b"\x78a", b"\x78b"]) is None
    with pytest.raises(ConfigurationError, match="bitrate"):
        packetizer.packetize(bytes(100), 99)


@pytest.mark.parametrize("stereo", [False, True])
def test_silence_is_a_packet_of_20_ms(stereo: bool) -> None:
    packet = opus.parse_packet(opus.silence(stereo=stereo))
    assert packet is not None
    assert (packet.duration_samples, packet.stereo) == (960, stereo)
