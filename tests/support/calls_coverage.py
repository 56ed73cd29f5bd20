"""Which tests take which row of call control's tables, from which state. A pytest plugin; tests/conftest.py loads it.

A row that starts from four states is four entries: each has to be taken by some test. Random tests do not count: what
they reach may differ from run to run.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NamedTuple

from rich.console import Console
from rich.table import Table

from support.calls_numbers import SEVERAL_NODES, documented_numbers, naming_tests, numbers_with_tests
from support.calls_tables import MACHINES
from support.run_records import RunRecord
from triortc.engine.calls.machine import Machine, Row

__all__ = ["CALL_CONTROL_TESTS", "Entry", "TableCoverage", "entries", "without"]

TESTS: Final = Path(__file__).parents[1]
_ABOUT_CALLS: Final = re.compile(r"^from support\.(?:calls|invitations|sleeping_phone) import", re.MULTILINE)

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


class TableCoverage(RunRecord[Entry]):
    """Records for each entry the tests that took it, and fails a whole run in which an entry has none.

    `--calls-coverage` prints everything.
    """

    def __init__(self) -> None:
        super().__init__("the tables of call control", (entry for _, _, entry in entries()), CALL_CONTROL_TESTS)
        self._machines = {id(machine) for machine in MACHINES}
        self._select: Callable[..., Row | None] = Machine.select

    def watch(self) -> None:
        def select(machine: Machine[Any], state: str, event: str, facts: Any) -> Row | None:
            row = self._select(machine, state, event, facts)
            if row is not None and id(machine) in self._machines:
                self.did(_entry(machine, row, state))
            return row

        Machine.select = select  # type: ignore[method-assign,assignment]  # undone at the end of the session

    def unwatch(self) -> None:
        Machine.select = self._select  # type: ignore[method-assign]  # as it was

    def judge(self) -> list[str]:
        faults = [f"no test takes {entry}" for entry, tests in self.taken.items() if not tests]
        named = {*naming_tests(), *(entry.number for entry, tests in self.taken.items() if tests)}
        missing = sorted(documented_numbers() - named - SEVERAL_NODES)
        return faults + [f"no test names {number} of docs/calls-numbers.md or docs/calls.md" for number in missing]

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        if terminalreporter.config.option.calls_coverage:
            self.print()
        super().pytest_terminal_summary(terminalreporter)

    def print(self) -> None:
        """The tables' entries and the documentation's numbers, each with its tests."""
        console = Console(width=None if Console().is_terminal else 160)
        table = Table("#", "state", "event", "guard", "tests", "for example", title="Rows and their tests")
        for entry, tests in self.taken.items():
            example = next(iter(tests), "[bold red]none").partition("::")[2] or "[bold red]none"
            table.add_row(entry.number, entry.state, entry.event, entry.guard, str(len(tests)), example)
        console.print(table)
        numbers = Table("number", "tests", "for example", title="Numbers and their tests")
        rows: dict[str, list[str]] = {}
        for entry, tests in self.taken.items():
            rows.setdefault(entry.number, []).extend(tests)
        for number, found in numbers_with_tests(rows).items():
            absent = "[yellow]several nodes" if number in SEVERAL_NODES else "[bold red]missing"
            numbers.add_row(number, str(len(found)), found[0] if found else absent)
        console.print(numbers)
