"""What strangers cost: connections that never say hello, over TCP and over QUIC, and a known device beside them."""

from __future__ import annotations

import time
from contextlib import aclosing
from functools import partial
from typing import Any, Final

import trio
from aioquic.h3.connection import H3_ALPN
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection

from triortc.bench.machine import raise_file_limit
from triortc.engine.calls.leg_configuration import MediaConfiguration
from triortc.engine.endpoint_configuration import EndpointConfiguration
from triortc.signaling.app import ServerConfiguration
from triortc.signaling.client import ClientDevice, SignalClient, connect_websocket, open_signal_client
from triortc.signaling.configuration import HttpConfiguration, SignalingConfiguration
from triortc.signaling.engine import Engine, EngineConfiguration, open_engine
from triortc.signaling.webtransport.configuration import WebTransportConfiguration

__all__ = ["measure_strangers"]

_PAGE_BYTES: Final = 4096
_AT_ONCE: Final = 64
_KEY: Final = "AAAAAAAAAAAAAAAAAAAAAA=="


async def measure_strangers(connections: int) -> dict[str, Any]:
    """Open that many WebSockets that say nothing, then send as many first datagrams of QUIC clients.

    Args:
        connections: of each kind.

    Returns:
        Seconds, CPU seconds and bytes (of both sides: they share this process), what the server let in, and how long a
        known device's command took meanwhile.
    """
    raise_file_limit()
    server = ServerConfiguration(
        port=0,
        development=True,
        host_names=("127.0.0.1",),
        signaling=SignalingConfiguration(hello_timeout_s=300.0),
        http=HttpConfiguration(max_connections=2 * connections + 10),
        webtransport=WebTransportConfiguration(),
    )
    media = MediaConfiguration(endpoint=EndpointConfiguration(media_host=("127.0.0.1",)))
    async with open_engine(EngineConfiguration(server, media)) as engine:
        assert engine.issuer is not None
        token = engine.issuer.issue(role="agent", sub="ana", did="desk")
        channel = partial(connect_websocket, engine.signal_url)
        async with open_signal_client(channel, token=token, device=ClientDevice("desk")) as known:
            return {
                "what": "strangers",
                "connections": connections,
                "websocket": await _measured(partial(_websockets, engine, connections), engine, known),
                "quic": await _measured(partial(_datagrams, engine, connections), engine, known),
            }


async def _measured(strangers: Any, engine: Engine, known: SignalClient) -> dict[str, Any]:
    began, cpu, bytes_before = time.perf_counter(), time.process_time(), _resident_bytes()
    async with aclosing(strangers()) as running:
        found = await anext(running)
        took = {
            "s": round(time.perf_counter() - began, 2),
            "cpu_s": round(time.process_time() - cpu, 2),
            "bytes": _resident_bytes() - bytes_before,
        }
        asked = time.perf_counter()
        await known.command("presence.get")
        return {**found, **took, "known_device_ms": round((time.perf_counter() - asked) * 1000, 1)}


def _resident_bytes() -> int:
    with open("/proc/self/statm", encoding="ascii") as statm:
        return int(statm.read().split()[1]) * _PAGE_BYTES


async def _websockets(engine: Engine, connections: int) -> Any:
    host, port = engine.addresses[0]
    request = (
        f"GET /v1/signal HTTP/1.1\r\nhost: {host}:{port}\r\nconnection: upgrade\r\nupgrade: websocket\r\n"
        f"sec-websocket-version: 13\r\nsec-websocket-key: {_KEY}\r\nsec-websocket-protocol: triortc.v1\r\n\r\n"
    ).encode()
    streams: list[trio.SocketStream] = []
    statuses: list[bytes] = []
    limiter = trio.CapacityLimiter(_AT_ONCE)

    async def one() -> None:
        async with limiter:
            stream = await trio.open_tcp_stream(host, port)
            streams.append(stream)
            await stream.send_all(request)
            statuses.append(bytes(await stream.receive_some())[9:12])

    async with trio.open_nursery() as nursery:
        for _ in range(connections):
            nursery.start_soon(one)
    try:
        yield {"let_in": statuses.count(b"101"), "refused": statuses.count(b"503")}
    finally:
        for stream in streams:
            await trio.aclose_forcefully(stream)


async def _datagrams(engine: Engine, connections: int) -> Any:
    assert engine.webtransport is not None
    configuration = QuicConfiguration(is_client=True, alpn_protocols=list(H3_ALPN), server_name="127.0.0.1")
    counters = engine.webtransport.counters
    before = (counters.connections, counters.retries)
    with trio.socket.socket(trio.socket.AF_INET, trio.socket.SOCK_DGRAM) as udp:
        await udp.connect((engine.addresses[0][0], engine.webtransport.port))
        for number in range(connections):
            client = QuicConnection(configuration=configuration)
            client.connect(("127.0.0.1", 1), now=0.0)
            for datagram, _ in client.datagrams_to_send(now=0.0):
                await udp.send(datagram)
            if number % 16 == 0:
                await trio.lowlevel.checkpoint()
        while counters.connections + counters.retries - sum(before) < connections * 0.9:
            await trio.lowlevel.checkpoint()
        yield {"connections": counters.connections - before[0], "retries": counters.retries - before[1]}
