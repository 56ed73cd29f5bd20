"""`triortc simulate`: a day of a contact centre in virtual time, and whether a rule was broken in it."""

from __future__ import annotations

import statistics
import time
from collections import Counter
from typing import Final

import click
from rich.console import Console
from rich.table import Table

from triortc.bench.contact_centre import ContactCentre, DayConfiguration
from triortc.bench.plants import PLANTS, planted

__all__ = ["simulate"]

_DAY: Final = DayConfiguration()


@click.command()
@click.option("--seed", default=1, show_default=True, help="The same seed is the same day.")
@click.option("--agents", default=_DAY.agents, show_default=True, type=click.IntRange(1, 5000))
@click.option("--visitors", default=_DAY.visitors, show_default=True, type=click.IntRange(1, 200_000))
@click.option("--hours", default=_DAY.hours, show_default=True, type=click.FloatRange(0.5, 24.0))
@click.option("--plant", default=None, type=click.Choice(list(PLANTS)), help="Plant this bug into the rules first.")
def simulate(seed: int, agents: int, visitors: int, hours: float, plant: str | None) -> None:
    """Live a day of a contact centre in seconds, and check the rules.

    They are checked from outside. Prints how calls ended, how late rings did, and every rule that was broken; with
    any, the exit status is 1.
    """
    console, started = Console(), time.perf_counter()
    with planted(plant):
        centre = ContactCentre(seed, DayConfiguration(agents=agents, visitors=visitors, hours=hours))
        centre.run()
    took_s = time.perf_counter() - started
    referee = centre.referee
    records = referee.records
    title = f"{agents} agents, {visitors} visitors in {hours:g} hours, seed {seed}"
    table = Table("how calls ended", "calls", "share", title=title, title_justify="left")
    for (origin, outcome, reason), count in Counter((r.origin, r.outcome, r.reason) for r in records).most_common():
        table.add_row(f"{origin}: {outcome}, {reason}", str(count), f"{100 * count / len(records):.1f} %")
    console.print(table)
    waits = sorted((r.answered_at - r.requested_at) / 1000 for r in records if r.answered_at is not None)
    if waits:
        p95 = waits[int(0.95 * (len(waits) - 1))]
        console.print(f"until the answer: median {statistics.median(waits):.1f} s, p95 {p95:.1f} s")
    late = max((late_s for late_s in referee.lateness_s), default=0.0)
    console.print(f"unanswered rings: {len(referee.lateness_s)}, the latest {1000 * late:.1f} ms after its deadline")
    console.print(f"{centre.steps} steps in {took_s:.1f} s, {1e6 * took_s / centre.steps:.0f} µs each")
    if not referee.violations:
        console.print("violations: 0", style="green")
        return
    for number, count in sorted(referee.violations.items()):
        console.print(f"{number} was broken {count} times; first {referee.examples[number]}", style="red", markup=False)
    raise SystemExit(1)
