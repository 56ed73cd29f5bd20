"""The relay under test as a process of its own, so that its CPU time is its own."""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from triortc.bench.child_process import first_line, open_child
from triortc.bench.machine import cpu_seconds, family, resident_kb
from triortc.errors import TriortcError

__all__ = ["RelayProcess", "open_relay_process"]

START_TIMEOUT_S = 20.0
_SERVE = (sys.executable, "-m", "triortc.signaling.cli", "bench", "serve-relay")
END_TIMEOUT_S = 5.0


@dataclass(frozen=True, slots=True)
class RelayProcess:
    """A relay that listens.

    Attributes:
        pid: for its CPU time.
        url: where legs are offered.
    """

    pid: int
    url: str

    def cpu_seconds(self) -> float:
        """CPU time of the relay, its workers included."""
        return sum(cpu_seconds(process) for process in family(self.pid))

    def resident_kb(self) -> int:
        """Memory of the relay, its workers included, in kB."""
        return sum(resident_kb(process) for process in family(self.pid))


@asynccontextmanager
async def open_relay_process(plane: str = "python", workers: int = 0) -> AsyncGenerator[RelayProcess]:
    """Run `triortc bench serve-relay` on a core of its own, where there are two, and end it afterwards.

    Arguments:
        plane: what forwards packets.
        workers: media processes; with any, the relay may use every core.

    Raises:
        TriortcError: it did not start listening in time.
    """
    cores = sorted(os.sched_getaffinity(0))
    command = [*_SERVE, "--port", "0", "--plane", plane, "--workers", str(workers), "--watch-cpu"]
    async with open_child(command, cores=cores if workers else cores[-1:], end_timeout_s=END_TIMEOUT_S) as process:
        url = await first_line(process, START_TIMEOUT_S)
        if not url.startswith("http"):
            raise TriortcError("the relay did not start: run `triortc bench serve-relay` to see why")
        yield RelayProcess(process.pid, url.strip() + "offer")
