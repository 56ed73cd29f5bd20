"""What the recorder of arrivals reports (draft-holmer-rmcat-transport-wide-cc-extensions-01)."""

from __future__ import annotations

import random

import pytest

from triortc.engine.rtcp.packets import TransportFeedback, build_compound, parse_compound
from triortc.engine.streams.configuration import FeedbackConfiguration
from triortc.engine.streams.transport_feedback_recorder import TransportFeedbackRecorder


def recorder(**numbers: int) -> TransportFeedbackRecorder:
    return TransportFeedbackRecorder(sender_ssrc=1, media_ssrc=2, configuration=FeedbackConfiguration(**numbers))


def due(recorded: TransportFeedbackRecorder, now: float) -> list[TransportFeedback]:
    """What goes out, read as its receiver does."""
    told: list[TransportFeedback] = []
    for packet in recorded.due(now):
        [parsed] = parse_compound(packet)
        assert isinstance(parsed, TransportFeedback)
        told.append(parsed)
    return told


def arrivals(feedback: TransportFeedback) -> dict[int, float]:
    [parsed] = parse_compound(build_compound([feedback]))
    assert parsed == feedback
    return {number: time_us / 1e6 for number, time_us in feedback.arrivals_us()}


def test_feedback_tells_times_within_a_quarter_millisecond() -> None:
    recorded = recorder()
    assert recorded.next_deadline() is None
    times = {(65530 + index) & 0xFFFF: 1234.5 + index * 0.0071 for index in range(12) if index % 5 != 3}
    for number, at in times.items():
        recorded.note(number, at)
    assert recorded.next_deadline() == pytest.approx(1234.6)
    assert due(recorded, 1234.55) == []
    [feedback] = due(recorded, 1234.6)
    assert feedback.base_sequence_number == 65530
    assert feedback.packet_status_count == 12
    assert arrivals(feedback) == pytest.approx(times, abs=0.00025)
    assert recorded.next_deadline() is None


def test_the_next_feedback_begins_where_the_last_ended_so_that_loss_between_them_shows() -> None:
    recorded = recorder()
    recorded.note(10, 1.0)
    [first] = due(recorded, 1.1)
    recorded.note(14, 1.15)
    [second] = due(recorded, 1.3)
    assert (second.base_sequence_number, second.packet_status_count) == (11, 4)
    assert (first.feedback_count, second.feedback_count) == (0, 1)


def test_a_late_packet_is_told_in_the_next_feedback() -> None:
    recorded = recorder()
    for number in (10, 12):
        recorded.note(number, 1.0)
    due(recorded, 1.1)
    recorded.note(13, 1.2)
    recorded.note(11, 1.201)
    [feedback] = due(recorded, 1.4)
    assert feedback.base_sequence_number == 11
    assert arrivals(feedback) == pytest.approx({11: 1.201, 13: 1.2}, abs=0.00025)


def test_the_first_of_duplicates_counts() -> None:
    recorded = recorder()
    recorded.note(10, 1.0)
    recorded.note(10, 1.05)
    [feedback] = due(recorded, 1.2)
    assert arrivals(feedback) == {10: 1.0}


def test_a_pause_longer_than_a_delta_can_tell_splits_the_feedback() -> None:
    recorded = recorder(interval_ms=60_000)
    recorded.note(1, 1.0)
    recorded.note(2, 20.0)
    told = due(recorded, 70.0)
    assert [arrivals(feedback) for feedback in told] == [{1: 1.0}, {2: 20.0}]


def test_a_jump_is_not_reported_as_thousands_of_losses() -> None:
    recorded = recorder()
    recorded.note(1, 1.0)
    due(recorded, 1.1)
    for number in (40000, 40001, 40002):
        recorded.note(number, 2.0)
    [feedback] = due(recorded, 2.2)
    assert (feedback.base_sequence_number, feedback.packet_status_count) == (40001, 2)
    recorded.note(42500, 2.3)
    [feedback] = due(recorded, 2.5)
    assert (feedback.base_sequence_number, feedback.packet_status_count) == (42500, 1)


def test_many_packets_hurry_the_feedback_and_memory_is_bounded() -> None:
    recorded = recorder(maximum_packets=100)
    for number in range(100):
        recorded.note(number, 1.0)
    assert recorded.next_deadline() == 1.0
    for number in range(100, 1000):
        recorded.note(number, 1.0)
    told = due(recorded, 1.0)
    assert [len(feedback.received) for feedback in told] == [100] * 4
    assert recorded.dropped == 600


def test_the_reference_time_wraps_into_24_signed_bits() -> None:
    recorded = recorder()
    now = (1 << 23) * 0.064 + 1
    recorded.note(1, now)
    [feedback] = due(recorded, now + 1)
    assert feedback.reference_time == -(1 << 23) + 15
    arrivals(feedback)


def test_a_sender_that_leaps_through_its_numbers_gets_feedback_that_can_be_built() -> None:
    recorded = recorder()
    for index in range(256):
        recorded.note(index * 999 & 0xFFFF, 1.0)
    feedback = due(recorded, 2.0)
    assert sum(len(packet.received) for packet in feedback) == 256
    for packet in feedback:
        assert len(build_compound([packet])) < 1200


def test_feedback_of_sessions_that_began_apart_is_due_at_one_time() -> None:
    deadlines = set()
    for began in (1.0021, 1.005, 1.0099):
        recorded = recorder()
        recorded.note(7, began)
        deadlines.add(recorded.next_deadline())
    assert deadlines == {1.11}


def test_a_run_is_recorded_as_its_packets_are_one_by_one() -> None:
    numbers = [65533, 65534, 65535, 0, 1, 3, 2, 2, 30000, 4, 20000, 20001, 20002]
    run, single = recorder(), recorder()
    run.note(65532, 1.0)
    single.note(65532, 1.0)
    run.note_run(numbers, [1.0 + index / 1000 for index in range(len(numbers))])
    for index, number in enumerate(numbers):
        single.note(number, 1.0 + index / 1000)
    assert due(run, 2.0) == due(single, 2.0)
    assert run.dropped == single.dropped == 2


@pytest.mark.parametrize("began", [0.0, 1000.0, 2**32 / 4000 - 0.05], ids=["zero", "later", "ticks wrap"])
def test_ticks_that_are_known_already_give_the_same_feedback(began: float) -> None:
    plain, told = (TransportFeedbackRecorder(sender_ssrc=1) for _ in range(2))
    choose, at, number = random.Random(7), began, 65_000
    for _ in range(40):
        numbers, times = [], []
        for _ in range(choose.randint(1, 30)):
            at += choose.choice((0.0, 0.0001, 0.004, 0.02, 0.07))
            number += choose.choice((1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 2))
            numbers.append(number & 0xFFFF)
            times.append(at)
        ticks = [int(when * 4000) & 0xFFFFFFFF for when in times]
        known = ticks if choose.random() < 0.9 else []
        assert plain.note_run(numbers, times) == told.note_run(numbers, times, known)
        if choose.random() < 0.8:  # else runs wait together
            assert plain.due(at + 1) == told.due(at + 1)
