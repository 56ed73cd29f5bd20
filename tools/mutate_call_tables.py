"""Does every row of call control's tables matter? Each is deleted, from one state at a time, and a test must fail.

The call-control tests run once to learn which of them take which row; then, for every row and state, those tests run
again without it until one fails. All in one process: a few seconds. The result is kept in docs/calls-mutations.md, and
which tests hold which number of the documentation in docs/calls-coverage.md.

    python tools/mutate_call_tables.py                     write the result; exit status 1 if a deletion goes unnoticed
    python tools/mutate_call_tables.py --calls-coverage    the same, and print which tests take which row
    python tools/mutate_call_tables.py V11 L6              only these rows, and write nothing
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from _pytest.runner import runtestprotocol

ROOT = Path(__file__).resolve().parents[1]
RESULT = ROOT / "docs" / "calls-mutations.md"
NUMBERS = ROOT / "docs" / "calls-coverage.md"
sys.path.insert(0, str(ROOT / "tests"))

from support.calls_coverage import CALL_CONTROL_TESTS, Entry, TableCoverage, entries, without  # noqa: E402 - after the path
from support.calls_numbers import SEVERAL_NODES, numbers_with_tests  # noqa: E402 - after the path


class Mutations:
    """A pytest plugin: after the ordinary run, a run for each deletion."""

    def __init__(self, only: Iterable[str]) -> None:
        self.only = set(only)
        self.noticed_by: dict[Entry, str | None] = {}
        self._seconds: dict[str, float] = {}
        self._said = True

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._seconds[report.nodeid] = self._seconds.get(report.nodeid, 0.0) + report.duration

    @pytest.hookimpl(wrapper=True)
    def pytest_runtestloop(self, session: pytest.Session) -> Any:
        result = yield
        if session.testsfailed:
            return result
        coverage = session.config.pluginmanager.get_plugin("call-control-coverage")
        assert isinstance(coverage, TableCoverage)
        items = {item.nodeid: item for item in session.items}
        taken = {entry: list(tests) for entry, tests in coverage.taken.items()}
        for machine, row, entry in entries():
            if self.only and entry.number not in self.only:
                continue
            quick = sorted((test for test in taken[entry] if test in items), key=lambda test: self._seconds[test])
            with without(machine, row, entry.state):
                self.noticed_by[entry] = next((test for test in quick if _fails(items[test])), None)
        return result


def _fails(item: pytest.Item) -> bool:
    item._initrequest()  # type: ignore[attr-defined]  # what pytest itself does before the first run of an item
    return any(report.failed for report in runtestprotocol(item, log=False, nextitem=None))


def _write(noticed_by: dict[Entry, str | None], seconds: float) -> None:
    count = len(noticed_by)
    lines = [
        "# Deleting rows of the tables of calls",
        "",
        "Written by `python tools/mutate_call_tables.py`: every row of the tables in [calls.md](calls.md) was deleted,",
        "from one of its states at a time, and the call-control tests that take it were run until one failed.",
        "",
        f"{count} deletions, {sum(test is not None for test in noticed_by.values())} noticed, {seconds:.0f} s.",
        "",
        "| # | state | event | guard | noticed by |",
        "|---|---|---|---|---|",
    ]
    for entry, test in noticed_by.items():
        name = "**nobody**" if test is None else f"`{test.partition('::')[2]}`".replace("|", "\\|")
        lines.append(f"| {entry.number} | {entry.state} | `{entry.event}` | {entry.guard or '–'} | {name} |")
    RESULT.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _write_numbers(noticed_by: dict[Entry, str | None]) -> None:
    lines = [
        "# The numbers of calls and their tests",
        "",
        "Written by `make coverage-calls`. A test holds a number of [calls-numbers.md](calls-numbers.md) by its name,",
        "its first lines, or as the one that notices when the row of [calls.md](calls.md) is deleted. At most three",
        "are shown.",
        "",
        "| number | tests | among them |",
        "|---|---|---|",
    ]
    noticing: dict[str, list[str]] = {}
    for entry, test in noticed_by.items():
        if test is not None:
            noticing.setdefault(entry.number, []).append(test.removeprefix("tests/").partition("[")[0])
    for number, tests in numbers_with_tests(noticing).items():
        shown = ", ".join(f"`{test}`" for test in tests[:3])
        absent = "several nodes only" if number in SEVERAL_NODES else "**none**"
        lines.append(f"| {number} | {len(tests)} | {shown or absent} |")
    NUMBERS.write_text("\n".join(lines) + "\n", encoding="utf-8")


def main() -> int:
    """Run; the exit status."""
    options = [argument for argument in sys.argv[1:] if argument.startswith("-")]
    mutations = Mutations(set(sys.argv[1:]) - set(options))
    started = time.monotonic()
    files = [str(path.relative_to(ROOT)) for path in CALL_CONTROL_TESTS]
    status = pytest.main(["-q", "--no-header", "-p", "no:cacheprovider", *options, *files], plugins=[mutations])
    unnoticed = [entry for entry, test in mutations.noticed_by.items() if test is None]
    for entry in unnoticed:
        print(f"nobody notices that {entry} is gone")
    print(f"{len(mutations.noticed_by)} deletions, {len(unnoticed)} unnoticed, {time.monotonic() - started:.0f} s")
    if mutations.noticed_by and not mutations.only:
        _write(mutations.noticed_by, time.monotonic() - started)
        _write_numbers(mutations.noticed_by)
    return int(bool(unnoticed) or not mutations.noticed_by or status != 0)


if __name__ == "__main__":
    raise SystemExit(main())
