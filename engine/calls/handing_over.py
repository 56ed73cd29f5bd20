"""A device that was taking a call over does not: the call stays where it was, if that device is still there."""

from __future__ import annotations

from triortc.engine.calls.lifecycle import Lifecycle
from triortc.engine.calls.session import Session
from triortc.engine.calls.world import World

__all__ = ["drop_pending", "fire_grace"]


def drop_pending(world: World, lifecycle: Lifecycle, session: Session, event: str, actor: str, why: str) -> None:
    """V37; and if the old leg's time to come back is over meanwhile, V34.

    Arguments:
        world: what call control knows.
        lifecycle: over the same world.
        session: with the device that takes it over; without one nothing happens.
        event: its name in table V.
        actor: who caused it.
        why: `timeout`, `media` or `cancelled`, for the two devices.
    """
    pending = session.pending
    if pending is None:
        world.stale_events_total += 1
        return
    lifecycle.apply(session.id, event, actor, {"leg": pending.leg, "why": why})
    session = world.sessions[session.id]
    for leg, deadline in list(session.grace.items()):
        if deadline <= world.now and f"T_grace:{leg}" not in session.timers:
            fire_grace(lifecycle, session, leg)


def fire_grace(lifecycle: Lifecycle, session: Session, leg: str) -> None:
    """T_grace of one leg."""
    lifecycle.apply(session.id, "T_grace", "system", {"leg": leg, "side": session.side_of(leg)})
