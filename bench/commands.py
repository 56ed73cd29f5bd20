"""The commands `triortc bench …` and `triortc demo`."""

from __future__ import annotations

import json
import re
import signal
from functools import partial
from pathlib import Path
from typing import Any, Final

import click
import trio
from rich.console import Console
from rich.table import Table

from triortc.bench.demo import DemoConfiguration, run_demo
from triortc.bench.demo_report import print_outcome
from triortc.bench.kills import kill_often
from triortc.bench.machine import describe_machine, spread
from triortc.bench.measure import measure_relay, measure_setup
from triortc.bench.serve_relay import open_relay_server
from triortc.bench.srtp import measure as measure_srtp
from triortc.engine.relay.plane_choice import PlaneChoice
from triortc.errors import ConfigurationError

__all__ = ["bench", "demo"]

#: Web fonts in Rich's picture of a terminal: a file of ours asks nobody for anything.
_WEB_FONT: Final = re.compile(r"@font-face \{.*?\}", re.DOTALL)


@click.command()
@click.option(
    "--out",
    default=Path("demo-output"),
    show_default=True,
    type=click.Path(path_type=Path),
    help="Folder for call.webm, snapshot.png and timeline.svg.",
)
@click.option("--quiet", is_flag=True, help="Print nothing but what failed.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object: figures, expectations, time line, files.")
def demo(out: Path, quiet: bool, as_json: bool) -> None:
    """Make one whole call on this machine, without a browser: ring, Go, handoff, hang-up, with real media."""
    console = Console(record=not (quiet or as_json))
    outcome = None
    try:
        outcome = trio.run(run_demo, DemoConfiguration(out), None if quiet or as_json else console)
    except* KeyboardInterrupt:
        pass  # click says so below; raised here it would come in a group
    if outcome is None:
        raise click.Abort
    if as_json:
        click.echo(outcome.as_json())
    elif not quiet:
        print_outcome(outcome, console)
        picture = _WEB_FONT.sub("", console.export_svg(title="triortc demo"))
        (out / "timeline.svg").write_text(picture, encoding="utf-8")
    if quiet:
        for failure in outcome.failures:
            click.echo(f"failed: {failure}", err=True)
    if not outcome.succeeded:
        raise click.exceptions.Exit(1)


@click.group()
def bench() -> None:
    """Measure latency and cost; the figures are printed as a table and written as JSON."""


@bench.command("setup")
@click.option("--calls", default=25, show_default=True, type=click.IntRange(1, 10_000))
@click.option("--rounds", default=3, show_default=True, type=click.IntRange(1, 100))
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="Append the figures as JSON lines.")
def setup_command(calls: int, rounds: int, out: Path | None) -> None:
    """Legs per second, milliseconds and CPU a leg, from the offer to the keys."""
    _report([trio.run(measure_setup, calls) for _ in range(rounds)], out)


@bench.command("relay")
@click.option("--calls", default="1,10,20", show_default=True, help="Calls at one time; several runs by commas.")
@click.option("--seconds", default=5.0, show_default=True, type=click.FloatRange(0.5, 600))
@click.option("--rounds", default=3, show_default=True, type=click.IntRange(1, 100))
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="Append the figures as JSON lines.")
def relay_command(calls: str, seconds: float, rounds: int, out: Path | None) -> None:
    """CPU a packet and latency at so many calls, 350 packets a second each."""
    try:
        numbers = [int(part) for part in calls.split(",")]
    except ValueError:
        raise click.BadParameter("give numbers with commas between them, such as 1,10,20") from None
    _report([trio.run(measure_relay, number, seconds) for _ in range(rounds) for number in numbers], out)


@bench.command("srtp")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="Append the figures as JSON lines.")
def srtp_command(out: Path | None) -> None:
    """Nanoseconds to protect and unprotect one packet."""
    figures = measure_srtp()
    click.echo(json.dumps(figures, indent=2))
    _write([figures], out)


@bench.command("kills")
@click.option("--times", default=20, show_default=True, type=click.IntRange(1, 10_000))
@click.option("--seconds", default=1.5, show_default=True, type=click.FloatRange(0.5, 60), help="A life, on average.")
@click.option("--visitors", default=12, show_default=True, type=click.IntRange(1, 200), help="At one time.")
@click.option("--seed", default=0, show_default=True, type=int, help="Of what people do.")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="Append the figures as JSON lines.")
def kills_command(times: int, seconds: float, visitors: int, seed: int, out: Path | None) -> None:
    """Kill a server with -9 under load, and hold what it left against every `ok` that its clients had."""
    figures = trio.run(partial(kill_often, times, seconds, visitors=visitors, seed=seed))
    _report_one({name: value for name, value in figures.items() if name != "faults"}, out)
    for fault in figures["faults"]:
        click.secho(fault, fg="red")
    if figures["faults"]:
        raise click.exceptions.Exit(1)


@bench.command("serve-relay")
@click.option("--port", default=8090, show_default=True, type=click.IntRange(0, 65535))
@click.option(
    "--plane",
    default="python",
    show_default=True,
    type=click.Choice(["auto", "python", "accelerated"]),
    help="What forwards packets; `triortc doctor` says what auto means here.",
)
def serve_relay_command(port: int, plane: PlaneChoice) -> None:
    """Serve the relay contract of bench/peers for a load generator, on loopback."""
    try:
        trio.run(partial(_serve_relay, port, plane))
    except ConfigurationError as error:
        raise click.ClickException(str(error)) from None


async def _serve_relay(port: int, plane: PlaneChoice) -> None:
    async with open_relay_server(port, plane) as bound:
        click.echo(f"http://127.0.0.1:{bound}/")
        with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
            async for _ in signals:
                break


def _report(rounds: list[dict[str, Any]], out: Path | None) -> None:
    """Print medians and spreads of equal runs, and write every run."""
    table = Table(title=f"{rounds[0]['what']} · median [min..max] of {len(rounds)} runs")
    groups: dict[int, list[dict[str, Any]]] = {}
    for figures in rounds:
        groups.setdefault(figures.get("calls", 0), []).append(figures)
    names = [name for name, value in rounds[0].items() if isinstance(value, float) and name != "seconds"]
    table.add_column("figure")
    for calls in groups:
        table.add_column(f"{calls} calls" if calls else "triortc", justify="right")
    for name in names:
        table.add_row(name, *(spread([figures[name] for figures in group]) for group in groups.values()))
    Console().print(table)
    machine = describe_machine()
    click.echo(json.dumps({"machine": machine, "runs": rounds}))
    _write([{**figures, "machine": machine} for figures in rounds], out)


def _report_one(figures: dict[str, Any], out: Path | None) -> None:
    """Print the figures of one run, which are not to be averaged, and write them."""
    table = Table(title=figures["what"])
    table.add_column("figure")
    table.add_column("triortc", justify="right")
    for name, value in figures.items():
        shown = [f"{key} {n}" for key, n in value.items()] if isinstance(value, dict) else [str(value)]
        if name != "what":
            table.add_row(name, "\n".join(shown))
    Console().print(table)
    machine = describe_machine()
    click.echo(json.dumps({"machine": machine, "runs": [figures]}))
    _write([{**figures, "machine": machine}], out)


def _write(lines: list[dict[str, Any]], out: Path | None) -> None:
    if out is not None:
        with out.open("a", encoding="utf-8") as file:
            file.writelines(json.dumps(line) + "\n" for line in lines)
