"""An agent's invitation from chat to video: table N of docs/calls.md.

From the moment that one side has joined there is a session, whose end is the invitation's (`int.session_ended`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple

from triortc.engine.calls.actor import Principal
from triortc.engine.calls.machine import SAME, Machine, Row

__all__ = ["INVITATIONS", "Invitation", "InvitationFacts"]

_JOINED: Final = ("agent_joined", "visitor_accepted")
_LIVE: Final = ("pending", *_JOINED, "in_session")
_TERMINAL: Final = ("completed", "cancelled", "declined", "missed", "failed")
_OPERATIONS: Final = ("conversation.transfer", "conversation.snooze", "conversation.close")
_COMMANDS: Final = ("invitation.join", "invitation.cancel", "invitation.accept", "invitation.decline")
_BY_OPERATION: Final = frozenset({"conversation_transferred", "conversation_snoozed", "conversation_closed"})


class InvitationFacts(NamedTuple):
    """What guards look at.

    Attributes:
        obstacle: why no session can begin: `agent_busy`, `unreachable`; "" if one can.
        outcome, reason: how the session ended.
    """

    obstacle: str = ""
    outcome: str = ""
    reason: str = ""


INVITATIONS: Final[Machine[InvitationFacts]] = Machine(
    "invitation",
    (
        Row("N1", ("new",), "invitation.send", "", "pending"),
        Row("N2", ("pending",), "invitation.join", "agent_busy", SAME),
        Row("N2", ("pending",), "invitation.join", "", "agent_joined"),
        Row("N3", ("pending",), "invitation.accept", "agent_busy", "cancelled"),
        Row("N3", ("pending",), "invitation.accept", "unreachable", SAME),
        Row("N3", ("pending",), "invitation.accept", "", "visitor_accepted"),
        Row("N4", ("pending",), "invitation.decline", "", "declined"),
        Row("N5", ("pending",), "invitation.cancel", "", "cancelled"),
        *(Row("N6", ("pending",), operation, "", "cancelled") for operation in _OPERATIONS),
        Row("N6", _JOINED, "int.session_ended", "by_operation", "cancelled"),
        Row("N7", ("pending",), "int.visitor_gone", "", "cancelled"),
        Row("N7", ("agent_joined",), "int.session_ended", "visitor_left", "cancelled"),
        Row("N8", ("agent_joined",), "invitation.accept", "", "in_session"),
        Row("N9", ("agent_joined",), "int.session_ended", "agent_cancelled", "cancelled"),
        Row("N10", ("agent_joined",), "int.session_ended", "visitor_declined", "declined"),
        Row("N11", ("visitor_accepted",), "int.answered", "", "in_session"),
        Row("N12", ("visitor_accepted",), "int.session_ended", "agent_declined", "cancelled"),
        Row("N13", ("visitor_accepted",), "int.session_ended", "unanswered", "missed"),
        Row("N14", ("visitor_accepted",), "int.session_ended", "visitor_gave_up", "cancelled"),
        Row("N15", ("in_session",), "int.session_ended", "", "completed"),
        Row("N16", _JOINED, "int.session_ended", "failed", "failed"),
        Row("N18", _JOINED, "int.session_ended", "supervisor_ended", "cancelled"),
        *(Row("N17", _TERMINAL, command, "", SAME) for command in _COMMANDS),
    ),
    {
        "agent_busy": lambda facts: facts.obstacle == "agent_busy",
        "unreachable": lambda facts: facts.obstacle == "unreachable",
        "by_operation": lambda facts: facts.reason in _BY_OPERATION,
        "visitor_left": lambda facts: facts.reason == "visitor_left",
        "agent_cancelled": lambda facts: facts.reason == "agent_cancelled",
        "visitor_declined": lambda facts: facts.reason == "visitor_declined",
        "agent_declined": lambda facts: facts.reason == "agent_declined",
        "unanswered": lambda facts: facts.outcome in ("no_answer", "unavailable"),
        "visitor_gave_up": lambda facts: facts.reason in ("visitor_cancelled", "visitor_left"),
        "failed": lambda facts: facts.outcome == "failed",
        "supervisor_ended": lambda facts: facts.reason == "supervisor_ended",
    },
)


@dataclass(slots=True)
class Invitation:
    """One invitation; `session` once somebody has joined, `reason` once it is over.

    `ended_at` is for the record in history, as is `sent_at`; both are monotonic seconds.
    """

    id: str
    org: str
    conversation: str
    agent: str
    visitor: str
    sent_at: float
    state: str = "new"
    version: int = 0
    session: str | None = None
    reason: str | None = None
    ended_at: float | None = None

    @property
    def live(self) -> bool:
        return self.state in _LIVE

    @property
    def agent_principal(self) -> Principal:
        return Principal(self.org, "agent", self.agent)

    @property
    def visitor_principal(self) -> Principal:
        return Principal(self.org, "visitor", self.visitor)
