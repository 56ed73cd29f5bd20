"""A signaling server over memory channels, WebSockets or WebTransport, with scripted call control behind it."""

from __future__ import annotations

import random
from collections.abc import AsyncGenerator, Callable
from contextlib import ExitStack, asynccontextmanager, closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache, partial
from typing import Any, Literal

import trio

from triortc.engine.calls.actor import Actor, DeviceAddress, DeviceInformation
from triortc.engine.calls.commands import Command
from triortc.engine.calls.notifications import RingOffer
from triortc.engine.calls.replies import Ok, Reply
from triortc.engine.calls.view_values import PermissionView as Permission
from triortc.engine.calls.view_values import Snapshot, VisitorView
from triortc.engine.udp import UdpSocket
from triortc.signaling.certificates import ServerCertificate, self_signed_certificate
from triortc.signaling.channel import MemoryChannel, MessageChannel, ServedChannel, memory_channel_pair
from triortc.signaling.client import ClientDevice, SignalClient, connect_websocket, open_signal_client
from triortc.signaling.configuration import HttpConfiguration, SignalingConfiguration
from triortc.signaling.http import SIGNAL_PATH, HttpServer, UpgradeContext
from triortc.signaling.server import SignalServer, open_signal_server
from triortc.signaling.site import Site
from triortc.signaling.tokens import DevelopmentIssuer, KeyPort, RevocationPort, TokenVerifier, VerificationKey
from triortc.signaling.webtransport.admission import Admission
from triortc.signaling.webtransport.client import connect_webtransport
from triortc.signaling.webtransport.configuration import WebTransportConfiguration
from triortc.signaling.webtransport.listener import WebTransportListener
from triortc.signaling.wire import MAX_MESSAGE_BYTES, PROTOCOL, Message, decode_message, encode_message

Transport = Literal["memory", "websocket", "webtransport"]
TRANSPORTS: tuple[Transport, ...] = ("memory", "websocket", "webtransport")
NAMES = ("127.0.0.1", "localhost")
_HTTP = HttpConfiguration()
WALL_S = 1_800_000_000.0


def wall_s() -> float:
    """A wall clock that follows trio's, so that tokens run out in virtual time."""
    return WALL_S + trio.current_time()


@cache
def certificate() -> ServerCertificate:
    """One certificate for all tests."""
    return self_signed_certificate(NAMES, now=datetime.now(UTC))


@dataclass
class ScriptedCalls:
    """Call control that answers what a test says, and writes down what it was asked."""

    answer: Callable[[Actor, Command], Reply] = lambda actor, command: Ok()
    commands: list[tuple[Actor, Command, float]] = field(default_factory=list)
    happened: list[tuple[str, str]] = field(default_factory=list)
    devices: list[DeviceInformation] = field(default_factory=list)
    snapshot: Snapshot = field(default_factory=Snapshot)
    afterwards: Callable[[Any], None] = lambda actor: None
    _news: trio.Event = field(default_factory=trio.Event)

    def _note(self, what: str, device: str) -> None:
        self.happened.append((what, device))
        self._news.set()
        self._news = trio.Event()

    async def wait_for(self, what: str) -> None:
        """Until call control has been told of this."""
        with trio.fail_after(5):
            while what not in [name for name, _ in self.happened]:
                await self._news.wait()

    def command(
        self,
        actor: Actor,
        command: Command,
        rx_time: float | None = None,
        on_reply: Callable[[Reply], None] | None = None,
    ) -> Reply:
        self.commands.append((actor, command, rx_time or 0.0))
        reply = self.answer(actor, command)
        if on_reply is not None:
            on_reply(reply)
        self.afterwards(actor)
        return reply

    def device_connected(self, actor: Actor, device: DeviceInformation) -> Snapshot:
        self._note("connected", device.id)
        self.devices.append(device)
        return self.snapshot

    def device_lost(self, address: DeviceAddress) -> None:
        self._note("lost", address.device)

    def device_resumed(self, address: DeviceAddress, device: DeviceInformation | None = None) -> None:
        self._note("resumed", address.device)

    def device_gone(self, address: DeviceAddress) -> None:
        self._note("gone", address.device)

    def device_revoked(self, address: DeviceAddress) -> None:
        self._note("revoked", address.device)

    def actor_changed(self, actor: Actor) -> None:
        self._note("changed", actor.device or "")


@dataclass
class SignalingHost:
    """What a test works with."""

    transport: Transport
    server: SignalServer
    calls: ScriptedCalls
    issuer: DevelopmentIssuer
    http: HttpServer
    nursery: trio.Nursery
    address: tuple[str, int] | None
    listener: WebTransportListener | None = None
    #: The server's ends of memory channels, newest last.
    server_ends: list[MemoryChannel] = field(default_factory=list)

    @property
    def url(self) -> str:
        assert self.address is not None
        if self.transport == "webtransport":
            return f"https://{self.address[0]}:{self.address[1]}{SIGNAL_PATH}?p={PROTOCOL}"
        return f"ws://{self.address[0]}:{self.address[1]}{SIGNAL_PATH}"

    def token(self, sub: str = "ana", did: str = "d1", role: Any = "agent", **claims: Any) -> str:
        return self.issuer.issue(role=role, sub=sub, did=did if role == "agent" else None, **claims)

    @asynccontextmanager
    async def open_channel(self) -> AsyncGenerator[MessageChannel]:
        """A raw channel to the server; closed abruptly at the end."""
        if self.transport == "websocket":
            async with connect_websocket(self.url) as channel:
                yield channel
            return
        if self.transport == "webtransport":
            async with connect_webtransport(self.url, trusted_pem=certificate().pem) as channel:
                yield channel
            return
        ours, theirs = memory_channel_pair()
        self.server_ends.append(theirs)
        self.nursery.start_soon(self.server.serve, theirs)
        try:
            yield ours
        finally:
            ours.drop()

    def client(self, sub: str = "ana", did: str = "d1", role: Any = "agent", **claims: Any) -> Any:
        """A connected `SignalClient`, as a context manager."""
        device = ClientDevice(did, platform="web" if role == "visitor" else "desktop")
        return open_signal_client(self.open_channel, token=self.token(sub, did, role, **claims), device=device)

    def new_client(self, sub: str = "ana", did: str = "d1") -> SignalClient:
        """A client that is not connected yet."""
        return SignalClient(self.open_channel, self.token(sub, did), ClientDevice(did), random.Random(1).randbytes)

    def hello(self, token: str | None = None, did: str = "d1", **more: Any) -> bytes:
        device = {"id": did, "platform": "desktop"}
        return encode_message("hello", {"token": token or self.token(did=did), "device": device, **more})


@dataclass(frozen=True)
class _Keys:
    issuer: DevelopmentIssuer
    further: KeyPort | None

    async def find(self, kid: str, issuer: str) -> VerificationKey | None:
        own = await self.issuer.find(kid, issuer)
        return own if own is not None or self.further is None else await self.further.find(kid, issuer)


@asynccontextmanager
async def open_signaling_host(
    transport: Transport = "memory",
    *,
    configuration: SignalingConfiguration | None = None,
    http: HttpConfiguration | None = None,
    revocations: RevocationPort | None = None,
    further_keys: KeyPort | None = None,
    webtransport: WebTransportConfiguration | None = None,
    host_names: tuple[str, ...] | None = NAMES,
    origin_allowed: Callable[[str, str], bool] | None = None,
    expected_faults: int = 0,
) -> AsyncGenerator[SignalingHost]:
    """Run a signaling server until the block is left, and check that it leaves nothing and has hidden no failure.

    Tokens of the development issuer are good, and those signed with `further_keys`.
    """
    issuer = DevelopmentIssuer(random_bytes=random.Random(7).randbytes, wall_s=wall_s)
    server = SignalServer(
        TokenVerifier(_Keys(issuer, further_keys), wall_s=wall_s, revocations=revocations),
        configuration=configuration,
        origin_allowed=origin_allowed,
        wall_ms=lambda: int(wall_s() * 1000),
    )
    calls = ScriptedCalls()
    server.calls = calls

    async def upgraded(channel: ServedChannel, context: UpgradeContext) -> None:
        foreign = context.origin if context.foreign else None
        await server.serve(channel, foreign_origin=foreign, peer=context.peer)

    http_server = HttpServer(
        site=Site(health=server.health, issuer=issuer),
        upgraded=upgraded,
        may_upgrade=server.may_greet,
        configuration=http,
        host_names=host_names,
    )
    with ExitStack() as sockets:
        async with open_signal_server(server), trio.open_nursery() as nursery:
            address: tuple[str, int] | None = None
            if transport == "websocket":
                listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
                address = listeners[0].socket.getsockname()
                nursery.start_soon(partial(trio.serve_listeners, http_server.serve, listeners, handler_nursery=nursery))
            listener: WebTransportListener | None = None
            if transport == "webtransport":
                chosen = webtransport or WebTransportConfiguration(linger_s=0.1)
                udp = sockets.enter_context(closing(UdpSocket("127.0.0.1", 0, buffer_bytes=chosen.socket_buffer_bytes)))
                address = udp.address
                listener = WebTransportListener(
                    [udp],
                    certificate=certificate(),
                    admission=Admission(SIGNAL_PATH, host_names, address[1], "https", (http or _HTTP).allowed_origins),
                    may_begin=server.may_greet,
                    serve=upgraded,
                    configuration=chosen,
                    max_message_bytes=MAX_MESSAGE_BYTES,
                )
                nursery.start_soon(listener.run)
            yield SignalingHost(transport, server, calls, issuer, http_server, nursery, address, listener)
            nursery.cancel_scope.cancel()
    assert server.counters.open_connections == 0
    assert server.counters.handshakes == 0
    assert http_server.open_connections == 0
    assert listener is None or listener.open_connections == 0
    faults = http_server.counters.faults + (0 if listener is None else listener.counters.faults)
    assert faults == expected_faults


async def receive(channel: MessageChannel) -> Message:
    """The next message of the server."""
    with trio.fail_after(5):
        return decode_message(await channel.receive())


async def hello(host: SignalingHost, channel: MessageChannel, **more: Any) -> Message:
    """Say hello and give what the server says."""
    await channel.send(host.hello(**more))
    return await receive(channel)


def ring_offer(session: str = "vs_1", ring: str = "rg_1") -> RingOffer:
    """A ring, as call control tells of it."""
    return RingOffer(
        ring=ring,
        session=session,
        conversation="cv_9",
        kind="call",
        ttl_ms=30_000,
        expires_at=1,
        visitor=VisitorView(name="Léa"),
        preview=True,
        permission=Permission("granted", "granted", "none"),
        media={"audio": True, "video": True},
    )


def address(sub: str = "ana", did: str = "d1", role: Any = "agent") -> DeviceAddress:
    """The address of a device of the development tenant."""
    return DeviceAddress("dev", role, sub, did)
