"""What devices are told: one struct per event of the protocol.

Field names are those of the wire, except `from_` (`from` is a Python keyword). `None` means: leave the field out.
`wire_type` is the message type; `coalesce_key` names the older event that a newer one may replace in a full queue.
"""

from __future__ import annotations

from typing import ClassVar, Final, Literal, TypeAlias

from triortc.engine.calls.commands import IceCandidate
from triortc.engine.calls.value import ValueStruct, value
from triortc.engine.calls.view_values import (
    ChannelStatus,
    ConversationView,
    DeviceReference,
    DeviceView,
    Identity,
    InvitationView,
    RingView,
    SessionView,
)

__all__ = [
    "COALESCED",
    "CallAccepted",
    "CallActive",
    "CallEnded",
    "CallPeer",
    "CallState",
    "ConversationChanged",
    "ConversationMessage",
    "ConversationReminder",
    "ConversationRemoved",
    "DeviceChanged",
    "HandoffFailed",
    "HandoffMoved",
    "HandoffStarted",
    "HandoffSuggested",
    "InvitationChanged",
    "LocalIceCandidates",
    "MediaChanged",
    "MediaGateChanged",
    "MediaQuality",
    "Notification",
    "PresenceChanged",
    "RecordingChanged",
    "RestartIce",
    "RingEnded",
    "RingOffer",
]


# --- events


class CallState(SessionView, frozen=True):
    """`call.state`: queued, ringing (and its alerting), waiting, and the second tab's `in_other_tab`."""

    wire_type: ClassVar[str] = "call.state"


class RingOffer(RingView, frozen=True):
    wire_type: ClassVar[str] = "ring.offer"


class RingEnded(ValueStruct, frozen=True):
    wire_type: ClassVar[str] = "ring.ended"
    ring: str
    session: str
    reason: str
    log_missed: bool
    by: DeviceReference | None = None


class CallAccepted(ValueStruct, frozen=True):
    wire_type: ClassVar[str] = "call.accepted"
    session: str
    agent: Identity
    device_platform: str | None = None


class CallActive(ValueStruct, frozen=True):
    wire_type: ClassVar[str] = "call.active"
    session: str
    since_at: int


class CallPeer(ValueStruct, frozen=True):
    wire_type: ClassVar[str] = "call.peer"
    session: str
    what: Literal["reconnecting", "resumed", "device_changed", "identity"]
    renegotiate: bool | None = None
    deadline_ms: int | None = None
    agent: Identity | None = None


class CallEnded(ValueStruct, frozen=True):
    wire_type: ClassVar[str] = "call.ended"
    session: str
    outcome: str
    reason: str
    by: Literal["agent", "visitor", "system"]
    talk_ms: int
    conversation: str
    conversation_state: str
    next: str


class HandoffStarted(ValueStruct, frozen=True):
    wire_type: ClassVar[str] = "handoff.started"
    session: str
    to: DeviceReference


class HandoffSuggested(ValueStruct, frozen=True):
    wire_type: ClassVar[str] = "handoff.suggested"
    session: str
    from_: DeviceReference


class HandoffMoved(ValueStruct, frozen=True):
    wire_type: ClassVar[str] = "handoff.moved"
    session: str
    notice: str
    to: DeviceReference
    can_pull_back: bool


class HandoffFailed(ValueStruct, frozen=True):
    wire_type: ClassVar[str] = "handoff.failed"
    session: str
    reason: Literal["timeout", "media", "cancelled", "ended"]


class InvitationChanged(InvitationView, frozen=True):
    wire_type: ClassVar[str] = "invitation.changed"


@value(slots=True, frozen=True)
class LocalIceCandidates:
    """`ice.candidates` from the server: candidates of its own side of a leg."""

    wire_type: ClassVar[str] = "ice.candidates"
    leg: str
    neg: int
    ufrag: str
    candidates: tuple[IceCandidate, ...]
    end: bool


class RestartIce(ValueStruct, frozen=True):
    """`ice.restart` to the client: it is asked to offer with an ICE restart."""

    wire_type: ClassVar[str] = "ice.restart"
    leg: str


class MediaChanged(ValueStruct, frozen=True):
    wire_type: ClassVar[str] = "media.changed"
    session: str
    side: Literal["agent", "visitor"]
    camera: bool
    mic: bool
    facing: str
    orientation: int
    camera_state: str
    version: int

    @property
    def coalesce_key(self) -> tuple[str, ...]:
        return (self.wire_type, self.session, self.side)


class MediaGateChanged(ValueStruct, frozen=True):
    """`media.gate`: whether this device is live towards the other side, as the server enforces it."""

    wire_type: ClassVar[str] = "media.gate"
    session: str
    kind: str
    state: str
    since_at: int


class MediaQuality(ValueStruct, frozen=True):
    """`media.quality`: how good the way between this device and the server is; told when it changes.

    Attributes:
        score: 0 to 100.
        rtt_ms, loss: round trip, and the share of packets that are lost on the worse way, 0 to 1.
        kbps: what the way to the device carries.
    """

    wire_type: ClassVar[str] = "media.quality"
    session: str
    score: int
    rtt_ms: float
    loss: float
    kbps: float

    @property
    def coalesce_key(self) -> tuple[str, ...]:
        return (self.wire_type, self.session)


class RecordingChanged(ValueStruct, frozen=True):
    """`recording.changed`: whether the call is recorded from now on; before the first frame is written."""

    wire_type: ClassVar[str] = "recording.changed"
    session: str
    on: bool
    by: Literal["agent", "supervisor", "system"]


class PresenceChanged(ChannelStatus, frozen=True):
    wire_type: ClassVar[str] = "presence.changed"

    @property
    def coalesce_key(self) -> tuple[str, ...]:
        return (self.wire_type, self.agent, self.channel)


class ConversationChanged(ConversationView, frozen=True):
    wire_type: ClassVar[str] = "conversation.changed"

    @property
    def coalesce_key(self) -> tuple[str, ...]:
        return (self.wire_type, self.conversation)


class ConversationRemoved(ValueStruct, frozen=True):
    wire_type: ClassVar[str] = "conversation.removed"
    conversation: str
    why: str


@value(slots=True, frozen=True)
class ConversationMessage:
    wire_type: ClassVar[str] = "conversation.message"
    conversation: str
    message: str
    from_: Literal["agent", "visitor", "system"]
    notify: bool
    sent_at: int
    text: str | None = None
    attachment_ref: str | None = None
    name: str | None = None


class ConversationReminder(ValueStruct, frozen=True):
    wire_type: ClassVar[str] = "conversation.reminder"
    conversation: str
    kind: str
    n: int


class DeviceChanged(ValueStruct, frozen=True):
    wire_type: ClassVar[str] = "device.changed"
    devices: tuple[DeviceView, ...]


#: Those of which a newer one may replace an older one.
COALESCED: Final = (ConversationChanged, PresenceChanged, MediaChanged, MediaQuality)

Notification: TypeAlias = (
    CallState
    | RingOffer
    | RingEnded
    | CallAccepted
    | CallActive
    | CallPeer
    | CallEnded
    | HandoffStarted
    | HandoffSuggested
    | HandoffMoved
    | HandoffFailed
    | InvitationChanged
    | LocalIceCandidates
    | RestartIce
    | MediaChanged
    | MediaGateChanged
    | MediaQuality
    | RecordingChanged
    | PresenceChanged
    | ConversationChanged
    | ConversationRemoved
    | ConversationMessage
    | ConversationReminder
    | DeviceChanged
)
