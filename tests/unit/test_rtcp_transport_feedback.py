"""Transport-wide feedback against the vectors (draft-holmer-rmcat-transport-wide-cc-extensions-01 section 3.1)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from triortc.engine.rtcp.packets import TransportFeedback, build_compound, parse_compound
from triortc.engine.rtcp.transport_feedback import build_whole_feedback, parse_transport_feedback
from triortc.errors import ConfigurationError, RtpError

VECTORS = json.loads((Path(__file__).parent.parent / "vectors" / "rtcp_twcc.json").read_text())["vectors"]


def parsed(packet: str) -> TransportFeedback:
    [feedback] = parse_compound(bytes.fromhex(packet))
    assert isinstance(feedback, TransportFeedback)
    return feedback


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["name"])
def test_vectors_give_the_expected_statuses_and_times(vector: dict[str, Any]) -> None:
    feedback = parsed(vector["packet"])
    expect = vector["expect"]
    if "deltas_us" in expect:
        assert [delta * 250 for _, delta in feedback.received] == expect["deltas_us"]
        return
    assert feedback.base_sequence_number == expect["base"]
    assert feedback.reference_time == expect["reference_time_64ms"]
    assert feedback.feedback_count == expect["feedback_count"]
    assert [delta for _, delta in feedback.received] == expect["deltas_250us"]
    if isinstance(expect["packets"], str):
        assert (feedback.packet_status_count, feedback.received) == (8191, ())
        return
    assert feedback.packet_status_count == len(expect["packets"])
    times = {p["seq"]: p["received_at_us"] for p in expect["packets"] if p["received_at_us"] is not None}
    assert dict(feedback.arrivals_us()) == times


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["name"])
def test_what_is_built_of_a_vector_reads_the_same(vector: dict[str, Any]) -> None:
    feedback = parsed(vector["packet"])
    built = build_compound([feedback])
    assert len(built) % 4 == 0
    assert parsed(built.hex()) == feedback
    assert len(built) <= len(vector["packet"]) // 2 + 4


@given(
    statuses=st.lists(
        st.one_of(st.none(), st.integers(0, 255), st.integers(-0x8000, 0x7FFF)), min_size=1, max_size=120
    ),
    base=st.integers(0, 65535),
    reference=st.integers(-0x800000, 0x7FFFFF),
)
def test_any_statuses_survive_building(statuses: list[int | None], base: int, reference: int) -> None:
    received = tuple((offset, delta) for offset, delta in enumerate(statuses) if delta is not None)
    feedback = TransportFeedback(1, 2, base, len(statuses), reference, 3, received)
    again = parsed(build_compound([feedback]).hex())
    assert again._replace(deltas=again.received) == feedback


@given(
    st.binary(min_size=1, max_size=300),
    st.integers(0, 0xFFFF),
    st.integers(-0x800000, 0x7FFFFF),
    st.integers(0, 255),
)
def test_feedback_of_packets_that_have_all_come_is_built_in_one_go_to_the_same_bytes(
    deltas: bytes, base: int, reference: int, count: int
) -> None:
    feedback = TransportFeedback(1, 2, base, len(deltas), reference, count, tuple(enumerate(deltas)))
    assert build_whole_feedback(1, 2, base, reference, count, deltas) == build_compound([feedback])


def test_runs_keep_a_quiet_feedback_small() -> None:
    steady = TransportFeedback(1, 2, 0, 500, 0, 0, tuple((offset, 4) for offset in range(500)))
    assert len(build_compound([steady])) <= 4 + 16 + 2 + 500 + 4
    assert len(build_compound([TransportFeedback(1, 2, 0, 65535, 0, 0, ())])) <= 4 + 16 + 2 * 9 + 4


@pytest.mark.parametrize(
    "body",
    [
        "0000000100000002000a000e0000",  # no feedback count
        "0000000100000002000a000e00006401",  # no chunk
        "0000000100000002000a000200006401200204",  # two small deltas, one there
        "0000000100000002000a000100006401400104",  # half a large delta
        "0000000100000002000a000100006401600104",  # the reserved status in a run
        "0000000100000002000a000100006401f00004",  # the reserved status in a vector
        "0000000100000002000a000100006401200004",  # a run of nothing
        "0000000100000002000affff000064013fff3fff3fff3fff3fff3fff3fff3fff3fff",  # more arrivals than bytes
    ],
)
def test_feedback_that_is_cut_off_or_reserved_raises_rtp_error(body: str) -> None:
    with pytest.raises(RtpError):
        parse_transport_feedback(bytes.fromhex(body))


@pytest.mark.parametrize(
    ("count", "received"),
    [(0, ()), (65536, ()), (2, ((2, 0),)), (2, ((1, 0), (0, 0))), (2, ((0, 0x8000),))],
)
def test_feedback_that_does_not_fit_is_the_embedders_mistake(count: int, received: tuple[tuple[int, int], ...]) -> None:
    with pytest.raises(ConfigurationError):
        TransportFeedback(1, 2, 0, count, 0, 0, received).build()
