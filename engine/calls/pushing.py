"""Pushes of rings: planned for a device, sent when they are due, taken back in the end; and notes to read."""

from __future__ import annotations

from triortc.engine.calls.actor import DeviceAddress
from triortc.engine.calls.conversation_table import Conversation
from triortc.engine.calls.effects import Order, SendPush
from triortc.engine.calls.push_planner import notice_endpoint, plan_ring_pushes
from triortc.engine.calls.push_values import NoticePush, RingPush, WithdrawPush
from triortc.engine.calls.ring_table import Ring
from triortc.engine.calls.session import Session
from triortc.engine.calls.world import Device, World

__all__ = ["MISSED", "note_message", "plan", "send_due", "withdraw"]

MISSED = frozenset({"timeout", "cancelled"})
"""The ends of a ring that a device may count as a missed call: nobody of this agent has decided."""


def plan(world: World, session: Session, ring: Ring, device: Device) -> None:
    """Plan the pushes for what is left of the ring, and send the first, which is due now."""
    leg = ring.legs[device.address]
    leg.plan = plan_ring_pushes(device.information, world.now, session.deadline, world.push_rules) or leg.plan
    leg.due = () if leg.plan is None else leg.plan.at
    send_due(world, session, ring, device.address)


def send_due(world: World, session: Session, ring: Ring, address: DeviceAddress) -> None:
    """Send what is due. Of several that are late, because a clock slept, the last one is enough."""
    leg = ring.legs[address]
    late = [at for at in leg.due if at <= world.now]
    if not late or leg.plan is None:
        return
    leg.due = leg.due[len(late) :]
    left_s = session.deadline - world.now
    device = world.devices.get(address)
    if device is None or leg.plan.endpoint not in device.information.push or left_s < world.push_rules.push_needs_s:
        return
    leg.sent += 1
    conversation = world.conversation_of(session)
    push = RingPush(
        address=address,
        endpoint=leg.plan.endpoint,
        profile=leg.plan.profile,
        session=session.id,
        ring=ring.id,
        conversation=session.conversation,
        kind="call" if session.invitation is None else "join",
        number=leg.sent - 1,
        remaining_ms=int(left_s * 1000 + 1e-6),
        expires_at=world.unix_ms(session.deadline),
        video=session.video,
        visitor_name=conversation.visitor_name if world.configuration.push_names else None,
        may_retry=left_s > world.configuration.push_retry_needs_s,
    )
    world.emit(Order.OTHER_SIDE, SendPush(push))


def withdraw(world: World, session: Session, ring: Ring, address: DeviceAddress) -> None:
    """Take back what was pushed, if anything was and the profile can."""
    leg = ring.legs[address]
    if not leg.sent or leg.plan is None or not leg.plan.withdraws:
        return
    outcome = leg.reason or "cancelled"
    push = WithdrawPush(
        address=address,
        endpoint=leg.plan.endpoint,
        profile=leg.plan.profile,
        session=session.id,
        ring=ring.id,
        conversation=session.conversation,
        outcome=outcome,
        log_missed=outcome in MISSED,
        replace_missed=outcome in MISSED and world.configuration.ios_withdraw == "replace_missed",
    )
    world.emit(Order.LOSERS, SendPush(push))


def note_message(world: World, conversation: Conversation, message: str) -> None:
    """S1.4a: tell the agent of a message where no screen shows it. Never a ring, and not for every line of a flood.

    An agent at one device is not told by another one, but for the device that is in the call and has left the screen.
    """
    last = conversation.noted_at
    if last is not None and world.now - last < world.configuration.note_period_s:
        return
    devices = world.rung_devices(conversation.assignee_principal)
    session = world.live_session(conversation)
    in_call = None if session is None else session.agent_address
    at_work = any(device.in_use for device in devices)
    for device in devices:
        endpoint = notice_endpoint(device.information, world.push_rules)
        if endpoint is None or device.in_use or (at_work and device.address != in_call):
            continue
        name = conversation.visitor_name if world.configuration.push_names else None
        push = NoticePush(device.address, endpoint, "message", conversation.id, message, name)
        world.emit(Order.OTHER_SIDE, SendPush(push))
        conversation.noted_at = world.now
