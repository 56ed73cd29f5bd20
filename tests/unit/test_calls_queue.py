# ruff: noqa: N802 - test names carry the numbers of docs/calls.md as they are written there
"""Visitors who wait for an agent, and calls that nobody answers (V2, V4, V7 to V10, A-8)."""

from __future__ import annotations

from typing import Any

import pytest

from support.calls import House, agent_actor, information, visitor_actor
from support.calls_scenes import SUPERVISOR
from triortc.engine.calls.actor import Actor
from triortc.engine.calls.commands import (
    CallAccept,
    CallCancel,
    CallDecline,
    CallEnd,
    CallHangup,
    ConversationClose,
    ConversationMessageSend,
    DeviceRevoke,
    PresenceSet,
    RingAck,
    RingOpened,
)
from triortc.engine.calls.configuration import CallConfiguration
from triortc.engine.calls.events import SessionCrashed, ShutDown
from triortc.engine.calls.notifications import (
    CallEnded,
    CallState,
    ConversationChanged,
    ConversationRemoved,
    RingEnded,
    RingOffer,
)
from triortc.errors import ConfigurationError


def queue_house(**configuration: Any) -> House:
    return House(CallConfiguration(queue_size=configuration.pop("queue_size", 3), **configuration))


def visitors(house: House, count: int) -> list[Actor]:
    return [house.visitor(f"v{number}", f"tab{number}", f"cv_{number}") for number in range(count)]


def ask(house: House, visitor: Actor) -> str:
    (conversation,) = visitor.conversations
    return house.request(visitor, conversation).session


def position(house: House, visitor: Actor) -> int | None:
    return house.told(visitor, CallState)[-1].position


def busy_house(**configuration: Any) -> tuple[House, Actor, list[Actor], list[str]]:
    """An agent who is rung for the first of four visitors; the others wait."""
    house = queue_house(**configuration)
    ana = house.agent()
    people = visitors(house, 4)
    return house, ana, people, [ask(house, visitor) for visitor in people]


def test_V2_visitors_wait_in_the_order_in_which_they_asked() -> None:
    house, _, people, sessions = busy_house()
    assert [house.session(session).state for session in sessions] == ["ringing", "queued", "queued", "queued"]
    assert [position(house, visitor) for visitor in people] == [None, 1, 2, 3]
    assert house.session(sessions[1]).visitor_leg in house.open_legs, "the slate can be shown while one waits"
    again = house.request(people[1], "cv_1")
    assert (again.session, again.state) == (sessions[1], "queued"), "R29"


def test_V3_a_queue_without_room_says_so() -> None:
    house, _, _, _ = busy_house()
    last = house.visitor("late", "tab", "cv_late")
    requested = house.request(last, "cv_late")
    assert (requested.outcome, requested.reason) == ("unavailable", "queue_full")


def test_V2_with_nobody_there_at_all_one_waits_too_and_without_a_queue_nobody_does() -> None:
    house = queue_house()
    assert house.request(house.visitor()).state == "queued"
    plain = House()
    assert plain.request(plain.visitor()).reason == "no_agent_available"


def test_V7_the_next_agent_who_is_available_gets_the_first_in_the_queue() -> None:
    house, ana, people, sessions = busy_house()
    house.ok(people[0], CallCancel(sessions[0]))
    assert [house.session(session).state for session in sessions] == ["ended", "ringing", "queued", "queued"]
    assert [position(house, visitor) for visitor in people[2:]] == [1, 2]
    offer = house.told(ana, RingOffer)[-1]
    assert (offer.session, offer.ttl_ms) == (sessions[1], 30_000)
    accepted = house.ok(ana, CallAccept(sessions[1]))
    assert accepted.state == "connecting"
    ben = house.agent("ben", "ben-desk")
    assert house.told(ben, RingOffer)[-1].session == sessions[2]
    for session in sessions:
        house.check_replay(session)


def test_V7_who_asked_first_is_served_first_across_the_groups_of_an_agent() -> None:
    house = queue_house()
    groups = frozenset({"red", "blue"})
    requests = []
    for number, group in enumerate(("blue", "red", "blue")):
        house.now += 1.0
        visitor = house.visitor(f"v{number}", "tab", f"cv_{number}")
        house.control.open_conversation(visitor.principal, f"cv_{number}", group, house.now)
        requests.append(ask(house, visitor))
    order: list[str] = []
    for _ in requests:
        sub = f"agent{len(order)}"
        actor = Actor(sub, "agent", "org", "desk", agent_actor(sub, "desk").caps, groups)
        house.connect(actor, information("desk"))
        house.ok(actor, PresenceSet("video", "available"))
        order.append(house.told(actor, RingOffer)[-1].session)
    assert order == requests


def test_V7_an_agent_whose_device_is_lost_is_not_rung_until_it_is_back() -> None:
    house = queue_house()
    ana = house.agent()
    house.lose(ana)
    session = ask(house, house.visitor())
    assert house.session(session).state == "queued"
    house.resume(ana)
    assert house.session(session).state == "ringing"


@pytest.mark.parametrize("command", [CallCancel, CallHangup])
def test_V8_who_waits_may_leave_and_the_others_move_up(command: Any) -> None:
    house, ana, people, sessions = busy_house()
    house.ok(people[1], command(sessions[1]))
    ended = house.session(sessions[1])
    assert (ended.outcome, ended.reason) == ("cancelled", "visitor_cancelled")
    assert [position(house, visitor) for visitor in people[2:]] == [1, 2]
    assert [item.session for item in house.told(ana, CallEnded)] == [], "the agent hears nothing of it"
    assert house.appended[sessions[1]] == 1
    assert house.world.conversations[("org", "cv_1")].assignee is None
    house.check_replay(sessions[1])


def test_V9_one_waits_as_long_as_the_queue_allows() -> None:
    house, _, people, sessions = busy_house(queue_timeout_s=20.0)
    house.advance(19.999)
    assert house.session(sessions[1]).state == "queued"
    house.advance(0.001)
    assert [house.session(session).reason for session in sessions[1:]] == ["queue_timeout"] * 3
    assert house.told(people[1], CallEnded)[-1].outcome == "unavailable"
    assert not house.world.queues


def test_V9_time_in_the_queue_is_over_when_it_rings() -> None:
    house, _, people, sessions = busy_house(queue_timeout_s=20.0)
    house.advance(15.0)
    house.ok(people[0], CallCancel(sessions[0]))
    house.advance(29.0)
    assert house.session(sessions[1]).state == "ringing"


def test_V10_a_visitor_who_vanishes_from_the_queue_has_left() -> None:
    house, _, people, sessions = busy_house()
    house.lose(people[1])
    house.advance(4.0)
    house.resume(people[1])
    house.advance(5.0)
    assert house.session(sessions[1]).state == "queued"
    house.lose(people[1])
    house.advance(5.0)
    assert house.session(sessions[1]).reason == "visitor_left"


@pytest.mark.parametrize(
    ("event", "end"),
    [
        (lambda h, s: h.ok(SUPERVISOR, CallEnd(s)), "cancelled/supervisor_ended"),
        (lambda h, s: h.handle(ShutDown()), "failed/server_shutdown"),
        (lambda h, s: h.handle(SessionCrashed(s)), "failed/internal_error"),
        (lambda h, s: h.ok(SUPERVISOR, ConversationClose("cv_1")), "cancelled/conversation_closed"),
    ],
    ids=["V42", "V43", "V44", "V21"],
)
def test_who_waits_is_ended_like_anybody(event: Any, end: str) -> None:
    house, _, people, sessions = busy_house()
    event(house, sessions[1])
    ended = house.session(sessions[1])
    assert f"{ended.outcome}/{ended.reason}" == end
    assert len(house.told(people[1], CallEnded)) == 1
    house.check_replay(sessions[1])


@pytest.mark.parametrize(
    ("operation", "reason"),
    [("conversation.transfer", "conversation_transferred"), ("conversation.snooze", "conversation_snoozed")],
)
def test_V21_what_is_done_with_the_conversation_ends_the_waiting(operation: Any, reason: str) -> None:
    house, _, _, sessions = busy_house()
    conversation = house.world.conversations[("org", "cv_1")]
    house.control._lifecycle.leave_video(conversation, operation, "boss", end_video=False)
    house.perform(house.control._settle())
    assert house.session(sessions[1]).reason == reason


def test_D1_a_second_tab_sees_the_place_in_the_queue() -> None:
    house, _, _, _ = busy_house()
    snapshot = house.connect(visitor_actor("v2", "other", "cv_2"), information("other", "web"))
    assert [(item.state, item.position, item.in_other_tab) for item in snapshot.sessions] == [("queued", 2, True)]


def test_a_visitor_in_the_queue_who_writes_is_served_by_the_agent_who_took_the_chat() -> None:
    house = queue_house()
    chatting = house.agent("ben", "ben-desk", available=False)
    house.ok(chatting, PresenceSet("chat", "available"))
    vic = house.visitor()
    session = ask(house, vic)
    house.ok(vic, ConversationMessageSend("cv_1", "hello?"))
    assert house.world.conversations[("org", "cv_1")].assignee == "ben"
    ana = house.agent("ana")
    assert (house.session(session).state, house.told(ana, RingOffer)) == ("queued", [])
    house.ok(chatting, PresenceSet("video", "available"))
    assert house.told(chatting, RingOffer)[-1].session == session


def test_draining_serves_nobody_any_more() -> None:
    house, _, people, sessions = busy_house()
    house.world.draining = True
    house.ok(people[0], CallCancel(sessions[0]))
    assert house.session(sessions[1]).state == "queued"


def test_a_queue_is_bounded_by_configuration() -> None:
    for wrong in ({"queue_size": -1}, {"queue_size": 1001}, {"queue_timeout_s": 0.0}):
        with pytest.raises(ConfigurationError):
            CallConfiguration(**wrong)


# --- nobody answers


def rerouting(**configuration: Any) -> tuple[House, Actor, Actor, Actor, str]:
    """Ana, idle longest, is rung; Ben is there, too."""
    house = House(CallConfiguration(on_no_answer="reroute", **configuration))
    ana = house.agent("ana", "desk")
    house.now += 1.0
    ben = house.agent("ben", "ben-desk")
    vic = house.visitor()
    session = ask(house, vic)
    assert house.told(ana, RingOffer)
    return house, ana, ben, vic, session


def test_A_8_by_default_a_call_that_is_not_answered_ends_and_nobody_else_is_rung() -> None:
    house = House()
    house.agent("ana", "desk")
    ben = house.agent("ben", "ben-desk")
    session = ask(house, house.visitor())
    house.advance(30.0)
    assert house.session(session).outcome == "no_answer"
    assert house.told(ben, RingOffer) == []


def test_A_8_reroute_rings_the_next_agent_for_thirty_seconds_more() -> None:
    house, ana, ben, vic, session = rerouting()
    old_ring = house.ring(ana)
    house.ok(ana, RingOpened(old_ring))
    warm = house.world.rings[session].legs[ana.address].leg  # type: ignore[index]  # an agent has an address
    house.advance(30.0)
    assert (house.session(session).state, house.session(session).agent) == ("ringing", "ben")
    assert house.told(ana, RingEnded)[-1].reason == "timeout"
    assert [item.outcome for item in house.told(ana, CallEnded)] == ["no_answer"]
    assert house.told(ana, ConversationRemoved)[-1].conversation == "cv_1"
    assert warm not in house.open_legs
    assert house.told(vic, CallEnded) == []
    assert house.told(ben, RingOffer)[-1].ttl_ms == 30_000
    for command in (CallAccept(session), RingAck(old_ring), RingOpened(old_ring), CallDecline(session)):
        assert house.fault(ana, command).code == "call.expired"
    house.advance(10.0)
    house.ok(ben, CallAccept(session))
    assert house.world.conversations[("org", "cv_1")].assignee == "ben"
    assert len(house.world.claims) == 1
    house.check_replay(session)


def test_A_8_each_agent_is_tried_once_and_then_nobody_answered() -> None:
    house, ana, ben, vic, session = rerouting()
    house.advance(60.0)
    ended = house.session(session)
    assert (ended.outcome, ended.reason) == ("no_answer", "ring_timeout")
    assert ended.missed_by == ("ana",)
    (record,) = house.history.find("org", session=session)
    assert [(leg.device, leg.reason) for leg in record.ring_legs] == [("desk", "timeout"), ("ben-desk", "timeout")]
    assert [len(house.told(actor, CallEnded)) for actor in (ana, ben, vic)] == [1, 1, 1]
    house.check_replay(session)


def test_A_8_with_a_queue_the_visitor_waits_at_its_head_for_somebody_who_was_not_tried() -> None:
    house = House(CallConfiguration(on_no_answer="reroute", queue_size=2))
    ana = house.agent("ana", "desk")
    vic, wim = house.visitor(), house.visitor("wim", "tab", "cv_2")
    first, second = ask(house, vic), ask(house, wim)
    house.advance(30.0)
    assert house.told(ana, RingOffer)[-1].session == second, "who was not tried with her yet"
    assert (house.session(first).state, position(house, vic)) == ("queued", 1)
    ben = house.agent("ben", "ben-desk")
    assert house.told(ben, RingOffer)[-1].session == first


def test_A_8_an_agent_who_missed_a_call_and_is_then_given_its_chat_is_not_rung_again() -> None:
    house = House(CallConfiguration(on_no_answer="reroute", queue_size=2))
    ana = house.agent("ana", "desk")
    session = ask(house, house.visitor())
    house.advance(30.0)
    house.perform(house.control.assign_conversation("org", "cv_1", "ana", house.now))
    assert (house.session(session).state, len(house.told(ana, RingOffer))) == ("queued", 1)
    assert house.told(ana, ConversationChanged)[-1].live_session is None, "for her it has ended"


def test_I31_a_chat_whose_visitor_waits_for_another_agents_video_occupies_its_agent() -> None:
    house = House(CallConfiguration(on_no_answer="reroute", queue_size=1))
    ana = house.agent("ana", "desk")
    ask(house, house.visitor())
    house.advance(30.0)
    house.perform(house.control.assign_conversation("org", "cv_1", "ana", house.now))
    assert house.world.agent(ana.principal).statuses["video"].reasons == ("ongoing_chat",)
    ask(house, house.visitor("wim", "tab", "cv_2"))
    assert len(house.told(ana, RingOffer)) == 1


def test_A_8_an_agent_whose_devices_were_revoked_while_they_rang_is_followed_by_the_next() -> None:
    """Found by the model, seed 1005: nobody is left to be told that the conversation is somebody else's (I27)."""
    house, ana, ben, vic, session = rerouting()
    house.ok(ana, DeviceRevoke("desk"))
    house.advance(30.0)
    assert (house.session(session).state, house.session(session).agent) == ("ringing", "ben")
    house.ok(ben, CallAccept(session))
    assert house.world.conversations[("org", "cv_1")].assignee == "ben"
    assert house.told(vic, CallEnded) == []


def test_V16_with_nobody_who_can_be_reached_the_call_ends_unanswered() -> None:
    house, _, ben, _, session = rerouting()
    house.lose(ben)
    house.advance(30.0)
    assert (house.session(session).outcome, house.session(session).reason) == ("no_answer", "ring_timeout")
    house.check_replay(session)


def test_A_8_an_agent_who_misses_too_many_in_a_row_is_declared_unavailable_by_the_system() -> None:
    house = House(CallConfiguration(auto_unavailable_after_missed=2))
    ana = house.agent()
    agent = house.world.agent(ana.principal)
    for number, visitor in enumerate(visitors(house, 3)):
        session = ask(house, visitor)
        if number == 0:
            house.ok(ana, CallAccept(session))
            house.ok(visitor, CallHangup(session))
        else:
            house.advance(30.0)
        house.ok(ana, ConversationClose(f"cv_{number}"))
        assert agent.declared["video"] == ("available" if number < 2 else "unavailable")
    status = agent.statuses["video"]
    assert (status.color, status.reasons, status.by) == ("red", ("missed_calls",), "system")
    assert agent.declared["chat"] == "available"
    house.ok(ana, PresenceSet("video", "available"))
    assert (agent.statuses["video"].effective, agent.statuses["video"].by) == ("available", None)


# --- V4


def test_V4_a_candidate_who_was_claimed_meanwhile_is_passed_over() -> None:
    house = House()
    house.agent("ana", "desk")
    house.now += 1.0
    ben = house.agent("ben", "ben-desk")
    assert isinstance(house.world.claims.acquire(agent_actor("ana", "desk").principal, "vs_other", "invited"), int)
    session = ask(house, house.visitor())
    assert house.told(ben, RingOffer)[-1].session == session
    rows = [record.row for record in house.control.event_log(session)]
    assert rows == ["", "V4", "V1"]


def test_V4_every_candidate_is_tried_at_most_once() -> None:
    class Stubborn:
        def order(self, org: str, group: str, candidates: Any) -> list[str]:
            return ["ana", "ana", "nobody", "ana"]

    house = House()
    house.agent("ana", "desk")
    house.control._requesting._router = Stubborn()
    house.lose(agent_actor("ana", "desk"))
    session = ask(house, house.visitor())
    assert house.session(session).reason == "no_reachable_device"
    assert [record.row for record in house.control.event_log(session)].count("V4") == 1
