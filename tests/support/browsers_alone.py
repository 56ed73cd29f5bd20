"""Several workers share the tests by files; a browser's test runs while no other test does. A pytest plugin.

What a browser shows a second depends on who else wants the processor, so browser tests come last, in one worker, and
wait for the other worker's test to end. Nothing of this matters in a run without workers.
"""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Generator
from pathlib import Path
from typing import IO, Final

import pytest

__all__ = ["BrowsersAlone"]

BROWSERS: Final = Path(__file__).parents[1] / "browsers"


class BrowsersAlone:
    """Groups the tests for pytest-xdist and keeps two locks that all workers of a run know by its name."""

    def __init__(self) -> None:
        self._gate: IO[bytes] | None = None
        self._machine: IO[bytes] | None = None

    def pytest_sessionstart(self) -> None:
        run = os.environ.get("PYTEST_XDIST_TESTRUNUID")
        if run is not None:
            directory = Path(tempfile.gettempdir())
            self._gate, self._machine = (
                (directory / f"triortc-tests-{run}.{name}").open("wb") for name in ("gate", "machine")
            )

    def pytest_sessionfinish(self) -> None:
        for lock in (self._gate, self._machine):
            if lock is not None:
                lock.close()
                Path(lock.name).unlink(missing_ok=True)

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        items.sort(key=_with_a_browser)
        for item in items:
            item.add_marker(pytest.mark.xdist_group("browsers" if _with_a_browser(item) else str(item.path)))

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, object, object]:
        if self._gate is None or self._machine is None:
            return (yield)
        fcntl.flock(self._gate, fcntl.LOCK_EX)  # who waits for the machine lets nobody in before
        fcntl.flock(self._machine, fcntl.LOCK_EX if _with_a_browser(item) else fcntl.LOCK_SH)
        fcntl.flock(self._gate, fcntl.LOCK_UN)
        try:
            return (yield)
        finally:
            fcntl.flock(self._machine, fcntl.LOCK_UN)


def _with_a_browser(item: pytest.Item) -> bool:
    return item.path.is_relative_to(BROWSERS)
