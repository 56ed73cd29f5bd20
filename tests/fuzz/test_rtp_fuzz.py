"""RTP parsing of arbitrary and damaged bytes: None or values within the packet, never an exception."""

from __future__ import annotations

import json
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from triortc.engine.rtp.extensions import build_extensions, elements, find_element
from triortc.engine.rtp.header import build_header, csrcs, parse_header, payload_length
from triortc.engine.rtp.rtx import decapsulate, encapsulate
from triortc.engine.rtp.sequence import SequenceTracker

VECTORS = json.loads((Path(__file__).parent.parent / "vectors" / "rtp_headers_and_extensions.json").read_text())
SEEDS = [bytes.fromhex(vector["packet"]) for key in ("headers", "vectors") for vector in VECTORS[key]]


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    packet = bytearray(draw(st.sampled_from(SEEDS)))
    for _ in range(draw(st.integers(1, 4))):
        packet[draw(st.integers(0, len(packet) - 1))] ^= 1 << draw(st.integers(0, 7))
    return bytes(packet[: draw(st.integers(0, len(packet)))] if draw(st.booleans()) else packet)


def examine(packet: bytes) -> None:
    header = parse_header(packet)
    assert header == parse_header(memoryview(packet))
    if header is None:
        return
    assert 12 <= header[5] <= len(packet)
    assert header[6] <= header[5]
    assert len(csrcs(packet)) == packet[0] & 15
    payload = packet[header[5] :]
    assert -1 <= payload_length(payload, header[8]) <= len(payload)
    for element_id, offset, length in elements(packet, header):
        assert 1 <= element_id <= 255
        assert header[6] < offset <= offset + length <= header[5]
        assert find_element(packet, header, element_id) is not None
    restored = decapsulate(header, payload, payload_type=96, ssrc=1)
    assert restored is None or len(restored[1]) <= len(payload) - 2


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes(packet: bytes) -> None:
    examine(packet)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200), st.integers(0, 255))
def test_any_bytes_behind_a_good_version(packet: bytes, first: int) -> None:
    examine(bytes((0x80 | first & 0x3F, first)) + packet)


@settings(max_examples=400, deadline=None)
@given(damaged())
def test_damaged_vectors(packet: bytes) -> None:
    examine(packet)


@settings(max_examples=200, deadline=None)
@given(
    pairs=st.lists(st.tuples(st.integers(1, 255), st.binary(max_size=255)), max_size=6),
    sources=st.lists(st.integers(0, 0xFFFFFFFF), max_size=15),
    fields=st.tuples(st.booleans(), st.integers(0, 127), st.integers(0, 65535), *[st.integers(0, 0xFFFFFFFF)] * 2),
    payload=st.binary(max_size=50),
)
def test_what_is_built_is_read_back(
    pairs: list[tuple[int, bytes]],
    sources: list[int],
    fields: tuple[bool, int, int, int, int],
    payload: bytes,
) -> None:
    marker, payload_type, sequence_number, timestamp, ssrc = fields
    built = build_header(
        payload_type=payload_type,
        sequence_number=sequence_number,
        timestamp=timestamp,
        ssrc=ssrc,
        marker=marker,
        csrcs=sources,
        extension=build_extensions(pairs),
    )
    header = parse_header(built + payload)
    assert header is not None
    assert header[:6] == (*fields, len(built))
    assert csrcs(built) == tuple(sources)
    assert [(name, built[at : at + size]) for name, at, size in elements(built, header)] == pairs
    rtx_header, rtx_payload = encapsulate(built, payload, payload_type=97, sequence_number=5, ssrc=6)
    parsed = parse_header(rtx_header)
    assert parsed is not None
    restored = decapsulate(parsed, rtx_payload, payload_type=payload_type, ssrc=ssrc)
    assert restored is not None
    assert restored[0] == header
    assert restored[1] == payload


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(0, 65535), min_size=1, max_size=60))
def test_extended_numbers_keep_their_low_bits_and_never_turn_negative(numbers: list[int]) -> None:
    tracker = SequenceTracker()
    for number in numbers:
        extended = tracker.extend(number)
        assert extended == -1 or (extended > 0 and extended & 0xFFFF == number)
