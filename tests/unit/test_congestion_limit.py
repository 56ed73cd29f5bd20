"""What a source is held to whose stream goes on over an estimated path: how full it is, not how little was sent."""

from __future__ import annotations

from triortc.engine.congestion.configuration import CongestionConfiguration
from triortc.engine.congestion.send_side import SendSideEstimator


def sending(estimator: SendSideEstimator, *, seconds: float, start: float = 0.0) -> float:
    """Let 400 kbit/s go out for so long; the time afterwards."""
    now = start
    while now < start + seconds:
        estimator.on_sent(None, 1000, now)
        now += 0.02
    return now


def test_a_path_that_never_was_full_limits_nobody() -> None:
    estimator = SendSideEstimator()
    now = sending(estimator, seconds=3.0)
    estimator.on_receiver_report(0.0, 0.05, now)
    assert estimator.limit_bps(now) is None


def test_loss_limits_the_source_to_the_estimate_and_is_forgotten_after_a_while() -> None:
    estimator = SendSideEstimator(CongestionConfiguration(limit_memory_ms=10_000))
    now = sending(estimator, seconds=3.0)
    estimator.on_receiver_report(0.4, 0.05, now)
    assert estimator.limit_bps(now) == estimator.target_bps < 600_000
    assert estimator.limit_bps(now + 9.9) == estimator.target_bps
    assert estimator.limit_bps(now + 10.1) is None


def test_a_receivers_own_limit_is_passed_on_as_it_is() -> None:
    estimator = SendSideEstimator()
    estimator.on_remb(250_000, 1.0)
    assert estimator.limit_bps(1.0) == 250_000
    assert estimator.limit_bps(1000.0) == 250_000


def test_a_decrease_without_loss_holds_a_source_back_no_further_than_the_floor() -> None:
    estimator = SendSideEstimator(CongestionConfiguration(delay_limit_floor_bps=1_000_000))
    estimator._feedback_seen = True
    now = sending(estimator, seconds=3.0)  # nothing is reported any more: the estimate is halved again and again
    assert estimator.target_bps < 600_000
    assert estimator.limit_bps(now) == 1_000_000
