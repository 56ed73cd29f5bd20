"""A client's WebSocket, by trio-websocket: a peer that is not our own code."""

from __future__ import annotations

import ssl
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import trio
from trio_websocket import ConnectionClosed, HandshakeError, WebSocketConnection, wrap_client_stream

from triortc.lone_errors import raises_lone_errors
from triortc.signaling.channel import MAX_REASON_BYTES, ChannelClosedError, MessageChannel
from triortc.signaling.wire import PROTOCOL

__all__ = ["connect_websocket"]


class _WebSocketChannel:
    """An open WebSocket as a message channel: one text frame is one message. Who opened it closes what is below."""

    def __init__(self, connection: WebSocketConnection) -> None:
        self._connection = connection
        self.heard_at = trio.current_time()

    async def send(self, *messages: bytes) -> None:
        """Send messages as text frames. Raises ChannelClosedError."""
        try:
            for data in messages:
                await self._connection.send_message(data.decode("utf-8"))
        except ConnectionClosed:
            raise self._closed() from None

    async def receive(self) -> bytes:
        """Wait for the next message. Raises ChannelClosedError; a binary frame closes with 4400."""
        try:
            message = await self._connection.get_message()
        except ConnectionClosed:
            raise self._closed() from None
        self.heard_at = trio.current_time()
        if isinstance(message, bytes):
            raise ChannelClosedError(4400, "binary frames are not part of the protocol", error="proto.malformed")
        return message.encode("utf-8")

    async def aclose(self, code: int = 1000, reason: str = "") -> None:
        """Close with the closing handshake."""
        text = reason.encode("utf-8")[:MAX_REASON_BYTES].decode("utf-8", "ignore")
        await self._connection.aclose(code, text)

    def _closed(self) -> ChannelClosedError:
        reason = self._connection.closed
        return ChannelClosedError() if reason is None else ChannelClosedError(reason.code, reason.reason or "")


@raises_lone_errors
@asynccontextmanager
async def connect_websocket(
    url: str, *, tls: ssl.SSLContext | None = None, origin: str | None = None
) -> AsyncGenerator[MessageChannel]:
    """Open a WebSocket channel to a signaling URL.

    Args:
        url: `ws://host:port/v1/signal` or `wss://…`.
        tls: for `wss`; None: the system's trust.
        origin: an `Origin` header to send.

    Raises:
        ChannelClosedError: the server refused the handshake, or is not there.
    """
    parts = urlsplit(url)
    secure = parts.scheme == "wss"
    host, port = parts.hostname or "", parts.port or (443 if secure else 80)
    stream: trio.abc.Stream
    try:
        tcp = await trio.open_tcp_stream(host, port)
    except OSError as error:
        raise ChannelClosedError(1006, str(error)) from None
    stream = trio.SSLStream(tcp, tls or ssl.create_default_context(), server_hostname=host) if secure else tcp
    headers = [] if origin is None else [(b"origin", origin.encode())]
    try:
        async with trio.open_nursery() as nursery:
            websocket = await wrap_client_stream(
                nursery,
                stream,
                parts.netloc,
                parts.path or "/",
                subprotocols=[PROTOCOL],
                extra_headers=headers,
                max_message_size=1 << 20,
            )
            try:
                yield _WebSocketChannel(websocket)
                with trio.move_on_after(1):
                    await websocket.aclose(1000)
            finally:
                nursery.cancel_scope.cancel()
    except* (HandshakeError, ConnectionClosed) as group:
        raise ChannelClosedError(1006, str(group.exceptions[0])) from None
    finally:
        await trio.aclose_forcefully(stream)
