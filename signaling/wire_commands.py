"""The payloads of every command of `triortc.v1`: what devices ask.

A command that this build does not carry out is decoded and validated all the same, and answered
`proto.not_implemented`.
"""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from triortc.signaling.wire_values import (
    AppState,
    AvailabilityChannel,
    Candidates,
    ConversationFilter,
    Count,
    Cursor,
    Declared,
    Id,
    Media,
    Name,
    Note,
    Payload,
    PermissionsUpdate,
    PushEndpoints,
    Reference,
    Sdp,
    Subject,
    Tags,
    Text,
    Token,
    TransferTarget,
    Word,
    Words,
)

__all__ = ["COMMANDS", "Command"]


class Command(Payload, frozen=True):
    """The base of every command's payload."""


# --- session and account


class AuthRefresh(Command, frozen=True):
    token: Token


class SyncGet(Command, frozen=True):
    parts: Words = ()
    cursor: Cursor | None = None


class DeviceUpdate(Command, frozen=True):
    app_state: AppState | None = None
    perms: PermissionsUpdate | None = None
    push: PushEndpoints | None = None
    name: Name | None = None
    caps: Words | None = None


class DeviceRevoke(Command, frozen=True):
    device: Id


# --- presence


class PresenceSet(Command, frozen=True):
    channel: AvailabilityChannel
    declared: Declared


class PresenceGet(Command, frozen=True):
    agent: Subject | None = None


# --- call


class OfSession(Command, frozen=True):
    session: Id


class OfSessionWithOffer(Command, frozen=True):
    session: Id
    offer: Sdp | None = None


class OfRing(Command, frozen=True):
    ring: Id


class CallRequest(Command, frozen=True):
    conversation: Id
    group: Word | None = None
    media: Media = Media()
    offer: Sdp | None = None
    preview: bool = False


class CallEnd(Command, frozen=True):
    session: Id
    note: Note | None = None


class HandoffOffer(Command, frozen=True):
    session: Id
    to_device: Id


# --- invitation


class OfInvitation(Command, frozen=True):
    invitation: Id


class OfInvitationWithOffer(Command, frozen=True):
    invitation: Id
    offer: Sdp | None = None


class InvitationAccept(Command, frozen=True):
    """`preview`: the visitor agrees to be seen before the agent has joined, where the server asks for that."""

    invitation: Id
    offer: Sdp | None = None
    preview: bool = False


# --- media


class SdpOffer(Command, frozen=True):
    leg: Id
    neg: Count
    sdp: Sdp
    ice_restart: bool = False


class SdpAnswer(Command, frozen=True):
    leg: Id
    neg: Count
    sdp: Sdp


class IceCandidates(Command, frozen=True):
    leg: Id
    neg: Count
    ufrag: Annotated[str, Meta(max_length=256)]
    candidates: Candidates = ()
    end: bool = False


class IceRestart(Command, frozen=True):
    leg: Id


class MediaSet(Command, frozen=True):
    session: Id
    n: Count
    camera: bool | None = None
    mic: bool | None = None
    facing: Literal["front", "back", "external"] | None = None
    orientation: Literal[0, 90, 180, 270] | None = None
    camera_state: Literal["live", "interrupted", "failed"] | None = None
    view: Literal["full", "thumbnail"] | None = None
    fatal: Literal["capture_failed"] | None = None


# --- conversation and history


class OfConversation(Command, frozen=True):
    conversation: Id


class ConversationList(Command, frozen=True):
    cursor: Cursor | None = None
    filter: ConversationFilter | None = None


class ConversationMessageSend(Command, frozen=True):
    conversation: Id
    text: Text | None = None
    attachment_ref: Reference | None = None

    def __post_init__(self) -> None:
        if (self.text is None) == (self.attachment_ref is None):
            raise ValueError("send a text or an attachment_ref, and not both")


class ConversationRead(Command, frozen=True):
    conversation: Id
    message: Id


class ConversationFocus(Command, frozen=True):
    conversation: Id | None = None


class ConversationTag(Command, frozen=True):
    conversation: Id
    tags: Tags


class ConversationClose(Command, frozen=True):
    conversation: Id
    tags: Tags | None = None
    end_video: bool = False


class ConversationSnooze(Command, frozen=True):
    conversation: Id
    until_at: Count | None = None
    end_video: bool = False


class ConversationTransfer(Command, frozen=True):
    conversation: Id
    to: TransferTarget
    note: Note | None = None
    end_video: bool = False


class HistoryGet(Command, frozen=True):
    session: Id | None = None
    conversation: Id | None = None
    cursor: Cursor | None = None


#: Every command of the protocol: message type to payload.
COMMANDS: dict[str, type[Command]] = {
    "auth.refresh": AuthRefresh,
    "sync.get": SyncGet,
    "device.update": DeviceUpdate,
    "device.revoke": DeviceRevoke,
    "presence.set": PresenceSet,
    "presence.get": PresenceGet,
    "call.request": CallRequest,
    "ring.ack": OfRing,
    "ring.opened": OfRing,
    "ring.silence": OfRing,
    "call.accept": OfSessionWithOffer,
    "call.decline": OfSession,
    "call.cancel": OfSession,
    "call.hangup": OfSession,
    "call.end": CallEnd,
    "handoff.request": OfSessionWithOffer,
    "handoff.offer": HandoffOffer,
    "handoff.cancel": OfSession,
    "invitation.send": OfConversation,
    "invitation.join": OfInvitationWithOffer,
    "invitation.cancel": OfInvitation,
    "invitation.accept": InvitationAccept,
    "invitation.decline": OfInvitation,
    "sdp.offer": SdpOffer,
    "sdp.answer": SdpAnswer,
    "ice.candidates": IceCandidates,
    "ice.restart": IceRestart,
    "media.set": MediaSet,
    "recording.start": OfSession,
    "recording.stop": OfSession,
    "conversation.list": ConversationList,
    "conversation.message.send": ConversationMessageSend,
    "conversation.read": ConversationRead,
    "conversation.focus": ConversationFocus,
    "conversation.tag": ConversationTag,
    "conversation.close": ConversationClose,
    "conversation.snooze": ConversationSnooze,
    "conversation.transfer": ConversationTransfer,
    "history.get": HistoryGet,
}
