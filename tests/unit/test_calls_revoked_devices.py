# ruff: noqa: N802 - test names carry the numbers of docs/calls.md as they are written there
"""D2 in the middle of something: a device is taken away while it takes a call over, warms a leg, or waits."""

from __future__ import annotations

import pytest

from support.calls import ALL_CAPS, House, agent_actor, phone_of
from triortc.engine.calls.commands import CallAccept, CallHangup, InvitationAccept, InvitationJoin, InvitationSend
from triortc.engine.calls.configuration import CallConfiguration
from triortc.engine.calls.events import ActorChanged, DeviceRevoked
from triortc.engine.calls.media_events import LegFailed, LegLost, LegReady, LegUp, MediaLost
from triortc.engine.calls.notifications import HandoffFailed


@pytest.fixture
def house() -> House:
    return House()


def test_D2_a_revoked_device_that_was_taking_a_call_over_does_not_get_it(house: House) -> None:
    """Its media may be on the way already; its gates are what must not open."""
    ana, phone, vic = house.agent(), phone_of(house), house.visitor()
    session, _, desk_leg = house.active(vic, ana)
    pending = house.pull(phone, session)
    house.media(LegUp(pending))
    assert phone.address is not None
    house.handle(DeviceRevoked(phone.address))
    assert pending not in house.open_legs
    house.media(LegReady(pending))
    assert house.session(session).agent_device == "desk"
    assert house.sources[(session, "agent")] == desk_leg
    assert house.told(ana, HandoffFailed)[-1].reason == "cancelled"
    house.advance(60.0)
    assert house.session(session).state == "active"
    house.check_replay(session)


@pytest.mark.parametrize("lost", ["handoff", "video.receive"])
def test_D2_a_token_that_lost_its_capability_takes_no_call_over(house: House, lost: str) -> None:
    ana, phone, vic = house.agent(), phone_of(house), house.visitor()
    session, _, _ = house.active(vic, ana)
    pending = house.pull(phone, session)
    house.handle(ActorChanged(agent_actor("ana", "phone", ALL_CAPS - {lost})))
    house.media(LegReady(pending))
    assert house.session(session).agent_device == "desk"
    assert house.session(session).state == "active"


def test_V34_a_rescue_by_a_device_that_is_revoked_ends_with_the_old_legs_grace(house: House) -> None:
    ana, phone, vic = house.agent(), phone_of(house), house.visitor()
    session, _, desk_leg = house.active(vic, ana)
    house.media(LegLost(desk_leg))
    house.advance(25.0)
    house.pull(phone, session)
    house.advance(6.0)
    assert house.session(session).state == "reconnecting", "T_grace is over, and the rescue is on its way"
    assert phone.address is not None
    house.handle(DeviceRevoked(phone.address))
    assert (house.session(session).outcome, house.session(session).reason) == ("failed", "agent_connection_lost")


def test_D2_the_leg_that_a_revoked_device_has_warmed_is_closed_at_once() -> None:
    """With a preview it would show the visitor until the ring ends (A-24)."""
    house = House(CallConfiguration(visitor_preview_to_agent=True))
    house.agent()
    phone = phone_of(house)
    requested = house.request(house.visitor())
    warm = house.warm(phone)
    assert phone.address is not None
    house.handle(DeviceRevoked(phone.address))
    assert warm not in house.open_legs
    assert requested.leg in house.open_legs
    house.media(LegFailed(warm, "its page is gone"))
    assert house.session(requested.session).state == "ringing"


@pytest.mark.parametrize("when", ["ringing", "connecting", "active"])
def test_D2_a_visitor_who_is_revoked_is_out_of_the_call_5_s_later(house: House, when: str) -> None:
    ana, vic = house.agent(), house.visitor()
    requested = house.request(vic)
    assert vic.address is not None
    assert requested.leg is not None
    if when == "ringing":
        house.handle(DeviceRevoked(vic.address))
    accepted = house.ok(ana, CallAccept(requested.session))
    if when == "connecting":
        house.handle(DeviceRevoked(vic.address))
    house.media(LegUp(requested.leg))
    house.media(LegUp(accepted.leg))
    if when == "active":
        house.handle(DeviceRevoked(vic.address))
    assert house.session(requested.session).state == "active"
    house.advance(5.0)
    ended = house.session(requested.session)
    assert (ended.outcome, ended.reason) == ("completed", "visitor_hangup")
    house.check_replay(requested.session)


def test_D2_an_agent_who_is_revoked_while_waiting_is_out_of_the_call_that_begins_meanwhile(house: House) -> None:
    """The answer ends the timers of waiting; this is none of them."""
    ana, vic = house.agent(), house.visitor()
    first, _, _ = house.active(vic, ana)
    house.ok(vic, CallHangup(first))
    invitation = house.ok(ana, InvitationSend("cv_1")).invitation
    waiting = house.ok(ana, InvitationJoin(invitation))
    assert ana.address is not None
    house.handle(DeviceRevoked(ana.address))
    house.advance(3.0)
    accepted = house.ok(vic, InvitationAccept(invitation))
    house.media(LegUp(waiting.leg))
    house.media(LegUp(accepted.leg))
    house.advance(2.0)
    ended = house.session(accepted.session)
    assert (ended.outcome, ended.reason) == ("completed", "agent_hangup")


def test_D2_a_revoked_agent_is_out_of_a_call_whose_media_process_dies_meanwhile(house: House) -> None:
    ana, vic = house.agent(), house.visitor()
    session, visitor_leg, agent_leg = house.active(vic, ana)
    assert ana.address is not None
    house.handle(DeviceRevoked(ana.address))
    house.media(MediaLost(session, "the process ended"))
    house.media(LegUp(visitor_leg))
    house.media(LegUp(agent_leg))
    house.advance(5.0)
    ended = house.session(session)
    assert (ended.outcome, ended.reason) == ("completed", "agent_hangup")
