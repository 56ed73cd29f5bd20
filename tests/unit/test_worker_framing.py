"""Messages on the stream between a server and a media process, and what is not one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from triortc.engine.calls.call_recording import RecordingConfiguration
from triortc.engine.calls.leg_configuration import MediaConfiguration
from triortc.engine.calls.media_events import LegFailed, LegQuality, OfferAnswered, RecordingStopped
from triortc.engine.relay.gate import GateState, GateStatistics
from triortc.engine.workers.configuration import WorkerConfiguration
from triortc.engine.workers.framing import FrameReader, frame
from triortc.engine.workers.messages import (
    Configure,
    Happened,
    SetGate,
    Status,
    decode_event,
    decode_report,
    decode_request,
    encode,
    happened,
)
from triortc.errors import ConfigurationError, ProtocolError


@given(st.lists(st.binary(min_size=1, max_size=50), max_size=8), st.lists(st.integers(1, 20), min_size=1, max_size=20))
def test_messages_come_out_whole_and_in_order_however_the_stream_is_cut(messages: list[bytes], cuts: list[int]) -> None:
    stream = b"".join(frame(message, 50) for message in messages)
    reader = FrameReader(50)
    found: list[bytes] = []
    at = n = 0
    while at < len(stream):
        size = cuts[n % len(cuts)]
        found += reader.receive(stream[at : at + size])
        at, n = at + size, n + 1
    assert found == messages
    assert reader.between_messages


@pytest.mark.parametrize("length", [0, 51, 1 << 24, (1 << 32) - 1])
def test_a_length_that_is_not_allowed_is_refused_before_anything_is_kept(length: int) -> None:
    with pytest.raises(ProtocolError, match="announced"):
        FrameReader(50).receive(length.to_bytes(4, "big"))


def test_a_message_that_is_empty_or_too_long_is_not_sent() -> None:
    for message in (b"", bytes(51)):
        with pytest.raises(ProtocolError):
            frame(message, 50)


@given(st.binary(max_size=200))
def test_bytes_that_are_no_message_raise_protocol_error_and_nothing_else(data: bytes) -> None:
    for decode in (decode_request, decode_report):
        try:
            decode(data)
        except ProtocolError:
            pass
    try:
        decode_event(Happened("LegUp", msgspec.Raw(data)))
    except ProtocolError:
        pass


@given(st.integers(0, 10_000), st.integers(0, 255))
def test_a_message_with_one_wrong_byte_is_read_or_refused(place: int, value: int) -> None:
    data = bytearray(encode(Configure(MediaConfiguration())))
    data[place % len(data)] = value
    try:
        decode_request(bytes(data))
    except (ProtocolError, ConfigurationError):
        pass


def test_a_configuration_travels_whole() -> None:
    media = replace(MediaConfiguration(), recording=RecordingConfiguration(directory=Path("/var/recordings")))
    assert decode_request(encode(Configure(media))) == Configure(media)


@pytest.mark.parametrize("message", [SetGate("s", "l", "video", GateState.OPEN, 3)])
def test_requests_travel_as_they_are(message: SetGate) -> None:
    assert decode_request(encode(message)) == message


def test_statistics_travel_as_they_are() -> None:
    status = Status({"legs.open": 1}, {"l": {"video": GateStatistics(forwarded=7)}})
    assert decode_report(encode(status)) == status


@pytest.mark.parametrize(
    "event",
    [
        LegFailed("l", "why"),
        OfferAnswered("l", 2, "v=0"),
        RecordingStopped("s", "r", "the disk is full"),
        LegQuality(*(1 if n else "l" for n in range(len(LegQuality.__dataclass_fields__)))),  # type: ignore[arg-type]  # texts and 1s will do
    ],
    ids=lambda event: type(event).__name__,
)
def test_every_media_event_travels_as_it_is(event: LegFailed | OfferAnswered | RecordingStopped | LegQuality) -> None:
    message = decode_report(encode(happened(event)))
    assert isinstance(message, Happened)
    assert decode_event(message) == event


def test_an_event_that_nobody_knows_is_refused() -> None:
    with pytest.raises(ProtocolError, match="no media event"):
        decode_event(Happened("SystemExit", msgspec.Raw(b"\x80")))


def test_a_name_of_the_future_is_refused_and_a_field_of_the_future_ignored() -> None:
    known = msgspec.msgpack.decode(encode(SetGate("s", "l", "audio", GateState.MUTED, 1)))
    assert decode_request(msgspec.msgpack.encode({**known, "colour": "blue"})) == SetGate(
        "s", "l", "audio", GateState.MUTED, 1
    )
    with pytest.raises(ProtocolError):
        decode_request(msgspec.msgpack.encode({"t": "FlyToTheMoon"}))


@pytest.mark.parametrize("wrong", [{"count": -1}, {"request_timeout_s": 0.0}, {"silence_timeout_s": 1.5}])
def test_a_configuration_that_makes_no_sense_is_refused_in_words(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigurationError, match=r"workers\."):
        WorkerConfiguration(**wrong)  # type: ignore[arg-type]  # wrong values are the point
