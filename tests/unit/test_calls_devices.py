# ruff: noqa: N802 - test names carry the numbers of docs/calls.md as they are written there
"""Devices: what they may do, where their app is, how they are taken away; and availability (D, P, S1.1)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from support.calls import ALL_CAPS, House, agent_actor, information, visitor_actor
from support.calls_scenes import scene
from triortc.engine.calls.actor import Actor, AppState, Permission, Platform, PushEndpoint
from triortc.engine.calls.commands import (
    CallAccept,
    CallHangup,
    CallRequest,
    ConversationClose,
    ConversationMessageSend,
    DeviceRevoke,
    DeviceUpdate,
    HandoffRequest,
    InvitationJoin,
    InvitationSend,
    PresenceGet,
    PresenceSet,
    RingAck,
)
from triortc.engine.calls.configuration import CallConfiguration
from triortc.engine.calls.effects import AppendHistory, SessionEnded
from triortc.engine.calls.events import ActorChanged, DeviceRevoked, Drain, SessionFenced, ShutDown
from triortc.engine.calls.media_events import LegLost, LegReady, LegUp
from triortc.engine.calls.notifications import (
    CallEnded,
    CallState,
    DeviceChanged,
    HandoffMoved,
    PresenceChanged,
    RingEnded,
    RingOffer,
)
from triortc.engine.calls.presence import CHANNELS, PresenceFacts, effective_status
from triortc.engine.calls.push_values import NoticePush
from triortc.engine.calls.view_values import ConversationView

APNS = PushEndpoint("apns", token="t")
HOUR_S = 3600.0


def phone(house: House, device: str = "phone", platform: Platform = "ios", caps: frozenset[str] = ALL_CAPS) -> Actor:
    actor = agent_actor("ana", device, caps)
    house.connect(actor, information(device, platform))
    return actor


def status(house: House, agent: Actor, channel: Any = "video") -> Any:
    return house.world.agent(agent.principal).statuses[channel]


# --- permissions


@pytest.mark.parametrize(
    ("platform", "permission", "action"),
    [
        ("ios", "prompt", "prompt"),
        ("ios", "denied", "open_settings"),
        ("ios", "denied_permanent", "open_settings"),
        ("ios", "restricted", "none"),
        ("android", "prompt", "prompt"),
        ("android", "denied", "prompt"),
        ("android", "denied_permanent", "open_settings"),
        ("android", "restricted", "none"),
        ("desktop", "denied", "prompt"),
        ("web", "denied_permanent", "open_settings"),
    ],
)
def test_S1_1b_to_1e_what_an_app_has_to_do_first_depends_on_its_platform(
    platform: Platform, permission: Permission, action: str
) -> None:
    house = House()
    ana = house.agent("ana", "phone", platform)
    phone(house, "other")
    house.ok(ana, DeviceUpdate(perms={"camera": permission}))
    session = house.request(house.visitor()).session
    offer = house.told(ana, RingOffer)[-1]
    assert (offer.permission.camera, offer.permission.action) == (permission, action)
    fault = house.fault(ana, CallAccept(session))
    assert (fault.code, fault.details["missing"], fault.details["action"]) == (
        "permission.required",
        ["camera"],
        action,
    )
    assert ("url" in fault.details) == (platform == "ios" and action == "open_settings")
    assert house.session(session).state == "ringing", "A5: refusing a permission does not end the ring"
    house.ok(ana, DeviceUpdate(perms={"camera": "granted"}))
    assert house.ok(ana, CallAccept(session)).state == "connecting"


def test_A5_with_a_microphone_alone_the_policy_decides() -> None:
    for policy, code in (("camera+mic", "permission.required"), ("mic", None)):
        chosen: Any = policy
        house = House(CallConfiguration(require_permissions=chosen))
        ana = house.agent()
        house.ok(ana, DeviceUpdate(perms={"camera": "denied"}))
        session = house.request(house.visitor()).session
        reply = house.send(ana, CallAccept(session))
        assert getattr(reply, "code", None) == code


def test_S0_2_a_phone_alone_takes_a_whole_call() -> None:
    for platform in ("ios", "android"):
        house = House()
        ana = house.agent("ana", "phone", platform)
        vic = house.visitor()
        session, _, _ = house.active(vic, ana)
        house.ok(ana, CallHangup(session))
        assert [record.outcome for record in house.history.find("org", session=session)] == ["completed"]


# --- devices that come, go and are taken away


def test_D1_the_snapshot_of_a_device_that_comes_in_a_call_says_that_it_can_take_over() -> None:
    house = House()
    ana, vic = house.agent(), house.visitor()
    session, _, _ = house.active(vic, ana)
    snapshot = house.connect(agent_actor("ana", "phone"), information("phone", "ios"))
    (view,) = snapshot.conversations
    assert view.live_session is not None
    assert (view.live_session.session, view.live_session.can_pull) == (session, True)


def test_D1_devices_are_told_of_each_other_and_see_what_a_push_could_wake() -> None:
    house = House(push_kinds=frozenset({"apns"}))
    ana = house.agent()
    mobile = agent_actor("ana", "phone")
    house.connect(mobile, replace(information("phone", "ios"), push=(APNS,)))
    house.ok(mobile, DeviceUpdate(app_state="background", name="Ana's phone"))
    changed = {view.device: view for view in house.told(ana, DeviceChanged)[-1].devices}
    assert (changed["phone"].app_state, changed["phone"].name) == ("background", "Ana's phone")
    house.leave(mobile)
    changed = {view.device: view for view in house.told(ana, DeviceChanged)[-1].devices}
    assert (changed["phone"].signaling, changed["phone"].app_state) == ("gone", "terminated")
    house.ok(ana, DeviceRevoke("phone"))
    assert [view.device for view in house.told(ana, DeviceChanged)[-1].devices] == ["desk"]
    house.connect(mobile, information("phone", "ios"))
    house.leave(mobile)
    assert [view.device for view in house.told(ana, DeviceChanged)[-1].devices] == ["desk"], "nothing can wake it"


def test_D2_a_revoked_device_rings_no_more_and_is_let_go() -> None:
    house = House(push_kinds=frozenset({"apns"}))
    ana = house.agent()
    mobile = agent_actor("ana", "phone")
    house.connect(mobile, replace(information("phone", "ios"), push=(APNS,)))
    session = house.request(house.visitor()).session
    house.ok(mobile, RingAck(house.ring(mobile)))
    assert mobile.address is not None
    house.handle(DeviceRevoked(mobile.address))
    assert house.told(mobile, RingEnded)[-1].reason == "device_removed"
    assert house.removed == [mobile.address]
    assert house.fault(mobile, CallAccept(session)).code == "auth.forbidden"
    assert house.session(session).state == "ringing"
    house.handle(DeviceRevoked(mobile.address))
    house.advance(40.0)
    assert house.request(house.visitor("wim", "tab", "cv_2"), "cv_2").outcome == "unavailable"
    assert status(house, ana).reasons == ("ongoing_chat",)
    assert house.pushes == [], "it was awake, and then it was gone"


def test_D2_a_call_that_was_pulled_off_a_revoked_device_goes_on() -> None:
    house = House()
    ana, vic = house.agent(), house.visitor()
    mobile = phone(house)
    session, _, _ = house.active(vic, ana)
    house.ok(mobile, DeviceRevoke("desk"))
    house.advance(2.0)
    house.moved(mobile, session)
    house.advance(60.0)
    assert house.session(session).state == "active"


def test_D2_a_token_that_lost_its_capability_stops_the_ring_on_its_device() -> None:
    house = House()
    house.agent()
    mobile = phone(house)
    session = house.request(house.visitor()).session
    house.handle(ActorChanged(agent_actor("ana", "phone", ALL_CAPS - {"video.receive"})))
    assert house.told(mobile, RingEnded)[-1].reason == "device_removed"
    assert house.session(session).state == "ringing"
    assert house.removed == []


def test_D2_in_a_call_a_lost_capability_ends_it_a_little_later() -> None:
    house = House()
    ana, vic = house.agent(), house.visitor()
    session, _, _ = house.active(vic, ana)
    house.handle(ActorChanged(replace(ana, caps=frozenset({"presence"}))))
    house.advance(5.0)
    assert house.session(session).reason == "agent_hangup"
    assert status(house, ana).effective == "unavailable", "the video channel is not the agent's any more"


def test_a_refreshed_token_brings_new_groups() -> None:
    house = House()
    ana = house.agent()
    house.handle(ActorChanged(replace(ana, groups=frozenset({"video"}))))
    assert house.request(house.visitor()).reason == "no_agent_available"
    house.handle(ActorChanged(visitor_actor("nobody", "nowhere")))


def test_D3_an_app_that_was_killed_in_a_call_is_taken_over_by_another_device() -> None:
    house = House()
    mobile, vic = house.agent("ana", "phone", "ios"), house.visitor()
    desk = agent_actor("ana", "desk")
    house.connect(desk)
    session, _, leg = house.active(vic, mobile)
    house.lose(mobile)
    house.media(LegLost(leg))
    assert house.session(session).state == "reconnecting"
    view = house.connect(agent_actor("ana", "pad"), information("pad", "ios")).conversations[0]
    assert isinstance(view, ConversationView)
    assert view.live_session is not None
    assert view.live_session.can_pull
    taken = house.ok(desk, HandoffRequest(session)).leg
    house.advance(9.0)
    house.media(LegUp(taken))
    house.media(LegReady(taken))
    assert (house.session(session).state, house.session(session).agent_device) == ("active", "desk")
    assert house.session(session).grace == {}
    house.resume(mobile)
    assert len(house.told(mobile, HandoffMoved)) == 1
    house.check_replay(session)


# --- T_bg_available


def pocket(house: House, app_state: AppState = "background", *, push: bool = True) -> Actor:
    actor = house.agent("ana", "phone", "ios")
    house.ok(actor, DeviceUpdate(app_state=app_state, push=(APNS,) if push else ()))
    return actor


def background_house() -> House:
    return House(push_kinds=frozenset({"apns"}))


def test_T_bg_available_turns_everything_off_after_five_hours_in_the_background() -> None:
    house = background_house()
    ana = pocket(house)
    house.forget_told()
    house.advance(5 * HOUR_S - 1.0)
    assert status(house, ana).effective == "available"
    house.advance(1.0)
    for channel in CHANNELS:
        changed = status(house, ana, channel)
        assert (changed.declared, changed.color, changed.reasons, changed.by) == (
            "unavailable",
            "red",
            ("background",),
            "system",
        )
    assert len(house.told(ana, PresenceChanged)) == len(CHANNELS)
    ((_, push),) = house.pushes
    assert isinstance(push, NoticePush)
    assert push.kind == "availability_off"
    house.ok(ana, PresenceSet("video", "available"))
    assert (status(house, ana).reasons, status(house, ana).by) == ((), None)


def test_T_bg_available_starts_anew_when_the_app_is_looked_at() -> None:
    house = background_house()
    ana = pocket(house)
    house.advance(4 * HOUR_S)
    house.ok(ana, DeviceUpdate(app_state="foreground"))
    house.ok(ana, DeviceUpdate(app_state="background"))
    house.advance(4 * HOUR_S)
    assert status(house, ana).effective == "available"


@pytest.mark.parametrize("what", ["desktop", "chat", "call outside", "policy"])
def test_T_bg_available_spares_who_is_at_a_desk_or_at_work(what: str) -> None:
    house = House(CallConfiguration(background_available_s=None), frozenset({"apns"}))
    if what != "policy":
        house = background_house()
    ana = pocket(house)
    if what == "desktop":
        desk = agent_actor("ana", "desk")
        house.connect(desk)
        house.ok(desk, DeviceUpdate(app_state="background"))
    elif what == "chat":
        house.ok(house.visitor(), ConversationMessageSend("cv_1", "hello"))
    elif what == "call outside":
        house.perform(house.control.occupy(ana.principal, "call", "c", house.now))
    house.advance(6 * HOUR_S)
    assert status(house, ana).declared == "available"


def test_T_bg_available_runs_from_the_end_of_the_last_conversation() -> None:
    house = background_house()
    ana = pocket(house)
    house.ok(house.visitor(), ConversationMessageSend("cv_1", "hello"))
    house.advance(6 * HOUR_S)
    house.ok(ana, ConversationClose("cv_1"))
    house.advance(5 * HOUR_S - 1.0)
    assert status(house, ana).declared == "available"
    house.advance(1.0)
    assert status(house, ana).declared == "unavailable"


# --- presence


def test_P1_only_the_command_and_the_policies_change_what_is_declared() -> None:
    house = House()
    ana, vic = house.agent(), house.visitor()
    session, _, _ = house.active(vic, ana)
    house.ok(ana, CallHangup(session))
    house.ok(ana, ConversationClose("cv_1"))
    assert set(house.world.agent(ana.principal).declared.values()) == {"available"}
    before = status(house, ana).version
    assert house.ok(ana, PresenceSet("video", "available")).version == before, "an equal value is no change"


def test_P2_each_change_is_told_once_for_each_channel_with_a_higher_version() -> None:
    house = House()
    ana = house.agent()
    boss = Actor("boss", "supervisor", "org", "screen")
    house.connect(boss, information("screen"))
    other = Actor("other", "supervisor", "elsewhere", "screen")
    house.connect(other, information("screen"))
    house.forget_told()
    house.request(house.visitor())
    for watcher in (ana, boss):
        told = house.told(watcher, PresenceChanged)
        assert sorted(item.channel for item in told) == sorted(CHANNELS), "one each, in the same step"
    assert house.told(other, PresenceChanged) == [], "another tenant's"
    versions = [status(house, ana, channel).version for channel in CHANNELS]
    house.advance(30.0)
    house.ok(ana, ConversationClose("cv_1"))
    assert all(new > old for new, old in zip((status(house, ana, c).version for c in CHANNELS), versions, strict=True))


def test_P3_who_declares_to_be_unavailable_in_a_call_stays_in_it() -> None:
    house = House()
    ana, vic = house.agent(), house.visitor()
    session, _, _ = house.active(vic, ana)
    house.ok(ana, PresenceSet("video", "unavailable"))
    assert (house.session(session).state, status(house, ana).color) == ("active", "red")


def test_S1_5c_and_A3_orange_lasts_from_the_ring_to_the_close() -> None:
    for hold, after_hangup in (("conversation_closed", "wrap_up"), ("video_ended", "ongoing_chat")):
        chosen: Any = hold
        house = House(CallConfiguration(hold_channels_until=chosen))
        ana, vic = house.agent(), house.visitor()
        session = house.request(vic).session
        assert (status(house, ana).color, status(house, ana).reasons) == ("orange", ("ringing",))
        house.ok(ana, CallAccept(session))
        assert status(house, ana).reasons == ("in_video",)
        house.ok(ana, CallHangup(session))
        assert after_hangup in status(house, ana).reasons
        assert (status(house, ana, "chat").effective == "busy") == (hold == "conversation_closed")
        house.ok(ana, ConversationClose("cv_1"))
        assert status(house, ana).color == "green"


READY: dict[Any, Any] = dict.fromkeys(CHANNELS, "available")


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        ({}, "available available available available"),
        ({"claim_origin": "routed", "claim_phase": "ringing"}, "busy busy busy busy"),
        ({"claim_origin": "invited", "claim_phase": "waiting"}, "available busy busy available"),
        ({"open_chats": 1}, "available busy busy available"),
        ({"open_chats": 3}, "busy busy busy available"),
        ({"open_calls": 1}, "available busy busy available"),
        ({"third_party": 3}, "available available available busy"),
        ({"third_party": 3, "max_third_party": 4}, "available available available available"),
        ({"live_invitation": True}, "available available busy available"),
        ({"wrap_up": True}, "busy busy busy busy"),
        ({"no_permission": True}, "available busy busy available"),
        ({"disabled": frozenset({"video"})}, "available available unavailable available"),
        ({"reachable": False}, "unavailable unavailable unavailable unavailable"),
    ],
)
def test_2_5_availability_on_all_four_channels(facts: dict[str, Any], expected: str) -> None:
    found = [
        effective_status(channel, PresenceFacts(**{"declared": READY, "reachable": True, **facts}))
        for channel in CHANNELS
    ]
    assert [item.effective for item in found] == expected.split()
    for channel, item in zip(CHANNELS, found, strict=True):
        colors = {"available": "green", "busy": "orange", "unavailable": "red"}
        forced = "UNAVAILABLE_FORCED" if channel in ("call", "video") else "BUSY"
        api = {"available": "AVAILABLE", "busy": forced, "unavailable": "UNAVAILABLE"}
        assert (item.color, item.api) == (colors[item.effective], api[item.effective])
        assert bool(item.reasons) == (item.effective == "busy")


def test_an_agent_who_only_invites_has_no_video_channel_and_may_invite() -> None:
    house = House()
    inviter = agent_actor("ana", "desk", frozenset({"video.invite", "presence"}))
    house.connect(inviter)
    for channel in CHANNELS:
        house.ok(inviter, PresenceSet(channel, "available"))
    assert status(house, inviter).effective == "unavailable"
    vic = house.visitor()
    assert house.request(vic).reason == "no_agent_available"
    house.ok(vic, ConversationMessageSend("cv_1", "hello"))
    invitation = house.ok(inviter, InvitationSend("cv_1")).invitation
    assert house.ok(inviter, InvitationJoin(invitation)).state == "waiting"


def test_occupy_and_vacate_are_reasons_of_their_own() -> None:
    house = House()
    ana = house.agent()
    for number in range(3):
        house.perform(house.control.occupy(ana.principal, "third_party", f"m{number}", house.now))
    house.perform(house.control.occupy(ana.principal, "call", "c", house.now))
    found = {item.channel: item.reasons for item in house.ok(ana, PresenceGet()).items}
    assert found == {"chat": (), "call": ("ongoing_call",), "video": ("ongoing_call",), "third_party": ("slots_full",)}
    house.perform(house.control.vacate(ana.principal, "call", "c", house.now))
    house.perform(house.control.vacate(ana.principal, "third_party", "m0", house.now))
    assert {item.effective for item in house.ok(ana, PresenceGet()).items} == {"available"}


# --- V43, V45, V48


def test_V43_and_R24_a_draining_server_finishes_what_rings_and_takes_nothing_new() -> None:
    house = House()
    ana, vic = house.agent(), house.visitor()
    session = house.request(vic).session
    house.handle(Drain())
    assert house.fault(house.visitor("wim", "tab", "cv_2"), CallRequest("cv_2")).code == "server.draining"
    house.ok(ana, CallAccept(session))
    assert house.session(session).state == "connecting"
    house.handle(ShutDown())
    assert (house.session(session).outcome, house.session(session).reason) == ("failed", "server_shutdown")


@pytest.mark.parametrize("state", ["queued", "ringing", "waiting", "connecting", "active", "reconnecting", "handoff"])
def test_V45_a_fenced_session_is_gone_without_a_word(state: str) -> None:
    found = scene(state)
    house = found.house
    before, ended = len(house.inbox), sum(len(house.told(actor, CallEnded)) for actor in (found.ana, found.vic))
    house.handle(SessionFenced(found.session))
    assert found.session not in house.world.sessions
    assert SessionEnded(found.session) in house.effects
    assert not any(isinstance(effect, AppendHistory) for effect in house.effects)
    assert (len(house.inbox), ended) == (before, sum(len(house.told(a, CallEnded)) for a in (found.ana, found.vic)))
    assert all(gate.value == "sealed" for gate in house.gates.values())
    assert len(house.world.claims) == 0
    assert not house.world.queues
    assert house.world.conversations[("org", "cv_1")].live_session is None
    house.handle(SessionFenced(found.session))


def test_V48_whatever_is_asked_of_an_ended_session_it_stays_as_it_ended() -> None:
    found = scene("active")
    found.house.ok(found.vic, CallHangup(found.session))
    before = found.house.session(found.session)
    assert found.house.ok(found.vic, CallHangup(found.session)).already_ended
    assert found.house.fault(found.ana, CallAccept(found.session)).code == "call.ended"
    assert found.house.fault(found.ana, HandoffRequest(found.session)).code == "call.ended"
    assert found.house.session(found.session) == before
    assert len(found.house.told(found.vic, CallEnded)) == 1


def test_I31_no_routed_ring_starts_beside_a_chat_or_a_call_outside() -> None:
    house = House()
    ana = house.agent()
    house.perform(house.control.occupy(ana.principal, "call", "c", house.now))
    assert house.request(house.visitor()).reason == "agent_busy"
    assert house.told(ana, RingOffer) == []
    assert house.told(ana, CallState) == []
