"""Continuous numbering across sources (I19): sequence numbers, timestamps, VP8 picture numbers."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from triortc.engine.relay.rewriter import StreamRewriter


def rewriter(sequence_number: int = 100, timestamp: int = 5000) -> StreamRewriter:
    return StreamRewriter(clock_rate=90000, sequence_number=sequence_number, timestamp=timestamp)


def test_the_first_packet_takes_the_streams_first_numbers() -> None:
    numbers = rewriter()
    numbers.restart(7, 1_000_000, 0.0, same_source=False)
    assert numbers.rewrite(7, 1_000_000, 0.0) == (100, 5000)
    assert numbers.rewrite(8, 1_003_000, 0.1) == (101, 8000)


def test_losses_and_reordering_keep_their_places() -> None:
    numbers = rewriter()
    numbers.restart(65534, 0, 0.0, same_source=False)
    order = [65534, 1, 65535, 3, 0, 2]
    assert [numbers.rewrite(n, 0, 0.0) for n in order] == [(100 + k, 5000) for k in (0, 3, 1, 5, 2, 4)]


def test_a_new_source_continues_the_sequence_and_lets_the_elapsed_time_pass() -> None:
    numbers = rewriter()
    numbers.restart(10, 0, 0.0, same_source=False)
    numbers.rewrite(10, 0, 0.0)
    numbers.rewrite(11, 90_000, 1.0)
    numbers.restart(40_000, 777, 1.5, same_source=False)
    assert numbers.rewrite(40_000, 777, 1.5) == (102, 5000 + 90_000 + 45_000)


def test_the_same_source_after_a_mute_keeps_its_clock() -> None:
    numbers = rewriter()
    numbers.restart(10, 0, 0.0, same_source=False)
    numbers.rewrite(10, 0, 0.0)
    numbers.restart(500, 900_000, 10.2, same_source=True)
    assert numbers.rewrite(500, 900_000, 10.2) == (101, 5000 + 900_000)


def test_two_sources_at_the_same_instant_still_have_different_timestamps() -> None:
    numbers = rewriter()
    numbers.restart(10, 0, 3.0, same_source=False)
    first = numbers.rewrite(10, 0, 3.0)
    numbers.restart(20, 0, 3.0, same_source=False)
    second = numbers.rewrite(20, 0, 3.0)
    assert first is not None
    assert second is not None
    assert second[1] == first[1] + 1


def test_packets_from_before_the_start_are_refused() -> None:
    numbers = rewriter()
    numbers.restart(10, 0, 0.0, same_source=False)
    numbers.rewrite(10, 0, 0.0)
    assert numbers.rewrite(9, 0, 0.0) is None


def test_a_long_stream_wraps_without_a_seam() -> None:
    numbers = rewriter(sequence_number=65_000)
    numbers.restart(60_000, 0, 0.0, same_source=False)
    for k in range(200_000):
        assert numbers.rewrite((60_000 + k) & 0xFFFF, 0, 0.0) == ((65_000 + k) & 0xFFFF, 5000)


@given(
    sources=st.lists(
        st.tuples(st.integers(0, 0xFFFF), st.integers(0, 0xFFFFFFFF), st.integers(1, 50), st.floats(0.0, 5.0)),
        min_size=1,
        max_size=8,
    )
)
def test_i19_sequence_and_timestamp_only_grow_by_one_and_forward_whatever_the_sources_are(
    sources: list[tuple[int, int, int, float]],
) -> None:
    numbers = rewriter()
    now, before = 0.0, (99, 5000)
    for first, timestamp, count, pause in sources:
        now += pause
        numbers.restart(first, timestamp, now, same_source=False)
        for k in range(count):
            now += 0.02
            out = numbers.rewrite((first + k) & 0xFFFF, (timestamp + 1800 * k) & 0xFFFFFFFF, now)
            assert out is not None
            assert out[0] == (before[0] + 1) & 0xFFFF
            assert (out[1] - before[1]) & 0xFFFFFFFF < 0x80000000
            before = out


def test_picture_numbers_go_on_where_the_last_source_left_them_rfc_7741_4_2() -> None:
    numbers = rewriter()
    numbers.restart(1, 0, 0.0, same_source=False)
    assert [numbers.picture_id(n) for n in (32_766, 32_767, 0, 32_767)] == [0, 1, 2, 1]
    assert [numbers.tl0_picture_index(n) for n in (254, 255, 0)] == [0, 1, 2]
    numbers.restart(9, 0, 1.0, same_source=False)
    assert [numbers.picture_id(n) for n in (77, 78)] == [3, 4]
    assert [numbers.tl0_picture_index(n) for n in (9, 10)] == [3, 4]
