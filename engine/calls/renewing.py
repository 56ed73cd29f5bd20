"""V47 while the devices are here: the process that had a session's media died, and its legs are made anew."""

from __future__ import annotations

from triortc.engine.calls.actor import DeviceAddress
from triortc.engine.calls.effects import Order, SetGate
from triortc.engine.calls.gate_table import GateState
from triortc.engine.calls.gates import gate_event
from triortc.engine.calls.lifecycle import Lifecycle
from triortc.engine.calls.notifications import CallPeer
from triortc.engine.calls.session import Session
from triortc.engine.calls.session_table import Value
from triortc.engine.calls.world import KINDS, World

__all__ = ["ask_to_renegotiate", "renew_legs"]


def renew_legs(world: World, lifecycle: Lifecycle, session: Session) -> None:
    """Open every leg of a session again, under its name, and ask its device to offer anew.

    Arguments:
        world: knows the session.
        lifecycle: over the same world.
        session: it has not ended, and neither a device that takes over nor a recording is left in it.
    """
    legs = world.legs_in(session.id)
    for leg in legs:
        leg.up, leg.renegotiate = False, True
        if session.phase == "in_call":
            gate_event(world, session, leg, "freeze")
            continue
        for gate in leg.gates.values():  # also one that was open for a preview: the leg that comes begins closed
            gate.state, gate.since = GateState.CLOSED, world.now
    if session.answered:
        data: dict[str, Value] = {
            "epoch": session.epoch,
            "deadline": world.now + world.configuration.leg_grace_s,
            "alive_until": world.now,
        }
        lifecycle.apply(session.id, "int.adopted", "system", data)
    else:
        lifecycle.reopen_legs(session)
    for leg in legs:
        for kind in KINDS:
            if leg.gates[kind].muted and leg.gates[kind].state is not GateState.FROZEN:
                world.emit(Order.LEGS, SetGate(session.id, leg.id, kind, GateState.MUTED, session.epoch))
    for address in dict.fromkeys(leg.address for leg in legs):
        ask_to_renegotiate(world, world.sessions[session.id], address)


def ask_to_renegotiate(world: World, session: Session, address: DeviceAddress) -> None:
    """V47: tell a device that its leg's transport is gone, and until when a new one is waited for."""
    for leg in world.legs_in(session.id):
        if leg.renegotiate and leg.address == address:
            deadline = session.timers.get("T_adopted", session.deadline)
            remaining_ms = max(0, round((deadline - world.now) * 1000))
            peer = CallPeer(session.id, "reconnecting", renegotiate=True, deadline_ms=remaining_ms)
            world.notify(Order.OTHER_SIDE, address, peer)
