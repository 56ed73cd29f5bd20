"""How late packets come compared with the quickest one, and how long to wait so that few come too late."""

from __future__ import annotations

from math import ceil, inf
from typing import Final

__all__ = ["DelayEstimator"]

_BIN_S: Final = 0.005
_SLICES: Final = 4


class DelayEstimator:
    """Keeps a sliding minimum of transit times and a fading histogram of what packets take beyond it.

    The sliding minimum follows the drift of the two clocks; the histogram's quantile follows jitter quickly when it
    grows, since a late packet weighs as much as the fraction it stands for, and forgets it over the window.

    Args:
        window_s: how far back both look.
        late_fraction: the part of packets that the quantile leaves out.
        maximum_s: delays beyond this are counted as this.
    """

    __slots__ = (
        "_bins",
        "_late_fraction",
        "_minima",
        "_slice_ends_at",
        "_slice_s",
        "_total",
        "_weight",
        "_weighted_at",
        "_window_s",
    )

    def __init__(self, *, window_s: float, late_fraction: float, maximum_s: float) -> None:
        self._window_s = window_s
        self._slice_s = window_s / _SLICES
        self._late_fraction = late_fraction
        self._bins = [0.0] * (ceil(maximum_s / _BIN_S) + 1)
        self._total = 0.0
        self._weight = 1.0
        self._weighted_at = -inf
        self._minima: list[float] = []
        self._slice_ends_at = -inf

    @property
    def minimum_s(self) -> float:
        """The least transit time of the window: arrival time less media time, in seconds."""
        return min(self._minima)

    def note(self, transit_s: float, now: float) -> float:
        """Take a packet's transit time; return how much it took beyond the quickest, in seconds."""
        self._roll(now)
        self._minima[-1] = min(self._minima[-1], transit_s)
        relative = transit_s - self.minimum_s
        self._fade(now)
        index = min(int(relative / _BIN_S), len(self._bins) - 1)
        self._bins[index] += self._weight
        self._total += self._weight
        return relative

    def _roll(self, now: float) -> None:
        if now >= self._slice_ends_at + self._window_s:
            self._minima = [inf]
            self._slice_ends_at = now + self._slice_s
        while now >= self._slice_ends_at:
            self._minima = [*self._minima[1 - _SLICES :], inf]
            self._slice_ends_at += self._slice_s

    def _fade(self, now: float) -> None:
        """Let newer packets weigh more instead of all older ones less; rescale before the numbers grow large."""
        elapsed = now - self._weighted_at
        if elapsed > self._window_s:
            self._weight = 1.0
            self._total = 0.0
            self._bins = [0.0] * len(self._bins)
        elif elapsed > 0:
            self._weight *= 1 + 2 * elapsed / self._window_s
        self._weighted_at = now
        if self._weight > 1e6:
            self._bins = [value / self._weight for value in self._bins]
            self._total /= self._weight
            self._weight = 1.0

    def quantile_s(self) -> float:
        """Return the delay that all but the late fraction of packets keep, in seconds."""
        late = self._total * self._late_fraction
        above = 0.0
        for index in range(len(self._bins) - 1, 0, -1):
            above += self._bins[index]
            if above > late:
                return (index + 1) * _BIN_S
        return _BIN_S
