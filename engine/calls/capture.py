"""What of the world has changed since the last step, as rows for a store."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from triortc.engine.calls.actor import DeviceAddress, Principal
from triortc.engine.calls.conversation_table import Conversation
from triortc.engine.calls.invitation_table import Invitation
from triortc.engine.calls.ports import Side
from triortc.engine.calls.ring_table import Ring
from triortc.engine.calls.session import Session
from triortc.engine.calls.store import (
    AgentRow,
    Change,
    ConversationRow,
    DeviceRow,
    EventRow,
    InvitationRow,
    LegRow,
    RingLegRow,
    SessionRow,
    TimerRow,
    delete,
    put,
)
from triortc.engine.calls.tracked import TrackedDict
from triortc.engine.calls.view_values import Notice
from triortc.engine.calls.world import Agent, Device, Leg, MediaStatus, World

__all__ = ["VOLATILE_TIMERS", "Capture"]

VOLATILE_TIMERS: Final = frozenset({"T_reachable", "requests"})
"""Timers of the house that mean nothing to another process: they are about connections, or bound rates."""


class Capture:
    """Follows one world. Made before anything happens in it, since it puts its own dicts there.

    Every step looks up what it changes, so the looked-up things are rendered, and those whose row is another than the
    last one are written. Nobody who changes something has to say so.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self._touched_sessions: dict[str, None] = {}
        self._touched_conversations: dict[tuple[str, str], None] = {}
        self._touched_agents: dict[Principal, None] = {}
        self._touched_devices: dict[DeviceAddress, None] = {}
        self._touched_invitations: dict[str, None] = {}
        self._touched_timers: dict[tuple[str, ...], None] = {}
        self._written: dict[tuple[str, tuple[str | int, ...]], int] = {}
        self._logged: dict[str, int] = {}
        self._sessions: TrackedDict[str, Session] = TrackedDict(self._touched_sessions)
        self._rings: TrackedDict[str, Ring] = TrackedDict(self._touched_sessions)
        self._told: TrackedDict[str, dict[DeviceAddress, None]] = TrackedDict(self._touched_sessions)
        self._notices: TrackedDict[str, dict[DeviceAddress, Notice]] = TrackedDict(self._touched_sessions)
        self._media: TrackedDict[str, dict[Side, MediaStatus]] = TrackedDict(self._touched_sessions)
        self._legs: TrackedDict[str, dict[str, Leg]] = TrackedDict(self._touched_sessions)
        self._conversations: TrackedDict[tuple[str, str], Conversation] = TrackedDict(self._touched_conversations)
        self._agents: TrackedDict[Principal, Agent] = TrackedDict(self._touched_agents)
        self._devices: TrackedDict[DeviceAddress, Device] = TrackedDict(self._touched_devices)
        self._invitations: TrackedDict[str, Invitation] = TrackedDict(self._touched_invitations)
        self._timers: TrackedDict[tuple[str, ...], float] = TrackedDict(self._touched_timers)
        world.sessions, world.rings, world.told, world.notices = self._sessions, self._rings, self._told, self._notices
        world.media, world.legs_of_session, world.conversations = self._media, self._legs, self._conversations
        world.agents, world.devices, world.timers = self._agents, self._devices, self._timers
        world.invitations = self._invitations

    def take(self) -> list[Change]:
        """The rows that the steps since the last call have changed."""
        changes = [*self._take_conversations(), *self._take_agents(), *self._take_devices(), *self._take_timers()]
        changes.extend(self._take_invitations())
        for session in self._touched_sessions:
            changes.extend(self._take_session(session))
        self._touched_sessions.clear()
        self._touched_conversations.clear()
        self._touched_agents.clear()
        self._touched_devices.clear()
        self._touched_timers.clear()
        self._touched_invitations.clear()
        return changes

    def look_at_everything(self) -> None:
        """Let the next `take` compare every row, not only those of what was looked up."""
        self._touched_sessions.update(dict.fromkeys(self._sessions))
        self._touched_conversations.update(dict.fromkeys(self._conversations))
        self._touched_agents.update(dict.fromkeys(self._agents))
        self._touched_devices.update(dict.fromkeys(self._devices))
        self._touched_invitations.update(dict.fromkeys(self._invitations))
        self._touched_timers.update(dict.fromkeys(self._timers))

    def restored(self) -> None:
        """What is in the world by now came from the store: only what changes from here on is written."""
        self.take()

    # --- one kind after the other

    def _changed(self, change: Change) -> bool:
        """Whether the row is another than the one that was written last."""
        name = (change.entity, change.key)
        value = hash(change.data)
        if self._written.get(name) == value:
            return False
        self._written[name] = value
        return True

    def _gone(self, entity: str, key: tuple[str | int, ...]) -> Iterator[Change]:
        if self._written.pop((entity, key), None) is not None:
            yield delete(entity, key)

    def _take_conversations(self) -> Iterator[Change]:
        zero_ms, fenced = self._world.unix_ms_at_zero, frozenset(self._world.fenced.values())
        for key in self._touched_conversations:
            conversation = self._conversations.peek(key)
            if conversation is None:
                self._written.pop(("conversations", key), None)  # forgotten by call control, not by the store
                continue
            change = put("conversations", ConversationRow(zero_ms, conversation))
            if self._changed(change) and key not in fenced:
                yield change

    def _take_agents(self) -> Iterator[Change]:
        world = self._world
        for principal in self._touched_agents:
            agent = self._agents.peek(principal)
            if agent is None:
                continue
            row = AgentRow(world.unix_ms_at_zero, agent, world.claims.epoch(principal))
            change = put("agents", row)
            if self._changed(change):
                yield change

    def _take_devices(self) -> Iterator[Change]:
        world = self._world
        for address in self._touched_devices:
            if address.role != "agent":
                continue
            device = self._devices.peek(address)
            if device is None:
                yield from self._gone("devices", tuple(address))
                continue
            change = put("devices", DeviceRow(world.unix_ms_at_zero, device))
            if self._changed(change):
                yield change

    def _take_invitations(self) -> Iterator[Change]:
        for key in self._touched_invitations:
            invitation = self._invitations.peek(key)
            if invitation is None:
                yield from self._gone("invitations", (key,))
                continue
            change = put("invitations", InvitationRow(self._world.unix_ms_at_zero, invitation))
            if self._changed(change):
                yield change

    def _take_timers(self) -> Iterator[Change]:
        world = self._world
        for key in self._touched_timers:
            if key[0] in VOLATILE_TIMERS:
                continue
            at = self._timers.peek(key)
            row = TimerRow(world.unix_ms_at_zero, key, at or 0.0)
            if at is None:
                yield from self._gone("timers", row.key)
                continue
            change = put("timers", row)
            if self._changed(change):
                yield change

    def _take_session(self, session_id: str) -> Iterator[Change]:
        world = self._world
        session = self._sessions.peek(session_id)
        if session is None:
            self._logged.pop(session_id, None)
            if world.fenced.pop(session_id, None) is not None:  # V45: another node writes about it
                self._written.pop(("sessions", (session_id,)), None)
                return
            yield from self._gone("sessions", (session_id,))
            return
        change = put("sessions", self._session_row(session))
        if self._changed(change):
            yield change
        log = world.logs.get(session_id, [])
        written = self._logged.get(session_id, 0)
        if len(log) > written:
            self._logged[session_id] = len(log)
            for record in log[written:]:
                yield put("events", EventRow(world.unix_ms_at_zero, session_id, record))

    def _session_row(self, session: Session) -> SessionRow:
        world = self._world
        ring = self._rings.peek(session.id)
        committed = (session.agent_leg, session.visitor_leg)
        legs = [leg for leg in (self._legs.peek(session.id) or {}).values() if leg.id in committed]
        return SessionRow(
            zero_ms=world.unix_ms_at_zero,
            session=session,
            ring=None if ring is None else ring.id,
            ring_legs=() if ring is None else _ring_legs(ring),
            rings_before=tuple((ring.id, _ring_legs(ring)) for ring in world.rings_before.get(session.id, ())),
            legs=tuple(
                LegRow(leg.id, leg.side, leg.address, leg.gates["audio"].muted, leg.gates["video"].muted)
                for leg in legs
            ),
            told=tuple(self._told.peek(session.id) or ()),
            used_devices=tuple(world.used_devices.get(session.id, ())),
            gate_intervals=tuple(world.gate_intervals.get(session.id, ())),
            media=self._media.peek(session.id) or {},
            notices=tuple((self._notices.peek(session.id) or {}).items()),
        )


def _ring_legs(ring: Ring) -> tuple[RingLegRow, ...]:
    return tuple(RingLegRow(address, leg.platform, leg.state, leg.reason) for address, leg in ring.legs.items())
