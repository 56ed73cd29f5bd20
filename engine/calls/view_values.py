"""What devices are shown: the views that snapshots are made of, and the values inside of views and events.

Field names are those of the wire. `None` means: leave the field out.
"""

from __future__ import annotations

from typing import Literal

from triortc.engine.calls.value import ValueStruct, value

__all__ = [
    "ChannelStatus",
    "ConversationView",
    "DeviceReference",
    "DeviceView",
    "Identity",
    "InvitationView",
    "LastVideo",
    "LiveSession",
    "Notice",
    "PermissionView",
    "RingView",
    "SessionView",
    "Snapshot",
    "VisitorView",
]


# --- values inside events


class DeviceReference(ValueStruct, frozen=True):
    """A device as another device may know it (`by`, `to`, `from`)."""

    platform: str
    name: str | None = None


class Identity(ValueStruct, frozen=True):
    """The identity that the server asserts for an agent."""

    display_name: str | None
    avatar: str | None = None


class VisitorView(ValueStruct, frozen=True):
    name: str | None = None
    avatar: str | None = None
    page: str | None = None
    locale: str | None = None
    online: bool | None = None


class PermissionView(ValueStruct, frozen=True):
    """`action`: what the app does before "Go" can work: `none`, `prompt`, `open_settings`."""

    camera: str
    mic: str
    action: str


class LastVideo(ValueStruct, frozen=True):
    session: str
    outcome: str


class LiveSession(ValueStruct, frozen=True):
    """A conversation's running session as the receiving device sees it; `device` is the committed one."""

    session: str
    state: str
    can_pull: bool
    device: DeviceReference | None = None


@value(slots=True, frozen=True)
class Notice:
    """Something a device must show until it is out of date, here: the call moved to another device."""

    kind: Literal["session_moved"]
    session: str
    to: DeviceReference
    can_pull_back: bool


# --- views


class ChannelStatus(ValueStruct, frozen=True):
    agent: str
    channel: str
    declared: str
    effective: str
    color: str
    api: str
    reasons: tuple[str, ...]
    version: int
    by: Literal["system"] | None = None


class SessionView(ValueStruct, frozen=True):
    session: str
    conversation: str
    origin: str
    state: str
    version: int
    leg: str | None = None
    alerting: bool | None = None
    position: int | None = None
    in_other_tab: bool | None = None
    recording: bool | None = None
    ttl_ms: int | None = None
    agent: Identity | None = None


class RingView(ValueStruct, frozen=True):
    ring: str
    session: str
    conversation: str
    kind: str
    ttl_ms: int
    expires_at: int
    visitor: VisitorView
    preview: bool
    permission: PermissionView
    media: dict[str, bool]
    full_ms: int | None = None


class InvitationView(ValueStruct, frozen=True):
    invitation: str
    conversation: str
    state: str
    version: int
    session: str | None = None
    reason: str | None = None


class ConversationView(ValueStruct, frozen=True):
    conversation: str
    state: str
    assignee: str | None
    group: str | None
    video_icon: bool
    unread: int
    tags: tuple[str, ...]
    visitor: VisitorView
    version: int
    snoozed_until_at: int | None = None
    last_video: LastVideo | None = None
    live_session: LiveSession | None = None


class DeviceView(ValueStruct, frozen=True):
    device: str
    platform: str
    name: str | None
    app_state: str
    perms: dict[str, str]
    signaling: str


@value(slots=True, frozen=True)
class Snapshot:
    presence: tuple[ChannelStatus, ...] = ()
    rings: tuple[RingView, ...] = ()
    sessions: tuple[SessionView, ...] = ()
    invitations: tuple[InvitationView, ...] = ()
    conversations: tuple[ConversationView, ...] = ()
    notices: tuple[Notice, ...] = ()
    devices: tuple[DeviceView, ...] = ()
    next: str | None = None
