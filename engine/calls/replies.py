"""The answer to a command: `Ok` with a payload, or a `CallFault` with a stable code.

A reply is a value, not an exception: a refused command is part of the normal course of a call.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, TypeAlias

import msgspec

from triortc.engine.calls.history_records import InvitationRecord, SessionRecord
from triortc.engine.calls.value import ValueStruct, value
from triortc.engine.calls.view_values import ChannelStatus, ConversationView, Snapshot

__all__ = [
    "FAULT_CODES",
    "AcceptedPayload",
    "CallFault",
    "CallRequestedPayload",
    "ConversationListPayload",
    "DeclinedPayload",
    "EmptyPayload",
    "EndedPayload",
    "HandoffPayload",
    "HistoryPayload",
    "InvitationSentPayload",
    "JoinedPayload",
    "MediaSetPayload",
    "MessagePayload",
    "Ok",
    "OkPayload",
    "PresencePayload",
    "RecordingPayload",
    "Reply",
    "RingOpenedPayload",
    "SdpAnswerPayload",
]


class EmptyPayload(ValueStruct, frozen=True):
    """`{}`"""


class CallRequestedPayload(ValueStruct, frozen=True):
    session: str
    state: str
    leg: str | None = None
    answer: str | None = None
    outcome: str | None = None
    reason: str | None = None


class RingOpenedPayload(ValueStruct, frozen=True):
    """`leg` is None when as many devices as the ring allows (2) already warm a leg; `call.accept` then opens it."""

    ttl_ms: int
    leg: str | None = None


class AcceptedPayload(ValueStruct, frozen=True):
    leg: str
    state: str
    answer: str | None = None


class InvitationSentPayload(ValueStruct, frozen=True):
    """`warnings`: what the agent had better do first: `channel_available:CHANNEL`, `ongoing_conversations:N`."""

    invitation: str
    warnings: tuple[str, ...]


class JoinedPayload(ValueStruct, frozen=True):
    """Of `invitation.join` and `invitation.accept`; `leg` is the asking device's own, if it is the one in the call."""

    session: str
    state: str
    leg: str | None = None
    answer: str | None = None


class DeclinedPayload(ValueStruct, frozen=True):
    next: str
    conversation: str
    already_ended: bool | None = None
    outcome: str | None = None


class EndedPayload(ValueStruct, frozen=True):
    """Of `call.hangup`, `call.cancel` and `call.end`."""

    outcome: str
    reason: str
    next: str
    already_ended: bool | None = None


class HandoffPayload(ValueStruct, frozen=True):
    leg: str
    deadline_ms: int
    answer: str | None = None


class SdpAnswerPayload(ValueStruct, frozen=True):
    answer: str


class MediaSetPayload(ValueStruct, frozen=True):
    stale: bool | None = None


class PresencePayload(ValueStruct, frozen=True):
    items: tuple[ChannelStatus, ...]


class ConversationListPayload(ValueStruct, frozen=True):
    items: tuple[ConversationView, ...]
    next: str | None = None


class MessagePayload(ValueStruct, frozen=True):
    message: str


@value(slots=True, frozen=True)
class HistoryPayload:
    """`invitations`: those of the conversation that was asked for."""

    items: tuple[SessionRecord, ...]
    next: str | None = None
    invitations: tuple[InvitationRecord, ...] | None = None


class RecordingPayload(ValueStruct, frozen=True):
    """The id that the recording's file is named by."""

    recording: str


OkPayload: TypeAlias = (
    EmptyPayload
    | CallRequestedPayload
    | RingOpenedPayload
    | AcceptedPayload
    | InvitationSentPayload
    | JoinedPayload
    | DeclinedPayload
    | EndedPayload
    | HandoffPayload
    | SdpAnswerPayload
    | MediaSetPayload
    | PresencePayload
    | ChannelStatus
    | ConversationListPayload
    | MessagePayload
    | HistoryPayload
    | RecordingPayload
    | Snapshot
)

FAULT_CODES: Final[Mapping[str, bool]] = {
    "proto.malformed": False,
    "proto.too_large": False,
    "proto.unknown_type": False,
    "proto.not_implemented": False,
    "auth.forbidden": False,
    "rate.limited": True,
    "state.not_found": False,
    "call.invalid_state": False,
    "call.expired": False,
    "call.answered_elsewhere": False,
    "call.declined_elsewhere": False,
    "call.cancelled": False,
    "call.ended": False,
    "call.not_participant": False,
    "agent.busy": True,
    "agent.unavailable": True,
    "permission.required": True,
    "invitation.already_pending": False,
    "invitation.not_live": False,
    "invitation.session_open": False,
    "conversation.closed": False,
    "conversation.not_open": False,
    "conversation.video_active": False,
    "handoff.in_progress": True,
    "handoff.not_allowed": False,
    "handoff.same_device": False,
    "sdp.invalid": False,
    "sdp.unsupported": False,
    "sdp.glare": True,
    "sdp.stale": False,
    "ice.invalid": False,
    "server.draining": True,
    "server.overloaded": True,
    "server.unavailable": True,
    "server.internal": True,
}
"""The codes that call control answers, and whether the same command may simply be repeated."""


class Ok(ValueStruct, frozen=True):
    payload: OkPayload = EmptyPayload()


class CallFault(ValueStruct, frozen=True):
    """A refused command.

    Attributes:
        code: one of `FAULT_CODES`; never renamed.
        message: a sentence for a person who reads a log.
        details: machine-readable facts, by code.
        retryable: whether the same command may be repeated later.
        retry_after_ms: when, if that is known.
    """

    code: str
    message: str
    details: Mapping[str, object] = msgspec.field(default_factory=dict)
    retryable: bool = False
    retry_after_ms: int | None = None


Reply: TypeAlias = Ok | CallFault
