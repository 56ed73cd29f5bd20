"""Waiting for media inside trio's own wait: what a packet costs is mostly waking up.

trio wakes a task for a socket by an `epoll_ctl`, an `epoll_wait`, a pass of its scheduler and another `epoll_ctl` to
wait again: at a few packets a wake-up, a quarter of what a relay spends. Nothing of that is needed while all other
tasks sleep. So this instrument (:class:`trio.abc.Instrument`) takes over exactly then: trio calls `before_io_wait` when
no task can run, with the time until its next deadline. The loop here waits in that place, for the media sockets and for
trio's own epoll (a file descriptor like any other), and gives the turn back when trio has something to do: its epoll is
readable, its deadline has come, or a task was made runnable by what a packet brought. No task is ever kept waiting by
it, and media is served between any two of trio's passes.

It is for a process that is made for media; a guest run (:func:`trio.lowlevel.start_guest_run`) waits in another thread
and must not use it.
"""

from __future__ import annotations

import os
import select
import socket
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import trio

__all__ = ["MediaLoop"]

_ATTEMPTS: Final = 10


class MediaLoop(trio.abc.Instrument):
    """Runs callbacks for sockets and deadlines while trio has nothing to do.

    Arguments:
        readers: what to call when a file descriptor is readable; it must drain it.
        next_due: when `run_due` wants to be called, by trio's clock; infinity for never.
        run_due: called when that time has come.
        must_yield: whether something happened since the last call that tasks or trio's deadlines may depend on.
    """

    def __init__(
        self,
        readers: Mapping[int, Callable[[], None]],
        *,
        next_due: Callable[[], float],
        run_due: Callable[[], None],
        must_yield: Callable[[], bool],
    ) -> None:
        self._readers = dict(readers)
        self._next_due = next_due
        self._run_due = run_due
        self._must_yield = must_yield
        self._epoll: select.epoll | None = None
        self._token: trio.lowlevel.TrioToken | None = None
        self._scheduled = False
        self._failure: BaseException | None = None
        self._failed = trio.Event()
        #: How often media was waited for, and how often trio got its turn back.
        self.waits = self.yields = 0
        #: The longest time that sockets and deadlines took between two waits, in seconds; a reader may set it back.
        self.longest_s = 0.0

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
        epoll, readers = self._epoll, self._readers
        assert epoll is not None
        now = trio.current_time()
        trio_due, self._scheduled = now + timeout, False
        self._must_yield()  # what happened before is in the time that trio gave
        while True:
            due = self._next_due()
            wait_s = (due if due < trio_due else trio_due) - now
            events = epoll.poll(wait_s if wait_s > 0 else 0)
            self.waits += 1
            woken_at = trio.current_time()
            trio_has_events = False
            for descriptor, _ in events:
                reader = readers.get(descriptor)
                if reader is None:
                    trio_has_events = True
                else:
                    reader()
            if due <= woken_at:
                self._run_due()
            now = trio.current_time()
            if now - woken_at > self.longest_s:
                self.longest_s = now - woken_at
            yields = self._must_yield() or self._scheduled
            if timeout <= 0 or trio_has_events:
                break  # trio does not wait now
            if yields or now >= trio_due:
                self._wake_trio()
                break
        self.yields += 1

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
