# ruff: noqa: N802 - test names carry the numbers of docs/calls.md as they are written there
"""Rows that start from several states: each is taken from every one of them, and leads where the table says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from support.calls import agent_actor
from support.calls_scenes import SUPERVISOR, Scene, people, scene
from triortc.engine.calls.actor import Principal
from triortc.engine.calls.claim_table import Claim, ClaimRegistry, Fenced
from triortc.engine.calls.commands import (
    CallAccept,
    CallCancel,
    CallDecline,
    CallEnd,
    CallHangup,
    CallRequest,
    Command,
    ConversationClose,
    ConversationMessageSend,
    ConversationRead,
    ConversationSnooze,
    ConversationTransfer,
    DeviceRevoke,
    HandoffCancel,
    HandoffRequest,
    MediaSet,
    PresenceSet,
    RecordingStart,
    RecordingStop,
    RingAck,
    RingOpened,
    RingSilence,
    TransferTarget,
)
from triortc.engine.calls.effects import RequestKeyframe
from triortc.engine.calls.events import ActorChanged, SessionCrashed, ShutDown
from triortc.engine.calls.gate_table import Gate, GateState
from triortc.engine.calls.media_events import LegFailed, LegLost, LegRecovered, RecordingStopped
from triortc.engine.calls.notifications import (
    CallEnded,
    CallPeer,
    ConversationChanged,
    HandoffFailed,
    MediaChanged,
    RingEnded,
)

RINGING = ("ringing",)
IN_CALL = ("connecting", "active", "reconnecting", "handoff")
TALKING = ("active", "reconnecting", "handoff")
Act = Callable[[Scene], object]

ENDS: dict[str, tuple[tuple[str, ...], Act, str]] = {
    "V29 by the visitor": (IN_CALL, lambda s: s.house.ok(s.vic, CallHangup(s.session)), "completed/visitor_hangup"),
    "V29 by the agent": (IN_CALL, lambda s: s.house.ok(s.ana, CallHangup(s.session)), "completed/agent_hangup"),
    "V29 by cancel": (IN_CALL, lambda s: s.house.ok(s.vic, CallCancel(s.session)), "completed/visitor_hangup"),
    "V30": (
        IN_CALL,
        lambda s: s.house.ok(s.vic, MediaSet(s.session, 1, fatal="capture_failed")),
        "failed/media_capture_failed",
    ),
    "V41": (
        IN_CALL,
        lambda s: s.house.ok(s.ana, ConversationClose("cv_1", end_video=True)),
        "completed/agent_hangup",
    ),
    "V42": (IN_CALL, lambda s: s.house.ok(SUPERVISOR, CallEnd(s.session)), "completed/supervisor_ended"),
    "V42 before the answer": (
        RINGING,
        lambda s: s.house.ok(SUPERVISOR, CallEnd(s.session)),
        "cancelled/supervisor_ended",
    ),
    "V43": ((*RINGING, *IN_CALL), lambda s: s.house.handle(ShutDown()), "failed/server_shutdown"),
    "V44": ((*RINGING, *IN_CALL), lambda s: s.house.handle(SessionCrashed(s.session)), "failed/internal_error"),
}


@pytest.mark.parametrize(("row", "state"), [(row, state) for row, (states, _, _) in ENDS.items() for state in states])
def test_an_end_from_every_state(row: str, state: str) -> None:
    _, act, end = ENDS[row]
    found = scene(state)
    act(found)
    assert (found.state, found.end, found.last_row) == ("ended", end, row.split()[0])
    assert len(found.house.told(found.vic, CallEnded)) == 1
    assert len(found.house.world.claims) == 0
    if state == "handoff":
        assert [item.reason for item in found.house.told(found.phone, HandoffFailed)] == ["ended"]
    found.house.check_replay(found.session)


def test_V44_a_crash_before_the_ring_ends_the_session_and_frees_nobody_twice() -> None:
    house, _, _, vic = people()

    class Broken:
        def order(self, *question: object) -> list[str]:
            raise RuntimeError("this router is broken, as the test wants it")

    house.control._requesting._router = Broken()
    with pytest.raises(RuntimeError, match="as the test wants it"):
        house.request(vic)
    house.world.drop_effects()
    (session,) = house.world.sessions
    house.handle(SessionCrashed(session))
    assert (house.session(session).outcome, house.session(session).reason) == ("failed", "internal_error")
    assert house.appended[session] == 1


@pytest.mark.parametrize("state", IN_CALL)
def test_V39_a_mute_in_every_state_of_a_call(state: str) -> None:
    found = scene(state)
    found.house.ok(found.vic, MediaSet(found.session, 1, camera=False))
    assert (found.state, found.last_row) == (state, "V39")
    assert found.house.gate(found.visitor_leg, "video") != "open"
    assert not found.house.told(found.ana, MediaChanged)[-1].camera
    found.house.check_replay(found.session)


@pytest.mark.parametrize("state", IN_CALL)
def test_V40_closing_needs_the_word_in_every_state_of_a_call(state: str) -> None:
    found = scene(state)
    fault = found.house.fault(found.ana, ConversationClose("cv_1"))
    assert (fault.code, fault.details["session"]) == ("conversation.video_active", found.session)
    assert (found.state, found.last_row) == (state, "V40")
    assert found.house.world.conversations[("org", "cv_1")].state == "open"


@pytest.mark.parametrize("state", TALKING)
def test_V50_to_V52_recording_in_every_state_of_a_running_call(state: str) -> None:
    found, rows = scene(state), []

    def note() -> str | None:
        rows.append(found.last_row)
        assert found.state == state
        return found.house.session(found.session).recording

    found.house.ok(SUPERVISOR, RecordingStop(found.session))
    assert note() is None
    first = found.house.ok(SUPERVISOR, RecordingStart(found.session)).recording
    assert note() == first
    assert found.house.ok(SUPERVISOR, RecordingStart(found.session)).recording == first
    assert note() == first
    found.house.ok(SUPERVISOR, RecordingStop(found.session))
    assert note() is None
    second = found.house.ok(SUPERVISOR, RecordingStart(found.session)).recording
    assert note() == second != first
    found.house.media(RecordingStopped(found.session, second, "the disk is full"))
    assert note() is None
    assert rows == ["V51", "V50", "V50", "V51", "V50", "V52"]
    found.house.check_replay(found.session)


@pytest.mark.parametrize("state", TALKING)
def test_V32_the_other_leg_may_be_lost_in_every_state_of_a_running_call(state: str) -> None:
    found = scene(state)
    found.house.media(LegLost(found.visitor_leg))
    assert (found.state, found.last_row) == ("reconnecting", "V32")
    assert found.house.gate(found.visitor_leg, "audio") == "frozen"
    assert found.house.told(found.ana, CallPeer)[-1].what == "reconnecting"
    found.house.check_replay(found.session)


@pytest.mark.parametrize("how", ["cancel", "timeout", "failed"])
def test_V37_a_pull_of_a_lost_call_that_fails_leaves_it_reconnecting(how: str) -> None:
    found = scene("reconnecting handoff")
    pending = found.house.session(found.session).pending
    assert pending is not None
    if how == "cancel":
        found.house.ok(found.phone, HandoffCancel(found.session))
    elif how == "timeout":
        found.house.advance(10.0)
    else:
        found.house.media(LegFailed(pending.leg, "dtls"))
    assert (found.state, found.last_row) == ("reconnecting", "V37")
    assert found.house.session(found.session).pending is None
    assert len(found.house.told(found.phone, HandoffFailed)) == 1
    found.house.check_replay(found.session)


@pytest.mark.parametrize("state", ["handoff", "reconnecting handoff"])
def test_V38_one_pull_at_a_time(state: str) -> None:
    found = scene(state)
    pad = agent_actor("ana", "pad")
    found.house.connect(pad)
    assert found.house.fault(pad, HandoffRequest(found.session)).code == "handoff.in_progress"
    assert found.last_row == "V38"


# --- the ring on one device

WAYS = ("planned", "offered", "alerting", "opened", "silenced")
RING_ENDS = (
    "won",
    "answered_elsewhere",
    "declined_here",
    "declined_elsewhere",
    "timeout",
    "cancelled",
    "device_removed",
)


def ring_in(state: str) -> Scene:
    """The phone's ring in this state."""
    found = scene("ringing")
    house, phone = found.house, found.phone
    if state == "planned":
        house.lose(phone)
    elif state != "offered":
        command: dict[str, Callable[[str], Command]] = {
            "alerting": RingAck,
            "opened": RingOpened,
            "silenced": RingSilence,
        }
        house.ok(phone, command[state](house.ring(phone)))
    assert phone_leg(found) == (state, None)
    return found


def phone_leg(found: Scene) -> tuple[str, str | None]:
    assert found.phone.address is not None
    leg = found.house.world.rings[found.session].legs[found.phone.address]
    return leg.state, leg.reason


@pytest.mark.parametrize("end", RING_ENDS)
@pytest.mark.parametrize("state", WAYS)
def test_L10_L11_L12_the_ring_ends_in_every_state(state: str, end: str) -> None:
    found = ring_in(state)
    house = found.house
    match end:
        case "won":
            house.ok(found.phone, CallAccept(found.session))
        case "answered_elsewhere":
            house.ok(found.ana, CallAccept(found.session))
        case "declined_here":
            house.ok(found.phone, CallDecline(found.session))
        case "declined_elsewhere":
            house.ok(found.ana, CallDecline(found.session))
        case "timeout":
            house.advance(30.0)
        case "cancelled":
            house.ok(found.vic, CallCancel(found.session))
        case _:
            house.ok(found.ana, DeviceRevoke("phone"))
    assert phone_leg(found) == ("done", end)
    told = [(item.reason, item.log_missed) for item in house.told(found.phone, RingEnded)]
    assert told == ([] if end == "won" else [(end, end in ("timeout", "cancelled"))])


def test_L8_and_L7_a_device_may_be_silenced_and_opened_again() -> None:
    for state in ("offered", "alerting", "opened"):
        found = ring_in(state)
        found.house.ok(found.phone, RingSilence(found.house.ring(found.phone)))
        assert phone_leg(found) == ("silenced", None)
        found.house.ok(found.phone, RingOpened(found.house.ring(found.phone)))
        assert phone_leg(found) == ("opened", None)


@pytest.mark.parametrize("state", ["offered", "alerting", "opened"])
def test_L9_and_L6_a_device_lost_in_any_state_rings_again_when_it_is_back(state: str) -> None:
    found = ring_in(state)
    found.house.lose(found.phone)
    assert phone_leg(found) == ("planned", None)
    found.house.resume(found.phone)
    assert phone_leg(found) == ("offered", None)


@pytest.mark.parametrize("command", [RingAck, RingSilence])
def test_L13_after_the_end_a_ring_takes_nothing_in(command: type[RingAck] | type[RingSilence]) -> None:
    found = ring_in("alerting")
    ring = found.house.ring(found.phone)
    found.house.ok(found.ana, CallDecline(found.session))
    taken = found.house.world.rows_taken["L13"]
    found.house.ok(found.phone, command(ring))
    assert found.house.world.rows_taken["L13"] == taken + 1
    assert phone_leg(found) == ("done", "declined_elsewhere")


def test_D2_a_device_that_was_removed_from_the_ring_cannot_answer_it() -> None:
    """I4: whoever answers has won the ring."""
    found = scene("ringing")
    found.house.handle(ActorChanged(replace(found.phone, caps=frozenset({"presence"}))))
    assert found.house.fault(found.phone, CallAccept(found.session)).code == "call.not_participant"
    assert found.state == "ringing"
    found.house.ok(found.ana, CallAccept(found.session))


# --- claims and gates

ANA = Principal("org", "agent", "ana")


@pytest.mark.parametrize("phase", ["ringing", "waiting", "in_call"])
def test_C6_a_claim_is_taken_over_in_its_phase_with_a_new_epoch(phase: str) -> None:
    claims = ClaimRegistry()
    assert claims.adopt(ANA, Claim("vs_1", "routed", phase, 7)) == 8
    assert claims.rows_taken["C6"] == 1
    assert claims.get(ANA) == Claim("vs_1", "routed", phase, 8)
    assert isinstance(claims.release(ANA, "vs_1", 7), Fenced)


@pytest.mark.parametrize("phase", ["free", "ringing", "in_call"])
def test_C8_an_old_epoch_is_fenced_in_every_phase(phase: str) -> None:
    """R26: who was replaced writes nothing."""
    claims = ClaimRegistry()
    first = claims.acquire(ANA, "vs_1", "routed", assignable=True)
    assert isinstance(first, int)
    claims.release(ANA, "vs_1", first)
    if phase != "free":
        second = claims.acquire(ANA, "vs_2", "routed", assignable=True)
        assert isinstance(second, int)
        if phase == "in_call":
            assert claims.commit(ANA, "vs_2", second) is None
    before, taken = claims.get(ANA), claims.rows_taken.get("C8", 0)
    assert isinstance(claims.commit(ANA, "vs_1", first), Fenced)
    assert isinstance(claims.release(ANA, "vs_1", first), Fenced)
    assert claims.get(ANA) == before
    assert claims.rows_taken["C8"] == taken + 2


GATE_STATES = [state.value for state in GateState if state is not GateState.SEALED]


@pytest.mark.parametrize("state", GATE_STATES)
def test_G8_a_gate_is_sealed_from_every_state_and_for_good(state: str) -> None:
    gate = Gate(GateState(state))
    assert gate.apply("seal", 1.0) is not None
    assert gate.state is GateState.SEALED
    for event in ("commit", "ready", "mute", "unmute", "freeze", "thaw", "seal"):
        assert gate.apply(event, 2.0) is None
    assert (gate.state, gate.muted, gate.since) == (GateState.SEALED, False, 1.0)


def test_G5_G6_a_muted_gate_freezes_and_thaws_muted() -> None:
    found = scene("active")
    found.house.ok(found.ana, MediaSet(found.session, 1, camera=False))
    found.house.media(LegLost(found.agent_leg))
    assert found.house.gate(found.agent_leg, "video") == "frozen"
    found.house.media(LegRecovered(found.agent_leg))
    assert found.house.gate(found.agent_leg, "video") == "muted"
    assert found.house.gate(found.agent_leg, "audio") == "open"


@pytest.mark.parametrize("camera", [False, True])
def test_G7_a_mute_is_remembered_by_a_frozen_gate(camera: bool) -> None:
    found = scene("reconnecting")
    house = found.house
    taken = house.world.rows_taken["G7"]
    house.ok(found.ana, MediaSet(found.session, 1, camera=not camera))
    house.ok(found.ana, MediaSet(found.session, 2, camera=camera))
    assert house.world.rows_taken["G7"] == taken + 2
    house.media(LegRecovered(found.agent_leg))
    assert house.gate(found.agent_leg, "video") == ("open" if camera else "muted")
    asked = RequestKeyframe(found.session, found.agent_leg)
    assert (asked in house.effects) == camera


def test_G7_a_mute_taken_back_before_the_call_is_active_is_not_remembered() -> None:
    found = scene("connecting")
    house = found.house
    taken = house.world.rows_taken["G7"]
    house.ok(found.vic, MediaSet(found.session, 1, camera=False))
    house.ok(found.vic, MediaSet(found.session, 2, camera=True))
    assert house.world.rows_taken["G7"] == taken + 2


# --- snoozed conversations


def snoozed() -> Scene:
    found = scene("ringing")
    found.house.ok(found.ana, CallDecline(found.session))
    found.house.ok(found.ana, ConversationSnooze("cv_1"))
    return found


def test_K4_a_snoozed_conversation_may_be_closed() -> None:
    found = snoozed()
    found.house.ok(found.ana, ConversationClose("cv_1"))
    assert found.house.world.conversations[("org", "cv_1")].state == "closed"


def test_K8_a_visitor_may_come_and_go_in_a_snoozed_conversation() -> None:
    found = snoozed()
    found.house.lose(found.vic)
    conversation = found.house.world.conversations[("org", "cv_1")]
    assert (conversation.state, conversation.visitor_online) == ("snoozed", False)
    assert not found.house.told(found.ana, ConversationChanged)[-1].visitor.online


def test_K6_a_video_in_a_snoozed_conversation_shows_its_icon() -> None:
    house, _, _, vic = people()
    house.control.open_conversation(vic.principal, "cv_1", None, house.now)
    house.world.conversations[("org", "cv_1")].state = "snoozed"
    house.request(vic)
    assert house.world.conversations[("org", "cv_1")].video_icon


# --- rows that change nothing but say that the event was expected


def test_L13_opening_a_ring_that_is_over_says_why() -> None:
    found = ring_in("alerting")
    ring = found.house.ring(found.phone)
    found.house.ok(found.ana, CallDecline(found.session))
    taken = found.house.world.rows_taken["L13"]
    assert found.house.fault(found.phone, RingOpened(ring)).code == "call.declined_elsewhere"
    assert found.house.world.rows_taken["L13"] == taken + 1


def test_K7_the_end_of_a_video_that_nobody_keeps_is_remembered_without_a_reminder() -> None:
    found = scene("ringing")
    found.house.ok(found.vic, CallCancel(found.session))
    conversation = found.house.world.conversations[("org", "cv_1")]
    assert conversation.last_video is not None
    assert (conversation.last_video.outcome, conversation.assignee) == ("cancelled", None)
    assert found.house.next_deadline() is None or ("T_close_reminder", "org", "cv_1") not in found.house.world.timers


@pytest.mark.parametrize(
    "write",
    [
        ConversationMessageSend("cv_1", "?"),
        CallRequest("cv_1"),
        ConversationRead("cv_1", "m_1"),
        ConversationSnooze("cv_1"),
        ConversationTransfer("cv_1", TransferTarget(agent="ben")),
    ],
)
def test_K9_nothing_is_written_into_a_closed_conversation(write: Command) -> None:
    found = scene("ringing")
    found.house.ok(found.ana, CallDecline(found.session))
    found.house.ok(found.ana, ConversationClose("cv_1"))
    ben = agent_actor("ben", "tablet")
    found.house.connect(ben)
    found.house.ok(ben, PresenceSet("chat", "available"))
    taken = found.house.world.rows_taken["K9"]
    writer = found.ana if isinstance(write, ConversationSnooze | ConversationTransfer) else found.vic
    assert found.house.fault(writer, write).code == "conversation.closed"
    assert found.house.world.rows_taken["K9"] == taken + 1


def test_V4_V18_V19_V20_V31_are_in_the_log_though_they_change_no_state() -> None:
    house, ana, phone, vic = people()
    ben = agent_actor("ben", "tablet")
    house.connect(ben)
    house.ok(ben, PresenceSet("video", "available"))
    house.world.agents[ben.principal].idle_since = -1.0
    house.lose(ben)
    session = house.request(vic).session
    house.ok(phone, RingSilence(house.ring(phone)))
    house.lose(phone)
    house.lose(ana)
    house.resume(ana)
    house.ok(ana, CallAccept(session))
    stale = house.world.stale_events_total
    house.lose(vic)
    assert house.world.stale_events_total == stale
    rows = [record.row for record in house.control.event_log(session)]
    assert rows == ["", "V4", "V1", "V20", "V18", "V19", "V11", "V31"]
