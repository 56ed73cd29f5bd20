"""The values that wire messages are made of: constrained identifiers and texts, devices, views.

A limit that is exceeded makes a message invalid; the numbers are part of the protocol `triortc.v1`.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal, TypeAlias

import msgspec
from msgspec import Meta

__all__ = [
    "IDENTIFIER",
    "AppState",
    "AvailabilityChannel",
    "Candidate",
    "Candidates",
    "ChannelStatus",
    "ConversationFilter",
    "Count",
    "Cursor",
    "Declared",
    "Device",
    "DeviceReference",
    "DeviceView",
    "Id",
    "Identity",
    "InvitationState",
    "LastVideo",
    "LiveSession",
    "Media",
    "Name",
    "Note",
    "Notice",
    "Payload",
    "Permission",
    "PermissionView",
    "Permissions",
    "PermissionsUpdate",
    "Platform",
    "PushEndpoint",
    "PushEndpoints",
    "Reference",
    "Sdp",
    "Secret",
    "Side",
    "Subject",
    "Tags",
    "Text",
    "Token",
    "TransferTarget",
    "VisitorView",
    "Word",
    "Words",
]

#: What identifiers look like, as a regular expression.
IDENTIFIER: Final = "[A-Za-z0-9_-]{1,64}"
#: An identifier made by the server, or by the client for its own commands and devices.
Id: TypeAlias = Annotated[
    str, Meta(pattern=rf"^{IDENTIFIER}(?!\n)$", description="opaque ASCII identifier, 1 to 64 characters")
]
Subject: TypeAlias = Annotated[
    str, Meta(min_length=1, max_length=128, description="an agent's or visitor's id (`sub`)")
]
Name: TypeAlias = Annotated[str, Meta(max_length=64)]
Note: TypeAlias = Annotated[str, Meta(max_length=1024)]
Token: TypeAlias = Annotated[str, Meta(min_length=1, max_length=8192, description="a JSON Web Token")]
Secret: TypeAlias = Annotated[str, Meta(min_length=1, max_length=128)]
Cursor: TypeAlias = Annotated[str, Meta(max_length=256)]
Sdp: TypeAlias = Annotated[str, Meta(min_length=1, max_length=32 * 1024, description="a session description, RFC 8866")]
Text: TypeAlias = Annotated[str, Meta(min_length=1, max_length=16 * 1024)]
Reference: TypeAlias = Annotated[str, Meta(min_length=1, max_length=1024)]
Word: TypeAlias = Annotated[str, Meta(min_length=1, max_length=64)]
Tags: TypeAlias = Annotated[tuple[Word, ...], Meta(max_length=32)]
Words: TypeAlias = Annotated[tuple[Word, ...], Meta(max_length=32)]
#: Integers fit in 53 bits, so that every JSON reader keeps them exact.
Count: TypeAlias = Annotated[int, Meta(ge=0, le=2**53 - 1)]

Platform: TypeAlias = Literal["ios", "android", "desktop", "web"]
AppState: TypeAlias = Literal["foreground", "background", "locked", "terminated"]
Permission: TypeAlias = Literal["prompt", "granted", "denied", "denied_permanent", "restricted"]
AvailabilityChannel: TypeAlias = Literal["chat", "call", "video", "third_party"]
Declared: TypeAlias = Literal["available", "unavailable"]
Side: TypeAlias = Literal["agent", "visitor"]
InvitationState: TypeAlias = Literal[
    "pending",
    "agent_joined",
    "visitor_accepted",
    "in_session",
    "completed",
    "cancelled",
    "declined",
    "missed",
    "failed",
]


class Payload(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename={"from_": "from"}):
    """The base of every payload: unknown fields are ignored, fields at their default are left out."""


# --- what clients say of themselves


class Permissions(Payload, frozen=True):
    """Whether the operating system lets the app use the camera and the microphone."""

    camera: Permission = "granted"
    mic: Permission = "granted"


class PermissionsUpdate(Payload, frozen=True):
    """What changed of them; what is left out stays as it was."""

    camera: Permission | None = None
    mic: Permission | None = None


class PushEndpoint(Payload, frozen=True):
    """Where pushes for a device go. `endpoint` (web push) must be https."""

    kind: Literal["apns", "apns_voip", "fcm", "webpush"]
    token: Annotated[str, Meta(max_length=4096)] | None = None
    endpoint: Annotated[str, Meta(max_length=2048, pattern="^https://")] | None = None
    p256dh: Secret | None = None
    auth: Secret | None = None
    topic: Name | None = None


PushEndpoints: TypeAlias = Annotated[tuple[PushEndpoint, ...], Meta(max_length=8)]


class Device(Payload, frozen=True):
    """The device that says `hello`."""

    id: Id
    platform: Platform
    app_version: Name = ""
    name: Name | None = None
    app_state: AppState = "foreground"
    perms: Permissions = Permissions()
    push: PushEndpoints = ()
    caps: Words = ()


class Media(Payload, frozen=True):
    """What a visitor asks for."""

    audio: Literal[True] = True
    video: bool = True


class Candidate(Payload, frozen=True):
    """One trickled ICE candidate: the `candidate:` attribute's value and its media section's mid (RFC 8839)."""

    candidate: Annotated[str, Meta(max_length=1024)]
    mid: Annotated[str, Meta(max_length=16)]


Candidates: TypeAlias = Annotated[tuple[Candidate, ...], Meta(max_length=20)]


class TransferTarget(Payload, frozen=True):
    """Who gets a conversation: exactly one of an agent and a group."""

    agent: Subject | None = None
    group: Word | None = None

    def __post_init__(self) -> None:
        if (self.agent is None) == (self.group is None):
            raise ValueError("name an agent or a group, and not both")


class ConversationFilter(Payload, frozen=True):
    """Which conversations `conversation.list` gives."""

    state: Words | None = None
    video_icon: bool | None = None
    text: Annotated[str, Meta(max_length=256)] | None = None


# --- what the server tells


class DeviceReference(Payload, frozen=True):
    """A device as another device may know it."""

    platform: str
    name: str | None = None


class Identity(Payload, frozen=True):
    """An agent's identity as the server asserts it."""

    display_name: str | None
    avatar: str | None = None


class VisitorView(Payload, frozen=True):
    """What an agent sees of a visitor."""

    name: str | None = None
    avatar: str | None = None
    page: str | None = None
    locale: str | None = None
    online: bool | None = None


class PermissionView(Payload, frozen=True):
    """What the app has to do before it can accept: `action` is `none`, `prompt` or `open_settings`."""

    camera: str
    mic: str
    action: str


class LastVideo(Payload, frozen=True):
    """How a conversation's latest video ended."""

    session: str
    outcome: str


class LiveSession(Payload, frozen=True):
    """A conversation's running video, and whether the reading device may take it over."""

    session: str
    state: str
    device: DeviceReference | None = None
    can_pull: bool = False


class Notice(Payload, frozen=True):
    """Something to show until it is out of date."""

    kind: str
    session: str
    to: DeviceReference
    can_pull_back: bool


class ChannelStatus(Payload, frozen=True):
    """An agent's availability on one channel: what was declared, and what is in effect and why."""

    agent: str
    channel: AvailabilityChannel
    declared: Declared
    effective: Literal["available", "busy", "unavailable"]
    color: Literal["green", "orange", "red"]
    api: Literal["AVAILABLE", "UNAVAILABLE_FORCED", "BUSY", "UNAVAILABLE"]
    reasons: tuple[str, ...]
    version: int
    by: Literal["system"] | None = None


class DeviceView(Payload, frozen=True):
    """One of the agent's own devices."""

    device: str
    platform: str
    name: str | None
    app_state: str
    perms: dict[str, str]
    signaling: str
