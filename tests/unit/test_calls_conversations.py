# ruff: noqa: N802 - test names carry the numbers of docs/calls.md as they are written there
"""Conversations between and around their videos: put off, given away, closed, listed, reminded of (table K)."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from support.calls import House, agent_actor, visitor_actor
from support.calls_scenes import scene
from support.conversations import SUPERVISOR, TO_BEN, ben_of, chat, status, thread
from triortc.engine.calls import threads
from triortc.engine.calls.actor import Principal
from triortc.engine.calls.commands import (
    CallAccept,
    CallDecline,
    CallHangup,
    CallRequest,
    Command,
    ConversationClose,
    ConversationFilter,
    ConversationFocus,
    ConversationList,
    ConversationMessageSend,
    ConversationRead,
    ConversationSnooze,
    ConversationTag,
    ConversationTransfer,
    InvitationCancel,
    InvitationJoin,
    InvitationSend,
)
from triortc.engine.calls.configuration import CallConfiguration
from triortc.engine.calls.notifications import (
    CallEnded,
    ConversationChanged,
    ConversationMessage,
    ConversationReminder,
    PresenceChanged,
)
from triortc.engine.calls.presence import CHANNELS
from triortc.engine.calls.replies import CallFault, Ok


@pytest.fixture
def house() -> House:
    return House()


# --- K2, K5: put off


def test_K2_a_snoozed_chat_occupies_nobody_and_a_video_may_ring(house: House) -> None:
    """S1.5e, I31: only open chats keep video busy."""
    ana, vic, wim = house.agent(), house.visitor(), house.visitor("wim", conversation="cv_2")
    chat(house, vic)
    assert status(house, ana, "video") == ("busy", ("ongoing_chat",))
    assert house.request(wim, "cv_2").outcome == "unavailable"
    house.ok(ana, ConversationSnooze("cv_1"))
    assert house.told(ana, ConversationChanged)[-1].state == "snoozed"
    assert status(house, ana, "video") == ("available", ())
    assert house.request(wim, "cv_2").state == "ringing"


def test_K5_what_the_visitor_writes_wakes_a_snoozed_conversation(house: House) -> None:
    ana, vic = house.agent(), house.visitor()
    chat(house, vic)
    house.ok(ana, ConversationSnooze("cv_1"))
    house.ok(ana, ConversationMessageSend("cv_1", "one moment"))
    assert thread(house).state == "snoozed", "the agent's own words do not wake it (K1)"
    house.forget_told()
    house.ok(vic, ConversationMessageSend("cv_1", "are you there?"))
    assert (thread(house).state, thread(house).assignee) == ("open", "ana")
    assert house.told(ana, ConversationMessage)[-1].text == "are you there?"
    assert house.told(ana, ConversationChanged)[-1].state == "open"
    assert status(house, ana, "video") == ("busy", ("ongoing_chat",))


def test_K5_waking_may_make_an_agent_busy_but_ends_no_call(house: House) -> None:
    ana, vic, wim = house.agent(), house.visitor(), house.visitor("wim", conversation="cv_2")
    chat(house, wim, "cv_2")
    house.ok(ana, ConversationSnooze("cv_2"))
    session, _, _ = house.active(vic, ana)
    house.ok(wim, ConversationMessageSend("cv_2", "hello again"))
    assert thread(house, "cv_2").state == "open"
    assert house.session(session).state == "active"
    house.finish(vic, ana, session)
    assert status(house, ana, "video") == ("busy", ("ongoing_chat",))


def test_K5_a_time_may_be_given_until_which_it_sleeps(house: House) -> None:
    ana, vic = house.agent(), house.visitor()
    chat(house, vic)
    until = house.world.unix_ms(house.now + 600.0)
    house.ok(ana, ConversationSnooze("cv_1", until))
    assert house.told(ana, ConversationChanged)[-1].snoozed_until_at == until
    house.advance(599.0)
    assert thread(house).state == "snoozed"
    house.advance(1.0)
    assert thread(house).state == "open"
    assert house.told(ana, ConversationChanged)[-1].snoozed_until_at is None
    assert status(house, ana, "video") == ("busy", ("ongoing_chat",))


def test_K2_snoozing_again_changes_the_time_and_a_time_past_opens_it(house: House) -> None:
    ana, vic = house.agent(), house.visitor()
    chat(house, vic)
    house.ok(ana, ConversationSnooze("cv_1", house.world.unix_ms(house.now + 10.0)))
    house.ok(ana, ConversationSnooze("cv_1"))
    house.advance(3600.0)
    assert thread(house).state == "snoozed"
    house.ok(ana, ConversationSnooze("cv_1", 0))
    assert thread(house).state == "open"
    assert house.next_deadline() is None


def test_K5_a_timer_of_a_conversation_closed_meanwhile_does_nothing(house: House) -> None:
    ana, vic = house.agent(), house.visitor()
    chat(house, vic)
    house.ok(ana, ConversationSnooze("cv_1", house.world.unix_ms(house.now + 10.0)))
    house.ok(ana, ConversationClose("cv_1"))
    house.advance(20.0)
    assert (thread(house).state, house.next_deadline()) == ("closed", None)


def test_a_conversation_that_nobody_has_cannot_be_put_off(house: House) -> None:
    vic = house.visitor()
    house.connect(SUPERVISOR)
    chat(house, vic)
    assert house.fault(SUPERVISOR, ConversationSnooze("cv_1")).code == "conversation.not_open"


# --- V21, V40, V41 with every operation


OPERATIONS: dict[str, Callable[[bool], Command]] = {
    "transferred": lambda end_video: ConversationTransfer("cv_1", TO_BEN, end_video=end_video),
    "snoozed": lambda end_video: ConversationSnooze("cv_1", end_video=end_video),
    "closed": lambda end_video: ConversationClose("cv_1", end_video=end_video),
}


@pytest.mark.parametrize("operation", OPERATIONS)
def test_V21_the_ring_of_a_conversation_that_is_put_away_is_cancelled_first(house: House, operation: str) -> None:
    """I33: the visitor sees the video cancelled before any event of the conversation."""
    ana, vic = house.agent(), house.visitor()
    session = house.request(vic).session
    ben_of(house)
    house.forget_told()
    house.ok(ana, OPERATIONS[operation](False))
    ended = house.session(session)
    assert (ended.outcome, ended.reason) == ("cancelled", f"conversation_{operation}")
    assert vic.address is not None
    kinds = [type(item) for item in house.inbox[vic.address]]
    assert kinds.index(CallEnded) < kinds.index(ConversationChanged), "first the video, then the conversation"
    assert thread(house).live_session is None


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("state", ["connecting", "active", "reconnecting", "handoff"])
def test_A22_V40_V41_a_running_video_is_ended_only_by_the_word(state: str, operation: str) -> None:
    found = scene(state)
    house = found.house
    ben_of(house)
    fault = house.fault(found.ana, OPERATIONS[operation](False))
    assert (fault.code, found.state, found.last_row) == ("conversation.video_active", state, "V40")
    assert (thread(house).state, thread(house).assignee) == ("open", "ana")
    house.ok(found.ana, OPERATIONS[operation](True))
    assert (found.end, found.last_row) == ("completed/agent_hangup", "V41")
    expected = {"transferred": ("open", "ben"), "snoozed": ("snoozed", "ana"), "closed": ("closed", "ana")}
    assert (thread(house).state, thread(house).assignee) == expected[operation]
    assert not any(key[0] == "T_close_reminder" for key in house.world.timers)
    found.house.check_replay(found.session)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_A3_orange_ends_when_the_conversation_of_the_video_is_put_away(house: House, operation: str) -> None:
    """S1.7a: closing makes video green again; snoozing and transferring, too."""
    ana, vic = house.agent(), house.visitor()
    session, _, _ = house.active(vic, ana)
    ben_of(house)
    house.ok(ana, CallHangup(session))
    assert status(house, ana, "chat") == ("busy", ("wrap_up",))
    house.forget_told()
    house.ok(ana, OPERATIONS[operation](False))
    assert status(house, ana, "video") == status(house, ana, "chat") == ("available", ())
    assert {item.channel for item in house.told(ana, PresenceChanged)} == set(CHANNELS)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_S1_7b_reminders_stop_when_the_conversation_is_put_away(house: House, operation: str) -> None:
    ana, vic = house.agent(), house.visitor()
    session, _, _ = house.active(vic, ana)
    ben = ben_of(house)
    house.ok(ana, CallHangup(session))
    house.advance(30.0)
    assert [item.n for item in house.told(ana, ConversationReminder)] == [1]
    house.ok(ana, OPERATIONS[operation](False))
    house.advance(10_000.0)
    assert len(house.told(ana, ConversationReminder)) == 1
    assert not house.told(ben, ConversationReminder)


def test_S1_7b_an_agent_who_writes_again_has_not_forgotten_the_conversation(house: House) -> None:
    ana, vic = house.agent(), house.visitor()
    session, _, _ = house.active(vic, ana)
    house.ok(ana, CallHangup(session))
    house.ok(vic, ConversationMessageSend("cv_1", "One more thing"))
    house.advance(30.0)
    assert [item.n for item in house.told(ana, ConversationReminder)] == [1], "what the visitor writes is no sign of it"
    house.ok(ana, ConversationMessageSend("cv_1", "Yes?"))
    house.advance(10_000.0)
    assert len(house.told(ana, ConversationReminder)) == 1


def test_S1_7b_reminders_come_30_s_and_then_300_s_apart_to_the_device_of_the_call(house: House) -> None:
    ana, phone, vic = house.agent(), house.agent("ana", "phone", "ios"), house.visitor()
    session, _, _ = house.active(vic, phone)
    house.ok(phone, CallHangup(session))
    hung_up = house.now
    seen: list[tuple[float, int]] = []
    while (deadline := house.next_deadline()) is not None:
        house.advance(deadline - house.now)
        reminders = [item.n for item in house.told(phone, ConversationReminder)]
        if len(reminders) > len(seen):
            seen.append((house.now - hung_up, reminders[-1]))
    assert seen == [(30.0, 1), (330.0, 2), (630.0, 3)]
    assert not house.told(ana, ConversationReminder)


def test_S1_7b_nobody_is_reminded_to_close_while_another_video_is_on_in_the_conversation(house: House) -> None:
    ana, vic = house.agent(), house.visitor()
    first, _, _ = house.active(vic, ana)
    house.ok(ana, CallHangup(first))
    house.advance(29.0)
    invitation = house.ok(ana, InvitationSend("cv_1")).invitation
    house.ok(ana, InvitationJoin(invitation))
    house.advance(100.0)
    assert not house.told(ana, ConversationReminder)
    house.ok(ana, InvitationCancel(invitation))
    house.advance(30.0)
    assert [item.n for item in house.told(ana, ConversationReminder)] == [1], "the first video is still to be closed"


# --- K0b, and servers that embed the engine


def test_K0b_a_full_desk_gets_no_fourth_chat_until_one_is_put_off(house: House) -> None:
    ana = house.agent()
    visitors = [house.visitor(f"v{number}", conversation=f"cv_{number}") for number in range(4)]
    for number, vic in enumerate(visitors):
        chat(house, vic, f"cv_{number}")
    assert thread(house, "cv_3").assignee is None
    assert status(house, ana, "chat") == ("busy", ("slots_full",))
    house.ok(ana, ConversationSnooze("cv_0"))
    assert thread(house, "cv_3").assignee == "ana", "the one that waited comes at once"
    house.ok(visitors[0], ConversationMessageSend("cv_0", "back again"))
    assert thread(house, "cv_0").assignee == "ana"
    assert len(house.world.agents[ana.principal].chats) == 4, "waking never loses a conversation"


def assigned(house: House, agent: str, *, even_if_busy: bool = False) -> object:
    effects = house.control.assign_conversation("org", "cv_7", agent, house.now, even_if_busy=even_if_busy)
    return house.perform(effects)


def test_S1_5d_a_server_cannot_assign_a_chat_to_an_agent_in_a_routed_video(house: House) -> None:
    ana, vic = house.agent(), house.visitor()
    house.control.open_conversation(Principal("org", "visitor", "wim"), "cv_7", None, house.now)
    session, _, _ = house.active(vic, ana)
    busy = assigned(house, "ana")
    assert isinstance(busy, CallFault)
    assert (busy.code, busy.details["reasons"]) == ("agent.busy", ["in_video"])
    house.finish(vic, ana, session)
    assert assigned(house, "ana") == Ok()
    assert thread(house, "cv_7").assignee == "ana"


def test_I28_a_chat_whose_queued_video_ended_counts_for_who_was_assigned_meanwhile() -> None:
    house = House(CallConfiguration(queue_size=1))
    ana, vic = house.agent(), house.visitor()
    house.perform(house.control.occupy(ana.principal, "call", "x", house.now))
    session = house.request(vic).session
    assert house.session(session).state == "queued"
    assert house.perform(house.control.assign_conversation("org", "cv_1", "ana", house.now)) == Ok()
    house.ok(vic, CallHangup(session))
    assert "ongoing_chat" in status(house, ana, "video")[1]


def test_P2_of_several_views_in_one_step_a_device_gets_the_last(house: House) -> None:
    """I23: else one of them could come behind the end of the call that it shows as live."""
    vic = house.visitor()
    chat(house, vic)
    conversation, version = thread(house), thread(house).version
    for _ in range(3):
        threads.tell_changed(house.world, conversation)
    house.forget_told()
    house.perform(house.world.take_effects())
    assert [item.version for item in house.told(vic, ConversationChanged)] == [version + 3]


def test_a_server_learns_why_a_chat_was_not_assigned_and_may_insist(house: House) -> None:
    house.agent(available=False)
    house.control.open_conversation(Principal("org", "visitor", "wim"), "cv_7", None, house.now)
    codes = [getattr(assigned(house, agent), "code", "") for agent in ("ana", "nobody")]
    assert codes == ["agent.unavailable", "state.not_found"]
    assert thread(house, "cv_7").assignee is None
    assert assigned(house, "ana", even_if_busy=True) == Ok()
    assert assigned(house, "ben") == Ok(), "one that is assigned is left as it is"
    assert thread(house, "cv_7").assignee == "ana"
    missing = house.perform(house.control.assign_conversation("org", "cv_8", "ana", house.now))
    assert isinstance(missing, CallFault)
    assert missing.code == "state.not_found"


@pytest.mark.parametrize("kind", ["call", "third_party"])
def test_S1_5e_what_an_agent_does_outside_of_the_engine_counts(house: House, kind: str) -> None:
    ana, vic = house.agent(), house.visitor()
    house.perform(house.control.occupy(ana.principal, kind, "x1", house.now))
    assert house.request(vic).state == ("ended" if kind == "call" else "ringing")
    house.perform(house.control.vacate(ana.principal, kind, "x1", house.now))
    assert status(house, ana, "call")[0] == ("available" if kind == "call" else "busy")


# --- the list


def test_the_list_pages_through_all_even_while_new_ones_come_and_old_ones_go() -> None:
    house = House(CallConfiguration(conversations_per_page=2, max_chats=50, closed_conversations_kept=1))
    ana = house.agent()
    for number in range(5):
        chat(house, house.visitor(f"v{number}", conversation=f"cv_{number}"), f"cv_{number}")
        house.advance(1.0)
    first = house.ok(ana, ConversationList())
    assert [item.conversation for item in first.items] == ["cv_4", "cv_3"]
    chat(house, house.visitor("late", conversation="cv_late"), "cv_late")
    for gone in ("cv_3", "cv_4"):
        house.ok(ana, ConversationClose(gone))
    second = house.ok(ana, ConversationList(first.next))
    third = house.ok(ana, ConversationList(second.next))
    assert [item.conversation for item in (*second.items, *third.items)] == ["cv_2", "cv_1", "cv_0"]
    assert third.next is None
    again = house.connect(ana)
    assert [item.conversation for item in again.conversations] == ["cv_late", "cv_2"]
    assert [item.conversation for item in house.ok(ana, ConversationList(again.next)).items] == ["cv_1", "cv_0"]
    for wrong in ("7", "x.cv", ".cv_1", "9" * 30 + ".cv_1"):
        assert house.fault(ana, ConversationList(wrong)).code == "proto.malformed"


def test_the_list_shows_what_its_filter_asks_for(house: House) -> None:
    """S1.3h: open and snoozed ones by default; the video icon finds missed calls."""
    ana, vic = house.agent(), house.visitor("victor")
    wim, xia = house.visitor("wim", conversation="cv_2"), house.visitor("xia", conversation="cv_3")
    house.ok(ana, CallDecline(house.request(vic).session))
    chat(house, wim, "cv_2")
    chat(house, xia, "cv_3")
    house.ok(ana, ConversationSnooze("cv_2"))
    house.ok(ana, ConversationTag("cv_3", ("Shoes",)))
    house.ok(ana, ConversationClose("cv_3"))

    def listed(wanted: ConversationFilter | None) -> set[str]:
        return {item.conversation for item in house.ok(ana, ConversationList(filter=wanted)).items}

    assert listed(None) == {"cv_1", "cv_2"}
    assert listed(ConversationFilter(state=("closed",))) == {"cv_3"}
    assert listed(ConversationFilter(state=("open", "snoozed", "closed"))) == {"cv_1", "cv_2", "cv_3"}
    assert listed(ConversationFilter(video_icon=True)) == {"cv_1"}
    assert listed(ConversationFilter(state=("closed",), text="shoe")) == {"cv_3"}
    assert listed(ConversationFilter(text="VICTOR")) == {"cv_1"}


def test_K1_a_message_goes_to_the_other_side_and_reading_counts_down_what_is_unread(house: House) -> None:
    ana, vic = house.agent(), house.visitor()
    ids = [house.ok(vic, ConversationMessageSend("cv_1", text)).message for text in ("one", "two", "three")]
    assert house.told(ana, ConversationChanged)[-1].unread + len(thread(house).unread_by_agent) >= 3
    house.ok(ana, ConversationRead("cv_1", ids[1]))
    assert house.told(ana, ConversationChanged)[-1].unread == 1
    house.ok(ana, ConversationRead("cv_1", ids[0]))
    assert list(thread(house).unread_by_agent) == [ids[2]]
    house.ok(ana, ConversationMessageSend("cv_1", "answer"))
    assert house.ok(ana, ConversationRead("cv_1", "m_unknown")) is not None
    assert len(thread(house).unread_by_visitor) == 1


def test_S3_2a_looking_at_and_writing_in_another_conversation_leaves_the_call_alone(house: House) -> None:
    """S1.4b, S1.4k, S3.3b: chat goes on beside and after the video."""
    ana, vic = house.agent(), house.visitor()
    session, _, leg = house.active(vic, ana)
    house.control.open_conversation(Principal("org", "visitor", "wim"), "cv_2", None, house.now)
    house.perform(house.control.assign_conversation("org", "cv_2", "ana", house.now, even_if_busy=True))
    log, gates = len(house.control.event_log(session)), dict(house.gates)
    house.ok(ana, ConversationFocus("cv_2"))
    house.ok(ana, ConversationMessageSend("cv_2", "one moment"))
    house.ok(ana, ConversationMessageSend("cv_1", "do you see it?"))
    house.ok(vic, ConversationMessageSend("cv_1", "yes"))
    assert house.told(ana, ConversationMessage)[-1].notify
    assert (len(house.control.event_log(session)), house.gates) == (log, gates)
    assert house.gate(leg, "video") == "open"
    house.ok(vic, CallHangup(session))
    house.ok(ana, ConversationMessageSend("cv_1", "goodbye"))
    assert house.told(vic, ConversationMessage)[-1].text == "goodbye"


def test_K9_a_closed_conversation_stays_closed_and_a_new_contact_makes_a_new_one(house: House) -> None:
    """I27: nothing but its command closes a conversation, and nothing opens it again."""
    ana, vic = house.agent(), visitor_actor("vic", "tab", "cv_1", "cv_2")
    house.connect(vic)
    chat(house, vic)
    house.ok(ana, ConversationClose("cv_1", ("done",)))
    house.ok(ana, ConversationClose("cv_1"))
    assert house.fault(vic, ConversationMessageSend("cv_1", "?")).code == "conversation.closed"
    chat(house, vic, "cv_2")
    assert (thread(house).state, thread(house, "cv_2").state) == ("closed", "open")
    house.ok(ana, ConversationTag("cv_1", ("late",)))
    assert thread(house).tags == ("late",)


def test_A19_the_video_icon_comes_with_the_first_ring_and_stays(house: House) -> None:
    ana, vic = house.agent(), house.visitor()
    chat(house, vic)
    assert not thread(house).video_icon
    house.ok(ana, ConversationClose("cv_1"))
    house.visitor("wim", conversation="cv_2")
    session = house.request(visitor_actor("wim", "tab", "cv_2"), "cv_2").session
    assert thread(house, "cv_2").video_icon
    house.ok(ana, CallAccept(session))
    house.ok(ana, CallHangup(session))
    house.ok(ana, ConversationSnooze("cv_2"))
    assert thread(house, "cv_2").video_icon
    assert agent_actor("ana", "desk").principal == ana.principal


def test_K0_a_visitors_second_request_after_a_transfer_is_refused_while_somebody_has_it(house: House) -> None:
    ana, vic = house.agent(), house.visitor()
    house.ok(ana, CallDecline(house.request(vic).session))
    ben_of(house)
    house.ok(ana, ConversationTransfer("cv_1", TO_BEN))
    assert house.fault(vic, CallRequest("cv_1")).details["use"] == "invitation"
