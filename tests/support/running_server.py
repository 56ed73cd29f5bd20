"""The development server as its users run it: a process of its own, ended by its id.

async with running_server() as url:
    page = await browser.open(f"{url}/visitor")
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import trio

__all__ = ["COMMAND", "running_server"]

COMMAND: Sequence[str] = (str(Path(sys.executable).with_name("triortc")), "serve", "--dev", "--port", "0")
URL = re.compile(r"(https?://(?:127\.0\.0\.1|localhost|\[::1\]):\d+)")
START_TIMEOUT_S = 30.0
EXIT_TIMEOUT_S = 10.0
KEPT_CHARACTERS = 20_000


@asynccontextmanager
async def running_server(*arguments: str, command: Sequence[str] = COMMAND) -> AsyncIterator[str]:
    """Start the server, yield the address it prints, end it; it must end by itself when asked.

    Args:
        arguments: more options for `serve`.
        command: what to start instead of this interpreter's development server.

    Raises:
        RuntimeError: it ended before it printed an address, or did not end within 10 s after SIGTERM.
        trio.TooSlowError: it printed none for 30 s.
    """
    process = await trio.lowlevel.open_process(
        [*command, *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True
    )
    said = _Said()
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(said.listen, process)
            with trio.fail_after(START_TIMEOUT_S):
                await said.heard.wait()
            if said.url is None:
                raise RuntimeError(f"the server ended before it was ready:\n{said.text}")
            yield said.url
            nursery.cancel_scope.cancel()
    finally:
        with trio.CancelScope(shield=True):
            await _end(process)


class _Said:
    """What the server has printed, and the first address in it."""

    def __init__(self) -> None:
        self.text = ""
        self.url: str | None = None
        self.heard = trio.Event()

    async def listen(self, process: trio.Process) -> None:
        assert process.stdout is not None
        async for data in process.stdout:
            self.text = (self.text + data.decode("utf-8", "replace"))[-KEPT_CHARACTERS:]
            found = URL.search(self.text)
            if found is not None and self.url is None:
                self.url = found.group(1)
                self.heard.set()
        self.heard.set()


async def _end(process: trio.Process) -> None:
    with trio.move_on_after(EXIT_TIMEOUT_S) as scope:
        if process.returncode is None:
            process.terminate()
        await process.wait()
    if scope.cancelled_caught:
        process.kill()
        await process.wait()
    if process.stdout is not None:
        await process.stdout.aclose()
    if scope.cancelled_caught:
        raise RuntimeError(f"the server did not end within {EXIT_TIMEOUT_S:g} s after SIGTERM")
