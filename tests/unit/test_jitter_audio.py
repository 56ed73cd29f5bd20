"""The audio buffer in virtual time: order, timing, concealment, adaptation, and streams that jump."""

from __future__ import annotations

from collections.abc import Iterable
from random import Random

import pytest

from triortc.engine.jitter.audio import AudioFrame, AudioJitterBuffer
from triortc.engine.jitter.configuration import AudioJitterConfiguration
from triortc.errors import ConfigurationError

FRAME = 960
FRAME_S = 0.02


def packet(index: int) -> bytes:
    return index.to_bytes(4, "big")


def play(
    buffer: AudioJitterBuffer, arrivals: Iterable[tuple[float, int]], until: float, first: int = 0, timestamp: int = 0
) -> list[tuple[float, AudioFrame]]:
    """Insert packets (arrival, index) and pop whatever is due, each at its own deadline."""
    pending = sorted(arrivals)
    played: list[tuple[float, AudioFrame]] = []
    while True:
        deadline = buffer.next_deadline()
        arrival = pending[0][0] if pending else until
        if deadline is not None and deadline <= min(arrival, until):
            frame = buffer.pop(deadline)
            assert frame is not None
            played.append((deadline, frame))
        elif pending and arrival <= until:
            now, index = pending.pop(0)
            buffer.insert((first + index) & 0xFFFF, (timestamp + index * FRAME) & 0xFFFFFFFF, packet(index), now)
        else:
            return played


def payloads(played: list[tuple[float, AudioFrame]]) -> list[int | None]:
    return [None if frame[1] is None else int.from_bytes(frame[1], "big") for _, frame in played]


def test_steady_packets_play_in_order_at_the_least_delay() -> None:
    buffer = AudioJitterBuffer(48000)
    played = play(buffer, [(1 + index * FRAME_S, index) for index in range(100)], 2.9)
    assert payloads(played) == list(range(len(played)))
    assert len(played) >= 93
    assert played[50][0] == pytest.approx(1 + 50 * FRAME_S + 0.02)
    assert buffer.statistics.concealed == 0


def test_nothing_is_handed_out_before_its_time() -> None:
    buffer = AudioJitterBuffer(48000)
    assert buffer.pop(0.5) is None
    assert buffer.next_deadline() is None
    buffer.insert(1, 0, b"a", 1.0)
    assert buffer.pop(1.01) is None
    assert buffer.pop(1.02) == (0, b"a")


def test_numbers_and_timestamps_wrap() -> None:
    buffer = AudioJitterBuffer(48000)
    arrivals = [(1 + index * FRAME_S, index) for index in range(60)]
    played = play(buffer, arrivals, 2.15, first=65520, timestamp=0xFFFFFFFF - 20 * FRAME)
    assert payloads(played)[:55] == list(range(55))
    assert played[30][1][0] == (0xFFFFFFFF - 20 * FRAME + 30 * FRAME) & 0xFFFFFFFF


def test_a_lost_packet_is_concealed_at_its_time() -> None:
    buffer = AudioJitterBuffer(48000)
    played = play(buffer, [(1 + index * FRAME_S, index) for index in range(20) if index != 7], 1.35)
    assert payloads(played)[:12] == [0, 1, 2, 3, 4, 5, 6, None, 8, 9, 10, 11]
    assert played[7][1] == (7 * FRAME, None)
    assert buffer.statistics.concealed == 1


def test_reordered_packets_play_in_order() -> None:
    buffer = AudioJitterBuffer(48000)
    arrivals = [(1 + index * FRAME_S + (0.019 if index % 3 == 0 else 0.0), index) for index in range(60)]
    arrivals[9] = (1 + 10.5 * FRAME_S - FRAME_S, 9)
    played = play(buffer, arrivals, 2.1)
    assert [index for index in payloads(played)[20:] if index is not None] == sorted(
        index for index in payloads(played)[20:] if index is not None
    )
    assert payloads(played)[20:].count(None) <= 1


def test_the_delay_follows_the_jitter_up_and_down_again() -> None:
    random = Random(3)
    buffer = AudioJitterBuffer(48000)
    arrivals = [(1 + index * FRAME_S + random.random() * 0.1, index) for index in range(1000)]
    played = play(buffer, arrivals, 20.9)
    assert 70 <= buffer.target_delay_ms <= 115
    assert payloads(played)[200:].count(None) / len(played) < 0.05
    calm = [(1 + index * FRAME_S + 0.001, index) for index in range(1000, 2500)]
    play(buffer, calm, 50.9)
    assert buffer.target_delay_ms <= 25
    assert buffer.delay_ms <= 25


def test_the_delay_shrinks_slowly_while_sound_goes_on() -> None:
    buffer = AudioJitterBuffer(48000)
    play(buffer, [(1 + index * FRAME_S + (0.1 if index % 5 == 0 else 0), index) for index in range(200)], 5.0)
    before = buffer.delay_ms
    play(buffer, [(1 + index * FRAME_S, index) for index in range(200, 251)], 6.02)
    assert before - 30 <= buffer.delay_ms <= before


def test_a_late_packet_is_dropped_and_counted() -> None:
    buffer = AudioJitterBuffer(48000)
    arrivals = [(1 + index * FRAME_S + (0.3 if index == 10 else 0), index) for index in range(50)]
    played = play(buffer, arrivals, 2.0)
    assert payloads(played)[10] is None
    assert buffer.statistics.late == 1


def test_duplicates_play_once() -> None:
    buffer = AudioJitterBuffer(48000)
    arrivals = [(1 + index * FRAME_S, index) for index in range(20) for _ in range(2)]
    played = play(buffer, arrivals, 1.38)
    assert payloads(played) == list(range(len(played)))
    assert buffer.statistics.duplicates + buffer.statistics.late == 20


def test_a_sender_that_pauses_is_concealed_for_a_while_then_waited_for() -> None:
    """Discontinuous transmission: numbers go on, timestamps jump."""
    buffer = AudioJitterBuffer(48000)
    play(buffer, [(1 + index * FRAME_S, index) for index in range(20)], 5.0)
    assert buffer.statistics.concealed == 6
    assert buffer.next_deadline() is None
    for index in range(20):
        buffer.insert(20 + index, (300 + index) * FRAME, packet(index), 1 + (300 + index) * FRAME_S)
        frame = buffer.pop(1 + (300 + index) * FRAME_S + 0.02)
        assert frame == ((300 + index) * FRAME, packet(index))
    assert buffer.statistics.concealed == 6


def test_a_pause_within_the_buffer_is_silence_not_loss() -> None:
    buffer = AudioJitterBuffer(48000, AudioJitterConfiguration(minimum_delay_ms=100))
    buffer.insert(1, 0, b"a", 1.0)
    buffer.insert(2, 3 * FRAME, b"b", 1.06)
    assert buffer.pop(1.1) == (0, b"a")
    assert buffer.next_deadline() == pytest.approx(1.16)
    assert buffer.pop(1.161) == (3 * FRAME, b"b")


@pytest.mark.parametrize("jump", [1_000_000_000, -1_000_000_000])
def test_a_jump_of_the_senders_clock_starts_over(jump: int) -> None:
    buffer = AudioJitterBuffer(48000)
    play(buffer, [(1 + index * FRAME_S, index) for index in range(50)], 1.99)
    played = play(
        buffer, [(2 + index * FRAME_S, index) for index in range(50, 100)], 3.9, timestamp=2_000_000_000 + jump
    )
    assert buffer.statistics.resets == 1
    assert [index for index in payloads(played) if index is not None][-40:] == list(range(55, 95))


def test_restarted_numbers_start_over() -> None:
    buffer = AudioJitterBuffer(48000)
    play(buffer, [(1 + index * FRAME_S, index) for index in range(50)], 1.99)
    played = play(buffer, [(2 + index * FRAME_S, index) for index in range(50, 100)], 3.9, first=30_000)
    assert buffer.statistics.resets == 1
    assert payloads(played)[-10:] == list(range(len(played) - 10 + 95 - len(played), 95))


def test_clocks_that_drift_neither_starve_nor_fill_the_buffer() -> None:
    """300 ppm for ten minutes: 180 ms in all."""
    for drift in (1.0003, 0.9997):
        buffer = AudioJitterBuffer(48000)
        played = play(buffer, [(1 + index * FRAME_S * drift, index) for index in range(30_000)], 600.0)
        assert buffer.delay_ms < 40
        assert payloads(played).count(None) < 20


@pytest.mark.parametrize("numbers", [{"maximum_packets": 30}, {"maximum_span_ms": 600}], ids=["packets", "span"])
def test_a_burst_that_nobody_plays_is_bounded(numbers: dict[str, int]) -> None:
    buffer = AudioJitterBuffer(48000, AudioJitterConfiguration(**numbers))
    for index in range(200):
        buffer.insert(index, index * FRAME, packet(index), 1.0 + index * FRAME_S)
    assert buffer.statistics.overflowed >= 168
    frame = buffer.pop(100.0)
    assert frame is not None
    assert frame[0] >= 168 * FRAME


def test_frames_of_another_length_are_learnt() -> None:
    buffer = AudioJitterBuffer(48000, AudioJitterConfiguration(minimum_delay_ms=150))
    for index in (0, 1, 2, 4):
        buffer.insert(index, index * 2880, packet(index), 1 + index * 0.06)
    played: list[bytes | None] = []
    while (deadline := buffer.next_deadline()) is not None and len(played) < 5:
        played.append((buffer.pop(deadline) or (0, b""))[1])
    assert played == [packet(0), packet(1), packet(2), None, packet(4)]


@pytest.mark.parametrize("frame_ms", [30, 40, 60, 120])
def test_long_frames_are_learnt_though_each_was_handed_out_before_the_next_came(frame_ms: int) -> None:
    buffer, step = AudioJitterBuffer(48000), 48 * frame_ms
    for index in range(50):
        at = 1 + index * frame_ms / 1000
        while (deadline := buffer.next_deadline()) is not None and deadline <= at:
            assert buffer.pop(deadline) is not None
        buffer.insert(index, index * step, packet(index), at)
    assert buffer.statistics.concealed <= 2 * (frame_ms - 1) // 20, "two frames are needed to be sure"
    assert buffer.statistics.late == 0


def test_configuration_that_makes_no_sense_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="rise"):
        AudioJitterConfiguration(minimum_delay_ms=600)
    with pytest.raises(ConfigurationError, match="late_fraction"):
        AudioJitterConfiguration(late_fraction=0)
