# ruff: noqa: N802 - test names carry the numbers of docs/calls.md as they are written there
"""The history of an agent's claim under many clients at one time, over every store: one after the other, and fenced."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import trio

from support.calls import FakeClients, FakeMedia, agent_actor, information, visitor_actor
from support.linearizability import Operation, linearizable
from triortc.engine.calls.actor import Actor, Principal
from triortc.engine.calls.commands import (
    CallAccept,
    CallCancel,
    CallHangup,
    CallRequest,
    Command,
    ConversationClose,
    PresenceSet,
)
from triortc.engine.calls.configuration import CallConfiguration
from triortc.engine.calls.memory_store import MemoryStore
from triortc.engine.calls.replies import CallFault, Ok, Reply
from triortc.engine.calls.store import StateStore
from triortc.engine.calls.supervisor import CallSupervisor, open_call_supervisor
from triortc.signaling.sqlite_store import SqliteStore, StoreConfiguration

ANA = Principal("org", "agent", "ana")
VISITORS = [visitor_actor(f"v{number}", "tab", f"cv_{number}") for number in range(4)]


@pytest.fixture(params=["memory", "sqlite", "sqlite full"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> StateStore:
    if request.param == "memory":
        return MemoryStore(durable=True)
    full = StoreConfiguration(synchronous="full", commit_interval_ms=1)
    return SqliteStore(tmp_path / "state", full if request.param == "sqlite full" else None)


def claim_step(holder: str | None, operation: Operation) -> str | None:
    """The specification: a session takes the claim when it is free (""), and only that session gives it back."""
    match operation.what, operation.result:
        case "request", "ringing":
            return operation.argument if holder == "" else None
        case "request", "busy":
            return holder if holder != "" else None
        case "end", "ended":
            return "" if holder == operation.argument else None
    raise AssertionError(operation)


class Clients:
    """Visitors who ask for the only agent, and cancel or are declined, at the same time."""

    def __init__(self, calls: CallSupervisor, seed: int) -> None:
        self.calls = calls
        self.history: list[Operation] = []
        self.epochs: list[int] = []
        self._clock = count()
        self._chance = random.Random(seed)

    async def _ask(self, actor: Any, command: Command) -> Reply:
        """A command and its reply as a client sees them: some time goes by on either side."""
        for _ in range(self._chance.randrange(3)):
            await trio.lowlevel.checkpoint()
        reply = self.calls.command(actor, command)
        claim = self.calls.control.world.claims.get(ANA)
        if claim is not None:
            self.epochs.append(claim.epoch)
        await self.calls.settle()
        for _ in range(self._chance.randrange(3)):
            await trio.lowlevel.checkpoint()
        return reply

    async def visit(self, number: int, times: int) -> None:
        visitor = VISITORS[number]
        for _ in range(times):
            invoked = next(self._clock)
            reply = await self._ask(visitor, CallRequest(f"cv_{number}"))
            if isinstance(reply, CallFault):
                return  # this visitor's conversation was closed after a call
            payload: Any = reply.payload
            result = "ringing" if payload.state == "ringing" else "busy"
            assert result == "ringing" or payload.reason == "agent_busy"
            self.history.append(Operation("request", payload.session, result, invoked, next(self._clock)))
            if result == "busy":
                continue
            invoked = next(self._clock)
            for by, command in self._end(number, payload.session):
                reply = await self._ask(by, command)
                assert isinstance(reply, Ok), reply
            self.history.append(Operation("end", payload.session, "ended", invoked, next(self._clock)))

    def _end(self, number: int, session: str) -> list[tuple[Actor, Command]]:
        """Cancel; or answer, hang up and close: from then on the agent is free."""
        visitor, agent = VISITORS[number], agent_actor("ana", "desk")
        if self._chance.random() < 0.6:
            return [(visitor, CallCancel(session))]
        answered: list[Command] = [CallAccept(session), CallHangup(session), ConversationClose(f"cv_{number}")]
        return [(agent, command) for command in answered]


@asynccontextmanager
async def open_calls(store: StateStore) -> AsyncIterator[CallSupervisor]:
    limits = CallConfiguration(requests_per_minute=1000)
    async with (
        store.open(),
        open_call_supervisor(FakeMedia(), clients=FakeClients(), configuration=limits, store=store) as calls,
    ):
        agent = agent_actor("ana", "desk")
        calls.device_connected(agent, information("desk"))
        calls.command(agent, PresenceSet("video", "available"))
        for visitor in VISITORS:
            calls.device_connected(visitor, information("tab", "web"))
        yield calls


@pytest.mark.parametrize("seed", range(3))
async def test_I1_I6_claims_under_concurrent_clients_are_linearizable(store: StateStore, seed: int) -> None:
    async with open_calls(store) as calls:
        clients = Clients(calls, seed)
        async with trio.open_nursery() as nursery:
            for number in range(len(VISITORS)):
                nursery.start_soon(clients.visit, number, 10)
        assert calls.crashes_total == 0
        assert sum(operation.what == "end" for operation in clients.history) >= 1
        assert linearizable(clients.history, "", claim_step)
        assert clients.epochs == sorted(clients.epochs), "I6: epochs only grow"
        assert len(calls.control.world.claims) == 0
        taken = {operation.argument for operation in clients.history if operation.result == "ringing"}
        assert len(taken) == sum(operation.result == "ringing" for operation in clients.history), "one session each"
    async with open_calls(store) as calls:
        assert calls.control.world.claims.epoch(ANA) == max(clients.epochs), "and the next process goes on from there"


@pytest.mark.parametrize(
    "wrong",
    [
        [Operation("request", "a", "ringing", 0, 1), Operation("request", "b", "ringing", 2, 3)],
        [Operation("request", "a", "busy", 0, 1)],
        [Operation("request", "a", "ringing", 0, 3), Operation("end", "b", "ended", 1, 2)],
        [
            Operation("request", "a", "ringing", 0, 1),
            Operation("end", "a", "ended", 2, 3),
            Operation("request", "b", "busy", 4, 5),
        ],
    ],
    ids=["two hold it", "busy though free", "ended by another", "busy after the end"],
)
def test_the_check_finds_histories_that_cannot_have_happened(wrong: list[Operation]) -> None:
    assert not linearizable(wrong, "", claim_step)


def test_the_check_lets_overlapping_operations_happen_in_either_order() -> None:
    overlapping = [Operation("request", "a", "busy", 0, 5), Operation("request", "b", "ringing", 1, 2)]
    assert linearizable(overlapping, "", claim_step)
