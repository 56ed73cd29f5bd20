"""Watches how long one step of any task, or one turn of the media loop, keeps everybody else waiting."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

import trio

from triortc.engine.media_loop import TurnWatch

__all__ = ["LoopWatch"]

#: What is counted as long.
_LONG_S: Final = 0.001


class LoopWatch(trio.abc.Instrument, TurnWatch):
    """Remembers the longest step since it was asked last, and how many were long.

    Arguments:
        clock: `time.thread_time` on a machine that others use, too: a step is no longer for their sake. A look at it
            costs some 0.4 µs, two for each wake-up.
    """

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._began: float | None = None
        self._longest_s = 0.0
        self._long = 0

    def begin(self) -> None:
        """Others wait from now on."""
        self._began = self._clock()

    def end(self) -> None:
        """They get their turn."""
        if self._began is None:  # it was asked in this step, or came into one
            return
        took_s, self._began = self._clock() - self._began, None
        self._long += took_s > _LONG_S
        if took_s > self._longest_s:
            self._longest_s = took_s

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        """A task runs until it awaits."""
        self.begin()

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        """It has."""
        self.end()

    def take(self) -> dict[str, int]:
        """The longest step in microseconds, and how many were long; begins anew behind the step that asks."""
        taken = {"loop.longest_us": round(self._longest_s * 1e6), "loop.over_1_ms": self._long}
        self._began, self._longest_s, self._long = None, 0.0, 0
        return taken
