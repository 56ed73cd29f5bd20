# ruff: noqa: N802 - test names carry the numbers of docs/calls.md as they are written there
"""Calls as agents and visitors see them: the S-statements of docs/calls.md, in virtual time."""

from __future__ import annotations

import pytest

from support.calls import House, agent_actor, phone_of
from triortc.engine.calls.actor import Permission, Platform, Principal
from triortc.engine.calls.commands import (
    CallAccept,
    CallDecline,
    CallHangup,
    ConversationClose,
    ConversationFilter,
    ConversationList,
    ConversationMessageSend,
    ConversationRead,
    ConversationTag,
    DeviceUpdate,
    HandoffRequest,
    MediaSet,
    PresenceGet,
    RingAck,
    RingOpened,
    RingSilence,
)
from triortc.engine.calls.configuration import CallConfiguration
from triortc.engine.calls.effects import RequestKeyframe
from triortc.engine.calls.media_events import LegLost, LegUp
from triortc.engine.calls.notifications import (
    CallAccepted,
    CallActive,
    CallEnded,
    CallState,
    ConversationChanged,
    ConversationMessage,
    ConversationReminder,
    MediaChanged,
    MediaGateChanged,
    PresenceChanged,
    RingEnded,
    RingOffer,
)
from triortc.engine.calls.presence import CHANNELS


@pytest.fixture
def house() -> House:
    return House()


# --- S1.1 permissions


@pytest.mark.parametrize(
    ("platform", "camera", "action"),
    [
        ("ios", "prompt", "prompt"),
        ("ios", "denied", "open_settings"),
        ("android", "denied", "prompt"),
        ("android", "denied_permanent", "open_settings"),
        ("desktop", "restricted", "none"),
        ("ios", "granted", "none"),
    ],
)
def test_S1_1b_to_1e_the_ring_says_what_to_do_about_permissions(
    house: House, platform: Platform, camera: Permission, action: str
) -> None:
    house.agent()
    mobile = phone_of(house, platform, camera)
    house.request(house.visitor())
    assert house.told(mobile, RingOffer)[0].permission.action == action


def test_S1_1a_accept_without_permission_is_refused_and_the_ring_goes_on(house: House) -> None:
    ana, vic = house.agent(), house.visitor()
    house.ok(ana, DeviceUpdate(perms={"camera": "prompt"}))
    session = house.request(vic).session
    fault = house.fault(ana, CallAccept(session))
    assert (fault.code, fault.details["missing"], fault.details["action"]) == (
        "permission.required",
        ["camera"],
        "prompt",
    )
    assert house.session(session).state == "ringing"
    house.ok(ana, DeviceUpdate(perms={"camera": "granted"}))
    assert house.ok(ana, CallAccept(session)).state == "connecting"


def test_S1_1d_a_device_that_comes_back_from_the_settings_rings_with_what_is_left(house: House) -> None:
    house.agent()
    mobile = phone_of(house, "ios", "denied_permanent")
    session = house.request(house.visitor()).session
    house.advance(4.0)
    fault = house.fault(mobile, CallAccept(session))
    assert fault.details["url"] == "app-settings:"
    house.lose(mobile)
    house.advance(10.0)
    house.resume(mobile)
    assert house.told(mobile, RingOffer)[-1].ttl_ms == 16_000
    house.ok(mobile, DeviceUpdate(perms={"camera": "granted"}))
    assert house.ok(mobile, CallAccept(session)).state == "connecting"


def test_S1_1d_too_late_from_the_settings_is_expired(house: House) -> None:
    house.agent()
    mobile = phone_of(house)
    session = house.request(house.visitor()).session
    house.lose(mobile)
    house.advance(31.0)
    snapshot = house.connect(mobile)
    assert snapshot.rings == ()
    fault = house.fault(mobile, CallAccept(session))
    assert (fault.code, fault.details["outcome"]) == ("call.expired", "no_answer")


# --- S1.3 ringing


def test_S1_3a_every_connected_device_rings_and_the_visitor_learns_of_it(house: House) -> None:
    ana, mobile, vic = house.agent(), phone_of(house), house.visitor()
    requested = house.request(vic)
    offers = [house.told(device, RingOffer)[0] for device in (ana, mobile)]
    assert offers[0].ring == offers[1].ring
    assert offers[0].ttl_ms == 30_000
    assert house.told(vic, CallState)[-1].alerting is False
    house.ok(mobile, RingAck(offers[1].ring))
    state = house.told(vic, CallState)[-1]
    assert (state.state, state.alerting, state.leg) == ("ringing", True, requested.leg)
    house.ok(mobile, RingAck(offers[1].ring))
    assert house.told(vic, CallState)[-1] is state, "the same news is not told twice"


def test_S1_3f_the_visitor_is_told_what_is_left_of_the_ring_also_after_a_reload(house: House) -> None:
    ana, vic = house.agent(), house.visitor()
    house.request(vic)
    assert house.told(vic, CallState)[-1].ttl_ms == 30_000
    house.advance(12.0)
    assert house.connect(vic).sessions[0].ttl_ms == 18_000
    house.ok(ana, CallAccept(next(iter(house.world.sessions))))
    assert house.connect(vic).sessions[0].ttl_ms is None


def test_S1_3b_and_3c_a_leg_warms_up_with_its_gate_closed(house: House) -> None:
    ana, vic = house.agent(), house.visitor()
    requested = house.request(vic)
    leg = house.warm(ana)
    house.media(LegUp(requested.leg or ""))
    house.media(LegUp(leg))
    assert leg in house.open_legs
    assert (house.gate(leg, "video"), house.gate(requested.leg or "", "video")) == ("closed", "closed")
    assert house.ok(ana, CallAccept(requested.session)).leg == leg
    assert house.session(requested.session).state == "active", "both legs are up already"
    assert (house.gate(leg, "video"), house.gate(requested.leg or "", "video")) == ("open", "open")
    assert any(isinstance(effect, RequestKeyframe) and effect.leg == leg for effect in house.effects)


def test_S1_3b_at_most_two_devices_warm_a_leg(house: House) -> None:
    devices = [house.agent(), phone_of(house), agent_actor("ana", "pad")]
    house.connect(devices[2])
    house.request(house.visitor())
    legs = [house.ok(device, RingOpened(house.ring(device))).leg for device in devices]
    assert [leg is None for leg in legs] == [False, False, True]
    assert house.ok(devices[2], CallAccept(next(iter(house.world.sessions)))).leg is not None


def test_S1_3d_silence_is_for_one_device_only(house: House) -> None:
    ana, mobile, vic = house.agent(), phone_of(house), house.visitor()
    session = house.request(vic).session
    house.ok(mobile, RingSilence(house.ring(mobile)))
    assert house.session(session).state == "ringing"
    assert not house.told(ana, RingEnded)


def test_S1_3e_go_starts_the_call_on_both_sides(house: House) -> None:
    ana, mobile, vic = house.agent(), phone_of(house), house.visitor()
    session, _, leg = house.active(vic, ana)
    ended = house.told(mobile, RingEnded)[0]
    assert (ended.reason, ended.log_missed) == ("answered_elsewhere", False)
    assert ended.by is not None
    assert ended.by.platform == "desktop"
    assert house.told(vic, CallAccepted)[0].agent.display_name == "Ana"
    assert house.told(vic, CallActive)
    assert house.told(ana, CallActive)
    assert {(item.kind, item.state) for item in house.told(ana, MediaGateChanged)} == {
        ("audio", "open"),
        ("video", "open"),
    }
    house.advance(12.5)
    house.ok(ana, CallHangup(session))
    record = house.history.find("org")[0]
    assert record.talk_ms == 12_500
    assert record.answered_at is not None
    assert (leg, "video") in {(entry[0], entry[1]) for entry in record.gate_intervals}


@pytest.mark.parametrize(("at", "code"), [(29.999, None), (30.000, None), (30.001, "call.expired")])
def test_S1_3f_accept_until_30_000_is_ok_and_at_30_001_expired(house: House, at: float, code: str | None) -> None:
    ana, vic = house.agent(), house.visitor()
    session = house.request(vic).session
    house.now += at
    reply = house.send(ana, CallAccept(session))
    assert getattr(reply, "code", None) == code


def test_S1_3g_and_3h_no_answer_ends_and_the_conversation_stays_with_an_icon(house: House) -> None:
    ana, vic = house.agent(), house.visitor()
    house.agent("ben", "desk2")
    session = house.request(vic).session
    house.advance(30.0)
    assert house.session(session).outcome == "no_answer"
    assert len(house.world.claims) == 0, "nobody else is rung"
    for device in (vic, ana):
        ended = house.told(device, CallEnded)
        assert [(item.outcome, item.reason) for item in ended] == [("no_answer", "ring_timeout")]
    assert house.told(ana, RingEnded)[0].log_missed
    item = house.ok(ana, ConversationList()).items[0]
    assert (item.state, item.video_icon, item.last_video.outcome) == ("open", True, "no_answer")


def test_S1_3i_and_3j_decline_ends_the_call_for_all_devices_and_leaves_the_chat(house: House) -> None:
    ana, mobile, vic = house.agent(), phone_of(house), house.visitor()
    session = house.request(vic).session
    payload = house.ok(mobile, CallDecline(session))
    assert (payload.next, payload.conversation) == ("conversation_list", "cv_1")
    assert house.told(ana, RingEnded)[0].reason == "declined_elsewhere"
    assert house.told(mobile, RingEnded)[0].reason == "declined_here"
    house.ok(ana, ConversationMessageSend("cv_1", "can I help?"))
    house.ok(vic, ConversationMessageSend("cv_1", "yes"))
    assert house.told(vic, ConversationMessage)[0].text == "can I help?"
    assert house.told(ana, ConversationMessage)[0].notify


def test_A21_the_visitor_cannot_tell_a_decline_from_no_answer(house: House) -> None:
    ana, vic = house.agent(), house.visitor()
    session = house.request(vic).session
    house.ok(ana, CallDecline(session))
    seen, own = house.told(vic, CallEnded)[0], house.told(ana, CallEnded)[0]
    assert (seen.outcome, seen.reason, seen.by) == ("no_answer", "ring_timeout", "system")
    assert (own.outcome, own.reason, own.by) == ("declined", "agent_declined", "agent")
    again = house.ok(vic, CallHangup(session))
    assert (again.outcome, again.already_ended) == ("no_answer", True)
    last = house.told(vic, ConversationChanged)[-1].last_video
    assert last is not None
    assert last.outcome == "no_answer"
    assert house.history.find("org")[0].outcome == "declined"


def test_A21_policy_may_show_a_decline() -> None:
    house = House(CallConfiguration(visitor_sees_decline=True))
    ana, vic = house.agent(), house.visitor()
    house.ok(ana, CallDecline(house.request(vic).session))
    assert house.told(vic, CallEnded)[0].outcome == "declined"


# --- S1.4 in the call


def test_S1_4a_messages_notify_during_a_call(house: House) -> None:
    ana, vic = house.agent(), house.visitor()
    session, _, _ = house.active(vic, ana)
    message = house.ok(vic, ConversationMessageSend("cv_1", "look")).message
    assert house.told(ana, ConversationMessage)[0].notify
    assert house.ok(ana, ConversationList()).items[0].unread == 1
    house.ok(ana, ConversationRead("cv_1", message))
    assert house.ok(ana, ConversationList()).items[0].unread == 0
    assert house.session(session).state == "active"


def test_S1_4c_a_mute_closes_the_gate_and_the_last_command_counts(house: House) -> None:
    ana, vic = house.agent(), house.visitor()
    session, _, leg = house.active(vic, ana)
    house.ok(ana, MediaSet(session, 1, camera=False))
    assert (house.gate(leg, "video"), house.gate(leg, "audio")) == ("muted", "open")
    assert house.told(vic, MediaChanged)[-1].camera is False
    house.ok(ana, MediaSet(session, 2, camera=True))
    assert any(isinstance(effect, RequestKeyframe) for effect in house.effects)
    assert house.ok(ana, MediaSet(session, 1, camera=False)).stale is True, "R21: out of date"
    assert house.gate(leg, "video") == "open"


def test_S1_4d_and_4f_camera_and_orientation_are_told_to_the_other_side(house: House) -> None:
    ana, vic = house.agent(), house.visitor()
    session, _, _ = house.active(vic, ana)
    house.ok(ana, MediaSet(session, 1, facing="back", orientation=90, camera_state="interrupted"))
    changed = house.told(vic, MediaChanged)[-1]
    assert (changed.side, changed.facing, changed.orientation, changed.camera_state) == (
        "agent",
        "back",
        90,
        "interrupted",
    )
    assert house.session(session).state == "active"


def test_S1_4e_4i_and_4j_the_end_is_final(house: House) -> None:
    ana, vic = house.agent(), house.visitor()
    session, _, leg = house.active(vic, ana)
    ended = house.ok(ana, CallHangup(session))
    assert (ended.outcome, ended.reason, ended.next) == ("completed", "agent_hangup", "conversation")
    assert house.gate(leg, "video") == "sealed"
    assert house.fault(ana, MediaSet(session, 5, camera=True)).code == "call.ended"
    assert house.fault(ana, CallAccept(session)).code == "call.ended"
    assert house.fault(ana, HandoffRequest(session)).code == "call.ended"
    assert house.ok(ana, CallDecline(session)).already_ended
    assert house.session(session).ended


def test_S1_4h_the_app_in_the_background_changes_no_gate(house: House) -> None:
    ana, vic = house.agent(), house.visitor()
    session, _, leg = house.active(vic, ana)
    house.ok(ana, DeviceUpdate(app_state="background"))
    assert house.gate(leg, "video") == "open"
    assert house.session(session).state == "active"


def test_S1_4l_tags_before_with_and_after_the_close(house: House) -> None:
    ana, vic = house.agent(), house.visitor()
    session, _, _ = house.active(vic, ana)
    house.ok(vic, CallHangup(session))
    house.ok(ana, ConversationTag("cv_1", ("sofa",)))
    house.ok(ana, ConversationClose("cv_1", tags=("sofa", "sold")))
    house.ok(ana, ConversationTag("cv_1", ("sold",)))
    listed = house.ok(ana, ConversationList(filter=ConversationFilter(state=("closed",)))).items
    assert [(item.state, item.tags) for item in listed] == [("closed", ("sold",))]
    assert house.told(vic, ConversationChanged)[-1].tags == (), "tags are not for visitors"


def test_S1_4m_nothing_closes_a_conversation_but_its_command(house: House) -> None:
    ana, vic = house.agent(), house.visitor()
    session, _, _ = house.active(vic, ana)
    house.ok(vic, CallHangup(session))
    house.leave(vic)
    house.advance(8 * 24 * 3600.0)
    assert house.world.conversations[("org", "cv_1")].state == "open"


# --- S1.5 one at a time


def test_S1_5a_5c_and_5d_orange_from_the_ring_to_the_close(house: House) -> None:
    ana, vic = house.agent(), house.visitor()
    seen: dict[str, str] = {}

    def look() -> dict[str, str]:
        for status in house.ok(ana, PresenceGet()).items:
            seen[status.channel] = status.effective
            assert status.declared == "available"
            if status.effective == "busy":
                assert status.color == "orange"
                assert status.api == ("UNAVAILABLE_FORCED" if status.channel in ("call", "video") else "BUSY")
        return seen

    busy, free = dict.fromkeys(CHANNELS, "busy"), dict.fromkeys(CHANNELS, "available")
    assert look() == free
    requested = house.request(vic)
    assert look() == busy, "from the ring on"
    refused = house.request(house.visitor("wim", conversation="cv_2"), "cv_2")
    assert (refused.state, refused.reason) == ("ended", "agent_busy")
    session, leg = requested.session, house.ok(ana, CallAccept(requested.session)).leg
    house.media(LegUp(requested.leg or ""))
    house.media(LegUp(leg))
    assert look() == busy
    assert "in_video" in house.told(ana, PresenceChanged)[-1].reasons
    house.ok(vic, CallHangup(session))
    assert look() == busy
    house.ok(ana, ConversationClose("cv_1"))
    assert look() == free


def test_A3_after_a_missed_call_the_open_chat_blocks_video_but_not_chat(house: House) -> None:
    ana, vic = house.agent(), house.visitor()
    house.request(vic)
    house.advance(30.0)
    statuses = {status.channel: status for status in house.ok(ana, PresenceGet()).items}
    assert statuses["video"].reasons == ("ongoing_chat",)
    assert statuses["chat"].effective == "available"


def test_A3_policy_may_free_the_channels_when_the_video_ends() -> None:
    house = House(CallConfiguration(hold_channels_until="video_ended"))
    ana, vic = house.agent(), house.visitor()
    session, _, _ = house.active(vic, ana)
    house.ok(vic, CallHangup(session))
    statuses = {status.channel: status.effective for status in house.ok(ana, PresenceGet()).items}
    assert (statuses["chat"], statuses["video"]) == ("available", "busy")


def test_S1_5b_one_of_a_hundred_requests_rings(house: House) -> None:
    house.agent()
    replies = []
    for number in range(100):
        visitor = house.visitor(f"v{number}", conversation=f"cv_v{number}")
        replies.append(house.request(visitor, f"cv_v{number}"))
    assert [reply.state for reply in replies].count("ringing") == 1
    assert {(reply.outcome, reply.reason) for reply in replies[1:]} == {("unavailable", "agent_busy")}


def test_S1_5e_an_open_chat_or_call_keeps_video_busy(house: House) -> None:
    ana, vic = house.agent(), house.visitor()
    house.ok(vic, ConversationMessageSend("cv_1", "hi"))
    wim = house.visitor("wim", conversation="cv_2")
    assert house.request(wim, "cv_2").reason == "agent_busy"
    house.ok(ana, ConversationClose("cv_1"))
    agent = Principal("org", "agent", "ana")
    house.perform(house.control.occupy(agent, "call", "outside", house.now))
    assert house.request(wim, "cv_2").reason == "agent_busy"
    house.perform(house.control.vacate(agent, "call", "outside", house.now))
    assert house.request(wim, "cv_2").state == "ringing"


def test_reasons_of_unavailable(house: House) -> None:
    vic = house.visitor()
    assert house.request(vic).reason == "no_agent_available"
    ana = house.agent()
    house.lose(ana)
    assert house.request(vic).reason == "no_reachable_device"
    assert house.world.conversations[("org", "cv_1")].assignee is None
    house.advance(35.0)
    assert house.request(vic).reason == "no_agent_available", "P4: too long without a device"
    assert [event.outcome for event in house.told(vic, CallEnded)] == ["unavailable"] * 3


# --- S1.7 closing


def test_S1_7b_reminders_to_close_stop_with_the_close(house: House) -> None:
    ana, mobile, vic = house.agent(), phone_of(house), house.visitor()
    session, _, _ = house.active(vic, ana)
    house.ok(vic, CallHangup(session))
    house.advance(29.9)
    assert not house.told(ana, ConversationReminder)
    house.advance(0.1)
    assert [item.n for item in house.told(ana, ConversationReminder)] == [1]
    assert not house.told(mobile, ConversationReminder), "only the device that was in the call"
    house.advance(300.0)
    assert [item.n for item in house.told(ana, ConversationReminder)] == [1, 2]
    house.ok(ana, ConversationClose("cv_1"))
    house.advance(1000.0)
    assert len(house.told(ana, ConversationReminder)) == 2


def test_S1_7b_three_reminders_at_most_and_none_after_an_answer_by_chat(house: House) -> None:
    ana, vic = house.agent(), house.visitor()
    session, _, _ = house.active(vic, ana)
    house.ok(vic, CallHangup(session))
    house.advance(2000.0)
    assert len(house.told(ana, ConversationReminder)) == 3
    assert house.world.timers == {}


# --- S3.3, S3.8 hanging up and chatting on


@pytest.mark.parametrize("side", ["agent", "visitor"])
@pytest.mark.parametrize("state", ["connecting", "active", "reconnecting", "handoff"])
def test_S3_3a_both_sides_may_hang_up_at_any_moment(house: House, side: str, state: str) -> None:
    """S3.8a, S3.8b: the same, and the chat goes on."""
    ana, mobile, vic = house.agent(), phone_of(house), house.visitor()
    session, visitor_leg, leg = house.answered(vic, ana) if state == "connecting" else house.active(vic, ana)
    if state == "reconnecting":
        house.media(LegLost(visitor_leg))
    if state == "handoff":
        house.pull(mobile, session)
    assert house.session(session).state == state
    house.ok(ana if side == "agent" else vic, CallHangup(session))
    assert house.session(session).reason == f"{side}_hangup"
    assert house.gate(leg, "video") == "sealed"
    house.ok(vic, ConversationMessageSend("cv_1", "thank you"))
