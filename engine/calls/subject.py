"""Which session a command is about: for its deadlines, and for the blame if the command fails."""

from __future__ import annotations

from triortc.engine.calls.actor import Actor
from triortc.engine.calls.commands import Command
from triortc.engine.calls.world import World

__all__ = ["session_of"]


def session_of(world: World, actor: Actor, command: Command) -> str | None:
    """The session by any of the names that a command has for it; None: it is about none that is known."""
    conversation = getattr(command, "conversation", None)
    if isinstance(conversation, str):
        thread = world.conversations.get((actor.org, conversation))
        return None if thread is None else thread.live_session
    session = getattr(command, "session", None)
    if isinstance(session, str):
        return session if session in world.sessions else None
    invitation = getattr(command, "invitation", None)
    if isinstance(invitation, str):
        known = world.invitations.get(invitation)
        return None if known is None else known.session
    ring, leg = getattr(command, "ring", None), getattr(command, "leg", None)
    if isinstance(ring, str):
        return world.session_of_ring.get(ring)
    found = world.legs.get(leg) if isinstance(leg, str) else None
    return None if found is None else found.session
