"""What makes a call take each row that is its own of the tables V, C, G, K and L."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from support.calls import House, agent_actor, information
from triortc.engine.calls.actor import Actor, Principal, PushEndpoint
from triortc.engine.calls.claim_table import Fenced
from triortc.engine.calls.commands import (
    CallAccept,
    CallCancel,
    CallDecline,
    CallEnd,
    CallHangup,
    CallRequest,
    ConversationClose,
    ConversationMessageSend,
    ConversationRead,
    ConversationSnooze,
    ConversationTransfer,
    DeviceRevoke,
    DeviceUpdate,
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
from triortc.engine.calls.events import SessionCrashed, SessionFenced, ShutDown
from triortc.engine.calls.media_events import LegFailed, LegLost, LegReady, LegRecovered, LegUp, RecordingStopped
from triortc.engine.calls.notifications import RingEnded

Scenario = Callable[[House, Actor, Actor], None]


def service() -> Actor:
    return Actor("boss", "service", "org", caps=frozenset({"call.end"}))


def v3(house: House, ana: Actor, vic: Actor) -> None:
    house.leave(ana)
    assert house.request(vic).outcome == "unavailable"


def v4(house: House, ana: Actor, vic: Actor) -> None:
    house.lose(ana)
    assert house.request(vic).reason == "no_reachable_device"


def v12(house: House, ana: Actor, vic: Actor) -> None:
    house.ok(ana, DeviceUpdate(perms={"camera": "denied"}))
    assert house.fault(ana, CallAccept(house.request(vic).session)).code == "permission.required"


def v13(house: House, ana: Actor, vic: Actor) -> None:
    session = house.request(vic).session
    house.now += 30.001
    assert house.fault(ana, CallAccept(session)).code == "call.expired"
    assert house.session(session).state == "ringing", "the timer itself has not run"


def ends(act: Callable[[House, Actor, Actor, str], object], outcome: str, reason: str) -> Scenario:
    def scenario(house: House, ana: Actor, vic: Actor) -> None:
        session = house.request(vic).session
        act(house, ana, vic, session)
        ended = house.session(session)
        assert (ended.state, ended.outcome, ended.reason) == ("ended", outcome, reason)
        house.check_replay(session)

    return scenario


def in_call(
    act: Callable[[House, Actor, Actor, tuple[str, str, str]], object], state: str, reason: str = ""
) -> Scenario:
    def scenario(house: House, ana: Actor, vic: Actor) -> None:
        call = house.active(vic, ana)
        act(house, ana, vic, call)
        session = house.session(call[0])
        assert (session.state, session.reason or "") == (state, reason)
        house.check_replay(call[0])

    return scenario


def phone(house: House) -> Actor:
    actor = agent_actor("ana", "phone")
    house.connect(actor, information("phone", "ios"))
    return actor


def v19(house: House, ana: Actor, vic: Actor) -> None:
    session = house.request(vic).session
    house.lose(ana)
    assert house.session(session).state == "ringing"


def v28(house: House, ana: Actor, vic: Actor) -> None:
    session, _, _ = house.answered(vic, ana)
    house.advance(15.0)
    assert house.session(session).reason == "media_setup_failed"


def v31(house: House, ana: Actor, vic: Actor) -> None:
    session, _, _ = house.answered(vic, ana)
    house.lose(vic)
    assert house.session(session).state == "connecting"


def v34_pending(house: House, ana: Actor, vic: Actor) -> None:
    session, _, leg = house.active(vic, ana)
    house.media(LegLost(leg))
    house.advance(25.0)
    pending = house.pull(phone(house), session)
    house.advance(5.0)
    assert house.session(session).state == "reconnecting", "a pending leg covers for the lost one"
    house.media(LegReady(pending))
    assert house.session(session).state == "active"


def v37_failed(house: House, ana: Actor, vic: Actor) -> None:
    session, _, _ = house.active(vic, ana)
    house.media(LegFailed(house.pull(phone(house), session), "dtls"))
    assert house.session(session).state == "active"


def v37_cancel(house: House, ana: Actor, vic: Actor) -> None:
    session, _, _ = house.active(vic, ana)
    house.pull(phone(house), session)
    house.ok(ana, HandoffCancel(session))
    assert house.session(session).state == "active"


def v38(house: House, ana: Actor, vic: Actor) -> None:
    session, _, _ = house.active(vic, ana)
    house.pull(phone(house), session)
    pad = agent_actor("ana", "pad")
    house.connect(pad)
    assert house.fault(pad, HandoffRequest(session)).code == "handoff.in_progress"


def recorder() -> Actor:
    return Actor("boss", "supervisor", "org")


def recorded(house: House, ana: Actor, vic: Actor, call: tuple[str, str, str]) -> None:
    assert house.ok(recorder(), RecordingStart(call[0])).recording == house.session(call[0]).recording


def recording_ended(house: House, ana: Actor, vic: Actor, call: tuple[str, str, str]) -> None:
    recorded(house, ana, vic, call)
    house.ok(recorder(), RecordingStop(call[0]))
    assert house.session(call[0]).recording is None


def recording_broke(house: House, ana: Actor, vic: Actor, call: tuple[str, str, str]) -> None:
    recorded(house, ana, vic, call)
    house.media(RecordingStopped(call[0], house.session(call[0]).recording or "", "the disk is full"))
    assert house.session(call[0]).recording is None


def v40(house: House, ana: Actor, vic: Actor) -> None:
    house.active(vic, ana)
    assert house.fault(ana, ConversationClose("cv_1")).code == "conversation.video_active"


def c8(house: House, ana: Actor, vic: Actor) -> None:
    claims, agent = house.world.claims, Principal("org", "agent", "ana")
    session = house.request(vic).session
    assert isinstance(claims.commit(agent, session, 0), Fenced)
    assert isinstance(claims.release(agent, session, 0), Fenced)
    assert len(claims) == 1


def g7(house: House, ana: Actor, vic: Actor) -> None:
    session, visitor_leg, leg = house.answered(vic, ana)
    house.ok(ana, MediaSet(session, 1, mic=False))
    house.media(LegUp(visitor_leg))
    house.media(LegUp(leg))
    assert (house.gate(leg, "audio"), house.gate(leg, "video")) == ("muted", "open")


def k0b(house: House, ana: Actor, vic: Actor) -> None:
    house.ok(vic, ConversationMessageSend("cv_1", "hello"))
    assert house.world.conversations[("org", "cv_1")].assignee == "ana"


def k1(house: House, ana: Actor, vic: Actor) -> None:
    k0b(house, ana, vic)
    house.ok(ana, ConversationMessageSend("cv_1", "good day"))


def k2(house: House, ana: Actor, vic: Actor) -> None:
    k0b(house, ana, vic)
    house.ok(ana, ConversationSnooze("cv_1"))
    assert house.world.conversations[("org", "cv_1")].state == "snoozed"


def k3(house: House, ana: Actor, vic: Actor) -> None:
    k0b(house, ana, vic)
    ben = agent_actor("ben", "tablet")
    house.connect(ben)
    house.ok(ben, PresenceSet("chat", "available"))
    house.ok(ana, ConversationTransfer("cv_1", TransferTarget(agent="ben")))
    assert house.world.conversations[("org", "cv_1")].assignee == "ben"


def k5(house: House, ana: Actor, vic: Actor) -> None:
    k2(house, ana, vic)
    house.ok(vic, ConversationMessageSend("cv_1", "hello?"))
    assert house.world.conversations[("org", "cv_1")].state == "open"


def k9(house: House, ana: Actor, vic: Actor) -> None:
    k0b(house, ana, vic)
    house.ok(ana, ConversationClose("cv_1"))
    for command in (ConversationMessageSend("cv_1", "?"), CallRequest("cv_1"), ConversationRead("cv_1", "m")):
        assert house.fault(vic, command).code == "conversation.closed"


def k8(house: House, ana: Actor, vic: Actor) -> None:
    k0b(house, ana, vic)
    house.lose(vic)
    conversation = house.world.conversations[("org", "cv_1")]
    assert (conversation.visitor_online, conversation.state) == (False, "open")


def l3(house: House, ana: Actor, vic: Actor) -> None:
    mobile = phone(house)
    house.lose(mobile)
    session = house.request(vic).session
    assert mobile.address is not None
    assert house.world.rings[session].legs[mobile.address].state == "planned"


FCM = PushEndpoint("fcm", token="t")


def l2(house: House, ana: Actor, vic: Actor) -> None:
    mobile = agent_actor("ana", "phone")
    house.connect(mobile, replace(information("phone", "android"), push=(FCM,), app_state="background"))
    session = house.request(vic).session
    assert mobile.address is not None
    assert house.world.rings[session].legs[mobile.address].state == "pushed"


def l5(house: House, ana: Actor, vic: Actor) -> None:
    house.ok(ana, DeviceUpdate(push=(FCM,)))
    house.request(vic)
    assert house.pushes == []
    house.advance(2.0)
    assert len(house.pushes) == 1


def l6(house: House, ana: Actor, vic: Actor) -> None:
    l3(house, ana, vic)
    mobile = agent_actor("ana", "phone")
    house.advance(4.0)
    house.resume(mobile)
    assert house.ring(mobile) == house.ring(ana)


def l8(house: House, ana: Actor, vic: Actor) -> None:
    session = house.request(vic).session
    house.ok(ana, RingSilence(house.ring(ana)))
    assert house.session(session).state == "ringing"


def l11(house: House, ana: Actor, vic: Actor) -> None:
    phone(house)
    house.answered(vic, ana)


def l12(house: House, ana: Actor, vic: Actor) -> None:
    mobile = phone(house)
    house.request(vic)
    house.ok(ana, DeviceRevoke("phone"))
    assert house.told(mobile, RingEnded)[-1].reason == "device_removed"


def l13(house: House, ana: Actor, vic: Actor) -> None:
    session = house.request(vic).session
    house.ok(ana, CallDecline(session))
    house.ok(ana, RingAck(house.ring(ana)))


def l7(house: House, ana: Actor, vic: Actor) -> None:
    house.request(vic)
    house.ok(ana, RingAck(house.ring(ana)))
    house.ok(ana, RingOpened(house.ring(ana)))


def rings(house: House, ana: Actor, vic: Actor) -> None:
    assert house.request(vic).state == "ringing"


def answers(house: House, ana: Actor, vic: Actor) -> None:
    session, _, _ = house.answered(vic, ana)
    assert house.session(session).state == "connecting"


def v17(house: House, ana: Actor, vic: Actor, session: str) -> None:
    house.lose(vic)
    house.advance(5.0)


def v45(house: House, ana: Actor, vic: Actor) -> None:
    session, _, leg = house.active(vic, ana)
    house.handle(SessionFenced(session))
    assert (session in house.world.sessions, house.gate(leg, "video")) == (False, "sealed")


Call = tuple[str, str, str]


def lost(house: House, ana: Actor, vic: Actor, call: Call) -> None:
    house.media(LegLost(call[2]))


def lost_and_found(house: House, ana: Actor, vic: Actor, call: Call) -> None:
    house.media(LegLost(call[2]))
    house.media(LegRecovered(call[2]))


def visitor_lost(house: House, ana: Actor, vic: Actor, call: Call) -> None:
    house.media(LegLost(call[1]))
    house.advance(30.0)


def pulled_in_vain(house: House, ana: Actor, vic: Actor, call: Call) -> None:
    house.pull(phone(house), call[0])
    house.advance(10.0)


CALL_SCENARIOS: dict[str, Scenario] = {
    "V1": rings,
    "V3": v3,
    "V4": v4,
    "V11": answers,
    "V12": v12,
    "V13": v13,
    "V14": ends(lambda h, a, v, s: h.ok(a, CallDecline(s)), "declined", "agent_declined"),
    "V15": ends(lambda h, a, v, s: h.ok(v, CallCancel(s)), "cancelled", "visitor_cancelled"),
    "V15 by hangup": ends(lambda h, a, v, s: h.ok(v, CallHangup(s)), "cancelled", "visitor_cancelled"),
    "V16": ends(lambda h, a, v, s: h.advance(30.0), "no_answer", "ring_timeout"),
    "V17": ends(v17, "cancelled", "visitor_left"),
    "V18": v19,
    "V19": v19,
    "V20": l8,
    "V21": ends(lambda h, a, v, s: h.ok(a, ConversationClose("cv_1")), "cancelled", "conversation_closed"),
    "V27": in_call(lambda h, a, v, call: None, "active"),
    "V28": v28,
    "V29": in_call(lambda h, a, v, call: h.ok(a, CallHangup(call[0])), "ended", "agent_hangup"),
    "V29 by cancel": in_call(lambda h, a, v, call: h.ok(v, CallCancel(call[0])), "ended", "visitor_hangup"),
    "V30": in_call(
        lambda h, a, v, call: h.ok(a, MediaSet(call[0], 1, fatal="capture_failed")), "ended", "media_capture_failed"
    ),
    "V31": v31,
    "V32": in_call(lost, "reconnecting"),
    "V33": in_call(lost_and_found, "active"),
    "V34": in_call(visitor_lost, "ended", "visitor_connection_lost"),
    "V34 covered": v34_pending,
    "V35": in_call(lambda h, a, v, call: h.pull(phone(h), call[0]), "handoff"),
    "V36": in_call(lambda h, a, v, call: h.moved(phone(h), call[0]), "active"),
    "V37": in_call(pulled_in_vain, "active"),
    "V37 failed": v37_failed,
    "V37 cancelled": v37_cancel,
    "V38": v38,
    "V39": in_call(lambda h, a, v, call: h.ok(v, MediaSet(call[0], 1, camera=False)), "active"),
    "V40": v40,
    "V41": in_call(lambda h, a, v, call: h.ok(a, ConversationClose("cv_1", end_video=True)), "ended", "agent_hangup"),
    "V42": in_call(lambda h, a, v, call: h.ok(service(), CallEnd(call[0])), "ended", "supervisor_ended"),
    "V42 ringing": ends(lambda h, a, v, s: h.ok(service(), CallEnd(s)), "cancelled", "supervisor_ended"),
    "V43": in_call(lambda h, a, v, call: h.handle(ShutDown()), "ended", "server_shutdown"),
    "V44": ends(lambda h, a, v, s: h.handle(SessionCrashed(s)), "failed", "internal_error"),
    "V45": v45,
    "V50": in_call(recorded, "active"),
    "V51": in_call(recording_ended, "active"),
    "V52": in_call(recording_broke, "active"),
    "C1": rings,
    "C3": answers,
    "C5": ends(lambda h, a, v, s: h.ok(a, CallDecline(s)), "declined", "agent_declined"),
    "C8": c8,
    "G1": answers,
    "G2": in_call(lambda h, a, v, call: None, "active"),
    "G3": in_call(lambda h, a, v, call: h.ok(a, MediaSet(call[0], 1, camera=False)), "active"),
    "G4": in_call(
        lambda h, a, v, call: (
            h.ok(a, MediaSet(call[0], 1, camera=False)),
            h.ok(a, MediaSet(call[0], 2, camera=True)),
        ),
        "active",
    ),
    "G5": in_call(lost, "reconnecting"),
    "G6": in_call(lost_and_found, "active"),
    "G7": g7,
    "G8": in_call(lambda h, a, v, call: h.ok(v, CallHangup(call[0])), "ended", "visitor_hangup"),
    "K0": rings,
    "K0b": k0b,
    "K1": k1,
    "K2": k2,
    "K3": k3,
    "K4": k9,
    "K5": k5,
    "K6": rings,
    "K7": ends(lambda h, a, v, s: h.ok(a, CallDecline(s)), "declined", "agent_declined"),
    "K8": k8,
    "K9": k9,
    "L1": rings,
    "L3": l3,
    "L4": l7,
    "L6": l6,
    "L7": l7,
    "L8": l8,
    "L9": v19,
    "L10": answers,
    "L11": l11,
    "L12": l12,
    "L13": l13,
    "L2": l2,
    "L5": l5,
}
