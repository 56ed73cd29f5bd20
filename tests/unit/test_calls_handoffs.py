# ruff: noqa: N802 - test names carry the numbers of docs/calls.md as they are written there
"""The change of device (S2, A17, A18), and legs that are lost and found, in virtual time."""

from __future__ import annotations

import pytest

from support.calls import ALL_CAPS, House, agent_actor, information, phone_of
from triortc.engine.calls.commands import (
    CallHangup,
    HandoffCancel,
    HandoffOffer,
    HandoffRequest,
    MediaSet,
    PresenceSet,
)
from triortc.engine.calls.configuration import CallConfiguration
from triortc.engine.calls.media_events import LegFailed, LegLost, LegReady, LegRecovered, LegUp
from triortc.engine.calls.notifications import (
    CallPeer,
    HandoffFailed,
    HandoffMoved,
    HandoffStarted,
    HandoffSuggested,
)
from triortc.engine.calls.presence import CHANNELS
from triortc.errors import ConfigurationError


@pytest.fixture
def house() -> House:
    return House()


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
