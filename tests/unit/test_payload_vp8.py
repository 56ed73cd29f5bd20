"""RFC 7741: the payload descriptor against vectors, cutting and joining frames, rewriting in place."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from triortc.codecs.payload import vp8
from triortc.errors import ConfigurationError

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "vp8.json").read_text())
KEYFRAME = bytes.fromhex("d002009d012a8002e001") + bytes(range(256)) * 20
INTER_FRAME = bytes.fromhex("b10500") + bytes(range(256)) * 4


@pytest.mark.parametrize("vector", VECTORS["vectors"], ids=lambda vector: vector["name"])
def test_rfc7741_4_2_descriptor_vector(vector: dict[str, Any]) -> None:
    payload = bytes.fromhex(vector["descriptor"])
    descriptor = vp8.parse_descriptor(payload)
    if isinstance(vector["expect"], str):
        assert descriptor is None
        assert vp8.descriptor_offsets(payload) is None
        return
    assert descriptor is not None
    expect = vector["expect"]
    assert descriptor.length == len(payload)
    assert (descriptor.start, descriptor.partition) == (bool(expect["s"]), expect["pid"])
    assert descriptor.non_reference == bool(expect["n"])
    assert descriptor.picture_id == expect.get("picture_id")
    assert descriptor.tl0picidx == expect.get("tl0picidx")
    assert descriptor.temporal_id == expect.get("tid")
    assert descriptor.layer_sync == bool(expect.get("y", 0))
    assert descriptor.key_index == expect.get("keyidx")


@pytest.mark.parametrize("vector", VECTORS["payload_headers"], ids=lambda vector: vector["name"])
def test_rfc6386_9_1_payload_header_vector(vector: dict[str, Any]) -> None:
    header = bytes.fromhex(vector["payload_header"])
    assert vp8.is_keyframe_data(header) is vector["key_frame"]
    assert vp8.frame_size(header) == ((vector["width"], vector["height"]) if "width" in vector else None)


def test_built_descriptors_equal_the_vectors_where_the_form_is_ours() -> None:
    assert vp8.build_descriptor(start=True).hex() == "10"
    assert vp8.build_descriptor(start=True, non_reference=True).hex() == "30"
    assert vp8.build_descriptor(start=True, partition=3).hex() == "13"
    assert vp8.build_descriptor(start=True, picture_id=17, picture_id_bits=7).hex() == "908011"
    assert vp8.build_descriptor(start=True, picture_id=4769).hex() == "908092a1"
    assert vp8.build_descriptor(start=True, temporal_id=1, layer_sync=True).hex() == "902060"
    assert vp8.build_descriptor(start=True, key_index=31).hex() == "90101f"
    every = vp8.build_descriptor(
        start=True, picture_id=1, tl0picidx=224, temporal_id=2, layer_sync=True, key_index=5, picture_id_bits=15
    )
    assert every.hex() == "90f08001e0a5"


@pytest.mark.parametrize(
    "fields",
    [
        {"partition": 8},
        {"picture_id": 1, "picture_id_bits": 8},
        {"temporal_id": 4},
        {"tl0picidx": 1},
    ],
)
def test_an_impossible_descriptor_raises_at_once(fields: dict[str, int]) -> None:
    with pytest.raises(ConfigurationError):
        vp8.build_descriptor(start=True, **fields)  # type: ignore[arg-type]  # names come from the table above


@pytest.mark.parametrize("max_payload_bytes", [6, 7, 100, 1200, 100_000])
@pytest.mark.parametrize("frame", [KEYFRAME, INTER_FRAME, b"\x01"])
def test_a_packetized_frame_comes_back(frame: bytes, max_payload_bytes: int) -> None:
    payloads = vp8.packetize(frame, max_payload_bytes, picture_id=300)
    depacketizer = vp8.Vp8Depacketizer()
    assert depacketizer.depacketize(payloads) == frame
    assert depacketizer.depacketize([memoryview(payload) for payload in payloads]) == frame
    assert [depacketizer.is_frame_start(payload) for payload in payloads] == [True] + [False] * (len(payloads) - 1)
    assert depacketizer.is_keyframe(payloads[0]) == (frame is KEYFRAME)
    sizes = [len(payload) for payload in payloads]
    assert max(sizes) <= max_payload_bytes
    assert max(sizes) - min(sizes) <= 1


def test_an_empty_frame_makes_no_payload() -> None:
    assert vp8.packetize(b"", 1200) == []


def test_no_room_for_media_raises() -> None:
    with pytest.raises(ConfigurationError, match="max_payload_bytes"):
        vp8.packetize(KEYFRAME, 4, picture_id=300)


def test_the_packetizer_numbers_pictures_modulo_15_bits() -> None:
    packetizer = vp8.Vp8Packetizer(picture_id=0x7FFE)
    numbers = []
    for _ in range(3):
        descriptor = vp8.parse_descriptor(packetizer.packetize(INTER_FRAME, 1200)[0])
        assert descriptor is not None
        numbers.append((descriptor.picture_id, descriptor.picture_id_bits))
    assert numbers == [(0x7FFE, 15), (0x7FFF, 15), (0, 15)]


def test_a_relay_rewrites_picture_id_and_tl0picidx_in_place() -> None:
    payload = bytearray(vp8.packetize(KEYFRAME, 1200, picture_id=5, tl0picidx=7, temporal_id=0)[0])
    offsets = vp8.descriptor_offsets(payload)
    assert offsets == (6, 2, 2, 4)
    _, at, size, tl0_at = offsets
    payload[at : at + size] = (0x8000 | 1234).to_bytes(2, "big")
    payload[tl0_at] = 99
    descriptor = vp8.parse_descriptor(payload)
    assert descriptor is not None
    assert (descriptor.picture_id, descriptor.tl0picidx, descriptor.temporal_id) == (1234, 99, 0)
    assert payload[6:] == KEYFRAME[: len(payload) - 6]


def test_what_does_not_make_a_frame_gives_none() -> None:
    depacketizer = vp8.Vp8Depacketizer()
    payloads = vp8.packetize(KEYFRAME, 1200, picture_id=5)
    other = vp8.packetize(KEYFRAME, 1200, picture_id=6)
    assert depacketizer.depacketize([]) is None
    assert depacketizer.depacketize(payloads[1:]) is None, "its start is missing"
    assert depacketizer.depacketize([*payloads, *payloads]) is None, "two frames"
    assert depacketizer.depacketize([payloads[0], other[1]]) is None, "of different pictures"
    assert depacketizer.depacketize([payloads[0], payloads[1][:4]]) is None, "a payload without media"
    assert depacketizer.depacketize([payloads[0], b"\x90"]) is None, "a descriptor cut short"
    assert not depacketizer.is_keyframe(b"\x10"), "nothing behind the descriptor"
    assert not depacketizer.is_keyframe(b"")


def test_partitions_of_one_frame_may_each_begin_with_s() -> None:
    parts = [b"\x10" + INTER_FRAME[:50], b"\x11" + INTER_FRAME[50:90], b"\x01" + INTER_FRAME[90:]]
    assert vp8.Vp8Depacketizer().depacketize(parts) == INTER_FRAME


def test_a_keyframe_without_its_start_code_has_no_size() -> None:
    assert vp8.frame_size(bytes.fromhex("d002009d012b8002e001")) is None
    assert vp8.frame_size(bytes.fromhex("d002009d012a8002e0")) is None
    assert vp8.frame_size(bytes.fromhex("d002009d012a80c2e0c1")) == (640, 480), "the scaling bits are no size"
