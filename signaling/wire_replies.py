"""What `ok` carries, command by command; one that is not named here carries `{}`. And who says and hears what."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from triortc.engine.calls.replies import (
    AcceptedPayload,
    CallRequestedPayload,
    ConversationListPayload,
    DeclinedPayload,
    EmptyPayload,
    EndedPayload,
    HandoffPayload,
    HistoryPayload,
    InvitationSentPayload,
    JoinedPayload,
    MediaSetPayload,
    MessagePayload,
    PresencePayload,
    RecordingPayload,
    RingOpenedPayload,
    SdpAnswerPayload,
)
from triortc.engine.calls.view_values import ChannelStatus, Snapshot
from triortc.signaling.wire_values import Count, Payload

__all__ = ["REPLIES", "Refreshed", "reply_payload", "roles_of"]


class Refreshed(Payload, frozen=True):
    """When the new token runs out, unix milliseconds."""

    exp_at: Count


REPLIES: Final[Mapping[str, type]] = {
    "auth.refresh": Refreshed,
    "sync.get": Snapshot,
    "presence.set": ChannelStatus,
    "presence.get": PresencePayload,
    "call.request": CallRequestedPayload,
    "ring.opened": RingOpenedPayload,
    "call.accept": AcceptedPayload,
    "call.decline": DeclinedPayload,
    "call.cancel": EndedPayload,
    "call.hangup": EndedPayload,
    "call.end": EndedPayload,
    "handoff.request": HandoffPayload,
    "invitation.send": InvitationSentPayload,
    "invitation.join": JoinedPayload,
    "invitation.accept": JoinedPayload,
    "sdp.offer": SdpAnswerPayload,
    "media.set": MediaSetPayload,
    "recording.start": RecordingPayload,
    "conversation.list": ConversationListPayload,
    "conversation.message.send": MessagePayload,
    "history.get": HistoryPayload,
}

_EVERYBODY: Final = ("agent", "visitor", "supervisor")
_FOR_ALL: Final = frozenset(
    {
        "hello", "welcome", "ping", "pong", "ack", "bye", "ok", "err",
        "auth.refresh", "auth.expiring", "session.heartbeat", "session.ice_servers", "server.draining", "sync.get",
        "device.update", "sdp.offer", "sdp.answer", "ice.candidates", "ice.restart", "call.state", "call.ended",
    }
)  # fmt: skip
_FOR_VISITORS: Final = frozenset(
    {
        "call.request", "call.cancel", "call.hangup", "handoff.request", "invitation.accept", "invitation.decline",
        "media.set", "conversation.message.send", "conversation.read", "call.accepted", "call.active", "call.peer",
        "invitation.changed", "media.changed", "media.quality", "recording.changed", "conversation.changed",
        "conversation.message",
    }
)  # fmt: skip
_NOT_FOR_AGENTS: Final = frozenset(
    {"call.request", "call.cancel", "call.end", "invitation.accept", "invitation.decline", "call.accepted"}
)
_FOR_SUPERVISORS: Final = frozenset(
    {
        "presence.get", "presence.changed", "call.request", "call.end", "history.get", "recording.start",
        "recording.stop",
    }
)  # fmt: skip


def reply_payload(command: str) -> type:
    """What `ok` carries for a command."""
    return REPLIES.get(command, EmptyPayload)


def roles_of(t: str) -> tuple[str, ...]:
    """Who says a command, or is told an event: `agent`, `visitor`, `supervisor` (which stands for services, too)."""
    if t in _FOR_ALL:
        return _EVERYBODY
    roles = ["visitor"] if t in _FOR_VISITORS else []
    if t in _FOR_SUPERVISORS:
        roles.append("supervisor")
    return tuple(roles) if t in _NOT_FOR_AGENTS else ("agent", *roles)
