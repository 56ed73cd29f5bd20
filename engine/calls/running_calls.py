"""Calls that are on, as an embedder's own rules look at them: who, since when, and how good the ways are."""

from __future__ import annotations

from dataclasses import dataclass

from triortc.engine.calls.media_events import LegQuality
from triortc.engine.calls.session import Session
from triortc.engine.calls.world import World

__all__ = ["RunningCall", "WayQuality", "running_calls"]


@dataclass(frozen=True, slots=True)
class WayQuality:
    """How good the way between a device and the engine was when it last changed.

    Attributes:
        score: 100 where nothing is noticed, to 0; below `QualityConfiguration.weak_score` pictures stand still.
        rtt_ms: round trip.
        loss: 0 to 1, of either direction the worse.
        kbps: what the way to the device carries.
    """

    score: int
    rtt_ms: float
    loss: float
    kbps: float


@dataclass(frozen=True, slots=True)
class RunningCall:
    """A call that has not ended.

    Attributes:
        session: its id, for `Engine.end`.
        org, conversation, visitor, origin: as in `CallEvent`.
        state: `queued`, `ringing`, `waiting`, `connecting`, `active`, `reconnecting` or `handoff`.
        agent: who rings, or is in the call.
        age_s: since it was asked for.
        talk_s: how long both could talk until now.
        recording: the recording that is on.
        visitor_way, agent_way: of the devices that are in the call; None: nothing is known yet.
    """

    session: str
    org: str
    conversation: str
    visitor: str
    origin: str
    state: str
    agent: str | None
    age_s: float
    talk_s: float
    recording: str | None
    visitor_way: WayQuality | None
    agent_way: WayQuality | None


def running_calls(world: World, now: float, org: str | None = None) -> tuple[RunningCall, ...]:
    """The calls of a tenant, or of all, the longest first.

    Args:
        world: what call control knows.
        now: seconds, monotonic, on call control's clock.
        org: the tenant; None: all.
    """
    live = [session for session in world.sessions.values() if not session.ended and org in (None, session.org)]
    return tuple(_running(world, session, now) for session in sorted(live, key=lambda each: each.requested_at))


def _running(world: World, session: Session, now: float) -> RunningCall:
    talks = 0.0 if session.talk_since is None else max(0.0, now - session.talk_since)
    return RunningCall(
        session.id,
        session.org,
        session.conversation,
        session.visitor,
        session.origin,
        session.state,
        session.agent,
        age_s=max(0.0, now - session.requested_at),
        talk_s=session.talk_s + talks,
        recording=session.recording,
        visitor_way=_way(world, session.visitor_leg),
        agent_way=_way(world, session.agent_leg),
    )


def _way(world: World, leg: str | None) -> WayQuality | None:
    found = None if leg is None else world.legs.get(leg)
    judged: LegQuality | None = None if found is None else found.quality
    return None if judged is None else WayQuality(judged.score, judged.rtt_ms, judged.loss, judged.kbps)
