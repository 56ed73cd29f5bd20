"""Waiting for media inside trio's own wait: what a packet costs is mostly waking up.

trio wakes a task for a socket by an `epoll_ctl`, an `epoll_wait`, a pass of its scheduler and another `epoll_ctl` to
wait again: at a few packets a wake-up, a quarter of what a relay spends. Nothing of that is needed while all other
tasks sleep. So this instrument (:class:`trio.abc.Instrument`) takes over exactly then: trio calls `before_io_wait` when
no task can run, with the time until its next deadline. The loop here waits in that place, for the media sockets and for
trio's own epoll (a file descriptor like any other), and gives the turn back when trio has something to do: its epoll is
readable, its deadline has come, or a task was made runnable by what a packet brought. No task is ever kept waiting by
it for longer than a turn, and media is served between any two of trio's passes.

A turn is bounded in time: whoever has more to do than fits in goes on in the next one, and whoever got none of it comes
first then.

It is for a process that is made for media; a guest run (:func:`trio.lowlevel.start_guest_run`) waits in another thread
and must not use it.
"""

from __future__ import annotations

import os
import select
import socket
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, Protocol

import trio

__all__ = ["MediaLoop", "Turn", "TurnWatch"]

_ATTEMPTS: Final = 10

#: Works until a time, by trio's clock, or a little longer; whether it has to be called again, though nobody may say so.
Turn = Callable[[float], bool]


class TurnWatch(Protocol):
    """Is told when what others have to wait for begins, and when it is over."""

    def begin(self) -> None:
        """The loop has waited; now it works."""

    def end(self) -> None:
        """It waits again."""


class MediaLoop(trio.abc.Instrument):
    """Runs callbacks for sockets and deadlines while trio has nothing to do.

    Arguments:
        readers: what to call when a file descriptor is readable.
        next_due: when `run_due` wants to be called, by trio's clock; infinity for never.
        run_due: called when that time has come.
        must_yield: whether something happened since the last call that tasks or trio's deadlines may depend on.
        turn_s: how long they work between two looks at everything that can be waited for.
    """

    def __init__(
        self,
        readers: Mapping[int, Turn],
        *,
        next_due: Callable[[], float],
        run_due: Turn,
        must_yield: Callable[[], bool],
        turn_s: float,
    ) -> None:
        self._readers = dict(readers)
        self._next_due = next_due
        self._run_due = run_due
        self._must_yield = must_yield
        self._turn_s = turn_s
        #: Who has more to do, or got no turn: they are called without being waited for.
        self._unfinished: list[Turn] = []
        self._epoll: select.epoll | None = None
        self._token: trio.lowlevel.TrioToken | None = None
        self._clock: Callable[[], float] = trio.current_time
        self._scheduled = False
        self._failure: BaseException | None = None
        self._failed = trio.Event()
        #: How often media was waited for, and how often trio got its turn back.
        self.waits = self.yields = 0
        #: Told of each turn, where somebody wants to know.
        self.watch: TurnWatch | None = None

    async def run(self) -> bool:
        """Serve until cancelled.

        Returns:
            False, at once, where it cannot be done: not Linux, no /proc. Nothing was done then.

        Raises:
            whatever a callback raised.
        """
        trio_epoll = await _find_trio_epoll()
        if trio_epoll is None:
            return False
        self._token = trio.lowlevel.current_trio_token()
        self._clock = trio.lowlevel.current_clock().current_time  # what trio.current_time finds anew each time
        self._epoll = select.epoll()
        try:
            for descriptor in (trio_epoll, *self._readers):
                self._epoll.register(descriptor, select.EPOLLIN)
            trio.lowlevel.add_instrument(self)
            try:
                await self._failed.wait()
            finally:
                trio.lowlevel.remove_instrument(self)
        finally:
            self._epoll.close()
        assert self._failure is not None
        raise self._failure

    def task_scheduled(self, task: trio.lowlevel.Task) -> None:
        """A task can run: trio must get its turn."""
        self._scheduled = True

    def before_io_wait(self, timeout: float) -> None:
        """Nothing can run for so long, as far as trio knows; 0: something can, and trio only looks for I/O."""
        if self._failure is not None:
            return
        try:
            self._serve(timeout)
        except BaseException as failure:  # noqa: BLE001  # raised by run(); trio would only log it
            self._failure = failure
            self._failed.set()
            self._wake_trio()

    def _serve(self, timeout: float) -> None:
        epoll, readers, clock = self._epoll, self._readers, self._clock
        assert epoll is not None
        now = clock()
        trio_due, self._scheduled = now + timeout, False
        self._must_yield()  # what happened before is in the time that trio gave
        while True:
            due = self._next_due()
            wait_s = (due if due < trio_due else trio_due) - now
            events = epoll.poll(wait_s if wait_s > 0 and not self._unfinished else 0)
            self.waits += 1
            now = clock()
            turns, trio_has_events = self._unfinished, False
            for descriptor, _ in events:
                reader = readers.get(descriptor)
                if reader is None:
                    trio_has_events = True
                elif reader not in turns:
                    turns.append(reader)
            if due <= now and self._run_due not in turns:
                turns.append(self._run_due)
            if turns:
                now = self._take_turns(turns, now)
            yields = self._must_yield() or self._scheduled
            if timeout <= 0 or trio_has_events:
                break  # trio does not wait now
            if yields or now >= trio_due:
                self._wake_trio()
                break
        self.yields += 1

    def _take_turns(self, turns: list[Turn], now: float) -> float:
        """Call one after the other until the time is over; what time it is then."""
        watch, until = self.watch, now + self._turn_s
        if watch is not None:
            watch.begin()
        unfinished: list[Turn] = []
        for number, turn in enumerate(turns, 1):
            if turn(until):
                unfinished.append(turn)
            now = self._clock()
            if now >= until:
                unfinished[:0] = turns[number:]
                break
        self._unfinished = unfinished
        if watch is not None:
            watch.end()
        return now

    def _wake_trio(self) -> None:
        """Let the wait that follows return at once."""
        assert self._token is not None
        self._token.run_sync_soon(_nothing, idempotent=True)


def _nothing() -> None:
    """What trio runs when it is woken for its own sake."""


async def _find_trio_epoll() -> int | None:
    """The epoll that trio waits by: the one that watches a socket which a task waits for, says the kernel."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.lowlevel.wait_readable, ours)
            found, attempts = None, 0
            while found is None and attempts < _ATTEMPTS:
                attempts += 1
                await trio.lowlevel.checkpoint()  # the task must have run to be watched for
                found = _epoll_that_watches(ours.fileno())
            nursery.cancel_scope.cancel()
    return found


def _epoll_that_watches(descriptor: int) -> int | None:
    try:
        for entry in os.listdir("/proc/self/fd"):
            information = Path("/proc/self/fdinfo", entry)
            try:
                if os.readlink(f"/proc/self/fd/{entry}") != "anon_inode:[eventpoll]":
                    continue
                lines = information.read_text(encoding="ascii").splitlines()
            except OSError:
                continue  # closed in the meantime
            watched = [int(line.split()[1]) for line in lines if line.startswith("tfd:")]
            if descriptor in watched:
                return int(entry)
    except OSError:
        pass
    return None
