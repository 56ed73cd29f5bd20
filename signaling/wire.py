"""The messages of `triortc.v1`: one UTF-8 JSON object each, `{t, id | re | seq, at, p}`.

Three kinds travel. A command (it has an `id`) is answered by exactly one reply, `ok` or `err` (they have `re`). An
event (it has a `seq`) tells a device something and is acknowledged cumulatively. A signal has neither. The envelope is
decoded first and the payload by its type's table, so that a message with a bad payload can still be answered by its id.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, fields, is_dataclass
from types import NoneType
from typing import Annotated, Any, Final, Literal, TypeAlias

import msgspec
from msgspec import Meta

from triortc.errors import ProtocolError
from triortc.signaling.wire_commands import COMMANDS, Command
from triortc.signaling.wire_events import EVENTS, Event, Snapshot
from triortc.signaling.wire_values import Count, Device, Id, Payload, Secret, Token, Words

__all__ = [
    "COMMANDS",
    "EVENTS",
    "MAX_MESSAGE_BYTES",
    "PROTOCOL",
    "SIGNALS_FROM_CLIENT",
    "Ack",
    "Bye",
    "Error",
    "Hello",
    "Incoming",
    "Limits",
    "Message",
    "Ping",
    "Pong",
    "QualityThresholds",
    "Resume",
    "Signal",
    "Welcome",
    "WireError",
    "decode_message",
    "encode_error",
    "encode_event",
    "encode_message",
    "encode_payload",
    "encode_reply",
    "encode_signal",
    "parse_incoming",
    "plain",
]

PROTOCOL: Final = "triortc.v1"
MAX_MESSAGE_BYTES: Final = 65_536


class WireError(ProtocolError):
    """A message breaks the protocol.

    Attributes:
        code: the stable code of the error reply.
        reply_to: the `id` of the command, `"hello"`, or None where the message could not be read that far.
    """

    def __init__(self, code: str, message: str, *, reply_to: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.reply_to = reply_to


# --- signals


class Resume(Payload, frozen=True):
    """The signaling session that a client wants back, and the last event it has seen."""

    session: Id
    token: Secret
    last_seq: Count


class Hello(Payload, frozen=True):
    """The first message of a client."""

    token: Token
    device: Device
    resume: Resume | None = None
    features: Words = ()


class Ping(Payload, frozen=True):
    """A question for a sign of life."""

    n: Count = 0


class Pong(Payload, frozen=True):
    """The answer to `ping`, with its number."""

    n: Count = 0


class Ack(Payload, frozen=True):
    """Every event up to `seq` has been processed."""

    seq: Count


class Bye(Payload, frozen=True):
    """A clean end. The session stays resumable unless the code is 4000."""

    code: Count = 4000
    reason: Annotated[str, Meta(max_length=1024)] = ""


class RateLimit(Payload, frozen=True):
    """The token bucket of commands."""

    burst: int
    per_s: float


class Limits(Payload, frozen=True):
    """What the server accepts."""

    max_message: int
    max_inflight: int
    rate: RateLimit


class QualityThresholds(Payload, frozen=True):
    """When `media.quality` is worth a hint: below `weak_score`, and then until `good_score` is reached."""

    weak_score: int
    good_score: int


class Welcome(Payload, frozen=True):
    """The answer to `hello`. `snapshot` is present exactly when `resumed` is false."""

    session: str
    resume_token: str
    resumed: bool
    p: str
    node: str
    hb_ms: int
    limits: Limits
    quality: QualityThresholds
    caps: tuple[str, ...]
    ice_servers: tuple[dict[str, Any], ...]
    snapshot: Snapshot | None = None


class Error(Payload, frozen=True):
    """The payload of `err`."""

    code: str
    message: str
    retryable: bool
    retry_after_ms: int | None = None
    details: dict[str, Any] = msgspec.field(default_factory=dict)


Signal: TypeAlias = Hello | Ping | Pong | Ack | Bye

SIGNALS_FROM_CLIENT: Final[Mapping[str, type[Signal]]] = {
    "hello": Hello,
    "ping": Ping,
    "pong": Pong,
    "ack": Ack,
    "bye": Bye,
}


# --- decoding


class _Envelope(msgspec.Struct, frozen=True):
    t: Annotated[str, Meta(min_length=1, max_length=64)]
    id: Id | None = None
    p: msgspec.Raw = msgspec.Raw(b"{}")


class _LooseEnvelope(msgspec.Struct, frozen=True):
    t: Any = None
    id: Any = None


_ENCODER: Final = msgspec.json.Encoder()
_ENVELOPES: Final = msgspec.json.Decoder(_Envelope)
_COMMAND_DECODERS: Final = {t: msgspec.json.Decoder(payload) for t, payload in COMMANDS.items()}
_SIGNAL_DECODERS: Final = {t: msgspec.json.Decoder(payload) for t, payload in SIGNALS_FROM_CLIENT.items()}


@dataclass(frozen=True, slots=True)
class Incoming:
    """One message of a client, validated.

    Attributes:
        type: the message type.
        id: the command's id; None for a signal.
        payload: the command's or the signal's payload.
    """

    type: str
    id: str | None
    payload: Command | Signal

    @property
    def content(self) -> bytes:
        """What the message says, in one form for equal messages: two commands with one id must not differ in it."""
        return self.type.encode() + b"\n" + _ENCODER.encode(self.payload)


def parse_incoming(data: bytes, *, max_bytes: int = MAX_MESSAGE_BYTES) -> Incoming:
    """Parse and validate one message from a client.

    Args:
        data: the message as it came from the transport.
        max_bytes: the largest message that is looked at.

    Raises:
        WireError: `proto.too_large`, `proto.malformed` or `proto.unknown_type`; nothing else whatever the bytes are.
    """
    if len(data) > max_bytes:
        raise WireError("proto.too_large", f"a message may have {max_bytes} bytes, this one has {len(data)}")
    reply_to: str | None = None
    try:
        data.decode("utf-8")  # strings inside ignored fields are not looked at by the decoder
        envelope = _ENVELOPES.decode(data)
        reply_to = "hello" if envelope.t == "hello" else envelope.id
        if envelope.t in _SIGNAL_DECODERS and (envelope.id is None or envelope.t == "hello"):
            return Incoming(envelope.t, None, _SIGNAL_DECODERS[envelope.t].decode(envelope.p))
        decoder = _COMMAND_DECODERS.get(envelope.t)
        if decoder is None:
            raise WireError("proto.unknown_type", f"no command {envelope.t!r} in {PROTOCOL}", reply_to=reply_to)
        if envelope.id is None:
            raise WireError("proto.malformed", f"{envelope.t!r} is a command and needs an id")
        return Incoming(envelope.t, envelope.id, decoder.decode(envelope.p))
    except msgspec.ValidationError as error:
        over_a_limit = "of length <=" in str(error)
        code = "proto.too_large" if over_a_limit and reply_to is not None else "proto.malformed"
        raise WireError(code, str(error), reply_to=reply_to or _id_of(data)) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise WireError("proto.malformed", _sentence(error), reply_to=reply_to) from None


def _id_of(data: bytes) -> str | None:
    """The id of a message whose envelope is not valid, where it can be read."""
    try:
        loose = msgspec.json.decode(data, type=_LooseEnvelope)
    except (msgspec.DecodeError, RecursionError):
        return None
    if loose.t == "hello":
        return "hello"
    return loose.id if isinstance(loose.id, str) and 0 < len(loose.id) <= 64 else None


def _sentence(error: Exception) -> str:
    return "nested too deep" if isinstance(error, RecursionError) else str(error)


# --- encoding


#: These are the same in JSON.
_AS_IT_IS: Final = frozenset({str, int, bool, NoneType})
_RENDERINGS: Final[dict[type, Callable[[Any], Any]]] = {}


def plain(value: object) -> Any:
    """Turn the values of call control into what JSON holds.

    Dataclasses, named tuples and structs become objects. A field whose default is None and whose value is None is left
    out; `from_` becomes `from`; a float that JSON cannot hold becomes null.
    """
    kind = type(value)
    if kind in _AS_IT_IS:
        return value
    rendering = _RENDERINGS.get(kind)
    if rendering is None:
        rendering = _RENDERINGS[kind] = _rendering(kind)
    return rendering(value)


def _rendering(kind: type) -> Callable[[Any], Any]:
    """How values of one type are turned into what JSON holds."""
    if issubclass(kind, (str, int)):
        return _same
    if issubclass(kind, float):
        return _finite
    if issubclass(kind, msgspec.Struct):
        return _of_struct(kind)
    if is_dataclass(kind):
        return _of_dataclass(kind)
    if issubclass(kind, Mapping):
        return lambda value: {str(key): plain(item) for key, item in value.items()}
    if issubclass(kind, tuple) and hasattr(kind, "_asdict"):
        return lambda value: {key: told for key, item in value._asdict().items() if (told := plain(item)) is not None}
    if issubclass(kind, (set, frozenset)):
        return lambda value: [plain(item) for item in sorted(value, key=str)]
    if issubclass(kind, (tuple, list)):
        return lambda value: [plain(item) for item in value]
    return str


def _same(value: Any) -> Any:
    return value


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _of_struct(kind: type[msgspec.Struct]) -> Callable[[Any], dict[str, Any]]:
    """As the encoder writes it, for what is not encoded at once."""
    known = tuple((field.name, field.encode_name, field.default) for field in msgspec.structs.fields(kind))
    omit = kind.__struct_config__.omit_defaults

    def render(value: Any) -> dict[str, Any]:
        items = [(name, getattr(value, attribute), default) for attribute, name, default in known]
        return {name: plain(item) for name, item, default in items if not (omit and item is default)}

    return render


def _of_dataclass(kind: Any) -> Callable[[Any], dict[str, Any]]:
    """Each field has its name, its name on the wire, and whether it is there even if it is None."""
    known = tuple((field.name, field.name.rstrip("_"), field.default is MISSING) for field in fields(kind))

    def render(value: Any) -> dict[str, Any]:
        made: dict[str, Any] = {}
        for attribute, name, required in known:
            item = getattr(value, attribute)
            if item is not None:
                made[name] = item if type(item) in _AS_IT_IS else plain(item)
            elif required:
                made[name] = None
        return made

    return render


def _told(payload: object) -> object:
    """A payload as the encoder takes it: structs know themselves how they look as JSON."""
    return payload if isinstance(payload, (msgspec.Struct, msgspec.Raw)) else plain(payload)


def encode_payload(payload: object) -> msgspec.Raw:
    """Encode a payload by itself, for an event that several devices are told."""
    return msgspec.Raw(_ENCODER.encode(_told(payload)))


def encode_signal(t: str, payload: Payload, *, at_ms: int | None = None) -> bytes:
    """Encode a signal; the server adds `at`, unix milliseconds."""
    message: dict[str, Any] = {"t": t}
    if at_ms is not None:
        message["at"] = at_ms
    message["p"] = payload
    return _ENCODER.encode(message)


def encode_event(t: str, payload: object, *, seq: int, at_ms: int) -> bytes:
    """Encode an event: its type, its number in the signaling session, the wall clock in unix ms."""
    return _ENCODER.encode({"t": t, "seq": seq, "at": at_ms, "p": _told(payload)})


def encode_reply(re: str, payload: object, *, at_ms: int) -> bytes:
    """Encode `ok` for the command `re`."""
    return _ENCODER.encode({"t": "ok", "re": re, "at": at_ms, "p": _told(payload)})


def encode_error(
    re: str | None,
    code: str,
    message: str,
    *,
    at_ms: int,
    retryable: bool = False,
    retry_after_ms: int | None = None,
    details: Mapping[str, object] | None = None,
) -> bytes:
    """Encode `err` for the command `re` (None: for a message whose id could not be read)."""
    payload: dict[str, Any] = {"code": code, "message": message, "retryable": retryable}
    if retry_after_ms is not None:
        payload["retry_after_ms"] = retry_after_ms
    payload["details"] = plain(details or {})
    envelope: dict[str, Any] = {"t": "err", "at": at_ms, "p": payload}
    if re is not None:
        envelope["re"] = re
    return _ENCODER.encode(envelope)


# --- the client's side


class Message(msgspec.Struct, frozen=True):
    """One message of the server as a client reads it; `p` is plain JSON."""

    t: str
    p: dict[str, Any] = {}
    seq: int | None = None
    re: str | None = None
    at: int | None = None

    @property
    def kind(self) -> Literal["event", "reply", "signal"]:
        """What this is, by its fields."""
        return "event" if self.seq is not None else "reply" if self.t in ("ok", "err") else "signal"

    def event(self) -> Event | None:
        """The payload as its struct; None for an event that this version does not know.

        Raises:
            WireError: the payload is not what the protocol says.
        """
        payload = EVENTS.get(self.t)
        if payload is None:
            return None
        try:
            return msgspec.convert(self.p, payload)
        except msgspec.ValidationError as error:
            raise WireError("proto.malformed", f"{self.t}: {error}") from None


_MESSAGES: Final = msgspec.json.Decoder(Message)


def decode_message(data: bytes) -> Message:
    """Decode a message of the server.

    Raises:
        WireError: it is no message.
    """
    try:
        return _MESSAGES.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise WireError("proto.malformed", _sentence(error)) from None


def encode_message(t: str, payload: object, *, id: str | None = None) -> bytes:
    """Encode a client's message: a command with its id, or a signal without."""
    message: dict[str, Any] = {"t": t}
    if id is not None:
        message["id"] = id
    message["p"] = plain(payload)
    return _ENCODER.encode(message)
