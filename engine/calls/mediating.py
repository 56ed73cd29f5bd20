"""Media as call control sees it: SDP and candidates of legs, mutes, reports of the media side, the change of device."""

from __future__ import annotations

from triortc.engine.calls.actor import Actor
from triortc.engine.calls.calling import (
    Calling,
    check_permissions,
    ended_fault,
    invalid_state,
    permission_fault,
    session_for,
)
from triortc.engine.calls.commands import (
    HandoffCancel,
    HandoffOffer,
    HandoffRequest,
    IceCandidates,
    IceRestart,
    MediaSet,
    RecordingStart,
    RecordingStop,
    SdpAnswer,
    SdpOffer,
)
from triortc.engine.calls.effects import AddCandidates, AnswerOffer, Order, SetView
from triortc.engine.calls.gates import gate_event, inherit_mute
from triortc.engine.calls.handing_over import drop_pending
from triortc.engine.calls.lifecycle import Lifecycle
from triortc.engine.calls.media_events import (
    ControlEvent,
    LegFailed,
    LegLost,
    LegQuality,
    LegReady,
    LegRecovered,
    LegUp,
    LocalCandidates,
    MediaLost,
    RecordingStopped,
)
from triortc.engine.calls.notifications import (
    HandoffSuggested,
    LocalIceCandidates,
    MediaChanged,
    MediaQuality,
    RestartIce,
)
from triortc.engine.calls.ports import Side
from triortc.engine.calls.renewing import renew_legs
from triortc.engine.calls.replies import HandoffPayload, MediaSetPayload, Ok, RecordingPayload
from triortc.engine.calls.ringing import tell
from triortc.engine.calls.session import Session
from triortc.engine.calls.session_table import Value
from triortc.engine.calls.world import Device, Leg, RefusedError, World

__all__ = ["Mediating"]


class Mediating:
    """Handlers for `sdp.*`, `ice.*`, `media.*`, `recording.*`, `handoff.*`, and for events of the media side."""

    def __init__(self, world: World, lifecycle: Lifecycle, calling: Calling) -> None:
        self._world = world
        self._lifecycle = lifecycle
        self._calling = calling

    # --- legs

    def _own_leg(self, actor: Actor, leg_id: str) -> tuple[Leg, Session]:
        leg = self._world.legs.get(leg_id)
        if leg is None or leg.address != actor.address:
            raise RefusedError("state.not_found", "this device has no such leg")
        return leg, self._world.sessions[leg.session]

    def sdp_offer(self, actor: Actor, command: SdpOffer) -> Ok:
        """`sdp.offer`: the next negotiation of a leg. The shell puts the answer into the reply."""
        leg, session = self._own_leg(actor, command.leg)
        if session.ended:
            raise ended_fault(self._world, session, actor)
        if command.neg <= leg.neg:
            raise RefusedError("sdp.stale", "an offer's neg must be greater than the last one's", {"neg": leg.neg})
        leg.neg = command.neg
        self._world.emit(Order.LEGS, AnswerOffer(session.id, leg.id, command.neg, command.sdp))
        return Ok()

    def sdp_answer(self, actor: Actor, command: SdpAnswer) -> Ok:
        """`sdp.answer`: the engine never offers, so no answer is ever awaited."""
        leg, _ = self._own_leg(actor, command.leg)
        raise RefusedError("sdp.stale", "no offer of the server waits for an answer", {"neg": leg.neg})

    def ice_candidates(self, actor: Actor, command: IceCandidates) -> Ok:
        """`ice.candidates`: late ones, and those of an old negotiation, are dropped without a word (R23)."""
        leg, session = self._own_leg(actor, command.leg)
        if session.ended:
            self._world.stale_events_total += 1
            return Ok()
        effect = AddCandidates(session.id, leg.id, command.neg, command.ufrag, command.candidates, command.end)
        self._world.emit(Order.LEGS, effect)
        return Ok()

    def ice_restart(self, actor: Actor, command: IceRestart) -> Ok:
        """`ice.restart`: the client is asked to offer, since it always offers."""
        leg, session = self._own_leg(actor, command.leg)
        if session.ended:
            raise ended_fault(self._world, session, actor)
        self._world.notify(Order.OTHER_SIDE, leg.address, RestartIce(leg.id))
        return Ok()

    # --- mute, camera, orientation

    def media_set(self, actor: Actor, command: MediaSet) -> Ok:
        """`media.set`: what a device in the call does with camera and microphone; the gates enforce it."""
        world = self._world
        session = session_for(world, actor, command.session)
        if session.ended:
            raise ended_fault(world, session, actor)
        if not (session.answered or (session.state == "waiting" and command.fatal is not None)):
            raise invalid_state(session)
        leg = self._committed_leg(session, actor)
        if leg.side == "visitor" and command.camera and world.configuration.visitor_camera == "not_allowed":
            raise RefusedError("auth.forbidden", "visitors show no picture on this server")
        if command.n <= leg.media_n:
            return Ok(MediaSetPayload(True))
        leg.media_n = command.n
        if command.fatal is not None:
            self._lifecycle.apply(session.id, "int.capture_failed", actor.sub, {"side": leg.side})
            return Ok(MediaSetPayload())
        self._lifecycle.apply(session.id, "media.set", actor.sub, {"side": leg.side, "n": command.n})
        for kind, wanted in (("video", command.camera), ("audio", command.mic)):
            if wanted is not None:
                gate_event(
                    world, session, leg, "unmute" if wanted else "mute", ("video" if kind == "video" else "audio",)
                )
        if command.view is not None:
            world.emit(Order.LEGS, SetView(session.id, leg.id, command.view))
        if session.pending is not None and session.pending.side == leg.side:
            inherit_mute(world, session, world.legs[session.pending.leg], leg)
        self._tell_media(session, leg.side, command)
        return Ok(MediaSetPayload())

    def _committed_leg(self, session: Session, actor: Actor) -> Leg:
        committed = session.visitor_address if actor.role == "visitor" else session.agent_address
        leg = self._world.legs.get(session.leg_of("visitor" if actor.role == "visitor" else "agent") or "")
        if leg is None or committed is None or actor.address != committed:
            raise RefusedError("call.not_participant", "the call is on another device")
        return leg

    def _tell_media(self, session: Session, side: Side, command: MediaSet) -> None:
        world = self._world
        status = world.media[session.id][side]
        before = (status.camera, status.mic, status.facing, status.orientation, status.camera_state)
        status.camera = status.camera if command.camera is None else command.camera
        status.mic = status.mic if command.mic is None else command.mic
        status.facing = command.facing or status.facing
        status.orientation = status.orientation if command.orientation is None else command.orientation
        status.camera_state = command.camera_state or status.camera_state
        after = (status.camera, status.mic, status.facing, status.orientation, status.camera_state)
        if after == before:
            return
        status.version += 1
        address = session.visitor_address if side == "agent" else session.agent_address
        if address is not None:
            changed = MediaChanged(session.id, side, *after, status.version)
            world.notify(Order.OTHER_SIDE, address, changed)

    # --- recording

    def recording_start(self, actor: Actor, command: RecordingStart) -> Ok:
        """`recording.start`: both sides are told before the first frame is written. Again: the same recording."""
        session = self._recordable(actor, command.session)
        if self._world.configuration.recording == "off":
            raise RefusedError("auth.forbidden", "calls are not recorded on this server")
        recording = self._lifecycle.start_recording(session.id, actor.sub, actor.role)
        if recording is None:
            raise RefusedError("auth.forbidden", "the recording of this call is not permitted")
        return Ok(RecordingPayload(recording))

    def recording_stop(self, actor: Actor, command: RecordingStop) -> Ok:
        """`recording.stop`; `ok` if nothing is recorded."""
        session = self._recordable(actor, command.session)
        self._lifecycle.apply(session.id, "recording.stop", actor.sub, {"by": actor.role})
        return Ok()

    def _recordable(self, actor: Actor, session_id: str) -> Session:
        """The session in its call, if this actor may have it recorded."""
        may = actor.role == "supervisor" or (actor.role in ("agent", "service") and "record" in actor.caps)
        if not may:
            raise RefusedError("auth.forbidden", "recording a call needs the capability record")
        session = session_for(self._world, actor, session_id)
        if session.ended:
            raise ended_fault(self._world, session, actor)
        if session.phase != "in_call":
            raise invalid_state(session)
        if actor.role == "agent":
            self._committed_leg(session, actor)
        return session

    def _recording_stopped(self, event: RecordingStopped) -> None:
        session = self._world.sessions.get(event.session)
        if session is None or session.ended:
            self._world.stale_events_total += 1
            return
        data: dict[str, Value] = {"recording": event.recording, "by": "system", "why": event.reason}
        self._lifecycle.apply(session.id, "int.recording_stopped", "system", data)

    # --- change of device

    def handoff_request(self, actor: Actor, command: HandoffRequest) -> Ok:
        """`handoff.request`: this device wants to take the call over from another one of the same person."""
        world = self._world
        session = session_for(world, actor, command.session)
        device = world.device_of(actor)
        side = self._check_handoff(session, actor, device)
        if len(world.logs[session.id]) >= world.configuration.event_log_limit:
            raise RefusedError("rate.limited", "this call has changed its device too often")
        leg = world.new_id("leg")
        source = session.agent_device if side == "agent" else session.visitor_device
        data: dict[str, Value] = {
            "leg": leg,
            "side": side,
            "device": device.address.device,
            "from": source,
            "deadline": world.now + world.configuration.handoff_timeout_s,
        }
        row = self._lifecycle.apply(session.id, "handoff.request", actor.sub, data)
        if row is None:
            raise invalid_state(session)
        if row.number == "V38":
            raise RefusedError(
                "handoff.in_progress", "another device is taking the call over", {"state": session.state}
            )
        session = world.sessions[session.id]
        if command.offer is not None:
            world.legs[leg].neg = 1
            world.emit(Order.LEGS, AnswerOffer(session.id, leg, 1, command.offer))
        return Ok(HandoffPayload(leg, round(world.configuration.handoff_timeout_s * 1000)))

    def _check_handoff(self, session: Session, actor: Actor, device: Device) -> Side:
        world = self._world
        if actor.principal not in (session.agent_principal, session.visitor_principal):
            raise RefusedError("auth.forbidden", "only the parties take a call over")
        if session.ended:
            raise ended_fault(world, session, actor)
        side: Side = "agent" if actor.principal == session.agent_principal else "visitor"
        source = session.agent_address if side == "agent" else session.visitor_address
        if source == device.address:
            raise RefusedError("handoff.same_device", "the call is on this device already")
        if side == "agent":
            if "handoff" not in actor.caps:
                raise RefusedError("auth.forbidden", "this agent may not change the device of a call")
            if check_permissions(world, device):
                raise permission_fault(world, device)
        if source is not None:
            self._check_path(world.devices.get(source), device)
        return side

    def _check_path(self, source: Device | None, target: Device) -> None:
        """A-17: whether a call may move from one kind of device to another."""
        paths = self._world.configuration.handoff_paths
        if paths is None or source is None:
            return
        path = (source.information.platform, target.information.platform)
        if path not in paths:
            raise RefusedError("handoff.not_allowed", "a call may not move this way", {"from": path[0], "to": path[1]})

    def handoff_offer(self, actor: Actor, command: HandoffOffer) -> Ok:
        """`handoff.offer`: the device in the call suggests another one, which then pulls (A-18).

        What the pull would be refused for whatever the other device does is refused here already. Missing permissions
        are not: that device can ask for them when its user goes on there.
        """
        world = self._world
        session = session_for(world, actor, command.session)
        if session.ended:
            raise ended_fault(world, session, actor)
        device = world.device_of(actor)
        if session.phase != "in_call":
            raise invalid_state(session)
        self._committed_leg(session, actor)
        target = world.of_principal[actor.principal].get(command.to_device)
        if target is None or not target.live:
            raise RefusedError("state.not_found", "this person has no such device")
        if target is device:
            raise RefusedError("handoff.same_device", "the call is on this device already")
        if actor.role == "agent" and "handoff" not in actor.caps:
            raise RefusedError("auth.forbidden", "this agent may not change the device of a call")
        self._check_path(device, target)
        suggested = HandoffSuggested(session.id, device.reference)
        tell(world, session, target, suggested, Order.OTHER_SIDE)
        return Ok()

    def handoff_cancel(self, actor: Actor, command: HandoffCancel) -> Ok:
        """`handoff.cancel`: by the device that takes over or the one that is left."""
        world = self._world
        session = session_for(world, actor, command.session)
        if session.ended:
            raise ended_fault(world, session, actor)
        pending = session.pending
        if pending is None:
            raise invalid_state(session)
        source = session.agent_address if pending.side == "agent" else session.visitor_address
        if actor.address not in (source, world.legs[pending.leg].address):
            raise RefusedError("call.not_participant", "this device has no part in the change of device")
        drop_pending(self._world, self._lifecycle, session, "handoff.cancel", actor.sub, "cancelled")
        return Ok()

    def handoff_timeout(self, session: Session) -> None:
        """T_handoff."""
        drop_pending(self._world, self._lifecycle, session, "T_handoff", "system", "timeout")

    # --- what the media side reports

    def event(self, event: ControlEvent) -> None:
        """Take in an event of the media side. Events of legs that are no more are counted and dropped."""
        if isinstance(event, RecordingStopped):
            self._recording_stopped(event)
            return
        if isinstance(event, MediaLost):
            self._media_lost(event)
            return
        world = self._world
        leg = world.legs.get(event.leg)
        session = None if leg is None else world.sessions[leg.session]
        if leg is None or session is None or session.ended:
            world.stale_events_total += 1
            return
        match event:
            case LocalCandidates():
                candidates = LocalIceCandidates(event.leg, event.neg, event.ufrag, event.candidates, event.end)
                world.notify(Order.OTHER_SIDE, leg.address, candidates)
            case LegQuality():
                leg.quality = event
                quality = MediaQuality(session.id, event.score, event.rtt_ms, event.loss, event.kbps)
                world.notify(Order.OTHER_SIDE, leg.address, quality)
            case LegUp() | LegRecovered():
                renewed, leg.up, leg.renegotiate = leg.renegotiate, True, False
                if leg.id in session.grace:
                    self._lifecycle.apply(
                        session.id, "int.leg_up", "system", {"leg": leg.id, "side": leg.side, "renewed": renewed}
                    )
                self._calling.legs_ready(session.id)
            case LegReady():
                leg.up = True
                self._leg_ready(session, leg)
            case LegLost() | LegFailed():
                leg.up = False
                self._leg_lost(session, leg, failed=isinstance(event, LegFailed))

    def _media_lost(self, event: MediaLost) -> None:
        """V47: what was on its way to another device is off, what was recorded ends here, and the legs begin anew."""
        world = self._world
        session = world.sessions.get(event.session)
        if session is None or session.ended:
            world.stale_events_total += 1
            return
        if session.pending is not None:
            drop_pending(self._world, self._lifecycle, session, "int.pending_leg_failed", "system", "media")
        if session.recording is not None:
            self._recording_stopped(RecordingStopped(session.id, session.recording, event.reason))
        session = world.sessions[event.session]
        if not session.ended:
            renew_legs(world, self._lifecycle, session)

    def _leg_ready(self, session: Session, leg: Leg) -> None:
        if session.pending is None or session.pending.leg != leg.id:
            self._calling.legs_ready(session.id)
            return
        source = session.agent_device if leg.side == "agent" else session.visitor_device
        data: dict[str, Value] = {"leg": leg.id, "from": source, "side": leg.side}
        self._lifecycle.apply(session.id, "int.pending_leg_ready", "system", data)

    def _leg_lost(self, session: Session, leg: Leg, *, failed: bool) -> None:
        world = self._world
        if session.pending is not None and session.pending.leg == leg.id:
            if failed:
                drop_pending(self._world, self._lifecycle, session, "int.pending_leg_failed", "system", "media")
            return
        if session.phase != "in_call" or session.side_of(leg.id) is None or leg.id in session.grace:
            return
        deadline = world.now + world.configuration.leg_grace_s
        data: dict[str, Value] = {"leg": leg.id, "side": leg.side, "deadline": deadline}
        self._lifecycle.apply(session.id, "int.leg_lost", "system", data)
