"""The pieces that the send-side estimate is made of: rate, trend of the delay, what was sent."""

from __future__ import annotations

import pytest

from triortc.engine.congestion.delay_trend import DelayTrend, PathUsage
from triortc.engine.congestion.rate_meter import RateMeter
from triortc.engine.congestion.sent_history import SentHistory


def test_the_rate_is_of_the_last_window() -> None:
    meter = RateMeter(0.5)
    assert meter.rate_bps(1.0) is None
    for index in range(100):
        meter.add(1000, 1 + index * 0.01)
        if index == 10:
            assert meter.rate_bps(1.1) is None
    assert meter.rate_bps(1.99) == pytest.approx(800_000, rel=0.06)
    assert meter.rate_bps(2.24) == pytest.approx(400_000, rel=0.06)
    assert meter.rate_bps(9.0) == 0


def test_a_growing_queue_is_overuse_and_a_draining_one_underuse() -> None:
    trend = DelayTrend(12.5)
    arrival = 0.0
    seen = []
    for index in range(400):
        sent = index * 0.01
        step = 0.01 if index < 100 else 0.012 if index < 180 else 0.006 if index < 220 else 0.01
        arrival += step
        trend.note([(sent, sent, arrival)])
        seen.append(trend.usage)
    assert set(seen[:100]) == {PathUsage.NORMAL}
    assert PathUsage.OVERUSED in seen[100:180]
    assert PathUsage.UNDERUSED in seen[180:260]
    assert seen[-1] is PathUsage.NORMAL


def test_a_jump_of_the_peers_clock_starts_the_trend_anew() -> None:
    trend = DelayTrend(12.5)
    for index in range(300):
        trend.note([(index * 0.01, index * 0.01, index * 0.01 + (500 if index > 100 else 0))])
        assert trend.usage is PathUsage.NORMAL


def test_the_history_gives_each_packet_once_and_is_bounded() -> None:
    history = SentHistory(100)
    for number in range(65500, 65536 + 100):
        history.store(number & 0xFFFF, number, float(number))
    assert history.take_groups(65500, [(0, 0)], 0.005) == (0, [])
    assert history.take_groups(99, [(0, 7)], 0.005) == (1, [(65635.0, 65635.0, 65635, 7)])
    assert history.take_groups(99, [(0, 7)], 0.005) == (0, [])
    assert not history.pending(99, 1)
    assert history.pending(98, 1)
    assert history.newly_reported(50, 65535)[1] <= 128
    assert history.newly_reported(40, 5)[1] == 0


def test_packets_that_left_within_a_groups_time_of_its_first_are_taken_as_one() -> None:
    history = SentHistory(64)
    for number, sent_at in enumerate((1.0, 1.0, 1.004, 1.005, 1.006, 1.1, 1.099)):
        history.store(number, 100, sent_at)
    arrivals = [(offset, 4) for offset in range(7)]
    assert history.take_groups(0, arrivals, 0.005) == (
        7,
        [(1.0, 1.005, 400, 16), (1.006, 1.006, 100, 20), (1.1, 1.1, 100, 24), (1.099, 1.099, 100, 28)],
    )
