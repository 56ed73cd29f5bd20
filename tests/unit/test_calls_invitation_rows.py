# ruff: noqa: N802 - test names carry the numbers of docs/calls.md as they are written there
"""Table N: what becomes of an invitation, and what that does to its session, its claim and its ring."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from support.calls import agent_actor, information, visitor_actor
from support.invitations import Chat, colleague, second_visitor
from triortc.engine.calls.actor import Actor, Principal
from triortc.engine.calls.claim_table import Fenced
from triortc.engine.calls.commands import (
    CallAccept,
    CallCancel,
    CallDecline,
    CallEnd,
    CallHangup,
    DeviceUpdate,
    InvitationAccept,
    InvitationCancel,
    InvitationDecline,
    InvitationJoin,
    InvitationSend,
    MediaSet,
)
from triortc.engine.calls.configuration import CallConfiguration
from triortc.engine.calls.events import SessionCrashed, ShutDown
from triortc.engine.calls.notifications import (
    CallEnded,
    CallState,
    ConversationReminder,
    InvitationChanged,
    PresenceChanged,
)


@pytest.fixture
def chat() -> Chat:
    return Chat()


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
