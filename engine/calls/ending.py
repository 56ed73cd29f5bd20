"""The end of a session, however it came, and what is forgotten of it later."""

from __future__ import annotations

from typing import Final

from triortc.engine.calls import gates, invitations, telling, threads, views
from triortc.engine.calls.effects import AppendHistory, Order, SessionEnded
from triortc.engine.calls.notifications import HandoffFailed
from triortc.engine.calls.ringing import end_rings, tell
from triortc.engine.calls.session import Session
from triortc.engine.calls.telling import Data
from triortc.engine.calls.world import World

__all__ = ["end", "forget"]

_AGENTS_OWN: Final = frozenset({"conversation_transferred", "conversation_snoozed", "conversation_closed"})
"""Reasons to cancel that the agent gave by deciding on the conversation, which stays as the agent left it."""


def end(world: World, before: Session, session: Session, data: Data) -> None:
    """A session has ended: its gates, rings and claim, what everybody is told, and its line of history."""
    assert session.outcome is not None
    gates.seal_session(world, session)
    end_rings(world, session, data.get("device") if session.outcome == "declined" else None)
    if before.pending is not None:
        target = world.devices.get(world.legs[before.pending.leg].address)
        if target is not None:
            tell(world, session, target, HandoffFailed(session.id, "ended"), Order.LOSERS)
    conversation = world.conversation_of(session)
    conversation.live_session = None
    world.touch(conversation.assignee_principal)  # an open chat again, whoever was to take the video
    invitations.session_ended(world, session)
    _release(world, before, session)
    telling.tell_ended(world, session)
    if before.state != "new":
        threads.video_ended(world, conversation, session)
        threads.tell_changed(world, conversation)
        world.emit(Order.RELEASE, SessionEnded(session.id))
    world.emit(Order.HISTORY, AppendHistory(views.session_record(world, session)))
    world.notices.pop(session.id, None)
    world.ended.append(session.id)
    if len(world.ended) > world.configuration.ended_sessions_kept:
        forget(world, world.ended.popleft())


def _release(world: World, before: Session, session: Session) -> None:
    agent = session.agent_principal
    if agent is None:
        return
    conversation = world.conversation_of(session)
    world.claims.release(agent, session.id, session.epoch)
    world.agent(agent).idle_since = world.now
    world.touch(agent)
    if session.outcome == "cancelled" and session.was_unassigned and session.reason not in _AGENTS_OWN:
        threads.unclaim_conversation(world, conversation, rang=True)
    elif (
        session.origin == "routed"
        and before.answered
        and world.configuration.hold_channels_until == "conversation_closed"
    ):
        conversation.held_by_video = True


def forget(world: World, session_id: str) -> None:
    """Ended long ago: no idempotent answers any more."""
    for leg in world.legs_in(session_id):
        world.legs.pop(leg.id, None)
    for ring in views.rings_of(world, session_id):
        world.session_of_ring.pop(ring.id, None)
    for table in (
        world.sessions,
        world.rings,
        world.rings_before,
        world.logs,
        world.told,
        world.media,
        world.gate_intervals,
        world.legs_of_session,
        world.used_devices,
    ):
        table.pop(session_id, None)
