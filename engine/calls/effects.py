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
from triortc.engine.calls.history_records import InvitationRecord, SessionRecord
from triortc.engine.calls.notifications import ConversationMessage, Notification
from triortc.engine.calls.ports import Kind, Side, View
from triortc.engine.calls.push_values import Push
from triortc.engine.calls.replies import Reply
from triortc.engine.calls.value import ValueStruct

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


class SessionStarted(ValueStruct, frozen=True):
    """Open a nursery for this session."""

    session: str


class SessionEnded(ValueStruct, frozen=True):
    """Close the session's media and its nursery."""

    session: str


class OpenLeg(ValueStruct, frozen=True):
    session: str
    leg: str
    side: Side


class CloseLeg(ValueStruct, frozen=True):
    session: str
    leg: str


class SetGate(ValueStruct, frozen=True):
    session: str
    leg: str
    kind: Kind
    state: GateState
    epoch: int


class SetSource(ValueStruct, frozen=True):
    session: str
    side: Side
    leg: str


class SetView(ValueStruct, frozen=True):
    """How large this leg's device shows the other side."""

    session: str
    leg: str
    view: View


class RequestKeyframe(ValueStruct, frozen=True):
    session: str
    leg: str


class StartRecording(ValueStruct, frozen=True):
    session: str
    recording: str


class StopRecording(ValueStruct, frozen=True):
    session: str


class AnswerOffer(ValueStruct, frozen=True):
    """Answer the client's offer; the answer goes into the reply that follows."""

    session: str
    leg: str
    neg: int
    sdp: str


class AddCandidates(ValueStruct, frozen=True):
    session: str
    leg: str
    neg: int
    ufrag: str
    candidates: tuple[IceCandidate, ...]
    end: bool


class ReplyTo(ValueStruct, frozen=True):
    """The reply to the command that is being handled."""

    reply: Reply


class Notify(ValueStruct, frozen=True):
    address: DeviceAddress
    notification: Notification


class RemoveDevice(ValueStruct, frozen=True):
    """End a device's connection; it may not resume."""

    address: DeviceAddress


class SendPush(ValueStruct, frozen=True):
    """Hand a push to the gateways, now."""

    push: Push


class Report(ValueStruct, frozen=True):
    """Tell those who watch the engine from outside."""

    event: CallEvent


class AppendHistory(ValueStruct, frozen=True):
    record: SessionRecord


class AppendInvitation(ValueStruct, frozen=True):
    record: InvitationRecord


class KeepMessage(ValueStruct, frozen=True):
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
