"""The signals of a server: they are heard before anything is opened, so that none is lost between two moments.

A `KeyboardInterrupt` is raised wherever the program happens to be, also where exceptions go nowhere (finalizers,
callbacks of C libraries): a signal that is received as a value cannot be lost there.
"""

from __future__ import annotations

import logging
import signal
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Final

import trio

from triortc.lone_errors import raises_lone_errors
from triortc.signaling.app import RunningServer

__all__ = ["cancelled_by_signals", "wait_for_end"]

_logger: Final = logging.getLogger("triortc.serve")


@raises_lone_errors
@asynccontextmanager
async def cancelled_by_signals() -> AsyncGenerator[None]:
    """Cancel the block at SIGINT and SIGTERM, and swallow that cancellation; a SIGHUP does nothing.

    This is for a server's start and its end: while it serves, `wait_for_end` inside the block decides.
    """
    async with trio.open_nursery() as nursery:
        await nursery.start(_cancel_at_signals, nursery.cancel_scope)
        yield
        nursery.cancel_scope.cancel()


async def _cancel_at_signals(block: trio.CancelScope, task_status: trio.TaskStatus[None]) -> None:
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM, signal.SIGHUP) as signals:
        task_status.started()
        async for number in signals:
            if number != signal.SIGHUP:  # who starts has read the files a moment ago; who ends reads none
                block.cancel()


async def wait_for_end(
    server: RunningServer,
    *,
    drain_s: float,
    reconnect: str | None = None,
    reload: Callable[[], object] = lambda: None,
) -> None:
    """Serve until SIGTERM or SIGINT, then as long as calls last, `drain_s` at most; a second one ends it at once.

    Args:
        server: it is drained by the first signal.
        drain_s: how long its calls may last.
        reconnect: where devices are sent.
        reload: called at SIGHUP; gives what is awaited, or None.
    """
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM, signal.SIGHUP) as signals:
        async with trio.open_nursery() as nursery:

            async def drain() -> None:
                left = server.calls.running_sessions
                _logger.info("draining: no new calls, %d on, %g s at most", left, drain_s)
                whole = await server.drain(drain_s, reconnect=reconnect)
                _logger.info("drained: every call has ended" if whole else "drained: calls are ended now")
                nursery.cancel_scope.cancel()

            draining = False
            async for number in signals:
                if number == signal.SIGHUP:
                    await _called(reload)
                elif draining or drain_s <= 0:
                    nursery.cancel_scope.cancel()
                    break
                else:
                    draining = True
                    nursery.start_soon(drain)


async def _called(reload: Callable[[], object]) -> None:
    outcome = reload()
    if hasattr(outcome, "__await__"):
        await outcome
