"""How good the way between a device and the engine is: `media.quality`, from what the streams count anyway. No I/O.

The score is a number for people: 100 for a way on which nothing is noticed, below `weak_score` one on which pictures
stand still. It falls at once and rises slowly, and it is told when it has changed by a step or has crossed a threshold;
the two thresholds lie apart, so that a way between them does not flicker.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple

from triortc.configuration_kinds import require_kinds
from triortc.engine.session.media import MediaSession
from triortc.errors import ConfigurationError

__all__ = ["Observation", "Quality", "QualityConfiguration", "QualityMeter", "observe", "score_of"]

_PENALTY_PER_LOSS: Final = 500.0
"""An eighth of the packets gone is weak, whatever repairs it."""
_UNNOTICED_RTT_S: Final = 0.15
_PENALTY_PER_RTT_S: Final = 150.0
_PENALTY_OF_NO_RATE: Final = 100.0
_RECOVERY: Final = 0.5
"""The share of the way up that the score goes in one interval."""
_ENOUGH_PACKETS: Final = 20
"""Fewer in an interval say nothing about loss."""


@dataclass(frozen=True, slots=True)
class QualityConfiguration:
    """How often the way to a device is judged, and when it is told.

    Attributes:
        interval_s: the time between two looks; a device is told no more often.
        weak_score: below it the way counts as weak, and the device is told at once.
        good_score: from here on it counts as good again.
        step: a smaller change of the score, of 0 to 100, is not worth a message.
        poor_bps: an estimate below this does not carry a picture: the score falls with it.
    """

    interval_s: float = 2.0
    weak_score: int = 40
    good_score: int = 55
    step: int = 10
    poor_bps: int = 150_000

    def __post_init__(self) -> None:
        require_kinds(self)
        if self.interval_s <= 0 or self.poor_bps < 1:
            raise ConfigurationError("quality: interval_s and poor_bps must be positive")
        if not 0 <= self.weak_score < self.good_score <= 100 or not 1 <= self.step <= 100:
            raise ConfigurationError("quality: weak_score must be below good_score, both and step at most 100")


class Observation(NamedTuple):
    """What a session's streams have counted by now.

    Attributes:
        received, lost: packets from the device, all streams.
        sent, sent_bytes: to it.
        sent_video: of them, pictures' packets.
        loss: of what was sent lately, 0 to 1, as the device tells.
        rtt_s: round trip in seconds; None while it is not known.
        estimate_bps: what the way to the device carries; None where nobody estimates it.
    """

    received: int
    lost: int
    sent: int
    sent_bytes: int
    sent_video: int
    loss: float
    rtt_s: float | None
    estimate_bps: int | None


class Quality(NamedTuple):
    """What is told: score 0 to 100, round trip in milliseconds, loss 0 to 1, and what the way to the device carries."""

    score: int
    rtt_ms: float
    loss: float
    kbps: float


def observe(media: MediaSession, ice_rtt_s: float | None) -> Observation:
    """Read the counters of a session; its flows are settled first."""
    media.settle_flows()
    inbound = [stream.statistics for stream in media.inbound.values()]
    outbound = media.outbound_streams
    estimator = media.estimator
    return Observation(
        received=sum(statistics.packets_received for statistics in inbound),
        lost=sum(statistics.packets_lost for statistics in inbound),
        sent=sum(stream.statistics.packets_sent for stream in outbound),
        sent_bytes=sum(stream.statistics.bytes_sent for stream in outbound),
        sent_video=sum(stream.statistics.packets_sent for stream in outbound if stream.kind == "video"),
        loss=0.0 if estimator is None else estimator.loss,
        rtt_s=ice_rtt_s if media.rtt.rtt_s is None else media.rtt.rtt_s,
        estimate_bps=None if estimator is None else estimator.target_bps,
    )


def score_of(loss: float, rtt_s: float, estimate_bps: int | None, poor_bps: int) -> int:
    """The score, 0 to 100, of loss (0 to 1), round trip and estimate; None: pictures do not depend on one."""
    penalty = _PENALTY_PER_LOSS * loss + _PENALTY_PER_RTT_S * max(0.0, rtt_s - _UNNOTICED_RTT_S)
    if estimate_bps is not None and estimate_bps < poor_bps:
        penalty += _PENALTY_OF_NO_RATE * (1 - estimate_bps / poor_bps)
    return max(0, round(100 - penalty))


class QualityMeter:
    """Judges one way. Feed it `take` once an interval."""

    __slots__ = ("_before", "_configuration", "_score", "_taken_at", "_told", "_weak")

    def __init__(self, configuration: QualityConfiguration) -> None:
        self._configuration = configuration
        self._before: Observation | None = None
        self._taken_at = 0.0
        self._score: float | None = None
        self._told: int | None = None
        self._weak = False

    def take(self, now_counted: Observation, now: float) -> Quality | None:
        """Take what is counted by `now`; what the device should be told, or None."""
        before, self._before = self._before, now_counted
        elapsed_s, self._taken_at = now - self._taken_at, now
        if before is None or elapsed_s <= 0:
            return None
        loss = max(self._loss_up(before, now_counted), self._loss_down(before, now_counted))
        rtt_s = now_counted.rtt_s or 0.0
        shows_pictures = now_counted.sent_video > before.sent_video
        estimate_bps = now_counted.estimate_bps if shows_pictures else None
        score = score_of(loss, rtt_s, estimate_bps, self._configuration.poor_bps)
        if self._score is None or score < self._score:
            self._score = score
        else:
            self._score += _RECOVERY * (score - self._score)
        smooth = round(self._score)
        if not self._is_news(smooth):
            return None
        self._told = smooth
        carries_bps: float = 8 * (now_counted.sent_bytes - before.sent_bytes) / elapsed_s
        if now_counted.estimate_bps is not None:
            carries_bps = now_counted.estimate_bps
        return Quality(smooth, round(rtt_s * 1000, 1), round(loss, 4), round(carries_bps / 1000, 1))

    def _is_news(self, score: int) -> bool:
        c, was_weak = self._configuration, self._weak
        self._weak = score < (c.good_score if was_weak else c.weak_score)
        return self._told is None or self._weak != was_weak or abs(score - self._told) >= c.step

    @staticmethod
    def _loss_up(before: Observation, after: Observation) -> float:
        """Of what the device has sent: numbers that never came, though what was sent again may have."""
        lost = after.lost - before.lost
        expected = after.received - before.received + lost
        return lost / expected if expected >= _ENOUGH_PACKETS and lost > 0 else 0.0

    @staticmethod
    def _loss_down(before: Observation, after: Observation) -> float:
        """Of what the device was sent; an old word about it does not count while nothing is sent."""
        return after.loss if after.sent - before.sent >= _ENOUGH_PACKETS else 0.0
