"""Runs the client of the other stack (aiortc_client) from a trio test."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import trio

__all__ = ["AiortcClient", "open_aiortc_client"]

CLIENT = Path(__file__).parent / "aiortc_client.py"


class AiortcClient:
    """The process: descriptions both ways, its figures, and a wait for what is hoped of them."""

    def __init__(self, process: trio.Process) -> None:
        self._process = process
        self._lines = _read_lines(process)

    async def read(self) -> dict[str, Any]:
        """The next line that it prints."""
        return await anext(self._lines)

    async def write(self, **values: str) -> None:
        """Give it a line."""
        assert self._process.stdin is not None
        await self._process.stdin.send_all(json.dumps(values).encode() + b"\n")

    async def until(self, hope: str, condition: Callable[[], bool] = lambda: True, **least: float) -> dict[str, Any]:
        """Wait for a line of figures when the condition holds and every named figure has at least this value."""
        last: dict[str, Any] = {}
        with trio.move_on_after(20):
            async for last in self._lines:
                if condition() and all(last[name] >= value for name, value in least.items()):
                    return last
        raise AssertionError(f"{hope}: never, the last figures were {last}")

    async def aclose(self) -> None:
        """Stop reading."""
        await self._lines.aclose()


async def _read_lines(process: trio.Process) -> AsyncGenerator[dict[str, Any]]:
    assert process.stdout is not None
    rest = b""
    async for chunk in process.stdout:
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            yield json.loads(line)


@asynccontextmanager
async def open_aiortc_client(
    luminance: int, *, answers: bool = False, codecs: str = "", further: str = ""
) -> AsyncGenerator[AiortcClient]:
    """Start the client; leaving the block ends it.

    Args:
        luminance: of the picture that it sends.
        answers: whether it waits for an offer instead of making one.
        codecs: the names of those that it takes, with commas between; empty: all that it has.
        further: what it offers, too: ``channel`` of data, ``video`` for a second picture.
    """
    process = await trio.lowlevel.open_process(
        [
            *(sys.executable, str(CLIENT), str(luminance), "answer" if answers else "offer", codecs),
            further,
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdin is not None
    try:
        client = AiortcClient(process)
        yield client
        await client.aclose()
    finally:
        with trio.move_on_after(5, shield=True) as scope:
            await process.stdin.aclose()
            await process.wait()
        if scope.cancelled_caught:
            process.kill()
        if process.stdout is not None:
            with trio.move_on_after(1, shield=True):
                await process.stdout.aclose()
