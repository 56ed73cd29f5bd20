"""How many bits per second went by in the last window."""

from __future__ import annotations

from collections import deque

__all__ = ["RateMeter"]


class RateMeter:
    """A sliding window of sizes, in slots of a twentieth of it: its memory does not depend on the packet rate."""

    __slots__ = ("_slot_s", "_slots", "_started_at", "_total", "_window_s")

    def __init__(self, window_s: float) -> None:
        self._window_s = window_s
        self._slot_s = window_s / 20
        self._slots: deque[tuple[float, int]] = deque()
        self._started_at: float | None = None
        self._total = 0

    def add(self, size_bytes: int, at: float) -> None:
        """Count a packet; times may go back a little, which is counted in the newest slot."""
        slots = self._slots
        if self._started_at is None or not slots:
            self._started_at = at
        self._total += size_bytes
        if slots and at < slots[-1][0] + self._slot_s:
            slots[-1] = slots[-1][0], slots[-1][1] + size_bytes
        else:
            slots.append((at, size_bytes))
            self._expire(at)

    def _expire(self, now: float) -> None:
        while self._slots and self._slots[0][0] <= now - self._window_s:
            self._total -= self._slots.popleft()[1]

    def rate_bps(self, now: float) -> float | None:
        """Return the rate of the window that ends now; None until half a window has passed since the first packet."""
        if self._started_at is None or now - self._started_at < self._window_s / 2:
            return None
        self._expire(now)
        return self._total * 8 / min(self._window_s, now - self._started_at)
