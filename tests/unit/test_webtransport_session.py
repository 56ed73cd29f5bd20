"""A WebTransport session without a network (call-control spec 3.1; draft-ietf-webtrans-http3, RFC 9000, RFC 9297)."""

from __future__ import annotations

import random

import pytest
from aioquic.buffer import encode_uint_var
from aioquic.h3.connection import H3Connection
from hypothesis import given, settings
from hypothesis import strategies as st

from support.webtransport_pair import CLIENT, STREAM_WINDOW_BYTES, Pair, lossy
from triortc.errors import ConfigurationError, ProtocolError
from triortc.signaling.webtransport.admission import Admission, admission_status
from triortc.signaling.webtransport.capsules import CapsuleParser, SessionClose, encode_close
from triortc.signaling.webtransport.configuration import WebTransportConfiguration
from triortc.signaling.webtransport.framing import MessageDecoder, encode_frame
from triortc.signaling.webtransport.session import (
    SessionClosed,
    SessionOpened,
    SessionRefused,
    SessionRequested,
    WebTransportSession,
)


def closes(pair: Pair) -> tuple[SessionClosed | None, SessionClosed | None]:
    """How the session ended for the client and for the server."""
    return pair.client.closed, pair.server.closed


def http(session: WebTransportSession) -> H3Connection:
    assert session._http is not None
    return session._http


# --- capsules


def test_rfc9297_3_2_a_close_capsule_survives_being_cut_anywhere() -> None:
    capsule = encode_close(4403, "the token has run out")
    assert capsule[:2] == b"\x68\x43"  # 0x2843 as a two-byte integer
    for cut in range(1, len(capsule)):
        parser = CapsuleParser()
        assert parser.feed(capsule[:cut]) is None
        assert parser.feed(capsule[cut:]) == SessionClose(4403, "the token has run out")


def test_rfc9297_3_2_capsules_of_unknown_types_are_passed_over_and_not_kept() -> None:
    parser = CapsuleParser()
    assert parser.feed(encode_uint_var(0x78AE) + encode_uint_var(0)) is None
    assert parser.feed(encode_uint_var(0x17) + encode_uint_var(1_000_000)) is None
    for _ in range(1000):
        assert parser.feed(b"x" * 1000) is None
        assert len(parser._buffer) == 0
    assert parser.feed(encode_close(7, "")) == SessionClose(7, "")


@pytest.mark.parametrize("length", [0, 3, 1029, 1 << 30])
def test_a_close_capsule_of_a_length_that_cannot_be_is_an_error(length: int) -> None:
    with pytest.raises(ProtocolError):
        CapsuleParser().feed(encode_uint_var(0x2843) + encode_uint_var(length))


def test_a_reason_that_is_not_utf8_is_an_error_and_ours_is_cut_between_characters() -> None:
    with pytest.raises(ProtocolError):
        CapsuleParser().feed(encode_uint_var(0x2843) + encode_uint_var(5) + b"\x00\x00\x00\x01\xff")
    close = CapsuleParser().feed(encode_close(1, "é" * 1000))
    assert close == SessionClose(1, "é" * 512)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.binary(max_size=40), max_size=20))
def test_no_bytes_make_the_capsule_parser_raise_anything_but_a_protocol_error(pieces: list[bytes]) -> None:
    parser = CapsuleParser()
    try:
        for piece in pieces:
            parser.feed(piece)
            assert len(parser._buffer) <= 4 + 1024 + 16
    except ProtocolError:
        pass


# --- framing


@settings(max_examples=100, deadline=None)
@given(st.lists(st.binary(max_size=300), max_size=8), st.integers(1, 64))
def test_3_1_messages_come_out_as_they_went_in_however_the_stream_is_cut(messages: list[bytes], step: int) -> None:
    stream = b"".join(map(encode_frame, messages))
    decoder = MessageDecoder(300)
    seen = []
    for start in range(0, len(stream), step):
        decoder.feed(stream[start : start + step])
        while (message := decoder.next_message()) is not None:
            seen.append(message)
    assert seen == messages
    assert len(decoder) == 0


def test_3_1_a_length_above_the_limit_is_refused_before_the_body_comes() -> None:
    decoder = MessageDecoder(65_536)
    decoder.feed(b"\x00\x01\x00\x00")
    assert decoder.next_message() is None
    decoder = MessageDecoder(65_536)
    decoder.feed(b"\x00\x01\x00\x01")
    with pytest.raises(ProtocolError, match="65537"):
        decoder.next_message()


# --- sessions


def test_3_1_a_client_asks_with_path_authority_and_origin_and_messages_go_both_ways() -> None:
    pair = Pair().open()
    request = next(event for event in pair.server_events if isinstance(event, SessionRequested))
    assert request == SessionRequested("server.example", "/v1/signal?p=triortc.v1", "https://page.example")
    assert SessionOpened() in pair.client_events
    assert pair.server.send_message(b'{"t":"welcome"}')
    assert pair.client.send_message(b"x" * 65_536)
    pair.run(1.0)
    assert pair.client.next_message() == b'{"t":"welcome"}'
    assert pair.server.next_message() == b"x" * 65_536
    assert pair.client.next_message() is None


def test_messages_stay_whole_and_in_order_when_a_fifth_of_the_datagrams_is_lost() -> None:
    pair = Pair(lost=lossy(5, 0.2))
    pair.run(20.0)
    sent = [f"message {number} ".encode() * 40 for number in range(60)]
    for message in sent:
        assert pair.client.send_message(message)
    pair.run(60.0)
    received = []
    while (taken := pair.server.next_message()) is not None:
        received.append(taken)
    assert received == sent


def test_3_7_a_client_that_is_not_read_is_stopped_at_its_window() -> None:
    pair = Pair().open()
    sent = 0
    while sent < 3_000_000:
        pair.client.send_message(b"y" * 60_000)
        sent += 60_004
    pair.run(20.0)
    waiting = len(pair.server._decoder)
    assert STREAM_WINDOW_BYTES // 2 < waiting <= STREAM_WINDOW_BYTES
    taken = 0
    for _ in range(200):
        while pair.server.next_message() is not None:
            taken += 1
        pair.run(0.5)
        assert len(pair.server._decoder) <= STREAM_WINDOW_BYTES
    assert taken == sent // 60_004


def test_3_1_further_streams_are_refused_and_the_session_goes_on() -> None:
    pair = Pair().open()
    session = pair.client._connect_stream
    assert session is not None
    for unidirectional in (False, True):
        stream = http(pair.client).create_webtransport_stream(session, is_unidirectional=unidirectional)
        pair.client_quic.send_stream_data(stream, b"not for you")
    pair.run(1.0)
    assert pair.server.counters.refused_streams == 2
    assert pair.client.send_message(b"still here")
    pair.run(1.0)
    assert pair.server.next_message() == b"still here"
    assert pair.server.closed is None


def test_3_1_datagrams_are_refused_and_the_session_goes_on() -> None:
    pair = Pair().open()
    assert pair.client._connect_stream is not None
    for _ in range(5):
        http(pair.client).send_datagram(pair.client._connect_stream, b"datagram")
    assert pair.client.send_message(b"still here")
    pair.run(1.0)
    assert pair.server.counters.refused_datagrams == 5
    assert pair.server.next_message() == b"still here"


def test_a_client_cannot_open_more_streams_than_it_was_given() -> None:
    pair = Pair().open()
    session = pair.client._connect_stream
    assert session is not None
    for _ in range(40):
        stream = http(pair.client).create_webtransport_stream(session)
        pair.client_quic.send_stream_data(stream, b"more")
    pair.run(2.0)
    assert len(pair.server_quic._streams) <= 2 * 16 + 8


def test_the_last_message_is_read_before_the_close_and_both_sides_see_its_code() -> None:
    pair = Pair().open()
    assert pair.server.send_message(b'{"t":"bye"}')
    pair.server.close(4403, "the token has run out", pair.now)
    pair.run(3.0)
    assert pair.client.next_message() == b'{"t":"bye"}'
    assert closes(pair) == (SessionClosed(4403, "the token has run out"),) * 2
    assert pair.server.terminated
    assert pair.client.terminated


def test_a_client_that_does_not_answer_a_close_is_waited_for_no_longer_than_the_linger() -> None:
    pair = Pair().open()
    began = pair.now
    pair.server.close(4010, "superseded", began)
    for _ in range(100):
        pair.run(0.05)
        pair._queue.clear()  # nothing of the client comes, and nothing reaches it
        if pair.server.terminated:
            break
    assert pair.server.terminated
    assert pair.now - began < 1.5
    assert pair.server.closed == SessionClosed(4010, "superseded")


def test_a_close_at_once_still_tells_its_code() -> None:
    pair = Pair().open()
    for datagram, _ in pair.server.abort(4008, "flow.slow_consumer", pair.now):
        pair.send(datagram, to_server=False)
    pair.run(1.0)
    assert pair.client.closed == SessionClosed(4008, "flow.slow_consumer")
    assert pair.server.terminated
    assert not pair.client.send_message(b"too late")


def test_a_clients_close_is_seen_with_its_code_and_no_code_is_a_normal_end() -> None:
    pair = Pair().open()
    pair.client.close(4000, "left", pair.now)
    pair.run(2.0)
    assert pair.server.closed is not None
    pair = Pair().open()
    assert pair.client._connect_stream is not None
    http(pair.client).send_data(pair.client._connect_stream, encode_close(4000, "left"), end_stream=True)
    pair.run(1.0)
    assert pair.server.closed == SessionClosed(4000, "left")
    pair = Pair().open()
    assert pair.client._connect_stream is not None
    http(pair.client).send_data(pair.client._connect_stream, b"", end_stream=True)
    pair.run(1.0)
    assert pair.server.closed == SessionClosed(1000, "")


def test_a_connection_that_just_ends_is_lost() -> None:
    pair = Pair().open()
    pair.client_quic.close(error_code=0x100)
    pair.run(1.0)
    assert pair.server.closed == SessionClosed(1006, "")
    pair = Pair().open()
    assert pair.client._message_stream is not None
    pair.client_quic.reset_stream(pair.client._message_stream, 0x10C)
    pair.run(1.0)
    assert pair.server.closed == SessionClosed(1006, "")


def test_silence_ends_a_connection_after_the_idle_timeout() -> None:
    pair = Pair().open()
    pair._lost = lambda: True
    pair.run(59.0)
    assert pair.server.closed is None
    pair.run(5.0)
    assert pair.server.closed is not None
    assert pair.server.closed.code == 1006
    assert pair.server.next_deadline() is None


def test_rfc9000_8_1_an_address_that_proved_nothing_gets_three_times_what_it_sent_at_most() -> None:
    pair = Pair()
    received = sent = 0
    for datagram, _ in pair.client.transmit(0.0):
        received += len(datagram)
        pair.server.receive(datagram, CLIENT, 0.0)
    now: float | None = 0.0
    while now is not None and now < 120.0:
        sent += sum(len(datagram) for datagram, _ in pair.server.transmit(now))
        now = pair.server.next_deadline()
        if now is not None:
            pair.server.handle_timeout(now)
    assert 0 < sent <= 3 * received


def test_a_refusal_is_an_http_status() -> None:
    pair = Pair(accept=False)
    pair.run(1.0)
    pair.server.refuse(403)
    pair.run(1.0)
    assert SessionRefused(403) in pair.client_events
    assert not pair.client.send_message(b"let me in")


def test_requests_that_are_no_session_are_answered_405_and_a_second_session_429() -> None:
    pair = Pair().open()
    get = [(b":method", b"GET"), (b":scheme", b"https"), (b":authority", b"server.example"), (b":path", b"/")]
    stream = pair.client_quic.get_next_available_stream_id()
    http(pair.client).send_headers(stream, get, end_stream=True)
    second = pair.client_quic.get_next_available_stream_id()
    http(pair.client).send_headers(second, pair.client._request)
    pair.run(1.0)
    assert [e.status for e in pair.client_events if isinstance(e, SessionRefused)] == [405, 429]
    assert pair.server.closed is None


def test_endless_requests_end_the_connection() -> None:
    pair = Pair().open()
    get = [(b":method", b"GET"), (b":scheme", b"https"), (b":authority", b"server.example"), (b":path", b"/")]
    for _ in range(9):
        http(pair.client).send_headers(pair.client_quic.get_next_available_stream_id(), get, end_stream=True)
    pair.run(1.0)
    assert pair.server.terminated


def test_a_capsule_that_breaks_the_rules_ends_the_session() -> None:
    pair = Pair().open()
    assert pair.client._connect_stream is not None
    http(pair.client).send_data(pair.client._connect_stream, b"\x68\x43\x01x", end_stream=False)
    pair.run(1.0)
    assert pair.server.terminated
    assert pair.server.counters.faults == 1


# --- strangers


@pytest.mark.parametrize("seed", range(12))
def test_flipped_bits_never_raise_and_never_change_a_message(seed: int) -> None:
    chance = random.Random(seed)

    def spoil(datagram: bytes) -> bytes:
        if chance.random() < 0.3:
            changed = bytearray(datagram)
            changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(8)
            return bytes(changed)
        return datagram

    pair = Pair(spoil=spoil)
    pair.run(10.0)
    sent = [bytes([number]) * 500 for number in range(20)]
    for message in sent:
        pair.client.send_message(message)
    pair.run(30.0)
    received = []
    while (taken := pair.server.next_message()) is not None:
        received.append(taken)
    assert received == sent[: len(received)]
    assert len(received) == len(sent) or pair.server.terminated or pair.client.closed is not None


@settings(max_examples=60, deadline=None)
@given(st.lists(st.binary(max_size=1300), max_size=6))
def test_strangers_datagrams_never_raise(datagrams: list[bytes]) -> None:
    pair = Pair()
    for datagram in datagrams:
        pair.server.receive(datagram, CLIENT, 0.0)
        pair.server.transmit(0.0)
    assert pair.server.counters.received_datagrams == len(datagrams)


@settings(max_examples=15, deadline=None)
@given(
    st.lists(st.binary(min_size=1, max_size=600), min_size=1, max_size=6),
    st.sampled_from(["capsules", "messages", "new"]),
)
def test_authentic_nonsense_never_raises_past_the_session(pieces: list[bytes], where: str) -> None:
    pair = Pair().open()
    assert pair.client._connect_stream is not None
    assert pair.client._message_stream is not None
    for piece in pieces:
        stream = {
            "capsules": pair.client._connect_stream,
            "messages": pair.client._message_stream,
            "new": pair.client_quic.get_next_available_stream_id(is_unidirectional=len(piece) % 2 == 0),
        }[where]
        if pair.client_quic.can_write(stream) or where == "new":
            pair.client_quic.send_stream_data(stream, piece)
    pair.run(1.0)
    try:
        while pair.server.next_message() is not None:
            pass
    except ProtocolError:
        pass
    pair.server.close(1000, "", pair.now)
    pair.run(3.0)
    assert pair.server.terminated


# --- who may come in


RULES = Admission("/v1/signal", ("127.0.0.1", "localhost"), 8080, "http", ("https://shop.example",))


@pytest.mark.parametrize(
    ("authority", "path", "origin", "status"),
    [
        ("127.0.0.1:8080", "/v1/signal?p=triortc.v1", None, 200),
        ("127.0.0.1:8443", "/v1/signal?p=triortc.v1", "http://127.0.0.1:8080", 200),
        ("localhost:8443", "/v1/signal?p=triortc.v2,triortc.v1", "https://shop.example", 200),
        ("localhost:8443", "/v1/signal?p=triortc.v2&p=triortc.v1", None, 200),
        ("localhost:8443", "/v1/signal?p=triortc.v2", None, 400),
        ("localhost:8443", "/v1/signal", None, 400),
        ("localhost:8443", "/elsewhere?p=triortc.v1", None, 404),
        ("evil.example", "/v1/signal?p=triortc.v1", None, 421),
        ("", "/v1/signal?p=triortc.v1", None, 421),
        ("localhost:8443", "/v1/signal?p=triortc.v1", "https://evil.example", 403),
        ("localhost:8443", "/v1/signal?p=triortc.v1", "http://localhost:9999", 403),
        ("localhost:8443", "/v1/signal?p=triortc.v1", "null", 403),
    ],
)
def test_3_1_and_3_8b_who_may_begin_a_session(authority: str, path: str, origin: str | None, status: int) -> None:
    assert admission_status(SessionRequested(authority, path, origin), RULES) == status


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=40), st.text(max_size=60), st.none() | st.text(max_size=40))
def test_no_request_makes_admission_raise(authority: str, query: str, origin: str | None) -> None:
    request = SessionRequested(authority, "/v1/signal?" + query, origin)
    assert admission_status(request, RULES) in (200, 400, 403, 421)
    RULES.is_foreign(request)


@pytest.mark.parametrize(
    "values",
    [{"stream_window_bytes": 1000}, {"connection_window_bytes": 70_000}, {"max_streams": 2}, {"max_connections": 0}],
    ids=str,
)
def test_a_configuration_that_makes_no_sense_is_refused(values: dict[str, int]) -> None:
    with pytest.raises(ConfigurationError):
        WebTransportConfiguration(**values)  # type: ignore[arg-type]  # int and float fields alike
