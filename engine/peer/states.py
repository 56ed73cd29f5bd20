"""The states that a connection was in, for those who wait for a change."""

from __future__ import annotations

from collections import deque
from typing import Final

import trio

from triortc.engine.session.events import ConnectionState

__all__ = ["StateHistory"]

#: A follower that falls further behind misses the oldest changes.
_KEPT: Final = 64


class StateHistory:
    """The last changes of a state; any number of tasks can wait for the next one."""

    __slots__ = ("_count", "_event", "_states", "reason")

    def __init__(self) -> None:
        self._states: deque[ConnectionState] = deque([ConnectionState.NEW], maxlen=_KEPT)
        self._count = 1
        self._event = trio.Event()
        #: Why the present state came, in words; empty where there is nothing to say.
        self.reason = ""

    @property
    def state(self) -> ConnectionState:
        """The present one."""
        return self._states[-1]

    def change(self, state: ConnectionState, reason: str) -> bool:
        """Go to a state; False if nothing changes, as behind ``CLOSED``."""
        if state is self.state or self.state is ConnectionState.CLOSED:
            return False
        self._states.append(state)
        self._count += 1
        self.reason = reason
        event, self._event = self._event, trio.Event()
        event.set()
        return True

    async def changed(self) -> None:
        """Wait for the next change."""
        await self._event.wait()

    def follow(self) -> _Follower:
        """The present state, then every change, to the end behind ``CLOSED``."""
        return _Follower(self)

    def after(self, seen: int) -> tuple[int, ConnectionState] | None:
        """The first state that is known behind number `seen`, with its own number; ``None``: there is none yet."""
        if seen >= self._count:
            return None
        number = max(seen, self._count - len(self._states))
        return number + 1, self._states[number - self._count]

    @property
    def number(self) -> int:
        """How many states there were before the present one."""
        return self._count - 1


class _Follower:
    """An iterator that needs no clean-up when its loop is left, as a generator would."""

    __slots__ = ("_ended", "_history", "_seen")

    def __init__(self, history: StateHistory) -> None:
        self._history = history
        self._seen = history.number
        self._ended = False

    def __aiter__(self) -> _Follower:
        return self

    async def __anext__(self) -> ConnectionState:
        await trio.lowlevel.checkpoint()
        if self._ended:
            raise StopAsyncIteration
        while (found := self._history.after(self._seen)) is None:
            await self._history.changed()
        self._seen, state = found
        self._ended = state is ConnectionState.CLOSED
        return state
