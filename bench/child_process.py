"""Processes that a benchmark starts: none of them outlives the block that it was started in."""

from __future__ import annotations

import os
import subprocess
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Final

import trio

__all__ = ["end_process", "first_line", "killed_with_us", "open_child"]

#: A process that was killed is fetched at once; one that hangs in the kernel is left to it.
_KILLED_S: Final = 5.0
#: Its input is a pipe that only we hold, so it notices when we are killed, and ends the child. (PR_SET_PDEATHSIG would
#: follow the thread that has started the child, and trio starts processes in threads that come and go.)
_WATCHDOG: Final = 'read -r _; kill -s KILL -- "$1"; [ -z "$2" ] || { sleep 0.2; rm -rf -- "$2"; }'


@asynccontextmanager
async def open_child(
    command: Sequence[str], *, cores: Sequence[int] | None = None, end_timeout_s: float
) -> AsyncGenerator[trio.Process]:
    """A process whose output is ours; it is asked to end when the block is left, by whatever way.

    If this process is killed, so is that one. What a terminal's Ctrl-C says to all is said to us alone: we end it.

    Arguments:
        command: the program and its arguments.
        cores: where it may run; None: where this one may.
        end_timeout_s: how long it may take to end; then it is killed.
    """
    pinned = None if cores is None else partial(os.sched_setaffinity, 0, list(cores))
    process = await trio.lowlevel.open_process(
        list(command), stdout=subprocess.PIPE, preexec_fn=pinned, start_new_session=True
    )
    try:
        async with killed_with_us(process.pid):
            yield process
    finally:
        await end_process(process, end_timeout_s)
        if process.stdout is not None:
            with trio.CancelScope(shield=True, deadline=trio.current_time() + _KILLED_S):
                await process.stdout.aclose()


@asynccontextmanager
async def killed_with_us(pid: int, *, with_group: bool = False, directory: Path | None = None) -> AsyncGenerator[None]:
    """Inside the block, a process that is killed together with this one, whatever ends us.

    Arguments:
        pid: the process.
        with_group: whether it leads a process group, all of which is meant.
        directory: what it would leave behind, to be removed then.
    """
    watchdog = await trio.lowlevel.open_process(
        ["sh", "-c", _WATCHDOG, "watchdog", f"{'-' * with_group}{pid}", str(directory or "")],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # who ends our group does not mean it
    )
    assert watchdog.stdin is not None
    try:
        yield
    finally:
        with trio.CancelScope(shield=True, deadline=trio.current_time() + _KILLED_S):
            watchdog.kill()
            await watchdog.wait()
            await watchdog.stdin.aclose()


async def end_process(process: trio.Process, within_s: float) -> None:
    """Ask a process to end, and kill it when it does not; in bounded time, cancelled or not. 0: do not ask."""
    if process.returncode is None and within_s > 0:
        process.terminate()
        with trio.move_on_after(within_s, shield=True):
            await process.wait()
    if process.returncode is None:
        process.kill()
        with trio.move_on_after(_KILLED_S, shield=True):
            await process.wait()


async def first_line(process: trio.Process, within_s: float) -> str:
    """The first line that a process prints, without its end; what there is of it, if it ends or takes too long."""
    line = b""
    with trio.move_on_after(within_s):
        assert process.stdout is not None
        while b"\n" not in line and (data := await process.stdout.receive_some()):
            line += data
    return line.decode("utf-8", "replace").partition("\n")[0]
