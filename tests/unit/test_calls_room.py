# ruff: noqa: N802 - test names carry the numbers of docs/calls.md as they are written there
"""What holds for the room as a whole: the rules know neither trio nor clocks, and the tables are sound."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import get_args

import pytest

from support.calls import House
from triortc.engine.calls import commands, notifications
from triortc.engine.calls.machine import Machine, Row
from triortc.engine.calls.replies import FAULT_CODES
from triortc.engine.calls.session import LogRecord, replay
from triortc.engine.calls.session_table import OUTCOMES, ROWS

ROOM = Path(__file__).parents[2] / "engine" / "calls"
PACKAGE = "triortc.engine.calls"


def imports(path: Path) -> set[str]:
    """Full names of the modules that a file imports."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            found.add(node.module)
            found.update(f"{node.module}.{alias.name}" for alias in node.names if node.module == PACKAGE)
    return found


def rules() -> list[Path]:
    """`control.py` and everything of this room that it needs."""
    found: dict[Path, None] = {}
    waiting = [ROOM / "control.py"]
    while waiting:
        path = waiting.pop()
        if path not in found and path.exists():
            found[path] = None
            names = [name.removeprefix(f"{PACKAGE}.") for name in imports(path) if name.startswith(f"{PACKAGE}.")]
            waiting += [ROOM / f"{name}.py" for name in names]
    return sorted(found)


RULES = rules()


@pytest.mark.parametrize("path", RULES, ids=lambda path: path.name)
def test_the_rules_import_no_trio_clock_or_chance(path: Path) -> None:
    assert len(RULES) > 20
    imported = {name.partition(".")[0] for name in imports(path)}
    assert not imported & {"trio", "socket", "time", "random", "secrets", "threading", "asyncio", "os"}


def test_every_end_in_the_table_is_a_known_outcome() -> None:
    ends = [effect[4:] for row in ROWS for effect in row.effects if effect.startswith("end:")]
    assert ends
    for end in ends:
        outcome, reason = end.split("/")
        sides = ("agent", "visitor") if "{side}" in reason else ("",)
        if "{reason}" in reason:
            continue
        assert all(reason.replace("{side}", side) in OUTCOMES[outcome] for side in sides)


def test_wire_types_are_distinct() -> None:
    for union in (commands.Command, notifications.Notification):
        types = [kind.wire_type for kind in get_args(union)]
        assert len(types) == len(set(types))


def test_every_fault_in_the_code_has_a_stable_code() -> None:
    for path in RULES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "RefusedError":
                code = node.args[0]
                if isinstance(code, ast.Constant):
                    assert code.value in FAULT_CODES


def test_a_table_that_names_an_unknown_guard_is_refused_at_once() -> None:
    with pytest.raises(KeyError, match="define it"):
        Machine("broken", (Row("X1", ("a",), "go", "no_such_guard", "b"),), {})


def test_I43_a_log_that_was_tampered_with_does_not_replay() -> None:
    house = House()
    ana, vic = house.agent(), house.visitor()
    session, _, _ = house.active(vic, ana)
    log = house.control.event_log(session)
    assert [state.state for state in replay(log)] == ["new", "ringing", "connecting", "active"]
    assert [LogRecord.from_json(record.to_json()) for record in log] == log
    with pytest.raises(ValueError, match="begins with record 0"):
        replay(log[1:])
    with pytest.raises(ValueError, match="does not lead"):
        replay([log[0], log[2]])


def test_control_has_no_deadline_when_nothing_happens() -> None:
    house = House()
    assert house.control.next_deadline() is None
    assert house.control.next_deadline("vs_unknown") is None
    assert house.control.handle_timeout(1e9) == []
