"""Streams of call events for observers: bounded, never waited for. Who reads too late is told what is missing."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final, Protocol

import trio

from triortc.engine.calls.call_events import CallEvent, Missed
from triortc.engine.calls.store import OutboxRow
from triortc.errors import ConfigurationError

__all__ = ["EventStream", "Observers", "OutboxPort"]

DEFAULT_LIMIT: Final = 1000


class OutboxPort(Protocol):
    """Whoever has to deliver every event, even if this process dies first."""

    def tell(self, event: CallEvent) -> Sequence[OutboxRow]:
        """Take an event for delivery, after its step; the rows that are to be written with it. Never blocks or raises.

        A row stays in the store until the outbox takes it away: the next process finds there what is left to do.
        """


class EventStream:
    """An async iterator over events; one task reads it. It ends when the engine is left.

    A `Missed` stands where events are missing: `limit` of them were waiting, and the engine waits for nobody.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._waiting: deque[CallEvent | Missed] = deque()
        self._news = trio.Event()
        self._ended = False

    def put(self, event: CallEvent) -> None:
        """Add an event, or count it as missed."""
        waiting = self._waiting
        if waiting and isinstance(waiting[-1], Missed):
            if len(waiting) > self._limit:
                waiting[-1] = Missed(waiting[-1].count + 1)
                return
        elif len(waiting) >= self._limit:
            waiting.append(Missed(1))
            return
        waiting.append(event)
        self._news.set()

    def end(self) -> None:
        """Nothing comes any more; what waits can still be read."""
        self._ended = True
        self._news.set()

    def __aiter__(self) -> EventStream:
        return self

    async def __anext__(self) -> CallEvent | Missed:
        await trio.lowlevel.checkpoint()
        while not self._waiting:
            if self._ended:
                raise StopAsyncIteration
            self._news = trio.Event()
            await self._news.wait()
        return self._waiting.popleft()


class Observers:
    """Those who watch. Publishing never blocks."""

    def __init__(self) -> None:
        self._streams: set[EventStream] = set()
        self._sinks: list[tuple[Callable[[CallEvent], None], ...]] = []
        self._ended = False

    def publish(self, event: CallEvent) -> None:
        """Tell everybody."""
        for sinks in self._sinks:
            for sink in sinks:
                sink(event)
        for stream in self._streams:
            stream.put(event)

    @contextmanager
    def telling(self, *sinks: Callable[[CallEvent], None]) -> Iterator[None]:
        """Call these with every event until the block is left; they must return at once and not raise."""
        self._sinks.append(sinks)
        try:
            yield
        finally:
            self._sinks = [each for each in self._sinks if each is not sinks]

    @contextmanager
    def observe(self, limit: int = DEFAULT_LIMIT) -> Iterator[EventStream]:
        """Watch from here on until the block is left.

        Arguments:
            limit: events that may wait to be read.

        Raises:
            ConfigurationError: no event could wait.
        """
        if limit < 1:
            raise ConfigurationError(f"limit is {limit}: at least one event must be able to wait")
        stream = EventStream(limit)
        if self._ended:
            stream.end()
        self._streams.add(stream)
        try:
            yield stream
        finally:
            self._streams.discard(stream)

    def end(self) -> None:
        """Let every stream end."""
        self._ended = True
        for stream in self._streams:
            stream.end()
