# ruff: noqa: N802 - test names carry the numbers of docs/calls.md as they are written there
"""From chat to video: an agent invites, both sides join (S3, table N, races R7 to R10, R12, R31)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from support.calls import House, agent_actor, information, visitor_actor
from triortc.engine.calls.actor import Actor, Principal
from triortc.engine.calls.claim_table import Fenced
from triortc.engine.calls.commands import (
    CallAccept,
    CallCancel,
    CallDecline,
    CallEnd,
    CallHangup,
    CallRequest,
    ConversationClose,
    ConversationMessageSend,
    DeviceUpdate,
    HistoryGet,
    InvitationAccept,
    InvitationCancel,
    InvitationDecline,
    InvitationJoin,
    InvitationSend,
    MediaSet,
    PresenceSet,
)
from triortc.engine.calls.configuration import CallConfiguration
from triortc.engine.calls.events import SessionCrashed, ShutDown
from triortc.engine.calls.media_events import LegUp
from triortc.engine.calls.notifications import (
    CallAccepted,
    CallActive,
    CallEnded,
    CallState,
    ConversationChanged,
    ConversationReminder,
    InvitationChanged,
    PresenceChanged,
    RingEnded,
    RingOffer,
)
from triortc.engine.calls.replies import FAULT_CODES, Ok
from triortc.engine.calls.session_table import ConversationOperation
from triortc.engine.calls.world import RefusedError


class Chat(House):
    """An agent with a desk, and a visitor in an open chat with her."""

    def __init__(self, configuration: CallConfiguration | None = None, platform: Any = "desktop") -> None:
        super().__init__(configuration)
        self.ana = self.agent(platform=platform)
        self.vic = self.visitor()
        self.chat(self.vic)

    def chat(self, visitor: Actor, conversation: str = "cv_1") -> None:
        self.ok(visitor, ConversationMessageSend(conversation, "hello"))
        assert self.world.conversations[("org", conversation)].assignee is not None

    def invite(self, conversation: str = "cv_1") -> str:
        invitation = self.ok(self.ana, InvitationSend(conversation)).invitation
        assert isinstance(invitation, str)
        return invitation

    def call_outside(self) -> None:
        """A call outside of the engine begins for the agent."""
        self.perform(self.control.occupy(self.ana.principal, "call", "call_1", self.now))

    def state(self, invitation: str) -> tuple[str, str | None]:
        found = self.world.invitations[invitation]
        return found.state, found.reason

    def session_of(self, invitation: str) -> str:
        session = self.world.invitations[invitation].session
        assert session is not None
        return session

    def up(self, session: str) -> None:
        for leg in (self.session(session).visitor_leg, self.session(session).agent_leg):
            assert leg is not None
            self.media(LegUp(leg))

    def talking(self) -> tuple[str, str]:
        """Both joined and both legs up: the invitation and the session."""
        invitation = self.invite()
        session = self.ok(self.ana, InvitationJoin(invitation)).session
        self.ok(self.vic, InvitationAccept(invitation))
        self.up(session)
        return invitation, session


@pytest.fixture
def chat() -> Chat:
    return Chat()


def colleague(house: House, sub: str = "ben") -> Actor:
    return house.agent(sub, f"{sub}-desk")


def second_visitor(house: House, sub: str = "wim", conversation: str = "cv_2") -> Actor:
    return house.visitor(sub, f"{sub}-tab", conversation)


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


OPERATIONS: list[tuple[ConversationOperation, str]] = [
    ("conversation.transfer", "conversation_transferred"),
    ("conversation.snooze", "conversation_snoozed"),
    ("conversation.close", "conversation_closed"),
]


def leave(chat: Chat, operation: ConversationOperation, *, end_video: bool = False) -> None:
    """What every operation on the conversation does first."""
    conversation = chat.world.conversations[("org", "cv_1")]
    chat.control._lifecycle.leave_video(conversation, operation, "ana", end_video=end_video)
    chat.perform(chat.control._settle())


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


# --- table N, and what it does to sessions


def test_N2_an_agent_in_another_video_cannot_join_and_the_invitation_waits(chat: Chat) -> None:
    invitation = chat.invite()
    agent = Principal("org", "agent", "ana")
    assert isinstance(chat.world.claims.acquire(agent, "vs_other", "invited"), int)
    fault = chat.fault(chat.ana, InvitationJoin(invitation))
    assert (fault.code, fault.retryable, chat.state(invitation)[0]) == ("agent.busy", True, "pending")


def test_N3_a_visitor_who_accepts_while_the_agent_is_taken_is_told_so(chat: Chat) -> None:
    invitation = chat.invite()
    agent = Principal("org", "agent", "ana")
    assert isinstance(chat.world.claims.acquire(agent, "vs_other", "invited"), int)
    assert chat.fault(chat.vic, InvitationAccept(invitation)).code == "agent.busy"
    assert chat.state(invitation) == ("cancelled", "agent_busy")


def test_N3_an_agent_who_cannot_be_reached_leaves_the_invitation_pending(chat: Chat) -> None:
    invitation = chat.invite()
    chat.lose(chat.ana)
    assert chat.fault(chat.vic, InvitationAccept(invitation)).code == "agent.unavailable"
    assert chat.state(invitation)[0] == "pending"
    chat.resume(chat.ana)
    assert chat.ok(chat.vic, InvitationAccept(invitation)).state == "ringing"


def test_N4_and_N10_the_visitor_declines(chat: Chat) -> None:
    first = chat.invite()
    chat.ok(chat.vic, InvitationDecline(first))
    assert chat.state(first) == ("declined", "visitor_declined")
    chat.ok(chat.vic, InvitationDecline(first))
    second = chat.invite()
    session = chat.ok(chat.ana, InvitationJoin(second)).session
    chat.ok(chat.vic, InvitationDecline(second))
    assert chat.state(second) == ("declined", "visitor_declined")
    assert chat.told(chat.ana, CallEnded)[-1].outcome == "declined"
    assert chat.session(session).reason == "visitor_declined"


def test_N7_and_V26_a_visitor_who_stays_away_for_two_minutes_has_left(chat: Chat) -> None:
    first = chat.invite()
    chat.lose(chat.vic)
    chat.advance(100.0)
    chat.resume(chat.vic)
    chat.advance(100.0)
    assert chat.state(first)[0] == "pending", "the visitor came back in time"
    chat.lose(chat.vic)
    chat.advance(120.0)
    assert chat.state(first) == ("cancelled", "visitor_left")
    chat.resume(chat.vic)
    second = chat.invite()
    session = chat.ok(chat.ana, InvitationJoin(second)).session
    chat.lose(chat.vic)
    chat.advance(119.999)
    assert chat.session(session).state == "waiting"
    chat.advance(0.001)
    assert chat.state(second) == ("cancelled", "visitor_left")
    assert chat.session(session).reason == "visitor_left"


def test_N7_the_time_runs_from_the_start_if_the_visitor_is_away_already(chat: Chat) -> None:
    chat.lose(chat.vic)
    invitation = chat.invite()
    chat.advance(120.0)
    assert chat.state(invitation) == ("cancelled", "visitor_left")


def test_N9_the_agent_who_joined_cancels_on_another_device(chat: Chat) -> None:
    invitation = chat.invite()
    session = chat.ok(chat.ana, InvitationJoin(invitation)).session
    phone = agent_actor("ana", "phone")
    snapshot = chat.connect(phone, information("phone", "ios"))
    assert [item.state for item in snapshot.sessions] == ["waiting"]
    assert [item.state for item in snapshot.invitations] == ["agent_joined"]
    chat.ok(phone, InvitationCancel(invitation))
    assert chat.state(invitation) == ("cancelled", "agent_cancelled")
    assert chat.session(session).reason == "agent_cancelled"
    assert [len(chat.told(actor, CallEnded)) for actor in (chat.ana, phone, chat.vic)] == [1, 1, 0]
    chat.ok(chat.ana, InvitationCancel(invitation))


@pytest.mark.parametrize("answer", [CallAccept, InvitationJoin])
def test_N11_the_agent_answers_the_visitor_who_was_first_with_either_word(chat: Chat, answer: Any) -> None:
    invitation = chat.invite()
    session = chat.ok(chat.vic, InvitationAccept(invitation)).session
    reply = chat.ok(chat.ana, answer(session if answer is CallAccept else invitation))
    assert reply.state == "connecting"
    assert chat.state(invitation)[0] == "in_session"
    assert chat.ok(chat.ana, answer(session if answer is CallAccept else invitation)).leg == reply.leg


def test_N12_and_A_21_an_agent_who_declines_after_all_looks_like_no_answer_to_the_visitor(chat: Chat) -> None:
    for decline in (
        lambda invitation, session: CallDecline(session),
        lambda invitation, session: InvitationCancel(invitation),
    ):
        invitation = chat.invite()
        session = chat.ok(chat.vic, InvitationAccept(invitation)).session
        chat.ok(chat.ana, decline(invitation, session))
        assert chat.state(invitation) == ("cancelled", "agent_declined")
        seen = chat.told(chat.vic, InvitationChanged)[-1]
        assert (seen.state, seen.reason) == ("missed", "ring_timeout")
        assert chat.told(chat.vic, CallEnded)[-1].outcome == "no_answer"
        assert chat.told(chat.ana, InvitationChanged)[-1].reason == "agent_declined"
        late = chat.fault(chat.vic, InvitationAccept(invitation))
        assert late.details == {"state": "missed", "reason": "ring_timeout"}


def test_N14_a_visitor_who_accepted_and_leaves_has_cancelled(chat: Chat) -> None:
    first = chat.invite()
    chat.ok(chat.vic, CallCancel(chat.ok(chat.vic, InvitationAccept(first)).session))
    assert chat.state(first) == ("cancelled", "visitor_cancelled")
    second = chat.invite()
    chat.ok(chat.vic, InvitationAccept(second))
    chat.lose(chat.vic)
    chat.advance(5.0)
    assert chat.state(second) == ("cancelled", "visitor_left")
    assert chat.world.conversations[("org", "cv_1")].assignee == "ana"


def test_N15_an_invitation_is_completed_by_the_end_of_its_video(chat: Chat) -> None:
    invitation, session = chat.talking()
    chat.advance(3.0)
    chat.ok(chat.ana, CallHangup(session))
    assert chat.state(invitation) == ("completed", "agent_hangup")
    record = chat.history.find_invitations("org")[-1]
    assert (record.state, record.session, record.ended_at - record.sent_at) == ("completed", session, 3000)
    chat.advance(30.0)
    assert chat.told(chat.ana, ConversationReminder), "there was talk, so there is a reminder to close (K7)"


def test_N16_and_V25_an_agent_who_joined_and_vanishes_fails_the_invitation_after_the_grace(chat: Chat) -> None:
    invitation = chat.invite()
    session = chat.ok(chat.ana, InvitationJoin(invitation)).session
    chat.lose(chat.ana)
    chat.advance(29.0)
    chat.resume(chat.ana)
    chat.advance(29.0)
    assert chat.session(session).state == "waiting"
    chat.lose(chat.ana)
    chat.advance(30.0)
    assert chat.state(invitation) == ("failed", "agent_connection_lost")
    assert chat.session(session).outcome == "failed"
    chat.check_replay(session)


@pytest.mark.parametrize("visitor_first", [False, True])
def test_N18_a_supervisor_ends_what_waits(chat: Chat, visitor_first: bool) -> None:
    invitation = chat.invite()
    if visitor_first:
        session = chat.ok(chat.vic, InvitationAccept(invitation)).session
    else:
        session = chat.ok(chat.ana, InvitationJoin(invitation)).session
    chat.ok(Actor("boss", "service", "org", caps=frozenset({"call.end"})), CallEnd(session))
    assert chat.state(invitation) == ("cancelled", "supervisor_ended")


def completed(chat: Chat, invitation: str) -> None:
    session = chat.ok(chat.ana, InvitationJoin(invitation)).session
    chat.ok(chat.vic, InvitationAccept(invitation))
    chat.ok(chat.vic, CallHangup(session))


def missed(chat: Chat, invitation: str) -> None:
    chat.ok(chat.vic, InvitationAccept(invitation))
    chat.advance(30.0)


def failed(chat: Chat, invitation: str) -> None:
    chat.handle(SessionCrashed(chat.ok(chat.ana, InvitationJoin(invitation)).session))


ENDS: dict[str, Callable[[Chat, str], object]] = {
    "completed": completed,
    "cancelled": lambda chat, invitation: chat.ok(chat.ana, InvitationCancel(invitation)),
    "declined": lambda chat, invitation: chat.ok(chat.vic, InvitationDecline(invitation)),
    "missed": missed,
    "failed": failed,
}


@pytest.mark.parametrize("command", [InvitationJoin, InvitationCancel, InvitationAccept, InvitationDecline])
@pytest.mark.parametrize("state", ENDS)
def test_N17_an_invitation_that_is_over_stays_so(chat: Chat, state: str, command: Any) -> None:
    invitation = chat.invite()
    ENDS[state](chat, invitation)
    assert chat.state(invitation)[0] == state
    actor = chat.ana if command in (InvitationJoin, InvitationCancel) else chat.vic
    if (state, command) in (("cancelled", InvitationCancel), ("declined", InvitationDecline)):
        chat.ok(actor, command(invitation))
    else:
        fault = chat.fault(actor, command(invitation))
        assert (fault.code, fault.details["state"]) == ("invitation.not_live", state)
    assert (chat.state(invitation)[0], chat.world.rows_taken["N17"]) == (state, 1)


def test_V13_a_join_that_came_after_the_deadline_has_expired(chat: Chat) -> None:
    invitation = chat.invite()
    session = chat.ok(chat.vic, InvitationAccept(invitation)).session
    fault = chat.fault(chat.ana, InvitationJoin(invitation), chat.now + 30.001)
    assert (fault.code, chat.session(session).state) == ("call.expired", "ringing")


def test_V24_a_visitor_who_cancels_instead_of_joining_has_declined(chat: Chat) -> None:
    invitation = chat.invite()
    chat.ok(chat.vic, CallCancel(chat.ok(chat.ana, InvitationJoin(invitation)).session))
    assert chat.state(invitation) == ("declined", "visitor_declined")


def test_N16_a_crash_while_it_rings_fails_the_invitation(chat: Chat) -> None:
    invitation = chat.invite()
    chat.handle(SessionCrashed(chat.ok(chat.vic, InvitationAccept(invitation)).session))
    assert chat.state(invitation) == ("failed", "internal_error")


def test_C8_an_old_epoch_changes_nothing_while_the_agent_waits(chat: Chat) -> None:
    session = chat.ok(chat.ana, InvitationJoin(chat.invite())).session
    claims, agent, old = chat.world.claims, chat.ana.principal, chat.session(session).epoch - 1
    assert isinstance(claims.commit(agent, session, old), Fenced)
    assert isinstance(claims.release(agent, session, old), Fenced)
    assert claims.get(agent) is not None


def test_an_invitation_is_nobody_elses(chat: Chat) -> None:
    invitation = chat.invite()
    stranger = visitor_actor("eve", "tab", "cv_9", org="other")
    chat.connect(stranger)
    for actor in (colleague(chat), second_visitor(chat), stranger):
        assert chat.fault(actor, InvitationAccept(invitation)).code == "state.not_found"
    assert chat.fault(chat.vic, InvitationJoin(invitation)).code == "auth.forbidden"
    assert chat.fault(chat.ana, InvitationAccept(invitation)).code == "auth.forbidden"


def test_V30_the_agents_camera_breaks_while_she_waits(chat: Chat) -> None:
    invitation = chat.invite()
    session = chat.ok(chat.ana, InvitationJoin(invitation)).session
    chat.ok(chat.ana, MediaSet(session, 1, fatal="capture_failed"))
    assert chat.state(invitation) == ("failed", "media_capture_failed")


def test_S1_1a_and_I20_an_invitation_is_not_joined_without_camera_and_microphone(chat: Chat) -> None:
    invitation = chat.invite()
    chat.ok(chat.ana, DeviceUpdate(perms={"camera": "prompt"}))
    fault = chat.fault(chat.ana, InvitationJoin(invitation))
    assert (fault.code, fault.details) == ("permission.required", {"missing": ["camera"], "action": "prompt"})
    chat.ok(chat.vic, InvitationAccept(invitation))
    assert chat.fault(chat.ana, InvitationJoin(invitation)).code == "permission.required"
    chat.ok(chat.ana, DeviceUpdate(perms={"camera": "granted"}))
    assert chat.ok(chat.ana, InvitationJoin(invitation)).state == "connecting"


def test_C2_and_A_2_only_video_turns_orange_and_says_why(chat: Chat) -> None:
    chat.forget_told()
    invitation = chat.invite()
    changed = chat.told(chat.ana, PresenceChanged)
    assert [(item.channel, item.reasons) for item in changed] == [("video", ("ongoing_chat", "invitation_live"))]
    chat.ok(chat.ana, InvitationJoin(invitation))
    claim = chat.world.claims.get(chat.ana.principal)
    assert claim is not None
    assert (claim.origin, claim.phase) == ("invited", "waiting")


def test_A_23_an_agent_with_a_pending_invitation_is_not_rung(chat: Chat) -> None:
    chat.invite()
    wim = second_visitor(chat)
    requested = chat.request(wim, "cv_2")
    assert (requested.outcome, requested.reason) == ("unavailable", "agent_busy")


def test_D1_the_snapshot_has_the_invitations_of_both_sides(chat: Chat) -> None:
    invitation = chat.invite()
    for actor in (agent_actor("ana", "phone"), visitor_actor("vic", "tab2", "cv_1")):
        assert [item.invitation for item in chat.connect(actor).invitations] == [invitation]
    chat.ok(chat.ana, InvitationCancel(invitation))
    assert chat.connect(agent_actor("ana", "pad")).invitations == ()


def test_R28_the_tab_that_accepts_is_the_one_in_the_call(chat: Chat) -> None:
    other = visitor_actor("vic", "tab2", "cv_1")
    chat.connect(other, information("tab2", "web"))
    invitation = chat.invite()
    chat.ok(chat.ana, InvitationJoin(invitation))
    accepted = chat.ok(other, InvitationAccept(invitation))
    assert accepted.leg is not None
    assert chat.told(chat.vic, CallState)[-1].in_other_tab
    again = chat.ok(chat.vic, InvitationAccept(invitation))
    assert (again.session, again.leg) == (accepted.session, None)


def test_draining_takes_no_new_invitations(chat: Chat) -> None:
    invitation = chat.invite()
    chat.world.draining = True
    for actor, command in ((chat.ana, InvitationJoin(invitation)), (chat.vic, InvitationAccept(invitation))):
        assert chat.fault(actor, command).code == "server.draining"
    chat.ok(chat.ana, InvitationCancel(invitation))
    assert chat.fault(chat.ana, InvitationSend("cv_1")).code == "server.draining"


def test_V43_what_waits_ends_with_the_server(chat: Chat) -> None:
    invitation = chat.invite()
    chat.ok(chat.ana, InvitationJoin(invitation))
    chat.handle(ShutDown())
    assert chat.state(invitation) == ("failed", "server_shutdown")


def test_ended_invitations_are_forgotten_after_a_while() -> None:
    chat = Chat(CallConfiguration(ended_invitations_kept=1))
    first = chat.invite()
    chat.ok(chat.ana, InvitationCancel(first))
    assert chat.fault(chat.vic, InvitationAccept(first)).code == "invitation.not_live"
    second = chat.invite()
    chat.ok(chat.ana, InvitationCancel(second))
    assert chat.fault(chat.vic, InvitationAccept(first)).code == "state.not_found"
    assert set(chat.world.invitations) == {second}


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


# --- races


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
