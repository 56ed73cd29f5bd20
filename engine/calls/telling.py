"""What the devices of both sides are told of a session: who answered, that it moved, that it is over."""

from __future__ import annotations

from collections.abc import Mapping

from triortc.engine.calls import threads, views
from triortc.engine.calls.actor import DeviceAddress
from triortc.engine.calls.effects import Order
from triortc.engine.calls.notifications import (
    CallAccepted,
    CallActive,
    CallEnded,
    CallPeer,
    HandoffMoved,
    HandoffStarted,
    Notification,
    RecordingChanged,
)
from triortc.engine.calls.ringing import tell, tell_state
from triortc.engine.calls.session import Session
from triortc.engine.calls.session_table import Value
from triortc.engine.calls.view_values import Notice
from triortc.engine.calls.world import World

__all__ = [
    "Data",
    "notify_ended",
    "tell_accepted",
    "tell_active",
    "tell_ended",
    "tell_handoff_started",
    "tell_moved",
    "tell_reconnecting",
    "tell_recording",
    "tell_resumed",
    "tell_waiting",
]

Data = Mapping[str, Value]
"""The facts that come with an event."""


def _tell_side(world: World, session: Session, side: str, notification: Notification) -> None:
    """Tell the side's device that is in the call; of the visitor, every tab."""
    if side == "visitor":
        devices = world.devices_of(session.visitor_principal)
    else:
        device = None if session.agent_address is None else world.devices.get(session.agent_address)
        devices = [] if device is None else [device]
    for device in devices:
        tell(world, session, device, notification, Order.OTHER_SIDE)


def tell_waiting(world: World, session: Session, data: Data) -> None:
    """`call.state{waiting}` for the agent's devices."""
    for device in world.devices_of(session.agent_principal):
        tell_state(world, session, device)


def tell_accepted(world: World, session: Session, data: Data) -> None:
    """The visitor learns who has answered."""
    device = None if session.agent_address is None else world.devices.get(session.agent_address)
    platform = None if device is None else device.information.platform
    _tell_side(world, session, "visitor", CallAccepted(session.id, views.agent_identity(world, session), platform))
    threads.tell_changed(world, world.conversation_of(session))


def tell_active(world: World, session: Session, data: Data) -> None:
    """Both sides learn that they are seen and heard."""
    for side in ("agent", "visitor"):
        _tell_side(world, session, side, CallActive(session.id, world.unix_ms(world.now)))
    threads.tell_changed(world, world.conversation_of(session))


def tell_reconnecting(world: World, session: Session, data: Data) -> None:
    """The other side learns that a leg is lost, and how long it is waited for."""
    remaining = round((session.grace[str(data["leg"])] - world.now) * 1000)
    _tell_side(world, session, _other(data["side"]), CallPeer(session.id, "reconnecting", deadline_ms=remaining))


def tell_resumed(world: World, session: Session, data: Data) -> None:
    """The other side learns that the leg is back."""
    # After a restart whoever came back last has not heard of the other, and both have waited for the whole.
    both = bool(data.get("renewed")) and not session.grace
    for side in ("agent", "visitor") if both else (_other(data["side"]),):
        _tell_side(world, session, side, CallPeer(session.id, "resumed"))


def tell_handoff_started(world: World, session: Session, data: Data) -> None:
    """The device that is in the call learns which one takes over."""
    assert session.pending is not None
    target = world.legs[session.pending.leg].address
    source = session.agent_address if session.pending.side == "agent" else session.visitor_address
    old, new = None if source is None else world.devices.get(source), world.devices.get(target)
    if old is not None and new is not None:
        tell(world, session, old, HandoffStarted(session.id, new.reference), Order.OTHER_SIDE)
    world.told[session.id][target] = None


def tell_moved(world: World, session: Session, data: Data) -> None:
    """Everybody learns that another device has taken over; the agent's old one keeps a notice of it."""
    new = world.legs[str(data["leg"])]
    device = world.devices.get(new.address)
    old = world.devices.get(DeviceAddress(*new.address.principal, str(data["from"])))
    notices = world.notices.setdefault(session.id, {})
    notices.pop(new.address, None)
    if device is not None:
        tell(
            world,
            session,
            device,
            CallActive(session.id, world.unix_ms(session.active_at or 0.0)),
            Order.OTHER_SIDE,
        )
        if session.recording is not None:
            changed = RecordingChanged(session.id, True, views.recorded_by(session.recording_by or "system"))
            tell(world, session, device, changed, Order.OTHER_SIDE)
    if new.side == "visitor":
        if old is not None:
            tell_state(world, session, old)
    elif device is not None:
        address = DeviceAddress(*new.address.principal, str(data["from"]))
        notices[address] = Notice("session_moved", session.id, device.reference, True)
        if old is not None:
            moved = HandoffMoved(session.id, "session_moved", device.reference, True)
            tell(world, session, old, moved, Order.LOSERS)
    _tell_side(world, session, _other(new.side), CallPeer(session.id, "device_changed"))


def tell_recording(world: World, session: Session, data: Data) -> None:
    """Both sides learn whether they are recorded."""
    changed = RecordingChanged(session.id, session.recording is not None, views.recorded_by(str(data["by"])))
    for side in ("agent", "visitor"):
        _tell_side(world, session, side, changed)


def tell_ended(world: World, session: Session) -> None:
    """Everybody who was told of the session learns how it ended, as far as they may know."""
    assert session.outcome is not None
    assert session.reason is not None
    ended: dict[str, CallEnded] = {}  # one value for all devices of a side, so that it is encoded once
    for address in world.told[session.id]:
        if address not in world.devices:
            continue
        known = ended.get(address.role)
        if known is None:
            outcome, reason = session.outcome, session.reason
            if address.role == "visitor":
                outcome, reason = views.visitor_outcome(world, outcome, reason)
            known = ended[address.role] = _call_ended(world, session, address.role, outcome, reason)
        world.notify(Order.OTHER_SIDE, address, known)


def notify_ended(world: World, session: Session, address: DeviceAddress, outcome: str, reason: str) -> None:
    """`call.ended` for one device."""
    world.notify(Order.OTHER_SIDE, address, _call_ended(world, session, address.role, outcome, reason))


def _call_ended(world: World, session: Session, role: str, outcome: str, reason: str) -> CallEnded:
    listed = role == "agent" and session.answered_at is None
    return CallEnded(
        session=session.id,
        outcome=outcome,
        reason=reason,
        by=views.ended_by(reason),
        talk_ms=session.talk_ms,
        conversation=session.conversation,
        conversation_state=world.conversation_of(session).state,
        next="conversation_list" if listed else "conversation",
    )


def _other(side: Value) -> str:
    return "visitor" if side == "agent" else "agent"
