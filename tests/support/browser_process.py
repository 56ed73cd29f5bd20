"""A browser's process and profile directory: started fresh, ended by process group, removed; also if we are killed."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import trio

from triortc.bench.child_process import killed_with_us

__all__ = ["BrowserProcess", "browser_process"]

START_TIMEOUT_S = 40.0
EXIT_TIMEOUT_S = 5.0


class BrowserProcess:
    """A running browser: `pid` (also its process group), `profile` directory and the control `url` it printed."""

    def __init__(self, pid: int, profile: Path, url: str) -> None:
        self.pid = pid
        self.profile = profile
        self.url = url


@asynccontextmanager
async def browser_process(
    command: Callable[[Path], Sequence[str]], announcement: re.Pattern[str]
) -> AsyncIterator[BrowserProcess]:
    """Start `command(profile)`, wait for the line with its control address, end it and remove the profile afterwards.

    Raises:
        RuntimeError: the browser ended before it said where it listens (its last words are in the message).
        trio.TooSlowError: it said nothing for 40 s.
    """
    profile = Path(tempfile.mkdtemp(prefix="triortc-browser-"))
    environment = {**os.environ, "HOME": str(profile), "MOZ_CRASHREPORTER_DISABLE": "1", "DBUS_SESSION_BUS_ADDRESS": ""}
    try:
        process = await trio.lowlevel.open_process(
            list(command(profile)),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env=environment,
            start_new_session=True,  # helpers join this group, so that they can be ended with it
        )
        try:
            async with (
                killed_with_us(process.pid, with_group=True, directory=profile),
                trio.open_nursery() as nursery,
            ):
                with trio.fail_after(START_TIMEOUT_S):
                    url = await _read_announcement(process, announcement)
                nursery.start_soon(_drain, process)
                yield BrowserProcess(process.pid, profile, url)
                nursery.cancel_scope.cancel()
        finally:
            with trio.CancelScope(shield=True):
                await _end(process)
    finally:
        with trio.CancelScope(shield=True):
            await _remove(profile)


async def _read_announcement(process: trio.Process, announcement: re.Pattern[str]) -> str:
    assert process.stderr is not None
    text = ""
    while True:
        data = await process.stderr.receive_some(4096)
        if not data:
            raise RuntimeError(f"the browser ended before it was ready: {text[-600:]!r}")
        text += data.decode("utf-8", "replace")
        found = announcement.search(text)
        if found is not None:
            return found.group(1)


async def _drain(process: trio.Process) -> None:
    """Read away what the browser says, or it would block on a full pipe."""
    assert process.stderr is not None
    async for _ in process.stderr:
        pass


async def _end(process: trio.Process) -> None:
    with trio.move_on_after(EXIT_TIMEOUT_S):
        if process.returncode is None:
            process.terminate()
        await process.wait()
    try:
        os.killpg(process.pid, signal.SIGKILL)  # its helpers, and itself where it did not listen
    except ProcessLookupError:
        pass
    await process.wait()
    if process.stderr is not None:
        await process.stderr.aclose()


async def _remove(profile: Path) -> None:
    """Remove the directory; a helper that is just dying may write into it once more, so try a few times."""
    for delay_s in (0.0, 0.05, 0.2, 0.5, 1.0):
        await trio.sleep(delay_s)
        await trio.to_thread.run_sync(lambda: shutil.rmtree(profile, ignore_errors=True))
        if not await trio.Path(profile).exists():
            return
    await trio.to_thread.run_sync(lambda: shutil.rmtree(profile))
