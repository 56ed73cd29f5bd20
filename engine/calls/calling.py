"""The commands of calls: request, ring, accept, decline, cancel, hang up, end."""

from __future__ import annotations

from collections import deque
from dataclasses import asdict
from typing import Final

from triortc.engine.calls import threads, views
from triortc.engine.calls.actor import Actor, DeviceAddress, Principal
from triortc.engine.calls.availability import agents_of_group, candidate
from triortc.engine.calls.claim_table import Busy
from triortc.engine.calls.commands import (
    CallAccept,
    CallCancel,
    CallDecline,
    CallEnd,
    CallHangup,
    CallRequest,
    RingAck,
    RingOpened,
    RingSilence,
)
from triortc.engine.calls.conversation_table import Conversation, ConversationFacts
from triortc.engine.calls.effects import AnswerOffer, Order
from triortc.engine.calls.events import CommandReceived
from triortc.engine.calls.gates import open_leg
from triortc.engine.calls.lifecycle import Lifecycle
from triortc.engine.calls.permissions import missing_permissions, permission_view, settings_url
from triortc.engine.calls.ports import RouterPort
from triortc.engine.calls.replies import (
    AcceptedPayload,
    CallRequestedPayload,
    DeclinedPayload,
    EndedPayload,
    Ok,
    RingOpenedPayload,
)
from triortc.engine.calls.ring_table import Ring
from triortc.engine.calls.ringing import alerting_changed, ring_event
from triortc.engine.calls.session import Session
from triortc.engine.calls.session_table import Value
from triortc.engine.calls.world import Agent, Device, RefusedError, World

__all__ = ["Calling", "check_permissions", "ended_fault", "session_for"]

_MINUTE_S: Final = 60.0


def session_for(world: World, actor: Actor, session_id: str) -> Session:
    """The session if this actor is a party to it or oversees it; refuses with `state.not_found` otherwise."""
    session = world.sessions.get(session_id)
    if session is not None and session.org == actor.org:
        party = actor.principal in (session.visitor_principal, session.agent_principal)
        if party or actor.role in ("supervisor", "service"):
            return session
    raise RefusedError("state.not_found", "there is no such session for you")


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
        return _elsewhere(world, session, leg.reason)
    if outcome == "no_answer":
        return RefusedError("call.expired", "nobody answered in time", {"outcome": outcome})
    if reason in ("visitor_cancelled", "visitor_left"):
        return RefusedError("call.cancelled", "the visitor cancelled first", {"outcome": outcome})
    return RefusedError("call.ended", "the call has ended", {"outcome": outcome, "reason": reason})


def _elsewhere(world: World, session: Session, reason: str) -> RefusedError:
    ring = world.rings[session.id]
    other = "won" if reason == "answered_elsewhere" else "declined_here"
    address = next((address for address, leg in ring.legs.items() if leg.reason == other), None)
    device = None if address is None else world.devices.get(address)
    verb = "answered" if reason == "answered_elsewhere" else "declined"
    details = {} if device is None else {"by": asdict(device.reference)}
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
    """Handlers for the `call.*` and `ring.*` commands."""

    def __init__(self, world: World, lifecycle: Lifecycle, router: RouterPort) -> None:
        self._world = world
        self._lifecycle = lifecycle
        self._router = router

    # --- request

    def request(self, actor: Actor, command: CallRequest) -> Ok:
        """`call.request`: ring an agent, or say why nobody rings."""
        world = self._world
        if actor.role == "agent":
            raise RefusedError("auth.forbidden", "a visitor asks for a call; an agent invites")
        device = world.device_of(actor) if actor.role == "visitor" else None
        conversation = threads.conversation_for(world, actor, command.conversation)
        present = world.live_session(conversation)
        if present is not None:
            return self._again(present, device, command)
        if world.conversation_step(conversation, "call.request", ConversationFacts()) is not None:
            raise RefusedError("conversation.closed", "the conversation is closed")
        if conversation.assignee is not None:
            details = {"state": conversation.state, "use": "invitation"}
            raise RefusedError("call.invalid_state", "an agent has this conversation and may invite", details)
        if world.draining:
            raise RefusedError("server.draining", "this server takes no new calls")
        device = device or next(iter(world.devices_of(conversation.visitor_principal)), None)
        if device is None:
            raise RefusedError("call.invalid_state", "no device of the visitor is connected", {"state": "new"})
        self._count_request(conversation.visitor_principal)
        return self._ring(actor, device, conversation, command)

    def _again(self, session: Session, device: Device | None, command: CallRequest) -> Ok:
        """R29: the same request again is the same session, as long as nobody answered."""
        if session.answered:
            raise invalid_state(session, session=session.id)
        leg = None
        if device is not None and device.address == session.visitor_address:
            leg = session.visitor_leg
            self._answer(session, leg, command.offer)
        return Ok(CallRequestedPayload(session.id, session.state, leg))

    def _count_request(self, visitor: Principal) -> None:
        world = self._world
        recent = world.requests.setdefault(visitor, deque())
        while recent and recent[0] <= world.now - _MINUTE_S:
            recent.popleft()
        if len(recent) >= world.configuration.requests_per_minute:
            wait_ms = max(1, round((recent[0] + _MINUTE_S - world.now) * 1000))
            raise RefusedError("rate.limited", "too many requests for a call; wait a little", {}, wait_ms)
        recent.append(world.now)
        world.set_timer(("requests", *visitor), world.now + _MINUTE_S)

    def _ring(self, actor: Actor, device: Device, conversation: Conversation, command: CallRequest) -> Ok:
        world = self._world
        session = Session(
            id=world.new_id("vs"),
            org=conversation.org,
            conversation=conversation.id,
            visitor=conversation.visitor,
            origin="routed",
            group=command.group or conversation.group,
            requested_at=world.now,
            audio=command.media.audio,
            video=command.media.video and world.configuration.visitor_camera == "allowed",
            visitor_device=device.address.device,
            visitor_leg=world.new_id("leg"),
            was_unassigned=conversation.assignee is None,
        )
        self._lifecycle.create(session)
        world.told[session.id][device.address] = None
        chosen, epoch, reason = self._claim(session, conversation)
        data: dict[str, Value] = {
            "agent": chosen,
            "epoch": epoch,
            "ring": world.new_id("rg"),
            "deadline": world.now + world.configuration.ring_timeout_s,
            "reason": reason,
        }
        self._lifecycle.apply(session.id, "call.request", actor.sub, data)
        session = world.sessions[session.id]
        if session.ended:
            ended = CallRequestedPayload(session.id, "ended", outcome=session.outcome, reason=session.reason)
            return Ok(ended)
        asker = actor.address == device.address
        leg = session.visitor_leg if asker else None
        if asker:
            self._answer(session, session.visitor_leg, command.offer)
        return Ok(CallRequestedPayload(session.id, session.state, leg))

    def _claim(self, session: Session, conversation: Conversation) -> tuple[str | None, int, str]:
        """V1, V4: claim the first candidate that can be reached. Without one: why."""
        world = self._world
        able: dict[str, Agent] = {}
        busy = False
        for agent in agents_of_group(world, session.org, session.group):
            if "video.receive" not in agent.caps or not agent.statuses:
                continue
            effective = agent.statuses["video"].effective
            busy = busy or effective == "busy"
            if effective == "available":
                able[agent.principal.sub] = agent
        order = self._router.order(session.org, session.group, [candidate(world, agent) for agent in able.values()])
        unreachable = False
        for sub in dict.fromkeys(order):
            if sub not in able:
                continue
            agent = able[sub]
            epoch = world.claims.acquire(agent.principal, session.id, "routed", assignable=True)
            if not isinstance(epoch, Busy):
                threads.claim_conversation(world, conversation, sub)
                if any(device.live for device in world.devices_of(agent.principal)):
                    return sub, epoch, ""
                threads.unclaim_conversation(world, conversation, rang=False)
                world.claims.release(agent.principal, session.id, epoch)
                unreachable = True
            self._lifecycle.apply(session.id, "int.candidate_lost", "system", {"agent": sub})
        if busy:
            return None, 0, "agent_busy"
        return None, 0, "no_reachable_device" if unreachable else "no_agent_available"

    def _answer(self, session: Session, leg_id: str | None, offer: str | None) -> None:
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
        if session is not None:
            ring = world.rings[session.id]
            if address in ring.legs:
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
                raise _elsewhere(world, session, leg.reason)
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
        device = world.device_of(actor)
        if session.ended:
            raise ended_fault(world, session, actor)
        ring_leg = world.rings[session.id].legs.get(device.address)
        if session.answered:
            if session.agent_address == device.address and session.agent_leg is not None:
                self._answer(session, session.agent_leg, command.offer)
                return Ok(AcceptedPayload(session.agent_leg, "connecting"))
            raise _elsewhere(world, session, "answered_elsewhere")
        if ring_leg is None:
            raise RefusedError("call.not_participant", "this call does not ring on this device")
        leg = ring_leg.leg or world.new_id("leg")
        missing = check_permissions(world, device)
        data: dict[str, Value] = {
            "device": device.address.device,
            "leg": leg,
            "rx_time": event.rx_time,
            "missing": "+".join(missing) or None,
            "deadline": world.now + world.configuration.connect_timeout_s,
        }
        row = self._lifecycle.apply(session.id, "call.accept", actor.sub, data)
        if row is None or row.number == "V13":
            raise RefusedError("call.expired", "the time to answer is over", {"outcome": "no_answer"})
        if row.number == "V12":
            raise permission_fault(world, device)
        session = world.sessions[session.id]
        self._answer(session, leg, command.offer)
        self.legs_ready(session.id)
        return Ok(AcceptedPayload(leg, "connecting"))

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
                raise _elsewhere(world, session, "answered_elsewhere")
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
            if isinstance(command, CallCancel) or not session.answered:
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

    def legs_ready(self, session_id: str) -> None:
        """V27, as soon as both legs of an accepted call are up."""
        world = self._world
        session = world.sessions[session_id]
        if session.state != "connecting":
            return
        legs = [world.legs.get(leg or "") for leg in (session.agent_leg, session.visitor_leg)]
        if all(leg is not None and leg.up for leg in legs):
            self._lifecycle.apply(session_id, "int.legs_ready", "system", {})
            if world.configuration.recording == "always":
                self._lifecycle.start_recording(session_id, "system", "system")
