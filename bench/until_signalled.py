"""How a benchmark's command runs: a signal that ends programs unwinds it, and what it has started ends before it."""

from __future__ import annotations

import signal
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from functools import partial
from types import FrameType
from typing import Final, TypeVar

import click
import trio

__all__ = ["ended_by_signals", "run_until_signalled"]

ResultT = TypeVar("ResultT")
_ENDING: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def run_until_signalled(
    measure: Callable[..., Awaitable[ResultT]], *arguments: object, clock: trio.abc.Clock | None = None
) -> ResultT:
    """As `trio.run`; SIGINT, SIGTERM and SIGHUP cancel it, once: the second ends the process as it stands.

    Raises:
        click.exceptions.Exit: a signal has ended it; the code is 128 and the signal's number, as shells have it.
    """
    results, ended_by = trio.run(partial(_run, partial(measure, *arguments)), clock=clock)
    if ended_by is not None:
        raise _ended(ended_by)
    return results[0]


async def _run(measure: Callable[[], Awaitable[ResultT]]) -> tuple[list[ResultT], int | None]:
    results: list[ResultT] = []
    ended_by: int | None = None
    async with trio.open_nursery() as nursery:

        async def end(task_status: trio.TaskStatus[None]) -> None:
            nonlocal ended_by
            with trio.open_signal_receiver(*_ENDING) as signals:
                task_status.started()
                ended_by = await anext(signals)
            nursery.cancel_scope.cancel()

        await nursery.start(end)
        results.append(await measure())
        nursery.cancel_scope.cancel()
    return results, None if results else ended_by


@contextmanager
def ended_by_signals() -> Generator[None]:
    """The same for a benchmark without a loop: the signals unwind it as exceptions."""

    def end(number: int, frame: FrameType | None) -> None:
        raise _ended(number)

    before = {number: signal.signal(number, end) for number in _ENDING}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _ended(number: int) -> click.exceptions.Exit:
    click.echo(f"ended by {signal.Signals(number).name}", err=True)
    return click.exceptions.Exit(128 + number)
