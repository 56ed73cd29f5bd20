"""A run keeps records: of the rows that call control's tables took, and of the errors that servers answered. A whole
run fails if a row or an error has no test.

The extension is built anew when its sources are newer than it: a checkout that moved on tests what it holds.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from support.browsers_alone import BrowsersAlone
from support.calls_coverage import TableCoverage
from support.error_codes import AnsweredErrors

ROOT = Path(__file__).resolve().parent.parent
RELAY = ROOT / "engine" / "relay"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--calls-coverage", action="store_true", help="print the rows of call control's tables with their tests"
    )


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(TableCoverage(), "call-control-coverage")
    config.pluginmanager.register(AnsweredErrors(), "answered-errors")
    config.pluginmanager.register(BrowsersAlone(), "browsers-alone")
    if not hasattr(config, "workerinput"):  # a worker's controller has done it
        build_extension()


def build_extension() -> None:
    """Build in place where something changed; a compiler that fails is seen by tests/unit/test_forwarder.py."""
    sources = [*RELAY.glob("forwarder*.[ch]"), ROOT / "setup.py"]
    built = RELAY / "forwarder.abi3.so"
    if not built.exists() or built.stat().st_mtime < max(source.stat().st_mtime for source in sources):
        command = [sys.executable, "setup.py", "--quiet", "build_ext", "--inplace"]
        subprocess.run(command, cwd=ROOT, check=False, capture_output=True)
