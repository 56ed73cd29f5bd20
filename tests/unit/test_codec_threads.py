"""Codec work in threads: under a limit, and awaited to its end."""

from __future__ import annotations

import threading

import pytest
import trio

from triortc.codecs.threads import CodecThreads
from triortc.errors import CodecError, ConfigurationError


async def test_results_and_errors_come_back() -> None:
    threads = CodecThreads()
    assert threads.workers >= 1
    assert await threads.run(divmod, 7, 3) == (2, 1)

    def fail() -> None:
        raise CodecError("broken")

    with pytest.raises(CodecError, match="broken"):
        await threads.run(fail)
    assert (threads.busy, threads.waiting) == (0, 0)


async def test_no_more_calls_run_at_once_than_workers() -> None:
    threads = CodecThreads(2)
    gate = threading.Event()
    running = trio.Event()
    token = trio.lowlevel.current_trio_token()
    begun = 0

    def work() -> None:
        nonlocal begun
        begun += 1
        if begun == 2:
            token.run_sync_soon(running.set)
        gate.wait()

    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(threads.run, work)
        await running.wait()
        await trio.testing.wait_all_tasks_blocked()
        assert (begun, threads.busy, threads.waiting) == (2, 2, 3)
        gate.set()
    assert begun == 5


async def test_a_cancelled_call_that_has_begun_is_awaited() -> None:
    threads = CodecThreads(1)
    token = trio.lowlevel.current_trio_token()
    gate = threading.Event()
    begun = trio.Event()
    finished = []

    def work() -> None:
        token.run_sync_soon(begun.set)
        gate.wait()
        finished.append(True)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(threads.run, work)
        await begun.wait()
        nursery.cancel_scope.cancel()
        token.run_sync_soon(gate.set)
    assert finished == [True]
    assert threads.busy == 0


async def test_a_call_that_waits_for_a_thread_can_be_cancelled() -> None:
    threads = CodecThreads(1)
    gate = threading.Event()
    ran: list[int] = []

    def work() -> None:
        gate.wait()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(threads.run, work)
        await trio.testing.wait_all_tasks_blocked()
        with trio.CancelScope() as scope:
            scope.cancel()
            await threads.run(ran.append, 1)
        assert scope.cancelled_caught
        gate.set()
    assert ran == []


def test_no_workers_raises() -> None:
    with pytest.raises(ConfigurationError):
        CodecThreads(0)
