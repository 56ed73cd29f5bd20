"""Where encoders and decoders run: threads, as many at once as there are cores."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TypeVar, TypeVarTuple

import trio

from triortc.errors import ConfigurationError

__all__ = ["CodecThreads"]

_Arguments = TypeVarTuple("_Arguments")
_Result = TypeVar("_Result")


class CodecThreads:
    """Runs blocking codec work in trio's threads under one limit.

    FFmpeg lets go of the interpreter while it works, so that threads do run side by side. One encoder or decoder
    must be called by one task at a time; different ones may run at once.
    """

    __slots__ = ("_limiter",)

    def __init__(self, workers: int | None = None) -> None:
        """Allow ``workers`` calls at once; ``None``: as many as there are cores for this process.

        Raises:
            ConfigurationError: ``workers`` is less than 1.
        """
        if workers is not None and workers < 1:
            raise ConfigurationError("workers must be 1 or more: codec work needs at least one thread")
        self._limiter = trio.CapacityLimiter(workers or len(os.sched_getaffinity(0)))

    @property
    def workers(self) -> int:
        """How many calls may run at once."""
        return int(self._limiter.total_tokens)

    @property
    def busy(self) -> int:
        """How many calls run now."""
        return self._limiter.borrowed_tokens

    @property
    def waiting(self) -> int:
        """How many calls wait for a thread: above 0 for long, the machine is too small."""
        return self._limiter.statistics().tasks_waiting

    async def run(self, function: Callable[[*_Arguments], _Result], *args: *_Arguments) -> _Result:
        """Call ``function(*args)`` in a thread and give back its result, or raise what it raised.

        Cancellation is felt while waiting for a thread; a call that has begun is awaited, never abandoned: nothing
        would close its encoder or its file.
        """
        return await trio.to_thread.run_sync(function, *args, limiter=self._limiter, abandon_on_cancel=False)
