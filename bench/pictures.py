"""`python -m triortc.bench.pictures`: pictures and tables of bench/RESULTS.md from the figures in bench/results.

Needs the extra `bench` (matplotlib). What it reads is written by `triortc bench relay --beside-peers --out FILE`.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import click

from triortc.bench.beside_peers import REFERENCE
from triortc.bench.results import describe_runs, load_results, markdown_table, replace_section

__all__ = ["draw"]

_FOLDER: Final = Path(__file__).parent
_COLORS: Final = {
    "triortc": "#1a7f5a",
    "triortc-accelerated": "#8bc9ae",
    "pion": "#7a869a",
    "go-bound": "#c5ccd6",
    "aiortc": "#d08c4a",
}


def draw(runs: Sequence[Mapping[str, Any]], figure: str, words: str, path: Path, *, logarithmic: bool = False) -> None:
    """Bars of one figure by calls and server: medians, with whiskers from the least to the greatest."""
    import matplotlib  # of the extra `bench`: without it this module can be imported, and draws nothing

    matplotlib.use("svg")
    from matplotlib import pyplot  # the backend is chosen before

    calls = sorted({run["calls"] for run in runs if figure in run})
    labels = list(dict.fromkeys(run["label"] for run in runs if figure in run))
    image, axes = pyplot.subplots(figsize=(7, 3.2))
    width = 0.8 / len(labels)
    for number, label in enumerate(labels):
        for place, count in enumerate(calls):
            values = [run[figure] for run in runs if run["label"] == label and run["calls"] == count and figure in run]
            if not values:
                continue
            middle = statistics.median(values)
            axes.bar(
                place + (number - (len(labels) - 1) / 2) * width,
                middle,
                width * 0.92,
                color=_COLORS.get(label, "#999999"),
                label=label if place == 0 else None,
                yerr=[[middle - min(values)], [max(values) - middle]],
                capsize=2,
                ecolor="#444444",
            )
    axes.set_xticks(range(len(calls)), [f"{count} calls" if count > 1 else "1 call" for count in calls])
    axes.set_ylabel(words)
    if logarithmic:
        axes.set_yscale("log")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    image.tight_layout()
    image.savefig(path)
    pyplot.close(image)


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Write the tables and pictures of bench/RESULTS.md anew, from the figures in bench/results.

    For a checkout: it writes beside its own source.
    """
    if find_spec("matplotlib") is None:
        raise click.ClickException("matplotlib is missing: pip install 'triortc[bench]'")
    results, page = _FOLDER / "results", _FOLDER / "RESULTS.md"
    text = page.read_text(encoding="utf-8")
    for path in sorted(results.glob("*.jsonl")):
        if f"<!-- {path.stem} -->" not in text:
            continue  # figures that the page tells in words
        runs = load_results(path)
        by = "parallel" if runs[0]["what"] == "setup" else "calls"
        body = f"{describe_runs(runs)}\n\n{markdown_table(runs, REFERENCE, by=by)}"
        text = replace_section(text, path.stem, body)
    page.write_text(text, encoding="utf-8")
    relay = results / "relay-gcm.jsonl"
    if relay.exists():
        runs = load_results(relay)
        draw(runs, "cpu_us_per_packet", "CPU, µs a packet", results / "relay-cpu.svg")
        draw(runs, "latency_ms_p99", "latency p99, ms", results / "relay-latency.svg", logarithmic=True)


if __name__ == "__main__":
    main()
