"""Tells from arrival times whether a queue builds up on the path (draft-ietf-rmcat-gcc-02 section 5).

Packets sent within 5 ms are one group. The time between the arrivals of two groups less the time between their
departures is what a queue grew by. These differences are summed and smoothed, and a line is fitted through the last
twenty sums: its slope, scaled by how much is known, is held against a threshold that adapts to the path's own noise.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
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
#: The threshold moves for no longer than this at one time.
_LONGEST_STEP_S: Final = 0.1
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


# An enumeration's members are found by a call each time.
_NORMAL, _OVERUSED, _UNDERUSED = PathUsage.NORMAL, PathUsage.OVERUSED, PathUsage.UNDERUSED


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

    def note(self, groups: Iterable[tuple[float, float, float]]) -> None:
        """Take packets in groups that left within GROUP_S.

        Arguments:
            groups: when the first and the last of each left by our clock, and when the last to arrive did by the
                peer's, all in seconds.
        """
        first, last, arrival = self._group_sent_first, self._group_sent_last, self._group_arrival
        ended: list[tuple[float, float]] = []
        for sent_at, last_sent_at, arrived_at in groups:
            if first is not None:
                ahead = sent_at - first
                if ahead < 0:
                    continue  # overtaken by its group's successor; it tells nothing new
                if ahead <= GROUP_S:
                    if last_sent_at > last:
                        last = last_sent_at
                    if arrived_at > arrival:
                        arrival = arrived_at
                    continue
                if ahead > _RESET_GAP_S or not -_RESET_GAP_S <= arrived_at - arrival <= _RESET_GAP_S:
                    self._follow(ended)
                    self._restart()  # after a pause, or when the peer's clock has jumped, old sums mean nothing
                    ended.clear()
                else:
                    ended.append((last, arrival))
            first, last, arrival = sent_at, last_sent_at, arrived_at
        self._group_sent_first, self._group_sent_last, self._group_arrival = first, last, arrival
        if ended:
            self._follow(ended)

    # One loop on purpose: it runs for every group, and what it costs is function calls and memory touched.
    def _follow(self, ended: list[tuple[float, float]]) -> None:  # noqa: PLR0915  # see above
        """Groups have ended, as (when the last packet left, when the last came): smooth, fit the line, judge."""
        previous_sent, previous_arrival, groups = self._previous_sent, self._previous_arrival, self._groups
        accumulated_ms, smoothed_ms, window = self._accumulated_ms, self._smoothed_ms, self._window
        times, delays, squares, products = self._sums
        over_since, trend_before, updated_at = self._over_since, self._trend_before, self._updated_at
        threshold_ms, usage, held = self._threshold_ms, self.usage, len(window)
        for sent, arrival in ended:
            if previous_sent is None:
                self._origin = previous_arrival = arrival
                previous_sent = sent
                continue
            groups += 1
            accumulated_ms += ((arrival - previous_arrival) - (sent - previous_sent)) * 1000
            previous_sent, previous_arrival = sent, arrival
            smoothed_ms = _SMOOTHING * smoothed_ms + (1 - _SMOOTHING) * accumulated_ms
            if arrival - self._origin > _ORIGIN_S:
                times, delays, squares, products = self._move_origin(arrival)
            time_ms = (arrival - self._origin) * 1000
            window.append((time_ms, smoothed_ms))
            times += time_ms
            delays += smoothed_ms
            squares += time_ms * time_ms
            products += time_ms * smoothed_ms
            if held < _WINDOW_GROUPS:
                held += 1
                if held < _WINDOW_GROUPS:
                    continue
            else:
                oldest_ms, delay_ms = window.popleft()
                times -= oldest_ms
                delays -= delay_ms
                squares -= oldest_ms * oldest_ms
                products -= oldest_ms * delay_ms
            variance = squares - times * times / _WINDOW_GROUPS
            slope = (products - times * delays / _WINDOW_GROUPS) / variance if variance > _LEAST_VARIANCE else 0.0
            trend_ms = (groups if groups < _MAXIMUM_GROUPS_COUNTED else _MAXIMUM_GROUPS_COUNTED) * slope * _GAIN
            if trend_ms > threshold_ms:
                # One high value may be noise: the queue must go on growing for a while.
                if over_since is None:
                    over_since = arrival
                elif arrival - over_since > _OVERUSE_TIME_S and slope >= trend_before:
                    usage = _OVERUSED
            else:
                over_since = None
                usage = _UNDERUSED if trend_ms < -threshold_ms else _NORMAL
            trend_before = slope
            # The threshold follows the path's noise, faster down than up, so that a competing flow does not starve us.
            before, updated_at = updated_at, arrival
            if trend_ms < 0:
                trend_ms = -trend_ms
            if before is None or trend_ms > threshold_ms + _OUTLIER_MS or arrival <= before:
                continue
            elapsed_ms = (arrival - before) * 1000 if arrival - before < _LONGEST_STEP_S else _LONGEST_STEP_S * 1000
            gain = _THRESHOLD_GAIN_DOWN if trend_ms < threshold_ms else _THRESHOLD_GAIN_UP
            threshold_ms += gain * (trend_ms - threshold_ms) * elapsed_ms
            if threshold_ms < _MINIMUM_THRESHOLD_MS:
                threshold_ms = _MINIMUM_THRESHOLD_MS
            elif threshold_ms > _MAXIMUM_THRESHOLD_MS:
                threshold_ms = _MAXIMUM_THRESHOLD_MS
        self._previous_sent, self._previous_arrival, self._groups = previous_sent, previous_arrival, groups
        self._accumulated_ms, self._smoothed_ms = accumulated_ms, smoothed_ms
        self._sums = times, delays, squares, products
        self._over_since, self._trend_before, self._updated_at = over_since, trend_before, updated_at
        self._threshold_ms, self.usage = threshold_ms, usage

    def _move_origin(self, arrival: float) -> tuple[float, float, float, float]:
        """Count times from now on, and return the sums summed up anew: what rounding has added up is gone."""
        shift_ms = (arrival - self._origin) * 1000
        self._origin = arrival
        moved = [(time_ms - shift_ms, delay_ms) for time_ms, delay_ms in self._window]
        self._window.clear()
        self._window += moved
        times = delays = squares = products = 0.0
        for time_ms, delay_ms in moved:  # not by sum(), which rounds otherwise from one Python to the next
            times += time_ms
            delays += delay_ms
            squares += time_ms * time_ms
            products += time_ms * delay_ms
        return times, delays, squares, products
