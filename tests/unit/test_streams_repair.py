"""NACK generation, retransmission history, RTX ends and keyframe requests in virtual time."""

from __future__ import annotations

import pytest

from triortc.engine.rtp.header import build_header, parse_header
from triortc.engine.streams.configuration import (
    KeyframeConfiguration,
    NackConfiguration,
    RetransmissionConfiguration,
)
from triortc.engine.streams.keyframe_requests import KeyframeRequestThrottle
from triortc.engine.streams.nack_generator import NackGenerator
from triortc.engine.streams.retransmission_history import CHUNK_BYTES, RetransmissionHistory
from triortc.engine.streams.rtx import RtxReceiver, RtxSender
from triortc.errors import ConfigurationError


def test_packets_in_order_ask_for_nothing() -> None:
    generator = NackGenerator()
    for number in range(65500, 65536 + 100):
        generator.note(number & 0xFFFF, 1.0)
    assert generator.next_deadline() is None
    assert generator.due(2.0) == []


def test_a_gap_is_asked_for_when_it_is_no_reordering_any_more() -> None:
    generator = NackGenerator()
    generator.note(65534, 1.0)
    generator.note(1, 1.001)
    assert generator.next_deadline() == pytest.approx(1.001)
    assert generator.due(1.001) == [65535]  # two behind: as far as the tolerance goes
    assert generator.next_deadline() == pytest.approx(1.011)  # one behind: perhaps only overtaken
    generator.note(2, 1.002)
    assert generator.next_deadline() == pytest.approx(1.002)
    assert generator.due(1.002) == [0]


def test_a_gap_at_the_end_of_a_burst_is_asked_for_after_the_wait() -> None:
    generator = NackGenerator()
    generator.note(10, 1.0)
    generator.note(12, 1.0)
    assert generator.due(1.009) == []
    assert generator.due(1.011) == [11]


def test_a_reordered_packet_is_not_asked_for() -> None:
    generator = NackGenerator()
    for number in (1, 3, 2, 4, 5, 6):
        generator.note(number, 1.0)
    assert generator.next_deadline() is None
    assert (generator.recovered, generator.missing_packets) == (0, 0)


def test_requests_are_a_growing_round_trip_apart_until_the_packet_comes() -> None:
    generator = NackGenerator(NackConfiguration(interval_per_rtt=1.0, backoff=2.0))
    generator.rtt_s = 0.05
    generator.note(1, 1.0)
    generator.note(3, 1.0)
    asked = []
    for _ in range(3):
        deadline = generator.next_deadline()
        assert deadline is not None
        asked.append(deadline)
        assert generator.due(deadline) == [2]
    assert asked == pytest.approx([1.01, 1.06, 1.16])
    generator.note(2, 1.2)
    assert generator.next_deadline() is None
    assert generator.recovered == 1


def test_a_packet_is_given_up_by_age_and_by_count_of_requests() -> None:
    for configuration in (NackConfiguration(maximum_age_ms=300), NackConfiguration(maximum_requests=3)):
        generator = NackGenerator(configuration)
        generator.rtt_s = 0.02
        generator.note(1, 1.0)
        generator.note(3, 1.0)
        requests = 0
        while (deadline := generator.next_deadline()) is not None:
            requests += len(generator.due(deadline))
        assert 3 <= requests <= 10
        assert (generator.given_up, generator.missing_packets) == (1, 0)


def test_a_gap_wider_than_the_list_is_not_asked_for() -> None:
    generator = NackGenerator(NackConfiguration(maximum_missing_packets=50))
    generator.note(1, 1.0)
    generator.note(3, 1.0)
    generator.note(100, 1.0)
    assert (generator.missing_packets, generator.given_up, generator.next_deadline()) == (0, 1, None)
    generator.note(102, 1.1)
    assert generator.due(1.2) == [101]


def test_while_repair_pauses_nothing_is_asked_for_and_new_gaps_are_afterwards() -> None:
    generator = NackGenerator()
    for number, now in ((1, 1.0), (5, 1.1)):
        generator.note(number, now)
    generator.pause(2.0)
    generator.note(9, 1.2)
    assert (generator.next_deadline(), generator.missing_packets, generator.given_up) == (None, 0, 6)
    generator.note(12, 2.0)
    assert generator.due(2.1) == [10, 11]


def test_a_restarted_sender_is_no_gap() -> None:
    generator = NackGenerator()
    for number in (5, 6, 50000, 50001, 50002):
        generator.note(number, 1.0)
    assert generator.next_deadline() is None
    generator.note(50004, 1.0)
    assert generator.due(1.1) == [50003]


def test_what_came_before_a_keyframe_is_forgotten() -> None:
    generator = NackGenerator()
    for number in (65530, 65533, 2, 5):
        generator.note(number, 1.0)
    generator.forget_before(2)
    assert generator.due(2.0 - 0.5) == [3, 4]
    generator.forget_before(6)
    assert generator.next_deadline() is None


def header(sequence_number: int, payload_type: int = 96) -> bytes:
    return build_header(payload_type=payload_type, sequence_number=sequence_number, timestamp=1, ssrc=2)


def test_a_sent_packet_is_found_and_a_view_was_copied() -> None:
    history = RetransmissionHistory()
    buffer = bytearray(b"payload")
    history.store(65535, header(65535), memoryview(buffer), 1.0)
    buffer[:] = b"another"
    assert history.lookup(65535, 1.1) == (header(65535), b"payload")
    assert history.lookup(0, 1.1) is None


def test_each_packet_of_a_run_is_found_and_none_beside_it() -> None:
    history = RetransmissionHistory(RetransmissionConfiguration(maximum_packets=64))
    packets = [bytes([n]) * 1200 for n in range(40)]  # more than one chunk holds
    numbers = [(65520 + n) & 0xFFFF for n in range(40)]
    history.store(65519, header(65519), b"before", 1.0)
    history.store_run(65520, memoryview(b"".join(packets)), 1200, 1.0)
    history.store(24, header(24), b"behind", 1.0)
    assert [history.lookup(number, 1.1) for number in numbers] == [(b"", packet) for packet in packets]
    assert history.lookup(65519, 1.1) == (header(65519), b"before")
    assert history.lookup(24, 1.1) == (header(24), b"behind")
    assert history.lookup(65520 + 64 & 0xFFFF, 1.1) is None  # its place is that of the run's first packet
    assert history.memory_bytes == 2 * CHUNK_BYTES


def test_history_is_bounded_by_count_and_age() -> None:
    history = RetransmissionHistory(RetransmissionConfiguration(maximum_packets=60, maximum_age_ms=500))
    for number in range(65500, 65536 + 64):
        history.store(number & 0xFFFF, header(number & 0xFFFF), b"", 1.0)
    assert history.lookup(65535, 1.1) is None
    assert all(history.lookup(number, 1.1) is not None for number in range(64))
    assert history.lookup(5, 1.6) is None
    assert history.refused_by_age == 2
    history.clear()
    assert history.lookup(6, 1.2) is None


def test_a_packet_is_resent_at_most_once_per_round_trip() -> None:
    history = RetransmissionHistory()
    history.rtt_s = 0.1
    history.store(1, header(1), b"x", 1.0)
    assert [history.lookup(1, at) is not None for at in (1.02, 1.05, 1.11, 1.13)] == [True, False, False, True]
    assert history.refused_by_interval == 2


def test_a_peer_that_claims_a_long_round_trip_does_not_make_the_history_remember_more() -> None:
    history = RetransmissionHistory(RetransmissionConfiguration(maximum_age_ms=500))
    history.rtt_s = 60.0
    for number in range(5000):
        history.store(number, b"header", b"payload", number / 100)
        assert history.lookup(number, number / 100) is not None
        assert history.lookup(number, number / 100 + 0.4) is None
    assert len(history._resent_at) <= 600


def test_retransmissions_stay_within_their_rate_after_an_outage() -> None:
    history = RetransmissionHistory(RetransmissionConfiguration(maximum_bps=800_000, maximum_burst_bytes=50_000))
    for number in range(1000):
        history.store(number, header(number), bytes(988), 1.0)
    now, resent = 1.5, 0
    for _ in range(10):
        resent += sum(history.lookup(number, now) is not None for number in range(1000))
        now += 0.1
    assert resent <= 50 + 0.9 * 100 + 10
    assert resent >= 100
    assert history.packets_resent == resent
    assert history.refused_by_rate > 5000


def test_rtx_round_trip_gives_the_original_back() -> None:
    """RFC 4588: the stream has a payload type, a source and sequence numbers of its own."""
    sender = RtxSender(77, {96: 97}, 65535)
    receiver = RtxReceiver(2, {97: 96})
    for number in (10, 11):
        wrapped = sender.wrap(header(number), b"payload")
        assert wrapped is not None
        rtx_header, rtx_payload, rtx_number = wrapped
        assert rtx_number == (65535 if number == 10 else 0)
        parsed = parse_header(rtx_header)
        assert parsed is not None
        assert parsed[1:5] == (97, rtx_number, 1, 77)
        restored = receiver.restore(parsed, rtx_payload)
        assert restored is not None
        assert restored[0] == parse_header(header(number))
        assert bytes(restored[1]) == b"payload"
    assert receiver.restored == 2


def test_rtx_of_an_unknown_payload_type_is_dropped() -> None:
    assert RtxSender(77, {96: 97}, 0).wrap(header(1, 100), b"") is None
    receiver = RtxReceiver(2, {97: 96})
    parsed = parse_header(header(1, 99))
    assert parsed is not None
    assert receiver.restore(parsed, b"abc") is None
    assert receiver.dropped == 1


def test_keyframes_are_asked_for_at_once_then_with_growing_waits() -> None:
    throttle = KeyframeRequestThrottle(
        KeyframeConfiguration(minimum_interval_ms=250, maximum_interval_ms=600, backoff=2.0)
    )
    assert throttle.next_deadline() is None
    throttle.request(1.0)
    throttle.request(1.0)
    sent = []
    for _ in range(5):
        deadline = throttle.next_deadline()
        assert deadline is not None
        assert throttle.due(deadline)
        sent.append(deadline)
    assert sent == pytest.approx([1.0, 1.25, 1.75, 2.35, 2.95])
    assert throttle.waiting
    throttle.keyframe_arrived()
    assert not throttle.waiting
    assert throttle.next_deadline() is None
    assert not throttle.due(99.0)
    assert (throttle.sent, throttle.command_number) == (5, 0)


def test_a_wish_right_after_a_keyframe_waits_for_the_least_interval() -> None:
    throttle = KeyframeRequestThrottle()
    throttle.request(1.0)
    assert throttle.due(1.0)
    throttle.keyframe_arrived()
    throttle.request(1.1)
    assert not throttle.due(1.1)
    assert throttle.due(1.25)
    assert throttle.command_number == 1  # RFC 5104 4.3.1.2: a new command, not a repetition


def test_repetitions_wait_for_a_long_round_trip() -> None:
    throttle = KeyframeRequestThrottle()
    throttle.rtt_s = 0.8
    throttle.request(1.0)
    assert throttle.due(1.0)
    assert throttle.next_deadline() == pytest.approx(1.8)


def test_numbers_of_zero_are_the_embedders_mistake() -> None:
    with pytest.raises(ConfigurationError, match="maximum_packets"):
        RetransmissionConfiguration(maximum_packets=0)
    with pytest.raises(ConfigurationError, match="backoff"):
        NackConfiguration(backoff=-1)
