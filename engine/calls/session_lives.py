"""The lives of sessions in the shell: from the first ring to the end, with the clock and the tasks of each."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from typing import TypeAlias

import trio

from triortc.engine.calls.crash_boundary import CrashBoundary, OnCrash
from triortc.engine.deadlines import DeadlineClock, Timed
from triortc.errors import CallError

__all__ = ["SessionLives", "Task"]

Task: TypeAlias = Callable[[], Awaitable[object]]


class _Life:
    """One session's: when it wants to be woken, and once it has tasks the nursery that they live in."""

    __slots__ = ("nursery", "over", "timed", "waiting")

    def __init__(self, timed: Timed) -> None:
        self.timed = timed
        self.over: trio.Event | None = None
        self.nursery: trio.Nursery | None = None
        self.waiting: list[Task] = []


class SessionLives:
    """Knows the sessions that are on.

    All of them share one clock. A session's nursery opens with its first task, and is empty when the session is over;
    a call that rings and is cancelled, as most of those that are never answered, costs no task.

    Arguments:
        nursery: where the sessions' nurseries are.
        next_deadline: of a session, or of what belongs to none; None: there is none.
        on_deadline: called when it has come, with the session and the deadline.
        on_crash: is told what went wrong.
        on_gone: called when a session is over and nothing of it is left.
    """

    def __init__(
        self,
        nursery: trio.Nursery,
        *,
        next_deadline: Callable[[str | None], float | None],
        on_deadline: Callable[[str | None, float], None],
        on_crash: OnCrash,
        on_gone: Callable[[str], None],
    ) -> None:
        self._nursery = nursery
        self._next_deadline = next_deadline
        self._on_deadline = on_deadline
        self._on_crash = on_crash
        self._on_gone = on_gone
        self._lives: dict[str, _Life] = {}
        self._clock = DeadlineClock()
        self._house = self._timed(None)

    def __len__(self) -> int:
        return len(self._lives)

    def __contains__(self, session: str) -> bool:
        return session in self._lives

    def begin(self, session: str) -> None:
        """A session begins. One that goes on, with new legs, does already."""
        if session not in self._lives:
            self._lives[session] = _Life(self._timed(session))

    def start(self, session: str, task: Task) -> None:
        """Run a task inside a session's nursery: it ends with the session, and its failure ends the session.

        Raises:
            CallError: the session is not running.
        """
        life = self._lives.get(session)
        if life is None or (life.over is not None and life.over.is_set()):
            raise CallError(f"the session {session} is not running; start its tasks while it rings or is in a call")
        if life.nursery is not None:
            life.nursery.start_soon(task)
            return
        life.waiting.append(task)
        if life.over is None:
            life.over = trio.Event()
            self._nursery.start_soon(self._run, session, life, life.over, name=f"session {session}")

    def end(self, session: str) -> None:
        """A session is over: its tasks are cancelled, and when they have ended it is gone."""
        life = self._lives.get(session)
        if life is not None:
            self._clock.forget(life.timed)
            if life.over is None:
                self._gone(session)
            else:
                life.over.set()

    def end_all(self) -> None:
        """Every session is over."""
        for session in list(self._lives):
            self.end(session)

    def reschedule(self, session: str | None) -> None:
        """A deadline of this session, or of what belongs to none, may have changed."""
        life = None if session is None else self._lives.get(session)
        timed = self._house if session is None else None if life is None else life.timed
        if timed is not None:
            self._clock.watch(timed)

    async def run_clock(self) -> None:
        """Let deadlines happen; runs until cancelled."""
        self.reschedule(None)
        await self._clock.run()

    def _timed(self, session: str | None) -> Timed:
        def next_deadline() -> float:
            deadline = self._next_deadline(session)
            return math.inf if deadline is None else deadline

        def on_time(now: float) -> None:
            deadline = self._next_deadline(session)
            if deadline is not None and deadline <= now:
                with CrashBoundary(self._on_crash, session):
                    self._on_deadline(session, deadline)

        def on_failure(error: Exception) -> None:
            self._on_crash(session, error)

        return Timed(next_deadline, on_time, on_failure)

    async def _run(self, session: str, life: _Life, over: trio.Event) -> None:
        """One session's nursery, from its first task to its end."""
        try:
            with CrashBoundary(self._on_crash, session):
                async with trio.open_nursery() as nursery:
                    life.nursery = nursery
                    for task in life.waiting:
                        nursery.start_soon(task)
                    await over.wait()
                    nursery.cancel_scope.cancel()
        finally:
            self._clock.forget(life.timed)
            self._gone(session)

    def _gone(self, session: str) -> None:
        if self._lives.pop(session, None) is not None:
            self._on_gone(session)
