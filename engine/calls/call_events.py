"""What happens to calls, as values for those who watch from outside: a server that embeds the engine, webhooks."""

from __future__ import annotations

from triortc.engine.calls.session import Session
from triortc.engine.calls.value import value

__all__ = ["CallEvent", "Missed", "event_name"]


@value(slots=True, frozen=True)
class CallEvent:
    """One step of one session.

    Attributes:
        name: `call.` and the state that was entered (`created` at first, then `queued`, `ringing`, `waiting`,
            `connecting`, `active`, `reconnecting`, `handoff`, `ended`); `call.moved`: another device took over;
            `call.recording`: it was switched on or off.
        session: the session.
        n: its place among the steps of the session: it grows, with gaps.
        at_ms: when, in unix milliseconds.
        org, conversation, visitor, origin: whose it is; `origin` is `routed` or `invited`.
        state: the state after it.
        agent: who rings, or is in the call.
        outcome, reason: how it ended.
        talk_ms: how long both could talk.
        recording: the recording that is on.
    """

    name: str
    session: str
    n: int
    at_ms: int
    org: str
    conversation: str
    visitor: str
    origin: str
    state: str
    agent: str | None = None
    outcome: str | None = None
    reason: str | None = None
    talk_ms: int = 0
    recording: str | None = None

    @property
    def id(self) -> str:
        """The same for the same step, however often it is told."""
        return f"{self.session}:{self.n}"

    @classmethod
    def of(cls, name: str, session: Session, at_ms: int) -> CallEvent:
        """The event of the step that led to this state.

        Arguments:
            name: of the event.
            session: as the step has left it.
            at_ms: when, in Unix time.
        """
        return cls(
            name=name,
            session=session.id,
            n=session.version,
            at_ms=at_ms,
            org=session.org,
            conversation=session.conversation,
            visitor=session.visitor,
            origin=session.origin,
            state=session.state,
            agent=session.agent,
            outcome=session.outcome,
            reason=session.reason,
            talk_ms=session.talk_ms,
            recording=session.recording,
        )


@value(slots=True, frozen=True)
class Missed:
    """In a stream of events: here some are missing, because nobody read them in time.

    Attributes:
        count: how many.
    """

    count: int


def event_name(before: Session, after: Session) -> str | None:
    """What a step is called outside; None: nobody outside needs to know of it."""
    moved = (before.agent_device, before.visitor_device) != (after.agent_device, after.visitor_device)
    if moved and before.agent_device is not None and not after.ended:
        return "call.moved"
    if before.state != after.state:
        return f"call.{after.state}"
    return "call.recording" if before.recording != after.recording else None
