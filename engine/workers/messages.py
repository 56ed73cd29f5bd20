"""What a server and a media process say to each other: values only, so that the process may be on another machine.

A server sends `Request`s, first of all `Configure`; the process sends `Report`s, `Ready` or `Unusable` among the first.
Each is one MessagePack map with its name under `t`. Fields that are not known are ignored, missing ones have defaults
or are an error, so that either side may be the newer one.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path, PurePath
from types import MappingProxyType
from typing import Any, Final, TypeAlias, TypeVar, get_args

import msgspec

from triortc.codecs.registry import MediaKind
from triortc.engine.calls.leg_configuration import MediaConfiguration
from triortc.engine.calls.media_events import MediaEvent
from triortc.engine.calls.ports import Side, View
from triortc.engine.relay.gate import GateState, GateStatistics
from triortc.errors import ProtocolError

__all__ = [
    "AddCandidates",
    "AnswerOffer",
    "CloseLeg",
    "CloseSession",
    "Configure",
    "Happened",
    "Logged",
    "MeasureLatency",
    "OpenLeg",
    "Ready",
    "Report",
    "Request",
    "RequestKeyframe",
    "SetGate",
    "SetSource",
    "SetView",
    "SnapshotTaken",
    "StartRecording",
    "Status",
    "StopRecording",
    "TakeSnapshot",
    "Unusable",
    "decode_event",
    "decode_report",
    "decode_request",
    "encode",
    "happened",
]


class _Message(msgspec.Struct, frozen=True, tag_field="t", tag=True):
    pass


# -- from the server


class Configure(_Message, frozen=True):
    """The first message: what to be. Nothing of it is secret.

    Attributes:
        media: where to listen, what to negotiate, where to record.
        report_interval_s: how often to send `Status`.
        max_message_bytes, max_waiting_bytes: limits of this stream, see `WorkerConfiguration`.
        stop_timeout_s: how long to take at the end.
        log_level: the least that is worth a `Logged`, in numbers of Python's logging.
    """

    media: MediaConfiguration
    report_interval_s: float = 1.0
    max_message_bytes: int = 16 << 20
    max_waiting_bytes: int = 64 << 20
    stop_timeout_s: float = 5.0
    log_level: int = 30


class OpenLeg(_Message, frozen=True):
    """`MediaPort.open_leg`."""

    session: str
    leg: str
    side: Side


class AnswerOffer(_Message, frozen=True):
    """`MediaPort.answer`: `OfferAnswered` or `OfferRefused` comes back."""

    leg: str
    neg: int
    sdp: str


class AddCandidates(_Message, frozen=True):
    """`MediaPort.add_candidates`."""

    leg: str
    neg: int
    ufrag: str
    candidates: tuple[tuple[str, str], ...]
    end: bool


class SetGate(_Message, frozen=True):
    """`MediaPort.set_gate`."""

    session: str
    leg: str
    kind: MediaKind
    state: GateState
    epoch: int


class SetSource(_Message, frozen=True):
    """`MediaPort.set_source`."""

    session: str
    side: Side
    leg: str


class SetView(_Message, frozen=True):
    """`MediaPort.set_view`."""

    leg: str
    view: View


class RequestKeyframe(_Message, frozen=True):
    """`MediaPort.request_keyframe`."""

    leg: str


class CloseLeg(_Message, frozen=True):
    """`MediaPort.close_leg`."""

    leg: str


class CloseSession(_Message, frozen=True):
    """`MediaPort.close_session`."""

    session: str


class StartRecording(_Message, frozen=True):
    """`MediaPort.start_recording`."""

    session: str
    recording: str


class StopRecording(_Message, frozen=True):
    """`MediaPort.stop_recording`."""

    session: str


class TakeSnapshot(_Message, frozen=True):
    """A still of one side; `SnapshotTaken` with the same number comes back."""

    request: int
    session: str
    side: Side


class MeasureLatency(_Message, frozen=True):
    """`LegManager.measure_relay_latency`: what is measured comes with `Status`. `every_s` infinite: no longer."""

    every_s: float


Request: TypeAlias = (
    Configure
    | OpenLeg
    | AnswerOffer
    | AddCandidates
    | SetGate
    | SetSource
    | SetView
    | RequestKeyframe
    | CloseLeg
    | CloseSession
    | StartRecording
    | StopRecording
    | TakeSnapshot
    | MeasureLatency
)


# -- from the media process


class Ready(_Message, frozen=True):
    """It listens.

    Attributes:
        process: its number in its own machine.
        addresses: where, as (host, port).
        plane: what forwards packets, why, and what is missing, in words.
    """

    process: int
    addresses: tuple[tuple[str, int], ...]
    plane: dict[str, str]


class Unusable(_Message, frozen=True):
    """It cannot be what it was told to be, and ends. `configuration`: with these values it never will."""

    message: str
    configuration: bool


class Happened(_Message, frozen=True):
    """A media event, by the name of its type."""

    event: str
    fields: msgspec.Raw


class Status(_Message, frozen=True):
    """Every `report_interval_s`: totals since it began, gates of the legs that are open, what was measured since."""

    counters: dict[str, int]
    gates: dict[str, dict[MediaKind, GateStatistics]]
    latencies_s: tuple[float, ...] = ()


class SnapshotTaken(_Message, frozen=True):
    """The still as PNG; None: no picture came in time. `fault`: why there can be none, in words."""

    request: int
    png: bytes | None = None
    fault: str = ""


class Logged(_Message, frozen=True):
    """A line for the server's log."""

    logger: str
    level: int
    message: str


Report: TypeAlias = Ready | Unusable | Happened | Status | SnapshotTaken | Logged

_EVENTS: Final[Mapping[str, Any]] = {kind.__name__: kind for kind in get_args(MediaEvent)}
MessageT = TypeVar("MessageT")


def _encode_other(value: object) -> object:
    if isinstance(value, PurePath):
        return str(value)
    if isinstance(value, MappingProxyType):
        return dict(value)
    raise NotImplementedError(f"{type(value).__name__} is no value for a message")


def _decode_other(kind: type, value: object) -> object:
    if kind is Path and isinstance(value, str):
        return Path(value)
    raise NotImplementedError(f"{kind.__name__} is no value for a message")


_encoder: Final = msgspec.msgpack.Encoder(enc_hook=_encode_other)
_requests: Final[msgspec.msgpack.Decoder[Request]] = msgspec.msgpack.Decoder(Request, dec_hook=_decode_other)
_reports: Final[msgspec.msgpack.Decoder[Report]] = msgspec.msgpack.Decoder(Report, dec_hook=_decode_other)


def encode(message: Request | Report) -> bytes:
    """A message as bytes."""
    return _encoder.encode(message)


def decode_request(data: bytes) -> Request:
    """What the server says.

    Raises:
        ProtocolError: it is no request.
    """
    return _decoded(_requests, data)


def decode_report(data: bytes) -> Report:
    """What a media process says.

    Raises:
        ProtocolError: it is no report.
    """
    return _decoded(_reports, data)


def happened(event: MediaEvent) -> Happened:
    """An event as a message."""
    return Happened(type(event).__name__, msgspec.Raw(_encoder.encode(event)))


def decode_event(message: Happened) -> MediaEvent:
    """The event in a message.

    Raises:
        ProtocolError: there is no such event, or its fields are others.
    """
    kind = _EVENTS.get(message.event)
    if kind is None:
        raise ProtocolError(f"there is no media event {message.event!r}")
    try:
        event: MediaEvent = msgspec.msgpack.decode(message.fields, type=kind)
    except msgspec.MsgspecError as error:
        raise ProtocolError(f"{message.event}: {error}") from None
    return event


def _decoded(decoder: msgspec.msgpack.Decoder[MessageT], data: bytes) -> MessageT:
    try:
        return decoder.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, TypeError, ValueError) as error:
        raise ProtocolError(f"a message cannot be read: {error}") from None
