"""What a server keeps of connections that are over: it must not be left to the garbage collector, which runs seldom."""

from __future__ import annotations

import gc
import ssl
import weakref
from collections import Counter
from collections.abc import Iterator

import pytest
import trio
import trio.testing
from cryptography.hazmat.primitives.serialization import Encoding

from support.signaling_host import Transport, address, certificate, hello, open_signaling_host
from triortc.signaling.certificates import server_context
from triortc.signaling.configuration import SignalingConfiguration
from triortc.signaling.connection import Connection
from triortc.signaling.link import Link
from triortc.signaling.server import SignalServer
from triortc.signaling.session import SignalingSession
from triortc.signaling.turn_credentials import TurnConfiguration
from triortc.signaling.websocket import WebSocketChannel
from triortc.signaling.webtransport.channel import ConnectionOwner, WebTransportChannel
from triortc.signaling.webtransport.quic import ReadPacedQuicConnection
from triortc.signaling.webtransport.session import WebTransportSession
from triortc.signaling.wire import encode_message


@pytest.fixture
def without_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def alive() -> Counter[str]:
    kinds = (
        Connection,
        ConnectionOwner,
        Link,
        ReadPacedQuicConnection,
        SignalServer,
        SignalingSession,
        WebSocketChannel,
        WebTransportChannel,
        WebTransportSession,
    )
    return Counter(type(found).__name__ for found in gc.get_objects() if type(found) in kinds)


@pytest.mark.usefixtures("without_collector")
@pytest.mark.parametrize("transport", ["memory", "websocket", "webtransport"])
async def test_a_connection_that_is_over_goes_with_all_it_held_without_the_garbage_collector(
    transport: Transport,
) -> None:
    """A server that lets the collector run seldom grew by 30 kB a connection, up to thousands of them."""
    before = alive()
    async with open_signaling_host(transport) as host:
        for _ in range(3):
            async with host.open_channel() as channel:
                await hello(host, channel)
                assert alive()["Connection"] > before["Connection"]
    del host, channel
    assert alive() == before


@pytest.mark.usefixtures("without_collector")
@pytest.mark.parametrize("transport", ["websocket", "webtransport"])
async def test_a_connection_that_never_said_hello_goes_as_well(transport: Transport) -> None:
    before = alive()
    async with open_signaling_host(transport) as host, host.open_channel() as channel:
        await channel.send(b"?")
        await hello(host, channel)
    del host, channel
    assert alive() == before


@pytest.mark.usefixtures("without_collector")
async def test_a_device_with_turn_credentials_goes_as_well_when_it_leaves() -> None:
    turn = TurnConfiguration(("turn:turn.example",), "sixteen characters")
    async with open_signaling_host("memory", configuration=SignalingConfiguration(turn=turn)) as host:
        async with host.open_channel() as channel:
            await hello(host, channel)
            known = host.server._book.of(address())
            assert known is not None
            seen = weakref.ref(known)
            del known
            await channel.send(encode_message("bye", {"code": 4000}))
            await host.calls.wait_for("gone")
        await trio.testing.wait_all_tasks_blocked()
        assert seen() is None


@pytest.mark.usefixtures("without_collector")
async def test_a_connection_over_tls_goes_as_well() -> None:
    async with open_signaling_host("websocket") as host, trio.open_nursery() as nursery:
        ours, theirs = trio.testing.memory_stream_pair()
        served = trio.SSLStream(ours, server_context(certificate()), server_side=True, https_compatible=True)
        seen = weakref.ref(served)
        nursery.start_soon(host.http.serve, served)
        del ours, served
        trusting = ssl.create_default_context(cadata=certificate().certificate.public_bytes(Encoding.PEM).decode())
        async with trio.SSLStream(theirs, trusting, server_hostname="localhost", https_compatible=True) as client:
            await client.send_all(b"GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n")
            assert (await client.receive_some(4096)).startswith(b"HTTP/1.1 200")
        await trio.testing.wait_all_tasks_blocked()
        assert seen() is None
