# ruff: noqa: N802 - test names carry the numbers of docs/calls.md as they are written there
"""Two things at once about an invitation (races R7 to R10, R12, R31)."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from support.invitations import OPERATIONS, Chat, colleague, leave, second_visitor
from triortc.engine.calls.commands import (
    CallRequest,
    InvitationAccept,
    InvitationCancel,
    InvitationJoin,
    InvitationSend,
)
from triortc.engine.calls.configuration import CallConfiguration
from triortc.engine.calls.notifications import RingOffer
from triortc.engine.calls.replies import Ok
from triortc.engine.calls.session_table import ConversationOperation
from triortc.engine.calls.world import RefusedError


@pytest.fixture
def chat() -> Chat:
    return Chat()


def both_orders(first: Callable[[], object], second: Callable[[], object], swapped: bool) -> None:
    for act in (second, first) if swapped else (first, second):
        act()


def test_R7_visitor_accept_before_agent_cancel_when_the_agent_has_joined(chat: Chat) -> None:
    invitation = chat.invite()
    session = chat.ok(chat.ana, InvitationJoin(invitation)).session
    chat.ok(chat.vic, InvitationAccept(invitation))
    assert chat.fault(chat.ana, InvitationCancel(invitation)).code == "call.invalid_state"
    assert chat.session(session).state == "connecting"


def test_R7_agent_cancel_before_visitor_accept(chat: Chat) -> None:
    invitation = chat.invite()
    chat.ok(chat.ana, InvitationJoin(invitation))
    chat.ok(chat.ana, InvitationCancel(invitation))
    fault = chat.fault(chat.vic, InvitationAccept(invitation))
    assert (fault.code, fault.details["reason"]) == ("invitation.not_live", "agent_cancelled")


@pytest.mark.parametrize(("operation", "reason"), OPERATIONS)
def test_R8_visitor_accept_before_the_conversation_is_left(
    chat: Chat, operation: ConversationOperation, reason: str
) -> None:
    invitation, session = chat.talking()
    with pytest.raises(RefusedError) as refused:
        leave(chat, operation)
    assert refused.value.fault.code == "conversation.video_active"
    assert chat.session(session).state == "active"
    leave(chat, operation, end_video=True)
    assert chat.state(invitation) == ("completed", "agent_hangup")


@pytest.mark.parametrize(("operation", "reason"), OPERATIONS)
def test_R8_the_conversation_is_left_before_visitor_accept(
    chat: Chat, operation: ConversationOperation, reason: str
) -> None:
    invitation = chat.invite()
    leave(chat, operation)
    fault = chat.fault(chat.vic, InvitationAccept(invitation))
    assert fault.details == {"state": "cancelled", "reason": reason}


@pytest.mark.parametrize("swapped", [False, True])
def test_R9_join_and_accept_lead_into_one_session_in_either_order(chat: Chat, swapped: bool) -> None:
    invitation = chat.invite()
    both_orders(
        lambda: chat.ok(chat.ana, InvitationJoin(invitation)),
        lambda: chat.ok(chat.vic, InvitationAccept(invitation)),
        swapped,
    )
    session = chat.session_of(invitation)
    assert (chat.session(session).state, chat.state(invitation)[0]) == ("connecting", "in_session")
    entered = [record for record in chat.control.event_log(session) if record.state_to == "connecting"]
    assert len(entered) == 1
    chat.up(session)
    chat.check_replay(session)


def test_R10_of_a_thousand_pairs_of_invitations_one_each_succeeds() -> None:
    chat = Chat()
    chat.chat(second_visitor(chat), "cv_2")
    for number in range(1000):
        order = ("cv_1", "cv_2") if number % 2 else ("cv_2", "cv_1")
        replies = [chat.send(chat.ana, InvitationSend(conversation)) for conversation in order]
        assert [isinstance(reply, Ok) for reply in replies] == [True, False]
        assert isinstance(replies[0], Ok)
        chat.ok(chat.ana, InvitationCancel(replies[0].payload.invitation))  # type: ignore[union-attr]  # just sent


def test_R12_a_routed_ring_before_join(chat: Chat) -> None:
    """The agent's chat is taken from her count for a moment, so that a routed ring can begin at all."""
    invitation = chat.invite()
    agent = chat.ana.principal
    assert isinstance(chat.world.claims.acquire(agent, "vs_routed", "routed", assignable=True), int)
    assert chat.fault(chat.ana, InvitationJoin(invitation)).code == "agent.busy"


def test_R12_join_before_a_routed_request_sends_the_request_to_the_next_agent(chat: Chat) -> None:
    ben = colleague(chat)
    chat.ok(chat.ana, InvitationJoin(chat.invite()))
    assert chat.request(second_visitor(chat), "cv_2").state == "ringing"
    assert chat.told(ben, RingOffer)


@pytest.mark.parametrize("joined", [False, True])
def test_R31_a_request_where_an_invitation_is_pending_accepts_it(chat: Chat, joined: bool) -> None:
    invitation = chat.invite()
    if joined:
        chat.ok(chat.ana, InvitationJoin(invitation))
    requested = chat.ok(chat.vic, CallRequest("cv_1", offer="v=0"))
    assert requested.session == chat.session_of(invitation)
    assert requested.state == ("connecting" if joined else "ringing")
    assert chat.world.legs[requested.leg].neg == 1


def test_R31_an_invitation_while_the_visitor_rings_is_refused() -> None:
    chat = Chat(CallConfiguration(visitor_escalation="ring_assignee"))
    session = chat.request(chat.vic).session
    fault = chat.fault(chat.ana, InvitationSend("cv_1"))
    assert (fault.code, fault.details) == ("invitation.session_open", {"session": session})
