"""Tables of bench/RESULTS.md, of the figures that `--out` has written: between markers, so that words stay words."""

from __future__ import annotations

import json
import re
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

__all__ = ["describe_runs", "load_results", "markdown_table", "replace_section"]

#: Figures of a table, with their headings; those that no run has are left out.
_FIGURES: Final[Mapping[str, str]] = {
    "cpu_us_per_packet": "CPU, µs a packet",
    "latency_ms_p50": "p50, ms",
    "latency_ms_p99": "p99, ms",
    "latency_ms_p999": "p99.9, ms",
    "loss_percent": "loss, %",
    "rss_kb_per_call": "memory, kB a call",
    "leg_ms_p50": "a leg, p50 ms",
    "leg_ms_p99": "a leg, p99 ms",
    "server_cpu_ms_per_leg": "CPU, ms a leg",
    "legs_per_second": "legs/s",
}
_RATIO_OF: Final = ("cpu_us_per_packet", "server_cpu_ms_per_leg")


def load_results(path: Path) -> list[dict[str, Any]]:
    """Every run of a file."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line]


def _spread(values: Sequence[float]) -> str:
    digits = 0 if statistics.median(values) >= 100 else 1 if statistics.median(values) >= 10 else 2
    middle, low, high = (f"{value:.{digits}f}" for value in (statistics.median(values), min(values), max(values)))
    return middle if low == high else f"{middle} [{low}..{high}]"


def markdown_table(runs: Sequence[Mapping[str, Any]], reference: str, *, by: str) -> str:
    """Medians and spreads by server and `by` (calls, set-ups in parallel), and the ratio of CPU to the reference."""
    names = [name for name in _FIGURES if any(name in run for run in runs)]
    ratio_of = next((name for name in _RATIO_OF if name in names), "")
    lines = [
        f"| {by} | server | ÷ {reference} | " + " | ".join(_FIGURES[name] for name in names) + " |",
        "|---|---|---|" + "---|" * len(names),
    ]
    for number in dict.fromkeys(run[by] for run in runs):
        same = [run for run in runs if run[by] == number]
        base = [run[ratio_of] for run in same if run["label"] == reference and ratio_of in run]
        for label in dict.fromkeys(run["label"] for run in same):
            own = [run for run in same if run["label"] == label]
            values = {name: [float(run[name]) for run in own if name in run] for name in names}
            costs = values.get(ratio_of, [])
            ratio = f"**{statistics.median(costs) / statistics.median(base):.2f}**" if costs and base else "–"
            cells = [_spread(values[name]) if values[name] else "–" for name in names]
            lines.append(f"| {number} | {label} | {ratio} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def describe_runs(runs: Sequence[Mapping[str, Any]]) -> str:
    """One sentence: machine, versions, rounds, and how busy the machine was otherwise."""
    machine = runs[0]["machine"]
    rounds = max(
        sum(run["label"] == one["label"] and run.get("calls") == one.get("calls") for run in runs) for one in runs
    )
    # What is left when the bench's own is taken from the whole; an idle machine's is a little below nothing.
    others = [max(0.0, run["others_cpu_percent"]) for run in runs if "others_cpu_percent" in run]
    busy = f"; others on the machine took {min(others):.0f} to {max(others):.0f} % of a core" if others else ""
    return (
        f"{rounds} interleaved rounds, {machine['at'][:10]}, {machine['cpu']}, {machine['cores']} cores, Linux "
        f"{machine['kernel']}, Python {machine['python']}, cryptography {machine['packages']['cryptography']}{busy}."
    )


def replace_section(text: str, name: str, body: str) -> str:
    """Put `body` between the markers of a section; a section that is not there is added at the end."""
    begin, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
    block = f"{begin}\n{body}\n{end}"
    if begin in text:
        return re.sub(re.escape(begin) + ".*?" + re.escape(end), lambda _: block, text, count=1, flags=re.DOTALL)
    return f"{text.rstrip()}\n\n{block}\n"
