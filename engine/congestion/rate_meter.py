"""How many bits per second went by in the last window."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from math import inf

__all__ = ["RateMeter"]


class RateMeter:
    """A sliding window of sizes, in slots of a twentieth of it: its memory does not depend on the packet rate."""

    __slots__ = (
        "_newest_at",
        "_newest_bytes",
        "_newest_ends_at",
        "_slot_s",
        "_slots",
        "_started_at",
        "_total",
        "_window_s",
    )

    def __init__(self, window_s: float) -> None:
        self._window_s = window_s
        self._slot_s = window_s / 20
        #: (when it began, bytes) of each but the newest.
        self._slots: deque[tuple[float, int]] = deque()
        self._newest_at = self._newest_ends_at = -inf
        self._newest_bytes = 0
        self._started_at: float | None = None
        #: Of all slots but the newest.
        self._total = 0

    def add(self, size_bytes: int, at: float) -> None:
        """Count a packet; times may go back a little, which is counted in the newest slot."""
        if at < self._newest_ends_at:
            self._newest_bytes += size_bytes
        else:
            self.add_all(((size_bytes, at),))

    def add_all(self, counted: Iterable[tuple[int, float]]) -> None:
        """Count packets, as (size in bytes, time of each)."""
        slots, total, window_s, slot_s = self._slots, self._total, self._window_s, self._slot_s
        newest_at, ends_at, newest_bytes = self._newest_at, self._newest_ends_at, self._newest_bytes
        for size_bytes, at in counted:
            if at < ends_at:
                newest_bytes += size_bytes
                continue
            if ends_at == -inf:
                self._started_at = at
            else:
                total += newest_bytes
                slots.append((newest_at, newest_bytes))
            too_old = at - window_s
            while slots and slots[0][0] <= too_old:
                total -= slots.popleft()[1]
            newest_at, ends_at, newest_bytes = at, at + slot_s, size_bytes
        self._total = total
        self._newest_at, self._newest_ends_at, self._newest_bytes = newest_at, ends_at, newest_bytes

    def rate_bps(self, now: float) -> float | None:
        """Return the rate of the window that ends now; None until half a window has passed since the first packet."""
        started_at, window_s, slots = self._started_at, self._window_s, self._slots
        if started_at is None or now - started_at < window_s / 2:
            return None
        too_old = now - window_s
        while slots and slots[0][0] <= too_old:
            self._total -= slots.popleft()[1]
        if self._newest_at <= too_old:
            self._newest_ends_at, self._newest_bytes = -inf, 0
        elapsed_s = now - started_at
        return (self._total + self._newest_bytes) * 8 / (elapsed_s if elapsed_s < window_s else window_s)
