"""What call control asks the shell to do, and in which order.

The order inside one step is fixed: gates close first, then the reply, then those who lost, then the other side, then
presence, then history; gates open last.
"""

from __future__ import annotations

from enum import IntEnum
from typing import TypeAlias

from triortc.engine.calls.actor import DeviceAddress
from triortc.engine.calls.call_events import CallEvent
from triortc.engine.calls.commands import IceCandidate
from triortc.engine.calls.gate_table import GateState
from triortc.engine.calls.notifications import ConversationMessage, InvitationRecord, Notification, SessionRecord
from triortc.engine.calls.ports import Kind, Side, View
from triortc.engine.calls.push_values import Push
from triortc.engine.calls.replies import Reply
from triortc.engine.calls.value import value

__all__ = [
    "AddCandidates",
    "AnswerOffer",
    "AppendHistory",
    "AppendInvitation",
    "CloseLeg",
    "Effect",
    "KeepMessage",
    "Notify",
    "OpenLeg",
    "Order",
    "RemoveDevice",
    "ReplyTo",
    "Report",
    "RequestKeyframe",
    "SendPush",
    "SessionEnded",
    "SessionStarted",
    "SetGate",
    "SetSource",
    "SetView",
    "StartRecording",
    "StopRecording",
]


class Order(IntEnum):
    """The place of an effect inside its step."""

    LIFETIME = 0
    CLOSE_GATES = 1
    LEGS = 2
    REPLY = 3
    LOSERS = 4
    OTHER_SIDE = 5
    CONVERSATION = 6
    PRESENCE = 7
    HISTORY = 8
    OPEN_GATES = 9
    RELEASE = 10


@value(slots=True, frozen=True)
class SessionStarted:
    """Open a nursery for this session."""

    session: str


@value(slots=True, frozen=True)
class SessionEnded:
    """Close the session's media and its nursery."""

    session: str


@value(slots=True, frozen=True)
class OpenLeg:
    session: str
    leg: str
    side: Side


@value(slots=True, frozen=True)
class CloseLeg:
    session: str
    leg: str


@value(slots=True, frozen=True)
class SetGate:
    session: str
    leg: str
    kind: Kind
    state: GateState
    epoch: int


@value(slots=True, frozen=True)
class SetSource:
    session: str
    side: Side
    leg: str


@value(slots=True, frozen=True)
class SetView:
    """How large this leg's device shows the other side."""

    session: str
    leg: str
    view: View


@value(slots=True, frozen=True)
class RequestKeyframe:
    session: str
    leg: str


@value(slots=True, frozen=True)
class StartRecording:
    session: str
    recording: str


@value(slots=True, frozen=True)
class StopRecording:
    session: str


@value(slots=True, frozen=True)
class AnswerOffer:
    """Answer the client's offer; the answer goes into the reply that follows."""

    session: str
    leg: str
    neg: int
    sdp: str


@value(slots=True, frozen=True)
class AddCandidates:
    session: str
    leg: str
    neg: int
    ufrag: str
    candidates: tuple[IceCandidate, ...]
    end: bool


@value(slots=True, frozen=True)
class ReplyTo:
    """The reply to the command that is being handled."""

    reply: Reply


@value(slots=True, frozen=True)
class Notify:
    address: DeviceAddress
    notification: Notification


@value(slots=True, frozen=True)
class RemoveDevice:
    """End a device's connection; it may not resume."""

    address: DeviceAddress


@value(slots=True, frozen=True)
class SendPush:
    """Hand a push to the gateways, now."""

    push: Push


@value(slots=True, frozen=True)
class Report:
    """Tell those who watch the engine from outside."""

    event: CallEvent


@value(slots=True, frozen=True)
class AppendHistory:
    record: SessionRecord


@value(slots=True, frozen=True)
class AppendInvitation:
    record: InvitationRecord


@value(slots=True, frozen=True)
class KeepMessage:
    """A message that was accepted is kept with its conversation."""

    org: str
    message: ConversationMessage


Effect: TypeAlias = (
    SessionStarted
    | SessionEnded
    | OpenLeg
    | CloseLeg
    | SetGate
    | SetSource
    | SetView
    | RequestKeyframe
    | StartRecording
    | StopRecording
    | AnswerOffer
    | AddCandidates
    | ReplyTo
    | Notify
    | SendPush
    | RemoveDevice
    | Report
    | AppendHistory
    | AppendInvitation
    | KeepMessage
)
