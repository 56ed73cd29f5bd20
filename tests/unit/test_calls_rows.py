# ruff: noqa: N802 - test names carry the numbers of docs/calls.md as they are written there
"""Every row of the tables V, N, C, G, K and L is taken by a scenario that asks for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from support.calls import House
from support.calls_tables import MACHINES, markdown
from support.row_scenarios_of_calls import CALL_SCENARIOS
from support.row_scenarios_of_invitations import INVITATION_SCENARIOS
from triortc.engine.calls.commands import CallHangup
from triortc.engine.calls.configuration import CallConfiguration
from triortc.engine.calls.machine import Machine
from triortc.engine.calls.media_events import LegLost, LegUp

SCENARIOS = {**INVITATION_SCENARIOS, **CALL_SCENARIOS}


@pytest.mark.parametrize("name", SCENARIOS)
def test_row_is_taken(name: str) -> None:
    queue_size = 1 if name in ("V2", "V7", "V8", "V9", "V10") else 0
    house = House(
        CallConfiguration(recording="on_request", queue_size=queue_size, queue_timeout_s=60.0), frozenset({"fcm"})
    )
    ana, vic = house.agent(), house.visitor()
    SCENARIOS[name](house, ana, vic)
    taken = {*house.world.rows_taken, *house.world.claims.rows_taken}
    assert name.split()[0] in taken


def test_every_row_of_every_table_has_a_scenario() -> None:
    rows = {row.number for machine in MACHINES for row in machine.rows}
    after_a_restart = {"C6", "V46", "V47", "V49"}  # in test_calls_restart.py, where there are two processes
    assert rows == {name.split()[0] for name in SCENARIOS} | after_a_restart


def test_V19_fail_fast_ends_the_ring_when_the_last_device_is_lost() -> None:
    house = House(CallConfiguration(fail_fast_when_unreachable=True))
    ana, vic = house.agent(), house.visitor()
    session = house.request(vic).session
    house.lose(ana)
    assert house.session(session).reason == "no_reachable_device"


def test_unlisted_internal_events_are_dropped_and_counted() -> None:
    house = House()
    ana, vic = house.agent(), house.visitor()
    session, _, leg = house.active(vic, ana)
    house.ok(vic, CallHangup(session))
    before = house.world.stale_events_total
    house.media(LegLost(leg))
    house.media(LegUp("leg_unknown"))
    assert house.world.stale_events_total == before + 2


@pytest.mark.parametrize("machine", MACHINES, ids=lambda machine: machine.name)
def test_the_documentation_shows_the_tables_as_they_are(machine: Machine[Any]) -> None:
    text = (Path(__file__).parents[2] / "docs" / "calls.md").read_text(encoding="utf-8")
    assert markdown(machine) in text, "run `python tests/support/calls_tables.py`"
