"""The commands `triortc bench …` and `triortc demo`."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final

import click
import trio
from rich.console import Console

from triortc.bench.beside_peers import (
    REFERENCE,
    Peers,
    find_peers,
    measure_relays_beside,
    measure_setups_beside,
)
from triortc.bench.call_commands import call_command, kills_command, soak_command, supervisor_command
from triortc.bench.demo import DemoConfiguration, run_demo
from triortc.bench.demo_report import print_outcome
from triortc.bench.ice import measure_ice
from triortc.bench.measure import PROFILE_NAMES, measure_relay, measure_setup
from triortc.bench.out_file import out_option
from triortc.bench.reporting import WIDE, report_beside, report_each, report_rounds
from triortc.bench.results import load_results
from triortc.bench.serve_relay import open_relay_server
from triortc.bench.srtp import measure as measure_srtp
from triortc.bench.strangers import measure_strangers
from triortc.bench.tables import compare_table
from triortc.bench.udp import measure_udp
from triortc.bench.until_signalled import ended_by_signals, run_until_signalled
from triortc.engine.relay.plane_choice import PlaneChoice
from triortc.errors import ConfigurationError
from triortc.signaling.server_signals import cancelled_by_signals

__all__ = ["bench", "demo"]

#: Web fonts in Rich's picture of a terminal: a file of ours asks nobody for anything.
_WEB_FONT: Final = re.compile(r"@font-face \{.*?\}", re.DOTALL)


@click.command()
@click.option(
    "--out",
    default=Path("demo-output"),
    show_default=True,
    type=click.Path(path_type=Path),
    help="Folder for call.webm, snapshot.png and, of what is printed, timeline.svg.",
)
@click.option("--quiet", is_flag=True, help="Print nothing but what failed.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object: figures, expectations, time line, files.")
def demo(out: Path, quiet: bool, as_json: bool) -> None:
    """Make one whole call on this machine, without a browser.

    Ring, Go, handoff, hang-up, with real media.
    """
    console = Console(record=not (quiet or as_json))
    outcome = None
    try:
        out.mkdir(parents=True, exist_ok=True)  # before a call is made for nothing
    except OSError as error:
        raise click.ClickException(f"{out} cannot be made: {error.strerror}") from None
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
        click.echo(f"wrote {out / 'timeline.svg'}")
    if quiet:
        for failure in outcome.failures:
            click.echo(f"failed: {failure}", err=True)
    if not outcome.succeeded:
        raise click.exceptions.Exit(1)


_plane_option = click.option(
    "--plane",
    default="python",
    show_default=True,
    type=click.Choice(["auto", "python", "accelerated"]),
    help="What forwards packets; `triortc doctor` says what auto means here.",
)


def _only_beside(context: click.Context, _: click.Parameter, only: str) -> str:
    if only and not context.params["beside_peers"]:
        raise click.UsageError("--only chooses among peers: add --beside-peers")
    return only


def _beside_options(command: Callable[..., None]) -> Callable[..., None]:
    only = click.option(
        "--only", default="", callback=_only_beside, help="With --beside-peers: names of servers by commas."
    )
    beside = click.option(
        "--beside-peers",
        is_flag=True,
        is_eager=True,
        help="Measure Pion and aiortc in the same run, interleaved (bench/peers).",
    )
    return beside(only(out_option(command)))


def _numbers(text: str, least: int = 1) -> list[int]:
    try:
        numbers = [int(part) for part in text.split(",")]
    except ValueError:
        raise click.BadParameter("give numbers with commas between them, such as 1,10,20") from None
    if min(numbers) < least:
        raise click.BadParameter("give numbers above zero" if least else "give no numbers below zero")
    return numbers


def _peers(only: str) -> Peers:
    try:
        return find_peers([name for name in only.split(",") if name])
    except ConfigurationError as error:
        raise click.ClickException(str(error)) from None


@click.group()
def bench() -> None:
    """Measure latency and cost.

    Figures are printed as a table, and as JSON behind it.
    """


@bench.command("setup")
@click.option("--calls", default=25, show_default=True, type=click.IntRange(1, 10_000), help="Calls of two legs each.")
@click.option("--parallel", default="1,8,32", show_default=True, help="Calls set up at one time; several by commas.")
@click.option("--rounds", default=3, show_default=True, type=click.IntRange(1, 100))
@_beside_options
def setup_command(calls: int, parallel: str, rounds: int, beside_peers: bool, only: str, out: Path | None) -> None:
    """What setting a leg up takes, from the offer to the keys."""
    numbers = _numbers(parallel)
    if beside_peers:
        with ended_by_signals():
            runs = measure_setups_beside(_peers(only), calls=calls, parallel=numbers, rounds=rounds)
        report_beside(runs, REFERENCE, out)
        return
    report_rounds([run_until_signalled(measure_setup, calls, number) for _ in range(rounds) for number in numbers], out)


@bench.command("relay")
@click.option("--calls", default="1,10,20", show_default=True, help="Calls at one time; several runs by commas.")
@click.option("--seconds", default=5.0, show_default=True, type=click.FloatRange(0.5, 600))
@click.option("--rounds", default=3, show_default=True, type=click.IntRange(1, 100))
@click.option("--profiles", default="gcm", show_default=True, help="SRTP profiles by commas: gcm, gcm256, cm.")
@click.option("--both-ways", is_flag=True, help="Both legs send (not with --beside-peers).")
@click.option("--extended", is_flag=True, help="With --beside-peers: transport-wide numbers, mid, 0.5 % NACKs, too.")
@click.option(
    "--workers", default="0", show_default=True, help="Media processes; several runs, interleaved, by commas."
)
@click.option(
    "--hostile",
    "hostile_percent",
    default=0.0,
    show_default=True,
    type=click.FloatRange(0, 100),
    help="Replayed, forged, cut off and senseless datagrams for a hundred packets (not with --beside-peers).",
)
@_plane_option
@_beside_options
def relay_command(
    calls: str,
    seconds: float,
    rounds: int,
    profiles: str,
    both_ways: bool,
    extended: bool,
    workers: str,
    hostile_percent: float,
    plane: PlaneChoice,
    beside_peers: bool,
    only: str,
    out: Path | None,
) -> None:
    """CPU a packet and latency at so many calls.

    A call is 350 packets a second each way.
    """
    numbers, names = _numbers(calls), profiles.split(",")
    unknown = [name for name in names if name not in PROFILE_NAMES]
    if unknown:
        raise click.BadParameter(f"no such profile: {', '.join(unknown)}; there are {', '.join(PROFILE_NAMES)}")
    if beside_peers:
        if both_ways or hostile_percent or "gcm256" in names:
            raise click.UsageError(
                "the peers' generator sends one way, with gcm or cm, nothing hostile: leave out --beside-peers"
            )
        with ended_by_signals():
            runs = measure_relays_beside(
                _peers(only), calls=numbers, profiles=names, rounds=rounds, seconds=seconds, extended=extended
            )
        report_beside(runs, REFERENCE, out)
        return
    if extended:
        raise click.UsageError("--extended is for the peers' generator: add --beside-peers")
    measure = partial(measure_relay, seconds=seconds, both_ways=both_ways, plane=plane, hostile_percent=hostile_percent)
    report_rounds(
        [
            run_until_signalled(partial(measure, number, profile=name, workers=processes))
            for _ in range(rounds)
            for name in names
            for number in numbers
            for processes in _numbers(workers, least=0)
        ],
        out,
    )


@bench.command("compare")
@click.argument("before", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("after", type=click.Path(exists=True, dir_okay=False, path_type=Path))
def compare_command(before: Path, after: Path) -> None:
    """Set two results (files that --out has written) side by side."""
    try:
        results = [load_results(path) for path in (before, after)]
    except ValueError as error:
        raise click.ClickException(f"a line is no JSON: give files that --out has written ({error})") from None
    if not all(isinstance(run, dict) for runs in results for run in runs):
        raise click.ClickException("a line is no JSON object: give files that --out has written")
    table = compare_table(*results)
    if not table.row_count:
        raise click.ClickException("nothing was measured in both: give two files of the same benchmark and numbers")
    Console(width=WIDE).print(table)


@bench.command("udp")
@click.option("--packets", default=20_000, show_default=True, type=click.IntRange(100, 10_000_000))
@click.option("--rounds", default=3, show_default=True, type=click.IntRange(1, 100))
@out_option
def udp_command(packets: int, rounds: int, out: Path | None) -> None:
    """Microseconds a datagram, by every way of this kernel."""
    report_rounds([measure_udp(packets) for _ in range(rounds)], out)


@bench.command("ice")
@click.option("--checks", default=5_000, show_default=True, type=click.IntRange(100, 1_000_000))
@click.option("--rounds", default=3, show_default=True, type=click.IntRange(1, 100))
@out_option
def ice_command(checks: int, rounds: int, out: Path | None) -> None:
    """Connectivity checks an agent answers in a second of CPU."""
    report_rounds([measure_ice(checks) for _ in range(rounds)], out)


@bench.command("strangers")
@click.option("--connections", default=10_000, show_default=True, type=click.IntRange(10, 100_000))
@out_option
def strangers_command(connections: int, out: Path | None) -> None:
    """What connections cost that never say who they are.

    And whether a known device is served beside them.
    """
    report_each([run_until_signalled(measure_strangers, connections)], out)


@bench.command("srtp")
@out_option
def srtp_command(out: Path | None) -> None:
    """Nanoseconds to protect and unprotect one packet."""
    report_rounds(measure_srtp(), out)


@bench.command("serve-relay")
@click.option("--port", default=8090, show_default=True, type=click.IntRange(0, 65535))
@click.option("--workers", default=0, show_default=True, type=click.IntRange(0, 64), help="Media processes.")
@click.option("--watch-cpu", is_flag=True, help="Tell the longest callback, by CPU time.")
@_plane_option
def serve_relay_command(port: int, workers: int, watch_cpu: bool, plane: PlaneChoice) -> None:
    """Serve the relay contract of bench/peers on loopback."""
    try:
        trio.run(partial(_serve_relay, port, plane, workers, watch_cpu))
    except (ConfigurationError, OSError) as error:
        raise click.ClickException(str(error)) from None


async def _serve_relay(port: int, plane: PlaneChoice, workers: int, watch_cpu: bool) -> None:
    async with cancelled_by_signals(), open_relay_server(port, plane, workers, watch_cpu=watch_cpu) as bound:
        click.echo(f"http://127.0.0.1:{bound}/")
        await trio.sleep_forever()


for _command in (call_command, kills_command, soak_command, supervisor_command):
    bench.add_command(_command)
