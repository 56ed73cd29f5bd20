"""How much may be sent: a send-side estimate from transport-wide feedback, loss and REMB.

The rule, applied to one rate in this order (after draft-ietf-rmcat-gcc-02):

1. A queue builds up (`DelayTrend`): the rate falls to `backoff` times what was acknowledged.
2. More than `high_loss` of the packets are lost: the rate falls by half the loss.
   Neither happens more than once in a round trip and 300 ms.
3. Loss between `low_loss` and `high_loss` holds the rate. If it stays, a trial tells its cause: the rate is lowered by
   `backoff` for a while. Loss that stops was a short queue running over, and the lower rate stays; loss that does not
   care is the path's own, and the rate is given back.
4. Less loss and steady delays: the rate grows exponentially, fast while it is unknown where the path is full, slowly
   near the rate at which it last was. It grows no further than `headroom` times what was acknowledged: what was not
   sent proves nothing. That bound never lowers the rate, so a pause does not lose it.
5. A sender that uses little of its rate is not blamed for a queue or loss that it can hardly have caused: as long as
   that is so, its rate falls one step at a time, and by loss never below what gets through.
6. No feedback while sending: the rate is halved for each `feedback_timeout_ms`.
7. REMB of the receiver and the configured bounds cap the result; they do not change the rate.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import inf
from typing import Final

from triortc.engine.congestion.arrivals import Arrivals, ArrivalsInPython
from triortc.engine.congestion.configuration import CongestionConfiguration
from triortc.engine.congestion.delay_trend import PathUsage
from triortc.engine.congestion.loss_trial import LossTrial
from triortc.engine.congestion.rate_meter import RateMeter
from triortc.engine.congestion.sent_history import SentHistory
from triortc.engine.rtcp.transport_feedback import REFERENCE_TIME_US, TransportFeedback

__all__ = ["SendSideEstimator"]

_DEFAULT_RTT_S: Final = 0.1
_DECREASE_PAUSE_S: Final = 0.3
_GROWTH_PAUSE_S: Final = 0.1
_MAXIMUM_GROWTH_STEP_S: Final = 1.0
_GROWTH_ALLOWANCE_BPS: Final = 10_000
_APPLICATION_LIMITED: Final = 0.7
_GETS_THROUGH: Final = 0.9
_NEAR_FULL: Final = 0.8
_PAST_FULL: Final = 1.15
_LOSS_SAMPLE_PACKETS: Final = 20
_MINIMUM_LOSS_SAMPLE_S: Final = 0.3
_MAXIMUM_LOSS_SAMPLE_S: Final = 1.0
_REFERENCE_RANGE: Final = 1 << 24
_REFERENCE_TICK_S: Final = REFERENCE_TIME_US / 1_000_000
#: Notes of what was sent, of some 10 ms each, that are kept until they are counted.
_COUNTED_AT_ONCE: Final = 64
# An enumeration's members are found by a call each time.
_NORMAL, _OVERUSED = PathUsage.NORMAL, PathUsage.OVERUSED


def _nothing() -> None:
    """Nobody sends beside us."""


class SendSideEstimator:
    """The estimate for one transport. `on_sent` runs for every packet; everything else a few times a second."""

    __slots__ = (
        "_arrivals",
        "_configuration",
        "_decreased_at",
        "_expected",
        "_feedback_seen",
        "_full_bps",
        "_grown_at",
        "_history",
        "_lossy_at",
        "_lost",
        "_rate_bps",
        "_reference",
        "_remb_bps",
        "_sampled_at",
        "_sent",
        "_timeout_s",
        "_trial",
        "_uncounted",
        "_waiting_since",
        "loss",
        "rtt_s",
        "settle_sent",
    )

    def __init__(self, configuration: CongestionConfiguration | None = None) -> None:
        chosen = configuration or CongestionConfiguration()
        window_s = chosen.acknowledged_window_ms / 1000
        self._configuration = chosen
        self._rate_bps = float(chosen.start_bps)
        self._remb_bps = inf
        self._history = SentHistory(chosen.history_packets)
        self._arrivals: Arrivals = ArrivalsInPython(self._history, window_s, chosen.overuse_threshold_ms)
        self._trial = LossTrial(chosen.backoff)
        self._sent = RateMeter(window_s)
        #: (bytes, when they left) of what `_sent` is still to count.
        self._uncounted: list[tuple[int, float]] = []
        self._timeout_s = chosen.feedback_timeout_ms / 1000
        self._full_bps: float | None = None
        self._decreased_at = -inf
        self._lossy_at = -inf
        self._grown_at: float | None = None
        self._expected = 0
        self._lost = 0
        self._sampled_at: float | None = None
        self._reference: int | None = None
        self._feedback_seen = False
        self._waiting_since: float | None = None
        self.loss = 0.0
        """The last sample of loss, 0 to 1."""
        self.rtt_s = _DEFAULT_RTT_S
        """From receiver reports, in seconds."""
        self.settle_sent: Callable[[], None] = _nothing
        """Called before one looks at how much was sent: whoever sends beside us tells of it then by `note_sent_run`."""

    @property
    def target_bps(self) -> int:
        """What may be sent, all streams of the transport together."""
        configured = self._configuration
        return int(max(min(self._rate_bps, self._remb_bps, configured.maximum_bps), configured.minimum_bps))

    def limit_bps(self, now: float) -> int | None:
        """What a source should be held to whose stream is passed on over this path; None: nothing says it is full.

        The estimate itself proves no more than what was sent, so as a limit it would trap a source that had little to
        send: it counts while the path was full not long ago, or when the receiver itself asked for a limit (REMB).
        """
        configured = self._configuration
        memory_s = configured.limit_memory_ms / 1000
        if self._remb_bps < inf or now - self._lossy_at <= memory_s:
            return self.target_bps
        if now - self._decreased_at <= memory_s:
            return max(self.target_bps, configured.delay_limit_floor_bps)
        return None

    @property
    def usage(self) -> PathUsage:
        """What the delays say of the path at present."""
        return self._arrivals.usage

    def on_sent(self, transport_sequence_number: int | None, size_bytes: int, now: float) -> None:
        """Take note of a sent packet; the number is None if it carries none."""
        if transport_sequence_number is not None:
            self._history.store(transport_sequence_number, size_bytes, now)
        self.note_sent(size_bytes, now)

    @property
    def sent(self) -> SentHistory:
        """Where packets with transport-wide numbers are written down; what runs beside us writes into its ring."""
        return self._history

    def compute_by(self, make: Callable[[SentHistory, float, float], Arrivals]) -> None:
        """Let something else work out what feedback says, from the first one on; later it stays as it is.

        Arguments:
            make: called with what was sent, the rate's window in seconds, and the delay trend's threshold in ms.
        """
        configured = self._configuration
        if not self._feedback_seen:
            window_s = configured.acknowledged_window_ms / 1000
            self._arrivals = make(self._history, window_s, configured.overuse_threshold_ms)

    def note_sent(self, size_bytes: int, now: float) -> None:
        """Count bytes of packets that were sent; those with transport-wide numbers are in `sent` already."""
        if self._uncounted:
            self._count_sent()
        self._sent.add(size_bytes, now)
        if self._waiting_since is None:
            self._waiting_since = now
        elif self._feedback_seen and now - self._waiting_since > self._timeout_s:
            self._lack_feedback(now)

    def note_sent_run(self, sent: Sequence[tuple[int, float]]) -> None:
        """The same of several, as (bytes, when they left), in order: whoever sends beside us may tell of them late.

        They are counted when somebody asks for the rate, or when there are many.
        """
        self._uncounted += sent
        if len(self._uncounted) > _COUNTED_AT_ONCE:
            self._count_sent()
        now = sent[-1][1]
        if self._waiting_since is None:
            self._waiting_since = sent[0][1]
        if self._feedback_seen and now - self._waiting_since > self._timeout_s:
            self._lack_feedback(now)

    def _count_sent(self) -> None:
        self._sent.add_all(self._uncounted)
        self._uncounted.clear()

    def _lack_feedback(self, now: float) -> None:
        self._waiting_since = now
        self._decrease_to(self._rate_bps / 2, now)

    def on_feedback(self, feedback: TransportFeedback, now: float) -> None:
        """Take transport-wide feedback of the peer. What it says of packets that were never sent is ignored."""
        self._feedback_seen = True
        self._waiting_since = None
        _, _, base, count, reference, _, deltas = feedback
        first, fresh = self._history.newly_reported(base, count)
        arrivals = self._arrivals
        began_s = self._unwrap_reference(reference) * _REFERENCE_TICK_S
        acknowledged_packets, acknowledged_bps = arrivals.take(base, deltas, began_s)
        whole = len(deltas) == count  # then nothing of it can be pending
        lost = 0 if whole else self._history.pending(first, fresh)
        if not self._expected and self._sampled_at is not None and now - self._sampled_at > _MAXIMUM_LOSS_SAMPLE_S:
            self._sampled_at = now  # after a pause: one of the first few packets is no sample yet
        self._expected += acknowledged_packets + lost
        self._lost += lost
        sampled = self._sample_loss(now)
        if sampled and not self._configuration.low_loss <= self.loss <= self._configuration.high_loss:
            self._trial.end()
        usage = arrivals.usage
        if usage is _OVERUSED and acknowledged_bps is not None:
            self._back_off(acknowledged_bps, now)
        elif sampled and self.loss > self._configuration.high_loss:
            self._fall_by_loss(acknowledged_bps, now)
        elif sampled and self.loss >= self._configuration.low_loss:
            self._hold(now)
        elif usage is _NORMAL and acknowledged_bps is not None:
            self._grow(acknowledged_bps, now)
        else:
            self._grown_at = now

    def on_remb(self, bitrate_bps: int, now: float) -> None:
        """Take the receiver's own estimate as a cap; the newest one counts."""
        self._remb_bps = float(bitrate_bps)

    def on_receiver_report(self, fraction_lost: float, rtt_s: float | None, now: float) -> None:
        """Take a report block: `fraction_lost` from 0 to 1, the round trip in seconds or None.

        Its loss counts only for a peer that sends no transport-wide feedback, which says the same, sooner and for all
        streams.
        """
        if rtt_s is not None:
            self.rtt_s = rtt_s
        if self._feedback_seen:
            return
        self.loss = fraction_lost
        sent_bps = self._sent_bps(now)
        received_bps = None if sent_bps is None else sent_bps * (1 - fraction_lost)
        if fraction_lost > self._configuration.high_loss:
            self._fall_by_loss(received_bps, now)
        elif received_bps is not None:
            self._grow(received_bps, now)

    def _unwrap_reference(self, reference: int) -> int:
        """Return the reference time of a feedback, which wraps every 12 days (24 bits), without the wrap."""
        previous = self._reference
        half = _REFERENCE_RANGE >> 1
        unwrapped = reference
        if previous is not None:
            unwrapped = previous + ((reference - previous + half) % _REFERENCE_RANGE) - half
        self._reference = unwrapped
        return unwrapped

    def _sample_loss(self, now: float) -> bool:
        """Close a loss sample once it is large or old enough to mean something; True if one was closed."""
        if self._sampled_at is None:
            self._sampled_at = now
        if not self._expected:
            return False
        elapsed_s = now - self._sampled_at
        large = self._expected >= _LOSS_SAMPLE_PACKETS and elapsed_s >= _MINIMUM_LOSS_SAMPLE_S
        if not large and elapsed_s < _MAXIMUM_LOSS_SAMPLE_S:
            return False
        self.loss = self._lost / self._expected
        self._expected = self._lost = 0
        self._sampled_at = now
        return True

    def _sent_bps(self, now: float) -> float | None:
        self.settle_sent()
        self._count_sent()
        return self._sent.rate_bps(now)

    def _is_application_limited(self, acknowledged_bps: float, now: float) -> bool:
        """Tell whether little of the rate is used and all of it gets through."""
        sent_bps = self._sent_bps(now)
        if sent_bps is None:
            return False
        return sent_bps < _APPLICATION_LIMITED * self._rate_bps and acknowledged_bps > _GETS_THROUGH * sent_bps

    def _back_off(self, acknowledged_bps: float, now: float) -> None:
        backoff = self._configuration.backoff
        wanted = backoff * acknowledged_bps
        if self._is_application_limited(acknowledged_bps, now):
            wanted = max(wanted, backoff * self._rate_bps)
            self._decrease_to(wanted, now)
        elif self._decrease_to(wanted, now):
            self._full_bps = acknowledged_bps

    def _fall_by_loss(self, acknowledged_bps: float | None, now: float) -> None:
        self._lossy_at = now
        wanted = self._rate_bps * (1 - self.loss / 2)
        sent_bps = self._sent_bps(now)
        if acknowledged_bps is not None and sent_bps is not None and sent_bps < _APPLICATION_LIMITED * self._rate_bps:
            wanted = max(wanted, acknowledged_bps)
        if self._decrease_to(wanted, now) and acknowledged_bps is not None:
            self._full_bps = acknowledged_bps

    def _hold(self, now: float) -> None:
        self._grown_at = now
        sent_bps = self._sent_bps(now)
        if sent_bps is None or sent_bps < _APPLICATION_LIMITED * self._rate_bps:
            return
        rate_bps = self._trial.note_moderate_loss(self._rate_bps, now, self.rtt_s)
        if rate_bps < self._rate_bps:
            self._full_bps = self._rate_bps
        self._rate_bps = max(rate_bps, self._configuration.minimum_bps)

    def _decrease_to(self, wanted_bps: float, now: float) -> bool:
        self._grown_at = now
        if now - self._decreased_at < _DECREASE_PAUSE_S + self.rtt_s:
            return False
        self._decreased_at = now
        self._rate_bps = max(min(self._rate_bps, wanted_bps), self._configuration.minimum_bps)
        return True

    def _grow(self, acknowledged_bps: float, now: float) -> None:
        before = self._grown_at
        self._grown_at = now
        settling = now - self._decreased_at < _GROWTH_PAUSE_S + self.rtt_s
        if before is None or settling or self.loss >= self._configuration.low_loss:
            return
        if self._full_bps is not None and acknowledged_bps > _PAST_FULL * self._full_bps:
            self._full_bps = None
        configured = self._configuration
        near_full = self._full_bps is not None and self._rate_bps > _NEAR_FULL * self._full_bps
        per_s = configured.growth_per_s if near_full else configured.search_growth_per_s
        elapsed_s = min(now - before, _MAXIMUM_GROWTH_STEP_S)
        grown_bps = self._rate_bps * (1 + per_s) ** elapsed_s
        proven_bps = configured.headroom * acknowledged_bps + _GROWTH_ALLOWANCE_BPS
        self._rate_bps = min(max(self._rate_bps, min(grown_bps, proven_bps)), configured.maximum_bps)
