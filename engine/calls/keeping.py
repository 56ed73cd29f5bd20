"""Between call control and its store: what one step changed goes into the store in one piece, before anybody hears.

The shell performs a step without a pause, and what it tells others leaves the process only after that. So `save`, at
the end of the step, comes before every reply: who has an `ok` has it of something that is kept.
"""

from __future__ import annotations

from typing import Final

from triortc.engine.calls.capture import Capture
from triortc.engine.calls.commands import (
    CallRequest,
    Command,
    ConversationClose,
    ConversationMessageSend,
    ConversationSnooze,
    ConversationTag,
    ConversationTransfer,
    DeviceRevoke,
    InvitationAccept,
    InvitationJoin,
    InvitationSend,
    PresenceSet,
)
from triortc.engine.calls.effects import KeepMessage
from triortc.engine.calls.history_records import InvitationRecord, SessionRecord
from triortc.engine.calls.replies import CallFault
from triortc.engine.calls.store import (
    Change,
    HistoryRow,
    InvitationHistoryRow,
    MessageRow,
    OutboxRow,
    ReplyRow,
    StateStore,
    put,
)
from triortc.engine.calls.world import World

__all__ = ["Keeper"]

_NEW_OBLIGATIONS: Final = (
    CallRequest,
    InvitationSend,
    InvitationJoin,
    InvitationAccept,
    ConversationMessageSend,
    ConversationTag,
    ConversationClose,
    ConversationSnooze,
    ConversationTransfer,
    PresenceSet,
    DeviceRevoke,
)
"""What is refused while the store has no room. Everything about a ring or a call that exists is not among it."""

_UNAVAILABLE: Final = CallFault(
    "server.unavailable",
    "the server cannot keep anything new at the moment; running calls go on",
    retryable=True,
    retry_after_ms=2000,
)


class Keeper:
    """Collects what a step leaves behind.

    Arguments:
        store: open.
        world: nothing has happened in it yet.
    """

    def __init__(self, store: StateStore, world: World) -> None:
        self.store = store
        self._world = world
        self.refused_total = 0
        self.capture = Capture(world) if store.durable else None
        self._added: list[Change] = []
        self._replies: list[Change] = []

    def refusal(self, command: Command) -> CallFault | None:
        """Why a command cannot be taken now; None: it can. Asked before the command is heard: nothing has happened."""
        if self.store.accepts or not isinstance(command, _NEW_OBLIGATIONS):
            return None
        self.refused_total += 1
        return _UNAVAILABLE

    def history(self, record: SessionRecord) -> None:
        """A session ended in this step."""
        self._added.append(put("history", HistoryRow(record)))

    def invitation(self, record: InvitationRecord) -> None:
        """An invitation was over in this step."""
        self._added.append(put("invitation_history", InvitationHistoryRow(record)))

    def message(self, effect: KeepMessage) -> None:
        """A message was accepted in this step."""
        self._added.append(put("messages", MessageRow(effect.org, effect.message)))

    def outbox(self, row: OutboxRow) -> None:
        """Somebody outside is to hear of this step, whatever becomes of this process."""
        self._added.append(put("outbox", row))

    def reply(self, row: ReplyRow) -> None:
        """This is the reply to the step's command. It is kept if the step changed anything."""
        if self.capture is not None:
            self._replies.append(put("replies", row))

    def save(self) -> None:
        """The step is over: everything it changed is written, together with its reply."""
        changes = self._added if self.capture is None else [*self.capture.take(), *self._added]
        replies = self._replies
        self._added, self._replies = [], []
        self._world.fenced.clear()
        if changes:
            self.store.write([*changes, *replies])
