"""Every run keeps a record of the rows that call control's tables took; a whole run fails if a row has no test."""

from __future__ import annotations

import pytest

from support.calls_coverage import TableCoverage


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--calls-coverage", action="store_true", help="print the rows of call control's tables with their tests"
    )


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(TableCoverage(), "call-control-coverage")
