"""HTTP/1.1 on the signaling port: pages, health, development tokens, and the door to WebSocket.

h11 reads each request; after an upgrade the connection is a WebSocket's. Every answer is written in one piece: a second
write would wait for a delayed acknowledgement.
"""

from __future__ import annotations

import ipaddress
import logging
import re
import time
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass
from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus
from typing import Final

import h11
import trio

from triortc.errors import ProtocolError
from triortc.signaling.configuration import HttpConfiguration
from triortc.signaling.origin import host_is_known, origin_is_allowed, same_origin
from triortc.signaling.site import Request, Responder, Response
from triortc.signaling.websocket import WebSocketChannel, accept_websocket
from triortc.signaling.wire import PROTOCOL

__all__ = ["OWN_MACHINE", "SIGNAL_PATH", "HttpCounters", "HttpServer", "UpgradeContext", "peer_host", "subscriber"]

_logger: Final = logging.getLogger("triortc.http")
SIGNAL_PATH: Final = "/v1/signal"
#: A body comes in as many pieces as there are chunks and segments; each takes the same time, however small it is.
_MAX_BODY_PIECES: Final = 256
#: Not counted by address: nobody of the network is there, or the proxy that everybody comes through.
OWN_MACHINE: Final = ("", "127.0.0.1", "::1")
#: What a host and a port are written with (RFC 3986 section 3.2.2; a name of other letters comes as punycode).
_AUTHORITY: Final = re.compile(r"[A-Za-z0-9._~%:\[\]-]{1,255}")


@dataclass(slots=True)
class HttpCounters:
    """What has come in; `faults`: connections that failed inside the server."""

    connections: int = 0
    requests: int = 0
    upgrades: int = 0
    refused_connections: int = 0
    refused_hosts: int = 0
    refused_origins: int = 0
    malformed: int = 0
    faults: int = 0


@dataclass(frozen=True, slots=True)
class UpgradeContext:
    """What is known of a WebSocket from its opening request.

    Attributes:
        origin: the page's origin; None: not a browser.
        foreign: whether that is another origin than ours.
        peer: what connections from its address are counted by; empty: they are not, because it is this machine.
    """

    origin: str | None
    foreign: bool
    peer: str = ""


class _RefusedError(Exception):
    """A request is answered with an error, and the connection is closed."""

    def __init__(self, response: Response) -> None:
        super().__init__(response.status)
        self.response = response


class HttpServer:
    """Serves connections of one port.

    Args:
        site: answers what is not an upgrade.
        upgraded: takes over a WebSocket; the socket is closed when it returns.
        may_upgrade: whether one more signaling connection of a peer may begin now, besides so many that are being
            upgraded.
        configuration: limits and timers.
        host_names: the names that `Host` may hold; None: any.
        scheme: `http` or `https`.
    """

    def __init__(
        self,
        *,
        site: Responder,
        upgraded: Callable[[WebSocketChannel, UpgradeContext], Awaitable[None]],
        may_upgrade: Callable[[int, str], bool],
        configuration: HttpConfiguration | None = None,
        host_names: Collection[str] | None = None,
        scheme: str = "http",
    ) -> None:
        self._site = site
        self._upgraded = upgraded
        self._may_upgrade = may_upgrade
        self._configuration = configuration or HttpConfiguration()
        self._host_names = host_names
        self._scheme = scheme
        self._idle: set[trio.CancelScope] = set()
        self._per_host: dict[str, int] = {}
        self._upgrading = 0
        self.open_connections = 0
        self.counters = HttpCounters()

    def close_idle(self) -> None:
        """Close the connections that wait for a next request."""
        for waiting in self._idle:
            waiting.cancel()

    async def serve(self, stream: trio.abc.Stream) -> None:
        """Serve one connection to its end and close it."""
        self.counters.connections += 1
        host = peer_host(stream)
        try:
            if not self._has_room(host):
                self.counters.refused_connections += 1
                return
            counted = subscriber(host)
            self.open_connections += 1
            self._per_host[counted] = self._per_host.get(counted, 0) + 1
            try:
                upgraded = await self._requests(stream, "" if host in OWN_MACHINE else counted)
                if upgraded is not None:
                    await self._upgraded(*upgraded)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                pass  # the client went away
            except Exception:
                # The boundary of one connection, as V44 is of one session: all connections share a nursery, and a fault
                # of ours on the way of a stranger's bytes must end neither the others nor the calls. It is counted and
                # logged with its traceback; a cancellation is no Exception and passes.
                self.counters.faults += 1
                _logger.exception("a connection failed inside the server")
            finally:
                self.open_connections -= 1
                self._per_host[counted] -= 1
                if not self._per_host[counted]:
                    del self._per_host[counted]
        finally:
            await trio.aclose_forcefully(stream)
            _release(stream)

    def _has_room(self, host: str) -> bool:
        limits = self._configuration
        if self.open_connections >= limits.max_connections:
            return False
        most = limits.max_connections_per_address
        return not most or host in OWN_MACHINE or self._per_host.get(subscriber(host), 0) < most

    async def _requests(self, stream: trio.abc.Stream, peer: str) -> tuple[WebSocketChannel, UpgradeContext] | None:
        """Answer requests, until the connection is over or becomes a WebSocket's."""
        limits = self._configuration
        connection = h11.Connection(h11.SERVER, max_incomplete_event_size=limits.max_head_bytes)
        patience_s = limits.request_timeout_s
        while True:
            head_only = False  # an answer to HEAD has no body, and a refusal is no exception
            try:
                with trio.move_on_after(patience_s) as waiting:
                    self._idle.add(waiting)
                    try:
                        head = await self._head(connection, stream)
                    finally:
                        self._idle.discard(waiting)
                if waiting.cancelled_caught or head is None:
                    return None
                self.counters.requests += 1
                head_only = head.method == b"HEAD"
                self._check_size(head)
                headers = _headers(head)
                self._check_host(headers)
                if head.target.partition(b"?")[0] == SIGNAL_PATH.encode():
                    context = self._check_upgrade(head, headers, peer)
                    channel = await self._websocket(connection, head, stream)
                    return None if channel is None else (channel, context)
                with trio.move_on_after(limits.request_timeout_s) as reading:
                    body = await self._body(connection, stream)
                if reading.cancelled_caught:
                    raise _RefusedError(Response(408, b"too slow\n"))
                request = Request(head.method.decode(), head.target.decode(), headers, body, self._scheme)
                answer = self._answer(request)
                if not isinstance(answer, Response):
                    answer = await answer
                if not await self._send(connection, stream, answer, head_only=head_only):
                    return None
            except _RefusedError as refused:
                await self._send(connection, stream, refused.response, head_only=head_only, close=True)
                return None
            if connection.our_state is not h11.DONE or connection.their_state is not h11.DONE:
                return None
            connection.start_next_cycle()
            patience_s = limits.keep_alive_s

    def _answer(self, request: Request) -> Response | Awaitable[Response]:
        if request.method != "GET" and request.method != "HEAD":
            origin = request.headers.get("origin")
            if origin is not None and not same_origin(origin, request.headers["host"], self._scheme):
                self.counters.refused_origins += 1
                return Response(403, b"a page of another origin may not ask this\n")
        return self._site.respond(request)

    # --- reading

    async def _next_event(self, connection: h11.Connection, stream: trio.abc.Stream) -> object:
        while True:
            try:
                event = connection.next_event()
            except h11.RemoteProtocolError as error:
                self.counters.malformed += 1
                raise _RefusedError(Response(error.error_status_hint, b"not understood\n")) from None
            if event is not h11.NEED_DATA:
                return event
            if connection.they_are_waiting_for_100_continue:
                await stream.send_all(connection.send(h11.InformationalResponse(status_code=100, headers=[])) or b"")
            connection.receive_data(bytes(await stream.receive_some()))

    async def _head(self, connection: h11.Connection, stream: trio.abc.Stream) -> h11.Request | None:
        event = await self._next_event(connection, stream)
        return event if isinstance(event, h11.Request) else None

    async def _body(self, connection: h11.Connection, stream: trio.abc.Stream) -> bytes:
        body, pieces = bytearray(), 0
        while True:
            event = await self._next_event(connection, stream)
            if not isinstance(event, h11.Data):
                return bytes(body)
            body += event.data
            pieces += 1
            if len(body) > self._configuration.max_body_bytes or pieces > _MAX_BODY_PIECES:
                raise _RefusedError(Response(413, b"too large\n"))

    # --- rules

    def _check_size(self, head: h11.Request) -> None:
        # h11 bounds what is incomplete; a head that came in one piece is measured here.
        size = len(head.target) + sum(len(name) + len(value) + 4 for name, value in head.headers)
        if size > self._configuration.max_head_bytes:
            raise _RefusedError(Response(431, b"too many headers\n"))

    def _check_host(self, headers: dict[str, str]) -> None:
        host = headers.get("host", "")
        if not _AUTHORITY.fullmatch(host):  # it stands in headers of ours, as the Content-Security-Policy
            raise _RefusedError(Response(400, b"name the host\n"))
        if self._host_names is not None and not host_is_known(host, self._host_names, self._scheme):
            self.counters.refused_hosts += 1
            raise _RefusedError(Response(421, b"this server does not have that name\n"))

    def _check_upgrade(self, head: h11.Request, headers: dict[str, str], peer: str) -> UpgradeContext:
        upgrade = headers.get("upgrade", "").lower() == "websocket"
        if head.method != b"GET" or not upgrade or headers.get("sec-websocket-version") != "13":
            wanted = (("upgrade", "websocket"), ("sec-websocket-version", "13"))
            raise _RefusedError(Response(426, b"this is a WebSocket\n", headers=wanted))
        proposed = [name.strip() for name in headers.get("sec-websocket-protocol", "").split(",")]
        if PROTOCOL not in proposed:
            raise _RefusedError(Response(400, b"proto.unsupported_version: offer triortc.v1\n"))
        if "upgrade" not in headers.get("connection", "").lower() or "sec-websocket-key" not in headers:
            raise _RefusedError(Response(400, b"not a WebSocket handshake\n"))
        origin = headers.get("origin")
        if not origin_is_allowed(origin, headers["host"], self._scheme, self._configuration.allowed_origins):
            self.counters.refused_origins += 1
            raise _RefusedError(Response(403, b"a page of this origin may not connect\n"))
        if not self._may_upgrade(self._upgrading, peer):
            raise _RefusedError(Response(503, b"too many connections wait for their hello\n"))
        foreign = origin is not None and not same_origin(origin, headers["host"], self._scheme)
        return UpgradeContext(origin, foreign, peer)

    # --- writing

    async def _send(
        self,
        connection: h11.Connection,
        stream: trio.abc.Stream,
        response: Response,
        *,
        head_only: bool = False,
        close: bool = False,
    ) -> bool:
        """Write an answer; False: it was not taken, or not whole, and nothing may come behind it."""
        if connection.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            return False
        headers = [
            ("content-length", str(len(response.body))),
            ("date", _date(int(time.time()))),
            *response.headers,
        ]
        if response.body:
            headers.append(("content-type", response.content_type))
        if close:
            headers.append(("connection", "close"))
        answer = h11.Response(
            status_code=response.status, headers=headers, reason=HTTPStatus(response.status).phrase.encode()
        )
        pieces = [connection.send(answer) or b""]
        if response.body and not head_only and response.status != 304:
            pieces.append(connection.send(h11.Data(data=response.body)) or b"")
        pieces.append(connection.send(h11.EndOfMessage()) or b"")
        with trio.move_on_after(self._configuration.write_timeout_s):
            await stream.send_all(b"".join(pieces))
            return True
        return False

    # --- WebSocket

    async def _websocket(
        self, connection: h11.Connection, head: h11.Request, stream: trio.abc.Stream
    ) -> WebSocketChannel | None:
        """Answer the opening handshake; None: that took too long."""
        try:
            answer, channel = accept_websocket(head, connection.trailing_data[0], stream)
        except ProtocolError:
            raise _RefusedError(Response(400, b"not a WebSocket handshake\n")) from None
        self.counters.upgrades += 1
        self._upgrading += 1
        try:
            with trio.move_on_after(self._configuration.request_timeout_s):
                await stream.send_all(answer)
                return channel
        finally:
            self._upgrading -= 1
        return None


def peer_host(stream: trio.abc.Stream) -> str:
    """The address at the other end, without its port; empty: that is not a connection of the network."""
    below: object = stream
    while isinstance(below, trio.SSLStream):
        below = below.transport_stream
    if not isinstance(below, trio.SocketStream):
        return ""
    try:
        name = below.socket.getpeername()
    except OSError:
        return ""  # it is gone already
    return str(name[0]) if isinstance(name, tuple) else ""


def _release(stream: trio.abc.Stream) -> None:
    """A stream over TLS that is closed holds itself, by its handshake.

    Without this only the garbage collector, which servers let run seldom, would find out that it can go: 15 KiB each.
    """
    if isinstance(stream, trio.SSLStream):
        stream._handshook = None  # type: ignore[assignment]  # trio's own; nothing asks for it once it is closed


def subscriber(host: str) -> str:
    """What connections from an address are counted by: itself; of IPv6 the /64 that one subscriber chooses from."""
    try:
        address = ipaddress.IPv6Address(host.partition("%")[0])
    except ValueError:
        return host
    return host if address.ipv4_mapped is not None else str(ipaddress.IPv6Address(int(address) >> 64 << 64))


@lru_cache(1)
def _date(unix_second: int) -> str:
    return formatdate(unix_second, usegmt=True)


def _headers(head: h11.Request) -> dict[str, str]:
    headers: dict[str, str] = {}
    for name, value in head.headers:
        headers.setdefault(name.decode("ascii"), value.decode("latin-1"))
    return headers
