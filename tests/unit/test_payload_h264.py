"""RFC 6184: single NAL units, STAP-A, FU-A against vectors; parameter sets."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from triortc.codecs.payload import h264
from triortc.codecs.payload.h264_sps import parse_sps
from triortc.errors import ConfigurationError

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "h264.json").read_text())
SPS = bytes.fromhex("6742c01fd900a0 0b74 0440 0003 0004 0000 0300 f03c 60c9 20".replace(" ", ""))
PPS = bytes.fromhex("68cb83cb20")
HIGH_SPS = bytes.fromhex("67640020accac05005bb0169e0000003002000000c9c4c000432380008647c12401cb1c31380")


def unit(header: int, size: int) -> bytes:
    """A NAL unit without anything that looks like a start code; its slice begins at macroblock 0."""
    return bytes((header, 0x88)) + bytes(1 + index % 255 for index in range(size - 2))


def annex_b(*units: bytes) -> bytes:
    return b"".join(h264.START_CODE + part for part in units)


@pytest.mark.parametrize("vector", VECTORS["vectors"], ids=lambda vector: vector["name"])
def test_rfc6184_5_payload_vector(vector: dict[str, Any]) -> None:
    payloads = [bytes.fromhex(payload) for payload in vector["payloads"]]
    frame = h264.H264Depacketizer().depacketize(payloads)
    if vector.get("expect") == "reject":
        assert frame is None
    else:
        assert frame == annex_b(*map(bytes.fromhex, vector["nal_units"]))


FRAMES = {
    "idr_with_parameter_sets": annex_b(SPS, PPS, unit(0x65, 5000)),
    "small_idr": annex_b(SPS, PPS, unit(0x65, 50)),
    "slice": annex_b(unit(0x41, 1000)),
    "just_over": annex_b(unit(0x41, 1201)),
    "two_slices": annex_b(unit(0x41, 700), unit(0x41, 700)),
    "many_small": annex_b(*[unit(0x41, 90) for _ in range(40)]),
}


@pytest.mark.parametrize("frame", FRAMES.values(), ids=FRAMES.keys())
@pytest.mark.parametrize("max_payload_bytes", [20, 100, 1200])
def test_a_packetized_access_unit_comes_back(frame: bytes, max_payload_bytes: int) -> None:
    payloads = h264.packetize(frame, max_payload_bytes)
    depacketizer = h264.H264Depacketizer()
    assert max(map(len, payloads)) <= max_payload_bytes
    assert depacketizer.depacketize(payloads) == frame
    assert depacketizer.depacketize([memoryview(payload) for payload in payloads]) == frame
    assert depacketizer.is_frame_start(payloads[0])


def test_parameter_sets_travel_together_in_front_of_a_large_idr_slice() -> None:
    payloads = h264.packetize(FRAMES["idr_with_parameter_sets"], 1200)
    assert payloads[0][0] & 0x1F == 24
    assert {payload[0] & 0x1F for payload in payloads[1:]} == {28}


def test_rfc6184_5_7_1_a_stap_a_has_the_highest_nri_of_its_units() -> None:
    (payload,) = h264.packetize(annex_b(unit(0x06, 20), unit(0x41, 20), unit(0x67, 20)), 1200)
    assert payload[0] == 0x60 | 24


def test_rfc6184_5_8_a_fragment_never_starts_and_ends_a_unit_at_once() -> None:
    for size in range(1195, 1206):
        payloads = h264.packetize(annex_b(unit(0x65, size)), 1200)
        for payload in payloads:
            if payload[0] & 0x1F == 28:
                assert payload[1] & 0xC0 != 0xC0


def test_three_and_four_byte_start_codes_and_padding_are_read() -> None:
    stream = b"\x00\x00\x01" + SPS + b"\x00\x00\x00\x01" + PPS + b"\x00\x00\x00\x00\x01" + unit(0x65, 9) + b"\x00\x00"
    assert h264.split_annex_b(b"garbage" + stream) == [SPS, PPS, unit(0x65, 9)]
    assert h264.split_annex_b(b"") == []
    assert h264.split_annex_b(b"\x00\x00\x01") == []
    assert h264.packetize(b"no start code", 1200) == []


def test_keyframes_are_told_by_idr_slice_or_sequence_parameter_set() -> None:
    depacketizer = h264.H264Depacketizer()
    assert depacketizer.is_keyframe(unit(0x65, 10))
    assert depacketizer.is_keyframe(SPS)
    assert depacketizer.is_keyframe(h264.packetize(FRAMES["small_idr"], 1200)[0])
    assert depacketizer.is_keyframe(h264.packetize(annex_b(unit(0x65, 5000)), 1200)[0])
    assert not depacketizer.is_keyframe(h264.packetize(annex_b(unit(0x65, 5000)), 1200)[1])
    assert not depacketizer.is_keyframe(unit(0x41, 10))
    assert not depacketizer.is_keyframe(b"\x78\xff\xff\x65")
    assert not depacketizer.is_keyframe(b"")


def test_only_the_slice_at_macroblock_0_begins_a_frame() -> None:
    depacketizer = h264.H264Depacketizer()
    assert depacketizer.is_frame_start(bytes((0x41, 0x9A, 1)))
    assert not depacketizer.is_frame_start(bytes((0x41, 0x3A, 1))), "first_mb_in_slice is not 0"
    fragments = h264.packetize(annex_b(unit(0x41, 5000)), 1200)
    assert [depacketizer.is_frame_start(payload) for payload in fragments] == [True, False, False, False, False]
    assert not depacketizer.is_frame_start(b"\x78\x00\x01")
    assert not depacketizer.is_frame_start(b"")


def test_broken_runs_of_fragments_give_none() -> None:
    depacketizer = h264.H264Depacketizer()
    fragments = h264.packetize(annex_b(unit(0x65, 5000)), 1200)
    assert depacketizer.depacketize(fragments[1:]) is None, "no start"
    assert depacketizer.depacketize(fragments[:-1]) is None, "no end"
    assert depacketizer.depacketize([fragments[0], *fragments]) is None, "started twice"
    assert depacketizer.depacketize([fragments[0], unit(0x41, 10)]) is None, "another unit between"
    alien = bytes((fragments[1][0], 0x41)) + fragments[1][2:]
    assert depacketizer.depacketize([fragments[0], alien, *fragments[2:]]) is None, "of another type"
    assert depacketizer.depacketize([b"\x78\x00\x02\x78\x00"]) is None, "aggregates do not nest"
    assert depacketizer.depacketize([b"\x78\x00\x00"]) is None, "an empty unit"


def test_parameter_sets_are_found_only_together() -> None:
    assert h264.parameter_sets(FRAMES["small_idr"]) == annex_b(SPS, PPS)
    assert h264.parameter_sets(annex_b(SPS, unit(0x65, 9))) is None
    assert h264.is_keyframe_data(FRAMES["small_idr"])
    assert not h264.is_keyframe_data(FRAMES["slice"])


def test_no_room_for_a_fragment_raises() -> None:
    with pytest.raises(ConfigurationError, match="max_payload_bytes"):
        h264.packetize(FRAMES["slice"], 2)


def test_a_sequence_parameter_set_tells_profile_and_size() -> None:
    sps = parse_sps(HIGH_SPS)
    assert sps is not None
    assert (sps.profile_level_id, sps.width, sps.height) == ("640020", 1280, 720)


@pytest.mark.parametrize("size", [(640, 480), (320, 240), (1280, 720), (1920, 1080), (642, 362)])
def test_the_size_of_a_real_encoders_parameter_set_is_read_with_its_cropping(size: tuple[int, int]) -> None:
    av = pytest.importorskip("av")
    from triortc.codecs.encoders import H264Encoder

    (frame,) = H264Encoder().encode(av.VideoFrame(*size, "yuv420p"), 0)
    parsed = parse_sps(h264.split_annex_b(frame.data)[0])
    assert parsed is not None
    assert (parsed.width, parsed.height) == size
    assert parsed.profile_level_id.startswith("42c0"), "Constrained Baseline"


def test_what_is_no_parameter_set_gives_none() -> None:
    assert parse_sps(b"") is None
    assert parse_sps(PPS) is None
    assert parse_sps(HIGH_SPS[:8]) is None
    assert parse_sps(HIGH_SPS[:4] + b"\x00" * 600) is None
    assert parse_sps(HIGH_SPS[:4] + b"\x00" * 60) is None
