"""Legs and their gates: opening, arming, freezing, sealing, and the effects that follow."""

from __future__ import annotations

from triortc.engine.calls.actor import DeviceAddress
from triortc.engine.calls.effects import CloseLeg, OpenLeg, Order, RequestKeyframe, SetGate, SetSource
from triortc.engine.calls.gate_table import GateState
from triortc.engine.calls.notifications import MediaGateChanged
from triortc.engine.calls.ports import Kind, Side
from triortc.engine.calls.session import Session
from triortc.engine.calls.world import KINDS, Leg, World

__all__ = ["close_leg", "gate_event", "inherit_mute", "open_leg", "rearm", "seal_session", "switch_source"]

_TOLD = frozenset({GateState.OPEN, GateState.MUTED, GateState.FROZEN})


def open_leg(world: World, session: Session, leg_id: str, side: Side, address: DeviceAddress) -> Leg:
    """Make a leg for a device, gates closed; the leg that exists if the id is known."""
    found = world.legs.get(leg_id)
    if found is not None:
        return found
    leg = world.legs[leg_id] = Leg(leg_id, session.id, side, address)
    world.legs_of_session.setdefault(session.id, {})[leg_id] = leg
    world.used_devices.setdefault(session.id, {})[address.device] = None
    world.emit(Order.LEGS, OpenLeg(session.id, leg_id, side))
    if side == "visitor" and world.configuration.visitor_camera != "allowed":
        _set_muted(world, session, leg, "video", True)
    return leg


def _set_muted(world: World, session: Session, leg: Leg, kind: Kind, muted: bool) -> None:
    """Remember a mute in a gate that is closed, and tell the media side, which then does not wait for this kind."""
    leg.gates[kind].muted = muted
    state = GateState.MUTED if muted else GateState.CLOSED
    world.emit(Order.LEGS, SetGate(session.id, leg.id, kind, state, session.epoch))


def gate_event(world: World, session: Session, leg: Leg, event: str, kinds: tuple[Kind, ...] = KINDS) -> None:
    """Send an event to the gates of a leg, and tell the media side and the leg's device what changed."""
    for kind in kinds:
        gate = leg.gates[kind]
        before, since = gate.state, gate.since
        row = gate.apply(event, world.now)
        if row is None:
            continue
        world.take(row)
        if gate.state is before:
            continue
        if before is GateState.OPEN:
            interval = (leg.id, kind, world.unix_ms(since), world.unix_ms(world.now))
            intervals = world.gate_intervals.setdefault(session.id, [])
            if len(intervals) < world.configuration.event_log_limit:
                intervals.append(interval)
        order = Order.OPEN_GATES if gate.state is GateState.OPEN else Order.CLOSE_GATES
        world.emit(order, SetGate(session.id, leg.id, kind, gate.state, session.epoch))
        if "request_keyframe" in row.effects and kind == "video":
            world.emit(Order.OPEN_GATES, RequestKeyframe(session.id, leg.id))
        if gate.state in _TOLD and leg.side == "agent":
            changed = MediaGateChanged(session.id, kind, gate.state.value, world.unix_ms(world.now))
            world.notify(Order.OPEN_GATES, leg.address, changed)


def rearm(world: World, session: Session, leg: Leg, *, frozen: bool) -> None:
    """Bring the gates of a leg that was taken over to where they wait: for the call's begin, or the leg's return."""
    if not frozen:
        gate_event(world, session, leg, "commit")
        return
    for kind in KINDS:
        gate = leg.gates[kind]
        gate.state, gate.since = GateState.FROZEN, world.now
        world.emit(Order.CLOSE_GATES, SetGate(session.id, leg.id, kind, gate.state, session.epoch))


def switch_source(world: World, session: Session, side: Side, new: Leg, old: Leg | None) -> None:
    """Let `new` feed the other side from now on, as muted as `old` was, and end `old`."""
    if old is not None:
        for kind in KINDS:
            new.gates[kind].muted = old.gates[kind].muted
        close_leg(world, session, old)
    gate_event(world, session, new, "commit")
    world.emit(Order.OPEN_GATES, SetSource(session.id, side, new.id))
    gate_event(world, session, new, "ready")


def inherit_mute(world: World, session: Session, pending: Leg, old: Leg | None) -> None:
    """Tell the media side which kinds a device that takes over need not deliver, because they are muted."""
    if old is None:
        return
    for kind in KINDS:
        if pending.gates[kind].muted != old.gates[kind].muted:
            _set_muted(world, session, pending, kind, old.gates[kind].muted)


def close_leg(world: World, session: Session, leg: Leg) -> None:
    """Seal the leg's gates and end it."""
    gate_event(world, session, leg, "seal")
    world.legs.pop(leg.id, None)
    world.legs_of_session.get(session.id, {}).pop(leg.id, None)
    world.emit(Order.LOSERS, CloseLeg(session.id, leg.id))


def seal_session(world: World, session: Session) -> None:
    """Seal every gate of a session. The legs stay known, so that late messages for them get a truthful answer."""
    for leg in world.legs_in(session.id):
        gate_event(world, session, leg, "seal")
