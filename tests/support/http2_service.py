"""A real HTTPS server on loopback that speaks HTTP/2 (by h2, TLS by a test authority), and misbehaves on demand."""

from __future__ import annotations

import ssl
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import trio
import trio.testing
import trustme
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, RequestReceived, StreamEnded

__all__ = ["Answer", "Http2Service", "Misbehaviour", "Received", "open_http2_service"]

Misbehaviour = Literal[
    "hang", "hang_after_headers", "close", "not_http", "bad_frame", "flood", "reset", "go_away", "huge"
]


@dataclass(frozen=True)
class Received:
    """One request, as it was on the wire."""

    headers: dict[str, str]
    body: bytes
    connection: int

    @property
    def path(self) -> str:
        return self.headers[":path"]


@dataclass(frozen=True)
class Answer:
    """One answer."""

    status: int = 200
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()


@dataclass
class Http2Service:
    """A running server. `answer` decides on each request; `requests` are in their order of arrival."""

    answer: Callable[[Received], Answer | Misbehaviour]
    host: str = "localhost"
    port: int = 0
    requests: list[Received] = field(default_factory=list)
    connections: int = 0
    open_connections: int = 0
    server_names: list[str | None] = field(default_factory=list)
    _streams: set[trio.SSLStream[trio.SocketStream]] = field(default_factory=set)

    @property
    def origin(self) -> str:
        return f"https://{self.host}:{self.port}"

    async def close_connections(self) -> None:
        """Close what is open without a word, as services do with connections that idle."""
        for stream in list(self._streams):
            await trio.aclose_forcefully(stream)
        await trio.testing.wait_all_tasks_blocked()

    async def serve(self, stream: trio.SSLStream[trio.SocketStream]) -> None:
        self.connections += 1
        self.open_connections += 1
        self._streams.add(stream)
        try:
            await self._serve(stream, self.connections)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        finally:
            self._streams.discard(stream)
            self.open_connections -= 1
            await trio.aclose_forcefully(stream)

    async def _serve(self, stream: trio.SSLStream[trio.SocketStream], number: int) -> None:
        await stream.do_handshake()
        assert stream.selected_alpn_protocol() == "h2", "HTTP/2 or nothing"
        http2 = H2Connection(H2Configuration(client_side=False, header_encoding="utf-8"))
        http2.initiate_connection()
        await stream.send_all(http2.data_to_send())
        heads: dict[int, dict[str, str]] = {}
        bodies: dict[int, bytearray] = {}
        while data := await stream.receive_some():
            for event in http2.receive_data(bytes(data)):
                if isinstance(event, RequestReceived):
                    pairs = [(str(name), str(value)) for name, value in event.headers]
                    heads[event.stream_id] = dict(pairs)
                    assert len(heads[event.stream_id]) == len(pairs), "a header is there twice"
                    bodies[event.stream_id] = bytearray()
                elif isinstance(event, DataReceived):
                    bodies[event.stream_id] += event.data
                    http2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                elif isinstance(event, StreamEnded):
                    received = Received(heads[event.stream_id], bytes(bodies[event.stream_id]), number)
                    self.requests.append(received)
                    if not await self._reply(stream, http2, event.stream_id, self.answer(received)):
                        return
            await stream.send_all(http2.data_to_send())

    async def _reply(
        self,
        stream: trio.SSLStream[trio.SocketStream],
        http2: H2Connection,
        stream_id: int,
        answer: Answer | Misbehaviour,
    ) -> bool:
        """False: the connection ends."""
        match answer:
            case Answer(status, body, headers):
                head = [(":status", str(status)), *headers]
                http2.send_headers(stream_id, head, end_stream=not body)
                if body:
                    http2.send_data(stream_id, body, end_stream=True)
            case "hang":
                pass
            case "hang_after_headers":
                http2.send_headers(stream_id, [(":status", "200")])
            case "huge":
                http2.send_headers(stream_id, [(":status", "200")])
                for _ in range(8):
                    http2.send_data(stream_id, bytes(4096))
            case "reset":
                http2.reset_stream(stream_id, 0x2)
            case "go_away":
                http2.close_connection(0x1)
                await stream.send_all(http2.data_to_send())
                return False
            case "not_http":
                await stream.send_all(b"HTTP/1.1 200 OK\r\n\r\nI speak another language" * 4)
            case "bad_frame":
                await stream.send_all(b"\x00\x00\x04\x08\x00\x00\x00\x00\x00\x00\x00\x00\x00")  # adds 0 to a window
            case "flood":
                await stream.send_all(b"\xff\xff\xff\x00\x00\x00\x00\x00\x01")  # one frame of 16 MiB
                for _ in range(1024):
                    await stream.send_all(bytes(16 * 1024))
            case "close":
                return False
        return True


@asynccontextmanager
async def open_http2_service(
    answer: Callable[[Received], Answer | Misbehaviour],
    authority: trustme.CA,
    *,
    names: tuple[str, ...] = ("localhost",),
) -> AsyncGenerator[Http2Service]:
    """Run a server on 127.0.0.1 with a certificate for some names."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*names).configure_cert(context)
    context.set_alpn_protocols(["h2"])
    service = Http2Service(answer, names[0])

    def remember(connection: ssl.SSLObject, name: str | None, context: ssl.SSLContext) -> None:
        service.server_names.append(name)

    context.sni_callback = remember
    async with trio.open_nursery() as nursery:
        listeners = await trio.open_ssl_over_tcp_listeners(0, context, host="127.0.0.1", https_compatible=True)
        transport = listeners[0].transport_listener
        assert isinstance(transport, trio.SocketListener)
        service.port = transport.socket.getsockname()[1]
        nursery.start_soon(trio.serve_listeners, service.serve, listeners)
        yield service
        nursery.cancel_scope.cancel()


def authority_file(authority: trustme.CA, folder: Path) -> Path:
    """The authority's certificate as a file."""
    path = folder / "authority.pem"
    authority.cert_pem.write_to_path(str(path))
    return path
