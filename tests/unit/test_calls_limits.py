# ruff: noqa: N802 - test names carry the numbers of docs/calls.md as they are written there
"""What devices, people and embedders may do besides calling, what is refused, and what is bounded."""

from __future__ import annotations

from dataclasses import replace
from typing import get_args

import pytest

from support.calls import House, agent_actor, phone_of, visitor_actor
from triortc.engine.calls.actor import Actor, Principal
from triortc.engine.calls.commands import (
    CallAccept,
    CallCancel,
    CallDecline,
    CallEnd,
    CallHangup,
    CallRequest,
    Command,
    ConversationClose,
    ConversationFocus,
    ConversationList,
    ConversationMessageSend,
    DeviceRevoke,
    DeviceUpdate,
    HistoryGet,
    PresenceGet,
    PresenceSet,
    SyncGet,
)
from triortc.engine.calls.configuration import CallConfiguration
from triortc.engine.calls.notifications import (
    CallState,
    ConversationMessage,
    ConversationRemoved,
    PresenceChanged,
)
from triortc.errors import ConfigurationError


@pytest.fixture
def house() -> House:
    return House()


# --- what else devices and people can do


def test_D2_a_revoked_device_is_hung_up_after_5_s(house: House) -> None:
    ana, mobile, vic = house.agent(), phone_of(house), house.visitor()
    session, _, _ = house.active(vic, ana)
    house.ok(mobile, DeviceRevoke("desk"))
    house.advance(4.9)
    assert house.session(session).state == "active"
    house.advance(0.1)
    assert house.session(session).reason == "agent_hangup"


def test_A25_a_call_inside_an_assigned_conversation_needs_an_invitation(house: House) -> None:
    house.agent()
    vic = house.visitor()
    house.ok(vic, ConversationMessageSend("cv_1", "hi"))
    fault = house.fault(vic, CallRequest("cv_1"))
    assert (fault.code, fault.details["use"]) == ("call.invalid_state", "invitation")


def test_requests_of_one_visitor_are_limited_to_5_a_minute(house: House) -> None:
    vic = house.visitor()
    for _ in range(5):
        assert house.request(vic).outcome == "unavailable"
    fault = house.fault(vic, CallRequest("cv_1"))
    assert (fault.code, fault.retryable, fault.retry_after_ms) == ("rate.limited", True, 60_000)
    house.advance(60.0)
    assert house.request(vic).outcome == "unavailable"
    house.advance(60.0)
    assert house.world.requests == {}


def test_K0_a_visitor_who_rings_and_leaves_turns_nobody_orange(house: House) -> None:
    ana, vic = house.agent(), house.visitor()
    house.ok(vic, CallCancel(house.request(vic).session))
    assert house.world.conversations[("org", "cv_1")].assignee is None
    assert house.told(ana, ConversationRemoved)[0].conversation == "cv_1"
    assert all(status.effective == "available" for status in house.ok(ana, PresenceGet()).items)


def test_K0b_the_first_message_goes_to_the_longest_idle_agent_with_a_free_slot(house: House) -> None:
    first = house.agent("ana", "a")
    house.advance(5.0)
    second = house.agent("ben", "b")
    order = []
    for number in range(7):
        visitor = house.visitor(f"v{number}", conversation=f"cv_v{number}")
        house.ok(visitor, ConversationMessageSend(f"cv_v{number}", "hello"))
        order.append(house.world.conversations[("org", f"cv_v{number}")].assignee)
    assert order == ["ana", "ben", "ana", "ben", "ana", "ben", None]
    house.ok(second, ConversationClose("cv_v3"))
    assert house.world.conversations[("org", "cv_v6")].assignee == "ben", "offered when a slot is free"
    assert house.told(second, ConversationMessage)[-1].conversation == "cv_v6", "with what was written before"
    assert house.fault(first, ConversationMessageSend("cv_v6", "mine?")).code == "state.not_found"


def test_objects_of_other_tenants_visitors_and_agents_do_not_exist(house: House) -> None:
    ana, vic = house.agent(), house.visitor()
    session, _, _ = house.active(vic, ana)
    stranger = visitor_actor("vic", "tab", "cv_1", org="other")
    house.connect(stranger)
    assert house.fault(stranger, CallHangup(session)).code == "state.not_found"
    wim = visitor_actor("wim", "tab", "cv_1")
    house.connect(wim)
    assert house.fault(wim, ConversationMessageSend("cv_1", "hm")).code == "state.not_found"
    assert house.fault(wim, ConversationMessageSend("cv_9", "hm")).code == "state.not_found"
    ben = house.agent("ben", "b")
    assert house.fault(ben, ConversationClose("cv_1", end_video=True)).code == "state.not_found"
    assert house.fault(ben, CallAccept(session)).code == "state.not_found"


def test_capabilities_are_needed(house: House) -> None:
    bare = agent_actor("ana", "desk", frozenset())
    house.connect(bare)
    assert house.fault(bare, PresenceSet("video", "available")).code == "auth.forbidden"
    assert house.fault(bare, HistoryGet()).code == "auth.forbidden"
    assert house.fault(bare, CallEnd("vs_x")).code == "auth.forbidden"
    assert house.fault(bare, CallRequest("cv_1")).code == "auth.forbidden"


def test_every_command_of_the_protocol_is_carried_out(house: House) -> None:
    assert set(house.control._handlers) == set(get_args(Command))


def test_sync_gives_the_parts_that_are_asked_for(house: House) -> None:
    ana, vic = house.agent(), house.visitor()
    session, _, _ = house.active(vic, ana)
    whole = house.ok(ana, SyncGet())
    assert [item.session for item in whole.sessions] == [session]
    assert house.ok(ana, SyncGet(("presence",))).sessions == ()
    assert house.ok(ana, SyncGet(("presence", "no such part"))).presence == whole.presence


def test_a_supervisor_sees_presence_and_history_of_the_tenant(house: House) -> None:
    boss = Actor("boss", "supervisor", "org", "desk", frozenset({"history", "call.end"}))
    house.connect(boss)
    ana, vic = house.agent(), house.visitor()
    session, _, _ = house.active(vic, ana)
    assert house.told(boss, PresenceChanged)
    assert house.ok(boss, CallEnd(session)).reason == "supervisor_ended"
    assert house.ok(boss, CallEnd(session)).already_ended
    assert [record.session for record in house.ok(boss, HistoryGet(session=session)).items] == [session]
    assert len(house.ok(ana, HistoryGet(conversation="cv_1")).items) == 1
    assert house.ok(boss, PresenceGet("ana")).items
    assert house.fault(ana, PresenceGet("ben")).code == "auth.forbidden"


def test_a_server_may_ask_for_a_call_on_a_visitors_behalf(house: House) -> None:
    ana, vic = house.agent(), house.visitor()
    house.control.open_conversation(Principal("org", "visitor", "vic"), "cv_1", None, house.now)
    requested = house.request(Actor("api", "service", "org"))
    assert (requested.state, requested.leg) == ("ringing", None)
    assert house.told(vic, CallState)[-1].leg is not None
    assert house.ring(ana)


def test_assigning_by_an_embedders_server(house: House) -> None:
    ana = house.agent()
    house.control.open_conversation(Principal("org", "visitor", "vic"), "cv_7", "sales", house.now)
    house.perform(house.control.assign_conversation("org", "cv_7", "ana", house.now))
    assert [item.conversation for item in house.ok(ana, ConversationList()).items] == ["cv_7"]


def test_focus_on_another_conversation_has_no_effect_on_the_call(house: House) -> None:
    ana, vic = house.agent(), house.visitor()
    session, _, _ = house.active(vic, ana)
    house.ok(ana, ConversationFocus("cv_1"))
    house.ok(ana, ConversationFocus(None))
    assert house.session(session).state == "active"


def test_wrong_values_from_clients_are_malformed(house: House) -> None:
    ana, vic = house.agent(), house.visitor()
    assert house.fault(ana, DeviceUpdate(app_state="upside down")).code == "proto.malformed"
    assert house.fault(ana, DeviceUpdate(perms={"camera": "maybe"})).code == "proto.malformed"
    assert house.fault(vic, ConversationMessageSend("cv_1")).code == "proto.malformed"
    assert house.fault(ana, ConversationList(cursor="x")).code == "proto.malformed"
    unknown = replace(ana, device="unknown")
    assert house.fault(unknown, ConversationList()).code == "auth.forbidden"


@pytest.mark.parametrize(
    "changes", [{"ring_timeout_s": 4.0}, {"leg_grace_s": 0.0}, {"max_chats": 0}, {"history_kept": 0}]
)
def test_configuration_says_what_is_wrong(changes: dict[str, float]) -> None:
    with pytest.raises(ConfigurationError, match=next(iter(changes))):
        CallConfiguration(**changes)  # type: ignore[arg-type]  # wrong on purpose


def test_pages_of_history_skip_nothing_while_the_oldest_records_are_forgotten() -> None:
    house = House(CallConfiguration(history_kept=4, conversations_per_page=2))
    ana = house.agent()
    sessions: list[str] = []

    def end_another(times: int) -> None:
        for _ in range(times):
            conversation = f"cv_{len(sessions)}"
            vic = house.visitor(f"v{len(sessions)}", conversation=conversation)
            sessions.append(house.request(vic, conversation).session)
            house.ok(ana, CallDecline(sessions[-1]))
            house.ok(ana, ConversationClose(conversation))

    def page(cursor: str | None) -> tuple[list[str], str | None]:
        payload = house.ok(ana, HistoryGet(cursor=cursor))
        return [record.session for record in payload.items], payload.next

    end_another(4)
    first, more = page(None)
    assert first == sessions[:2]
    end_another(1)  # the first is forgotten
    assert page(more) == (sessions[2:4], sessions[3])
    end_another(3)  # and all that the first page showed
    assert page(more) == (sessions[4:6], sessions[5])
    assert page(sessions[5]) == (sessions[6:8], None)
    assert house.fault(ana, HistoryGet(cursor="2")).code == "proto.malformed"


def test_memory_is_bounded_by_configuration() -> None:
    house = House(CallConfiguration(ended_sessions_kept=2, closed_conversations_kept=1))
    ana = house.agent()
    for number in range(4):
        vic = house.visitor(f"v{number}", conversation=f"cv_v{number}")
        session = house.request(vic, f"cv_v{number}").session
        house.ok(ana, CallDecline(session))
        house.ok(ana, ConversationClose(f"cv_v{number}"))
        house.leave(vic)
    world = house.world
    assert len(world.sessions) == len(world.logs) == len(world.told) == len(world.rings) == 2
    assert len(world.conversations) == len(world.conversations_of_visitor) == 1
    assert len(world.session_of_ring) == 2
    assert set(world.devices) == {ana.address}
