"""What feedback says of packets that have arrived: which of ours they are, how fast they come, if a queue grows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol

from triortc.engine.congestion.delay_trend import GROUP_S, DelayTrend, PathUsage
from triortc.engine.congestion.rate_meter import RateMeter
from triortc.engine.congestion.sent_history import SentHistory
from triortc.engine.rtcp.transport_feedback import TICK_US

__all__ = ["Arrivals", "ArrivalsInPython"]

_TICK_S: Final = TICK_US / 1_000_000


class Arrivals(Protocol):
    """Works out what feedback says. There is one in Python, and one in C that gives the same to the last bit."""

    @property
    def usage(self) -> PathUsage:
        """What the delays say of the path at present."""

    def take(self, base: int, deltas: bytes | Sequence[tuple[int, int]], began_s: float) -> tuple[int, float | None]:
        """Packets have arrived; what was never sent, or was told of before, is ignored.

        Arguments:
            base: the transport-wide number that offsets count from.
            deltas: (offset, ticks since the one before) of each, in rising order; or the ticks alone, of one after
                another.
            began_s: what the first of them counts from, by the peer's clock.

        Returns:
            How many were known; bits per second that arrive now, None until half a window has passed, or without any.
        """


class ArrivalsInPython:
    """See :class:`Arrivals`.

    Args:
        history: what was sent.
        window_s: over which the rate is taken.
        threshold_ms: see :class:`DelayTrend`.
    """

    __slots__ = ("_history", "_rate", "_trend")

    def __init__(self, history: SentHistory, window_s: float, threshold_ms: float) -> None:
        self._history = history
        self._rate = RateMeter(window_s)
        self._trend = DelayTrend(threshold_ms)

    @property
    def usage(self) -> PathUsage:
        """See :class:`Arrivals`."""
        return self._trend.usage

    def take(self, base: int, deltas: bytes | Sequence[tuple[int, int]], began_s: float) -> tuple[int, float | None]:
        """See :class:`Arrivals`."""
        count, groups = self._history.take_groups(base, deltas, GROUP_S)
        if not groups:
            return count, None
        first_sent, last_sent, sizes, ticks = zip(*groups, strict=True)
        arrived_at = [began_s + latest * _TICK_S for latest in ticks]
        self._rate.add_all(zip(sizes, arrived_at, strict=True))
        self._trend.note(zip(first_sent, last_sent, arrived_at, strict=True))
        return count, self._rate.rate_bps(max(arrived_at))
