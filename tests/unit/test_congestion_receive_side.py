"""The receiver's estimate and the meters below both estimators."""

from __future__ import annotations

import pytest

from triortc.engine.congestion.delay_trend import DelayTrend, PathUsage
from triortc.engine.congestion.rate_meter import RateMeter
from triortc.engine.congestion.receive_side import ReceiveSideEstimator
from triortc.engine.congestion.sent_history import SentHistory


def receive(estimator: ReceiveSideEstimator, bps: int, seconds: float, now: float) -> float:
    for _ in range(round(seconds * 100)):
        now += 0.01
        estimator.note(bps // 800, now)
        estimator.due(sender_ssrc=1, media_ssrcs=[2], now=now)
    return now


def test_remb_goes_out_once_a_second_and_at_once_when_the_estimate_falls() -> None:
    estimator = ReceiveSideEstimator()
    assert estimator.next_deadline() is None
    estimator.note(1000, 1.0)
    assert estimator.due(sender_ssrc=1, media_ssrcs=[2], now=1.5) is None
    remb = estimator.due(sender_ssrc=1, media_ssrcs=[2, 3], now=2.0)
    assert remb is not None
    assert (remb.sender_ssrc, remb.bitrate_bps, remb.ssrcs) == (1, 600_000, (2, 3))
    now = receive(estimator, 500_000, 3, 2.0)
    estimator.on_loss(0.4, now)
    assert estimator.next_deadline() == now
    remb = estimator.due(sender_ssrc=1, media_ssrcs=[2], now=now)
    assert remb is not None
    assert remb.bitrate_bps == pytest.approx(400_000, rel=0.05)


def test_the_estimate_grows_with_what_comes_in_and_a_pause_does_not_lower_it() -> None:
    estimator = ReceiveSideEstimator()
    now = receive(estimator, 1_000_000, 10, 0.0)
    assert estimator.estimate_bps == pytest.approx(1_500_000, rel=0.05)
    before = estimator.estimate_bps
    receive(estimator, 10_000, 30, now)
    assert estimator.estimate_bps == before


def test_loss_between_the_thresholds_holds_the_estimate() -> None:
    estimator = ReceiveSideEstimator()
    estimator.on_loss(0.05, 0.0)
    receive(estimator, 5_000_000, 10, 0.0)
    assert estimator.estimate_bps == 600_000


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
        trend.note(sent, arrival)
        seen.append(trend.usage)
    assert set(seen[:100]) == {PathUsage.NORMAL}
    assert PathUsage.OVERUSED in seen[100:180]
    assert PathUsage.UNDERUSED in seen[180:260]
    assert seen[-1] is PathUsage.NORMAL


def test_a_jump_of_the_peers_clock_starts_the_trend_anew() -> None:
    trend = DelayTrend(12.5)
    for index in range(300):
        trend.note(index * 0.01, index * 0.01 + (500 if index > 100 else 0))
        assert trend.usage is PathUsage.NORMAL


def test_the_history_gives_each_packet_once_and_is_bounded() -> None:
    history = SentHistory(100)
    for number in range(65500, 65536 + 100):
        history.store(number & 0xFFFF, number, float(number))
    assert history.take_groups(65500, [(0, 1)]) == (0, [])
    assert history.take_groups(90, [(9, 7)]) == (1, [(65635.0, 65635, 7)])
    assert history.take_groups(99, [(0, 7)]) == (0, [])
    assert not history.pending(99, 1)
    assert history.pending(98, 1)
    assert history.newly_reported(50, 65535)[1] <= 128
    assert history.newly_reported(40, 5)[1] == 0
