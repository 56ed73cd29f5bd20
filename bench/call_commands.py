"""`triortc bench supervisor`, `call` and `kills`: call control and its store, measured and tormented."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import click
from trio.testing import MockClock

from triortc.bench.call import measure_go
from triortc.bench.kills import kill_often
from triortc.bench.out_file import out_option
from triortc.bench.reporting import report_each
from triortc.bench.signaling import measure_calls, measure_idle
from triortc.bench.soak import soak
from triortc.bench.supervisor import measure_memory, measure_reducer, measure_rings
from triortc.bench.until_signalled import run_until_signalled

__all__ = ["call_command", "kills_command", "soak_command", "supervisor_command"]


@click.command("supervisor")
@click.option("--rings", default=10_000, show_default=True, type=click.IntRange(0, 100_000), help="In progress.")
@click.option("--pairs", default="8,32", show_default=True, help="Visitors who ask and cancel, at one time.")
@click.option("--seconds", default=5.0, show_default=True, type=click.FloatRange(0.5, 600))
@click.option("--idle", default=5000, show_default=True, type=click.IntRange(0, 15_000), help="Idle connections.")
@click.option("--calls", default=20_000, show_default=True, type=click.IntRange(0, 1_000_000), help="For memory.")
@out_option
def supervisor_command(rings: int, pairs: str, seconds: float, idle: int, calls: int, out: Path | None) -> None:
    """What call control can take.

    Rings in progress, calls a second through WebSocket, idle connections, the reducer's step, memory over calls.
    """
    try:
        numbers = [int(part) for part in pairs.split(",") if part]
    except ValueError:
        raise click.BadParameter("give numbers with commas between them, such as 8,32") from None
    measures: list[Callable[[], dict[str, Any]]] = [partial(measure_reducer, 4000)]
    for number in numbers:
        measures.append(partial(run_until_signalled, measure_calls, number, seconds))
        measures.append(partial(_with_directory, number, seconds))
    if idle:
        measures.append(partial(run_until_signalled, measure_idle, idle))
    if calls:
        clock = MockClock()
        measures.append(partial(run_until_signalled, measure_memory, calls, clock, clock=clock))
    if rings:
        measures.append(partial(run_until_signalled, measure_rings, rings))
    for measure in measures:
        report_each([measure()], out)


def _with_directory(pairs: int, seconds: float) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="triortc-bench-") as name:
        return run_until_signalled(measure_calls, pairs, seconds, name)


@click.command("call")
@click.option("--calls", default=50, show_default=True, type=click.IntRange(1, 10_000))
@out_option
def call_command(calls: int, out: Path | None) -> None:
    """From "Go" to call.active with warm legs.

    Through a whole server that keeps its state on disk.
    """
    report_each([run_until_signalled(measure_go, calls)], out)


@click.command("kills")
@click.option("--times", default=20, show_default=True, type=click.IntRange(1, 10_000))
@click.option("--seconds", default=1.5, show_default=True, type=click.FloatRange(0.5, 60), help="A life, on average.")
@click.option("--visitors", default=12, show_default=True, type=click.IntRange(1, 200), help="At one time.")
@click.option("--seed", default=0, show_default=True, type=int, help="Of what people do.")
@out_option
def kills_command(times: int, seconds: float, visitors: int, seed: int, out: Path | None) -> None:
    """Kill a server with -9 under load, and look at what is left.

    It is held against every `ok` that the server's clients had.
    """
    figures = run_until_signalled(partial(kill_often, times, seconds, visitors=visitors, seed=seed))
    report_each([figures], out)
    if figures["faults"]:
        raise click.exceptions.Exit(1)


@click.command("soak")
@click.option("--minutes", default=30.0, show_default=True, type=click.FloatRange(0.1, 10_000))
@click.option("--calls", default=20, show_default=True, type=click.IntRange(1, 500), help="At one time.")
@click.option("--workers", default=2, show_default=True, type=click.IntRange(0, 64), help="Media processes.")
@click.option("--kill-every", default=30.0, show_default=True, type=click.FloatRange(0), help="Seconds; 0: never.")
@click.option("--plane", default="python", show_default=True, type=click.Choice(["auto", "python", "accelerated"]))
@click.option("--seed", default=0, show_default=True, type=int, help="Of what people do.")
@out_option
def soak_command(
    minutes: float, calls: int, workers: int, kill_every: float, plane: str, seed: int, out: Path | None
) -> None:
    """Let calls come and go while workers are killed.

    Looks for memory that grows, stuck calls, exceptions.
    """
    figures = run_until_signalled(
        partial(soak, minutes, calls, workers, kill_every_s=kill_every, seed=seed, plane=plane)
    )
    report_each([figures], out)
    if figures["faults"]:
        raise click.exceptions.Exit(1)
