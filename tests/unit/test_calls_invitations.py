# ruff: noqa: N802 - test names carry the numbers of docs/calls.md as they are written there
"""From chat to video: an agent invites, both sides join (S3, A-25)."""

from __future__ import annotations

from typing import Any

import pytest

from support.calls import agent_actor
from support.invitations import OPERATIONS, Chat, colleague, leave, second_visitor
from triortc.engine.calls.commands import (
    CallCancel,
    CallHangup,
    CallRequest,
    ConversationClose,
    ConversationMessageSend,
    HistoryGet,
    InvitationAccept,
    InvitationCancel,
    InvitationJoin,
    InvitationSend,
    PresenceSet,
)
from triortc.engine.calls.configuration import CallConfiguration
from triortc.engine.calls.media_events import LegUp
from triortc.engine.calls.notifications import (
    CallAccepted,
    CallActive,
    CallEnded,
    ConversationChanged,
    ConversationReminder,
    InvitationChanged,
    RingEnded,
    RingOffer,
)
from triortc.engine.calls.replies import FAULT_CODES
from triortc.engine.calls.session_table import ConversationOperation


@pytest.fixture
def chat() -> Chat:
    return Chat()


# --- S3: the product's words


@pytest.mark.parametrize("platform", ["desktop", "ios", "android"])
def test_S3_1a_and_S3_5a_an_invitation_can_be_sent_from_every_platform_and_the_visitor_sees_it(platform: Any) -> None:
    chat = Chat(platform=platform)
    invitation = chat.invite()
    seen = chat.told(chat.vic, InvitationChanged)[-1]
    assert (seen.invitation, seen.conversation, seen.state) == (invitation, "cv_1", "pending")
    assert chat.told(chat.ana, InvitationChanged)[-1].state == "pending"


def test_S3_0_the_video_belongs_to_the_conversation_of_the_chat(chat: Chat) -> None:
    _, session = chat.talking()
    assert (chat.session(session).conversation, chat.session(session).origin) == ("cv_1", "invited")
    assert chat.world.conversations[("org", "cv_1")].video_icon


def test_S3_1b_the_agent_joins_or_cancels_while_the_visitor_has_not_accepted(chat: Chat) -> None:
    first = chat.invite()
    chat.ok(chat.ana, InvitationCancel(first))
    assert chat.state(first) == ("cancelled", "agent_cancelled")
    late = chat.fault(chat.vic, InvitationAccept(first))
    assert (late.code, late.details) == ("invitation.not_live", {"state": "cancelled", "reason": "agent_cancelled"})
    second = chat.invite()
    joined = chat.ok(chat.ana, InvitationJoin(second))
    assert (joined.state, chat.state(second)[0]) == ("waiting", "agent_joined")
    assert all(chat.gate(joined.leg, kind) == "closed" for kind in ("audio", "video"))
    accepted = chat.ok(chat.vic, InvitationAccept(second))
    assert (accepted.session, accepted.state) == (joined.session, "connecting")


def test_S3_1c_media_flows_when_both_have_joined_whoever_was_first(chat: Chat) -> None:
    invitation = chat.invite()
    session = chat.ok(chat.ana, InvitationJoin(invitation)).session
    leg = chat.session(session).agent_leg
    assert leg is not None
    chat.media(LegUp(leg))
    assert chat.gate(leg, "video") == "closed"
    chat.ok(chat.vic, InvitationAccept(invitation))
    assert chat.gate(leg, "video") == "armed"
    claim = chat.world.claims.get(chat.ana.principal)
    assert claim is not None
    assert claim.phase == "in_call"
    chat.up(session)
    assert (chat.session(session).state, chat.gate(leg, "video")) == ("active", "open")
    assert chat.told(chat.vic, CallActive)
    assert chat.told(chat.vic, CallAccepted)[-1].agent.display_name == "Ana"


def test_S3_1c_the_visitor_first_rings_the_agent_for_thirty_seconds(chat: Chat) -> None:
    invitation = chat.invite()
    accepted = chat.ok(chat.vic, InvitationAccept(invitation))
    assert (accepted.state, chat.state(invitation)[0]) == ("ringing", "visitor_accepted")
    offer = chat.told(chat.ana, RingOffer)[-1]
    assert (offer.kind, offer.ttl_ms) == ("join", 30_000)
    chat.advance(29.999)
    joined = chat.ok(chat.ana, InvitationJoin(invitation))
    chat.up(joined.session)
    assert chat.session(joined.session).state == "active"
    assert chat.state(invitation)[0] == "in_session"


def test_S3_1c_an_agent_who_does_not_come_has_missed_it(chat: Chat) -> None:
    invitation = chat.invite()
    session = chat.ok(chat.vic, InvitationAccept(invitation)).session
    chat.advance(30.0)
    assert (chat.session(session).outcome, chat.session(session).reason) == ("no_answer", "ring_timeout")
    assert chat.state(invitation) == ("missed", "ring_timeout")
    assert chat.told(chat.ana, RingEnded)[-1].reason == "timeout"


def test_S3_1d_invitations_are_not_limited_in_number_but_there_is_one_at_a_time(chat: Chat) -> None:
    for _ in range(50):
        invitation = chat.invite()
        assert len(chat.world.invitation_of_agent) == 1
        assert chat.fault(chat.ana, InvitationSend("cv_1")).code == "invitation.already_pending"
        chat.ok(chat.ana, InvitationCancel(invitation))
    payload = chat.ok(chat.ana, HistoryGet(conversation="cv_1"))
    assert len({record.invitation for record in payload.invitations}) == 50
    assert {(record.state, record.reason) for record in payload.invitations} == {("cancelled", "agent_cancelled")}


def test_S3_2a_the_agent_writes_in_another_conversation_during_the_video(chat: Chat) -> None:
    wim = second_visitor(chat)
    chat.chat(wim, "cv_2")
    _, session = chat.talking()
    chat.ok(chat.ana, ConversationMessageSend("cv_2", "one moment"))
    assert chat.session(session).state == "active"


@pytest.mark.parametrize("side", ["agent", "visitor"])
@pytest.mark.parametrize("state", ["waiting", "connecting", "active"])
def test_S3_3a_both_hang_up_at_any_moment_and_S3_3b_go_on_chatting(side: str, state: str) -> None:
    chat = Chat()
    invitation = chat.invite()
    session = chat.ok(chat.ana, InvitationJoin(invitation)).session
    if state != "waiting":
        chat.ok(chat.vic, InvitationAccept(invitation))
    if state == "active":
        chat.up(session)
    assert chat.session(session).state == state
    chat.ok(chat.ana if side == "agent" else chat.vic, CallHangup(session))
    waiting = {"agent": ("cancelled", "agent_cancelled"), "visitor": ("declined", "visitor_declined")}[side]
    expected = waiting if state == "waiting" else ("completed", f"{side}_hangup")
    ended = chat.session(session)
    assert (ended.state, ended.outcome, ended.reason) == ("ended", *expected)
    assert not chat.world.conversations[("org", "cv_1")].held_by_video
    for actor in (chat.ana, chat.vic):
        chat.ok(actor, ConversationMessageSend("cv_1", "still here"))
    chat.check_replay(session)


def test_S3_4a_the_reply_warns_of_channels_that_are_available_and_changes_nothing(chat: Chat) -> None:
    warnings = chat.ok(chat.ana, InvitationSend("cv_1")).warnings
    assert "channel_available:chat" in warnings
    assert set(chat.world.agent(chat.ana.principal).declared.values()) == {"available"}


def test_S3_4b_an_invited_video_leaves_the_other_channels_as_they_are(chat: Chat) -> None:
    before = {channel: status.effective for channel, status in chat.world.agent(chat.ana.principal).statuses.items()}
    _, session = chat.talking()
    statuses = chat.world.agent(chat.ana.principal).statuses
    assert statuses["chat"].effective == statuses["third_party"].effective == "available"
    assert {channel: status.effective for channel, status in statuses.items()} == before
    assert statuses["video"].reasons == ("in_video", "ongoing_chat", "invitation_live")
    wim = second_visitor(chat)
    chat.chat(wim, "cv_2")
    chat.ok(chat.ana, CallHangup(session))
    assert statuses["video"].effective == "busy", "the open chat"
    assert all(status.declared == "available" for status in statuses.values())


def test_S3_4c_ongoing_chats_do_not_prevent_an_invited_video(chat: Chat) -> None:
    for number in (2, 3):
        chat.chat(second_visitor(chat, f"v{number}", f"cv_{number}"), f"cv_{number}")
    _, session = chat.talking()
    assert chat.session(session).state == "active"
    assert all(conversation.state == "open" for conversation in chat.world.conversations.values())


@pytest.mark.parametrize("policy", ["off", "warn", "enforce"])
def test_S3_4d_and_A_13_other_conversations_are_a_warning_unless_the_policy_enforces(policy: Any) -> None:
    chat = Chat(CallConfiguration(invite_requires_clear_desk=policy))
    chat.chat(second_visitor(chat), "cv_2")
    chat.call_outside()
    if policy == "enforce":
        fault = chat.fault(chat.ana, InvitationSend("cv_1"))
        assert (fault.code, fault.details, fault.retryable) == ("agent.busy", {"ongoing": 2}, True)
        assert not chat.world.invitation_of_agent
        return
    warnings = chat.ok(chat.ana, InvitationSend("cv_1")).warnings
    assert ("ongoing_conversations:2" in warnings) == (policy == "warn")


def test_S3_6a_and_R10_a_second_invitation_of_the_agent_is_refused_wherever_it_is(chat: Chat) -> None:
    chat.chat(second_visitor(chat), "cv_2")
    invitation = chat.invite()
    fault = chat.fault(chat.ana, InvitationSend("cv_2"))
    assert (fault.code, fault.details) == (
        "invitation.already_pending",
        {"invitation": invitation, "conversation": "cv_1"},
    )
    assert FAULT_CODES[fault.code] is False


def test_S3_6b_an_invitation_does_not_expire_and_cancelling_frees_the_slot_at_once(chat: Chat) -> None:
    wim = second_visitor(chat)
    chat.chat(wim, "cv_2")
    invitation = chat.invite()
    chat.advance(24 * 3600.0)
    assert chat.state(invitation) == ("pending", None)
    chat.ok(chat.ana, InvitationCancel(invitation))
    other = chat.invite("cv_2")
    assert chat.told(chat.vic, InvitationChanged)[-1].state == "cancelled"
    assert chat.told(wim, InvitationChanged)[-1].invitation == other


@pytest.mark.parametrize(("operation", "reason"), OPERATIONS)
@pytest.mark.parametrize("state", ["pending", "agent_joined", "visitor_accepted"])
def test_S3_7a_what_is_done_with_the_conversation_cancels_its_invitation(
    state: str, operation: ConversationOperation, reason: str
) -> None:
    chat = Chat()
    invitation = chat.invite()
    if state == "agent_joined":
        chat.ok(chat.ana, InvitationJoin(invitation))
    elif state == "visitor_accepted":
        chat.ok(chat.vic, InvitationAccept(invitation))
    assert chat.state(invitation)[0] == state
    leave(chat, operation)
    assert chat.state(invitation) == ("cancelled", reason)
    assert chat.told(chat.vic, InvitationChanged)[-1].reason == reason
    assert not chat.world.invitation_of_agent
    assert not len(chat.world.claims)
    if state != "pending":
        ended = chat.session(chat.session_of(invitation))
        assert (ended.outcome, ended.reason) == ("cancelled", reason)


def test_I33_the_visitor_hears_of_the_invitation_before_the_conversation(chat: Chat) -> None:
    chat.invite()
    chat.forget_told()
    chat.ok(chat.ana, ConversationClose("cv_1"))
    assert chat.vic.address is not None
    kinds = [type(item) for item in chat.inbox[chat.vic.address]]
    assert kinds == [InvitationChanged, ConversationChanged]


def test_S3_7b_only_the_agent_who_has_the_conversation_invites_in_it(chat: Chat) -> None:
    ben = colleague(chat)
    fault = chat.fault(ben, InvitationSend("cv_1"))
    unknown = chat.fault(ben, InvitationSend("cv_of_nobody"))
    assert (fault.code, fault.message) == ("auth.forbidden", unknown.message), "I40: the same words for both"
    plain = agent_actor("ana", "desk", caps=frozenset({"video.receive"}))
    assert chat.fault(plain, InvitationSend("cv_1")).code == "auth.forbidden"
    assert chat.fault(chat.vic, InvitationSend("cv_1")).code == "auth.forbidden"


def test_S3_8c_another_invitation_may_be_sent_when_the_video_is_over(chat: Chat) -> None:
    invitation, session = chat.talking()
    fault = chat.fault(chat.ana, InvitationSend("cv_1"))
    assert (fault.code, fault.details) == ("invitation.session_open", {"session": session})
    chat.ok(chat.vic, CallHangup(session))
    assert chat.told(chat.ana, CallEnded)[-1].session == session
    assert chat.invite() != invitation


# --- the visitor asks inside the chat


def test_A_25_in_a_chat_with_an_agent_the_visitor_does_not_ask_for_video(chat: Chat) -> None:
    fault = chat.fault(chat.vic, CallRequest("cv_1"))
    assert (fault.code, fault.details) == ("call.invalid_state", {"state": "open", "use": "invitation"})
    assert chat.told(chat.ana, ConversationReminder) == []


def test_A_25_notify_tells_the_agent_that_the_visitor_would_like_video() -> None:
    chat = Chat(CallConfiguration(visitor_escalation="notify"))
    assert chat.fault(chat.vic, CallRequest("cv_1")).details["notified"] is True
    assert [item.kind for item in chat.told(chat.ana, ConversationReminder)] == ["video_requested"]
    for _ in range(4):
        chat.fault(chat.vic, CallRequest("cv_1"))
    assert chat.fault(chat.vic, CallRequest("cv_1")).code == "rate.limited"


def test_A_25_ring_assignee_rings_the_agent_of_the_chat_and_nobody_else() -> None:
    chat = Chat(CallConfiguration(visitor_escalation="ring_assignee"))
    ben = colleague(chat)
    requested = chat.request(chat.vic)
    assert requested.state == "ringing"
    assert (len(chat.told(chat.ana, RingOffer)), chat.told(ben, RingOffer)) == (1, [])
    chat.ok(chat.vic, CallCancel(requested.session))
    assert chat.world.conversations[("org", "cv_1")].assignee == "ana"
    chat.ok(chat.ana, PresenceSet("video", "unavailable"))
    assert chat.request(chat.vic).reason == "no_agent_available"
    chat.ok(chat.ana, PresenceSet("video", "available"))
    chat.call_outside()
    assert chat.request(chat.vic).reason == "agent_busy", "another chat or call still counts"
