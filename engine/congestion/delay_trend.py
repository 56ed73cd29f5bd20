"""Tells from arrival times whether a queue builds up on the path (draft-ietf-rmcat-gcc-02 section 5).

Packets sent within 5 ms are one group. The time between the arrivals of two groups less the time between their
departures is what a queue grew by. These differences are summed and smoothed, and a line is fitted through the last
twenty sums: its slope, scaled by how much is known, is held against a threshold that adapts to the path's own noise.
"""

from __future__ import annotations

from collections import deque
from enum import Enum, auto
from typing import Final

__all__ = ["GROUP_S", "DelayTrend", "PathUsage"]

#: Packets that were sent within so long are one group.
GROUP_S: Final = 0.005
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
#: Sums of squares stay precise as long as times are counted from so near.
_ORIGIN_S: Final = 10.0
#: Less than one tick of feedback (250 µs) among the arrivals gives: they all came at one time, and there is no slope.
_LEAST_VARIANCE: Final = 0.5


class PathUsage(Enum):
    """What the trend of delays says of the path."""

    NORMAL = auto()
    OVERUSED = auto()
    UNDERUSED = auto()


class DelayTrend:
    """The queue detector. Feed it all acknowledged packets in order of sending.

    Args:
        threshold_ms: where the adaptive threshold begins.
    """

    __slots__ = (
        "_accumulated_ms",
        "_group_arrival",
        "_group_sent_first",
        "_group_sent_last",
        "_groups",
        "_origin",
        "_over_since",
        "_previous_arrival",
        "_previous_sent",
        "_smoothed_ms",
        "_sums",
        "_threshold_ms",
        "_trend_before",
        "_updated_at",
        "_window",
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
        self._previous_sent: float | None = None
        self._previous_arrival = 0.0
        self._groups = 0
        self._accumulated_ms = 0.0
        self._smoothed_ms = 0.0
        self._origin = 0.0
        #: The last groups, as (arrival after the origin, smoothed delay) in milliseconds.
        self._window: deque[tuple[float, float]] = deque()
        #: Over the window: of arrivals, of delays, of arrivals squared, of both multiplied.
        self._sums = (0.0, 0.0, 0.0, 0.0)
        self._over_since: float | None = None
        self._trend_before = 0.0
        self._updated_at: float | None = None
        self.usage = PathUsage.NORMAL

    def note(self, sent_at: float, last_sent_at: float, arrived_at: float) -> None:
        """Take packets that left within GROUP_S of each other.

        Arguments:
            sent_at, last_sent_at: when the first and the last of them left by our clock, in seconds.
            arrived_at: when the last to arrive did by the peer's.
        """
        first = self._group_sent_first
        if first is None:
            self._begin_group(sent_at, last_sent_at, arrived_at)
            return
        ahead = sent_at - first
        if ahead < 0:
            return  # overtaken by its group's successor; it tells nothing new
        if ahead <= GROUP_S:
            if last_sent_at > self._group_sent_last:
                self._group_sent_last = last_sent_at
            if arrived_at > self._group_arrival:
                self._group_arrival = arrived_at
            return
        self._end_group()
        if ahead > _RESET_GAP_S or abs(arrived_at - self._group_arrival) > _RESET_GAP_S:
            self._restart()  # after a pause, or when the peer's clock has jumped, old sums mean nothing
        self._begin_group(sent_at, last_sent_at, arrived_at)

    def _begin_group(self, sent_at: float, last_sent_at: float, arrived_at: float) -> None:
        self._group_sent_first, self._group_sent_last = sent_at, last_sent_at
        self._group_arrival = arrived_at

    def _end_group(self) -> None:
        """Runs for every group, so it is one piece."""
        sent, arrival = self._group_sent_last, self._group_arrival
        previous = self._previous_sent
        self._previous_sent = sent
        if previous is None:
            self._origin = self._previous_arrival = arrival
            return
        self._groups += 1
        self._accumulated_ms += ((arrival - self._previous_arrival) - (sent - previous)) * 1000
        self._previous_arrival = arrival
        smoothed_ms = self._smoothed_ms = _SMOOTHING * self._smoothed_ms + (1 - _SMOOTHING) * self._accumulated_ms
        if arrival - self._origin > _ORIGIN_S:
            self._move_origin(arrival)
        time_ms = (arrival - self._origin) * 1000
        window = self._window
        times, delays, squares, products = self._sums
        window.append((time_ms, smoothed_ms))
        times += time_ms
        delays += smoothed_ms
        squares += time_ms * time_ms
        products += time_ms * smoothed_ms
        if len(window) > _WINDOW_GROUPS:
            oldest_ms, delay_ms = window.popleft()
            times -= oldest_ms
            delays -= delay_ms
            squares -= oldest_ms * oldest_ms
            products -= oldest_ms * delay_ms
        self._sums = times, delays, squares, products
        if len(window) == _WINDOW_GROUPS:
            variance = squares - times * times / _WINDOW_GROUPS
            slope = (products - times * delays / _WINDOW_GROUPS) / variance if variance > _LEAST_VARIANCE else 0.0
            self._judge(slope, arrival)

    def _move_origin(self, arrival: float) -> None:
        """Count times from now on, and sum up anew: what rounding has added up is gone."""
        shift_ms = (arrival - self._origin) * 1000
        self._origin = arrival
        self._window = deque([(time_ms - shift_ms, delay_ms) for time_ms, delay_ms in self._window])
        self._sums = (
            sum([time_ms for time_ms, _ in self._window]),
            sum([delay_ms for _, delay_ms in self._window]),
            sum([time_ms * time_ms for time_ms, _ in self._window]),
            sum([time_ms * delay_ms for time_ms, delay_ms in self._window]),
        )

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
        # The threshold follows the noise of the path, faster down than up, so that a competing flow does not starve us.
        before, threshold_ms = self._updated_at, self._threshold_ms
        self._updated_at = arrived_at
        if trend_ms < 0:
            trend_ms = -trend_ms
        if before is None or trend_ms > threshold_ms + _OUTLIER_MS:
            return
        gain = _THRESHOLD_GAIN_DOWN if trend_ms < threshold_ms else _THRESHOLD_GAIN_UP
        elapsed_ms = min(max(arrived_at - before, 0.0), 0.1) * 1000
        moved = threshold_ms + gain * (trend_ms - threshold_ms) * elapsed_ms
        self._threshold_ms = min(max(moved, _MINIMUM_THRESHOLD_MS), _MAXIMUM_THRESHOLD_MS)
