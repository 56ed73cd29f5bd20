"""Runs sessions: takes the transition of table V for an event, logs it, gives the names of its effects a meaning."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Final, Literal

from triortc.engine.calls import ending, gates, invitations, queueing, telling, threads
from triortc.engine.calls.actor import DeviceAddress, Principal
from triortc.engine.calls.call_events import CallEvent, event_name
from triortc.engine.calls.conversation_table import Conversation, ConversationFacts
from triortc.engine.calls.effects import (
    OpenLeg,
    Order,
    Report,
    SessionEnded,
    SessionStarted,
    SetSource,
    StartRecording,
    StopRecording,
)
from triortc.engine.calls.invitation_table import InvitationFacts
from triortc.engine.calls.machine import SAME, Row
from triortc.engine.calls.notifications import HandoffFailed
from triortc.engine.calls.ring_table import Ring, RingLeg
from triortc.engine.calls.ringing import end_ring_leg, ring_event, tell, tell_ringing, tell_state
from triortc.engine.calls.session import LogRecord, Session, SessionEvent, step
from triortc.engine.calls.session_table import ConversationOperation
from triortc.engine.calls.telling import Data
from triortc.engine.calls.world import MediaStatus, RefusedError, World

__all__ = ["Lifecycle"]


_FAILURES: Final[Mapping[str, Literal["timeout", "media", "cancelled"]]] = {
    "timeout": "timeout",
    "media": "media",
    "cancelled": "cancelled",
}


class Lifecycle:
    """Sessions and their rings over a shared world."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._effects: Final[Mapping[str, Callable[[Session, Data], None]]] = {
            "open": self._open,
            "enqueue": lambda session, data: queueing.enter(world, session),
            "tell_queued": lambda session, data: queueing.tell_place(world, session),
            "end_missed_ring": self._end_missed_ring,
            "open_waiting": self._open_waiting,
            "tell_waiting": partial(telling.tell_waiting, world),
            "join_visitor": self._join_visitor,
            "offer_ring": self._offer_ring,
            "tell_ringing": lambda session, data: tell_ringing(world, session),
            "commit": self._commit,
            "arm_gates": self._arm_gates,
            "end_other_rings": self._end_other_rings,
            "tell_accepted": partial(telling.tell_accepted, world),
            "tell_active": partial(telling.tell_active, world),
            "open_gates": self._open_gates,
            "freeze_gates": self._freeze_gates,
            "thaw_gates": self._thaw_gates,
            "tell_reconnecting": partial(telling.tell_reconnecting, world),
            "tell_resumed": partial(telling.tell_resumed, world),
            "add_pending": self._open_pending,
            "tell_handoff_started": partial(telling.tell_handoff_started, world),
            "move_source": self._move_source,
            "tell_moved": partial(telling.tell_moved, world),
            "close_pending": self._close_pending,
            "record": self._record,
            "end_record": self._end_record,
            "tell_recording": partial(telling.tell_recording, world),
            "reopen_legs": lambda session, data: self.reopen_legs(session),
            "await_visitor": self._await_visitor,
            "await_agent": self._await_agent,
        }

    # --- the step

    def create(self, session: Session) -> None:
        """Make a session known; its log begins."""
        world = self._world
        world.sessions[session.id] = session
        world.note(session.id, LogRecord.created(session))
        world.told[session.id] = {}
        world.media[session.id] = {"agent": MediaStatus(), "visitor": MediaStatus(camera=session.video)}
        world.conversation_of(session).live_session = session.id
        self._report("call.created", session)

    def apply(self, session_id: str, event: str, actor: str, data: Data) -> Row | None:
        """Take the transition for an event: the row, or None if the table has none for it (nothing changes)."""
        world = self._world
        before = world.sessions[session_id]
        after, row, record = step(before, SessionEvent(event, actor, data), world.now)
        if row is None or record is None:
            if event.startswith(("int.", "T_")):
                world.stale_events_total += 1
            return None
        world.sessions[session_id] = after
        world.rescheduled[session_id] = None
        world.take(row)
        world.note(session_id, record, state_same=row.next == SAME)
        self._report(event_name(before, after), after)
        for effect in row.effects:
            if effect in self._effects:
                self._effects[effect](after, data)
        if before.state == "queued" != after.state:
            queueing.leave(world, after)
        if after.ended and not before.ended:
            ending.end(world, before, after, data)
        elif before.phase == after.phase == "in_call" and (
            before.state,
            before.agent_device,
            before.visitor_device,
        ) != (
            after.state,
            after.agent_device,
            after.visitor_device,
        ):
            threads.tell_changed(world, world.conversation_of(after))
        return row

    def _report(self, name: str | None, session: Session) -> None:
        if name is not None:
            event = CallEvent.of(name, session, self._world.unix_ms(self._world.now))
            self._world.emit(Order.HISTORY, Report(event))

    def leave_video(
        self, conversation: Conversation, operation: ConversationOperation, actor: str, *, end_video: bool
    ) -> None:
        """N6, V21, V40, V41: the conversation's video, before the conversation is given away, put off or closed.

        What was not answered is cancelled, an invitation too; the visitor is told of it before any event of the
        conversation (I33).

        Arguments:
            conversation: the one that the operation is about to change; it has not changed yet.
            operation: the command.
            actor: who gave it.
            end_video: whether a running call is to be ended; otherwise it refuses `conversation.video_active` (A-22).
        """
        session = self._world.live_session(conversation)
        if session is None:
            invitations.leave_conversation(self._world, conversation, operation)
            return
        row = self.apply(session.id, operation, actor, {"end_video": end_video})
        if row is not None and row.number == "V40":
            details = {"session": session.id}
            raise RefusedError("conversation.video_active", "a video is running; end it or say end_video", details)

    def check_claim(self, session: Session) -> None:
        """Before a step that commits the claim (V11, V22): it must be this session's still, by its epoch (C8, I6).

        Raises:
            RefusedError: it is not. The session has been given up (V45); the command may be sent again to whoever has
                it now, since nothing has happened.
        """
        agent = session.agent_principal
        if agent is not None and not self._world.claims.holds(agent, session.id, session.epoch):
            self.fence(session.id)
            raise RefusedError("server.unavailable", "another server has taken this call over; ask again")

    def fence(self, session_id: str) -> None:
        """V45: the session is another node's. Gates are sealed, its nursery ends; nobody is told, nothing is kept."""
        world = self._world
        session, row, _ = step(world.sessions[session_id], SessionEvent("int.fenced", "system", {}), world.now)
        if row is None:
            world.stale_events_total += 1
            return
        world.take(row)
        if world.sessions[session_id].state == "queued":
            queueing.leave(world, session)
        world.fenced[session_id] = world.conversation_of(session).key
        gates.seal_session(world, session)
        world.emit(Order.RELEASE, SessionEnded(session_id))
        if session.agent_principal is not None:
            world.claims.drop(session.agent_principal, session_id)
            world.touch(session.agent_principal)
        world.conversation_of(session).live_session = None
        world.notices.pop(session_id, None)
        ending.forget(world, session_id)

    # --- the beginning

    def _open(self, session: Session, data: Data) -> None:
        """The session gets its nursery, and the visitor who asked for it a leg."""
        self._world.emit(Order.LIFETIME, SessionStarted(session.id))
        if session.visitor_leg is not None and session.visitor_address is not None:
            gates.open_leg(self._world, session, session.visitor_leg, "visitor", session.visitor_address)

    def _open_waiting(self, session: Session, data: Data) -> None:
        """The agent has joined first: the leg may warm up, its gates are closed."""
        assert session.agent_leg is not None
        assert session.agent_address is not None
        gates.open_leg(self._world, session, session.agent_leg, "agent", session.agent_address)
        self._show_icon(session)
        self._world.touch(session.agent_principal)

    def _show_icon(self, session: Session) -> None:
        conversation = self._world.conversation_of(session)
        if self._world.conversation_step(conversation, "int.video_rang", ConversationFacts()) is not None:
            conversation.video_icon = True
        threads.tell_changed(self._world, conversation)

    # --- ringing

    def _offer_ring(self, session: Session, data: Data) -> None:
        world = self._world
        assert session.ring is not None
        ring = world.rings[session.id] = Ring(session.ring, session.id)
        world.session_of_ring[ring.id] = session.id
        for device in world.rung_devices(session.agent_principal):
            ring.legs[device.address] = RingLeg(device.information.platform)
            ring_event(world, session, device.address, "int.start")
        self._show_icon(session)
        threads.deliver_backlog(world, world.conversation_of(session))
        world.touch(session.agent_principal)

    def _end_other_rings(self, session: Session, data: Data) -> None:
        world = self._world
        assert session.agent_address is not None
        ring_event(world, session, session.agent_address, "int.won")
        for address, leg in world.rings[session.id].legs.items():
            if address == session.agent_address:
                continue
            ring_event(world, session, address, "int.answered_elsewhere")
            warm = None if leg.leg is None else world.legs.get(leg.leg)
            if warm is not None:
                gates.close_leg(world, session, warm)

    def _end_missed_ring(self, session: Session, data: Data) -> None:
        """A-8: the agent did not answer; the visitor is the first in the queue, for somebody else."""
        world = self._world
        agent = Principal(session.org, "agent", str(data["from"]))
        ring = world.rings.pop(session.id)
        for address in ring.legs:
            end_ring_leg(world, session, ring, address, "int.timeout")
        world.rings_before.setdefault(session.id, []).append(ring)
        for leg in [leg for leg in world.legs_in(session.id) if leg.side == "agent"]:
            gates.close_leg(world, session, leg)
        told = world.told[session.id]
        for device in world.devices_of(agent):
            if told.pop(device.address, "unknown") is None:
                telling.notify_ended(world, session, device.address, "no_answer", "ring_timeout")
        claim = world.claims.get(agent)
        if claim is not None:
            world.claims.release(agent, session.id, claim.epoch)
        world.agent(agent).idle_since = world.now
        world.touch(agent)
        threads.unclaim_conversation(world, world.conversation_of(session), rang=True)
        queueing.enter(world, session, first=True)

    # --- answered

    def _commit(self, session: Session, data: Data) -> None:
        world = self._world
        assert session.agent_principal is not None
        assert session.agent_address is not None
        assert session.agent_leg is not None
        self._commit_claim(session)
        world.agent(session.agent_principal).missed_in_a_row = 0
        gates.open_leg(world, session, session.agent_leg, "agent", session.agent_address)
        world.emit(Order.OPEN_GATES, SetSource(session.id, "agent", session.agent_leg))
        self._invitation_answered(session, "int.answered")
        world.touch(session.agent_principal)

    def _commit_claim(self, session: Session) -> None:
        assert session.agent_principal is not None
        fenced = self._world.claims.commit(session.agent_principal, session.id, session.epoch)
        assert fenced is None, "check_claim comes before the step"

    def _join_visitor(self, session: Session, data: Data) -> None:
        """V22: the agent waits already; the visitor's leg is the second one."""
        world = self._world
        assert session.agent_principal is not None
        assert session.visitor_leg is not None
        assert session.visitor_address is not None
        self._commit_claim(session)
        gates.open_leg(world, session, session.visitor_leg, "visitor", session.visitor_address)
        self._invitation_answered(session, "invitation.accept")
        for device in world.devices_of(session.visitor_principal):
            if device.address != session.visitor_address:
                tell_state(world, session, device)
        world.told[session.id][session.visitor_address] = None
        world.touch(session.agent_principal)

    def _invitation_answered(self, session: Session, event: str) -> None:
        invitation = self._world.invitations.get(session.invitation or "")
        if invitation is not None:
            invitations.step(self._world, invitation, event, InvitationFacts())

    def _arm_gates(self, session: Session, data: Data) -> None:
        self._gates_of_committed(session, "commit")

    def _open_gates(self, session: Session, data: Data) -> None:
        self._gates_of_committed(session, "ready")

    def _gates_of_committed(self, session: Session, event: str) -> None:
        for leg_id in (session.agent_leg, session.visitor_leg):
            leg = None if leg_id is None else self._world.legs.get(leg_id)
            if leg is not None:
                gates.gate_event(self._world, session, leg, event)

    # --- a leg lost and found

    def _freeze_gates(self, session: Session, data: Data) -> None:
        gates.gate_event(self._world, session, self._world.legs[str(data["leg"])], "freeze")

    def _thaw_gates(self, session: Session, data: Data) -> None:
        gates.gate_event(self._world, session, self._world.legs[str(data["leg"])], "thaw")

    # --- handoff

    def _open_pending(self, session: Session, data: Data) -> None:
        pending = session.pending
        assert pending is not None
        address = DeviceAddress(
            session.org,
            pending.side,
            session.agent or "" if pending.side == "agent" else session.visitor,
            pending.device,
        )
        leg = gates.open_leg(self._world, session, pending.leg, pending.side, address)
        old = self._world.legs.get(session.leg_of(pending.side) or "")
        gates.inherit_mute(self._world, session, leg, old)

    def _move_source(self, session: Session, data: Data) -> None:
        world = self._world
        new = world.legs[str(data["leg"])]
        old = next((leg for leg in world.legs_in(session.id) if leg.side == new.side and leg is not new), None)
        gates.switch_source(world, session, new.side, new, old)

    def _close_pending(self, session: Session, data: Data) -> None:
        world = self._world
        leg = world.legs[str(data["leg"])]
        failed = HandoffFailed(session.id, _FAILURES[str(data["why"])])
        source = session.agent_address if leg.side == "agent" else session.visitor_address
        for address in (leg.address, source):
            device = None if address is None else world.devices.get(address)
            if device is not None:
                tell(world, session, device, failed, Order.LOSERS)
        gates.close_leg(world, session, leg)

    # --- recording

    def start_recording(self, session_id: str, actor: str, role: str) -> str | None:
        """V50: the id of the recording that is on now, None if the embedder's policy refuses.

        Arguments:
            session_id: a session in the call.
            actor: who asked; `system` where every call is recorded.
            role: the role of who asked, or `system`.
        """
        world = self._world
        session, policy = world.sessions[session_id], world.recording_policy
        if policy is not None and not policy.may_record(session.org, session.conversation, session_id, actor):
            return None
        self.apply(session_id, "recording.start", actor, {"recording": world.new_id("rec"), "by": role})
        return world.sessions[session_id].recording

    def _record(self, session: Session, data: Data) -> None:
        # Behind what both sides are told, before gates that open: nothing is written that was not announced.
        self._world.emit(Order.OTHER_SIDE, StartRecording(session.id, str(data["recording"])))

    def _end_record(self, session: Session, data: Data) -> None:
        self._world.emit(Order.CLOSE_GATES, StopRecording(session.id))

    # --- taken over from a process that died

    def reopen_legs(self, session: Session) -> None:
        """V46, V47: the legs keep their ids; their transports, and what warmed for an answer, died with the process."""
        world = self._world
        world.emit(Order.LIFETIME, SessionStarted(session.id))
        for leg in world.legs_in(session.id):
            world.emit(Order.LEGS, OpenLeg(session.id, leg.id, leg.side))
            if session.answered:
                gates.rearm(world, session, leg, frozen=session.phase == "in_call")
            if leg.side == "agent":
                world.emit(Order.OPEN_GATES, SetSource(session.id, "agent", leg.id))

    def _await_visitor(self, session: Session, data: Data) -> None:
        world = self._world
        world.set_session_timer(session, "T_vis_ring", world.now + world.configuration.visitor_return_s)

    def _await_agent(self, session: Session, data: Data) -> None:
        world = self._world
        world.set_session_timer(session, "T_agent_gone", world.now + world.configuration.leg_grace_s)
