"""A conversation: table K of docs/calls.md. It outlives its videos, and only an explicit command closes it."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from triortc.engine.calls.actor import Principal
from triortc.engine.calls.machine import SAME, Machine, Row
from triortc.engine.calls.notifications import ConversationMessage
from triortc.engine.calls.view_values import LastVideo

__all__ = ["CONVERSATIONS", "Conversation", "ConversationFacts"]

_NOT_CLOSED: Final = ("open", "snoozed")
_WRITES: Final = ("int.message", "call.request", "conversation.read", "conversation.snooze", "conversation.transfer")


class ConversationFacts(NamedTuple):
    """What guards look at."""

    unassigned: bool = False
    by_visitor: bool = False
    reminder_due: bool = False


CONVERSATIONS: Final[Machine[ConversationFacts]] = Machine(
    "conversation",
    (
        Row("K0", ("open",), "int.claimed", "unassigned", SAME, ("assign",)),
        Row("K0", ("open",), "int.claim_undone", "", SAME, ("unassign",)),
        Row("K0b", ("open",), "int.message", "first_contact", SAME, ("relay", "route")),
        Row("K5", ("snoozed",), "int.message", "by_visitor", "open", ("relay", "wake")),
        Row("K1", _NOT_CLOSED, "int.message", "", SAME, ("relay",)),
        Row("K2", _NOT_CLOSED, "conversation.snooze", "", "snoozed", ("put_off", "stop_reminders")),
        Row("K3", ("open",), "conversation.transfer", "", SAME, ("hand_over", "stop_reminders")),
        Row("K4", _NOT_CLOSED, "conversation.close", "", "closed", ("stop_reminders",)),
        Row("K5", ("snoozed",), "T_snooze", "", "open", ("wake",)),
        Row("K6", _NOT_CLOSED, "int.video_rang", "", SAME, ("show_icon",)),
        Row("K7", ("open",), "int.video_ended", "reminder_due", SAME, ("keep_last_video", "start_reminders")),
        Row("K7", ("open",), "int.video_ended", "", SAME, ("keep_last_video",)),
        Row("K8", _NOT_CLOSED, "int.visitor_presence", "", SAME, ()),
        *(Row("K9", ("closed",), write, "", SAME) for write in _WRITES),
    ),
    {
        "unassigned": lambda facts: facts.unassigned,
        "first_contact": lambda facts: facts.unassigned and facts.by_visitor,
        "by_visitor": lambda facts: facts.by_visitor,
        "reminder_due": lambda facts: facts.reminder_due,
    },
)


@dataclass(slots=True)
class Conversation:
    """The thread between one visitor and the brand.

    `held_by_video`: an answered routed video keeps the assignee's channels busy until the conversation is closed.
    `backlog`: what the visitor wrote before there was an assignee.
    `given_away_by`: who transferred it to a group in which nobody was free; it waits for somebody else.
    `snoozed_until`: when a snoozed conversation comes back by itself; None: only when the visitor writes.
    """

    id: str
    org: str
    visitor: str
    group: str
    created_at: float
    unread_kept: int
    state: str = "open"
    assignee: str | None = None
    version: int = 1
    video_icon: bool = False
    last_video: LastVideo | None = None
    live_session: str | None = None
    live_invitation: str | None = None
    held_by_video: bool = False
    tags: tuple[str, ...] = ()
    visitor_name: str | None = None
    visitor_avatar: str | None = None
    visitor_online: bool = False
    backlog: list[ConversationMessage] = field(default_factory=list)
    snoozed_until: float | None = None
    given_away_by: str | None = None
    noted_at: float | None = None
    reminders_sent: int = 0
    reminder_device: str | None = None
    unread_by_agent: deque[str] = field(default_factory=deque)
    unread_by_visitor: deque[str] = field(default_factory=deque)

    def __post_init__(self) -> None:
        self.unread_by_agent = deque(self.unread_by_agent, maxlen=self.unread_kept)
        self.unread_by_visitor = deque(self.unread_by_visitor, maxlen=self.unread_kept)

    @property
    def key(self) -> tuple[str, str]:
        return (self.org, self.id)

    @property
    def visitor_principal(self) -> Principal:
        return Principal(self.org, "visitor", self.visitor)

    @property
    def assignee_principal(self) -> Principal | None:
        return None if self.assignee is None else Principal(self.org, "agent", self.assignee)
