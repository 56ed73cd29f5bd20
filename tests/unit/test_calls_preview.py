# ruff: noqa: N802 - test names carry the numbers of docs/calls.md as they are written there
"""A-24: an agent who has opened a ring may see the visitor before Go, if the policy and the visitor agree to it."""

from __future__ import annotations

import pytest

from support.calls import House, agent_actor, information
from triortc.engine.calls.commands import (
    CallAccept,
    CallDecline,
    CallRequest,
    ConversationMessageSend,
    InvitationAccept,
    InvitationSend,
    RingOpened,
)
from triortc.engine.calls.configuration import CallConfiguration
from triortc.engine.calls.media_events import LegUp


def preview_house(*, allowed: bool = True) -> House:
    return House(CallConfiguration(visitor_preview_to_agent=allowed))


@pytest.mark.parametrize("visitor_first", [False, True])
def test_A24_and_I14_the_agent_sees_the_visitor_who_agreed_and_the_visitor_sees_nobody(visitor_first: bool) -> None:
    house = preview_house()
    ana, vic = house.agent(), house.visitor()
    requested = house.ok(vic, CallRequest("cv_1", preview=True))
    warm = house.warm(ana)
    for leg in (requested.leg, warm) if visitor_first else (warm, requested.leg):
        assert house.gate(requested.leg, "video") == "closed"
        house.media(LegUp(leg))
    assert [house.gate(requested.leg, kind) for kind in ("audio", "video")] == ["open", "open"]
    assert [house.gate(warm, kind) for kind in ("audio", "video")] == ["closed", "closed"], "I13"
    assert house.sources[(requested.session, "agent")] == warm
    assert house.session(requested.session).state == "ringing"
    house.ok(ana, CallAccept(requested.session))
    assert house.session(requested.session).state == "active"
    assert house.gate(warm, "video") == house.gate(requested.leg, "video") == "open"
    house.check_replay(requested.session)


@pytest.mark.parametrize(("allowed", "agreed"), [(False, True), (True, False)])
def test_A24_without_the_policy_or_without_consent_both_gates_are_closed(allowed: bool, agreed: bool) -> None:
    house = preview_house(allowed=allowed)
    ana, vic = house.agent(), house.visitor()
    requested = house.ok(vic, CallRequest("cv_1", preview=agreed))
    warm = house.warm(ana)
    house.media(LegUp(requested.leg))
    house.media(LegUp(warm))
    for leg in (requested.leg, warm):
        assert (house.gate(leg, "audio"), house.gate(leg, "video")) == ("closed", "closed")


def test_A24_the_device_that_wins_is_the_one_that_goes_on_seeing() -> None:
    house = preview_house()
    ana, vic = house.agent(), house.visitor()
    phone = agent_actor("ana", "phone")
    house.connect(phone, information("phone", "ios"))
    requested = house.ok(vic, CallRequest("cv_1", preview=True))
    first, second = house.warm(ana), house.warm(phone)
    for leg in (requested.leg, first, second):
        house.media(LegUp(leg))
    assert house.sources[(requested.session, "agent")] == first
    house.ok(phone, CallAccept(requested.session))
    assert house.sources[(requested.session, "agent")] == second
    assert first not in house.open_legs
    assert house.session(requested.session).state == "active"


def test_A24_a_decline_seals_what_was_seen() -> None:
    house = preview_house()
    ana, vic = house.agent(), house.visitor()
    requested = house.ok(vic, CallRequest("cv_1", preview=True))
    house.media(LegUp(requested.leg))
    house.media(LegUp(house.warm(ana)))
    house.ok(ana, CallDecline(requested.session))
    assert {gate.value for gate in house.gates.values()} == {"sealed"}
    (record,) = house.history.find("org", session=requested.session)
    assert {leg for leg, *_ in record.gate_intervals} == {requested.leg}


def test_A24_a_visitor_who_accepts_an_invitation_may_agree_as_well() -> None:
    house = preview_house()
    ana, vic = house.agent(), house.visitor()
    house.ok(vic, ConversationMessageSend("cv_1", "hello"))
    invitation = house.ok(ana, InvitationSend("cv_1")).invitation
    accepted = house.ok(vic, InvitationAccept(invitation, preview=True))
    house.media(LegUp(accepted.leg))
    house.media(LegUp(house.ok(ana, RingOpened(house.ring(ana))).leg))
    assert house.gate(accepted.leg, "video") == "open"
