"""`kill -9` under load, many times: the clients' ledger of every `ok` against what the next server finds.

A real `triortc serve --data`, clients over WebSocket with a share of real legs; after every kill the directory is read
as the next server reads it, and held against the ledger; then that server starts, and the same clients go on.
"""

from __future__ import annotations

import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import trio

from triortc.bench.child_process import end_process
from triortc.bench.kill_ledger import RING_MS, Ledger
from triortc.bench.kill_people import Agent, Server, keep_visiting
from triortc.errors import TriortcError
from triortc.signaling.client import ClientDevice, CommandError, SignalClient
from triortc.signaling.sqlite_store import SqliteStore

__all__ = ["Lives", "kill_often", "open_lives"]

_URL: Final = re.compile(r"(http://127\.0\.0\.1:\d+)")
_AGENTS: Final = ("ana", "ben", "cem", "dee", "eva", "fay", "gus", "hal")
_START_S: Final = 120.0
_STOP_S: Final = 15.0


class Lives:
    """One server after the other on one directory: processes of `triortc serve --data`. Made by `open_lives`.

    Attributes:
        url: where the present one listens.
        said: what it has printed.
        pid: its process.
    """

    def __init__(self, directory: Path, options: tuple[str, ...], nursery: trio.Nursery) -> None:
        self.url = ""
        self.said = ""
        self._directory = directory
        self._options = options
        self._nursery = nursery
        self._process: trio.Process | None = None
        self._ready = trio.Event()

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    async def start(self) -> str:
        """Start a server, and wait until it says where it listens.

        Raises:
            TriortcError: it ended before; the message holds what it said.
            trio.TooSlowError: it said nothing for long.
        """
        program = str(Path(sys.executable).with_name("triortc"))
        command = [program, "serve", "--dev", "--port", "0", "--data", str(self._directory), *self._options]
        self.url, self.said, self._ready = "", "", trio.Event()
        self._process = await trio.lowlevel.open_process(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self._nursery.start_soon(self._listen, self._process, self._ready)
        with trio.fail_after(_START_S):
            await self._ready.wait()
        if not self.url:
            raise TriortcError(f"the server did not start:\n{self.said}")
        return self.url

    async def _listen(self, process: trio.Process, ready: trio.Event) -> None:
        assert process.stdout is not None
        async with process.stdout:
            async for data in process.stdout:
                self.said = (self.said + data.decode("utf-8", "replace"))[-20_000:]
                found = _URL.search(self.said)
                if found is not None and not self.url:
                    self.url = found.group(1)
                    ready.set()
        ready.set()

    async def kill(self) -> None:
        """No word of warning."""
        await self.stop(0.0)

    async def stop(self, within_s: float = _STOP_S) -> None:
        """As an operator does it."""
        if self._process is not None:
            await end_process(self._process, within_s)


@asynccontextmanager
async def open_lives(directory: Path, *options: str) -> AsyncGenerator[Lives]:
    """Servers on a directory, with further options of `serve`; the last one and its workers end with the block."""
    async with trio.open_nursery() as nursery:
        lives = Lives(directory, options, nursery)
        try:
            yield lives
        finally:
            await lives.stop()
            nursery.cancel_scope.cancel()


async def kill_often(
    times: int, seconds: float, *, visitors: int = 12, seed: int = 0, settle: bool = True, options: tuple[str, ...] = ()
) -> dict[str, Any]:
    """Kill a server again and again, and compare.

    Arguments:
        times: kills.
        seconds: how long a life lasts on average, from the moment at which it listens.
        visitors: at one time.
        seed: of what people do; the kernel's scheduling is not to be had from a seed.
        settle: wait at the end until every ring and every lost call must be over, and see that they are.
        options: further options of `serve`.

    Returns:
        figures, and under `faults` what was wrong: nothing, if all is well.
    """
    chance = random.Random(seed)
    ledger, server = Ledger(), Server()
    faults: list[str] = []
    states: Counter[str] = Counter()
    restarts: list[float] = []
    with tempfile.TemporaryDirectory(prefix="triortc-kills-") as name:
        directory = Path(name) / "state"
        async with open_lives(directory, *options) as lives, trio.open_nursery() as nursery:
            _began(server, ledger, await lives.start())
            for sub in _AGENTS:
                for device in ("desk", "phone"):
                    nursery.start_soon(Agent(server, ledger, nursery, chance).run, sub, device)
            async with keep_visiting(server, ledger, chance, visitors):
                for number in range(times):
                    await trio.sleep(chance.uniform(0.2, 2 * seconds - 0.2))
                    server.died()
                    await lives.kill()
                    ledger.up.append(_now_ms())
                    faults += [f"kill {number + 1}: {fault}" for fault in await _judge(directory, ledger, states)]
                    started = trio.current_time()
                    _began(server, ledger, await lives.start())
                    restarts.append(trio.current_time() - started)
            if settle:
                await trio.sleep(RING_MS / 1000 + 3)
                faults += [f"at the end: {fault}" for fault in await _orange(server, ledger)]
            await lives.stop()
            nursery.cancel_scope.cancel()
        store = SqliteStore(directory)
        async with store.open():
            history = await store.rows("history")
            faults += ledger.compare_rings(history)
            faults += ledger.compare(await store.load(), await store.rows("messages"), history)
    outcomes = Counter(f"{row.record.outcome}/{row.record.reason}" for row in history)
    return {
        "what": "kill -9 under load",
        "kills": times,
        "acknowledged": ledger.acknowledged,
        "calls": len(history),
        "messages": len(ledger.messages),
        "states_at_kill": dict(states.most_common()),
        "outcomes": dict(outcomes.most_common()),
        "restart_s": round(sum(restarts) / max(1, len(restarts)), 3),
        "faults": faults,
    }


def _began(server: Server, ledger: Ledger, url: str) -> None:
    ledger.up.append(_now_ms())
    server.began(url)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


async def _judge(directory: Path, ledger: Ledger, states: Counter[str]) -> list[str]:
    """Read what the dead server left, from a copy, as the next one will."""
    copy = directory.with_name("judged")
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(directory, copy)
    store = SqliteStore(copy)
    async with store.open():
        stored = await store.load()
        messages, history = await store.rows("messages"), await store.rows("history")
    states.update(row.session.state for row in stored.sessions if not row.session.ended)
    return ledger.compare(stored, messages, history)


async def _orange(server: Server, ledger: Ledger) -> list[str]:
    """Agents who are said to be in a call, after all of them must be over; who never came in is known to nobody."""
    token = await server.token(role="supervisor", sub="judge", did="judge")
    client = SignalClient(server.open_channel, token, ClientDevice("judge"), lambda length: random.randbytes(length))
    faults = []
    async with trio.open_nursery() as nursery:
        await client.connect(nursery)
        for agent in sorted(ledger.welcomed):
            try:
                statuses = (await client.command("presence.get", agent=agent))["items"]
            except CommandError as error:
                faults.append(f"{agent}: {error}")
                continue
            for status in statuses:
                left = {"ringing", "in_video", "invitation_live"} & set(status["reasons"])
                if left - {"invitation_live"}:
                    faults.append(f"{agent} is {status['effective']} on {status['channel']}: {sorted(left)}")
        await client.close()
        nursery.cancel_scope.cancel()
    return faults
