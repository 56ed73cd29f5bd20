# ruff: noqa: N802 - test names carry the numbers of docs/calls-numbers.md as they are written there
"""The decisions A1 to A25 and what holds on every device, each by the shortest call that shows it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from support.calls import House, agent_actor, information
from support.calls_scenes import scene
from support.sdp import make_offer
from triortc.engine.calls.actor import Actor, AppState, Platform, PushEndpoint
from triortc.engine.calls.commands import (
    CallAccept,
    CallDecline,
    CallHangup,
    ConversationMessageSend,
    DeviceUpdate,
    HandoffRequest,
    InvitationAccept,
    InvitationJoin,
    InvitationSend,
    MediaSet,
    PresenceSet,
    RingOpened,
)
from triortc.engine.calls.configuration import CallConfiguration
from triortc.engine.calls.events import DeviceConnected
from triortc.engine.calls.leg_configuration import MediaConfiguration
from triortc.engine.calls.legs import open_leg_manager
from triortc.engine.calls.media_events import LegLost, LegReady, LegUp
from triortc.engine.calls.notifications import (
    CallEnded,
    ConversationChanged,
    HandoffMoved,
    MediaChanged,
    RingEnded,
    RingOffer,
)
from triortc.engine.calls.push_values import RingPush, WithdrawPush
from triortc.engine.endpoint_configuration import EndpointConfiguration

MOBILES: list[Platform] = ["ios", "android"]
PLATFORMS: list[Platform] = ["ios", "android", "desktop", "web"]
CVO = "a=extmap:13 urn:3gpp:video-orientation"


def effective(house: House, actor: Actor) -> dict[str, str]:
    return {channel: status.effective for channel, status in house.world.agents[actor.principal].statuses.items()}


def chat(house: House, vic: Actor) -> None:
    house.ok(vic, ConversationMessageSend("cv_1", "hello"))


@pytest.mark.parametrize("platform", PLATFORMS)
def test_S0_2_S1_0_S1_3k_S1_4g_a_whole_call_with_one_device_of_any_kind(platform: Platform) -> None:
    """S0.1, S1.2c: the same commands work everywhere."""
    house = House()
    ana, vic = house.agent("ana", "only", platform), house.visitor()
    session, _, leg = house.active(vic, ana)
    house.ok(ana, MediaSet(session, 1, camera=False))
    assert (house.gate(leg, "video"), house.gate(leg, "audio")) == ("muted", "open")
    house.ok(ana, CallHangup(session))
    assert [item.outcome for item in house.told(vic, CallEnded)] == ["completed"]
    assert house.appended[session] == 1


def test_A1_A5_one_deadline_for_every_device_and_no_permission_dialog_moves_it() -> None:
    found = scene("ringing")
    house = found.house
    assert house.told(found.ana, RingOffer)[0].ttl_ms == house.told(found.phone, RingOffer)[0].ttl_ms == 30_000
    house.advance(10.0)
    house.ok(found.phone, DeviceUpdate(perms={"camera": "prompt"}))
    assert house.fault(found.phone, CallAccept(found.session)).code == "permission.required"
    house.advance(19.999)
    assert found.state == "ringing"
    house.advance(0.001)
    assert found.end == "no_answer/ring_timeout"


def test_A2_what_is_busy_depends_on_who_asked() -> None:
    routed = scene("active")
    assert set(effective(routed.house, routed.ana).values()) == {"busy"}
    house = House()
    ana, vic = house.agent(), house.visitor()
    chat(house, vic)
    invitation = house.ok(ana, InvitationSend("cv_1")).invitation
    house.ok(ana, InvitationJoin(invitation))
    house.ok(vic, InvitationAccept(invitation))
    now = effective(house, ana)
    assert (now["video"], now["chat"], now["third_party"]) == ("busy", "available", "available")


def test_A4_refusing_the_camera_declines_nothing() -> None:
    found = scene("ringing")
    found.house.ok(found.phone, DeviceUpdate(perms={"camera": "denied"}))
    assert found.state == "ringing"
    assert not found.house.told(found.ana, RingEnded)
    found.house.ok(found.ana, CallAccept(found.session))


@pytest.mark.parametrize("app_state", ["background", "locked", "terminated"])
def test_A6_A9_A10_a_sleeping_phone_is_alerted_until_the_ring_ends_and_never_later(app_state: AppState) -> None:
    house = House(push_kinds=frozenset({"apns"}))
    ana, vic = agent_actor("ana", "phone"), house.visitor()
    device = replace(information("phone", "ios"), push=(PushEndpoint("apns", token="t"),))
    house.handle(DeviceConnected(ana, device))
    house.ok(ana, PresenceSet("video", "available"))
    house.ok(ana, DeviceUpdate(app_state=app_state))
    house.lose(ana)
    start, session = house.now, house.request(vic).session
    assert house.session(session).state == "ringing"
    house.advance(31.0)
    rung = [round(at - start) for at, push in house.pushes if isinstance(push, RingPush)]
    assert rung == [0, 5, 10, 15, 20, 25]
    withdrawn = [at - start for at, push in house.pushes if isinstance(push, WithdrawPush)]
    assert withdrawn == [pytest.approx(30.0)]


def test_A7_a_tap_after_the_deadline_says_that_it_is_over() -> None:
    found = scene("ringing")
    ring = found.house.ring(found.phone)
    found.house.advance(30.0)
    assert found.house.fault(found.phone, RingOpened(ring)).code == "call.expired"
    assert found.house.connect(found.phone).rings == ()


def test_A8_A14_a_call_that_is_not_answered_stays_with_its_agent_and_open() -> None:
    house = House()
    ana, vic = house.agent(), house.visitor()
    ben = house.agent("ben", "tablet")
    house.request(vic)
    first = ana if house.told(ana, RingOffer) else ben
    second = ben if first is ana else ana
    house.advance(8 * 86_400.0)
    assert not house.told(second, RingOffer)
    conversation = house.world.conversations[("org", "cv_1")]
    assert (conversation.assignee, conversation.state) == (first.sub, "open")


def test_A11_A12_A13_A23_an_invitation_begins_alone_and_keeps_other_videos_away() -> None:
    house = House(CallConfiguration(invite_requires_clear_desk="enforce"))
    ana, vic, wim = house.agent(), house.visitor(), house.visitor("wim", conversation="cv_2")
    chat(house, vic)
    house.ok(wim, ConversationMessageSend("cv_2", "hello"))
    assert house.fault(ana, InvitationSend("cv_1")).code == "agent.busy"
    house = House()
    ana, vic, wim = house.agent(), house.visitor(), house.visitor("wim", conversation="cv_2")
    chat(house, vic)
    sent = house.ok(ana, InvitationSend("cv_1"))
    assert house.fault(ana, InvitationSend("cv_1")).code == "invitation.already_pending"
    assert house.request(wim, "cv_2").outcome == "unavailable"
    session = house.ok(ana, InvitationJoin(sent.invitation)).session
    assert house.session(session).state == "waiting"
    house.ok(vic, InvitationAccept(sent.invitation))
    assert house.session(session).state == "connecting"


def test_A15_an_interrupted_camera_is_told_and_ends_nothing() -> None:
    found = scene("active")
    found.house.ok(found.ana, DeviceUpdate(app_state="background"))
    found.house.ok(found.ana, MediaSet(found.session, 1, camera_state="interrupted"))
    assert found.house.told(found.vic, MediaChanged)[-1].camera_state == "interrupted"
    assert (found.state, found.house.gate(found.agent_leg, "audio")) == ("active", "open")


@pytest.mark.parametrize("visitor_turns", [True, False])
async def test_A16_S1_4f_a_sender_is_told_to_turn_the_picture_itself_unless_both_ends_know_how(
    visitor_turns: bool,
) -> None:
    offers = {
        "visitor": str(make_offer("audio", "video", extra=[CVO] if visitor_turns else [])),
        "agent": str(make_offer("audio", "video", extra=[CVO])).replace("AB:AB", "EF:EF"),
    }
    configuration = MediaConfiguration(endpoint=EndpointConfiguration(media_host=("127.0.0.1",)))
    async with open_leg_manager(configuration) as legs:
        legs.open_leg("s", "visitor", "visitor")
        legs.open_leg("s", "agent", "agent")
        answers = {side: legs.answer(side, 1, offer) for side, offer in offers.items()}
    assert ("urn:3gpp:video-orientation" in answers["visitor"]) == visitor_turns
    assert ("urn:3gpp:video-orientation" in answers["agent"]) == visitor_turns


@pytest.mark.parametrize("source", PLATFORMS)
@pytest.mark.parametrize("target", PLATFORMS)
def test_A17_A18_S2_0_any_device_pulls_from_any_without_a_word_of_the_old_one(
    source: Platform, target: Platform
) -> None:
    house = House()
    ana, other, vic = house.agent("ana", "old", source), agent_actor("ana", "new"), house.visitor()
    house.connect(other, information("new", target))
    session, visitor_leg, _ = house.active(vic, ana)
    house.forget_told()
    leg = house.ok(other, HandoffRequest(session)).leg
    house.media(LegUp(leg))
    house.media(LegReady(leg))
    assert house.session(session).agent_device == "new"
    assert [item.can_pull_back for item in house.told(ana, HandoffMoved)] == [True]
    assert house.session(session).visitor_leg == visitor_leg
    assert not house.told(vic, CallEnded)


def test_D3_the_phone_sees_that_it_can_take_over_the_call_of_a_desktop_that_died() -> None:
    found = scene("active")
    found.house.media(LegLost(found.agent_leg))
    found.house.leave(found.ana)
    live = found.house.told(found.phone, ConversationChanged)[-1].live_session
    assert live is not None
    assert (live.state, live.can_pull) == ("reconnecting", True)
    found.house.moved(found.phone, found.session)
    assert found.state == "active"


def test_A20_a_decline_on_one_device_is_for_all() -> None:
    found = scene("ringing")
    found.house.ok(found.phone, CallDecline(found.session))
    assert [item.reason for item in found.house.told(found.ana, RingEnded)] == ["declined_elsewhere"]
    assert found.end == "declined/agent_declined"


def test_A24_the_agent_does_not_see_the_visitor_before_go() -> None:
    found = scene("ringing")
    found.house.warm(found.ana)
    found.house.media(LegUp(found.visitor_leg))
    assert found.house.gate(found.visitor_leg, "video") == found.house.gate(found.visitor_leg, "audio") == "closed"


def test_P1_P2_P3_declaring_is_the_agents_and_ends_nothing() -> None:
    """Every change has a version of its own; the same again is no change."""
    found = scene("active")
    house, agent = found.house, found.house.world.agents[found.ana.principal]
    before = agent.statuses["chat"].version
    house.ok(found.ana, PresenceSet("chat", "unavailable"))
    house.ok(found.ana, PresenceSet("chat", "unavailable"))
    assert agent.statuses["chat"].version == before + 1
    assert agent.declared == {
        "chat": "unavailable",
        "call": "available",
        "video": "available",
        "third_party": "available",
    }
    assert found.state == "active"


@pytest.mark.parametrize("command", [CallAccept, CallDecline, CallHangup, HandoffRequest])
def test_V48_after_the_end_nothing_moves_a_session(command: type[CallAccept]) -> None:
    found = scene("active")
    found.house.ok(found.vic, CallHangup(found.session))
    before = found.house.session(found.session)
    for actor in (found.ana, found.phone):
        found.house.send(actor, command(found.session))
    assert found.house.session(found.session) == before
