"""How a benchmark says what it has measured: a table for people, and one JSON object behind it; lines in a file."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import click
from rich.console import Console
from rich.table import Table

from triortc.bench.machine import describe_machine
from triortc.bench.tables import beside_table, rounds_table

__all__ = ["WIDE", "report_beside", "report_each", "report_rounds"]

#: Columns of tables that are wider than most terminals: cut figures are none.
WIDE: Final = 200


def report_rounds(runs: Sequence[Mapping[str, Any]], out: Path | None) -> None:
    """Medians and spreads of equal runs; every run as a line of the file."""
    Console(width=WIDE).print(rounds_table(runs))
    machine = describe_machine()
    click.echo(json.dumps({"machine": machine, "runs": runs}))
    _write(runs, machine, out)


def report_each(runs: Sequence[Mapping[str, Any]], out: Path | None) -> None:
    """A table of its own for each run, of whatever shape its figures are."""
    console = Console()
    for figures in runs:
        table = Table(title=figures["what"])
        table.add_column("figure")
        table.add_column("triortc", justify="right")
        for name, value in figures.items():
            if name not in ("what", "label"):
                table.add_row(name, _shown(value))
        console.print(table)
    machine = describe_machine()
    click.echo(json.dumps({"machine": machine, "runs": runs}))
    _write(runs, machine, out)


def report_beside(runs: Sequence[Mapping[str, Any]], reference: str, out: Path | None) -> None:
    """Several servers' runs with the machine under them, and what failed."""
    Console(width=WIDE).print(beside_table(runs, reference))
    machine = describe_machine()
    click.echo(json.dumps({"machine": machine}))
    for run in runs:
        if "failed" in run:
            click.echo(f"{run['label']}: {run['failed']}", err=True)
    _write(runs, machine, out)


def _shown(value: object) -> str:
    if isinstance(value, dict):
        return "\n".join(f"{key} {number}" for key, number in value.items())
    if isinstance(value, list):
        return "\n".join(map(str, value)) or "none"
    return f"{value:.2f}" if isinstance(value, float) else str(value)


def _write(runs: Sequence[Mapping[str, Any]], machine: Mapping[str, object], out: Path | None) -> None:
    if out is not None:
        with out.open("a", encoding="utf-8") as file:
            file.writelines(json.dumps({**run, "machine": machine}) + "\n" for run in runs)
