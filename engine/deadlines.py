"""One task that wakes many, each at its own deadline: connections, sessions."""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable
from typing import Final

import trio

__all__ = ["DeadlineClock", "Timed"]

#: After so many at once others get a turn.
_AT_ONCE: Final = 8
_COMPACT_ABOVE: Final = 64


class Timed:
    """Something with a deadline.

    Args:
        next_deadline: when to be woken (seconds, monotonic), infinity: never.
        on_time: called with the time when that has come.
        on_failure: told what either of them raised when it was woken: it is not woken again until `watch` is called for
            it, and the others are. Must not raise.
    """

    __slots__ = ("next_deadline", "on_failure", "on_time", "wake_at")

    def __init__(
        self,
        next_deadline: Callable[[], float],
        on_time: Callable[[float], None],
        on_failure: Callable[[Exception], None],
    ) -> None:
        self.next_deadline = next_deadline
        self.on_time = on_time
        self.on_failure = on_failure
        self.wake_at = math.inf

    def release(self) -> None:
        """Let go of whoever is woken: it has ended, is not to be watched any more, and may hold this in its turn."""
        self.next_deadline, self.on_time, self.on_failure = _never, _nothing, _nothing


def _never() -> float:
    return math.inf


def _nothing(_: object) -> None:
    """Nobody is woken any more."""


class DeadlineClock:
    """Wakes whoever is due. A deadline that moves away costs nothing: it is asked for again when its time has come."""

    def __init__(self) -> None:
        self._due: list[tuple[float, int, Timed]] = []
        self._pushes = 0
        self._void = 0
        self._scope = trio.CancelScope()

    def __len__(self) -> int:
        """How many entries there are, those that are void among them."""
        return len(self._due)

    def watch(self, timed: Timed) -> None:
        """The deadline is new, or may have come nearer."""
        deadline = timed.next_deadline()
        if deadline < timed.wake_at:
            self._void += timed.wake_at < math.inf
            timed.wake_at = deadline
            self._pushes += 1
            heapq.heappush(self._due, (deadline, self._pushes, timed))
            if deadline < self._scope.deadline:
                self._scope.deadline = deadline

    def forget(self, timed: Timed) -> None:
        """It is over: it is not woken any more."""
        if timed.wake_at < math.inf:
            timed.wake_at = math.inf
            self._void += 1
            if self._void > _COMPACT_ABOVE and 2 * self._void > len(self._due):
                self._due = [entry for entry in self._due if entry[2].wake_at == entry[0]]
                heapq.heapify(self._due)
                self._void = 0

    async def run(self) -> None:
        """Wake them; runs until cancelled."""
        while True:
            with trio.CancelScope(deadline=self._due[0][0] if self._due else math.inf) as self._scope:
                await trio.sleep_forever()
            woken = 0
            while self._due and self._due[0][0] <= trio.current_time():
                at, _, timed = heapq.heappop(self._due)
                if timed.wake_at != at:  # it was set nearer since, and has been woken, or is over
                    self._void -= 1
                    continue
                timed.wake_at = math.inf
                try:
                    timed.on_time(trio.current_time())
                    self.watch(timed)
                except Exception as error:  # noqa: BLE001 - what is thrown is its owner's; it harms no other
                    timed.on_failure(error)
                woken += 1
                if woken % _AT_ONCE == 0:
                    await trio.lowlevel.checkpoint()
