# ruff: noqa: N802 - test names carry the numbers of docs/calls.md as they are written there
"""V45: a store that two processes share says that the other one has a session. This one gives it up and is silent."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing

from support.calls import FakeClients, FakeMedia, House, agent_actor, information, visitor_actor
from triortc.engine.calls.actor import Principal
from triortc.engine.calls.claim_table import Claim
from triortc.engine.calls.commands import (
    CallAccept,
    CallRequest,
    ConversationMessageSend,
    InvitationAccept,
    InvitationJoin,
    InvitationSend,
    PresenceSet,
)
from triortc.engine.calls.effects import AppendHistory, Report
from triortc.engine.calls.gate_table import GateState
from triortc.engine.calls.media_events import LegUp
from triortc.engine.calls.memory_store import MemoryStore
from triortc.engine.calls.notifications import CallAccepted, CallEnded
from triortc.engine.calls.replies import CallFault, CallRequestedPayload, Ok
from triortc.engine.calls.store import Change
from triortc.engine.calls.supervisor import CallSupervisor, open_call_supervisor

ANA = Principal("org", "agent", "ana")
AGENT, VISITOR = agent_actor("ana", "desk"), visitor_actor("vic", "tab", "cv_1")


class SharedStore(MemoryStore):
    """A store of several nodes: `take_over` is what another one does. It may be noticed only when this one writes."""

    def __init__(self) -> None:
        super().__init__(durable=True)
        self.on_fenced: Callable[[str], None] = lambda session: None
        self.elsewhere: set[str] = set()
        self.written: list[Change] = []

    def watch_fences(self, on_fenced: Callable[[str], None]) -> None:
        self.on_fenced = on_fenced

    def take_over(self, session: str, *, noticed: bool = True) -> None:
        self.elsewhere.add(session)
        self.written.clear()
        if noticed:
            self.on_fenced(session)

    def write(self, changes: Sequence[Change]) -> None:
        ours = [change for change in changes if change.key[0] not in self.elsewhere]
        self.written += ours
        super().write(ours)
        for session in sorted({str(change.key[0]) for change in changes} & self.elsewhere):
            self.on_fenced(session)


@asynccontextmanager
async def open_calls(store: SharedStore) -> AsyncIterator[tuple[CallSupervisor, FakeMedia, FakeClients]]:
    media, clients = FakeMedia(), FakeClients()
    async with open_call_supervisor(media, clients=clients, store=store) as calls:
        calls.device_connected(AGENT, information("desk"))
        calls.command(AGENT, PresenceSet("video", "available"))
        calls.device_connected(VISITOR, information("tab", "web"))
        yield calls, media, clients


def ring(calls: CallSupervisor) -> str:
    reply = calls.command(VISITOR, CallRequest("cv_1"))
    assert isinstance(reply, Ok)
    assert isinstance(reply.payload, CallRequestedPayload)
    return reply.payload.session


def talk(calls: CallSupervisor) -> str:
    session = ring(calls)
    assert isinstance(calls.command(AGENT, CallAccept(session)), Ok)
    for leg in calls.control.world.legs_in(session):
        calls.media_event(LegUp(leg.id))
    assert calls.control.world.sessions[session].state == "active"
    return session


@pytest.mark.parametrize("begin", [ring, talk])
async def test_V45_a_session_that_the_store_gives_to_another_node_ends_here_without_a_word_or_a_row(
    begin: Callable[[CallSupervisor], str],
) -> None:
    store = SharedStore()
    async with open_calls(store) as (calls, media, clients):
        session = begin(calls)
        conversation = calls.control.world.sessions[session].conversation
        store.take_over(session)
        await trio.testing.wait_all_tasks_blocked()
        assert session not in calls.control.world.sessions
        assert calls.running_sessions == 0
        assert not clients.told(AGENT, CallEnded)
        assert not clients.told(VISITOR, CallEnded)
        about = [change.entity for change in store.written if {session, conversation} & set(change.key)]
        assert about == [], "the other node writes about it"
        assert ("close_session", session) in media.calls
        assert not media.open_legs
        assert len(calls.control.world.claims) == 0
        assert not [row for row in await store.rows("history") if row.record.session == session]


async def test_V45_a_fence_that_is_noticed_by_a_write_comes_after_its_step() -> None:
    store = SharedStore()
    async with open_calls(store) as (calls, _, _):
        session = ring(calls)
        store.take_over(session, noticed=False)
        assert isinstance(calls.command(AGENT, CallAccept(session)), Ok), "too late to refuse: the step was taken"
        assert session not in calls.control.world.sessions
        await trio.testing.wait_all_tasks_blocked()
        assert calls.running_sessions == 0
        assert calls.crashes_total == 0


async def test_V45_one_that_is_not_here_any_more_is_no_news() -> None:
    async with open_calls(SharedStore()) as (calls, _, _):
        calls.session_fenced("vs_unknown")
        assert calls.crashes_total == 0


def other_node_claims(house: House, session: str) -> None:
    """The claim is another node's: adopted there, with a newer epoch."""
    claims = house.world.claims
    claims.adopt(ANA, Claim(session, "routed", "ringing", house.session(session).epoch))


def test_V45_and_C8_go_on_a_claim_that_is_not_ours_any_more_gives_the_call_up_and_says_ask_again() -> None:
    house = House()
    ana, vic = house.agent(), house.visitor()
    session = house.request(vic).session
    other_node_claims(house, session)
    fault = house.fault(ana, CallAccept(session))
    assert (fault.code, fault.retryable) == ("server.unavailable", True)
    assert session not in house.world.sessions
    assert not house.told(vic, CallAccepted)
    assert not house.told(vic, CallEnded)
    assert not any(isinstance(effect, AppendHistory | Report) for effect in house.effects)
    assert all(state is GateState.SEALED for state in house.gates.values())
    assert house.fault(ana, CallAccept(session)).code == "state.not_found"


def test_V45_and_C8_a_visitor_who_joins_an_agent_who_is_claimed_elsewhere_is_told_to_ask_again() -> None:
    house = House()
    ana, vic = house.agent(), house.visitor()
    house.ok(vic, ConversationMessageSend("cv_1", "hello"))
    invitation = house.ok(ana, InvitationSend("cv_1")).invitation
    session = house.ok(ana, InvitationJoin(invitation)).session
    other_node_claims(house, session)
    fault: CallFault = house.fault(vic, InvitationAccept(invitation))
    assert fault.code == "server.unavailable"
    assert session not in house.world.sessions
