"""One WebTransport session on one QUIC connection, either side (draft-ietf-webtrans-http3-02, RFC 9114, RFC 9297).

No I/O: datagrams and `now` go in; datagrams, events and the next deadline come out. The client opens the session by an
extended CONNECT and then one bidirectional stream; every message on it is a 32-bit length and JSON. Other streams and
datagrams are refused: they are reserved.

A close ends our side of the stream first, so that the peer reads the last message; when the peer has ended its own, or
`linger_s` later, the session is closed by a capsule with code and reason, and then the connection.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from aioquic.h3.connection import ErrorCode, H3Connection
from aioquic.h3.events import (
    DatagramReceived,
    DataReceived,
    H3Event,
    HeadersReceived,
    WebTransportStreamDataReceived,
)
from aioquic.quic.connection import stream_is_unidirectional
from aioquic.quic.events import (
    ConnectionIdIssued,
    ConnectionIdRetired,
    ConnectionTerminated,
    HandshakeCompleted,
    ProtocolNegotiated,
    QuicEvent,
    StopSendingReceived,
    StreamDataReceived,
    StreamReset,
)

from triortc.engine.address import Address
from triortc.errors import ProtocolError
from triortc.signaling.webtransport.capsules import CapsuleParser, encode_close
from triortc.signaling.webtransport.framing import MessageDecoder, encode_frame
from triortc.signaling.webtransport.quic import ReadPacedQuicConnection

__all__ = [
    "ConnectionIds",
    "SessionClosed",
    "SessionCounters",
    "SessionOpened",
    "SessionRefused",
    "SessionRequested",
    "WebTransportEvent",
    "WebTransportSession",
]

LOST: Final = 1006
NORMAL: Final = 1000
_DRAFT: Final = (b"sec-webtransport-http3-draft", b"draft02")
_MAX_RESPONSES: Final = 8


@dataclass(frozen=True, slots=True)
class SessionRequested:
    """A client asks for a session: `accept` or `refuse` it.

    Attributes:
        authority: the host and port that it names.
        path: with its query.
        origin: the page behind it; None: no browser.
    """

    authority: str
    path: str
    origin: str | None


@dataclass(frozen=True, slots=True)
class SessionOpened:
    """The server has accepted the session; to the client only."""


@dataclass(frozen=True, slots=True)
class SessionRefused:
    """The server has answered with this HTTP status; to the client only."""

    status: int


@dataclass(frozen=True, slots=True)
class SessionClosed:
    """No message comes any more. 1006: the connection just went away."""

    code: int
    reason: str


@dataclass(frozen=True, slots=True)
class ConnectionIds:
    """A connection id by which datagrams of this connection are known from now on, or not any more."""

    issued: bytes | None = None
    retired: bytes | None = None


WebTransportEvent = SessionRequested | SessionOpened | SessionRefused | SessionClosed | ConnectionIds


@dataclass(slots=True)
class SessionCounters:
    """What a connection has seen."""

    received_datagrams: int = 0
    faults: int = 0
    refused_streams: int = 0
    refused_datagrams: int = 0


class WebTransportSession:
    """The sans-I/O state of a QUIC connection and its WebTransport session.

    Args:
        quic: the connection below, not connected yet.
        max_message_bytes: the longest message that is taken from the peer.
        linger_s: how long a close waits for the peer to have read the last message.
    """

    def __init__(self, quic: ReadPacedQuicConnection, *, max_message_bytes: int, linger_s: float) -> None:
        self._quic = quic
        self._is_client = quic.configuration.is_client
        self._linger_s = linger_s
        self._http: H3Connection | None = None
        self._connect_stream: int | None = None
        self._message_stream: int | None = None
        self._accepted = False
        self._peer_finished = False
        self._responses = 0
        self._decoder = MessageDecoder(max_message_bytes)
        self._capsules = CapsuleParser()
        self._events: deque[WebTransportEvent] = deque()
        self._request: list[tuple[bytes, bytes]] = []
        self._closing: tuple[int, str] | None = None
        self._capsule_sent = False
        self._linger_until: float | None = None
        self._closed: SessionClosed | None = None
        self._broken = False
        self.counters = SessionCounters()

    # --- the client's beginning

    def connect(self, address: Address, *, authority: str, path: str, origin: str | None, now: float) -> None:
        """Begin the handshake; the session is asked for as soon as HTTP/3 is there."""
        self._request = [
            (b":method", b"CONNECT"),
            (b":scheme", b"https"),
            (b":authority", authority.encode()),
            (b":path", path.encode()),
            (b":protocol", b"webtransport"),
            (b"sec-webtransport-http3-draft02", b"1"),
        ]
        if origin is not None:
            self._request.append((b"origin", origin.encode()))
        self._quic.connect(address, now=now)

    # --- the server's answer

    def accept(self) -> bool:
        """Let the session begin; False: the client does not want the answer any more."""
        assert self._http is not None
        stream = self._connect_stream
        if stream is None or self._closed is not None or not self._quic.can_write(stream):
            return False  # a reset or a STOP_SENDING has come behind the request
        self._accepted = True
        self._http.send_headers(stream, [(b":status", b"200"), _DRAFT])
        return True

    def refuse(self, status: int) -> None:
        """Answer with an HTTP status; the client may ask again on this connection."""
        assert self._connect_stream is not None
        self._respond(self._connect_stream, status)
        self._connect_stream = None

    # --- datagrams and time

    @property
    def started(self) -> bool:
        """Whether a datagram that begins a connection has come."""
        return self._quic.started

    @property
    def address_is_validated(self) -> bool:
        """Whether the peer receives what is sent to its address."""
        return self._quic.address_is_validated

    @property
    def terminated(self) -> bool:
        """Whether nothing more is sent and nothing that comes means anything."""
        return self._broken or self._quic.ended

    def receive(self, datagram: bytes, address: Address, now: float) -> None:
        """Take one datagram. Whatever it holds, nothing is raised: a connection with a fault is ended."""
        self.counters.received_datagrams += 1
        with self._contained():
            self._quic.receive_datagram(datagram, address, now)
            self._handle_events(now)

    def handle_timeout(self, now: float) -> None:
        """The deadline has passed."""
        with self._contained():
            if self._linger_until is not None and now >= self._linger_until:
                self._linger_until = None
                if self._capsule_sent:
                    self._quic.close(error_code=ErrorCode.H3_NO_ERROR)
                else:
                    self._send_capsule(now)
            timer = self._quic.get_timer() if self._quic.started else None
            if timer is not None and now >= timer:
                self._quic.handle_timer(now)
            self._handle_events(now)

    def next_deadline(self) -> float | None:
        """When `handle_timeout` wants to be called."""
        timer = self._quic.get_timer() if not self.terminated and self._quic.started else None
        waiting = [moment for moment in (timer, self._linger_until) if moment is not None]
        return min(waiting, default=None)

    def transmit(self, now: float) -> list[tuple[bytes, Address]]:
        """The datagrams to send now, each with its destination."""
        datagrams: list[tuple[bytes, Address]] = []
        with self._contained():
            if self._quic.started:
                datagrams = self._quic.datagrams_to_send(now)
            if self._quic.ended:
                self._linger_until = None
                self._end(LOST, self._quic.end_reason)
        return datagrams

    @contextmanager
    def _contained(self) -> Generator[None]:
        """End this connection, and no other, where the library below meets what it does not handle."""
        try:
            yield
        except Exception:  # noqa: BLE001  # any error of a parser of strangers' bytes, whatever its class
            self.counters.faults += 1
            self._broken = True
            self._linger_until = None
            self._end(LOST, "the connection broke the protocol")

    def poll_event(self) -> WebTransportEvent | None:
        """The next event; None: there is no more."""
        return self._events.popleft() if self._events else None

    # --- messages

    def send_message(self, message: bytes) -> bool:
        """Write a message; False: the session is not open (any more)."""
        if not self._can_write():
            return False
        assert self._message_stream is not None
        self._quic.send_stream_data(self._message_stream, encode_frame(message))
        return True

    @property
    def unsent_bytes(self) -> int:
        """What is written and has not arrived, as far as is known."""
        stream = self._message_stream
        return 0 if stream is None or self.terminated else self._quic.unacknowledged_bytes(stream)

    def next_message(self) -> bytes | None:
        """Take the next message, and let the peer send as much more; None: none is whole.

        Raises:
            ProtocolError: the peer announced a message that is too long.
        """
        message = self._decoder.next_message()
        if message is not None and self._message_stream is not None and not self.terminated:
            self._quic.read(self._message_stream, len(encode_frame(b"")) + len(message))
        return message

    # --- closing

    @property
    def closed(self) -> SessionClosed | None:
        """How the session ended; None: it is open, or was not opened yet."""
        return self._closed

    def close(self, code: int, reason: str, now: float) -> None:
        """Close in order: our stream ends, the peer reads it, then the capsule tells the code."""
        if self._closing is not None or self.terminated:
            return
        self._closing = (code, reason)
        self._linger_until = now + self._linger_s
        if self._can_write():
            assert self._message_stream is not None
            self._quic.send_stream_data(self._message_stream, b"", end_stream=True)
        if self._peer_finished or self._message_stream is None:
            self._send_capsule(now)

    def abort(self, code: int, reason: str, now: float) -> list[tuple[bytes, Address]]:
        """Close at once, for a peer that does not read; a single flight tries to say why.

        Returns:
            The datagrams to send, the end of the connection last.
        """
        if self.terminated:
            return []
        if not self._capsule_sent:
            self._closing = (code, reason)
            with self._contained():
                self._send_capsule(now)
        datagrams = self.transmit(now)
        self._quic.close(error_code=ErrorCode.H3_NO_ERROR)
        return datagrams + self.transmit(now)

    def release(self) -> None:
        """Let go of the connection below, which is over: nothing is sent or understood any more."""
        self._end(LOST, "")
        self._broken = True
        self._http = None
        self._quic.release()

    def _can_write(self) -> bool:
        stream = self._message_stream
        return stream is not None and self._accepted and self._closed is None and self._quic.can_write(stream)

    def _send_capsule(self, now: float) -> None:
        code, reason = self._closing or (NORMAL, "")
        self._capsule_sent = True
        self._linger_until = now + self._linger_s
        stream = self._connect_stream
        if self._http is None or stream is None or not self._accepted or not self._quic.can_write(stream):
            self._quic.close(error_code=ErrorCode.H3_NO_ERROR)
        else:
            self._http.send_data(stream, encode_close(code, reason), end_stream=True)
        self._end(code, reason)

    def _end(self, code: int, reason: str) -> None:
        if self._closed is None:
            self._closed = SessionClosed(code, reason)
            self._events.append(self._closed)

    # --- what comes from the peer

    def _handle_events(self, now: float) -> None:
        lost = False
        while (event := self._quic.next_event()) is not None:
            match event:
                case ConnectionIdIssued(connection_id=issued):
                    self._events.append(ConnectionIds(issued=issued))
                case ConnectionIdRetired(connection_id=retired):
                    self._events.append(ConnectionIds(retired=retired))
                case ProtocolNegotiated():
                    self._http = H3Connection(self._quic, enable_webtransport=True)
                case HandshakeCompleted() if self._is_client:
                    self._ask()
                case ConnectionTerminated(reason_phrase=reason):
                    self._end(LOST, reason)
                case StreamReset(stream_id=stream) | StopSendingReceived(stream_id=stream):
                    lost = lost or stream in (self._message_stream, self._connect_stream)
                case StreamDataReceived(stream_id=stream, data=data, end_stream=ended) if (
                    self._is_client and stream == self._message_stream
                ):
                    # aioquic would read what comes on a WebTransport stream of our own as HTTP/3 frames.
                    self._take_messages(data, ended, now)
                    continue
                case _:
                    pass
            self._handle_http(event, now)
        if self._quic.ended:
            self._linger_until = None
            self._end(LOST, self._quic.end_reason)
        elif lost:
            # A browser that closes resets its stream and sends the capsule: both are usually there by now.
            self._peer_is_done(LOST, "", now)

    def _ask(self) -> None:
        assert self._http is not None
        self._connect_stream = self._quic.get_next_available_stream_id()
        self._http.send_headers(self._connect_stream, self._request)

    def _handle_http(self, event: QuicEvent, now: float) -> None:
        if self._http is None:
            return
        for received in self._http.handle_event(event):
            self._take(received, now)

    def _take(self, event: H3Event, now: float) -> None:
        match event:
            case HeadersReceived(stream_id=stream, headers=headers):
                if self._is_client:
                    self._answered(dict(headers))
                else:
                    self._asked(stream, dict(headers), event.stream_ended)
            case DataReceived(stream_id=stream, data=data, stream_ended=ended) if stream == self._connect_stream:
                self._take_capsules(data, ended, now)
            case WebTransportStreamDataReceived():
                self._take_bytes(event, now)
            case DatagramReceived():
                self.counters.refused_datagrams += 1
            case _:
                pass

    def _answered(self, headers: dict[bytes, bytes]) -> None:
        status = int(headers[b":status"])
        if not 200 <= status < 300:
            self._events.append(SessionRefused(status))
            return
        assert self._http is not None
        assert self._connect_stream is not None
        self._accepted = True
        self._message_stream = self._http.create_webtransport_stream(self._connect_stream)
        self._events.append(SessionOpened())

    def _asked(self, stream: int, headers: dict[bytes, bytes], ended: bool) -> None:
        if headers.get(b":method") != b"CONNECT" or headers.get(b":protocol") != b"webtransport" or ended:
            self._respond(stream, 405)
        elif self._connect_stream is not None:
            self._respond(stream, 429)  # one session a connection
        else:
            self._connect_stream = stream
            origin = headers.get(b"origin")
            self._events.append(
                SessionRequested(
                    authority=headers.get(b":authority", b"").decode("latin-1"),
                    path=headers.get(b":path", b"").decode("latin-1"),
                    origin=None if origin is None else origin.decode("latin-1"),
                )
            )

    def _respond(self, stream: int, status: int) -> None:
        assert self._http is not None
        self._responses += 1
        if self._responses > _MAX_RESPONSES:
            self._quic.close(error_code=ErrorCode.H3_EXCESSIVE_LOAD, reason_phrase="too many requests")
        elif self._quic.can_write(stream):
            self._http.send_headers(stream, [(b":status", str(status).encode())], end_stream=True)

    def _take_capsules(self, data: bytes, ended: bool, now: float) -> None:
        if self._connect_stream is not None:
            self._quic.read(self._connect_stream, len(data))
        try:
            close = self._capsules.feed(data)
        except ProtocolError as error:
            self.counters.faults += 1
            self._quic.close(error_code=ErrorCode.H3_MESSAGE_ERROR, reason_phrase=str(error))
            self._end(LOST, str(error))
            return
        if close is not None:
            self._peer_is_done(close.code or NORMAL, close.reason, now)
        elif ended:
            self._peer_is_done(NORMAL, "", now)

    def _take_bytes(self, event: WebTransportStreamDataReceived, now: float) -> None:
        stream = event.stream_id
        ours = self._accepted and event.session_id == self._connect_stream and not stream_is_unidirectional(stream)
        if ours and self._message_stream is None:
            self._message_stream = stream
        if ours and stream == self._message_stream:
            self._take_messages(event.data, event.stream_ended, now)
        else:
            self._refuse_stream(stream)

    def _take_messages(self, data: bytes, ended: bool, now: float) -> None:
        assert self._message_stream is not None
        if self._closed is None:
            self._decoder.feed(data)
        else:
            self._quic.read(self._message_stream, len(data))
        if not ended:
            return
        self._peer_finished = True
        if self._closing is not None:
            if not self._capsule_sent:
                self._send_capsule(now)
        elif self._is_client:
            # The server has written its last message; the capsule with the code follows our own end.
            self._linger_until = now + 4 * self._linger_s
            if self._can_write():
                self._quic.send_stream_data(self._message_stream, b"", end_stream=True)
        else:
            self._peer_is_done(NORMAL, "", now)  # a session that is open one way only is of no use

    def _refuse_stream(self, stream: int) -> None:
        """Streams but the one are reserved."""
        self.counters.refused_streams += 1
        self._quic.refuse_stream(stream, ErrorCode.H3_REQUEST_REJECTED)

    def _peer_is_done(self, code: int, reason: str, now: float) -> None:
        """The peer closed, or answered our close."""
        self._peer_finished = True
        if self._closing is not None and not self._capsule_sent:
            self._send_capsule(now)
            return
        self._end(code, reason)
        if self._capsule_sent:
            # It closes the connection itself now. Chromium answers our capsule before it has told the page of it, and a
            # connection that ends in between tells the page 'connection lost' instead of the code.
            return
        self._closing = (code, reason)
        stream = self._connect_stream
        self._capsule_sent = True
        self._linger_until = now + self._linger_s
        if self._http is not None and self._accepted and stream is not None and self._quic.can_write(stream):
            self._http.send_data(stream, b"", end_stream=True)
        else:
            self._quic.close(error_code=ErrorCode.H3_NO_ERROR)
