"""The numbers of the signaling room, each with its default and its unit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from triortc.configuration_kinds import require_kinds
from triortc.errors import ConfigurationError
from triortc.signaling.origin import require_origins
from triortc.signaling.turn_credentials import TurnConfiguration
from triortc.signaling.wire import MAX_MESSAGE_BYTES

__all__ = ["HttpConfiguration", "SignalingConfiguration"]


@dataclass(frozen=True, slots=True)
class SignalingConfiguration:
    """Limits and timers of signaling sessions.

    Attributes:
        hello_timeout_s: how long a new connection may take to say `hello`.
        token_check_timeout_s: how long the check of a token may take, for which keys may have to be fetched; then the
            answer is `server.unavailable`.
        heartbeat_ms, dead_after_s: interval of pings and the silence that ends a connection, while nothing rings.
        call_heartbeat_ms, call_dead_after_s: the same while the device rings or is in a call.
        resume_s: how long a session that lost its connection can be resumed.
        buffered_events, buffered_event_bytes: events kept until they are acknowledged.
        queued_messages, queued_message_bytes: what waits for a slow connection before it is closed with 4008.
        max_message_bytes: the largest message taken from a client.
        max_inflight: commands of a connection whose replies are not on their way yet; more are not read.
        rate_burst, rate_per_s: the token bucket of commands.
        urgent_burst, urgent_per_s: a second bucket for hang-up, cancel and decline when the first is empty.
        offer_burst, offers_per_s: a bucket of commands that carry an offer, which cost the server a hundred times what
            others do; each takes a token of the first bucket, too.
        signal_burst, signal_per_s: the bucket of `ping`, `pong`, `ack`; who empties it is closed with 4029.
        ignored_limits, ignored_limits_per_s: commands refused for their rate, at once and a second; a client that has
            more refused does not listen and is closed with 4029.
        max_malformed: malformed messages after which a connection is closed with 4400.
        reply_lifetime_s, cached_replies, cached_reply_bytes: the memory that makes commands idempotent, a device.
        close_timeout_s: how long a closing connection may take to write what is left and to shake hands.
        max_handshakes: connections that have not said `hello` yet.
        max_handshakes_per_address: the same from one address, of IPv6 from one network of 64 bits, so that one address
            keeps nobody else out; 0: no limit, for a server behind a proxy. This machine's own are not counted.
        max_sessions: signaling sessions, connected or resumable.
        max_sessions_per_organization: the same of one tenant.
        max_devices: signaling sessions of one principal.
        node: the name of this node, shown in `welcome`.
        ice_servers: what `welcome` offers to `RTCPeerConnection`, to everybody alike.
        turn: a TURN server that each device gets credentials of its own for; None: none.
        features: words that `welcome.caps` holds besides the capabilities of the token.
    """

    hello_timeout_s: float = 5.0
    token_check_timeout_s: float = 4.0
    heartbeat_ms: int = 15_000
    dead_after_s: float = 35.0
    call_heartbeat_ms: int = 5_000
    call_dead_after_s: float = 12.0
    resume_s: float = 120.0
    buffered_events: int = 256
    buffered_event_bytes: int = 512 * 1024
    queued_messages: int = 256
    queued_message_bytes: int = 512 * 1024
    max_message_bytes: int = MAX_MESSAGE_BYTES
    max_inflight: int = 32
    rate_burst: int = 100
    rate_per_s: float = 50.0
    urgent_burst: int = 16
    urgent_per_s: float = 2.0
    offer_burst: int = 20
    offers_per_s: float = 2.0
    signal_burst: int = 200
    signal_per_s: float = 100.0
    ignored_limits: int = 100
    ignored_limits_per_s: float = 5.0
    max_malformed: int = 3
    reply_lifetime_s: float = 300.0
    cached_replies: int = 1024
    cached_reply_bytes: int = 1024 * 1024
    close_timeout_s: float = 2.0
    max_handshakes: int = 1000
    max_handshakes_per_address: int = 250
    max_sessions: int = 20_000
    max_sessions_per_organization: int = 20_000
    max_devices: int = 16
    node: str = "node-1"
    ice_servers: tuple[Mapping[str, Any], ...] = ()
    turn: TurnConfiguration | None = None
    features: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        require_kinds(self)
        if self.max_message_bytes > MAX_MESSAGE_BYTES:
            raise ConfigurationError(f"max_message_bytes: the protocol allows {MAX_MESSAGE_BYTES} at most")
        if not (
            self.heartbeat_ms < self.dead_after_s * 1000 and self.call_heartbeat_ms < self.call_dead_after_s * 1000
        ):
            raise ConfigurationError(
                "a connection must not be declared dead within one heartbeat: raise *_dead_after_s"
            )
        if (
            min(self.buffered_events, self.queued_messages, self.max_inflight, self.max_devices, self.cached_replies)
            < 1
        ):
            raise ConfigurationError("limits of events, messages, commands, devices and replies start at 1")


@dataclass(frozen=True, slots=True)
class HttpConfiguration:
    """Limits and timers of HTTP, before a connection becomes a WebSocket.

    Attributes:
        max_head_bytes: request line and headers together.
        max_body_bytes: body of a request.
        request_timeout_s: how long a request may take, and a new connection to begin one.
        keep_alive_s: how long an idle connection is kept for the next request.
        write_timeout_s: how long an answer may take to be taken by the client.
        max_connections: TCP connections at a time; more are closed at once.
        max_connections_per_address: the same from one address, of IPv6 from one network of 64 bits; 0: no limit, for a
            server behind a proxy. Connections from this machine are not counted.
        allowed_origins: further values of `Origin` whose pages may connect; the own origin always may.
        hosts: host names and addresses accepted besides those that the server is bound to.
    """

    max_head_bytes: int = 16 * 1024
    max_body_bytes: int = 16 * 1024
    request_timeout_s: float = 10.0
    keep_alive_s: float = 15.0
    write_timeout_s: float = 10.0
    max_connections: int = 10_000
    max_connections_per_address: int = 1_000
    allowed_origins: tuple[str, ...] = ()
    hosts: tuple[str, ...] = field(default=())

    def __post_init__(self) -> None:
        require_kinds(self)
        require_origins("http.allowed_origins", self.allowed_origins)
