"""Jitter buffers and stream helpers under any order of any numbers: no exception, and every bound holds."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from support.toy_codec import ToyDepacketizer
from triortc.engine.jitter.audio import AudioJitterBuffer
from triortc.engine.jitter.configuration import AudioJitterConfiguration, VideoJitterConfiguration
from triortc.engine.jitter.video import VideoJitterBuffer
from triortc.engine.rtcp.packets import parse_compound
from triortc.engine.streams.configuration import FeedbackConfiguration, NackConfiguration
from triortc.engine.streams.nack_generator import NackGenerator
from triortc.engine.streams.receive_statistics import ReceiveStatistics
from triortc.engine.streams.transport_feedback_recorder import TransportFeedbackRecorder

NUMBERS = st.one_of(st.integers(0, 40), st.integers(65500, 65535), st.integers(0, 65535))
TIMESTAMPS = st.one_of(st.integers(0, 20).map(lambda n: n * 960), st.integers(0, 0xFFFFFFFF))
STEPS = st.sampled_from([0.0, 0.001, 0.02, 0.1, 0.7, 5.0, 60.0])


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.tuples(NUMBERS, TIMESTAMPS, st.booleans(), st.sampled_from([b"K1", b"D2", b"c3", b"X", b""]), STEPS),
        max_size=80,
    )
)
def test_video_of_any_packets(packets: list[tuple[int, int, bool, bytes, float]]) -> None:
    buffer = VideoJitterBuffer(ToyDepacketizer(), VideoJitterConfiguration(maximum_packets=20, maximum_bytes=100))
    now = 1.0
    for number, timestamp, marker, payload, step in packets:
        now += step
        buffer.insert(number, timestamp, marker, payload, now)
        assert buffer.buffered_packets <= 20
        deadline = buffer.next_deadline()
        if deadline is not None and deadline <= now:
            buffer.handle_timeout(now)
            after = buffer.next_deadline()
            assert after is None or after > now
        while (frame := buffer.poll_frame()) is not None:
            assert frame.data.strip(b"123") == b""
        while buffer.poll_event() is not None:
            pass


@settings(max_examples=200, deadline=None)
@given(st.permutations(range(40)), st.integers(0, 65535))
def test_video_in_any_order_within_the_tolerance_loses_nothing(order: list[int], first: int) -> None:
    buffer = VideoJitterBuffer(ToyDepacketizer())
    buffer.insert(first, 0, True, b"K", 1.0)
    for index in order:
        buffer.insert(
            (first + 1 + index) & 0xFFFF, 3000 * (1 + index // 4), index % 4 == 3, b"c" if index % 4 else b"D", 1.0
        )
    frames = 0
    while buffer.poll_frame() is not None:
        frames += 1
    assert frames == 11


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(NUMBERS, TIMESTAMPS, STEPS, st.integers(0, 3)), max_size=80))
def test_audio_of_any_packets(packets: list[tuple[int, int, float, int]]) -> None:
    buffer = AudioJitterBuffer(48000, AudioJitterConfiguration(maximum_packets=10, maximum_span_ms=600))
    now = 1.0
    for number, timestamp, step, pops in packets:
        now += step
        buffer.insert(number, timestamp, b"x", now)
        for _ in range(pops):
            deadline = buffer.next_deadline()
            frame = buffer.pop(now)
            assert (frame is not None) is (deadline is not None and deadline <= now)
        assert 20 <= buffer.delay_ms <= 500
    statistics = buffer.statistics
    assert statistics.inserted == len(packets)
    frames = 0
    while (deadline := buffer.next_deadline()) is not None:
        assert buffer.pop(deadline) is not None
        frames += 1
        assert frames < 100


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(NUMBERS, TIMESTAMPS, STEPS), max_size=80))
def test_nack_statistics_and_feedback_of_any_packets(packets: list[tuple[int, int, float]]) -> None:
    nack = NackGenerator(NackConfiguration(maximum_missing_packets=30))
    statistics = ReceiveStatistics(1, 48000)
    recorder = TransportFeedbackRecorder(
        sender_ssrc=1, configuration=FeedbackConfiguration(maximum_packets=10, maximum_gap_packets=50)
    )
    now = 1.0
    for number, timestamp, step in packets:
        now += step
        nack.note(number, now)
        assert nack.missing_packets <= 30
        asked = nack.due(now)
        assert len(asked) == len(set(asked)) <= 30
        deadline = nack.next_deadline()
        assert deadline is None or deadline > now or nack.missing_packets
        statistics.note(number, timestamp, now, 10)
        recorder.note(number, now)
        for feedback in recorder.due(now):
            assert len(parse_compound(feedback)) == 1
        block = statistics.report_block(now)
        assert block is None or 0 <= block.fraction_lost <= 255
