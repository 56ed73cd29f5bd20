"""Visitors who wait for an agent of a group, in the order in which they asked."""

from __future__ import annotations

from triortc.engine.calls.ringing import tell_state
from triortc.engine.calls.session import Session
from triortc.engine.calls.world import World

__all__ = ["enter", "has_room", "leave", "tell_place"]


def _line(session: Session) -> tuple[str, str]:
    return session.org, session.group


def has_room(world: World, session: Session) -> bool:
    """Whether the queue of the session's group takes one more."""
    return len(world.queues.get(_line(session), ())) < world.configuration.queue_size


def enter(world: World, session: Session, *, first: bool = False) -> None:
    """Wait behind the others; `first`: before them, because this visitor has waited already."""
    line = world.queues.get(_line(session), {})
    if first:
        world.queues[_line(session)] = {session.id: None, **line}
    else:
        world.queues.setdefault(_line(session), line)[session.id] = None


def leave(world: World, session: Session) -> None:
    """Wait no longer; those behind are told that they are nearer."""
    line = world.queues[_line(session)]
    place = list(line).index(session.id)
    del line[session.id]
    if not line:
        del world.queues[_line(session)]
    for position, other in enumerate(list(line)[place:], place + 1):
        tell_place(world, world.sessions[other], position)


def tell_place(world: World, session: Session, position: int | None = None) -> None:
    """`call.state` with the position, for every tab of the visitor. `position`: where it is known already."""
    for device in world.devices_of(session.visitor_principal):
        tell_state(world, session, device, position)
