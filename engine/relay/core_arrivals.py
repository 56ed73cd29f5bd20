"""What feedback says of packets that have arrived, worked out by the core in C: the same figures to the last bit."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from itertools import chain
from math import nan
from typing import Final

from triortc.engine.congestion.delay_trend import PathUsage
from triortc.engine.congestion.sent_history import SentHistory
from triortc.engine.relay.core import Core, address_of
from triortc.engine.relay.core_layout import ARRIVALS, ARRIVALS_TOLD

__all__ = ["CoreArrivals"]

#: As forwarder.h numbers them.
_USAGES: Final = (PathUsage.NORMAL, PathUsage.OVERUSED, PathUsage.UNDERUSED)
_ZEROS: Final = (0,) * 64


class CoreArrivals:
    """See :class:`triortc.engine.congestion.arrivals.Arrivals`. What the core knows lies in memory of this object's.

    Arguments:
        core: does the arithmetic.
        history: what was sent.
        window_s: over which the rate is taken.
        threshold_ms: see :class:`triortc.engine.congestion.delay_trend.DelayTrend`.
    """

    __slots__ = ("_at", "_sent", "_state", "_take", "usage")

    def __init__(self, core: Core, history: SentHistory, window_s: float, threshold_ms: float) -> None:
        self._take = core.library.arrivals_take
        self._sent = memoryview(history.ring)  # a view keeps it from moving
        self.usage = PathUsage.NORMAL
        self._state = bytearray(
            ARRIVALS.pack(
                *(-1.0, address_of(history.ring), history.mask),
                *(window_s, window_s / 20, nan, 0, 0, 0, *_ZEROS),
                *(threshold_ms, nan, 0, 0, nan, 0, 0, 0, 0, 0, 0, 0, 0, nan, 0, nan, 0, 0, 0, 0, *_ZEROS),
            )
        )
        self._at = address_of(self._state)

    def take(self, base: int, deltas: bytes | Sequence[tuple[int, int]], began_s: float) -> tuple[int, float | None]:
        """See :class:`triortc.engine.congestion.arrivals.Arrivals`."""
        if isinstance(deltas, bytes):
            known: int = self._take(self._at, base, deltas, None, len(deltas), began_s)
        else:
            pairs = array("i", chain.from_iterable(deltas))
            known = self._take(self._at, base, None, pairs.buffer_info()[0], len(deltas), began_s)
        rate_bps, usage = ARRIVALS_TOLD.unpack_from(self._state)
        self.usage = _USAGES[usage]
        return known, rate_bps if rate_bps >= 0 else None

    def state(self) -> tuple[float, ...]:
        """The numbers of ARRIVALS, but for where the sent packets lie: what tests compare."""
        values = ARRIVALS.unpack(self._state)
        return values[:1] + values[3:]
