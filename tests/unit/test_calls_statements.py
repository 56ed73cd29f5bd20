# ruff: noqa: N802 - test names carry the numbers of docs/calls.md as they are written there
"""Calls as agents and visitors see them: the S-statements of docs/calls.md, in virtual time."""

from __future__ import annotations

from dataclasses import replace
from typing import get_args

import pytest

from support.calls import ALL_CAPS, House, agent_actor, information, visitor_actor
from triortc.engine.calls.actor import Actor, Permission, Platform, Principal
from triortc.engine.calls.commands import (
    CallAccept,
    CallCancel,
    CallDecline,
    CallEnd,
    CallHangup,
    CallRequest,
    Command,
    ConversationClose,
    ConversationFilter,
    ConversationFocus,
    ConversationList,
    ConversationMessageSend,
    ConversationRead,
    ConversationTag,
    DeviceRevoke,
    DeviceUpdate,
    HandoffCancel,
    HandoffOffer,
    HandoffRequest,
    HistoryGet,
    MediaSet,
    PresenceGet,
    PresenceSet,
    RingAck,
    RingOpened,
    RingSilence,
    SyncGet,
)
from triortc.engine.calls.configuration import CallConfiguration
from triortc.engine.calls.effects import RequestKeyframe
from triortc.engine.calls.media_events import LegFailed, LegLost, LegReady, LegRecovered, LegUp
from triortc.engine.calls.notifications import (
    CallAccepted,
    CallActive,
    CallEnded,
    CallPeer,
    CallState,
    ConversationChanged,
    ConversationMessage,
    ConversationReminder,
    ConversationRemoved,
    HandoffFailed,
    HandoffMoved,
    HandoffStarted,
    HandoffSuggested,
    MediaChanged,
    MediaGateChanged,
    PresenceChanged,
    RingEnded,
    RingOffer,
)
from triortc.engine.calls.presence import CHANNELS
from triortc.errors import ConfigurationError


@pytest.fixture
def house() -> House:
    return House()


def phone_of(house: House, platform: Platform = "ios", camera: Permission = "granted", device: str = "phone") -> Actor:
    actor = agent_actor("ana", device)
    house.connect(actor, information(device, platform, camera))
    return actor


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


# --- S2 change of device


def test_S2_1a_another_device_sees_that_it_can_pull(house: House) -> None:
    ana, vic = house.agent(), house.visitor()
    house.active(vic, ana)
    mobile = agent_actor("ana", "phone")
    live = house.connect(mobile, information("phone", "ios")).conversations[0].live_session
    assert live is not None
    assert live.can_pull
    assert live.device is not None
    assert live.device.platform == "desktop"


def test_S2_1b_to_1d_pull_keeps_the_call_and_the_mute_and_tells_the_old_device(house: House) -> None:
    ana, mobile, vic = house.agent(), phone_of(house), house.visitor()
    session, visitor_leg, old = house.active(vic, ana)
    house.ok(ana, MediaSet(session, 1, mic=False))
    leg = house.pull(mobile, session)
    assert house.session(session).state == "handoff"
    assert house.told(ana, HandoffStarted)[0].to.platform == "ios"
    assert (house.gate(old, "video"), house.gate(leg, "video")) == ("open", "closed")
    assert house.gate(leg, "audio") == "muted", "the media side need not wait for a muted kind"
    house.ok(ana, MediaSet(session, 2, mic=True))
    assert house.gate(leg, "audio") == "closed"
    house.ok(ana, MediaSet(session, 3, mic=False))
    house.media(LegUp(leg))
    assert house.gate(leg, "video") == "closed", "up is not enough: media must have come"
    house.media(LegReady(leg))
    assert house.session(session).agent_device == "phone"
    assert (house.gate(leg, "video"), house.gate(leg, "audio"), house.gate(old, "video")) == (
        "open",
        "muted",
        "sealed",
    )
    assert house.sources[(session, "agent")] == leg
    assert old not in house.open_legs
    moved = house.told(ana, HandoffMoved)
    assert [(item.to.platform, item.can_pull_back) for item in moved] == [("ios", True)]
    assert house.told(vic, CallPeer)[-1].what == "device_changed"
    assert house.gate(visitor_leg, "video") == "open"
    house.lose(ana)
    assert [notice.session for notice in house.connect(ana).notices] == [session]
    assert house.fault(ana, CallHangup(session)).code == "call.not_participant"
    assert house.fault(ana, MediaSet(session, 9, camera=False)).code == "call.not_participant"


def test_S2_pull_back(house: House) -> None:
    ana, mobile, vic = house.agent(), phone_of(house), house.visitor()
    session, _, _ = house.active(vic, ana)
    house.moved(mobile, session)
    house.advance(3.0)
    house.moved(ana, session)
    assert house.session(session).agent_device == "desk"
    assert house.connect(ana).notices == ()
    assert house.told(mobile, HandoffMoved)[0].to.platform == "desktop"
    house.advance(4.0)
    house.ok(vic, CallHangup(session))
    assert house.history.find("org")[0].talk_ms == 7_000, "talk time goes on through handoffs"


def test_S2_a_pull_that_brings_no_media_fails_after_10_s(house: House) -> None:
    ana, mobile, vic = house.agent(), phone_of(house), house.visitor()
    session, _, old = house.active(vic, ana)
    leg = house.pull(mobile, session)
    house.advance(10.0)
    assert house.session(session).state == "active"
    assert house.gate(old, "video") == "open"
    assert leg not in house.open_legs
    assert [item.reason for item in house.told(mobile, HandoffFailed)] == ["timeout"]
    house.media(LegReady(leg))
    assert house.session(session).agent_device == "desk", "too late"


def test_handoff_refusals(house: House) -> None:
    ana, vic = house.agent(), house.visitor()
    mobile = phone_of(house, "ios", "prompt")
    session, _, _ = house.active(vic, ana)
    assert house.fault(ana, HandoffRequest(session)).code == "handoff.same_device"
    assert house.fault(mobile, HandoffRequest(session)).code == "permission.required"
    assert house.fault(mobile, HandoffCancel(session)).code == "call.invalid_state"
    plain = agent_actor("ana", "old", frozenset())
    house.connect(plain)
    assert house.fault(plain, HandoffRequest(session)).code == "auth.forbidden"
    ben = house.agent("ben", "desk3")
    assert house.fault(ben, HandoffRequest(session)).code == "state.not_found"


def test_A17_handoff_paths_may_be_limited() -> None:
    house = House(CallConfiguration(handoff_paths=frozenset({("desktop", "ios")})))
    ana, vic = house.agent(), house.visitor()
    android = phone_of(house, "android")
    session, _, _ = house.active(vic, ana)
    assert house.fault(android, HandoffRequest(session)).code == "handoff.not_allowed"


def test_A18_an_offer_keeps_to_the_paths_that_a_call_may_take() -> None:
    house = House(CallConfiguration(handoff_paths=frozenset({("desktop", "ios")})))
    ana, vic = house.agent(), house.visitor()
    android, iphone = phone_of(house, "android", device="android"), phone_of(house, "ios", device="iphone")
    session, _, _ = house.active(vic, ana)
    refused = house.fault(ana, HandoffOffer(session, "android"))
    assert (refused.code, refused.details) == ("handoff.not_allowed", {"from": "desktop", "to": "android"})
    assert not house.told(android, HandoffSuggested)
    house.ok(ana, HandoffOffer(session, "iphone"))
    assert house.told(iphone, HandoffSuggested)


def test_handoff_paths_of_unknown_platforms_are_refused_at_once() -> None:
    with pytest.raises(ConfigurationError, match=r"handoff_paths names iphone; platforms are ios, android"):
        CallConfiguration(handoff_paths=frozenset({("desktop", "iphone")}))


def test_an_agent_without_the_capability_offers_the_call_to_no_other_device(house: House) -> None:
    plain, vic = agent_actor("ana", "desk", ALL_CAPS - {"handoff"}), house.visitor()
    house.connect(plain)
    for channel in CHANNELS:
        house.ok(plain, PresenceSet(channel, "available"))
    mobile = phone_of(house)
    session, _, _ = house.active(vic, plain)
    assert house.fault(plain, HandoffOffer(session, "phone")).code == "auth.forbidden"
    assert not house.told(mobile, HandoffSuggested)


def test_handoff_offer_prompts_the_other_device(house: House) -> None:
    ana, mobile, vic = house.agent(), phone_of(house), house.visitor()
    session, _, _ = house.active(vic, ana)
    house.ok(ana, HandoffOffer(session, "phone"))
    assert house.told(mobile, HandoffSuggested)[0].from_.platform == "desktop"
    assert house.fault(ana, HandoffOffer(session, "desk")).code == "handoff.same_device"
    assert house.fault(ana, HandoffOffer(session, "nothing")).code == "state.not_found"


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


# --- losing and finding legs


def test_reconnecting_freezes_one_direction_and_thaws_it(house: House) -> None:
    ana, vic = house.agent(), house.visitor()
    session, visitor_leg, leg = house.active(vic, ana)
    house.advance(10.0)
    house.media(LegLost(leg))
    assert (house.gate(leg, "video"), house.gate(visitor_leg, "video")) == ("frozen", "open")
    peer = house.told(vic, CallPeer)[-1]
    assert (peer.what, peer.deadline_ms) == ("reconnecting", 30_000)
    house.advance(5.0)
    house.media(LegRecovered(leg))
    assert house.gate(leg, "video") == "open"
    assert house.told(vic, CallPeer)[-1].what == "resumed"
    house.advance(1.0)
    house.ok(ana, CallHangup(session))
    assert house.history.find("org")[0].talk_ms == 11_000, "frozen time is not talk time"


def test_a_handoff_rescues_a_call_whose_device_died(house: House) -> None:
    ana, mobile, vic = house.agent(), phone_of(house), house.visitor()
    session, _, leg = house.active(vic, ana)
    house.media(LegLost(leg))
    house.advance(29.0)
    house.moved(mobile, session)
    assert house.session(session).state == "active"


def test_V37_after_the_old_legs_grace_is_over_ends_the_call(house: House) -> None:
    ana, mobile, vic = house.agent(), phone_of(house), house.visitor()
    session, _, leg = house.active(vic, ana)
    house.media(LegLost(leg))
    house.advance(25.0)
    pending = house.pull(mobile, session)
    house.advance(6.0)
    house.media(LegFailed(pending, "dtls"))
    assert house.session(session).reason == "agent_connection_lost"
    house.check_replay(session)


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


@pytest.mark.parametrize("changes", [{"ring_timeout_s": 4.0}, {"leg_grace_s": 0.0}, {"max_chats": 0}])
def test_configuration_says_what_is_wrong(changes: dict[str, float]) -> None:
    with pytest.raises(ConfigurationError, match=next(iter(changes))):
        CallConfiguration(**changes)  # type: ignore[arg-type]  # wrong on purpose


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
