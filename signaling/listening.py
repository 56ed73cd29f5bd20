"""The sockets a server listens at: TCP, and UDP beside it at the same number."""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from typing import Final

import trio

from triortc.engine.udp import UdpSocket
from triortc.signaling.webtransport.configuration import WebTransportConfiguration

__all__ = ["Listener", "address_of", "listen", "open_listeners"]

Listener = trio.SocketListener | trio.SSLListener[trio.SocketStream]
"""What accepts connections over TCP, with TLS or in the clear."""

#: How often a TCP port that the system picked may be taken on UDP before we give up.
_PORT_TRIES: Final = 8


async def listen(host: str, port: int) -> list[trio.SocketListener]:
    """Bind a TCP port at every address that a host has.

    Args:
        host: an address or a name.
        port: 0: one that the system picks.

    Raises:
        OSError: it cannot be bound; the message says which port of which host, and why.
    """
    try:
        return await trio.open_tcp_listeners(port, host=host)
    except OSError as error:
        why = error.strerror or str(error)
        raise OSError(error.errno, f"cannot listen on {host}, TCP port {port}: {why}") from error


async def open_listeners(
    host: str, port: int | None, webtransport: WebTransportConfiguration | None, tls: ssl.SSLContext | None
) -> tuple[list[Listener], list[UdpSocket]]:
    """Bind TCP, and UDP for WebTransport: at the same number, unless another one is configured.

    Args:
        host, port: where; port 0: one that the system picks, None: nowhere.
        webtransport: None: no UDP.
        tls: what TCP is served with; None: in the clear.

    Raises:
        OSError: an address cannot be used; nothing is left bound.
    """
    if port is None:
        return [], []
    tries = _PORT_TRIES if webtransport is not None and port == 0 and webtransport.port is None else 1
    while True:
        tries -= 1
        plain = await listen(host, port)
        try:
            sockets = [] if webtransport is None else _open_udp(webtransport, [address_of(one) for one in plain])
        except OSError:
            for listener in plain:
                await trio.aclose_forcefully(listener)
            if not tries:
                raise
            continue
        if tls is None:
            return list(plain), sockets
        return [trio.SSLListener(listener, tls, https_compatible=True) for listener in plain], sockets


def _open_udp(configuration: WebTransportConfiguration, bound: Sequence[tuple[str, int]]) -> list[UdpSocket]:
    hosts = [host for host, _ in bound] if configuration.host is None else [configuration.host]
    port = bound[0][1] if configuration.port is None else configuration.port
    sockets: list[UdpSocket] = []
    try:
        for host in hosts:
            sockets.append(UdpSocket(host, port, buffer_bytes=configuration.socket_buffer_bytes))
            port = sockets[0].address[1]
    except BaseException:  # whatever it is goes on; nothing stays bound
        for socket in sockets:
            socket.close()
        raise
    return sockets


def address_of(listener: Listener) -> tuple[str, int]:
    """The address that a listener is bound to: host and port."""
    socket_listener = listener.transport_listener if isinstance(listener, trio.SSLListener) else listener
    assert isinstance(socket_listener, trio.SocketListener)
    name = socket_listener.socket.getsockname()
    return name[0], name[1]
