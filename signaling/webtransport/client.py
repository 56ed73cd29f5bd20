"""A WebTransport channel from Python, for demos, benches and tests."""

from __future__ import annotations

import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Final
from urllib.parse import urlsplit

import trio
from aioquic.h3.connection import H3_ALPN
from aioquic.quic.configuration import QuicConfiguration

from triortc.engine.udp import UdpSocket
from triortc.lone_errors import raises_lone_errors
from triortc.signaling.channel import ChannelClosedError, MessageChannel
from triortc.signaling.webtransport.channel import ConnectionOwner, WebTransportChannel
from triortc.signaling.webtransport.quic import ReadPacedQuicConnection
from triortc.signaling.webtransport.session import (
    SessionOpened,
    SessionRefused,
    WebTransportEvent,
    WebTransportSession,
)

__all__ = ["connect_webtransport"]

#: A snapshot of many conversations may be larger than what a client sends.
_MAX_MESSAGE_BYTES: Final = 1 << 20
_WINDOW_BYTES: Final = 2 << 20
_CONNECT_TIMEOUT_S: Final = 10.0


@raises_lone_errors
@asynccontextmanager
async def connect_webtransport(
    url: str, *, trusted_pem: bytes | None = None, origin: str | None = None
) -> AsyncGenerator[MessageChannel]:
    """Open a WebTransport channel to a signaling URL.

    Args:
        url: `https://host:port/v1/signal?p=triortc.v1`.
        trusted_pem: certificates to trust; None: the usual authorities.
        origin: an `Origin` header to send.

    Raises:
        ChannelClosedError: the server refused the session, or is not there.
    """
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port or 443
    found = await trio.socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)
    family, address = found[0][0], (str(found[0][4][0]), port)
    configuration = QuicConfiguration(
        is_client=True,
        alpn_protocols=list(H3_ALPN),
        server_name=host,
        max_data=_WINDOW_BYTES,
        max_stream_data=_WINDOW_BYTES,
        max_datagram_frame_size=65_536,
        cadata=trusted_pem,
    )
    udp = UdpSocket("::" if family == socket.AF_INET6 else "0.0.0.0", 0, buffer_bytes=1 << 20)
    quic = ReadPacedQuicConnection(configuration=configuration, max_streams=16)
    session = WebTransportSession(quic, max_message_bytes=_MAX_MESSAGE_BYTES, linger_s=0.5)
    answered = trio.Event()
    status = 0

    def happened(event: WebTransportEvent) -> None:
        nonlocal status
        match event:
            case SessionOpened():
                status = 200
                answered.set()
            case SessionRefused(status=refused):
                status = refused
                answered.set()
            case _:
                if session.closed is not None:
                    answered.set()

    owner = ConnectionOwner(session, send=udp.send, on_event=happened, queued_datagrams=4096)
    path = f"{parts.path or '/'}{f'?{parts.query}' if parts.query else ''}"
    session.connect(address, authority=parts.netloc, path=path, origin=origin, now=trio.current_time())
    refusal: ChannelClosedError | None = None
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_read, udp, owner)
            nursery.start_soon(owner.run)
            owner.wake()
            with trio.move_on_after(_CONNECT_TIMEOUT_S):
                await answered.wait()
            if status == 200:
                channel = WebTransportChannel(owner, unsent_bytes=256 * 1024)
                yield channel
                with trio.move_on_after(1):
                    await channel.aclose(1000)
            else:
                closed = session.closed
                why = f"HTTP {status}" if status else closed.reason if closed is not None else "no answer"
                refusal = ChannelClosedError(1006, why)
            nursery.cancel_scope.cancel()
    finally:
        udp.close()
    if refusal is not None:
        raise refusal


async def _read(udp: UdpSocket, owner: ConnectionOwner) -> None:
    while True:
        await udp.wait_readable()
        for view, address, _ in udp.receive_batch(trio.current_time()):
            owner.deliver(bytes(view), address)
