"""docs/protocol.md says what the code does: every command, event, field, error and close code is in its tables."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import msgspec
import pytest

from triortc.engine.calls.replies import FAULT_CODES
from triortc.signaling.link import CloseCode
from triortc.signaling.tokens import ALL_CAPABILITIES
from triortc.signaling.wire import COMMANDS, EVENTS, PROTOCOL

TEXT = (Path(__file__).parents[2] / "docs" / "protocol.md").read_text(encoding="utf-8")
SECTIONS = dict(part.split("\n", 1) for part in re.split(r"^## ", TEXT, flags=re.MULTILINE)[1:])


def rows(section: str) -> dict[str, str]:
    """First cell (without back-ticks) to the whole row."""
    found = re.findall(r"^\| `([a-z_.]+)` \|(.*)$", SECTIONS[section], flags=re.MULTILINE)
    assert len(found) == len(dict(found)), "a row is there twice"
    return dict(found)


def test_the_tables_name_every_command_and_event_and_no_other() -> None:
    assert set(rows("Commands")) == set(COMMANDS)
    assert set(rows("Events")) == set(EVENTS)


@pytest.mark.parametrize("section", ["Commands", "Events"])
def test_the_tables_name_every_field(section: str) -> None:
    tables: dict[str, Mapping[str, type[msgspec.Struct]]] = {"Commands": COMMANDS, "Events": EVENTS}
    for t, payload in tables[section].items():
        words = set(re.findall(r"[a-z_]+", rows(section)[t]))
        missing = {field.encode_name for field in msgspec.structs.fields(payload)} - words
        assert not missing, f"{t} lacks {missing}"


def test_the_table_of_errors_names_every_code_of_call_control() -> None:
    assert set(FAULT_CODES) <= set(rows("Errors"))


def test_the_table_of_close_codes_names_every_one() -> None:
    documented = {int(number) for number in re.findall(r"\b[14]\d{3}\b", SECTIONS["Errors"])} | set(range(4400, 4404))
    assert {int(code) for code in CloseCode} <= documented


def test_the_table_of_capabilities_names_every_one() -> None:
    assert set(rows("Tokens")) == set(ALL_CAPABILITIES)


def test_every_error_code_in_the_code_is_documented() -> None:
    room = Path(__file__).parents[2] / "signaling"
    used = {
        code
        for module in room.glob("*.py")
        for code in re.findall(r'"((?:proto|auth|session|rate|server)\.[a-z_]+)"', module.read_text(encoding="utf-8"))
    }
    assert used - set(COMMANDS) - set(EVENTS) <= set(rows("Errors"))


def test_the_title_names_the_protocol() -> None:
    assert TEXT.startswith(f"# The signaling protocol `{PROTOCOL}`")
