"""Calls coming and going for a long time while workers are killed: what grows, what sticks, what is raised."""

from __future__ import annotations

import os
import random
import re
import signal
import statistics
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import httpx
import trio

from triortc.bench.kill_people import Server
from triortc.bench.kills import Lives, open_lives
from triortc.bench.machine import cpu_seconds, family, resident_kb
from triortc.bench.soak_people import Pace, answer_calls, call_often

__all__ = ["soak"]

_SAMPLE_S: Final = 10.0
#: A worker that began just now grows, since it fills its tables: the slope is that of those that lived longer.
_YOUNG_S: Final = 120.0


async def soak(
    minutes: float, calls: int, workers: int, *, kill_every_s: float, seed: int = 0, plane: str = "python"
) -> dict[str, Any]:
    """Keep calls coming and going, and kill workers at random.

    Arguments:
        minutes: how long.
        calls: at one time, at most: so many visitors, and a few agents more.
        workers: media processes.
        kill_every_s: how long until the next worker is killed, on average; 0: none is.
        seed: of what people do.
        plane: what forwards packets.

    Returns:
        figures, and under `faults` what was wrong: nothing, if all is well.
    """
    chance = random.Random(seed)
    pace, server = Pace(chance), Server()
    record = _Record()
    with tempfile.TemporaryDirectory(prefix="triortc-soak-") as name:
        options = ("--workers", str(workers), "--plane", plane)
        async with open_lives(Path(name) / "state", *options) as lives, trio.open_nursery() as nursery:
            server.began(await lives.start())
            cpu_before, began = cpu_seconds(lives.pid), trio.current_time()
            for number in range(calls + max(2, calls // 10)):
                nursery.start_soon(answer_calls, server, f"agent_{number}", pace)
            async with trio.open_nursery() as coming:
                for number in range(calls):
                    coming.start_soon(call_often, server, number, pace)
                coming.start_soon(_sample, lives, record)
                coming.start_soon(pace.watch_clock)
                if kill_every_s > 0 and workers:
                    coming.start_soon(_kill_now_and_then, lives, record, kill_every_s, chance)
                await trio.sleep(minutes * 60)
                coming.cancel_scope.cancel()
            wall_s, cpu_s = trio.current_time() - began, cpu_seconds(lives.pid) - cpu_before
            nursery.cancel_scope.cancel()
        # Every device is gone without a word: what is left ends when its time to come back is over.
        said = lives.said
    figures = record.figures()
    faults = list(pace.wrong)
    tracebacks = len(re.findall(r"^Traceback", said, re.MULTILINE))
    if tracebacks:
        faults.append(f"{tracebacks} tracebacks in the server's last words: {said[-1500:]}")
    return {
        "what": f"{minutes:g} minutes, {calls} calls at one time, {workers} workers, {plane} plane",
        "minutes": minutes,
        "calls": calls,
        "workers": workers,
        "kills": record.kills,
        "server_cpu_percent": 100 * cpu_s / wall_s,
        **{name: pace.counts[name] for name in sorted(pace.counts)},
        **figures,
        "starved_s_in_all": pace.starved_s(0.0),
        "starved_s_longest": max((late_s for _, late_s in pace.starved), default=0.0),
        "faults": faults,
    }


class _Record:
    """What was seen of the processes."""

    def __init__(self) -> None:
        self.kills = 0
        self.server_kb: list[tuple[float, int]] = []
        self.workers_kb: dict[int, list[tuple[float, int]]] = {}
        self.files: list[tuple[float, int]] = []
        self.health: list[dict[str, Any]] = []

    def figures(self) -> dict[str, Any]:
        """Slopes and the server's own counters at the end."""
        late = [samples for samples in map(_grown_up, self.workers_kb.values()) if len(samples) >= 12]
        last = self.health[-1] if self.health else {}
        open_legs = [health.get("legs", {}).get("open", 0) for health in self.health]
        return {
            "server_rss_mb": self.server_kb[-1][1] / 1000 if self.server_kb else 0.0,
            "server_rss_slope_mb_per_hour": _slope_per_hour(self.server_kb[len(self.server_kb) // 3 :]) / 1000,
            "worker_rss_mb": statistics.median([one[-1][1] for one in self.workers_kb.values()] or [0]) / 1000,
            "worker_rss_slopes_mb_per_hour": [round(_slope_per_hour(samples) / 1000, 1) for samples in late],
            "server_files_first_last": [self.files[0][1], self.files[-1][1]] if self.files else [],
            "legs_open_median": statistics.median(open_legs or [0]),
            "workers_restarted": last.get("workers", {}).get("restarts", 0),
            "packets_forwarded": last.get("gate", {}).get("forwarded", 0),
            "dropped": {name: count for name, count in last.get("dropped", {}).items() if count},
        }


def _grown_up(samples: Sequence[tuple[float, int]]) -> list[tuple[float, int]]:
    return [sample for sample in samples if sample[0] >= samples[0][0] + _YOUNG_S]


def _slope_per_hour(samples: Sequence[tuple[float, int]]) -> float:
    if len(samples) < 3:
        return 0.0
    slope: float = statistics.linear_regression([at for at, _ in samples], [value for _, value in samples]).slope
    return slope * 3600


async def _kill_now_and_then(lives: Lives, record: _Record, every_s: float, chance: random.Random) -> None:
    while True:
        await trio.sleep(chance.uniform(0.5 * every_s, 1.5 * every_s))
        workers = family(lives.pid)[1:]
        if workers:
            with suppress(ProcessLookupError):
                os.kill(chance.choice(workers), signal.SIGKILL)
                record.kills += 1


async def _sample(lives: Lives, record: _Record) -> None:
    async with httpx.AsyncClient() as http:
        while True:
            now = trio.current_time()
            record.server_kb.append((now, resident_kb(lives.pid)))
            record.files.append((now, len(os.listdir(f"/proc/{lives.pid}/fd"))))
            for worker in family(lives.pid)[1:]:
                with suppress(OSError):
                    record.workers_kb.setdefault(worker, []).append((now, resident_kb(worker)))
            with suppress(httpx.HTTPError):
                record.health.append((await http.get(f"{lives.url}/health", timeout=5.0)).json())
            await trio.sleep(_SAMPLE_S)
