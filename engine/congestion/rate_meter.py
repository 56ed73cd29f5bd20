"""How many bits per second went by in the last window."""

from __future__ import annotations

from collections import deque
from math import inf

__all__ = ["RateMeter"]


class RateMeter:
    """A sliding window of sizes, in slots of a twentieth of it: its memory does not depend on the packet rate."""

    __slots__ = ("_newest_bytes", "_newest_ends_at", "_slot_s", "_slots", "_started_at", "_total", "_window_s")

    def __init__(self, window_s: float) -> None:
        self._window_s = window_s
        self._slot_s = window_s / 20
        #: (when it began, bytes) of each; of the newest, what came since it was begun is counted apart.
        self._slots: deque[tuple[float, int]] = deque()
        self._newest_ends_at = -inf
        self._newest_bytes = 0
        self._started_at: float | None = None
        self._total = 0

    def add(self, size_bytes: int, at: float) -> None:
        """Count a packet; times may go back a little, which is counted in the newest slot."""
        if at < self._newest_ends_at:
            self._newest_bytes += size_bytes
            return
        self._close_newest()
        if not self._slots:
            self._started_at = at
        self._slots.append((at, size_bytes))
        self._total += size_bytes
        self._newest_ends_at = at + self._slot_s
        self._expire(at)

    def _close_newest(self) -> None:
        if self._newest_bytes:
            began_at, size_bytes = self._slots[-1]
            self._slots[-1] = began_at, size_bytes + self._newest_bytes
            self._total += self._newest_bytes
            self._newest_bytes = 0

    def _expire(self, now: float) -> None:
        slots = self._slots
        while slots and slots[0][0] <= now - self._window_s:
            self._total -= slots.popleft()[1]
        if not slots:
            self._newest_ends_at = -inf

    def rate_bps(self, now: float) -> float | None:
        """Return the rate of the window that ends now; None until half a window has passed since the first packet."""
        if self._started_at is None or now - self._started_at < self._window_s / 2:
            return None
        self._close_newest()
        self._expire(now)
        return self._total * 8 / min(self._window_s, now - self._started_at)
