"""What devices ask: one slots dataclass per command of the protocol, with the field names of its payload.

`wire_type` is the message type on the wire. Optional fields that the client left out are `None`.
"""

from __future__ import annotations

from dataclasses import field
from typing import ClassVar, Literal, NamedTuple, TypeAlias

from triortc.engine.calls.actor import PushEndpoint
from triortc.engine.calls.value import value

__all__ = [
    "CallAccept",
    "CallCancel",
    "CallDecline",
    "CallEnd",
    "CallHangup",
    "CallRequest",
    "Command",
    "ConversationClose",
    "ConversationFilter",
    "ConversationFocus",
    "ConversationList",
    "ConversationMessageSend",
    "ConversationRead",
    "ConversationSnooze",
    "ConversationTag",
    "ConversationTransfer",
    "DeviceRevoke",
    "DeviceUpdate",
    "HandoffCancel",
    "HandoffOffer",
    "HandoffRequest",
    "HistoryGet",
    "IceCandidate",
    "IceCandidates",
    "IceRestart",
    "InvitationAccept",
    "InvitationCancel",
    "InvitationDecline",
    "InvitationJoin",
    "InvitationSend",
    "MediaSet",
    "MediaWanted",
    "PresenceGet",
    "PresenceSet",
    "RecordingStart",
    "RecordingStop",
    "RingAck",
    "RingOpened",
    "RingSilence",
    "SdpAnswer",
    "SdpOffer",
    "SyncGet",
    "TransferTarget",
]


class TransferTarget(NamedTuple):
    """Who gets a transferred conversation: one agent, or a group."""

    agent: str | None = None
    group: str | None = None


class IceCandidate(NamedTuple):
    """One trickled candidate: the text of its `candidate:` attribute and the media section it belongs to."""

    candidate: str
    mid: str


@value(slots=True, frozen=True)
class MediaWanted:
    """What the visitor asks for."""

    audio: bool = True
    video: bool = True


# --- session and account


@value(slots=True, frozen=True)
class SyncGet:
    wire_type: ClassVar[str] = "sync.get"
    parts: tuple[str, ...] = ()
    cursor: str | None = None


@value(slots=True, frozen=True)
class DeviceUpdate:
    """`perms` maps `camera`, `mic` to a permission state; each field that is not None replaces the old value."""

    wire_type: ClassVar[str] = "device.update"
    app_state: str | None = None
    perms: dict[str, str] | None = None
    push: tuple[PushEndpoint, ...] | None = None
    name: str | None = None
    caps: tuple[str, ...] | None = None


@value(slots=True, frozen=True)
class DeviceRevoke:
    wire_type: ClassVar[str] = "device.revoke"
    device: str


# --- presence


@value(slots=True, frozen=True)
class PresenceSet:
    wire_type: ClassVar[str] = "presence.set"
    channel: Literal["chat", "call", "video", "third_party"]
    declared: Literal["available", "unavailable"]


@value(slots=True, frozen=True)
class PresenceGet:
    wire_type: ClassVar[str] = "presence.get"
    agent: str | None = None


# --- call


@value(slots=True, frozen=True)
class CallRequest:
    """`preview`: the visitor agrees to be seen by an agent who has opened the ring (A-24)."""

    wire_type: ClassVar[str] = "call.request"
    conversation: str
    group: str | None = None
    media: MediaWanted = field(default_factory=MediaWanted)
    offer: str | None = None
    preview: bool = False


@value(slots=True, frozen=True)
class RingAck:
    wire_type: ClassVar[str] = "ring.ack"
    ring: str


@value(slots=True, frozen=True)
class RingOpened:
    wire_type: ClassVar[str] = "ring.opened"
    ring: str


@value(slots=True, frozen=True)
class RingSilence:
    wire_type: ClassVar[str] = "ring.silence"
    ring: str


@value(slots=True, frozen=True)
class CallAccept:
    wire_type: ClassVar[str] = "call.accept"
    session: str
    offer: str | None = None


@value(slots=True, frozen=True)
class CallDecline:
    wire_type: ClassVar[str] = "call.decline"
    session: str


@value(slots=True, frozen=True)
class CallCancel:
    wire_type: ClassVar[str] = "call.cancel"
    session: str


@value(slots=True, frozen=True)
class CallHangup:
    wire_type: ClassVar[str] = "call.hangup"
    session: str


@value(slots=True, frozen=True)
class CallEnd:
    wire_type: ClassVar[str] = "call.end"
    session: str
    note: str | None = None


# --- handoff


@value(slots=True, frozen=True)
class HandoffRequest:
    wire_type: ClassVar[str] = "handoff.request"
    session: str
    offer: str | None = None


@value(slots=True, frozen=True)
class HandoffOffer:
    wire_type: ClassVar[str] = "handoff.offer"
    session: str
    to_device: str


@value(slots=True, frozen=True)
class HandoffCancel:
    wire_type: ClassVar[str] = "handoff.cancel"
    session: str


# --- invitation


@value(slots=True, frozen=True)
class InvitationSend:
    wire_type: ClassVar[str] = "invitation.send"
    conversation: str


@value(slots=True, frozen=True)
class InvitationJoin:
    wire_type: ClassVar[str] = "invitation.join"
    invitation: str
    offer: str | None = None


@value(slots=True, frozen=True)
class InvitationCancel:
    wire_type: ClassVar[str] = "invitation.cancel"
    invitation: str


@value(slots=True, frozen=True)
class InvitationAccept:
    wire_type: ClassVar[str] = "invitation.accept"
    invitation: str
    offer: str | None = None
    preview: bool = False


@value(slots=True, frozen=True)
class InvitationDecline:
    wire_type: ClassVar[str] = "invitation.decline"
    invitation: str


# --- media


@value(slots=True, frozen=True)
class SdpOffer:
    wire_type: ClassVar[str] = "sdp.offer"
    leg: str
    neg: int
    sdp: str
    ice_restart: bool = False


@value(slots=True, frozen=True)
class SdpAnswer:
    wire_type: ClassVar[str] = "sdp.answer"
    leg: str
    neg: int
    sdp: str


@value(slots=True, frozen=True)
class IceCandidates:
    wire_type: ClassVar[str] = "ice.candidates"
    leg: str
    neg: int
    ufrag: str
    candidates: tuple[IceCandidate, ...] = ()
    end: bool = False


@value(slots=True, frozen=True)
class IceRestart:
    wire_type: ClassVar[str] = "ice.restart"
    leg: str


@value(slots=True, frozen=True)
class MediaSet:
    wire_type: ClassVar[str] = "media.set"
    session: str
    n: int
    camera: bool | None = None
    mic: bool | None = None
    facing: Literal["front", "back", "external"] | None = None
    orientation: Literal[0, 90, 180, 270] | None = None
    camera_state: Literal["live", "interrupted", "failed"] | None = None
    view: Literal["full", "thumbnail"] | None = None
    fatal: Literal["capture_failed"] | None = None


@value(slots=True, frozen=True)
class RecordingStart:
    wire_type: ClassVar[str] = "recording.start"
    session: str


@value(slots=True, frozen=True)
class RecordingStop:
    wire_type: ClassVar[str] = "recording.stop"
    session: str


# --- conversation and history


@value(slots=True, frozen=True)
class ConversationFilter:
    state: tuple[str, ...] | None = None
    video_icon: bool | None = None
    text: str | None = None


@value(slots=True, frozen=True)
class ConversationList:
    wire_type: ClassVar[str] = "conversation.list"
    cursor: str | None = None
    filter: ConversationFilter | None = None


@value(slots=True, frozen=True)
class ConversationMessageSend:
    wire_type: ClassVar[str] = "conversation.message.send"
    conversation: str
    text: str | None = None
    attachment_ref: str | None = None


@value(slots=True, frozen=True)
class ConversationRead:
    wire_type: ClassVar[str] = "conversation.read"
    conversation: str
    message: str


@value(slots=True, frozen=True)
class ConversationFocus:
    wire_type: ClassVar[str] = "conversation.focus"
    conversation: str | None = None


@value(slots=True, frozen=True)
class ConversationTag:
    wire_type: ClassVar[str] = "conversation.tag"
    conversation: str
    tags: tuple[str, ...] = ()


@value(slots=True, frozen=True)
class ConversationClose:
    wire_type: ClassVar[str] = "conversation.close"
    conversation: str
    tags: tuple[str, ...] | None = None
    end_video: bool = False


@value(slots=True, frozen=True)
class ConversationSnooze:
    wire_type: ClassVar[str] = "conversation.snooze"
    conversation: str
    until_at: int | None = None
    end_video: bool = False


@value(slots=True, frozen=True)
class ConversationTransfer:
    wire_type: ClassVar[str] = "conversation.transfer"
    conversation: str
    to: TransferTarget
    note: str | None = None
    end_video: bool = False


@value(slots=True, frozen=True)
class HistoryGet:
    wire_type: ClassVar[str] = "history.get"
    session: str | None = None
    conversation: str | None = None
    cursor: str | None = None


Command: TypeAlias = (
    SyncGet
    | DeviceUpdate
    | DeviceRevoke
    | PresenceSet
    | PresenceGet
    | CallRequest
    | RingAck
    | RingOpened
    | RingSilence
    | CallAccept
    | CallDecline
    | CallCancel
    | CallHangup
    | CallEnd
    | HandoffRequest
    | HandoffOffer
    | HandoffCancel
    | InvitationSend
    | InvitationJoin
    | InvitationCancel
    | InvitationAccept
    | InvitationDecline
    | SdpOffer
    | SdpAnswer
    | IceCandidates
    | IceRestart
    | MediaSet
    | RecordingStart
    | RecordingStop
    | ConversationList
    | ConversationMessageSend
    | ConversationRead
    | ConversationFocus
    | ConversationTag
    | ConversationClose
    | ConversationSnooze
    | ConversationTransfer
    | HistoryGet
)
