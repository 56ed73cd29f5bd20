"""Signaling and call control without media, as a process of its own: `python -m triortc.bench.signal_process`."""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import trio

from triortc.bench.child_process import first_line, open_child
from triortc.bench.machine import raise_file_limit
from triortc.bench.supervisor import NullMedia
from triortc.engine.calls.configuration import CallConfiguration
from triortc.engine.collector import settle_collector
from triortc.errors import TriortcError
from triortc.signaling.app import ServerConfiguration, open_server
from triortc.signaling.configuration import HttpConfiguration, SignalingConfiguration
from triortc.signaling.server_signals import cancelled_by_signals
from triortc.signaling.sqlite_store import SqliteStore

__all__ = ["SignalProcess", "open_signal_process"]

START_TIMEOUT_S = 120.0
END_TIMEOUT_S = 15.0


@dataclass(frozen=True, slots=True)
class SignalProcess:
    """A signaling server that listens.

    Attributes:
        pid: for its CPU time and memory.
        host, port: where.
    """

    pid: int
    host: str
    port: int

    @property
    def rss_kib(self) -> int:
        """Resident memory."""
        pages = int(Path(f"/proc/{self.pid}/statm").read_text(encoding="ascii").split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") // 1024


@asynccontextmanager
async def open_signal_process(*options: str) -> AsyncGenerator[SignalProcess]:
    """Run the server on the last core, where there are two, and end it afterwards.

    Arguments:
        options: a directory to keep state in; without, in memory.

    Raises:
        TriortcError: it did not start listening in time.
    """
    cores = sorted(os.sched_getaffinity(0))
    command = [sys.executable, "-m", "triortc.bench.signal_process", *options]
    async with open_child(command, cores=cores[-1:], end_timeout_s=END_TIMEOUT_S) as process:
        host, _, port = (await first_line(process, START_TIMEOUT_S)).partition(" ")
        if not port.isdigit():
            raise TriortcError("the signaling server did not start: run python -m triortc.bench.signal_process")
        yield SignalProcess(process.pid, host, int(port))


@asynccontextmanager
async def _open_null_media() -> AsyncGenerator[NullMedia]:
    yield NullMedia()


async def _serve(directory: str | None) -> None:
    configuration = ServerConfiguration(
        port=0,
        development=True,
        calls=CallConfiguration(requests_per_minute=1_000_000),
        # Programs are faster than people: limits of a device are tested elsewhere.
        signaling=SignalingConfiguration(
            rate_burst=1_000_000,
            rate_per_s=1e6,
            offer_burst=1_000_000,
            offers_per_s=1e6,
            signal_burst=1_000_000,
            signal_per_s=1e6,
            max_handshakes=10_000,
        ),
        http=HttpConfiguration(max_connections=20_000),
    )
    store = None if directory is None else SqliteStore(Path(directory))
    async with (
        cancelled_by_signals(),
        open_server(configuration, open_media=_open_null_media, store=store) as server,
    ):
        settle_collector()
        host, port = server.addresses[0]
        print(host, port, flush=True)
        await trio.sleep_forever()


if __name__ == "__main__":
    raise_file_limit()
    trio.run(_serve, sys.argv[1] if len(sys.argv) > 1 else None)
