"""Payload parsers meet random and damaged bytes: they answer, they never raise."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from triortc.codecs.payload import h264, opus, vp8
from triortc.codecs.payload.formats import Depacketizer, depacketizer_for, packetizer_for
from triortc.codecs.payload.h264_sps import parse_sps

NAMES = ("VP8", "H264", "opus", "PCMU", "PCMA")
SPS = bytes.fromhex("67640020accac05005bb0169e0000003002000000c9c4c000432380008647c12401cb1c31380")
payload_lists = st.lists(st.binary(max_size=80), max_size=6)


def probe(depacketizer: Depacketizer, payloads: list[bytes]) -> bytes | None:
    for payload in payloads:
        assert depacketizer.is_frame_start(payload) in (True, False)
        assert depacketizer.is_keyframe(payload) in (True, False)
    frame = depacketizer.depacketize(payloads)
    assert frame is None or len(frame) <= sum(map(len, payloads)) + 4 * sum(map(len, payloads)) + 4
    return frame


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=200, deadline=None)
@given(payloads=payload_lists)
def test_random_payloads_never_raise(name: str, payloads: list[bytes]) -> None:
    probe(depacketizer_for(name), payloads)


@pytest.mark.parametrize("name", ["VP8", "H264"])
@settings(max_examples=200, deadline=None)
@given(
    body=st.binary(min_size=1, max_size=600),
    limit=st.integers(12, 300),
    flip=st.integers(0, 1 << 30),
    drop=st.integers(0, 20),
)
def test_frames_survive_whole_and_damaged_ones_never_raise(
    name: str, body: bytes, limit: int, flip: int, drop: int
) -> None:
    if name == "H264":
        body = b"".join(h264.START_CODE + unit for unit in h264.split_annex_b(b"\x00\x00\x01\x65\x88" + body + b"\x80"))
    payloads = packetizer_for(name).packetize(body, limit)
    depacketizer = depacketizer_for(name)
    if name == "VP8" or all(1 <= unit[0] & 0x1F <= 23 for unit in h264.split_annex_b(body)):
        assert probe(depacketizer, payloads) == body
    damaged = bytearray(payloads[flip % len(payloads)])
    damaged[flip // 8 % len(damaged)] ^= 1 << flip % 8
    payloads[flip % len(payloads)] = bytes(damaged)
    del payloads[drop : drop + 1]
    probe(depacketizer, payloads)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=12))
def test_vp8_offsets_stay_inside_the_payload(payload: bytes) -> None:
    offsets = vp8.descriptor_offsets(payload)
    descriptor = vp8.parse_descriptor(payload)
    assert (offsets is None) == (descriptor is None)
    if offsets is not None:
        length, picture_id_at, picture_id_bytes, tl0picidx_at = offsets
        assert length <= len(payload)
        assert picture_id_at + picture_id_bytes <= length
        assert tl0picidx_at < length
    vp8.frame_size(payload)


@settings(max_examples=300, deadline=None)
@given(
    st.booleans(),
    st.integers(0, 7),
    st.none() | st.integers(0, 0x7FFF),
    st.none() | st.tuples(st.integers(0, 3), st.booleans(), st.none() | st.integers(0, 255)),
    st.none() | st.integers(0, 31),
)
def test_vp8_descriptors_are_read_as_they_were_built(
    start: bool,
    partition: int,
    picture_id: int | None,
    layers: tuple[int, bool, int | None] | None,
    key_index: int | None,
) -> None:
    temporal_id, layer_sync, tl0picidx = layers or (None, False, None)
    built = vp8.build_descriptor(
        start=start,
        partition=partition,
        picture_id=picture_id,
        tl0picidx=tl0picidx,
        temporal_id=temporal_id,
        layer_sync=layer_sync,
        key_index=key_index,
    )
    parsed = vp8.parse_descriptor(built)
    assert parsed is not None
    assert parsed.length == len(built)
    assert (parsed.start, parsed.partition, parsed.picture_id) == (start, partition, picture_id)
    assert (parsed.temporal_id, parsed.layer_sync, parsed.tl0picidx) == (temporal_id, layer_sync, tl0picidx)
    assert parsed.key_index == key_index


@settings(max_examples=400, deadline=None)
@given(st.binary(max_size=400))
def test_opus_frames_lie_inside_the_packet_in_order(payload: bytes) -> None:
    packet = opus.parse_packet(payload)
    if packet is None:
        return
    assert 0 < packet.duration_samples <= opus.MAX_PACKET_SAMPLES
    end = 1
    for start, stop in packet.frames:
        assert end <= start <= stop <= len(payload)
        end = stop


@settings(max_examples=400, deadline=None)
@given(st.integers(0, len(SPS) * 8 - 1), st.integers(4, len(SPS)), st.binary(max_size=60))
def test_sequence_parameter_sets_never_raise(bit: int, length: int, tail: bytes) -> None:
    damaged = bytearray(SPS)
    damaged[bit // 8] ^= 1 << bit % 8
    for candidate in (bytes(damaged), SPS[:length], SPS[:4] + tail):
        parsed = parse_sps(candidate)
        assert parsed is None or (parsed.width > 0 and parsed.height > 0)
