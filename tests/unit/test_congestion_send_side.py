"""The send-side estimate over a simulated bottleneck in virtual time."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from statistics import mean

import pytest

from support.virtual_link import VirtualLink
from triortc.engine.congestion.arrivals import ArrivalsInPython
from triortc.engine.congestion.configuration import CongestionConfiguration
from triortc.engine.congestion.delay_trend import DelayTrend, PathUsage
from triortc.engine.congestion.loss_trial import LossTrial
from triortc.engine.congestion.send_side import SendSideEstimator
from triortc.engine.relay.acceleration import acceleration
from triortc.engine.relay.core_arrivals import CoreArrivals
from triortc.engine.rtcp.packets import TransportFeedback, parse_compound
from triortc.engine.streams.transport_feedback_recorder import TransportFeedbackRecorder
from triortc.errors import ConfigurationError

PACKET_BYTES = 1200
TICK_S = 0.005


class Path:
    """A sender that fills its target (or less), a bottleneck, a receiver with feedback, and the way back."""

    def __init__(self, link: VirtualLink[int], *, back_delay_s: float = 0.02, **numbers: int) -> None:
        self.link = link
        self.back: VirtualLink[bytes] = VirtualLink(delay_s=back_delay_s)
        self.estimator = SendSideEstimator(CongestionConfiguration(**numbers))
        self.estimator.rtt_s = link.delay_s + back_delay_s
        self.recorder = TransportFeedbackRecorder(sender_ssrc=1)
        self.now = 100.0
        self._owed_bytes = 0.0
        self._number = 0

    def run(self, duration_s: float, offered: Callable[[int], float] = float) -> list[int]:
        """Send for a while at what `offered` makes of the target, in bits per second.

        Return the target after each tick.
        """
        targets = []
        for _ in range(round(duration_s / TICK_S)):
            self.now += TICK_S
            self._owed_bytes += offered(self.estimator.target_bps) * TICK_S / 8
            while self._owed_bytes >= PACKET_BYTES:
                self._owed_bytes -= PACKET_BYTES
                self.estimator.on_sent(self._number & 0xFFFF, PACKET_BYTES, self.now)
                self.link.send(self._number & 0xFFFF, PACKET_BYTES, self.now)
                self._number += 1
            for arrived_at, number in self.link.receive(self.now):
                self.recorder.note(number, arrived_at)
            for feedback in self.recorder.due(self.now):
                self.back.send(feedback, 60, self.now)
            for _, feedback in self.back.receive(self.now):
                [parsed] = parse_compound(feedback)
                assert isinstance(parsed, TransportFeedback)
                self.estimator.on_feedback(parsed, self.now)
            targets.append(self.estimator.target_bps)
        return targets


@pytest.mark.parametrize("capacity_bps", [300_000, 1_000_000, 2_500_000])
@pytest.mark.parametrize("jitter_s", [0.0, 0.004], ids=["steady", "jittery"])
def test_the_estimate_converges_to_most_of_the_capacity(capacity_bps: int, jitter_s: float) -> None:
    path = Path(VirtualLink(capacity_bps=capacity_bps, jitter_s=jitter_s))
    path.run(30)
    targets = path.run(30)
    assert 0.7 * capacity_bps <= mean(targets) <= 1.0 * capacity_bps
    assert max(targets) < 1.3 * capacity_bps
    assert path.link.dropped / path.link.delivered < 0.02


def test_the_estimate_follows_a_capacity_that_falls_and_rises_again() -> None:
    path = Path(VirtualLink(capacity_bps=2_000_000))
    path.run(20)
    path.link.capacity_bps = 500_000
    path.run(6)
    assert 0.6 * 500_000 <= mean(path.run(10)) <= 1.05 * 500_000
    path.link.capacity_bps = 2_000_000
    path.run(25)
    assert 0.7 * 2_000_000 <= mean(path.run(20)) <= 1.0 * 2_000_000


def test_an_application_that_sends_little_does_not_grow_the_estimate_beyond_what_is_proven() -> None:
    path = Path(VirtualLink(capacity_bps=3_000_000))
    targets = path.run(60, lambda target: 200_000)
    assert max(targets) <= 600_000


def test_an_application_that_sent_little_is_not_trapped_when_it_wants_more() -> None:
    path = Path(VirtualLink(capacity_bps=2_000_000))
    path.run(30, lambda target: min(100_000, target))
    path.run(15)
    assert 0.7 * 2_000_000 <= mean(path.run(20)) <= 1.0 * 2_000_000


def test_a_pause_keeps_the_estimate() -> None:
    path = Path(VirtualLink(capacity_bps=2_000_000))
    before = path.run(30)[-1]
    after = path.run(60, lambda target: 40_000)[-1]
    assert after >= 0.8 * before


def test_one_of_the_first_two_packets_after_a_pause_is_no_sample_of_loss() -> None:
    estimator = SendSideEstimator()
    for first, reported_at in ((0, 100.5), (30, 101.0)):
        for number in range(first, first + 30):
            estimator.on_sent(number, PACKET_BYTES, reported_at - 0.5 + (number - first) * 0.01)
        received = tuple((offset, 40) for offset in range(30))
        estimator.on_feedback(TransportFeedback(1, 2, first, 30, int(reported_at / 0.064), 0, received), reported_at)
    assert estimator.loss == 0
    before = estimator.target_bps
    for number in (60, 61):
        estimator.on_sent(number, PACKET_BYTES, 111.0)
    estimator.on_feedback(TransportFeedback(1, 2, 60, 2, int(111.0 / 0.064), 0, ((1, 40),)), 111.1)
    assert estimator.loss == 0
    assert estimator.target_bps >= before
    assert estimator.limit_bps(111.1) is None


def test_noise_does_not_starve_an_application_that_sends_little() -> None:
    path = Path(VirtualLink(capacity_bps=5_000_000, jitter_s=0.06, seed=5))
    path.run(60, lambda target: min(40_000, target))
    assert path.estimator.target_bps >= 150_000


@pytest.mark.parametrize(("loss", "holds"), [(0.01, True), (0.3, False)])
def test_loss_below_2_percent_is_borne_and_much_loss_lowers_the_estimate(loss: float, holds: bool) -> None:
    path = Path(VirtualLink(capacity_bps=10_000_000, loss=loss), maximum_bps=2_000_000)
    path.run(60)
    assert (path.estimator.target_bps > 600_000) is holds
    if not holds:
        assert path.estimator.target_bps < 150_000
        path.link.loss = 0.0
        path.run(30)
        assert path.estimator.target_bps > 600_000


def test_silence_of_the_feedback_halves_the_estimate_while_sending() -> None:
    path = Path(VirtualLink(capacity_bps=2_000_000))
    before = path.run(20)[-1]
    path.back.loss = 1.0
    path.run(5)
    assert path.estimator.target_bps <= before / 4
    path.back.loss = 0.0
    path.run(40)
    assert mean(path.run(10)) > 0.7 * 2_000_000


def test_no_sending_is_no_silence_of_the_feedback() -> None:
    path = Path(VirtualLink(capacity_bps=2_000_000))
    before = path.run(10)[-1]
    path.run(60, lambda target: 0.0)
    assert path.run(1)[-1] >= 0.8 * before


def test_remb_is_a_cap_and_its_rise_gives_the_estimate_back() -> None:
    estimator = SendSideEstimator()
    estimator.on_remb(100_000, 1.0)
    assert estimator.target_bps == 100_000
    estimator.on_remb(1, 2.0)
    assert estimator.target_bps == 50_000
    estimator.on_remb(1 << 80, 3.0)
    assert estimator.target_bps == 600_000


def test_receiver_reports_rule_where_there_is_no_transport_feedback() -> None:
    """More than 10 % loss lowers, less than 2 % raises, in between nothing happens."""
    estimator = SendSideEstimator()
    now = 0.0

    def report(loss: float, seconds: int) -> int:
        nonlocal now
        for _ in range(seconds):
            for _ in range(100):
                now += 0.01
                estimator.on_sent(None, estimator.target_bps // 800, now)
            estimator.on_receiver_report(loss, 0.05, now)
        return estimator.target_bps

    grown = report(0.0, 6)
    assert grown > 1_500_000
    assert report(0.05, 5) == grown
    fallen = report(0.2, 3)
    assert fallen == pytest.approx(grown * 0.9**3, rel=0.01)
    assert report(0.0, 5) > fallen


def test_receiver_reports_do_not_count_loss_that_transport_feedback_has_told() -> None:
    path = Path(VirtualLink(capacity_bps=2_000_000))
    before = path.run(5)[-1]
    path.estimator.on_receiver_report(0.5, 0.2, path.now)
    assert path.estimator.target_bps == before
    assert path.estimator.rtt_s == 0.2


def test_feedback_about_packets_that_were_never_sent_changes_nothing() -> None:
    estimator = SendSideEstimator()
    for count in range(50):
        received = tuple((offset, 4) for offset in range(100))
        estimator.on_feedback(TransportFeedback(1, 2, count * 100, 65535, count, count, received), 1.0 + count / 10)
    assert estimator.target_bps == 600_000
    assert estimator.loss == 0.0


def test_the_reference_time_may_wrap() -> None:
    """24 bits of 64 ms: 12 days."""
    path = Path(VirtualLink(capacity_bps=1_000_000))
    path.now = (1 << 23) * 0.064 - 30
    path.run(60)
    assert 0.65 * 1_000_000 <= path.estimator.target_bps <= 1.2 * 1_000_000


def test_configuration_that_makes_no_sense_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="rise"):
        CongestionConfiguration(start_bps=10, minimum_bps=20)
    with pytest.raises(ConfigurationError, match="backoff"):
        CongestionConfiguration(backoff=1.0)
    with pytest.raises(ConfigurationError, match="above zero"):
        CongestionConfiguration(history_packets=0)


def test_a_short_queue_that_runs_over_is_found_out_though_its_loss_is_moderate() -> None:
    """The delay of a full short queue does not grow, so only a trial with less tells that the rate is too high."""
    path = Path(VirtualLink(capacity_bps=300_000, queue_s=0.1))
    path.run(30)
    before = path.link.dropped, path.link.delivered
    targets = path.run(30)
    lost, delivered = path.link.dropped - before[0], path.link.delivered - before[1]
    assert 0.7 * 300_000 <= mean(targets) <= 1.0 * 300_000
    assert lost / delivered < 0.03


def test_moderate_loss_that_does_not_depend_on_the_rate_gives_it_back_after_the_trial() -> None:
    trial = LossTrial(0.85)
    rates = []
    rate_bps = 1_000_000.0
    for step in range(60):
        rate_bps = trial.note_moderate_loss(rate_bps, 100 + step * 0.3, 0.1)
        rates.append(rate_bps)
    assert min(rates) == 850_000
    assert rates.count(850_000) * 0.3 == pytest.approx(1.6, abs=0.4)
    assert rates[-1] == 1_000_000


def test_the_trials_lower_rate_stays_when_its_loss_stops() -> None:
    trial = LossTrial(0.85)
    trial.note_moderate_loss(1e6, 100.0, 0.1)
    assert trial.note_moderate_loss(1e6, 101.0, 0.1) == 850_000
    trial.end()
    assert trial.note_moderate_loss(850_000, 110.0, 0.1) == 850_000


def test_a_large_queue_is_kept_short() -> None:
    """A second of buffer is there, and the estimate does not use it."""
    link: VirtualLink[int] = VirtualLink(capacity_bps=1_000_000, queue_s=1.0)
    path = Path(link)
    path.run(30)
    delays = []
    for _ in range(300):
        path.run(0.1)
        delays.append(link.busy_for(path.now))
    assert mean(delays) < 0.03
    assert max(delays) < 0.2


def test_a_thin_stream_is_not_brought_down_to_what_it_sends_by_a_queue_of_others() -> None:
    path = Path(VirtualLink(capacity_bps=2_000_000))
    before = path.run(30)[-1]
    overused = False
    for _ in range(50):  # somebody else's queue grows for a second
        path.link.delay_s += 0.0016
        path.run(0.02, lambda target: 400_000)
        overused = overused or path.estimator.usage is PathUsage.OVERUSED
    assert overused
    assert 0.4 * before < path.estimator.target_bps < before
    path.run(5, lambda target: 400_000)
    path.run(15)
    assert mean(path.run(10)) > 0.7 * 2_000_000


def test_a_thin_stream_on_a_path_of_moderate_loss_keeps_its_estimate() -> None:
    path = Path(VirtualLink(capacity_bps=2_000_000, loss=0.04), start_bps=1_000_000)
    path.run(60, lambda target: 200_000)
    assert path.estimator.target_bps >= 600_000


def test_much_loss_does_not_take_a_thin_stream_below_what_gets_through_in_one_step() -> None:
    path = Path(VirtualLink(capacity_bps=2_000_000), start_bps=500_000)
    path.run(2, lambda target: 300_000)
    path.link.loss = 0.95
    targets = path.run(1.5, lambda target: 300_000)
    assert 150_000 < min(targets) < 350_000


def test_packets_that_overtake_each_other_do_not_disturb_the_trend() -> None:
    trend = DelayTrend(12.5)
    for index in range(200):
        trend.note([(index * 0.01, index * 0.01, index * 0.01 + 0.02)])
        trend.note([((index - 3) * 0.01, (index - 3) * 0.01, index * 0.01 + 0.02)])
    assert trend.usage is PathUsage.NORMAL


def test_what_others_have_sent_is_counted_when_one_looks_at_how_much_was_sent() -> None:
    estimator = SendSideEstimator()
    asked: list[None] = []
    estimator.settle_sent = lambda: asked.append(None)
    for n in range(40):
        estimator.sent.store(n, 1200, 10.0 + n * 0.05)
        estimator.note_sent(1200, 10.0 + n * 0.05)
    whole = tuple((offset, 200) for offset in range(20))
    estimator.on_feedback(TransportFeedback(1, 2, 0, 20, int(11.0 / 0.064), 0, whole), 11.0)
    assert asked == []  # a path on which all is well is not asked how much was sent
    half = tuple((offset, 400) for offset in range(0, 20, 2))
    estimator.on_feedback(TransportFeedback(1, 2, 20, 20, int(12.0 / 0.064), 1, half), 12.0)
    assert asked == [None]


def test_the_estimate_is_the_same_to_the_bit_where_the_core_works_out_what_feedback_says() -> None:
    core = acceleration().core
    assert core is not None
    targets = []
    for in_core in (False, True):
        path = Path(VirtualLink(capacity_bps=900_000, jitter_s=0.004, loss=0.01))
        if in_core:
            path.estimator.compute_by(partial(CoreArrivals, core))
        path.run(1)
        path.estimator.compute_by(ArrivalsInPython)  # feedback has come: too late
        assert isinstance(path.estimator._arrivals, CoreArrivals if in_core else ArrivalsInPython)
        path.run(20)
        path.link.capacity_bps = 400_000
        targets.append(path.run(10))
    assert targets[0] == targets[1]
    assert len(set(targets[0])) > 10
