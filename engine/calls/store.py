"""Where call control keeps what must outlive the process: the port, the entities, and what a change of them is.

A transition is one `write`: all of its changes, together, or none. The store takes it at once and never fails half-way,
so that call control needs no way to undo a transition; a store that could not keep a promise says so before
(`accepts`). What a store still has to do with a change (sort it into tables, bring it to the platter) is its own task.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any, Final, Literal, NamedTuple, Protocol

import msgspec

from triortc.engine.calls.actor import DeviceAddress
from triortc.engine.calls.call_events import CallEvent
from triortc.engine.calls.conversation_table import Conversation
from triortc.engine.calls.history_records import InvitationRecord, SessionRecord
from triortc.engine.calls.invitation_table import Invitation
from triortc.engine.calls.notifications import ConversationMessage
from triortc.engine.calls.session import LogRecord, Session
from triortc.engine.calls.view_values import Notice
from triortc.engine.calls.world import Agent, Device, MediaStatus
from triortc.errors import StoreError

__all__ = [
    "ENTITIES",
    "AgentRow",
    "Change",
    "ConversationRow",
    "DeviceRow",
    "Entity",
    "EventRow",
    "HistoryRow",
    "InvitationHistoryRow",
    "InvitationRow",
    "LegRow",
    "MessageRow",
    "OutboxRow",
    "ReplyRow",
    "RingLegRow",
    "SessionRow",
    "StateStore",
    "StoreHealth",
    "Stored",
    "TimerRow",
    "decode_row",
    "delete",
    "put",
]


# --- rows: what is kept of each entity. `zero_ms`: what monotonic zero was on the wall clock, for the times in a row


@dataclass(slots=True)
class ConversationRow:
    """A conversation, without its messages."""

    zero_ms: int
    conversation: Conversation

    @property
    def key(self) -> tuple[str, str]:
        return self.conversation.key


@dataclass(slots=True)
class MessageRow:
    """One message of a conversation."""

    org: str
    message: ConversationMessage

    @property
    def key(self) -> tuple[str, str, str]:
        return (self.org, self.message.conversation, self.message.message)


@dataclass(slots=True)
class HistoryRow:
    """The record of an ended session."""

    record: SessionRecord

    @property
    def key(self) -> tuple[str]:
        return (self.record.session,)


@dataclass(slots=True)
class AgentRow:
    """An agent, with the newest epoch that was given out for them. Their chats follow from the conversations."""

    zero_ms: int
    agent: Agent
    epoch: int

    @property
    def key(self) -> tuple[str, str]:
        return (self.agent.principal.org, self.agent.principal.sub)


@dataclass(slots=True)
class DeviceRow:
    """A device of an agent, with its permissions and push endpoints."""

    zero_ms: int
    device: Device

    @property
    def key(self) -> tuple[str, str, str, str]:
        address = self.device.address
        return (address.org, address.role, address.sub, address.device)


@dataclass(slots=True)
class RingLegRow:
    """The ring on one device."""

    address: DeviceAddress
    platform: str
    state: str
    reason: str | None


@dataclass(slots=True)
class LegRow:
    """A leg that feeds the other side: who has it, and what its sender muted."""

    leg: str
    side: Literal["agent", "visitor"]
    address: DeviceAddress
    audio_muted: bool
    video_muted: bool


@dataclass(slots=True)
class SessionRow:
    """A session with its ring, its legs, and who was told of it."""

    zero_ms: int
    session: Session
    ring: str | None = None
    ring_legs: tuple[RingLegRow, ...] = ()
    rings_before: tuple[tuple[str, tuple[RingLegRow, ...]], ...] = ()
    legs: tuple[LegRow, ...] = ()
    told: tuple[DeviceAddress, ...] = ()
    used_devices: tuple[str, ...] = ()
    gate_intervals: tuple[tuple[str, str, int, int], ...] = ()
    media: dict[Literal["agent", "visitor"], MediaStatus] = field(default_factory=dict)
    notices: tuple[tuple[DeviceAddress, Notice], ...] = ()

    @property
    def key(self) -> tuple[str]:
        return (self.session.id,)


@dataclass(slots=True)
class EventRow:
    """One line of a session's event log."""

    zero_ms: int
    session: str
    record: LogRecord

    @property
    def key(self) -> tuple[str, int]:
        return (self.session, self.record.n)


@dataclass(slots=True)
class InvitationRow:
    """An invitation, live or over not long ago."""

    zero_ms: int
    invitation: Invitation

    @property
    def key(self) -> tuple[str]:
        return (self.invitation.id,)


@dataclass(slots=True)
class InvitationHistoryRow:
    """The record of an invitation that is over."""

    record: InvitationRecord

    @property
    def key(self) -> tuple[str]:
        return (self.record.invitation,)


@dataclass(slots=True)
class TimerRow:
    """A deadline that belongs to no session."""

    zero_ms: int
    name: tuple[str, ...]
    at: float

    @property
    def key(self) -> tuple[str]:
        return ("/".join(part.replace("/", "//") for part in self.name),)


@dataclass(slots=True)
class ReplyRow:
    """The reply to a command that changed something: the same id, asked again of the next process, gets it again."""

    address: DeviceAddress
    command: str
    digest: bytes
    reply: bytes
    at_ms: int

    @property
    def key(self) -> tuple[str, str, str, str, str]:
        return (*self.address, self.command)


@dataclass(slots=True)
class OutboxRow:
    """An event that a receiver outside has not taken yet: written with its step, gone when it was taken."""

    receiver: str
    event: CallEvent

    @property
    def key(self) -> tuple[str, str, int]:
        return (self.receiver, self.event.session, self.event.n)


class Entity(NamedTuple):
    """One kind of thing that is kept.

    Attributes:
        name: of its table.
        row: the type of its rows; a row's `key` is what it is found by.
        key: the names of the key's columns.
        once: a second row with the same key is not written.
        at_ms: the path to the unix milliseconds by which a row grows old, inside its JSON; None: it does not.
    """

    name: str
    row: type
    key: tuple[str, ...]
    once: bool = False
    at_ms: str | None = None


ENTITIES: Final[dict[str, Entity]] = {
    entity.name: entity
    for entity in (
        Entity("conversations", ConversationRow, ("org", "conversation")),
        Entity("messages", MessageRow, ("org", "conversation", "message"), True, "$.message.sent_at"),
        Entity("history", HistoryRow, ("session",), True, "$.record.ended_at"),
        Entity("agents", AgentRow, ("org", "sub")),
        Entity("devices", DeviceRow, ("org", "role", "sub", "device")),
        Entity("sessions", SessionRow, ("session",)),
        Entity("events", EventRow, ("session", "n"), True),
        Entity("invitations", InvitationRow, ("invitation",)),
        Entity("invitation_history", InvitationHistoryRow, ("invitation",), True, "$.record.ended_at"),
        Entity("timers", TimerRow, ("name",)),
        Entity("outbox", OutboxRow, ("receiver", "session", "n")),
        Entity("replies", ReplyRow, ("org", "role", "sub", "device", "command"), False, "$.at_ms"),
    )
}
"""Everything that is kept. A new entity is a row type, a line here, and its part in `capture` and `restoring`."""


class Change(NamedTuple):
    """One row that is written, or (without data) is no more."""

    entity: str
    key: tuple[str | int, ...]
    data: bytes | None


class _Row(Protocol):
    @property
    def key(self) -> tuple[str | int, ...]: ...


def _plain(value: object) -> object:
    if isinstance(value, deque):
        return list(value)
    raise NotImplementedError(f"{type(value)} cannot be stored: choose a type that JSON knows")


def _rich(kind: type, value: Any) -> object:
    if getattr(kind, "__origin__", kind) is deque:
        return deque(value)
    raise NotImplementedError(f"{kind} cannot be read back")


_ENCODE: Final = msgspec.json.Encoder(enc_hook=_plain).encode
_DECODERS: Final[dict[str, msgspec.json.Decoder[Any]]] = {
    name: msgspec.json.Decoder(entity.row, dec_hook=_rich) for name, entity in ENTITIES.items()
}


def put(entity: str, row: _Row) -> Change:
    """The change that writes a row."""
    return Change(entity, row.key, _ENCODE(row))


def delete(entity: str, key: tuple[str | int, ...]) -> Change:
    """The change that takes a row away."""
    return Change(entity, key, None)


def decode_row(entity: str, data: bytes | str) -> Any:
    """A row from its JSON. Fields that it lacks, since an older version wrote it, have their defaults.

    Raises:
        StoreError: it is not a row of this entity.
    """
    try:
        return _DECODERS[entity].decode(data)
    except (msgspec.ValidationError, msgspec.DecodeError) as error:
        raise StoreError(
            f"a row of {entity} cannot be read ({error}); was the store written by a newer version?"
        ) from None


@dataclass(slots=True)
class Stored:
    """What a new process finds.

    Attributes:
        conversations, agents, devices, sessions: what lives, and as much of what ended as call control remembers.
        events: the event logs of `sessions`.
        invitations, invitation_history: the same of invitations.
        timers: deadlines that belong to no session.
        history: the newest records, oldest first.
        replies: replies to commands that may come again.
        alive_ms: the last sign of life of the process before, in unix milliseconds; None: there was none.
    """

    conversations: list[ConversationRow] = field(default_factory=list)
    agents: list[AgentRow] = field(default_factory=list)
    devices: list[DeviceRow] = field(default_factory=list)
    sessions: list[SessionRow] = field(default_factory=list)
    events: list[EventRow] = field(default_factory=list)
    invitations: list[InvitationRow] = field(default_factory=list)
    invitation_history: list[InvitationHistoryRow] = field(default_factory=list)
    timers: list[TimerRow] = field(default_factory=list)
    history: list[HistoryRow] = field(default_factory=list)
    replies: list[ReplyRow] = field(default_factory=list)
    alive_ms: int | None = None


@dataclass(slots=True, frozen=True)
class StoreHealth:
    """How a store does, for `/health`.

    Attributes:
        kind: `memory`, `sqlite`.
        state: `ok`; `behind`: it cannot sort in what it was given, and loses nothing of it; `full`: new calls,
            messages and declarations are refused until it can.
        message: what is the matter, in words; None: nothing.
        behind: changes that have not reached their tables.
        used_share: how much of the room for such changes is taken, 0 to 1.
        written: changes taken since the start.
        unsaved: changes that a full store could not take: a crash would lose them.
    """

    kind: str
    state: Literal["ok", "behind", "full"] = "ok"
    message: str | None = None
    behind: int = 0
    used_share: float = 0.0
    written: int = 0
    unsaved: int = 0


class StateStore(Protocol):
    """Where call control keeps its state. `write` and `accepts` never wait; all else may.

    Attributes:
        durable: whether what is written can be found by another process, or by this one opened anew. If not, call
            control gives it history and event logs only, and spares itself the rest.
    """

    durable: bool

    def open(self) -> AbstractAsyncContextManager[None]:
        """Be ready inside the block; at its end everything that was written is in its place.

        Raises:
            StoreError: it cannot be opened; the message says what to do.
        """

    def watch_fences(self, on_fenced: Callable[[str], None]) -> None:
        """Tell from now on of each session that another process has taken over: its epoch there is newer than ours.

        Call control gives it up at once: gates are sealed, nobody is told, and nothing more is written about it (V45).
        It may be told at any time on the loop, within `write` too. A store that one process has to itself never tells.
        """

    async def load(self) -> Stored:
        """What the process before left. Called once, before the first `write`."""

    def write(self, changes: Sequence[Change]) -> None:
        """Take all changes of one transition, together. From here on the death of the process does not lose them."""

    @property
    def accepts(self) -> bool:
        """Whether there is room for new obligations: rings, messages, declarations. Endings are always taken."""

    @property
    def settled(self) -> bool:
        """Whether everything written may be told to others: with `synchronous=full`, that it is on the platter."""

    async def settle(self) -> None:
        """Wait for `settled`, as it is at the call."""

    def health(self) -> StoreHealth:
        """How it does."""

    async def rows(self, entity: str, *key: str | int, newest: int | None = None) -> list[Any]:
        """Rows of an entity whose key begins so, in the order of keys; of them the last `newest`."""
