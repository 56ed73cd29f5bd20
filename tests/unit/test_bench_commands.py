"""The benchmarks' command line: figures that can be read again, results side by side, mistakes in words."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from io import StringIO
from pathlib import Path

import pytest
import trio
from click.testing import CliRunner, Result
from rich.console import Console

from triortc.bench import beside_peers, commands, pictures
from triortc.bench.commands import bench
from triortc.bench.results import describe_runs, load_results, markdown_table, replace_section
from triortc.bench.tables import beside_table


def run(*arguments: str) -> Result:
    return CliRunner().invoke(bench, list(arguments))


def test_figures_are_written_as_lines_that_compare_reads(tmp_path: Path) -> None:
    before, after = tmp_path / "before.jsonl", tmp_path / "after.jsonl"
    assert run("ice", "--rounds", "1", "--checks", "100", "--out", str(before)).exit_code == 0
    [line] = before.read_text(encoding="utf-8").splitlines()
    figures = json.loads(line)
    assert figures["checks_per_second"] > 0
    assert "cpu" in figures["machine"]
    for path, cost in ((before, 40.0), (after, 20.0)):
        lines = [
            {"what": "relay", "label": "triortc", "calls": 10, "cpu_us_per_packet": cost + n, "loss_percent": 0.0}
            for n in (-1, 0, 1)
        ]
        path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    result = run("compare", str(before), str(after))
    assert result.exit_code == 0
    assert "0.50" in result.output
    assert "40.00 [39.00..41.00]" in result.output
    assert "median [min..max], and after" in result.output  # no markup of Rich, which would be left out


def test_results_of_every_benchmark_can_be_compared(tmp_path: Path) -> None:
    """Those of no server's name, and figures that have no heading of their own."""
    path = tmp_path / "srtp.jsonl"
    lines = [{"what": "srtp", "profile": "gcm", "protect_ns": 1700.0, "dropped": 0}]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    result = run("compare", str(path), str(path))
    assert result.exit_code == 0
    assert "protect_ns" in result.output


@pytest.mark.parametrize(
    ("line", "words"),
    [("{}", "nothing was measured in both"), ("7", "no JSON object"), ("title = 1", "no JSON")],
)
def test_what_cannot_be_compared_is_told_in_words(tmp_path: Path, line: str, words: str) -> None:
    before, after = tmp_path / "before.jsonl", tmp_path / "after.jsonl"
    before.write_text('{"what": "udp", "send_many_us": 2.5}\n', encoding="utf-8")
    after.write_text(line + "\n", encoding="utf-8")
    result = run("compare", str(before), str(after))
    assert result.exit_code == 1
    assert words in result.output


def test_every_way_to_send_is_measured() -> None:
    result = run("udp", "--rounds", "1", "--packets", "100")
    assert result.exit_code == 0
    assert all(f"send_{way}_us" in result.output for way in ("segmented", "many", "single"))


def test_beside_table_gives_ratios_to_the_reference_of_the_same_measurement() -> None:
    runs = [
        {"what": "relay", "label": label, "calls": calls, "cpu_us_per_packet": cost}
        for calls, costs in ((10, (40.0, 30.0)), (50, (20.0, 15.0)))
        for label, cost in zip(("pion", "triortc"), costs, strict=True)
    ] + [{"what": "relay", "label": "other", "calls": 50, "failed": "it saturates"}]
    console = Console(width=200, file=StringIO())
    console.print(beside_table(runs, "pion"))
    assert isinstance(console.file, StringIO)
    text = console.file.getvalue()
    assert text.count("0.75") == 2
    assert text.count("1.00") == 2
    assert "other (1 failed)" in text


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("relay", "--calls", "1,x"), "numbers with commas"),
        (("relay", "--calls", "0"), "above zero"),
        (("relay", "--profiles", "des"), "no such profile"),
        (("relay", "--extended"), "add --beside-peers"),
        (("relay", "--both-ways", "--beside-peers"), "one way"),
        (("setup", "--parallel", ""), "numbers with commas"),
    ],
)
def test_mistakes_are_told_in_words(arguments: tuple[str, ...], words: str) -> None:
    result = run(*arguments)
    assert result.exit_code != 0
    assert words in result.output


def test_without_peers_it_says_how_they_are_built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(beside_peers, "_CACHE", tmp_path)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    result = run("relay", "--beside-peers")
    assert result.exit_code == 1
    assert "bench/peers/build.sh" in result.output


def test_a_server_that_is_not_there_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "loadgen").touch()
    monkeypatch.setattr(beside_peers, "_CACHE", tmp_path)
    result = run("setup", "--beside-peers", "--only", "pion,nobody")
    assert result.exit_code == 1
    assert "nobody" in result.output


def test_a_server_that_does_not_start_is_named_and_costs_no_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    peers = beside_peers.Peers(Path("/bin/true"), {"broken": ["/bin/false", "{port}"]})
    monkeypatch.setattr(commands, "find_peers", lambda only: peers)
    result = run("relay", "--beside-peers", "--calls", "1", "--rounds", "1")
    assert result.exit_code == 0
    assert "broken (1 failed)" in result.output
    assert "broken: it does not serve; run it by hand to see why: /bin/false" in result.output


def test_the_pictures_command_tells_what_it_would_write_and_writes_nothing() -> None:
    page = Path(pictures.__file__).with_name("RESULTS.md")
    before = page.stat().st_mtime_ns
    result = CliRunner().invoke(pictures.main, ["--help"])
    assert result.exit_code == 0
    assert "RESULTS.md" in result.output
    assert page.stat().st_mtime_ns == before


def test_a_section_of_the_results_page_is_replaced_and_the_words_around_it_stay(tmp_path: Path) -> None:
    machine = {"at": "2026-11-27T20:00:00Z", "cpu": "x", "cores": 2, "kernel": "6", "python": "3.11"}
    machine["packages"] = {"cryptography": "50"}
    runs = [
        {"what": "relay", "label": label, "calls": 10, "cpu_us_per_packet": cost, "machine": machine}
        for label, cost in (("pion", 40.0), ("triortc", 30.0), ("pion", 44.0), ("triortc", 34.0))
    ]
    path = tmp_path / "runs.jsonl"
    path.write_text("".join(json.dumps(run) + "\n" for run in runs), encoding="utf-8")
    loaded = load_results(path)
    table = markdown_table(loaded, "pion", by="calls")
    assert "| 10 | triortc | **0.76** | 32.0 [30.0..34.0] |" in table
    assert describe_runs(loaded).startswith("2 interleaved rounds, 2026-11-27")
    idle = [{**run, "others_cpu_percent": busy} for run, busy in zip(loaded, (-14.0, -7.0, -9.0, -7.5), strict=True)]
    assert describe_runs(idle).endswith("others on the machine took 0 to 0 % of a core.")
    page = "before\n<!-- relay -->\nold\n<!-- end of relay -->\nafter\n"
    replaced = replace_section(page, "relay", table)
    assert "old" not in replaced
    assert replaced.startswith("before\n")
    assert replaced.endswith("after\n")
    assert replace_section(replaced, "relay", table) == replaced
    assert "<!-- other -->" in replace_section(page, "other", "x")


OPENS_A_CHILD = """
import trio
from triortc.bench.child_process import open_child

async def main():
    async with open_child(["sleep", "60"], end_timeout_s=1.0) as process:
        print(process.pid, flush=True)
        await trio.sleep_forever()

trio.run(main)
"""


async def test_a_benchmark_that_is_killed_takes_its_server_with_it() -> None:
    process = await trio.lowlevel.open_process([sys.executable, "-c", OPENS_A_CHILD], stdout=subprocess.PIPE)
    assert process.stdout is not None
    async with process.stdout:
        with trio.fail_after(30):
            pid = int(await process.stdout.receive_some())
            child = os.pidfd_open(pid)
            try:
                # Ctrl-C reaches the benchmark, which ends its server: else one that has just begun shows a traceback.
                assert os.getpgid(pid) != os.getpgid(process.pid)
                process.kill()
                await process.wait()
                await trio.lowlevel.wait_readable(child)  # it has ended
            finally:
                os.close(child)
