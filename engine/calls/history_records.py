"""Lines of history: written once, when a session or an invitation is over."""

from __future__ import annotations

from triortc.engine.calls.value import value

__all__ = [
    "InvitationRecord",
    "RingLegRecord",
    "SessionRecord",
]


@value(slots=True, frozen=True)
class RingLegRecord:
    device: str
    platform: str
    state: str
    reason: str | None


@value(slots=True, frozen=True)
class SessionRecord:
    """One line of history: written once, when the session ends. `*_at` are unix milliseconds."""

    session: str
    conversation: str
    org: str
    origin: str
    agent: str | None
    visitor: str
    outcome: str
    reason: str
    by: str
    requested_at: int
    ring_at: int | None
    answered_at: int | None
    active_at: int | None
    ended_at: int
    talk_ms: int
    ring_legs: tuple[RingLegRecord, ...] = ()
    devices: tuple[str, ...] = ()
    gate_intervals: tuple[tuple[str, str, int, int], ...] = ()
    event_count: int = 0
    recordings: tuple[str, ...] = ()


@value(slots=True, frozen=True)
class InvitationRecord:
    """One line of history: written once, when an invitation is over. `*_at` are unix milliseconds."""

    invitation: str
    conversation: str
    org: str
    agent: str
    visitor: str
    state: str
    reason: str
    sent_at: int
    ended_at: int
    session: str | None = None
