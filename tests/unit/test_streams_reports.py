"""Receive and send statistics, report composition and round-trip time (RFC 3550 6.4, A.1, A.3, A.8)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from triortc.engine.rtcp.ntp import unix_to_ntp
from triortc.engine.rtcp.packets import (
    ReceiverReport,
    ReportBlock,
    SenderReport,
    SourceDescription,
    build_compound,
    parse_compound,
)
from triortc.engine.streams.configuration import ReportConfiguration
from triortc.engine.streams.receive_statistics import ReceiveStatistics
from triortc.engine.streams.report_scheduler import ReportScheduler, compose_report
from triortc.engine.streams.round_trip_time import RttEstimator
from triortc.engine.streams.sender_statistics import ClockMapping, SenderStatistics
from triortc.errors import ConfigurationError

ROUND_TRIP = json.loads((Path(__file__).parent.parent / "vectors" / "rtcp.json").read_text())["round_trip_time"]


def feed(statistics: ReceiveStatistics, numbers: list[int], start: float = 10.0) -> None:
    for index, number in enumerate(numbers):
        statistics.note(number & 0xFFFF, index * 960, start + index * 0.02, 100)


def block(statistics: ReceiveStatistics, now: float = 50.0) -> ReportBlock:
    found = statistics.report_block(now)
    assert found is not None
    return found


def test_no_report_block_before_the_first_packet() -> None:
    assert ReceiveStatistics(1, 48000).report_block(1.0) is None
    assert ReceiveStatistics(1, 48000).packets_lost == 0


def test_fraction_lost_is_of_the_interval_and_cumulative_lost_of_the_stream() -> None:
    """RFC 3550 A.3."""
    statistics = ReceiveStatistics(7, 48000)
    feed(statistics, [n for n in range(100, 200) if n % 4])
    first = block(statistics)
    assert first.ssrc == 7
    assert first.highest_sequence_number == 199
    assert first.cumulative_lost == 24  # the very first number, 100, was never expected
    assert first.fraction_lost == 24 * 256 // 99
    feed(statistics, list(range(200, 300)))
    second = block(statistics)
    assert (second.fraction_lost, second.cumulative_lost) == (0, 24)
    assert block(statistics).fraction_lost == 0
    assert (statistics.packets_received, statistics.bytes_received, statistics.packets_lost) == (175, 17500, 24)


def test_the_highest_number_counts_wraps() -> None:
    """RFC 3550 6.4.1: the upper 16 bits are the count of cycles."""
    statistics = ReceiveStatistics(1, 48000)
    feed(statistics, list(range(65500, 65536 + 10)))
    assert block(statistics).highest_sequence_number == 0x10009


def test_duplicates_make_the_cumulative_loss_negative() -> None:
    statistics = ReceiveStatistics(1, 48000)
    feed(statistics, [1, 2, 2, 2, 3])
    assert block(statistics).cumulative_lost == -2
    assert block(statistics).fraction_lost == 0


def test_a_restarted_sender_is_no_loss() -> None:
    """RFC 3550 A.1."""
    statistics = ReceiveStatistics(1, 48000)
    feed(statistics, [*range(10), *range(40000, 40010)])
    report = block(statistics)
    assert (report.fraction_lost, report.cumulative_lost, statistics.dropped, statistics.restarts) == (0, 0, 1, 1)


def test_jitter_is_smoothed_by_sixteen() -> None:
    """RFC 3550 A.8: J += (|D| - J) / 16."""
    statistics = ReceiveStatistics(1, 1000)
    expected = 0.0
    arrivals = [0.0, 0.020, 0.055, 0.060, 0.100]
    for index, arrival in enumerate(arrivals):
        statistics.note(index, index * 20, 5 + arrival)
        if index:
            difference = abs((arrival - arrivals[index - 1]) * 1000 - 20)
            expected += (difference - expected) / 16
    assert statistics.jitter_s * 1000 == pytest.approx(expected)
    assert block(statistics).jitter == int(expected)


def test_a_jump_of_the_senders_clock_is_no_jitter() -> None:
    statistics = ReceiveStatistics(1, 48000)
    feed(statistics, [1, 2, 3])
    statistics.note(4, 0x80000000, 10.06)
    statistics.note(5, 0x80000000 + 960, 10.08)
    assert statistics.jitter_s < 0.001


def test_timestamps_wrap_without_jitter() -> None:
    statistics = ReceiveStatistics(1, 48000)
    for index in range(20):
        statistics.note(index, (0xFFFFFFFF - 5000 + index * 960) & 0xFFFFFFFF, 1 + index * 0.02)
    assert statistics.jitter_s < 1e-6


def test_lsr_and_dlsr_tell_the_last_sender_report() -> None:
    statistics = ReceiveStatistics(1, 48000)
    feed(statistics, [1])
    assert (block(statistics).last_sr, block(statistics).delay_since_last_sr) == (0, 0)
    statistics.note_sender_report(0xB44DB70520000000, 20.0)
    report = block(statistics, 25.25)
    assert (report.last_sr, report.delay_since_last_sr) == (0xB7052000, 0x54000)


def test_round_trip_time_of_rfc3550_figure_2() -> None:
    estimator = RttEstimator()
    report = ReportBlock(1, 0, 0, 0, 0, int(ROUND_TRIP["lsr"], 16), int(ROUND_TRIP["dlsr"], 16))
    assert estimator.note_report_block(report, int(ROUND_TRIP["now_ntp_mid32"], 16)) == ROUND_TRIP["rtt_s"]
    assert estimator.rtt_s == ROUND_TRIP["rtt_s"]


def test_round_trip_time_is_smoothed_and_impossible_ones_are_not_taken() -> None:
    estimator = RttEstimator()
    for rtt in (0.1, 0.1, 0.9):
        estimator.note_report_block(ReportBlock(1, 0, 0, 0, 0, 1000, 0), 1000 + round(rtt * 65536))
    assert estimator.rtt_s == pytest.approx(0.2, abs=0.001)
    assert estimator.note_report_block(ReportBlock(1, 0, 0, 0, 0, 0, 0), 5) is None
    assert estimator.note_report_block(ReportBlock(1, 0, 0, 0, 0, 1000, 0), 1000 + 65536 * 61) is None
    assert estimator.note_report_block(ReportBlock(1, 0, 0, 0, 0, 1000, 5), 1000) == 0.0
    assert (estimator.measurements, estimator.last_s) == (4, 0.0)
    assert estimator.total_s == pytest.approx(1.1, abs=0.001)


def test_a_sender_report_extrapolates_the_rtp_clock_to_its_ntp_time() -> None:
    statistics = SenderStatistics(5, 90000)
    assert statistics.sender_report(1.0, 1.7e9) is None
    statistics.note(0xFFFFFF00, 1000, 10.0)
    statistics.note(0xFFFFFFF0, 500, 10.5)
    report = statistics.sender_report(11.0, 1.7e9 + 0.25)
    assert report == SenderReport(5, unix_to_ntp(1.7e9 + 0.25), (0xFFFFFFF0 + 45000) & 0xFFFFFFFF, 2, 1500)


def test_the_clock_mapping_of_a_sender_report_goes_both_ways_across_a_wrap() -> None:
    mapping = ClockMapping(90000)
    assert mapping.unix_time_s(0) is None
    assert mapping.rtp_timestamp(0.0) is None
    mapping.note_sender_report(unix_to_ntp(1.7e9), 0xFFFFFFF0)
    assert mapping.unix_time_s((0xFFFFFFF0 + 90000) & 0xFFFFFFFF) == pytest.approx(1.7e9 + 1)
    assert mapping.unix_time_s(0xFFFFFFF0 - 45000) == pytest.approx(1.7e9 - 0.5)
    assert mapping.rtp_timestamp(1.7e9 + 1) == (0xFFFFFFF0 + 90000) & 0xFFFFFFFF


def test_the_schedule_spreads_intervals_from_half_to_one_and_a_half() -> None:
    """RFC 3550 6.2; half of that before the first report."""
    spreads = iter([b"\x00\x00", b"\xff\xff", b"\x80\x00"])
    scheduler = ReportScheduler(video=True, random_bytes=lambda count: next(spreads))
    assert scheduler.next_deadline() is None
    assert not scheduler.due(5.0)
    scheduler.start(10.0)
    assert scheduler.next_deadline() == 10.25
    assert not scheduler.due(10.2)
    assert scheduler.due(10.25)
    assert scheduler.next_deadline() == pytest.approx(11.75, abs=0.001)
    assert scheduler.due(12.0)
    assert scheduler.next_deadline() == 13.0
    scheduler.stop()
    assert scheduler.next_deadline() is None


def test_audio_alone_reports_less_often() -> None:
    scheduler = ReportScheduler(video=False, random_bytes=lambda count: b"\x80\x00")
    scheduler.start(0.0)
    assert scheduler.next_deadline() == 2.5


def test_an_interval_of_zero_is_the_embedders_mistake() -> None:
    with pytest.raises(ConfigurationError, match="video_interval_ms"):
        ReportConfiguration(video_interval_ms=0)


def receivers(count: int) -> list[ReceiveStatistics]:
    chosen = [ReceiveStatistics(100 + index, 90000) for index in range(count)]
    for statistics in chosen:
        feed(statistics, [1, 2])
    return chosen


def test_a_report_begins_with_sender_reports_and_ends_with_the_name() -> None:
    """RFC 3550 6.1."""
    senders = [SenderStatistics(ssrc, 90000) for ssrc in (1, 2, 3)]
    for sender in senders[:2]:
        sender.note(0, 10, 1.0)
    report = compose_report(
        senders=senders, receivers=receivers(2), receiver_ssrc=9, cname="name", now=2.0, unix_time_s=1.7e9
    )
    assert [type(packet) for packet in report] == [SenderReport, SenderReport, SourceDescription]
    first, second, description = report
    assert isinstance(first, SenderReport)
    assert isinstance(second, SenderReport)
    assert isinstance(description, SourceDescription)
    assert [found.ssrc for found in first.report_blocks] == [100, 101]
    assert second.report_blocks == ()
    assert [(chunk.ssrc, chunk.cname) for chunk in description.chunks] == [(1, "name"), (2, "name")]
    assert parse_compound(build_compound(report)) == report


def test_who_does_not_send_gives_a_receiver_report_even_an_empty_one() -> None:
    empty = compose_report(senders=[], receivers=[], receiver_ssrc=9, cname="n", now=2.0, unix_time_s=1.7e9)
    assert empty[0] == ReceiverReport(9)
    many = compose_report(senders=[], receivers=receivers(40), receiver_ssrc=9, cname="n", now=2.0, unix_time_s=1.7e9)
    assert [len(packet.report_blocks) for packet in many if isinstance(packet, ReceiverReport)] == [31, 9]
