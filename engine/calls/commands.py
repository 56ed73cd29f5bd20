"""What devices ask: one struct per command of the protocol, with the field names of its payload.

`wire_type` is the message type on the wire. Optional fields that the client left out are `None`.
"""

from __future__ import annotations

from typing import ClassVar, Literal, NamedTuple, TypeAlias

from triortc.engine.calls.actor import PushEndpoint
from triortc.engine.calls.value import ValueStruct

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


class MediaWanted(ValueStruct, frozen=True, omit_defaults=False):
    """What the visitor asks for."""

    audio: bool = True
    video: bool = True


# --- session and account


class SyncGet(ValueStruct, frozen=True):
    wire_type: ClassVar[str] = "sync.get"
    parts: tuple[str, ...] = ()
    cursor: str | None = None


class DeviceUpdate(ValueStruct, frozen=True):
    """`perms` maps `camera`, `mic` to a permission state; each field that is not None replaces the old value."""

    wire_type: ClassVar[str] = "device.update"
    app_state: str | None = None
    perms: dict[str, str] | None = None
    push: tuple[PushEndpoint, ...] | None = None
    name: str | None = None
    caps: tuple[str, ...] | None = None


class DeviceRevoke(ValueStruct, frozen=True):
    wire_type: ClassVar[str] = "device.revoke"
    device: str


# --- presence


class PresenceSet(ValueStruct, frozen=True):
    wire_type: ClassVar[str] = "presence.set"
    channel: Literal["chat", "call", "video", "third_party"]
    declared: Literal["available", "unavailable"]


class PresenceGet(ValueStruct, frozen=True):
    wire_type: ClassVar[str] = "presence.get"
    agent: str | None = None


# --- call


class CallRequest(ValueStruct, frozen=True):
    """`preview`: the visitor agrees to be seen by an agent who has opened the ring (A-24)."""

    wire_type: ClassVar[str] = "call.request"
    conversation: str
    group: str | None = None
    media: MediaWanted = MediaWanted()
    offer: str | None = None
    preview: bool = False


class RingAck(ValueStruct, frozen=True):
    wire_type: ClassVar[str] = "ring.ack"
    ring: str


class RingOpened(ValueStruct, frozen=True):
    wire_type: ClassVar[str] = "ring.opened"
    ring: str


class RingSilence(ValueStruct, frozen=True):
    wire_type: ClassVar[str] = "ring.silence"
    ring: str


class CallAccept(ValueStruct, frozen=True):
    wire_type: ClassVar[str] = "call.accept"
    session: str
    offer: str | None = None


class CallDecline(ValueStruct, frozen=True):
    wire_type: ClassVar[str] = "call.decline"
    session: str


class CallCancel(ValueStruct, frozen=True):
    wire_type: ClassVar[str] = "call.cancel"
    session: str


class CallHangup(ValueStruct, frozen=True):
    wire_type: ClassVar[str] = "call.hangup"
    session: str


class CallEnd(ValueStruct, frozen=True):
    wire_type: ClassVar[str] = "call.end"
    session: str
    note: str | None = None


# --- handoff


class HandoffRequest(ValueStruct, frozen=True):
    wire_type: ClassVar[str] = "handoff.request"
    session: str
    offer: str | None = None


class HandoffOffer(ValueStruct, frozen=True):
    wire_type: ClassVar[str] = "handoff.offer"
    session: str
    to_device: str


class HandoffCancel(ValueStruct, frozen=True):
    wire_type: ClassVar[str] = "handoff.cancel"
    session: str


# --- invitation


class InvitationSend(ValueStruct, frozen=True):
    wire_type: ClassVar[str] = "invitation.send"
    conversation: str


class InvitationJoin(ValueStruct, frozen=True):
    wire_type: ClassVar[str] = "invitation.join"
    invitation: str
    offer: str | None = None


class InvitationCancel(ValueStruct, frozen=True):
    wire_type: ClassVar[str] = "invitation.cancel"
    invitation: str


class InvitationAccept(ValueStruct, frozen=True):
    wire_type: ClassVar[str] = "invitation.accept"
    invitation: str
    offer: str | None = None
    preview: bool = False


class InvitationDecline(ValueStruct, frozen=True):
    wire_type: ClassVar[str] = "invitation.decline"
    invitation: str


# --- media


class SdpOffer(ValueStruct, frozen=True):
    wire_type: ClassVar[str] = "sdp.offer"
    leg: str
    neg: int
    sdp: str
    ice_restart: bool = False


class SdpAnswer(ValueStruct, frozen=True):
    wire_type: ClassVar[str] = "sdp.answer"
    leg: str
    neg: int
    sdp: str


class IceCandidates(ValueStruct, frozen=True):
    wire_type: ClassVar[str] = "ice.candidates"
    leg: str
    neg: int
    ufrag: str
    candidates: tuple[IceCandidate, ...] = ()
    end: bool = False


class IceRestart(ValueStruct, frozen=True):
    wire_type: ClassVar[str] = "ice.restart"
    leg: str


class MediaSet(ValueStruct, frozen=True):
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


class RecordingStart(ValueStruct, frozen=True):
    wire_type: ClassVar[str] = "recording.start"
    session: str


class RecordingStop(ValueStruct, frozen=True):
    wire_type: ClassVar[str] = "recording.stop"
    session: str


# --- conversation and history


class ConversationFilter(ValueStruct, frozen=True):
    state: tuple[str, ...] | None = None
    video_icon: bool | None = None
    text: str | None = None


class ConversationList(ValueStruct, frozen=True):
    wire_type: ClassVar[str] = "conversation.list"
    cursor: str | None = None
    filter: ConversationFilter | None = None


class ConversationMessageSend(ValueStruct, frozen=True):
    wire_type: ClassVar[str] = "conversation.message.send"
    conversation: str
    text: str | None = None
    attachment_ref: str | None = None


class ConversationRead(ValueStruct, frozen=True):
    wire_type: ClassVar[str] = "conversation.read"
    conversation: str
    message: str


class ConversationFocus(ValueStruct, frozen=True):
    wire_type: ClassVar[str] = "conversation.focus"
    conversation: str | None = None


class ConversationTag(ValueStruct, frozen=True):
    wire_type: ClassVar[str] = "conversation.tag"
    conversation: str
    tags: tuple[str, ...] = ()


class ConversationClose(ValueStruct, frozen=True):
    wire_type: ClassVar[str] = "conversation.close"
    conversation: str
    tags: tuple[str, ...] | None = None
    end_video: bool = False


class ConversationSnooze(ValueStruct, frozen=True):
    wire_type: ClassVar[str] = "conversation.snooze"
    conversation: str
    until_at: int | None = None
    end_video: bool = False


class ConversationTransfer(ValueStruct, frozen=True):
    wire_type: ClassVar[str] = "conversation.transfer"
    conversation: str
    to: TransferTarget
    note: str | None = None
    end_video: bool = False


class HistoryGet(ValueStruct, frozen=True):
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
