"""From rows of a store back to a world: what a process finds that takes the place of one that died.

Times in rows are monotonic seconds of the process that wrote them, with what its zero was on the wall clock: deadlines
stay where they were in absolute time, however long nobody watched them.
"""

from __future__ import annotations

from dataclasses import fields, is_dataclass, replace
from typing import Any, Final, Literal

import msgspec

from triortc.engine.calls import invitations, queueing, ringing
from triortc.engine.calls.capture import VOLATILE_TIMERS
from triortc.engine.calls.claim_table import Claim
from triortc.engine.calls.lifecycle import Lifecycle
from triortc.engine.calls.ring_table import Ring, RingLeg
from triortc.engine.calls.session import LogRecord, Session
from triortc.engine.calls.session_table import Value
from triortc.engine.calls.store import (
    AgentRow,
    ConversationRow,
    DeviceRow,
    EventRow,
    InvitationRow,
    SessionRow,
    Stored,
    TimerRow,
)
from triortc.engine.calls.world import Agent, Leg, World

__all__ = ["restore", "take_over"]

_TIMES_IN_EVENTS: Final = ("deadline", "rx_time", "requested_at", "alive_until", "queue_deadline")
"""Facts of session events that are instants."""


def restore(world: World, stored: Stored) -> None:
    """Put everything that is stored into an empty world.

    Arguments:
        world: nothing has happened in it.
        stored: what the process before left.
    """
    events: dict[str, list[LogRecord]] = {}
    for event in stored.events:
        events.setdefault(event.session, []).append(_log_record(world, event))
    for agent in stored.agents:
        _restore_agent(world, agent)
    for device in stored.devices:
        _restore_device(world, device)
    live = {row.session.id for row in stored.sessions if not row.session.ended}
    for conversation in stored.conversations:
        _restore_conversation(world, conversation, live)
    for invitation in sorted(stored.invitations, key=lambda row: row.invitation.ended_at or 0.0):
        _restore_invitation(world, invitation)
    for timer in stored.timers:
        _restore_timer(world, timer)
    for row in sorted(stored.sessions, key=lambda row: row.session.ended_at or 0.0):
        _restore_session(world, row, events.get(row.session.id, []))
    for principal in list(world.agents):
        world.touch(principal)


def take_over(world: World, lifecycle: Lifecycle, alive_ms: int | None) -> None:
    """V46, V47: the sessions that have not ended are this process's from now on.

    Arguments:
        world: restored.
        lifecycle: over the same world.
        alive_ms: the last sign of life of the process before, in unix milliseconds.
    """
    alive_until = world.now if alive_ms is None else min(world.now, world.monotonic(alive_ms))
    for session in [session for session in world.sessions.values() if not session.ended]:
        _take_over(world, lifecycle, session, alive_until)
    queued = [session for session in world.sessions.values() if session.state == "queued"]
    for session in sorted(queued, key=lambda session: (not session.missed_by, session.requested_at)):
        queueing.enter(world, session)
    for invitation in [invitation for invitation in world.invitations.values() if invitation.live]:
        invitations.visitor_presence(world, world.conversations[invitation.org, invitation.conversation])


def _shift_s(world: World, zero_ms: int) -> float:
    """What to add to an instant of the other process to have it on our clock."""
    return (zero_ms - world.unix_ms_at_zero) / 1000


def _shifted(item: Any, shift_s: float) -> Any:
    """A copy of a record with its instants moved: `…_at`, `…_since`, `…_until`, `deadline`, also those inside."""
    changes: dict[str, object] = {}
    struct = isinstance(item, msgspec.Struct)
    for name in item.__struct_fields__ if struct else [field.name for field in fields(item)]:
        value = getattr(item, name)
        if isinstance(value, float) and (name.endswith(("_at", "_since", "_until")) or name == "deadline"):
            changes[name] = value + shift_s
        elif is_dataclass(value) and not isinstance(value, type):
            changes[name] = _shifted(value, shift_s)
        elif name in ("timers", "grace"):
            changes[name] = {timer: at + shift_s for timer, at in value.items()}
    return msgspec.structs.replace(item, **changes) if struct else replace(item, **changes)


def _log_record(world: World, row: EventRow) -> LogRecord:
    shift_s = _shift_s(world, row.zero_ms)
    data: dict[str, Value] = dict(row.record.data)
    for name in _TIMES_IN_EVENTS:
        value = data.get(name)
        if isinstance(value, int | float):
            data[name] = value + shift_s
    return replace(row.record, at=row.record.at + shift_s, data=data)


def _restore_agent(world: World, row: AgentRow) -> None:
    agent: Agent = _shifted(row.agent, _shift_s(world, row.zero_ms))
    agent.chats.clear()  # of a conversation that is not restored nothing is left; the others add themselves
    world.agents[agent.principal] = agent
    world.join_groups(agent, agent.groups)
    world.claims.restore_epoch(agent.principal, row.epoch)


def _restore_device(world: World, row: DeviceRow) -> None:
    """The device is not connected, and has as much time to come back as one whose connection was lost just now."""
    device = _shifted(row.device, _shift_s(world, row.zero_ms))
    device.signaling, device.reachable, device.restored = "grace", True, True
    world.devices[device.address] = device
    world.of_principal.setdefault(device.address.principal, {})[device.address.device] = device
    world.set_timer(("T_reachable", *device.address), world.now + world.configuration.device_grace_s)


def _restore_conversation(world: World, row: ConversationRow, live: set[str]) -> None:
    conversation = _shifted(row.conversation, _shift_s(world, row.zero_ms))
    conversation.visitor_online = False
    if conversation.live_session not in live:
        conversation.live_session = None
    key = conversation.key
    world.conversations[key] = conversation
    world.conversations_of_visitor.setdefault(conversation.visitor_principal, {})[key] = None
    if conversation.assignee_principal is not None:
        world.conversations_of_agent.setdefault(conversation.assignee_principal, {})[key] = None
    if conversation.state == "closed":
        world.closed_conversations.append(key)
    elif conversation.assignee_principal is not None and conversation.state == "open":
        world.agent(conversation.assignee_principal).chats.add(key)
    elif conversation.state == "open" and (conversation.backlog or conversation.given_away_by):
        world.waiting_chats[key] = None


def _restore_invitation(world: World, row: InvitationRow) -> None:
    invitation = _shifted(row.invitation, _shift_s(world, row.zero_ms))
    world.invitations[invitation.id] = invitation
    if invitation.live:
        world.invitation_of_agent[invitation.agent_principal] = invitation.id
    else:
        world.ended_invitations.append(invitation.id)


def _restore_timer(world: World, row: TimerRow) -> None:
    if row.name[0] not in VOLATILE_TIMERS:
        world.set_timer(row.name, row.at + _shift_s(world, row.zero_ms))


def _restore_session(world: World, row: SessionRow, log: list[LogRecord]) -> None:
    session: Session = _shifted(row.session, _shift_s(world, row.zero_ms))
    world.sessions[session.id] = session
    world.logs[session.id] = log
    world.told[session.id] = dict.fromkeys(row.told)
    world.media[session.id] = dict(row.media)
    world.used_devices[session.id] = dict.fromkeys(row.used_devices)
    world.gate_intervals[session.id] = list(row.gate_intervals)
    if row.notices:
        world.notices[session.id] = dict(row.notices)
    if row.ring is not None:
        ring = world.rings[session.id] = Ring(row.ring, session.id)
        world.session_of_ring[ring.id] = session.id
        for rung in row.ring_legs:
            state = "done" if rung.state == "done" else "planned"
            ring.legs[rung.address] = RingLeg(rung.platform, state, rung.reason)
    if row.rings_before:
        world.rings_before[session.id] = [
            Ring(name, session.id, {leg.address: RingLeg(leg.platform, leg.state, leg.reason) for leg in legs})
            for name, legs in row.rings_before
        ]
    if session.ended:
        world.ended.append(session.id)
        return
    for known in row.legs:
        leg = world.legs[known.leg] = Leg(known.leg, session.id, known.side, known.address, renegotiate=True)
        world.legs_of_session.setdefault(session.id, {})[leg.id] = leg
        leg.gates["audio"].muted, leg.gates["video"].muted = known.audio_muted, known.video_muted


def _take_over(world: World, lifecycle: Lifecycle, session: Session, alive_until: float) -> None:
    agent = session.agent_principal
    epoch = session.epoch
    if agent is not None:
        origin: Literal["routed", "invited"] = "routed" if session.origin == "routed" else "invited"
        phase = "in_call" if session.answered else session.phase
        epoch = world.claims.adopt(agent, Claim(session.id, origin, phase, session.epoch))
    data: dict[str, Value] = {
        "epoch": epoch,
        "deadline": world.now + world.configuration.leg_grace_s,
        "alive_until": alive_until,
    }
    if lifecycle.apply(session.id, "int.adopted", "system", data) is None:
        lifecycle.apply(session.id, "int.crash", "system", {})
    elif world.sessions[session.id].state == "ringing":
        ringing.go_on(world, world.sessions[session.id])
