"""The payloads of every event of `triortc.v1`: what devices are told, and the snapshot that events fold onto.

Clients ignore fields and event types they do not know. Enumerations that may grow are plain strings here.

Some say the same as `engine.calls.view_values`, which a test compares, and stay two on purpose: these carry what the
published schemas hold clients to, and are made by keyword; those are made in every step, by place, and know no wire.
"""

from __future__ import annotations

from typing import Any, Literal

from triortc.signaling.wire_values import (
    Candidate,
    ChannelStatus,
    DeviceReference,
    DeviceView,
    Identity,
    InvitationState,
    LastVideo,
    LiveSession,
    Notice,
    Payload,
    PermissionView,
    Side,
    VisitorView,
)

__all__ = ["EVENTS", "Event", "Snapshot"]


class Event(Payload, frozen=True):
    """The base of every event's payload."""


# --- session and account


class AuthExpiring(Event, frozen=True):
    exp_at: int


class SessionHeartbeat(Event, frozen=True):
    hb_ms: int


class SessionIceServers(Event, frozen=True):
    ice_servers: tuple[dict[str, Any], ...]


class ServerDraining(Event, frozen=True):
    deadline_ms: int
    reconnect: str | None = None


class DeviceChanged(Event, frozen=True):
    devices: tuple[DeviceView, ...]


class PresenceChanged(Event, ChannelStatus, frozen=True):
    pass


# --- call


class SessionView(Event, frozen=True):
    """A video session as one device sees it; also the payload of `call.state`.

    `ttl_ms`: until a ring is over. `agent`: for visitors, who has accepted.
    """

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


class RingView(Event, frozen=True):
    """A ring with what is left of its time, and how long a whole one lasts; also the payload of `ring.offer`."""

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


class RingEnded(Event, frozen=True):
    ring: str
    session: str
    reason: str
    log_missed: bool
    by: DeviceReference | None = None


class CallAccepted(Event, frozen=True):
    session: str
    agent: Identity
    device_platform: str | None = None


class CallActive(Event, frozen=True):
    session: str
    since_at: int


class CallPeer(Event, frozen=True):
    session: str
    what: str
    renegotiate: bool | None = None
    deadline_ms: int | None = None
    agent: Identity | None = None


class CallEnded(Event, frozen=True):
    session: str
    outcome: str
    reason: str
    by: Literal["agent", "visitor", "system"]
    talk_ms: int
    conversation: str
    conversation_state: str
    next: str


class HandoffStarted(Event, frozen=True):
    session: str
    to: DeviceReference


class HandoffSuggested(Event, frozen=True):
    session: str
    from_: DeviceReference


class HandoffMoved(Event, frozen=True):
    session: str
    notice: str
    to: DeviceReference
    can_pull_back: bool


class HandoffFailed(Event, frozen=True):
    session: str
    reason: str


class InvitationView(Event, frozen=True):
    """An invitation; also the payload of `invitation.changed`."""

    invitation: str
    conversation: str
    state: InvitationState
    version: int
    session: str | None = None
    reason: str | None = None


# --- media


class ServerSdpOffer(Event, frozen=True):
    leg: str
    neg: int
    sdp: str
    ice_restart: bool = False


class ServerIceCandidates(Event, frozen=True):
    leg: str
    neg: int
    ufrag: str
    candidates: tuple[Candidate, ...]
    end: bool


class ServerIceRestart(Event, frozen=True):
    leg: str


class MediaChanged(Event, frozen=True):
    session: str
    side: Side
    camera: bool
    mic: bool
    facing: str
    orientation: int
    camera_state: str
    version: int


class MediaGate(Event, frozen=True):
    session: str
    kind: str
    state: str
    since_at: int


class MediaQuality(Event, frozen=True):
    session: str
    score: int
    rtt_ms: float
    loss: float
    kbps: float


class RecordingChanged(Event, frozen=True):
    session: str
    on: bool
    by: str


# --- conversation


class ConversationView(Event, frozen=True):
    """A conversation in an agent's list; also the payload of `conversation.changed`."""

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


class ConversationRemoved(Event, frozen=True):
    conversation: str
    why: str


class ConversationMessage(Event, frozen=True):
    conversation: str
    message: str
    from_: str
    notify: bool
    sent_at: int
    text: str | None = None
    attachment_ref: str | None = None
    name: str | None = None


class ConversationReminder(Event, frozen=True):
    conversation: str
    kind: str
    n: int


class Snapshot(Payload, frozen=True):
    """The server's view at the start of a signaling session; `next` continues the list of conversations."""

    presence: tuple[ChannelStatus, ...]
    rings: tuple[RingView, ...]
    sessions: tuple[SessionView, ...]
    invitations: tuple[InvitationView, ...]
    conversations: tuple[ConversationView, ...]
    notices: tuple[Notice, ...]
    devices: tuple[DeviceView, ...]
    next: str | None = None


#: Every event of the protocol: message type to payload.
EVENTS: dict[str, type[Event]] = {
    "auth.expiring": AuthExpiring,
    "session.heartbeat": SessionHeartbeat,
    "session.ice_servers": SessionIceServers,
    "server.draining": ServerDraining,
    "device.changed": DeviceChanged,
    "presence.changed": PresenceChanged,
    "call.state": SessionView,
    "ring.offer": RingView,
    "ring.ended": RingEnded,
    "call.accepted": CallAccepted,
    "call.active": CallActive,
    "call.peer": CallPeer,
    "call.ended": CallEnded,
    "handoff.started": HandoffStarted,
    "handoff.suggested": HandoffSuggested,
    "handoff.moved": HandoffMoved,
    "handoff.failed": HandoffFailed,
    "invitation.changed": InvitationView,
    "sdp.offer": ServerSdpOffer,
    "ice.candidates": ServerIceCandidates,
    "ice.restart": ServerIceRestart,
    "media.changed": MediaChanged,
    "media.gate": MediaGate,
    "media.quality": MediaQuality,
    "recording.changed": RecordingChanged,
    "conversation.changed": ConversationView,
    "conversation.removed": ConversationRemoved,
    "conversation.message": ConversationMessage,
    "conversation.reminder": ConversationReminder,
}
