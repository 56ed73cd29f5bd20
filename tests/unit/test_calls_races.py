# ruff: noqa: N802 - test names carry the numbers of docs/calls.md as they are written there
"""Races: both orders of everything that can happen at the same time."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from support.calls import House, agent_actor, information, visitor_actor
from triortc.engine.calls.actor import Actor, Principal
from triortc.engine.calls.claim_table import Busy, ClaimRegistry, Fenced
from triortc.engine.calls.commands import (
    CallAccept,
    CallCancel,
    CallDecline,
    CallHangup,
    CallRequest,
    ConversationMessageSend,
    HandoffCancel,
    HandoffRequest,
    IceCandidate,
    IceCandidates,
    IceRestart,
    MediaSet,
    PresenceSet,
    RingAck,
    RingOpened,
    SdpAnswer,
    SdpOffer,
)
from triortc.engine.calls.effects import AddCandidates, AnswerOffer
from triortc.engine.calls.events import ShutDown
from triortc.engine.calls.media_events import LegFailed, LegLost, LegReady, LegRecovered, LegUp
from triortc.engine.calls.notifications import (
    CallAccepted,
    CallEnded,
    CallPeer,
    CallState,
    HandoffFailed,
    HandoffMoved,
    RestartIce,
    RingEnded,
    RingOffer,
)
from triortc.engine.calls.replies import CallFault, Ok, Reply


class Scene:
    """One agent with a desktop and a phone, one visitor with two tabs."""

    def __init__(self) -> None:
        self.house = House()
        self.desk = self.house.agent()
        self.phone = agent_actor("ana", "phone")
        self.house.connect(self.phone, information("phone", "ios"))
        self.vic = self.house.visitor()

    def other_tab(self) -> Actor:
        tab = visitor_actor("vic", "second", "cv_1")
        self.house.connect(tab, information("second", "web"))
        return tab


@pytest.fixture
def scene() -> Scene:
    return Scene()


def test_R1_accept_at_the_deadline_wins_even_if_handled_300_ms_later(scene: Scene) -> None:
    house = scene.house
    session = house.request(scene.vic).session
    deadline = house.session(session).deadline
    house.now = deadline + 0.3
    reply = house.send(scene.desk, CallAccept(session), rx_time=deadline)
    assert isinstance(reply, Ok)
    assert house.session(session).state == "connecting"
    house.fire()
    assert house.session(session).state == "connecting"


def test_R1_accept_after_the_deadline_is_expired_before_and_after_the_timer(scene: Scene) -> None:
    house = scene.house
    session = house.request(scene.vic).session
    late = house.session(session).deadline + 0.001
    house.now = late
    assert house.fault(scene.desk, CallAccept(session)).code == "call.expired"
    house.fire()
    assert house.fault(scene.desk, CallAccept(session)).code == "call.expired"
    assert house.session(session).outcome == "no_answer"


@pytest.mark.parametrize("first", ["desk", "phone"])
def test_R2_of_two_accepts_the_first_wins(scene: Scene, first: str) -> None:
    house = scene.house
    winner, loser = (scene.desk, scene.phone) if first == "desk" else (scene.phone, scene.desk)
    session = house.request(scene.vic).session
    house.warm(loser)
    house.ok(winner, CallAccept(session))
    fault = house.fault(loser, CallAccept(session))
    assert fault.code == "call.answered_elsewhere"
    by = fault.details["by"]
    assert isinstance(by, dict)
    assert by["platform"] == ("desktop" if first == "desk" else "ios")
    assert [item.reason for item in house.told(loser, RingEnded)] == ["answered_elsewhere"]
    assert not house.told(winner, RingEnded)
    assert len(house.open_legs) == 2, "the loser's warm leg is closed"


def test_R2_the_winners_leg_is_the_source_though_the_loser_warmed_first(scene: Scene) -> None:
    house = scene.house
    requested = house.request(scene.vic)
    warm = house.warm(scene.desk)
    leg = house.ok(scene.phone, CallAccept(requested.session)).leg
    assert house.sources[(requested.session, "agent")] == leg
    assert house.gate(warm, "video") == "sealed"


def test_R3_accept_before_decline(scene: Scene) -> None:
    house = scene.house
    session = house.request(scene.vic).session
    house.ok(scene.desk, CallAccept(session))
    assert house.fault(scene.phone, CallDecline(session)).code == "call.answered_elsewhere"
    assert house.fault(scene.desk, CallDecline(session)).code == "call.invalid_state"
    assert house.session(session).state == "connecting"


def test_R3_decline_before_accept(scene: Scene) -> None:
    house = scene.house
    session = house.request(scene.vic).session
    house.ok(scene.phone, CallDecline(session))
    assert house.fault(scene.desk, CallAccept(session)).code == "call.declined_elsewhere"
    assert house.session(session).outcome == "declined"


def test_R4_accept_before_cancel_is_a_hangup(scene: Scene) -> None:
    house = scene.house
    session = house.request(scene.vic).session
    house.ok(scene.desk, CallAccept(session))
    ended = house.ok(scene.vic, CallCancel(session))
    assert (ended.outcome, ended.reason) == ("completed", "visitor_hangup")
    assert house.history.find("org")[0].talk_ms == 0


def test_R4_cancel_before_accept(scene: Scene) -> None:
    house = scene.house
    session = house.request(scene.vic).session
    house.ok(scene.vic, CallCancel(session))
    assert house.fault(scene.desk, CallAccept(session)).code == "call.cancelled"
    assert house.fault(scene.phone, RingOpened(house.ring(scene.phone))).code == "call.cancelled"


@pytest.mark.parametrize(("offset", "outcome"), [(0.0, "cancelled"), (0.001, "no_answer")])
def test_R5_cancel_against_the_deadline(scene: Scene, offset: float, outcome: str) -> None:
    house = scene.house
    session = house.request(scene.vic).session
    deadline = house.session(session).deadline
    house.now = deadline + 0.1
    house.send(scene.vic, CallCancel(session), rx_time=deadline + offset)
    assert house.session(session).outcome == outcome


@pytest.mark.parametrize(("offset", "outcome"), [(0.0, "declined"), (0.001, "no_answer")])
def test_R6_decline_against_the_deadline(scene: Scene, offset: float, outcome: str) -> None:
    house = scene.house
    session = house.request(scene.vic).session
    deadline = house.session(session).deadline
    house.now = deadline + 0.1
    house.send(scene.desk, CallDecline(session), rx_time=deadline + offset)
    assert house.session(session).outcome == outcome


def test_R11_R12_a_claim_and_a_chat_exclude_each_other_in_a_thousand_random_orders() -> None:
    order = random.Random(11)
    for _ in range(1000):
        house = House()
        house.agent()
        house.visitor("vic")
        house.visitor("wim", conversation="cv_2")
        acts: list[Callable[[House], Reply]] = [
            lambda house: house.send(visitor_actor("vic", "tab", "cv_1"), CallRequest("cv_1")),
            lambda house: house.send(visitor_actor("wim", "tab", "cv_2"), ConversationMessageSend("cv_2", "hi")),
        ]
        order.shuffle(acts)
        for act in acts:
            act(house)
        rings = len(house.world.claims)
        chats = house.world.conversations[("org", "cv_2")].assignee is not None
        assert rings + chats == 1


@pytest.mark.parametrize("moment", ["requested", "up", "moved"])
@pytest.mark.parametrize("who", ["visitor", "source", "target"])
def test_R13_a_hangup_wins_at_every_point_of_a_handoff(scene: Scene, moment: str, who: str) -> None:
    house = scene.house
    session, _, _ = house.active(scene.vic, scene.desk)
    leg = house.pull(scene.phone, session)
    if moment != "requested":
        house.media(LegUp(leg))
    if moment == "moved":
        house.media(LegReady(leg))
    actor = {"visitor": scene.vic, "source": scene.desk, "target": scene.phone}[who]
    reply = house.send(actor, CallHangup(session))
    if moment == "moved" and who == "source":
        assert isinstance(reply, CallFault)
        return
    assert house.session(session).ended
    moved = len(house.told(scene.desk, HandoffMoved))
    house.media(LegReady(leg))
    assert len(house.told(scene.desk, HandoffMoved)) == moved, "no move after the end"
    assert len(house.told(scene.phone, CallEnded)) == len(house.told(scene.desk, CallEnded)) == 1
    if moment != "moved":
        assert [item.reason for item in house.told(scene.phone, HandoffFailed)] == ["ended"]


def test_R14_two_pulls(scene: Scene) -> None:
    house = scene.house
    session, _, _ = house.active(scene.vic, scene.desk)
    pad = agent_actor("ana", "pad")
    house.connect(pad)
    leg = house.pull(scene.phone, session)
    assert house.fault(pad, HandoffRequest(session)).code == "handoff.in_progress"
    house.media(LegReady(leg))
    assert house.moved(pad, session)
    assert house.session(session).agent_device == "pad"


@pytest.mark.parametrize("moment", ["before", "after the pull"])
def test_R15_the_old_device_dies_during_a_handoff(scene: Scene, moment: str) -> None:
    house = scene.house
    session, _, old = house.active(scene.vic, scene.desk)
    if moment == "before":
        house.media(LegLost(old))
    leg = house.pull(scene.phone, session)
    house.media(LegFailed(old, "gone"))
    house.lose(scene.desk)
    house.advance(9.0)
    house.media(LegReady(leg))
    assert house.session(session).state == "active"
    house.advance(60.0)
    assert house.session(session).state == "active"


@pytest.mark.parametrize("leg_first", [True, False])
def test_R16_leg_up_against_its_grace(scene: Scene, leg_first: bool) -> None:
    house = scene.house
    session, _, leg = house.active(scene.vic, scene.desk)
    house.media(LegLost(leg))
    house.now += 30.0
    if leg_first:
        house.media(LegRecovered(leg))
        house.fire()
        assert house.session(session).state == "active"
    else:
        house.fire()
        house.media(LegRecovered(leg))
        assert house.session(session).reason == "agent_connection_lost"


@pytest.mark.parametrize("state", ["offered", "alerting", "opened"])
def test_R17_a_device_that_drops_while_ringing_does_not_move_the_deadline(scene: Scene, state: str) -> None:
    house = scene.house
    session = house.request(scene.vic).session
    ring, deadline = house.ring(scene.phone), house.session(session).deadline
    if state == "alerting":
        house.ok(scene.phone, RingAck(ring))
    if state == "opened":
        house.ok(scene.phone, RingOpened(ring))
    house.lose(scene.phone)
    assert not house.told(scene.vic, CallState)[-1].alerting
    house.advance(7.0)
    house.resume(scene.phone)
    offers = house.told(scene.phone, RingOffer)
    assert [offer.ttl_ms for offer in offers] == [30_000, 23_000]
    assert house.session(session).deadline == deadline
    assert house.ok(scene.phone, CallAccept(session)).state == "connecting"


def test_a_device_that_connects_while_it_rings_is_rung_too(scene: Scene) -> None:
    house = scene.house
    session = house.request(scene.vic).session
    house.advance(3.0)
    pad = agent_actor("ana", "pad")
    rings = house.connect(pad).rings
    assert [ring.ttl_ms for ring in rings] == [27_000]
    assert house.ok(pad, CallAccept(session)).leg


def test_R21_fifty_toggles_end_with_the_last(scene: Scene) -> None:
    house = scene.house
    session, _, leg = house.active(scene.vic, scene.desk)
    order = list(range(1, 51))
    random.Random(21).shuffle(order)
    for n in order:
        house.ok(scene.desk, MediaSet(session, n, camera=n % 2 == 0, mic=n % 3 == 0))
    assert (house.gate(leg, "video"), house.gate(leg, "audio")) == ("open", "muted")


def test_R22_and_late_sdp(scene: Scene) -> None:
    house = scene.house
    session, leg, _ = house.active(scene.vic, scene.desk)
    house.ok(scene.vic, SdpOffer(leg, 1, "one"))
    assert any(isinstance(effect, AnswerOffer) and effect.neg == 1 for effect in house.effects)
    assert house.fault(scene.vic, SdpOffer(leg, 1, "one")).code == "sdp.stale"
    assert house.fault(scene.vic, SdpAnswer(leg, 1, "x")).code == "sdp.stale"
    assert house.fault(scene.desk, SdpOffer(leg, 2, "not mine")).code == "state.not_found"
    house.ok(scene.vic, IceRestart(leg))
    assert house.told(scene.vic, RestartIce)[0].leg == leg
    house.ok(scene.vic, CallHangup(session))
    assert house.fault(scene.vic, SdpOffer(leg, 2, "two")).code == "call.ended"
    assert house.fault(scene.vic, IceRestart(leg)).code == "call.ended"


def test_R23_late_candidates_are_dropped_and_counted(scene: Scene) -> None:
    house = scene.house
    session, leg, _ = house.active(scene.vic, scene.desk)
    late = IceCandidates(leg, 1, "uf", (IceCandidate("candidate:1", "0"),))
    house.ok(scene.vic, late)
    assert any(isinstance(effect, AddCandidates) for effect in house.effects)
    house.ok(scene.vic, CallHangup(session))
    before = house.world.stale_events_total
    house.ok(scene.vic, late)
    assert not any(isinstance(effect, AddCandidates) for effect in house.effects)
    assert house.world.stale_events_total == before + 1
    assert house.fault(scene.phone, late).code == "state.not_found"


def test_R24_no_new_rings_while_shutting_down(scene: Scene) -> None:
    house = scene.house
    house.handle(ShutDown())
    assert house.fault(scene.vic, CallRequest("cv_1")).code == "server.draining"


def test_R28_the_second_tab_sees_the_call_elsewhere_and_may_pull_it(scene: Scene) -> None:
    house = scene.house
    second = scene.other_tab()
    session, leg, _ = house.active(scene.vic, scene.desk)
    assert house.told(second, CallState)[0].in_other_tab
    assert house.told(scene.vic, CallState)[0].in_other_tab is None
    assert house.fault(second, MediaSet(session, 1, camera=False)).code == "call.not_participant"
    moved = house.moved(second, session)
    assert house.session(session).visitor_device == "second"
    assert (house.gate(leg, "video"), house.gate(moved, "video")) == ("sealed", "open")
    assert house.sources[(session, "visitor")] == moved
    assert house.told(scene.vic, CallState)[-1].in_other_tab
    assert house.told(scene.desk, CallPeer)[-1].what == "device_changed"
    house.ok(scene.vic, CallHangup(session))
    for device in (scene.vic, second, scene.desk, scene.phone):
        assert len(house.told(device, CallEnded)) == 1


def test_R28_a_page_that_is_loaded_again_in_a_call_knows_who_the_agent_is_and_none_before_go(scene: Scene) -> None:
    house = scene.house
    rung = house.request(scene.vic).session
    assert [item.agent for item in house.connect(scene.vic).sessions] == [None]
    house.ok(scene.desk, CallAccept(rung))
    (view,) = house.connect(scene.vic).sessions
    assert view.agent == house.told(scene.vic, CallAccepted)[-1].agent
    assert view.agent is not None
    assert [item.agent for item in house.connect(scene.desk).sessions] == [None]  # that is the device itself


def test_R28_a_tab_that_opens_during_the_call_sees_it_in_its_snapshot(scene: Scene) -> None:
    house = scene.house
    session, _, _ = house.active(scene.vic, scene.desk)
    third = visitor_actor("vic", "third", "cv_1")
    assert [(item.session, item.in_other_tab) for item in house.connect(third).sessions] == [(session, True)]
    house.ok(scene.vic, CallHangup(session))
    assert len(house.told(third, CallEnded)) == 1


def test_R29_asking_twice_is_one_session_before_the_answer_and_refused_after(scene: Scene) -> None:
    house = scene.house
    first = house.request(scene.vic)
    again = house.request(scene.vic)
    assert (again.session, again.leg) == (first.session, first.leg)
    other = house.request(scene.other_tab())
    assert (other.session, other.leg) == (first.session, None)
    house.ok(scene.desk, CallAccept(first.session))
    fault = house.fault(scene.vic, CallRequest("cv_1"))
    assert (fault.code, fault.details["session"]) == ("call.invalid_state", first.session)


@pytest.mark.parametrize("ring_first", [True, False])
def test_R30_unavailable_against_the_ring(scene: Scene, ring_first: bool) -> None:
    house = scene.house
    if not ring_first:
        house.ok(scene.desk, PresenceSet("video", "unavailable"))
        assert house.request(scene.vic).reason == "no_agent_available"
        return
    session = house.request(scene.vic).session
    house.ok(scene.desk, PresenceSet("video", "unavailable"))
    assert house.session(session).state == "ringing"
    assert house.ok(scene.desk, CallAccept(session)).leg


def test_visitor_back_within_5_s_keeps_ringing_and_after_that_has_left(scene: Scene) -> None:
    house = scene.house
    session = house.request(scene.vic).session
    house.lose(scene.vic)
    house.advance(4.9)
    house.connect(scene.vic, information("tab", "web"))
    house.advance(10.0)
    assert house.session(session).state == "ringing"
    house.leave(scene.vic)
    house.advance(5.0)
    assert house.session(session).reason == "visitor_left"
    assert house.fault(scene.desk, CallAccept(session)).code == "call.cancelled"


def test_V17_and_R28_who_closes_the_tab_that_asked_has_left_whatever_other_tabs_are_open(scene: Scene) -> None:
    """Only that tab has a leg: an agent who accepted would see nobody for T_connect, and then a failure."""
    house = scene.house
    session = house.request(scene.vic).session
    other = house.visitor("vic", "other")
    house.leave(scene.vic)
    house.advance(4.9)
    house.lose(other)
    house.resume(other)
    assert house.session(session).state == "ringing"
    house.advance(0.1)
    assert house.session(session).reason == "visitor_left"
    assert house.told(other, CallEnded)[-1].session == session


def test_V17_another_tab_that_is_lost_ends_no_ring(scene: Scene) -> None:
    house = scene.house
    session = house.request(scene.vic).session
    other = house.visitor("vic", "other")
    house.leave(other)
    house.advance(10.0)
    assert house.session(session).state == "ringing"


# --- who has no part in it


def test_handoff_cancel_by_a_device_with_no_part_in_it(scene: Scene) -> None:
    house = scene.house
    session, _, _ = house.active(scene.vic, scene.desk)
    house.pull(scene.phone, session)
    pad = agent_actor("ana", "pad")
    house.connect(pad)
    assert house.fault(pad, HandoffCancel(session)).code == "call.not_participant"
    house.ok(scene.phone, HandoffCancel(session))
    assert [item.reason for item in house.told(scene.desk, HandoffFailed)] == ["cancelled"]


# --- claims


def test_I6_epochs_grow_and_old_ones_are_fenced() -> None:
    claims, ana = ClaimRegistry(), Principal("org", "agent", "ana")
    first = claims.acquire(ana, "vs_1", "routed", assignable=True)
    assert first == 1
    assert claims.acquire(ana, "vs_2", "routed", assignable=True) == Busy("vs_1")
    assert claims.release(ana, "vs_1", 1) is None
    assert claims.acquire(ana, "vs_2", "routed", assignable=False) == Busy(None)
    assert claims.acquire(ana, "vs_2", "routed", assignable=True) == 2
    assert claims.commit(ana, "vs_1", 1) == Fenced()
    assert claims.release(ana, "vs_2", 1) == Fenced()
    assert claims.commit(ana, "vs_2", 2) is None
    claim = claims.get(ana)
    assert claim is not None
    assert claim.phase == "in_call"
