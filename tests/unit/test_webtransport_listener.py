"""WebTransport on real sockets: who may begin and what a stranger costs (call-control spec 3.1, 3.7, 3.8b)."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import trio
from aioquic.quic.connection import QuicConnection
from aioquic.quic.packet import QuicProtocolVersion, encode_quic_version_negotiation

from support.signaling_host import NAMES, SignalingHost, certificate, hello, open_signaling_host, receive
from support.signaling_house import open_signaling_house
from support.webtransport_pair import quic
from triortc.errors import ConfigurationError
from triortc.signaling.app import ServerConfiguration
from triortc.signaling.certificates import self_signed_certificate
from triortc.signaling.channel import ChannelClosedError
from triortc.signaling.configuration import HttpConfiguration, SignalingConfiguration
from triortc.signaling.tokens import KeySet
from triortc.signaling.webtransport.client import connect_webtransport
from triortc.signaling.webtransport.configuration import WebTransportConfiguration
from triortc.signaling.webtransport.listener import WebTransportListener
from triortc.signaling.webtransport.session import WebTransportSession


def listener_of(host: SignalingHost) -> WebTransportListener:
    assert host.listener is not None
    return host.listener


@asynccontextmanager
async def running(**limits: Any) -> AsyncGenerator[SignalingHost]:
    async with open_signaling_host("webtransport", webtransport=WebTransportConfiguration(**limits)) as host:
        yield host


@asynccontextmanager
async def stranger(host: SignalingHost) -> AsyncGenerator[trio.socket.SocketType]:
    """A socket that sends whatever it likes to the server."""
    assert host.address is not None
    with trio.socket.socket(trio.socket.AF_INET, trio.socket.SOCK_DGRAM) as udp:
        await udp.connect(host.address)
        yield udp


def first_flight(version: int = QuicProtocolVersion.VERSION_1) -> tuple[QuicConnection, list[bytes]]:
    """A client of its own and what it sends first."""
    client = quic(is_client=True)
    client.configuration.original_version = version
    client.connect(("127.0.0.1", 1), now=0.0)
    return client, [datagram for datagram, _ in client.datagrams_to_send(now=0.0)]


@pytest.mark.parametrize(
    ("path", "status"), [("/v1/signal", 400), ("/v1/signal?p=other", 400), ("/else?p=triortc.v1", 404)]
)
async def test_3_1_a_session_needs_the_path_and_a_common_version(path: str, status: int) -> None:
    async with running() as host:
        url = host.url.partition("/v1/")[0] + path
        with pytest.raises(ChannelClosedError, match=f"HTTP {status}"):
            async with connect_webtransport(url, trusted_pem=certificate().pem):
                pass
        assert listener_of(host).counters.refused_sessions == 1
        assert listener_of(host).counters.sessions == 0


async def test_3_8b_a_page_of_another_origin_may_not_connect_and_a_listed_one_may() -> None:
    http = HttpConfiguration(allowed_origins=("https://shop.example",))
    async with open_signaling_host("webtransport", http=http, origin_allowed=lambda org, origin: org == "acme") as host:
        with pytest.raises(ChannelClosedError, match="HTTP 403"):
            async with connect_webtransport(host.url, trusted_pem=certificate().pem, origin="https://evil.example"):
                pass
        for org, expected in (("acme", "welcome"), ("other", "err")):
            async with connect_webtransport(
                host.url, trusted_pem=certificate().pem, origin="https://shop.example"
            ) as channel:
                assert (await hello(host, channel, token=host.token(org=org))).t == expected


async def test_3_7_no_session_begins_while_too_many_wait_for_their_hello() -> None:
    limits = SignalingConfiguration(max_handshakes=1)
    async with open_signaling_host("webtransport", configuration=limits) as host, host.open_channel() as first:
        with pytest.raises(ChannelClosedError, match="HTTP 503"):
            async with host.open_channel():
                pass
        await hello(host, first)
        async with host.client(did="d2"):
            pass


async def test_rfc9000_8_1_2_a_crowded_server_asks_addresses_to_prove_themselves_first() -> None:
    async with running(retry_above_unvalidated=0) as host:
        async with host.client() as client:
            assert await client.command("presence.get") == {}
        assert listener_of(host).counters.retries == 1
        assert listener_of(host).counters.connections == 1


async def test_rfc9000_8_1_a_stranger_costs_a_crowded_server_nothing_and_gets_less_than_it_sent() -> None:
    async with running(retry_above_unvalidated=0) as host, stranger(host) as udp:
        for _ in range(50):
            _, flight = first_flight()
            for datagram in flight:
                await udp.send(datagram)
        answers = [await udp.recv(2048) for _ in range(50)]
        assert max(map(len, answers)) < 200
        assert listener_of(host).open_connections == 0
        assert listener_of(host).counters.connections == 0


async def test_rfc9000_6_another_version_is_answered_with_those_we_speak() -> None:
    async with running() as host, stranger(host) as udp:
        _, flight = first_flight()
        await udp.send(flight[0][:1] + b"\x1a\x2a\x3a\x4a" + flight[0][5:])
        answer = await udp.recv(2048)
        assert answer[1:5] == bytes(4)
        assert len(answer) < len(flight[0])
        # An answer of that kind is never answered: two servers would talk for ever.
        negotiation = encode_quic_version_negotiation(
            source_cid=bytes(8), destination_cid=bytes(8), supported_versions=[1]
        )
        await udp.send(negotiation + bytes(1200))
        await udp.send(flight[0][:1] + b"\x1a\x2a\x3a\x4a" + flight[0][5:1100])
        async with host.client():
            pass
        assert listener_of(host).counters.version_negotiations == 1


@pytest.mark.parametrize("path", ["/v1/signal?" + "p&" * 17, "/v1/signal?p=" + "%ff" * 400, "/v1/signal?p=\xe9"])
async def test_3_1_a_query_that_nobody_expects_refuses_its_session_and_ends_no_other(path: str) -> None:
    async with running() as host, host.open_channel() as other:
        await hello(host, other)
        with pytest.raises(ChannelClosedError, match="HTTP 400"):
            async with connect_webtransport(host.url.partition("/v1/")[0] + path, trusted_pem=certificate().pem):
                pass
        await other.send(b'{"t":"ping","p":{"n":1}}')
        assert (await receive(other)).t == "pong"


async def test_a_fault_of_ours_ends_the_connection_that_met_it_and_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object) -> int:
        raise ZeroDivisionError

    limits = WebTransportConfiguration(linger_s=0.1)
    async with (
        open_signaling_host("webtransport", webtransport=limits, expected_faults=1) as host,
        host.open_channel() as other,
    ):
        await hello(host, other)
        monkeypatch.setattr("triortc.signaling.webtransport.listener.admission_status", fail)
        with pytest.raises(ChannelClosedError):
            async with host.open_channel():
                pass
        await other.send(b'{"t":"ping","p":{"n":1}}')
        assert (await receive(other)).t == "pong"


async def test_rfc9000_3_5_a_request_that_nobody_reads_the_answer_of_ends_no_other_session(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The CONNECT and a STOP_SENDING for its stream come in one datagram."""
    ask = WebTransportSession._ask

    def ask_and_stop(session: WebTransportSession) -> None:
        ask(session)
        assert session._connect_stream is not None
        session._quic.stop_stream(session._connect_stream, 0)

    async with running() as host, host.open_channel() as other:
        await hello(host, other)
        monkeypatch.setattr(WebTransportSession, "_ask", ask_and_stop)
        with pytest.raises(ChannelClosedError):
            async with host.open_channel():
                pass
        await other.send(b'{"t":"ping","p":{"n":1}}')
        assert (await receive(other)).t == "pong"


@pytest.mark.parametrize("datagram", [b"\x40" + bytes(40), b"\xc0", bytes(1300), b"\xff" * 1300, b"\xc3" + bytes(1299)])
async def test_datagrams_of_no_connection_get_no_answer(datagram: bytes) -> None:
    async with running() as host, stranger(host) as udp:
        await udp.send(datagram)
        async with host.client():
            pass
        with trio.move_on_after(0.05) as waiting:
            await udp.recv(2048)
        assert waiting.cancelled_caught
        assert listener_of(host).counters.unknown_datagrams >= 1


async def test_3_7_connections_are_bounded_in_all_and_by_address() -> None:
    for limits in ({"max_connections": 2}, {"max_connections_per_address": 2}, {"max_unvalidated": 2}):
        async with running(**limits) as host, stranger(host) as udp:
            for _ in range(6):
                _, flight = first_flight()
                for datagram in flight:
                    await udp.send(datagram)
            with trio.fail_after(5):
                while listener_of(host).counters.refused_connections < 4:
                    await trio.lowlevel.checkpoint()
            assert listener_of(host).open_connections == 2


async def test_a_connection_without_a_session_is_ended_in_time_and_makes_room() -> None:
    async with running(handshake_timeout_s=0.2, max_connections=1) as host, stranger(host) as udp:
        _, flight = first_flight()
        for datagram in flight:
            await udp.send(datagram)
        with trio.fail_after(5):
            while listener_of(host).counters.connections == 0 or listener_of(host).open_connections:
                await trio.lowlevel.checkpoint()
        async with host.client():
            pass


async def test_a_new_certificate_is_shown_to_new_connections_only() -> None:
    async with running() as host, host.open_channel() as channel:
        await hello(host, channel)
        other = self_signed_certificate(NAMES, now=datetime.now(UTC))
        listener_of(host).use(other)
        with pytest.raises(ChannelClosedError):
            async with host.open_channel():
                pass
        async with connect_webtransport(host.url, trusted_pem=other.pem):
            pass
        await channel.send(b'{"t":"ping","p":{"n":1}}')
        assert (await receive(channel)).t == "pong"


async def test_the_client_moves_to_another_port_and_its_session_goes_on() -> None:
    """RFC 9000 section 9: a phone changes its network; its connection keeps the session."""
    with trio.socket.socket(trio.socket.AF_INET, trio.socket.SOCK_DGRAM) as moved:
        await moved.bind(("127.0.0.1", 0))
        async with running() as host, host.open_channel() as channel:
            await hello(host, channel)
            owner = channel._owner  # type: ignore[attr-defined]  # below the channel on purpose

            async def read() -> None:
                while True:
                    owner.deliver(*await moved.recvfrom(2048))

            async with trio.open_nursery() as nursery:
                nursery.start_soon(read)
                await channel.send(b'{"t":"ping","p":{"n":1}}')
                assert (await receive(channel)).p == {"n": 1}
                owner._send = moved._sock.sendto  # type: ignore[attr-defined]  # trio would wait; UDP does not have to
                await channel.send(b'{"t":"ping","p":{"n":2}}')
                assert (await receive(channel)).p == {"n": 2}
                await channel.aclose()
                nursery.cancel_scope.cancel()
            assert listener_of(host).counters.connections == 1


# --- as `triortc serve` has it


async def test_pages_are_told_the_port_and_the_hash_and_may_connect_there() -> None:
    configuration = ServerConfiguration(
        port=0, development=True, webtransport=WebTransportConfiguration(), host_names=NAMES
    )
    async with open_signaling_house("webtransport", configuration) as house:
        listener = house.server.webtransport
        assert listener is not None
        assert listener.port == house.server.addresses[0][1]
        async with await trio.open_tcp_stream(*house.server.addresses[0]) as stream:
            await stream.send_all(b"GET /v1/transports HTTP/1.1\r\nhost: localhost:1\r\n\r\n")
            offer = json.loads((await stream.receive_some()).rpartition(b"\r\n\r\n")[2])["webtransport"]
            await stream.send_all(b"GET /agent HTTP/1.1\r\nhost: localhost:1\r\n\r\n")
            head = (await stream.receive_some()).partition(b"\r\n\r\n")[0].decode()
        assert offer["port"] == listener.port
        assert [base64.b64decode(text) for text in offer["certificate_hashes"]] == [listener.certificate.sha256]
        assert f"connect-src 'self' ws://localhost:1 https://localhost:{listener.port};" in head
        lifetime = (
            listener.certificate.certificate.not_valid_after_utc - listener.certificate.certificate.not_valid_before_utc
        )
        assert lifetime <= timedelta(days=14)


async def test_a_server_without_webtransport_offers_none() -> None:
    async with open_signaling_house("websocket") as house:
        assert house.server.webtransport_url is None
        async with await trio.open_tcp_stream(*house.server.addresses[0]) as stream:
            await stream.send_all(b"GET /v1/transports HTTP/1.1\r\nhost: localhost\r\n\r\n")
            assert (await stream.receive_some()).endswith(b'{"webtransport":null}\n')


async def test_a_udp_port_in_use_is_reported_and_leaves_nothing() -> None:
    udp = WebTransportConfiguration()
    async with open_signaling_house(
        configuration=ServerConfiguration(port=0, development=True, webtransport=udp)
    ) as house:
        assert house.server.webtransport is not None
        taken = WebTransportConfiguration(port=house.server.webtransport.port)
        with pytest.raises(OSError, match="in use"):
            async with open_signaling_house(
                configuration=ServerConfiguration(port=0, development=True, webtransport=taken)
            ):
                pass


def test_webtransport_outside_of_development_needs_a_certificate() -> None:
    with pytest.raises(ConfigurationError, match="certificate"):
        ServerConfiguration(keys=KeySet(), webtransport=WebTransportConfiguration())
    own = self_signed_certificate(NAMES, now=datetime.now(UTC))
    ServerConfiguration(keys=KeySet(), webtransport=WebTransportConfiguration(), certificate=own)
