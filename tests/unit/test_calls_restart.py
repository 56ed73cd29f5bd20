"""The process dies and another one takes its place: V46, V47, V49 and C6 of docs/calls.md."""

from __future__ import annotations

from dataclasses import replace

import pytest

from support.calls import agent_actor, information
from support.calls_restart import KeptHouse
from triortc.engine.calls.actor import Actor, Principal, PushEndpoint
from triortc.engine.calls.commands import (
    CallAccept,
    CallDecline,
    CallHangup,
    ConversationList,
    ConversationMessageSend,
    ConversationSnooze,
    ConversationTag,
    InvitationAccept,
    InvitationDecline,
    InvitationJoin,
    InvitationSend,
    MediaSet,
    PresenceGet,
    RecordingStart,
)
from triortc.engine.calls.configuration import CallConfiguration
from triortc.engine.calls.effects import OpenLeg, SessionStarted
from triortc.engine.calls.gate_table import GateState
from triortc.engine.calls.media_events import LegLost, LegUp
from triortc.engine.calls.notifications import (
    CallActive,
    CallEnded,
    CallPeer,
    ConversationMessage,
    ConversationReminder,
    RingOffer,
)
from triortc.engine.calls.push_values import WithdrawPush

ANA = Principal("org", "agent", "ana")


def back(house: KeptHouse, *actors: Actor) -> None:
    for actor in actors:
        assert actor.device is not None
        house.connect(actor, information(actor.device, "web" if actor.role == "visitor" else "desktop"))


def video(house: KeptHouse, agent: Actor) -> tuple[str, str]:
    status = next(item for item in house.ok(agent, PresenceGet()).items if item.channel == "video")
    return status.effective, status.color


def test_c6_an_agent_who_only_said_hello_is_known_to_the_next_process() -> None:
    house = KeptHouse()
    house.agent(available=False)
    house = house.reborn(after_s=1.0)
    supervisor = Actor("boss", "supervisor", "org")
    known = house.ok(supervisor, PresenceGet("ana")).items
    assert {item.declared for item in known} == {"unavailable"}
    assert house.fault(supervisor, PresenceGet("who never came")).code == "state.not_found"


def test_the_list_of_conversations_pages_through_those_that_are_older_than_this_process() -> None:
    house = KeptHouse(CallConfiguration(conversations_per_page=1, max_chats=50))
    ana = house.agent()
    for number in range(3):
        visitor = house.visitor(f"v{number}", conversation=f"cv_{number}")
        house.ok(visitor, ConversationMessageSend(f"cv_{number}", "hello"))
        house.advance(1.0)
    house = house.reborn(after_s=3600.0)
    page = house.connect(ana)
    found = [item.conversation for item in page.conversations]
    cursor = page.next
    while cursor is not None:
        further = house.ok(ana, ConversationList(cursor))
        found += [item.conversation for item in further.items]
        cursor = further.next
    assert found == ["cv_2", "cv_1", "cv_0"]


def outcome(house: KeptHouse, session: str) -> tuple[str, str]:
    records = house.history.find("org", session=session)
    assert len(records) == 1, "in history exactly once"
    return records[0].outcome, records[0].reason


def test_v46_a_ring_goes_on_to_its_deadline_on_the_wall_clock() -> None:
    house = KeptHouse()
    agent, visitor = house.agent(), house.visitor()
    requested = house.request(visitor)
    house.advance(12.0)
    house = house.reborn(after_s=3.0)
    assert house.session(requested.session).state == "ringing"
    assert any(isinstance(effect, SessionStarted) for effect in house.effects)
    back(house, visitor)
    snapshot = house.connect(agent)
    assert snapshot.rings[0].ttl_ms == 15_000
    house.advance(14.9)
    assert house.session(requested.session).state == "ringing"
    house.advance(0.1)
    assert outcome(house, requested.session) == ("no_answer", "ring_timeout")
    assert len(house.told(visitor, CallEnded)) == 1


def test_v46_a_sleeping_phone_is_alerted_again_for_what_is_left_and_hears_the_end() -> None:
    endpoint = PushEndpoint("apns", token="t")
    house = KeptHouse(push_kinds=frozenset({"apns"}))
    desk = house.agent()
    phone = agent_actor("ana", "phone")
    house.connect(phone, replace(information("phone", "ios"), push=(endpoint,), app_state="background"))
    house.leave(phone)
    session = house.request(house.visitor()).session
    house.advance(12.0)
    assert len(house.pushes) == 3
    house = house.reborn(after_s=3.0)
    started = house.now
    house.connect(desk)
    house.advance(7.0)
    assert [at - started for at, _ in house.pushes] == [0.0, 5.0]
    house.ok(desk, CallAccept(session))
    assert isinstance(house.pushes[-1][1], WithdrawPush)
    house = house.reborn()
    assert house.world.agent(phone.principal).statuses["video"].effective == "busy"
    assert phone.address in house.world.devices, "it can be rung again"


def test_v46_a_ring_whose_deadline_is_over_ends_as_not_answered_at_once() -> None:
    house = KeptHouse()
    house.agent()
    session = house.request(house.visitor()).session
    house.advance(20.0)
    house = house.reborn(after_s=3600.0)
    house.fire()
    assert outcome(house, session) == ("no_answer", "ring_timeout")
    assert house.world.claims.get(ANA) is None


def test_v46_a_ring_is_accepted_after_the_restart_with_legs_made_anew() -> None:
    house = KeptHouse()
    agent, visitor = house.agent(), house.visitor()
    requested = house.request(visitor)
    house = house.reborn(after_s=1.0)
    assert OpenLeg(requested.session, requested.leg or "", "visitor") in house.effects
    back(house, visitor, agent)
    asked = house.told(visitor, CallPeer)
    assert [(peer.what, peer.renegotiate) for peer in asked] == [("reconnecting", True)]
    accepted = house.ok(agent, CallAccept(requested.session))
    house.media(LegUp(accepted.leg))
    house.media(LegUp(requested.leg or ""))
    assert house.session(requested.session).state == "active"
    house.ok(agent, CallHangup(requested.session))
    assert outcome(house, requested.session) == ("completed", "agent_hangup")
    house.check_replay(requested.session)


def test_v46_a_visitor_who_does_not_come_back_to_a_ring_has_left() -> None:
    house = KeptHouse(CallConfiguration(visitor_return_s=4.0))
    agent = house.agent()
    session = house.request(house.visitor()).session
    house = house.reborn(after_s=1.0)
    back(house, agent)
    house.advance(4.0)
    assert outcome(house, session) == ("cancelled", "visitor_left")
    assert video(house, agent) == ("available", "green")


def test_v46_a_decline_and_an_end_before_the_crash_are_not_counted_twice() -> None:
    house = KeptHouse()
    agent, visitor = house.agent(), house.visitor()
    session = house.request(visitor).session
    house.ok(agent, CallDecline(session))
    house = house.reborn()
    house.advance(100.0)
    assert outcome(house, session) == ("declined", "agent_declined")
    back(house, agent, visitor)
    assert house.ok(visitor, CallHangup(session)).already_ended
    assert len(house.told(visitor, CallEnded)) == 1


def test_v47_both_sides_of_a_call_renegotiate_and_it_goes_on() -> None:
    house = KeptHouse()
    agent, visitor = house.agent(), house.visitor()
    session, visitor_leg, agent_leg = house.active(visitor, agent)
    house.ok(agent, MediaSet(session, 1, camera=False, mic=True))
    house.advance(10.0)
    house = house.reborn(after_s=5.0)
    assert house.session(session).state == "reconnecting"
    assert {effect.leg for effect in house.effects if isinstance(effect, OpenLeg)} == {visitor_leg, agent_leg}
    assert house.gate(agent_leg, "audio") == house.gate(visitor_leg, "video") == "frozen"
    back(house, agent, visitor)
    for actor in (agent, visitor):
        (peer,) = house.told(actor, CallPeer)
        assert (peer.session, peer.what, peer.renegotiate, peer.deadline_ms) == (session, "reconnecting", True, 30_000)
    house.media(LegUp(agent_leg))
    assert house.session(session).state == "reconnecting"
    house.media(LegUp(visitor_leg))
    assert house.session(session).state == "active"
    assert house.gate(agent_leg, "audio") == house.gate(visitor_leg, "video") == "open"
    assert house.gate(agent_leg, "video") == "muted", "as its sender had left it"
    assert [peer.what for peer in house.told(agent, CallPeer)] == ["reconnecting", "resumed"]
    house.advance(20.0)
    house.ok(visitor, CallHangup(session))
    assert outcome(house, session) == ("completed", "visitor_hangup")
    (record,) = house.history.find("org", session=session)
    assert record.talk_ms == 30_000, "ten seconds before and twenty after; not the time in between"
    house.check_replay(session)


def test_v47_the_talk_before_a_crash_lasted_until_the_last_sign_of_life() -> None:
    house = KeptHouse()
    agent, visitor = house.agent(), house.visitor()
    session, visitor_leg, agent_leg = house.active(visitor, agent)
    house.advance(10.0)
    house = house.reborn(after_s=500.0, alive_s=1.0)
    house.media(LegUp(agent_leg))
    house.media(LegUp(visitor_leg))
    back(house, agent)
    house.ok(agent, CallHangup(session))
    assert house.history.find("org", session=session)[0].talk_ms == 9_000


def test_v47_an_accepted_call_becomes_active_after_the_restart() -> None:
    house = KeptHouse()
    agent, visitor = house.agent(), house.visitor()
    session, visitor_leg, agent_leg = house.answered(visitor, agent)
    house = house.reborn(after_s=60.0)
    assert house.session(session).state == "connecting"
    back(house, agent, visitor)
    house.media(LegUp(visitor_leg))
    house.media(LegUp(agent_leg))
    assert house.session(session).state == "active"
    assert len(house.told(agent, CallActive)) == len(house.told(visitor, CallActive)) == 1
    assert house.gate(agent_leg, "video") == "open"
    house.advance(100.0)
    assert house.session(session).state == "active"


@pytest.mark.parametrize("state", ["connecting", "active", "reconnecting", "handoff"])
def test_v49_a_call_whose_legs_do_not_come_back_is_lost_with_its_node(state: str) -> None:
    house = KeptHouse()
    agent, visitor = house.agent(), house.visitor()
    phone = house.agent("ana", "phone", "ios", available=False)
    if state == "connecting":
        session, visitor_leg, agent_leg = house.answered(visitor, agent)
    else:
        session, visitor_leg, agent_leg = house.active(visitor, agent)
    if state == "reconnecting":
        house.media(LegLost(visitor_leg))
    if state == "handoff":
        house.pull(phone, session)
    assert house.session(session).state == state
    house = house.reborn(after_s=2.0)
    assert house.session(session).state == ("connecting" if state == "connecting" else "reconnecting")
    back(house, agent, visitor)
    house.media(LegUp(agent_leg))
    house.advance(29.9)
    assert not house.session(session).ended
    house.advance(0.2)
    assert outcome(house, session) == ("failed", "node_lost")
    assert house.world.claims.get(ANA) is None
    for actor in (agent, visitor):
        (ended,) = house.told(actor, CallEnded)
        assert (ended.outcome, ended.reason, ended.by) == ("failed", "node_lost", "system")
    house.check_replay(session)


def test_v47_a_phone_takes_the_call_over_from_a_desktop_that_died_with_the_server() -> None:
    house = KeptHouse()
    agent, visitor = house.agent(), house.visitor()
    phone = house.agent("ana", "phone", "ios", available=False)
    session, visitor_leg, _ = house.active(visitor, agent)
    house = house.reborn(after_s=1.0)
    back(house, phone, visitor)
    house.media(LegUp(visitor_leg))
    house.moved(phone, session)
    assert house.session(session).state == "active"
    house.advance(60.0)
    assert house.session(session).state == "active"


def test_c6_the_new_process_has_a_new_epoch() -> None:
    house = KeptHouse()
    agent, visitor = house.agent(), house.visitor()
    session, _, _ = house.active(visitor, agent)
    before = house.session(session).epoch
    house = house.reborn()
    assert house.session(session).epoch == before + 1
    claim = house.world.claims.get(ANA)
    assert claim is not None
    assert (claim.phase, claim.epoch) == ("in_call", before + 1)
    assert house.world.claims.release(ANA, session, before) is not None, "the old epoch is fenced"
    house = house.reborn(after_s=100.0)
    house.advance(31.0)
    back(house, agent)
    assert house.world.claims.epoch(ANA) == before + 2, "epochs do not start anew"


def test_c6_a_ringing_claim_is_taken_over_in_its_phase() -> None:
    house = KeptHouse()
    house.agent()
    session = house.request(house.visitor()).session
    house = house.reborn()
    claim = house.world.claims.get(ANA)
    assert claim is not None
    assert (claim.session, claim.phase) == (session, "ringing")


def test_v47_a_recording_does_not_outlive_the_process_and_the_snapshot_says_so() -> None:
    house = KeptHouse(CallConfiguration(recording="on_request"))
    visitor = house.visitor()
    agent = Actor("ana", "agent", "org", "desk", house.agent().caps | {"record"}, frozenset({"default"}))
    back(house, agent)
    session, _, _ = house.active(visitor, agent)
    house.ok(agent, RecordingStart(session))
    house = house.reborn()
    assert house.connect(agent).sessions[0].recording is None
    assert len(house.session(session).recordings) == 1


def test_what_agents_declared_and_were_given_is_there_again() -> None:
    house = KeptHouse()
    agent, visitor = house.agent(), house.visitor()
    message = house.ok(visitor, ConversationMessageSend("cv_1", "good morning")).message
    house.ok(agent, ConversationTag("cv_1", ("vip",)))
    house = house.reborn(after_s=5.0)
    snapshot = house.connect(agent)
    (conversation,) = snapshot.conversations
    assert (conversation.assignee, conversation.tags, conversation.unread) == ("ana", ("vip",), 1)
    assert video(house, agent) == ("busy", "orange"), "the chat is still open"
    assert [row.message.message for row in house.rows("messages")] == [message]


def test_what_a_visitor_wrote_before_there_was_an_agent_is_delivered_after_the_restart() -> None:
    house = KeptHouse()
    visitor = house.visitor()
    house.ok(visitor, ConversationMessageSend("cv_1", "anybody there?"))
    house = house.reborn(after_s=5.0)
    agent = house.agent()
    assert [item.text for item in house.told(agent, ConversationMessage)] == ["anybody there?"]


def test_a_device_that_does_not_come_back_after_the_restart_is_gone() -> None:
    house = KeptHouse()
    agent = house.agent()
    visitor = house.visitor()
    house = house.reborn()
    assert [device.signaling for device in house.world.devices.values()] == ["grace"]
    back(house, visitor)
    house.advance(35.0)
    assert not house.world.of_principal.get(ANA)
    assert house.request(visitor).reason == "no_agent_available"
    assert agent.device == "desk"


def test_a_ring_after_the_restart_reaches_the_devices_that_are_there() -> None:
    house = KeptHouse()
    agent, visitor = house.agent(), house.visitor()
    house = house.reborn()
    back(house, agent, visitor)
    house.request(visitor)
    assert len(house.told(agent, RingOffer)) == 1


def test_gates_that_were_frozen_by_a_crash_are_sealed_at_the_end() -> None:
    house = KeptHouse()
    agent, visitor = house.agent(), house.visitor()
    session, visitor_leg, agent_leg = house.active(visitor, agent)
    house = house.reborn()
    house.advance(31.0)
    assert house.session(session).ended
    assert {house.gates[leg, "video"] for leg in (visitor_leg, agent_leg)} == {GateState.SEALED}


# --- invitations


def invited(house: KeptHouse) -> tuple[Actor, Actor, str]:
    agent, visitor = house.agent(), house.visitor()
    house.ok(visitor, ConversationMessageSend("cv_1", "hello"))
    return agent, visitor, house.ok(agent, InvitationSend("cv_1")).invitation


def test_a_pending_invitation_is_there_again_and_can_be_joined_by_both() -> None:
    house = KeptHouse()
    agent, visitor, invitation = invited(house)
    house = house.reborn(after_s=3.0)
    back(house, visitor)
    assert [item.state for item in house.connect(agent).invitations] == ["pending"]
    assert house.fault(agent, InvitationSend("cv_1")).code == "invitation.already_pending"
    house.ok(agent, InvitationJoin(invitation))
    house.ok(visitor, InvitationAccept(invitation))
    assert house.world.invitations[invitation].state == "in_session"


def test_an_invitation_that_is_over_before_the_crash_is_recorded_once_and_the_slots_are_free() -> None:
    house = KeptHouse()
    agent, visitor, invitation = invited(house)
    house.ok(visitor, InvitationDecline(invitation))
    house = house.reborn()
    back(house, agent, visitor)
    assert house.fault(visitor, InvitationAccept(invitation)).code == "invitation.not_live"
    assert [item.state for item in house.history.find_invitations("org")] == ["declined"]
    assert house.ok(agent, InvitationSend("cv_1")).invitation != invitation


def test_a_visitor_who_stays_away_after_the_restart_ends_the_invitation() -> None:
    house = KeptHouse()
    agent, _, invitation = invited(house)
    house = house.reborn(after_s=1.0)
    back(house, agent)
    house.advance(120.0)
    assert (house.world.invitations[invitation].state, house.world.invitations[invitation].reason) == (
        "cancelled",
        "visitor_left",
    )


def test_v46_an_agent_who_waits_goes_on_waiting_and_the_visitor_joins() -> None:
    house = KeptHouse()
    agent, visitor, invitation = invited(house)
    joined = house.ok(agent, InvitationJoin(invitation))
    house = house.reborn(after_s=2.0)
    claim = house.world.claims.get(ANA)
    assert claim is not None
    assert (claim.phase, claim.origin) == ("waiting", "invited")
    back(house, agent, visitor)
    assert [peer.renegotiate for peer in house.told(agent, CallPeer)] == [True]
    house.advance(60.0)
    accepted = house.ok(visitor, InvitationAccept(invitation))
    house.media(LegUp(joined.leg))
    house.media(LegUp(accepted.leg))
    assert house.session(joined.session).state == "active"
    house.check_replay(joined.session)


def test_v46_an_agent_who_waited_and_does_not_come_back_is_lost() -> None:
    house = KeptHouse()
    agent, visitor, invitation = invited(house)
    session = house.ok(agent, InvitationJoin(invitation)).session
    house = house.reborn()
    back(house, visitor)
    house.advance(30.0)
    assert outcome(house, session) == ("failed", "agent_connection_lost")
    assert house.world.invitations[invitation].state == "failed"


def test_a_snoozed_conversation_comes_back_at_its_time_on_the_wall_clock() -> None:
    house = KeptHouse()
    agent, visitor = house.agent(), house.visitor()
    house.ok(visitor, ConversationMessageSend("cv_1", "hello"))
    house.ok(agent, ConversationSnooze("cv_1", until_at=house.wall_ms + 60_000))
    house = house.reborn(after_s=40.0)
    back(house, agent)
    house.advance(19.0)
    assert house.world.conversations["org", "cv_1"].state == "snoozed"
    house.advance(1.1)
    assert house.world.conversations["org", "cv_1"].state == "open"
    assert video(house, agent) == ("busy", "orange")


def test_a_reminder_to_close_is_not_forgotten_by_a_crash() -> None:
    house = KeptHouse()
    agent, visitor = house.agent(), house.visitor()
    session, _, _ = house.active(visitor, agent)
    house.ok(agent, CallHangup(session))
    house.advance(10.0)
    house = house.reborn(after_s=5.0)
    back(house, agent)
    house.advance(14.0)
    assert not house.told(agent, ConversationReminder)
    house.advance(1.1)
    assert [item.n for item in house.told(agent, ConversationReminder)] == [1]


# --- the queue


def test_v46_visitors_who_wait_for_an_agent_keep_their_places() -> None:
    house = KeptHouse(CallConfiguration(queue_size=5, queue_timeout_s=100.0))
    first, second = house.visitor(), house.visitor("wim", "tab", "cv_2")
    sessions = [house.request(first).session, house.request(second, "cv_2").session]
    house.advance(20.0)
    house = house.reborn(after_s=10.0)
    assert [house.session(session).state for session in sessions] == ["queued", "queued"]
    back(house, second)
    assert [view.position for view in house.connect(first).sessions] == [1]
    agent = house.agent()
    assert house.told(agent, RingOffer)[-1].session == sessions[0]
    house.advance(70.1)
    assert outcome(house, sessions[1]) == ("unavailable", "queue_timeout"), "a hundred seconds on the wall clock"


def test_a_ring_that_went_to_the_next_agent_is_in_the_record_after_a_restart() -> None:
    house = KeptHouse(CallConfiguration(on_no_answer="reroute", queue_size=2))
    ana, ben, visitor = house.agent(), house.agent("ben", "desk"), house.visitor()
    session = house.request(visitor).session
    house.advance(30.0)
    assert house.session(session).state == "ringing"
    house = house.reborn(after_s=1.0)
    back(house, ana, ben, visitor)
    house.ok(ben if house.session(session).agent == "ben" else ana, CallDecline(session))
    (record,) = house.history.find("org", session=session)
    assert [leg.reason for leg in record.ring_legs] == ["timeout", "declined_here"]
