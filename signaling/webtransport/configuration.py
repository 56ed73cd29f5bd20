"""The numbers of WebTransport, each with its default and its unit."""

from __future__ import annotations

from dataclasses import dataclass

from triortc.configuration_kinds import require_kinds
from triortc.errors import ConfigurationError
from triortc.signaling.wire import MAX_MESSAGE_BYTES

__all__ = ["WebTransportConfiguration"]


@dataclass(frozen=True, slots=True)
class WebTransportConfiguration:
    """Limits and timers of WebTransport.

    Attributes:
        host: the IP address to bind; None: the one of HTTP.
        port: the UDP port; None: the number of the HTTP port, which makes the origin of our pages the same.
        stream_window_bytes: what a client may send on the stream of messages before we have read it.
        connection_window_bytes: the same for all streams of a connection together.
        max_streams: streams that a client may open, of each kind; we use two, HTTP/3 three more.
        unsent_bytes: what may wait in a connection to be sent and acknowledged before `send` waits.
        queued_datagrams: datagrams that wait for the task of one connection; more are dropped, QUIC repeats them.
        max_connections, max_connections_per_address: QUIC connections at a time; further ones get no answer.
        max_unvalidated: connections whose handshake is not done.
        retry_above_unvalidated: from so many on a new client has to show first that it receives what we send to its
            address (Retry, RFC 9000 section 8.1.2); 0: always.
        handshake_timeout_s: time from a connection's first datagram to its WebTransport session.
        idle_timeout_s: silence after which QUIC gives a connection up.
        linger_s: how long a close waits for the client to have read the last message.
        socket_buffer_bytes: of the UDP socket, each direction.
    """

    host: str | None = None
    port: int | None = None
    stream_window_bytes: int = 256 * 1024
    connection_window_bytes: int = 512 * 1024
    max_streams: int = 16
    unsent_bytes: int = 64 * 1024
    queued_datagrams: int = 512
    max_connections: int = 10_000
    max_connections_per_address: int = 1_000
    max_unvalidated: int = 1_000
    retry_above_unvalidated: int = 100
    handshake_timeout_s: float = 10.0
    idle_timeout_s: float = 60.0
    linger_s: float = 1.0
    socket_buffer_bytes: int = 1024 * 1024

    def __post_init__(self) -> None:
        require_kinds(self)
        if self.port is not None and not 0 <= self.port <= 65535:
            raise ConfigurationError(f"webtransport.port is {self.port}; choose 0 to 65535, or leave it out")
        if self.stream_window_bytes < MAX_MESSAGE_BYTES + 4:
            raise ConfigurationError(
                f"stream_window_bytes: a message of {MAX_MESSAGE_BYTES} bytes and its length have to fit"
            )
        if self.connection_window_bytes < self.stream_window_bytes:
            raise ConfigurationError("connection_window_bytes: not less than stream_window_bytes")
        if not 6 <= self.max_streams <= 1000:
            raise ConfigurationError("max_streams: from 6 (what HTTP/3 and the protocol need) to 1000")
        if min(self.queued_datagrams, self.max_connections, self.max_connections_per_address, self.max_unvalidated) < 1:
            raise ConfigurationError("limits of datagrams and connections start at 1")
