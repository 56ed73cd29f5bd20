"""Rings: what happens on each device that rings, and who is told."""

from __future__ import annotations

from typing import Final

from triortc.engine.calls import pushing, views
from triortc.engine.calls.actor import DeviceAddress
from triortc.engine.calls.effects import Order
from triortc.engine.calls.machine import SAME, Row
from triortc.engine.calls.notifications import Notification, RingEnded
from triortc.engine.calls.ring_table import RINGS, Ring, RingFacts, RingLeg
from triortc.engine.calls.session import Session
from triortc.engine.calls.session_table import Value
from triortc.engine.calls.world import Device, World

__all__ = [
    "alerting_changed",
    "end_ring_leg",
    "end_rings",
    "fire",
    "go_on",
    "ring_event",
    "tell",
    "tell_ringing",
    "tell_state",
]

_RING_REASONS: Final = {"no_answer": "timeout", "declined": "declined_elsewhere"}


def tell(world: World, session: Session, device: Device, notification: Notification, order: Order) -> None:
    """Tell a device about a session; it will be told the end as well."""
    world.told[session.id][device.address] = None
    world.notify(order, device.address, notification)


def tell_state(world: World, session: Session, device: Device, position: int | None = None) -> None:
    """`call.state` for one device. `position`: its place in the queue, where that is known already."""
    tell(world, session, device, views.session_state(world, session, device, position), Order.OTHER_SIDE)


def ring_event(
    world: World, session: Session, address: DeviceAddress, event: str, *, silent: bool = False
) -> Row | None:
    """Send an event to the ring on one device.

    Arguments:
        session: the session that rings.
        address: the device.
        event: its name in table L.
        silent: do not send the offer, because a snapshot shows it.
    """
    return _ring_step(world, session, world.rings[session.id], address, event, silent=silent)


def end_ring_leg(world: World, session: Session, ring: Ring, address: DeviceAddress, event: str) -> None:
    """Stop a ring that is not the session's any more on one device."""
    _ring_step(world, session, ring, address, event)


def _ring_step(
    world: World, session: Session, ring: Ring, address: DeviceAddress, event: str, *, silent: bool = False
) -> Row | None:
    leg = ring.legs[address]
    device = world.devices.get(address)
    row = RINGS.select(leg.state, event, _facts(world, device))
    if row is None:
        return None
    world.take(row)
    if row.next != SAME:
        leg.state = row.next
    if leg.state == "done" and leg.reason is None:
        leg.reason = event.removeprefix("int.")
    for effect in row.effects:
        match effect:
            case "stop_pushes":
                leg.no_ack_at, leg.due = None, ()
            case "withdraw":
                pushing.withdraw(world, session, ring, address)
            case _ if device is None:
                pass
            case "plan_pushes":
                pushing.plan(world, session, ring, device)
            case "arm_fallback":
                if device.wakeable(world.push_rules):
                    leg.no_ack_at = world.now + world.configuration.push_fallback_s
            case "offer":
                world.told[session.id][address] = None
                if not silent:
                    tell(world, session, device, views.ring_offer(world, session, ring, device), Order.OTHER_SIDE)
            case "tell_ended" if device.signaling != "gone":
                _tell_ring_ended(world, session, ring, leg, device)
    world.rescheduled[session.id] = None
    return row


def go_on(world: World, session: Session) -> None:
    """After the death of the process before: who has to be woken is woken again; who was connected may come back."""
    for address, leg in world.rings[session.id].legs.items():
        device = world.devices.get(address)
        if leg.state == "planned" and device is not None and device.information.app_state != "foreground":
            ring_event(world, session, address, "int.start")


def _facts(world: World, device: Device | None) -> RingFacts:
    if device is None:
        return RingFacts()
    return RingFacts(device.live, device.in_use, device.wakeable(world.push_rules))


def fire(world: World, session: Session) -> None:
    """What is due on the devices that ring: pushes, and a push instead of an acknowledgement that did not come (L5)."""
    ring = world.rings[session.id]
    for address, leg in ring.legs.items():
        if leg.no_ack_at is not None and leg.no_ack_at <= world.now:
            leg.no_ack_at = None
            ring_event(world, session, address, "int.no_ack")
        pushing.send_due(world, session, ring, address)
    world.rescheduled[session.id] = None


def _tell_ring_ended(world: World, session: Session, ring: Ring, leg: RingLeg, device: Device) -> None:
    by = None
    if leg.reason in ("answered_elsewhere", "declined_elsewhere"):
        other = "won" if leg.reason == "answered_elsewhere" else "declined_here"
        address = next((address for address, entry in ring.legs.items() if entry.reason == other), None)
        actor = None if address is None else world.devices.get(address)
        by = None if actor is None else actor.reference
    missed = leg.reason in pushing.MISSED
    ended = RingEnded(ring.id, session.id, leg.reason or "cancelled", missed, by)
    tell(world, session, device, ended, Order.LOSERS)


def alerting_changed(world: World, session: Session) -> None:
    """Tell the visitor if the ring began or ceased to be heard."""
    ring = world.rings[session.id]
    if session.state == "ringing" and ring.alerting != ring.told_alerting:
        tell_ringing(world, session)


def tell_ringing(world: World, session: Session) -> None:
    """`call.state` for every tab of the visitor."""
    ring = world.rings[session.id]
    ring.told_alerting = ring.alerting
    for device in world.devices_of(session.visitor_principal):
        tell_state(world, session, device)


def end_rings(world: World, session: Session, decliner: Value) -> None:
    """Stop the ring on every device. `decliner`: the device on which it was declined, if it was."""
    ring = world.rings.get(session.id)
    if ring is None or session.outcome is None:
        return
    for address in sorted(ring.legs, key=lambda address: address.device != decliner):
        if address.device == decliner:
            ring_event(world, session, address, "int.declined_here")
        else:
            ring_event(world, session, address, f"int.{_RING_REASONS.get(session.outcome, 'cancelled')}")
