"""Figures of several runs as one table: medians and spreads, ratios to a reference, two results side by side."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any, Final

from rich.table import Table
from rich.text import Text

from triortc.bench.machine import spread

__all__ = ["beside_table", "compare_table", "rounds_table"]

#: What tells one measurement from another; all else that is a number is a figure.
_KEYS: Final = ("what", "calls", "profile", "parallel", "direction", "extended", "workers")
#: The heading of a figure in tables, in the order of columns.
_FIGURES: Final[Mapping[str, str]] = {
    "cpu_us_per_packet": "µs CPU a packet",
    "latency_ms_p50": "p50 ms",
    "latency_ms_p99": "p99 ms",
    "latency_ms_p999": "p99.9 ms",
    "loss_percent": "loss %",
    "rss_kb_per_call": "kB a call",
    "leg_ms_p50": "ms a leg, p50",
    "leg_ms_p99": "p99",
    "server_cpu_ms_per_leg": "ms CPU a leg",
    "legs_per_second": "legs/s",
}
_RATIO_OF: Final = ("cpu_us_per_packet", "server_cpu_ms_per_leg")


def _key_of(run: Mapping[str, Any]) -> tuple[tuple[str, Any], ...]:
    """What was measured, without whose it is."""
    return tuple((name, run[name]) for name in _KEYS if name in run)


def _figures_of(runs: Sequence[Mapping[str, Any]]) -> list[str]:
    """Names of the figures of some runs: floats are measured, whole numbers and words say what was."""
    found = dict.fromkeys(name for run in runs for name, value in run.items() if isinstance(value, float))
    return [name for name in found if name != "seconds"]


def _values(runs: Sequence[Mapping[str, Any]], name: str) -> list[float]:
    return [float(run[name]) for run in runs if name in run]


def _title(key: tuple[tuple[str, Any], ...]) -> str:
    words = [f"{value}" if isinstance(value, str) else f"{value} {name}" for name, value in key]
    return " ".join(words)


def rounds_table(runs: Sequence[Mapping[str, Any]]) -> Table:
    """A column for each measurement, over the runs that have made it."""
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for run in runs:
        groups.setdefault(_title(_key_of(run)[1:]) or "triortc", []).append(run)
    rounds = max(len(group) for group in groups.values())
    table = Table(title=Text(f"{runs[0]['what']} · median [min..max] of {rounds} round{'s' if rounds > 1 else ''}"))
    table.add_column("figure")
    for heading in groups:
        table.add_column(heading, justify="right")
    for name in _figures_of(runs[:1]):
        table.add_row(name, *(spread(_values(group, name)) for group in groups.values()))
    return table


def beside_table(runs: Sequence[Mapping[str, Any]], reference: str) -> Table:
    """One row a server and measurement; the ratio of its CPU to the reference's, from the medians of this run."""
    names = [name for name in _FIGURES if any(name in run for run in runs)]
    table = Table(title=Text(f"median [min..max]; the ratio is to {reference}"))
    table.add_column("measured")
    table.add_column("server")
    table.add_column("ratio", justify="right")
    for name in names:
        table.add_column(_FIGURES[name], justify="right")
    for key in dict.fromkeys(_key_of(run) for run in runs):
        same = [run for run in runs if _key_of(run) == key]
        ratio_of = next((name for name in _RATIO_OF if _values(same, name)), "")
        base = _values([run for run in same if run["label"] == reference], ratio_of)
        for label in dict.fromkeys(run["label"] for run in same):
            own = [run for run in same if run["label"] == label]
            values = _values(own, ratio_of)
            ratio = f"{statistics.median(values) / statistics.median(base):.2f}" if values and base else "-"
            failed = sum("failed" in run for run in own)
            cells = [spread(_values(own, name)) for name in names]
            table.add_row(_title(key), label + (f" ({failed} failed)" if failed else ""), ratio, *cells)
        table.add_section()
    return table


def compare_table(before: Sequence[Mapping[str, Any]], after: Sequence[Mapping[str, Any]]) -> Table:
    """Medians of two results, figure by figure, where both have measured the same."""
    table = Table(title=Text("median [min..max], and after ÷ before"))
    for heading in ("measured", "server", "figure", "before", "after", "ratio"):
        table.add_column(heading, justify="left" if heading in ("measured", "server", "figure") else "right")
    measured = dict.fromkeys((_key_of(run), _label_of(run)) for run in before)
    for key, label in measured:
        old, new = ([run for run in runs if (_key_of(run), _label_of(run)) == (key, label)] for runs in (before, after))
        known = [name for name in _FIGURES if _values(old, name)]
        for name in [*known, *(name for name in _figures_of(old) if name not in known)]:
            was, now = _values(old, name), _values(new, name)
            if not was or not now:
                continue
            middle = statistics.median(was)
            ratio = f"{statistics.median(now) / middle:.2f}" if middle else "-"
            table.add_row(_title(key), label, _FIGURES.get(name, name), spread(was), spread(now), ratio)
        table.add_section()
    return table


def _label_of(run: Mapping[str, Any]) -> str:
    return str(run.get("label", "triortc"))
