"""What tests do, written down while they run: added up over the workers of a run, and judged where the run was whole.

A run is whole if every file that counts was collected, nothing of it was left out, and all was run.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Generator, Iterable
from pathlib import Path
from typing import Any, Generic, TypeVar

import pytest

__all__ = ["RunRecord"]

Key = TypeVar("Key")


class RunRecord(ABC, Generic[Key]):
    """A pytest plugin that records for each of some keys the tests that did it.

    Args:
        title: what the report and the workers call it.
        keys: what tests are to do; the same in every worker.
        files: the tests that count.
    """

    def __init__(self, title: str, keys: Iterable[Key], files: Collection[Path]) -> None:
        self.title = title
        self.taken: dict[Key, dict[str, None]] = {key: {} for key in keys}
        self.faults: list[str] = []
        self._files = {str(path) for path in files}
        self._test: str | None = None
        self._collected: set[str] = set()
        self._left_out = False
        self._whole = False

    @abstractmethod
    def watch(self) -> None:
        """Begin to call `did`."""

    @abstractmethod
    def unwatch(self) -> None:
        """Undo what `watch` has changed."""

    @abstractmethod
    def judge(self) -> list[str]:
        """What is missing in a whole run, in words."""

    def did(self, key: Key) -> None:
        """The test that runs now has done this."""
        if self._test is not None and key in self.taken:
            self.taken[key][self._test] = None

    # --- hooks of pytest

    def pytest_sessionstart(self) -> None:
        self.watch()

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

    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        self.unwatch()
        if session.config.option.collectonly or session.shouldstop:
            return
        self._whole = self._whole or (self._files <= self._collected and not self._left_out)
        if hasattr(session.config, "workeroutput"):  # one of several workers: their controller judges
            tests = [list(tests) for tests in self.taken.values()]
            session.config.workeroutput[self.title] = (self._whole, tests)
        elif self._whole:
            self.faults = self.judge()
            if self.faults and session.exitstatus == pytest.ExitCode.OK:
                session.exitstatus = pytest.ExitCode.TESTS_FAILED

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """A worker of pytest-xdist has ended: what its tests did is added to the others'."""
        self._whole, taken = getattr(node, "workeroutput", {}).get(self.title, (False, []))
        for tests, more in zip(self.taken.values(), taken, strict=False):  # a worker that died has none
            tests.update(dict.fromkeys(more))

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        if self.faults:
            terminalreporter.section(self.title)
            for fault in self.faults:
                terminalreporter.line(f"FAILED {fault}")
