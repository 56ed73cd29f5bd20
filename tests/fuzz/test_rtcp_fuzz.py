"""RTCP parsing of arbitrary and damaged bytes: values or RtpError, nothing else, and nothing large of little."""

from __future__ import annotations

import json
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from triortc.engine.congestion.send_side import SendSideEstimator
from triortc.engine.rtcp.packets import GenericNack, TransportFeedback, build_compound, parse_compound
from triortc.errors import ConfigurationError, RtpError

DIRECTORY = Path(__file__).parent.parent / "vectors"
SEEDS = [
    bytes.fromhex(vector["packet"])
    for name in ("rtcp.json", "rtcp_twcc.json")
    for vector in json.loads((DIRECTORY / name).read_text())["vectors"]
]


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    packet = bytearray(draw(st.sampled_from(SEEDS)))
    for _ in range(draw(st.integers(1, 5))):
        packet[draw(st.integers(0, len(packet) - 1))] = draw(st.integers(0, 255))
    return bytes(packet[: draw(st.integers(0, len(packet)))] if draw(st.booleans()) else packet)


def examine(data: bytes) -> None:
    try:
        packets = parse_compound(data)
    except RtpError:
        return
    estimator = SendSideEstimator()
    for packet in packets:
        if isinstance(packet, GenericNack):
            assert len(packet.lost) <= 17 * len(data) / 4
        if isinstance(packet, TransportFeedback):
            assert len(packet.received) <= len(data)
            estimator.on_feedback(packet, 1.0)
    try:
        again = build_compound(packets)
    except ConfigurationError:
        return  # transport feedback of no packets, or padded in the middle once padding is dropped
    assert [type(packet) for packet in parse_compound(again)] == [type(packet) for packet in packets]


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes(data: bytes) -> None:
    examine(data)


@settings(max_examples=400, deadline=None)
@given(st.integers(0, 63), st.sampled_from([200, 201, 202, 203, 204, 205, 206, 207]), st.binary(max_size=120))
def test_any_body_behind_a_good_header(first: int, packet_type: int, body: bytes) -> None:
    body += bytes(-len(body) % 4)
    examine(bytes((0x80 | first, packet_type)) + (len(body) // 4).to_bytes(2, "big") + body)


@settings(max_examples=500, deadline=None)
@given(damaged())
def test_damaged_vectors(data: bytes) -> None:
    examine(data)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from(SEEDS), min_size=1, max_size=6), damaged())
def test_damage_within_a_compound(parts: list[bytes], last: bytes) -> None:
    examine(b"".join(parts) + last)
