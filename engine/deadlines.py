"""One task that wakes many connections, each at its own deadline."""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable

import trio

__all__ = ["DeadlineClock", "Timed"]


class Timed:
    """Something with a deadline.

    Args:
        next_deadline: when to be woken (seconds, monotonic), infinity: never.
        on_time: called with the time when that has come.
    """

    __slots__ = ("next_deadline", "on_time", "wake_at")

    def __init__(self, next_deadline: Callable[[], float], on_time: Callable[[float], None]) -> None:
        self.next_deadline = next_deadline
        self.on_time = on_time
        self.wake_at = math.inf


class DeadlineClock:
    """Wakes whoever is due. A deadline that moves away costs nothing: it is asked for again when its time has come."""

    def __init__(self) -> None:
        self._due: list[tuple[float, int, Timed]] = []
        self._pushes = 0
        self._scope = trio.CancelScope()

    def watch(self, timed: Timed) -> None:
        """The deadline is new, or may have come nearer."""
        deadline = timed.next_deadline()
        if deadline < timed.wake_at:
            timed.wake_at = deadline
            self._pushes += 1
            heapq.heappush(self._due, (deadline, self._pushes, timed))
            self._scope.deadline = min(self._scope.deadline, deadline)

    async def run(self) -> None:
        """Wake them; runs until cancelled."""
        while True:
            with trio.CancelScope(deadline=self._due[0][0] if self._due else math.inf) as self._scope:
                await trio.sleep_forever()
            now = trio.current_time()
            due: list[Timed] = []
            while self._due and self._due[0][0] <= now:
                at, _, timed = heapq.heappop(self._due)
                if timed.wake_at == at:  # else it was set nearer since, and has been woken
                    timed.wake_at = math.inf
                    due.append(timed)
            for timed in due:
                timed.on_time(now)
                self.watch(timed)
