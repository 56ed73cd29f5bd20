"""The commands of calls that ring or run: ring, accept, decline, cancel, hang up, end."""

from __future__ import annotations

from typing import Final

import msgspec

from triortc.engine.calls import views
from triortc.engine.calls.actor import Actor, DeviceAddress
from triortc.engine.calls.commands import (
    CallAccept,
    CallCancel,
    CallDecline,
    CallEnd,
    CallHangup,
    RingAck,
    RingOpened,
    RingSilence,
)
from triortc.engine.calls.effects import AnswerOffer, Order, SetSource
from triortc.engine.calls.events import CommandReceived
from triortc.engine.calls.gates import gate_event, open_leg
from triortc.engine.calls.lifecycle import Lifecycle
from triortc.engine.calls.permissions import missing_permissions, permission_view, settings_url
from triortc.engine.calls.replies import (
    AcceptedPayload,
    DeclinedPayload,
    EndedPayload,
    Ok,
    RingOpenedPayload,
)
from triortc.engine.calls.ring_table import Ring
from triortc.engine.calls.ringing import alerting_changed, ring_event
from triortc.engine.calls.session import Session
from triortc.engine.calls.session_table import Value
from triortc.engine.calls.world import Device, RefusedError, World

__all__ = [
    "Calling",
    "check_permissions",
    "elsewhere",
    "ended_fault",
    "invalid_state",
    "permission_fault",
    "session_for",
]

_MINUTE_S: Final = 60.0


def session_for(world: World, actor: Actor, session_id: str) -> Session:
    """The session if this actor is a party to it or oversees it; refuses with `state.not_found` otherwise."""
    session = world.sessions.get(session_id)
    if session is not None and session.org == actor.org:
        party = actor.principal in (session.visitor_principal, session.agent_principal)
        if party or actor.role in ("supervisor", "service"):
            return session
        if actor.role == "agent" and actor.sub in session.missed_by:
            raise _missed()
    raise RefusedError("state.not_found", "there is no such session for you")


def _missed() -> RefusedError:
    return RefusedError("call.expired", "nobody answered in time", {"outcome": "no_answer"})


def invalid_state(session: Session, /, **details: object) -> RefusedError:
    """The command does not fit the session's state."""
    return RefusedError("call.invalid_state", f"the call is {session.state}", {"state": session.state, **details})


def ended_fault(world: World, session: Session, actor: Actor) -> RefusedError:
    """Why a command came too late for a session that has ended, as this actor may know it."""
    ring = world.rings.get(session.id)
    leg = None if ring is None or actor.address is None else ring.legs.get(actor.address)
    outcome, reason = session.outcome or "", session.reason or ""
    if actor.role == "visitor":
        outcome, reason = views.visitor_outcome(world, outcome, reason)
    if leg is not None and leg.reason in ("answered_elsewhere", "declined_elsewhere"):
        return elsewhere(world, session, leg.reason)
    if outcome == "no_answer":
        return _missed()
    if reason in ("visitor_cancelled", "visitor_left"):
        return RefusedError("call.cancelled", "the visitor cancelled first", {"outcome": outcome})
    return RefusedError("call.ended", "the call has ended", {"outcome": outcome, "reason": reason})


def elsewhere(world: World, session: Session, reason: str) -> RefusedError:
    """The agent has decided on another device: which one."""
    ring = world.rings.get(session.id)
    other = "won" if reason == "answered_elsewhere" else "declined_here"
    legs = {} if ring is None else ring.legs
    address = next((address for address, leg in legs.items() if leg.reason == other), session.agent_address)
    device = None if address is None else world.devices.get(address)
    verb = "answered" if reason == "answered_elsewhere" else "declined"
    details = {} if device is None else {"by": msgspec.structs.asdict(device.reference)}
    return RefusedError(f"call.{reason}", f"the call was {verb} on another device", details)


def check_permissions(world: World, device: Device) -> tuple[str, ...]:
    """The permissions that this device lacks before it may be seen and heard."""
    information = device.information
    return missing_permissions(information.camera, information.mic, world.configuration.require_permissions)


def permission_fault(world: World, device: Device) -> RefusedError:
    """What the device's app has to do first."""
    information = device.information
    view = permission_view(
        information.platform, information.camera, information.mic, world.configuration.require_permissions
    )
    details: dict[str, object] = {"missing": list(check_permissions(world, device)), "action": view.action}
    url = settings_url(information.platform)
    if view.action == "open_settings" and url is not None:
        details["url"] = url
    return RefusedError("permission.required", "camera and microphone must be allowed first", details)


class Calling:
    """Handlers for the `ring.*` commands and, but for the request, the `call.*` ones."""

    def __init__(self, world: World, lifecycle: Lifecycle) -> None:
        self._world = world
        self._lifecycle = lifecycle

    # --- offers

    def answer_offer(self, session: Session, leg_id: str | None, offer: str | None) -> None:
        """An offer inside a command is number 1 of its leg; once answered it is not answered again."""
        leg = None if leg_id is None else self._world.legs.get(leg_id)
        if offer is not None and leg is not None and leg.neg == 0:
            leg.neg = 1
            self._world.emit(Order.LEGS, AnswerOffer(session.id, leg.id, 1, offer))

    # --- ring

    def _ring_of(self, actor: Actor, ring_id: str) -> tuple[Session, Ring, DeviceAddress]:
        world = self._world
        session = world.sessions.get(world.session_of_ring.get(ring_id, ""))
        address = world.device_of(actor).address
        for ring in () if session is None else views.rings_of(world, session.id):
            if ring.id == ring_id and address in ring.legs and session is not None:
                if ring is not world.rings.get(session.id):
                    raise _missed()
                return session, ring, address
        raise RefusedError("state.not_found", "this ring is not on this device")

    def ring_ack(self, actor: Actor, command: RingAck) -> Ok:
        """`ring.ack`: the device alerts its user."""
        session, _, address = self._ring_of(actor, command.ring)
        ring_event(self._world, session, address, "ring.ack")
        alerting_changed(self._world, session)
        return Ok()

    def ring_opened(self, actor: Actor, command: RingOpened) -> Ok:
        """`ring.opened`: the incoming screen is there; the device may warm a leg."""
        world = self._world
        session, ring, address = self._ring_of(actor, command.ring)
        leg = ring.legs[address]
        ring_event(self._world, session, address, "ring.opened")
        if leg.state == "done":
            if session.answered and leg.reason == "answered_elsewhere":
                raise elsewhere(world, session, leg.reason)
            if not session.ended:
                raise invalid_state(session)
            raise ended_fault(world, session, actor)
        alerting_changed(self._world, session)
        if leg.leg is None and ring.warm_legs < world.configuration.warm_legs_per_ring:
            leg.leg = world.new_id("leg")
            open_leg(world, session, leg.leg, "agent", address)
        return Ok(RingOpenedPayload(max(0, int((session.deadline - world.now) * 1000 + 1e-6)), leg.leg))

    def ring_silence(self, actor: Actor, command: RingSilence) -> Ok:
        """`ring.silence`: quiet on this device only."""
        session, _, address = self._ring_of(actor, command.ring)
        if ring_event(self._world, session, address, "ring.silence") is None:
            raise invalid_state(session)
        self._lifecycle.apply(session.id, "ring.silence", actor.sub, {"device": address.device})
        alerting_changed(self._world, self._world.sessions[session.id])
        return Ok()

    # --- accept, decline

    def accept(self, event: CommandReceived) -> Ok:
        """`call.accept`: "Go". Decided by when the message was received, not by when it is handled (R1)."""
        world, actor, command = self._world, event.actor, event.command
        assert isinstance(command, CallAccept)
        session = session_for(world, actor, command.session)
        if actor.principal != session.agent_principal:
            raise RefusedError("auth.forbidden", "only the agent who is rung may accept")
        return Ok(AcceptedPayload(self.go(session, event, command.offer), "connecting"))

    def go(self, session: Session, event: CommandReceived, offer: str | None) -> str:
        """V11 by `call.accept` or `invitation.join`: the leg of the device that is in the call now, or was already."""
        world, actor = self._world, event.actor
        device = world.device_of(actor)
        if session.ended:
            raise ended_fault(world, session, actor)
        if session.answered:
            if session.agent_address == device.address and session.agent_leg is not None:
                self.answer_offer(session, session.agent_leg, offer)
                return session.agent_leg
            raise elsewhere(world, session, "answered_elsewhere")
        if session.state != "ringing":
            raise invalid_state(session)
        ring_leg = world.rings[session.id].legs.get(device.address)
        if ring_leg is None or ring_leg.state == "done":  # never rung, or removed from the ring (D2)
            raise RefusedError("call.not_participant", "this call does not ring on this device")
        self._lifecycle.check_claim(session)
        leg = ring_leg.leg or world.new_id("leg")
        missing = check_permissions(world, device)
        data: dict[str, Value] = {
            "device": device.address.device,
            "leg": leg,
            "rx_time": event.rx_time,
            "missing": "+".join(missing) or None,
            "deadline": world.now + world.configuration.connect_timeout_s,
        }
        row = self._lifecycle.apply(session.id, event.command.wire_type, actor.sub, data)
        if row is None or row.number == "V13":
            raise RefusedError("call.expired", "the time to answer is over", {"outcome": "no_answer"})
        if row.number == "V12":
            raise permission_fault(world, device)
        self.answer_offer(world.sessions[session.id], leg, offer)
        self.legs_ready(session.id)
        return leg

    def decline(self, actor: Actor, command: CallDecline) -> Ok:
        """`call.decline`: on one device, for all of the agent's."""
        world = self._world
        session = session_for(world, actor, command.session)
        if actor.principal != session.agent_principal:
            raise RefusedError("auth.forbidden", "only the agent who is rung may decline")
        device = world.device_of(actor)
        if session.ended:
            return Ok(DeclinedPayload("conversation_list", session.conversation, True, session.outcome))
        if self._lifecycle.apply(session.id, "call.decline", actor.sub, {"device": device.address.device}) is None:
            if session.answered and session.agent_address != device.address:
                raise elsewhere(world, session, "answered_elsewhere")
            raise invalid_state(session)
        return Ok(DeclinedPayload("conversation_list", session.conversation))

    # --- cancel, hang up, end

    def hangup(self, actor: Actor, command: CallHangup | CallCancel) -> Ok:
        """`call.hangup`, and `call.cancel`: the visitor's words before the answer, a hang-up after it (R4)."""
        world = self._world
        session = session_for(world, actor, command.session)
        side = "visitor" if actor.principal == session.visitor_principal else "agent"
        if actor.principal not in (session.visitor_principal, session.agent_principal):
            raise RefusedError("auth.forbidden", "only the parties hang up; a supervisor ends")
        if session.ended:
            return Ok(self._ended(session, actor, already=True))
        if side == "agent":
            if isinstance(command, CallCancel) or not (session.answered or session.state == "waiting"):
                raise invalid_state(session)
            in_call = {session.agent_device, None if session.pending is None else session.pending.device}
            if actor.device not in in_call:
                raise RefusedError("call.not_participant", "the call is on another device")
        self._lifecycle.apply(session.id, command.wire_type, actor.sub, {"side": side, "device": actor.device})
        return Ok(self._ended(world.sessions[session.id], actor))

    def end(self, actor: Actor, command: CallEnd) -> Ok:
        """`call.end`: a supervisor or the embedder's server ends a session."""
        if actor.role not in ("supervisor", "service") or "call.end" not in actor.caps:
            raise RefusedError("auth.forbidden", "ending other people's calls needs the capability call.end")
        session = session_for(self._world, actor, command.session)
        if session.ended:
            return Ok(self._ended(session, actor, already=True))
        self._lifecycle.apply(session.id, "call.end", actor.sub, {"note": command.note})
        return Ok(self._ended(self._world.sessions[session.id], actor))

    def _ended(self, session: Session, actor: Actor, *, already: bool | None = None) -> EndedPayload:
        outcome, reason = session.outcome or "", session.reason or ""
        if actor.role == "visitor":
            outcome, reason = views.visitor_outcome(self._world, outcome, reason)
        return EndedPayload(outcome, reason, "conversation", already)

    # --- what follows a step

    def _preview(self, session: Session) -> None:
        """A-24: the first device whose leg is warm shows the visitor, if the policy and the visitor agree."""
        world = self._world
        visitor = world.legs.get(session.visitor_leg or "")
        if not (
            world.configuration.visitor_preview_to_agent and session.preview and visitor is not None and visitor.up
        ):
            return
        warm = next((leg for leg in world.legs_in(session.id) if leg.side == "agent" and leg.up), None)
        if warm is not None:
            world.emit(Order.OPEN_GATES, SetSource(session.id, "agent", warm.id))
            gate_event(world, session, visitor, "commit")
            gate_event(world, session, visitor, "ready")

    def legs_ready(self, session_id: str) -> None:
        """V27, as soon as both legs of an accepted call are up."""
        world = self._world
        session = world.sessions[session_id]
        if session.state == "ringing":
            self._preview(session)
        if session.state != "connecting":
            return
        legs = [world.legs.get(leg or "") for leg in (session.agent_leg, session.visitor_leg)]
        if all(leg is not None and leg.up for leg in legs):
            self._lifecycle.apply(session_id, "int.legs_ready", "system", {})
            if world.configuration.recording == "always":
                self._lifecycle.start_recording(session_id, "system", "system")
