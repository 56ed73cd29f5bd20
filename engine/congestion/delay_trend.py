"""Tells from arrival times whether a queue builds up on the path (draft-ietf-rmcat-gcc-02 section 5).

Packets sent within 5 ms are one group. The time between the arrivals of two groups less the time between their
departures is what a queue grew by. These differences are summed and smoothed, and a line is fitted through the last
twenty sums: its slope, scaled by how much is known, is held against a threshold that adapts to the path's own noise.
"""

from __future__ import annotations

from collections import deque
from enum import Enum, auto
from operator import mul
from typing import Final

__all__ = ["DelayTrend", "PathUsage"]

_GROUP_S: Final = 0.005
_WINDOW_GROUPS: Final = 20
_SMOOTHING: Final = 0.9
_GAIN: Final = 4.0
_MAXIMUM_GROUPS_COUNTED: Final = 60
_OVERUSE_TIME_S: Final = 0.010
_THRESHOLD_GAIN_UP: Final = 0.0087
_THRESHOLD_GAIN_DOWN: Final = 0.039
_MINIMUM_THRESHOLD_MS: Final = 6.0
_MAXIMUM_THRESHOLD_MS: Final = 600.0
_OUTLIER_MS: Final = 15.0
_RESET_GAP_S: Final = 3.0


class PathUsage(Enum):
    """What the trend of delays says of the path."""

    NORMAL = auto()
    OVERUSED = auto()
    UNDERUSED = auto()


class DelayTrend:
    """The queue detector. Feed it every acknowledged packet in order of sending.

    Args:
        threshold_ms: where the adaptive threshold begins.
    """

    __slots__ = (
        "_accumulated_ms",
        "_first_arrival",
        "_group_arrival",
        "_group_sent_first",
        "_group_sent_last",
        "_groups",
        "_history_delays_ms",
        "_history_times_ms",
        "_over_since",
        "_previous",
        "_smoothed_ms",
        "_threshold_ms",
        "_trend_before",
        "_updated_at",
        "usage",
    )

    def __init__(self, threshold_ms: float) -> None:
        self._threshold_ms = threshold_ms
        self.usage = PathUsage.NORMAL
        self._restart()

    def _restart(self) -> None:
        self._group_sent_first: float | None = None
        self._group_sent_last = 0.0
        self._group_arrival = 0.0
        self._previous: tuple[float, float] | None = None
        self._groups = 0
        self._first_arrival = 0.0
        self._accumulated_ms = 0.0
        self._smoothed_ms = 0.0
        self._history_times_ms: deque[float] = deque(maxlen=_WINDOW_GROUPS)
        self._history_delays_ms: deque[float] = deque(maxlen=_WINDOW_GROUPS)
        self._over_since: float | None = None
        self._trend_before = 0.0
        self._updated_at: float | None = None
        self.usage = PathUsage.NORMAL

    def note(self, sent_at: float, arrived_at: float) -> None:
        """Take a packet: when it left by our clock and arrived by the peer's, in seconds."""
        first = self._group_sent_first
        if first is None:
            self._begin_group(sent_at, arrived_at)
            return
        if sent_at < first:
            return  # overtaken by its group's successor; it tells nothing new
        if sent_at - first <= _GROUP_S:
            self._group_sent_last = max(self._group_sent_last, sent_at)
            self._group_arrival = max(self._group_arrival, arrived_at)
            return
        self._end_group()
        if abs(sent_at - first) > _RESET_GAP_S or abs(arrived_at - self._group_arrival) > _RESET_GAP_S:
            self._restart()  # after a pause, or when the peer's clock has jumped, old sums mean nothing
        self._begin_group(sent_at, arrived_at)

    def _begin_group(self, sent_at: float, arrived_at: float) -> None:
        self._group_sent_first = self._group_sent_last = sent_at
        self._group_arrival = arrived_at

    def _end_group(self) -> None:
        current = self._group_sent_last, self._group_arrival
        previous = self._previous
        self._previous = current
        if previous is None:
            self._first_arrival = current[1]
            return
        variation_ms = ((current[1] - previous[1]) - (current[0] - previous[0])) * 1000
        self._groups += 1
        self._accumulated_ms += variation_ms
        self._smoothed_ms = _SMOOTHING * self._smoothed_ms + (1 - _SMOOTHING) * self._accumulated_ms
        self._history_times_ms.append((current[1] - self._first_arrival) * 1000)
        self._history_delays_ms.append(self._smoothed_ms)
        if len(self._history_times_ms) == _WINDOW_GROUPS:
            self._judge(self._slope(), current[1])

    def _slope(self) -> float:
        """The least-squares slope of smoothed delay over arrival time, both in milliseconds."""
        # Summed without a loop in Python: this runs for every group. Differences from the mean keep the precision.
        mean = sum(self._history_times_ms) / _WINDOW_GROUPS
        times_ms = [time_ms - mean for time_ms in self._history_times_ms]
        variance = sum(map(mul, times_ms, times_ms))
        return sum(map(mul, times_ms, self._history_delays_ms)) / variance if variance else 0.0

    def _judge(self, slope: float, arrived_at: float) -> None:
        trend_ms = min(self._groups, _MAXIMUM_GROUPS_COUNTED) * slope * _GAIN
        if trend_ms > self._threshold_ms:
            # One high value may be noise: the queue must go on growing for a while.
            if self._over_since is None:
                self._over_since = arrived_at
            elif arrived_at - self._over_since > _OVERUSE_TIME_S and slope >= self._trend_before:
                self.usage = PathUsage.OVERUSED
        else:
            self._over_since = None
            self.usage = PathUsage.UNDERUSED if trend_ms < -self._threshold_ms else PathUsage.NORMAL
        self._trend_before = slope
        self._adapt_threshold(abs(trend_ms), arrived_at)

    def _adapt_threshold(self, trend_ms: float, arrived_at: float) -> None:
        """Follow the noise of the path, faster down than up, so that a competing flow does not starve this one."""
        before = self._updated_at
        self._updated_at = arrived_at
        if before is None or trend_ms > self._threshold_ms + _OUTLIER_MS:
            return
        gain = _THRESHOLD_GAIN_DOWN if trend_ms < self._threshold_ms else _THRESHOLD_GAIN_UP
        elapsed_ms = min(max(arrived_at - before, 0.0), 0.1) * 1000
        moved = self._threshold_ms + gain * (trend_ms - self._threshold_ms) * elapsed_ms
        self._threshold_ms = min(max(moved, _MINIMUM_THRESHOLD_MS), _MAXIMUM_THRESHOLD_MS)
