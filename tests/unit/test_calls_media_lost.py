# ruff: noqa: N802 - test names carry the numbers of docs/calls.md as they are written there
"""V47 without a restart: a media process dies under calls whose devices are still connected (docs/calls.md)."""

from __future__ import annotations

from dataclasses import replace

from support.calls import House
from triortc.engine.calls.actor import Actor
from triortc.engine.calls.commands import CallAccept, CallHangup, CallRequest, MediaSet, RecordingStart
from triortc.engine.calls.configuration import CallConfiguration
from triortc.engine.calls.effects import OpenLeg, SetGate, SetSource
from triortc.engine.calls.gate_table import GateState
from triortc.engine.calls.media_events import LegUp, MediaLost
from triortc.engine.calls.notifications import CallEnded, CallPeer, HandoffFailed, MediaGateChanged, RecordingChanged

DIED = "media worker 1 ended"


def asked(house: House, actor: Actor) -> list[tuple[str, bool | None]]:
    return [(peer.what, peer.renegotiate) for peer in house.told(actor, CallPeer)]


def lose(house: House, session: str) -> list[object]:
    """The effects of the loss alone."""
    house.media(MediaLost(session, DIED))
    return list(house.effects)


def test_V47_a_call_whose_media_died_is_negotiated_anew_and_goes_on() -> None:
    house = House()
    agent, visitor = house.agent(), house.visitor()
    session, visitor_leg, agent_leg = house.active(visitor, agent)
    house.ok(agent, MediaSet(session, 1, camera=False, mic=True))
    house.advance(10.0)
    effects = lose(house, session)
    assert house.session(session).state == "reconnecting"
    assert {effect.leg for effect in effects if isinstance(effect, OpenLeg)} == {visitor_leg, agent_leg}
    assert SetSource(session, "agent", agent_leg) in effects
    assert house.gate(agent_leg, "audio") == house.gate(visitor_leg, "video") == "frozen"
    assert house.told(agent, MediaGateChanged)[-1].state == "frozen", "the agent's page sees it"
    assert asked(house, agent) == asked(house, visitor) == [("reconnecting", True)]
    assert [peer.deadline_ms for peer in house.told(visitor, CallPeer)] == [30_000]
    house.advance(2.0)
    house.media(LegUp(agent_leg))
    house.media(LegUp(visitor_leg))
    assert house.session(session).state == "active"
    assert house.gate(agent_leg, "audio") == house.gate(visitor_leg, "video") == "open"
    assert house.gate(agent_leg, "video") == "muted", "as its sender had left it"
    assert asked(house, agent)[-1] == asked(house, visitor)[-1] == ("resumed", None)
    house.advance(20.0)
    house.ok(visitor, CallHangup(session))
    (record,) = house.history.find("org", session=session)
    assert record.talk_ms == 30_000, "the talk clock stands still meanwhile"
    house.check_replay(session)


def test_V49_a_call_whose_devices_do_not_come_back_ends_as_node_lost() -> None:
    house = House()
    agent, visitor = house.agent(), house.visitor()
    session, _, agent_leg = house.active(visitor, agent)
    lose(house, session)
    house.media(LegUp(agent_leg))
    house.advance(30.0)
    assert (house.session(session).outcome, house.session(session).reason) == ("failed", "node_lost")
    assert len(house.told(visitor, CallEnded)) == 1


def test_V46_a_ring_whose_media_died_rings_on_and_is_accepted_with_legs_made_anew() -> None:
    house = House()
    agent, visitor = house.agent(), house.visitor()
    requested = house.request(visitor)
    warm = house.warm(agent)
    house.media(LegUp(warm))
    house.advance(5.0)
    effects = lose(house, requested.session)
    assert {effect.leg for effect in effects if isinstance(effect, OpenLeg)} == {requested.leg, warm}
    assert asked(house, visitor) == asked(house, agent) == [("reconnecting", True)]
    house.advance(20.0)
    assert house.session(requested.session).state == "ringing", "nobody has left"
    accepted = house.ok(agent, CallAccept(requested.session))
    house.media(LegUp(accepted.leg))
    house.media(LegUp(requested.leg or ""))
    assert house.session(requested.session).state == "active"
    house.check_replay(requested.session)


def test_V47_between_go_and_the_first_packet_both_legs_have_to_come_up_again() -> None:
    house = House()
    agent, visitor = house.agent(), house.visitor()
    session, visitor_leg, agent_leg = house.answered(visitor, agent)
    house.media(LegUp(visitor_leg))
    lose(house, session)
    house.media(LegUp(agent_leg))
    assert house.session(session).state == "connecting", "the visitor's leg was up in a process that is no more"
    house.media(LegUp(visitor_leg))
    assert house.session(session).state == "active"
    assert house.gate(agent_leg, "video") == house.gate(visitor_leg, "video") == "open"


def test_V47_a_preview_that_was_open_begins_closed_and_is_shown_again() -> None:
    house = House(CallConfiguration(visitor_preview_to_agent=True))
    agent, visitor = house.agent(), house.visitor()
    requested = house.ok(visitor, CallRequest("cv_1", preview=True))
    warm = house.warm(agent)
    house.media(LegUp(requested.leg))
    house.media(LegUp(warm))
    assert house.gate(requested.leg, "video") == "open"
    house.gates.clear()  # they went with the process
    lose(house, requested.session)
    house.media(LegUp(warm))
    assert house.gate(requested.leg, "video") == "closed"
    house.media(LegUp(requested.leg))
    assert house.gate(requested.leg, "video") == "open"


def test_V47_a_leg_that_is_made_anew_is_told_which_kinds_are_muted() -> None:
    house = House(CallConfiguration(visitor_camera="off_default"))
    agent, visitor = house.agent(), house.visitor()
    session, visitor_leg, agent_leg = house.answered(visitor, agent)
    effects = lose(house, session)
    muted = SetGate(session, visitor_leg, "video", GateState.MUTED, house.session(session).epoch)
    opened = next(n for n, effect in enumerate(effects) if isinstance(effect, OpenLeg) and effect.leg == visitor_leg)
    assert muted in effects[opened:], "the new leg is told, behind its opening, what its device need not send"
    house.media(LegUp(visitor_leg))
    house.media(LegUp(agent_leg))
    assert house.gate(visitor_leg, "video") == "muted"
    assert house.gate(agent_leg, "video") == "open"


def test_V37_V52_a_handoff_on_its_way_fails_and_a_recording_ends_with_the_media() -> None:
    house = House(CallConfiguration(recording="on_request"))
    visitor = house.visitor()
    desk = replace(house.agent(), caps=house.agent().caps | {"record"})
    house.connect(desk)
    phone = house.agent(device="phone", platform="ios")
    session, _, _ = house.active(visitor, desk)
    house.ok(desk, RecordingStart(session))
    pending = house.pull(phone, session)
    effects = lose(house, session)
    assert [event.reason for event in house.told(phone, HandoffFailed)] == ["media"]
    assert pending not in {effect.leg for effect in effects if isinstance(effect, OpenLeg)}
    assert house.told(visitor, RecordingChanged)[-1].on is False
    assert house.session(session).recording is None
    assert asked(house, phone) == [], "it has no part in the call any more"


def test_a_loss_of_media_after_the_end_is_counted_and_changes_nothing() -> None:
    house = House()
    agent, visitor = house.agent(), house.visitor()
    session, _, _ = house.active(visitor, agent)
    house.ok(visitor, CallHangup(session))
    before = house.world.stale_events_total
    assert lose(house, session) == []
    house.media(MediaLost("vs_never", DIED))
    assert house.world.stale_events_total == before + 2
