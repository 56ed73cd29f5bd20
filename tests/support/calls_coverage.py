"""Which tests take which row of call control's tables, from which state. A pytest plugin; tests/conftest.py loads it.

A row that starts from four states is four entries: each has to be taken by some test. Random tests do not count: what
they reach may differ from run to run.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any, Final, NamedTuple

import pytest
from rich.console import Console
from rich.table import Table

from support.calls_numbers import NOT_YET, documented_numbers, naming_tests
from support.calls_tables import MACHINES
from triortc.engine.calls.machine import Machine, Row

__all__ = ["CALL_CONTROL_TESTS", "Entry", "TableCoverage", "entries", "without"]

TESTS: Final = Path(__file__).parents[1]
_ABOUT_CALLS: Final = re.compile(r"^from support\.calls import", re.MULTILINE)

CALL_CONTROL_TESTS: Final = tuple(
    path
    for folder in ("unit", "sim")
    for path in sorted((TESTS / folder).glob("test_*.py"))
    if _ABOUT_CALLS.search(path.read_text(encoding="utf-8"))
)
"""The files whose tests count: they are exact, and together they take a few seconds."""


class Entry(NamedTuple):
    """A row of a table, started from one of its states."""

    machine: str
    number: str
    state: str
    event: str
    guard: str

    def __str__(self) -> str:
        return f"{self.number} {self.state} {self.event}" + (f" [{self.guard}]" if self.guard else "")


def _entry(machine: Machine[Any], row: Row, state: str) -> Entry:
    return Entry(machine.name, row.number, state, row.event, row.guard)


def entries() -> list[tuple[Machine[Any], Row, Entry]]:
    """Every row of every table, from every state, in the tables' order."""
    return [
        (machine, row, _entry(machine, row, state))
        for machine in MACHINES
        for row in machine.rows
        for state in row.states
    ]


class without:  # noqa: N801 - reads as a sentence: with without(machine, row, state)
    """The machine as if the row could not be taken from this state, for the length of a `with` block."""

    def __init__(self, machine: Machine[Any], row: Row, state: str) -> None:
        self._listed = machine._index[(state, row.event)]
        self._row = row

    def __enter__(self) -> None:
        self._place = next(place for place, row in enumerate(self._listed) if row is self._row)
        del self._listed[self._place]

    def __exit__(self, *failure: object) -> None:
        self._listed.insert(self._place, self._row)


class TableCoverage:
    """Records for each entry the tests that took it, and fails a whole run in which an entry has none.

    A run is whole if every file of `CALL_CONTROL_TESTS` was collected, nothing of it was left out, and all was run.
    `--calls-coverage` prints everything.
    """

    def __init__(self) -> None:
        self.taken: dict[Entry, dict[str, None]] = {entry: {} for _, _, entry in entries()}
        self._files = {str(path) for path in CALL_CONTROL_TESTS}
        self._machines = {id(machine) for machine in MACHINES}
        self._test: str | None = None
        self._select: Callable[..., Row | None] = Machine.select
        self._collected: set[str] = set()
        self._left_out = False
        self._whole = False
        self._faults: list[str] = []

    # --- recording

    def pytest_sessionstart(self) -> None:
        def select(machine: Machine[Any], state: str, event: str, facts: Any) -> Row | None:
            row = self._select(machine, state, event, facts)
            if row is not None and self._test is not None and id(machine) in self._machines:
                self.taken[_entry(machine, row, state)][self._test] = None
            return row

        Machine.select = select  # type: ignore[method-assign,assignment]  # undone at the end of the session

    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        self._collected = {str(item.path) for item in items}
        self._left_out = any("::" in argument for argument in config.args)

    def pytest_deselected(self, items: list[pytest.Item]) -> None:
        self._left_out = self._left_out or any(str(item.path) in self._files for item in items)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, object, object]:
        self._test = item.nodeid if str(item.path) in self._files else None
        try:
            return (yield)
        finally:
            self._test = None

    # --- judging

    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        Machine.select = self._select  # type: ignore[method-assign]
        if session.config.option.collectonly or session.shouldstop:
            return
        self._whole = self._whole or (self._files <= self._collected and not self._left_out)
        if hasattr(session.config, "workeroutput"):  # one of several workers: their controller judges
            tests = [list(tests) for tests in self.taken.values()]
            session.config.workeroutput["call-control-coverage"] = (self._whole, tests)
        elif self._whole:
            self._judge(session)

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """A worker of pytest-xdist has ended: its tests' entries are added to the others'."""
        self._whole, taken = getattr(node, "workeroutput", {}).get("call-control-coverage", (False, []))
        for tests, more in zip(self.taken.values(), taken, strict=False):  # a worker that died has none
            tests.update(dict.fromkeys(more))

    def _judge(self, session: pytest.Session) -> None:
        self._faults = [f"no test takes {entry}" for entry, tests in self.taken.items() if not tests]
        named = {*naming_tests(), *(entry.number for entry, tests in self.taken.items() if tests)}
        missing = sorted(documented_numbers() - named - NOT_YET)
        self._faults += [f"no test names {number} of docs/calls-numbers.md or docs/calls.md" for number in missing]
        if self._faults and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: Any, config: pytest.Config) -> None:
        if config.option.calls_coverage:
            self.print()
        if self._faults:
            terminalreporter.section("the tables of call control")
            for fault in self._faults:
                terminalreporter.line(f"FAILED {fault}")

    def print(self) -> None:
        """The tables' entries and the documentation's numbers, each with its tests."""
        console = Console(width=None if Console().is_terminal else 160)
        table = Table("#", "state", "event", "guard", "tests", "for example", title="Rows and their tests")
        for entry, tests in self.taken.items():
            example = next(iter(tests), "[bold red]none").partition("::")[2] or "[bold red]none"
            table.add_row(entry.number, entry.state, entry.event, entry.guard, str(len(tests)), example)
        console.print(table)
        numbers = Table("number", "tests", "for example", title="Numbers and their tests")
        named = naming_tests()
        for number in sorted(documented_numbers(), key=_natural):
            rows = [test for entry, tests in self.taken.items() if entry.number == number for test in tests]
            found = [*named.get(number, ()), *(test.partition("::")[2] for test in rows)]
            absent = "[yellow]not yet" if number in NOT_YET else "[bold red]missing"
            numbers.add_row(number, str(len(found)), found[0] if found else absent)
        console.print(numbers)


def _natural(number: str) -> tuple[str | int, ...]:
    return tuple(int(part) if part.isdigit() else part for part in re.split(r"(\d+)", number))
