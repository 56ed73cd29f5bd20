# ruff: noqa: N802 - test names carry the numbers of docs/calls.md as they are written there
"""What an embedder decides about pictures and sound: the visitor's camera, the size of a view."""

from __future__ import annotations

from typing import Literal

import pytest

from support.calls import FakeMedia, House, agent_actor, information, visitor_actor
from triortc.engine.calls.commands import CallAccept, CallRequest, HandoffRequest, MediaSet, PresenceSet
from triortc.engine.calls.configuration import CallConfiguration
from triortc.engine.calls.effects import SetGate, SetView
from triortc.engine.calls.gate_table import GateState
from triortc.engine.calls.media_events import LegReady, LegUp
from triortc.engine.calls.notifications import MediaChanged, RingOffer
from triortc.engine.calls.replies import CallRequestedPayload, Ok
from triortc.engine.calls.supervisor import open_call_supervisor

Policy = Literal["allowed", "off_default", "not_allowed"]


@pytest.mark.parametrize("policy", ["allowed", "off_default", "not_allowed"])
def test_S3_9a_the_visitors_camera_is_the_embedders_to_allow(policy: Policy) -> None:
    house = House(CallConfiguration(visitor_camera=policy))
    ana, vic = house.agent(), house.visitor()
    session, visitor_leg, agent_leg = house.active(vic, ana)
    allowed = policy == "allowed"
    assert house.told(ana, RingOffer)[-1].media == {"audio": True, "video": allowed}
    assert house.gate(visitor_leg, "video") == ("open" if allowed else "muted")
    assert house.gate(visitor_leg, "audio") == house.gate(agent_leg, "video") == "open"
    turned_on = MediaSet(session, 1, camera=True)
    if policy == "not_allowed":
        assert house.fault(vic, turned_on).code == "auth.forbidden"
        house.ok(vic, MediaSet(session, 1, camera=False))
        assert house.gate(visitor_leg, "video") == "muted"
        assert not house.told(ana, MediaChanged)
        house.ok(ana, MediaSet(session, 1, camera=True))
    else:
        house.ok(vic, turned_on)
        assert house.gate(visitor_leg, "video") == "open"
        assert [item.camera for item in house.told(ana, MediaChanged)] == ([] if allowed else [True])
    house.check_replay(session)


@pytest.mark.parametrize("turned_on", [False, True])
def test_R28_a_second_tab_takes_the_camera_over_as_it_is(turned_on: bool) -> None:
    house = House(CallConfiguration(visitor_camera="off_default"))
    ana, vic, tab = house.agent(), house.visitor(), visitor_actor("vic", "second", "cv_1")
    house.connect(tab)
    session, _, _ = house.active(vic, ana)
    if turned_on:
        house.ok(vic, MediaSet(session, 1, camera=True))
    leg = house.ok(tab, HandoffRequest(session)).leg
    told = [effect.state for effect in house.effects if isinstance(effect, SetGate) and effect.kind == "video"]
    assert told[-1] is (GateState.CLOSED if turned_on else GateState.MUTED), "a kind that is off is not waited for"
    house.media(LegUp(leg))
    house.media(LegReady(leg))
    assert house.gate(leg, "video") == ("open" if turned_on else "muted")
    assert house.gate(leg, "audio") == "open"


def test_S3_2b_a_thumbnail_is_told_to_the_media_side_and_changes_nothing_else() -> None:
    house = House()
    ana, vic = house.agent(), house.visitor()
    session, _, leg = house.active(vic, ana)
    gates = dict(house.gates)
    house.ok(ana, MediaSet(session, 1, view="thumbnail"))
    assert [effect for effect in house.effects if isinstance(effect, SetView)] == [SetView(session, leg, "thumbnail")]
    house.ok(ana, MediaSet(session, 1, view="full"))
    assert not any(isinstance(effect, SetView) for effect in house.effects), "out of date (R21)"
    house.ok(ana, MediaSet(session, 2, view="full"))
    assert [effect for effect in house.effects if isinstance(effect, SetView)] == [SetView(session, leg, "full")]
    assert house.gates == gates
    assert not house.told(vic, MediaChanged)


async def test_S3_2b_the_supervisor_passes_the_view_on(autojump_clock: object) -> None:
    media = FakeMedia()
    ana, vic = agent_actor("ana", "desk"), visitor_actor("vic", "tab", "cv_1")
    async with open_call_supervisor(media) as supervisor:
        for actor in (ana, vic):
            supervisor.device_connected(actor, information(actor.device or ""))
        supervisor.command(ana, PresenceSet("video", "available"))
        requested = supervisor.command(vic, CallRequest("cv_1"))
        assert isinstance(requested, Ok)
        assert isinstance(requested.payload, CallRequestedPayload)
        session = requested.payload.session
        supervisor.command(ana, CallAccept(session))
        for leg in list(media.open_legs):
            supervisor.media_event(LegUp(leg))
        assert isinstance(supervisor.command(ana, MediaSet(session, 1, view="thumbnail")), Ok)
        agent_leg = supervisor.control.world.sessions[session].agent_leg
        assert ("set_view", agent_leg, "thumbnail") in media.calls
