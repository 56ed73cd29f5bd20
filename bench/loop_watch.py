"""Watches how long one step of any task, or one pass of the media loop, keeps everybody else waiting."""

from __future__ import annotations

import time

import trio

from triortc.engine.endpoint import Endpoint

__all__ = ["LoopWatch"]


class LoopWatch(trio.abc.Instrument):
    """Remembers the longest step since it was asked last.

    Arguments:
        endpoint: whose media loop is watched, too.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._began = 0.0
        self._longest_s = 0.0

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        """A task runs until it awaits."""
        self._began = time.perf_counter()

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        """It has."""
        took_s = time.perf_counter() - self._began
        if took_s > self._longest_s:
            self._longest_s = took_s

    def take_us(self) -> int:
        """The longest step in microseconds; begins anew."""
        longest_s, self._longest_s = self._longest_s, 0.0
        loop = self._endpoint.media_loop
        if loop is not None:
            longest_s, loop.longest_s = max(longest_s, loop.longest_s), 0.0
        return round(longest_s * 1e6)
