"""The whole server in one `async with`: media, call control, signaling, HTTP. Leaving it leaves nothing behind."""

from __future__ import annotations

import os
import ssl
import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from typing import Literal, Protocol

import trio

from triortc.configuration_kinds import require_kinds
from triortc.engine.calls.configuration import CallConfiguration
from triortc.engine.calls.event_log import EventLogPort
from triortc.engine.calls.media_events import MediaEvent
from triortc.engine.calls.memory_store import MemoryStore
from triortc.engine.calls.observing import Observers, OutboxPort
from triortc.engine.calls.ports import HistoryPort, MediaPort, NoPush, PushPort, RecordingPolicyPort, RouterPort
from triortc.engine.calls.quality import QualityConfiguration
from triortc.engine.calls.store import StateStore
from triortc.engine.calls.supervisor import CallSupervisor, open_call_supervisor
from triortc.engine.udp import UdpSocket
from triortc.errors import ConfigurationError, InvalidStateError
from triortc.signaling.certificates import (
    SELF_SIGNED_DAYS,
    ServerCertificate,
    install,
    self_signed_certificate,
    server_context,
)
from triortc.signaling.channel import ServedChannel
from triortc.signaling.configuration import HttpConfiguration, SignalingConfiguration
from triortc.signaling.health import Health, http_counters, media_counters, webtransport_counters
from triortc.signaling.http import SIGNAL_PATH, HttpServer, UpgradeContext
from triortc.signaling.listening import Listener, address_of, open_listeners
from triortc.signaling.push.configuration import PushConfiguration
from triortc.signaling.push.sender import PushSender, open_push_sender
from triortc.signaling.push.web_push import public_key
from triortc.signaling.server import SignalServer, open_signal_server
from triortc.signaling.site import Site
from triortc.signaling.tokens import DevelopmentIssuer, KeyPort, RevocationPort, TokenVerifier
from triortc.signaling.webtransport.admission import Admission
from triortc.signaling.webtransport.configuration import WebTransportConfiguration
from triortc.signaling.webtransport.listener import WebTransportListener
from triortc.signaling.wire import PROTOCOL

__all__ = ["ObservableMedia", "OpenMedia", "RunningServer", "ServerConfiguration", "open_server"]


class ObservableMedia(MediaPort, Protocol):
    """The media side, which tells what happens to legs."""

    on_event: Callable[[MediaEvent], None]

    def counters(self) -> Mapping[str, int]:
        """Totals for `/health`: gates, drops, sockets."""

    def plane(self) -> Mapping[str, str]:
        """Which data plane runs, and why, for `/health`."""


OpenMedia = Callable[[], AbstractAsyncContextManager[ObservableMedia]]
OpenOutbox = Callable[[StateStore], AbstractAsyncContextManager[OutboxPort | None]]


@dataclass(frozen=True, slots=True)
class ServerConfiguration:
    """What a server is made of.

    Attributes:
        host, port: where HTTP and WebSocket listen; port 0: one that the system picks, None: nowhere, because listeners
            of your own do it (`Engine.serve`).
        development: give tokens to whoever asks (`POST /dev/token`). Insecure by design.
        keys: where the keys come from that tokens are verified with; None only in development.
        revocations: which tokens are not valid any more.
        certificate: serve https, and WebTransport, with this certificate and its key.
        tls: serve https with this context instead, where more than a certificate is to be said.
        webtransport: serve WebTransport, too; None: WebSocket only. It needs a certificate, which a development server
            makes itself and tells its pages the hash of.
        scheme: what browsers speak to this server; None: `https` where it has TLS. Say it where TLS ends before this
            server, in a proxy, or in listeners of your own.
        host_names: the names that `Host` may hold; None: any (then a proxy in front has to check it).
        origin_allowed: whether pages of an origin (second) may connect for a tenant (first).
        signaling, http, calls: the numbers of each room.
        push: the push services that wake devices, and our credentials there; None: nothing does.
    """

    host: str = "127.0.0.1"
    port: int | None = 8080
    development: bool = False
    keys: KeyPort | None = None
    revocations: RevocationPort | None = None
    certificate: ServerCertificate | None = None
    tls: ssl.SSLContext | None = None
    webtransport: WebTransportConfiguration | None = None
    scheme: Literal["http", "https"] | None = None
    host_names: tuple[str, ...] | None = None
    origin_allowed: Callable[[str, str], bool] | None = None
    signaling: SignalingConfiguration = field(default_factory=SignalingConfiguration)
    http: HttpConfiguration = field(default_factory=HttpConfiguration)
    calls: CallConfiguration = field(default_factory=CallConfiguration)
    push: PushConfiguration | None = None

    def __post_init__(self) -> None:
        require_kinds(self)
        kinds = {"signaling": SignalingConfiguration, "http": HttpConfiguration, "calls": CallConfiguration}
        for name, kind in kinds.items():
            if not isinstance(getattr(self, name), kind):
                given = type(getattr(self, name)).__name__
                raise ConfigurationError(f"ServerConfiguration.{name} is a {kind.__name__}, not {given}")
        if isinstance(self.host_names, str):
            raise ConfigurationError(f"host_names is several names: write ({self.host_names!r},)")
        if self.keys is not None and not callable(getattr(self.keys, "find", None)):
            raise ConfigurationError(f"keys: {type(self.keys).__name__} has no method 'find': a KeySet has")
        if self.port is not None and not 0 <= self.port <= 65535:
            raise ConfigurationError(f"ServerConfiguration.port is {self.port}; choose 0 to 65535, or None")
        if not self.development and self.keys is None:
            raise ConfigurationError("give `keys` to verify tokens with, or development=True on your own machine")
        if self.development and self.keys is not None:
            raise ConfigurationError("a development server makes its own keys: give either `keys` or development=True")
        if self.certificate is not None and self.tls is not None:
            raise ConfigurationError("give either `certificate` or `tls`: a context has its own certificate")
        if self.webtransport is not None and self.certificate is None and not self.development:
            raise ConfigurationError("WebTransport has no unencrypted form: give `certificate`, or leave it out")
        if self.port is None and (self.webtransport or self.certificate or self.tls):
            raise ConfigurationError("without a port nothing listens: leave out certificate, tls and webtransport")


@dataclass(frozen=True, slots=True)
class RunningServer:
    """A server that is listening.

    Attributes:
        addresses: the bound addresses, (host, port).
        scheme: `http` or `https`.
        signaling: the signaling server; its `serve` takes channels that do not come from the network, too.
        calls: call control.
        http: the HTTP side, for its counters.
        webtransport: the WebTransport side; None: not served.
        issuer: makes development tokens; None outside development.
        media: what `open_media` gave.
        use_certificate: shows another certificate to connections that begin from now on.
        health: the counters of every room.
        connections: the nursery of connections that come in over TCP; they are closed when the server is left.
    """

    addresses: tuple[tuple[str, int], ...]
    scheme: str
    signaling: SignalServer
    calls: CallSupervisor
    http: HttpServer
    webtransport: WebTransportListener | None
    issuer: DevelopmentIssuer | None
    media: ObservableMedia
    use_certificate: Callable[[ServerCertificate], None]
    health: Callable[[], Mapping[str, object]]
    connections: trio.Nursery

    @property
    def ready(self) -> bool:
        """Whether new work may come here: the server is not going away."""
        return not self.signaling.draining

    async def drain(self, within_s: float, *, reconnect: str | None = None) -> bool:
        """Take no new calls, tell every device to go elsewhere, and wait for the calls that run.

        Devices of running calls stay, and come back if they are lost. Leave the server's block afterwards.

        Args:
            within_s: how long the calls may last.
            reconnect: where devices should go; None: they know.

        Returns:
            Whether every call has ended by itself.
        """
        self.calls.drain()
        await self.signaling.announce_draining(round(within_s * 1000), reconnect)
        with trio.move_on_after(within_s) as waiting:
            await self.calls.wait_until_idle()
        return not waiting.cancelled_caught

    @property
    def url(self) -> str:
        """Where the page is, by the first bound address.

        Raises:
            InvalidStateError: it has no listener of its own.
        """
        if not self.addresses:
            raise InvalidStateError("this server does not listen itself: the address is that of your own listeners")
        host, port = self.addresses[0]
        return f"{self.scheme}://{f'[{host}]' if ':' in host else host}:{port}/"

    @property
    def signal_url(self) -> str:
        """Where the WebSocket is."""
        return self.url.replace("http", "ws", 1).rstrip("/") + SIGNAL_PATH

    @property
    def webtransport_url(self) -> str | None:
        """Where WebTransport is; None: not served."""
        if self.webtransport is None:
            return None
        host = self.addresses[0][0]
        authority = f"{f'[{host}]' if ':' in host else host}:{self.webtransport.port}"
        return f"https://{authority}{SIGNAL_PATH}?p={PROTOCOL}"


@asynccontextmanager
async def open_server(
    configuration: ServerConfiguration,
    *,
    open_media: OpenMedia,
    router: RouterPort | None = None,
    history: HistoryPort | None = None,
    recording_policy: RecordingPolicyPort | None = None,
    quality: QualityConfiguration | None = None,
    push: PushPort | None = None,
    store: StateStore | None = None,
    event_log: EventLogPort | None = None,
    observers: Observers | None = None,
    open_outbox: OpenOutbox | None = None,
    further_health: Callable[[], Mapping[str, object]] = dict,
    random_bytes: Callable[[int], bytes] = os.urandom,
    wall_s: Callable[[], float] = time.time,
) -> AsyncGenerator[RunningServer]:
    """Listen and serve until the block is left; then calls end, devices are told, and every socket and task is gone.

    Args:
        configuration: see `ServerConfiguration`.
        open_media: opens the media side; it is closed last.
        router: picks agents; None: the longest idle one.
        history: keeps records; None: memory.
        recording_policy: may refuse recordings; None: what `calls.recording` allows.
        quality: what the media side judges by, for pages; None: the defaults.
        push: gateways of your own; None: those of `configuration.push`.
        store: keeps what must outlive the process; opened and closed here. None: memory.
        event_log: gets every transition of every session; None: they are not written down.
        observers: are told what happens to calls.
        open_outbox: opens what delivers it to others, at least once, with the open store; closed before the store.
        further_health: what `/health` shows of other parts.
        random_bytes: the source of ids, keys and secrets.
        wall_s: unix seconds.

    Raises:
        ConfigurationError, OSError: an address or a value cannot be used.
        StoreError: the store cannot be opened or read.
    """
    issuer = DevelopmentIssuer(random_bytes=random_bytes, wall_s=wall_s) if configuration.development else None
    signaling = _make_signaling(configuration, issuer, quality, random_bytes, wall_s)
    tls = configuration.tls if configuration.certificate is None else server_context(configuration.certificate)
    scheme = configuration.scheme or ("http" if tls is None else "https")
    health = Health(signaling.health)
    webtransport: WebTransportListener | None = None

    def use_certificate(certificate: ServerCertificate) -> None:
        if tls is not None:
            install(tls, certificate)
        if webtransport is not None:
            webtransport.use(certificate)

    def offer() -> Mapping[str, object] | None:
        return None if webtransport is None else webtransport.offer()

    http = _make_http(configuration, signaling, issuer, health, offer, scheme)
    health.add(partial(http_counters, http))
    # Bound first: an address that is taken is an OSError, and not one inside the groups of the nurseries below.
    listeners, sockets = await open_listeners(configuration.host, configuration.port, configuration.webtransport, tls)
    addresses = tuple(address_of(listener) for listener in listeners)
    try:
        if configuration.webtransport is not None:
            webtransport = _make_webtransport(configuration, signaling, sockets, addresses[0][1], scheme, random_bytes)
            health.add(partial(webtransport_counters, webtransport))
        async with (
            _opened(store) as kept,
            (open_outbox or _no_outbox)(kept) as outbox,
            open_media() as media,
            _open_gateways(configuration.push, push, wall_s) as gateways,
            open_signal_server(signaling),
            trio.open_nursery() as connections,
        ):
            for counters in (partial(media_counters, media), gateways.health, further_health):
                health.add(counters)
            open_calls = open_call_supervisor(
                media,
                clients=signaling,
                configuration=configuration.calls,
                router=router,
                history=history,
                recording_policy=recording_policy,
                push=gateways.port,
                store=kept,
                event_log=event_log,
                observers=observers,
                outbox=outbox,
                random_bytes=random_bytes,
                unix_ms_now=int(wall_s() * 1000),
            )
            try:
                async with open_calls as calls, trio.open_nursery() as accepting:
                    media.on_event = calls.media_event
                    signaling.calls = signaling.keeper = calls
                    gateways.report_to(calls)
                    signaling.remember_replies(calls.kept_replies)
                    accepting.start_soon(_accept, http, listeners, connections)
                    if webtransport is not None:
                        connections.start_soon(webtransport.run)
                        if configuration.certificate is None:
                            accepting.start_soon(_renew_development_certificate, configuration, use_certificate)
                    yield RunningServer(
                        addresses=addresses,
                        scheme=scheme,
                        signaling=signaling,
                        calls=calls,
                        http=http,
                        webtransport=webtransport,
                        issuer=issuer,
                        media=media,
                        use_certificate=use_certificate,
                        health=health,
                        connections=connections,
                    )
                    # Listeners first, then calls; devices hear of it before their connections are closed.
                    accepting.cancel_scope.cancel()
            finally:
                signaling.calls = signaling.keeper = None
            signaling.close_all()
            http.close_idle()
            if webtransport is not None:
                webtransport.stop_accepting()
            connections.cancel_scope.deadline = trio.current_time() + configuration.signaling.close_timeout_s
    finally:
        for listener in listeners:
            await trio.aclose_forcefully(listener)
        for socket in sockets:
            socket.close()


def _make_signaling(
    configuration: ServerConfiguration,
    issuer: DevelopmentIssuer | None,
    quality: QualityConfiguration | None,
    random_bytes: Callable[[int], bytes],
    wall_s: Callable[[], float],
) -> SignalServer:
    keys: KeyPort | None = issuer or configuration.keys
    assert keys is not None  # ServerConfiguration has seen to it
    return SignalServer(
        TokenVerifier(keys, wall_s=wall_s, revocations=configuration.revocations),
        configuration=replace(configuration.signaling, features=_features(configuration)),
        origin_allowed=configuration.origin_allowed,
        quality=quality,
        random_bytes=random_bytes,
        wall_ms=lambda: int(wall_s() * 1000),
    )


def _make_http(
    configuration: ServerConfiguration,
    signaling: SignalServer,
    issuer: DevelopmentIssuer | None,
    health: Callable[[], Mapping[str, object]],
    offer: Callable[[], Mapping[str, object] | None],
    scheme: str,
) -> HttpServer:
    site = Site(
        health=health if configuration.development else dict,
        ready=lambda: not signaling.draining,
        issuer=issuer,
        push_key=_push_key(configuration.push),
        offer=offer,
        allowed_origins=configuration.http.allowed_origins,
    )
    return HttpServer(
        site=site,
        upgraded=partial(_serve_channel, signaling),
        may_upgrade=signaling.may_greet,
        configuration=configuration.http,
        host_names=_host_names(configuration),
        scheme=scheme,
    )


def _make_webtransport(
    configuration: ServerConfiguration,
    signaling: SignalServer,
    sockets: Sequence[UdpSocket],
    tcp_port: int,
    scheme: str,
    random_bytes: Callable[[int], bytes],
) -> WebTransportListener:
    assert configuration.webtransport is not None
    origins = configuration.http.allowed_origins
    return WebTransportListener(
        sockets,
        certificate=configuration.certificate or _development_certificate(configuration),
        admission=Admission(SIGNAL_PATH, _host_names(configuration), tcp_port, scheme, origins),
        may_begin=signaling.may_greet,
        serve=partial(_serve_channel, signaling),
        configuration=configuration.webtransport,
        max_message_bytes=configuration.signaling.max_message_bytes,
        random_bytes=random_bytes,
    )


def _host_names(configuration: ServerConfiguration) -> tuple[str, ...] | None:
    """The names that requests may use; None: any."""
    names = configuration.host_names
    return None if names is None else (*names, *configuration.http.hosts)


@dataclass(frozen=True, slots=True)
class _Gateways:
    """The push gateways: the embedder's, ours, or none."""

    port: PushPort
    ours: PushSender | None = None

    def report_to(self, calls: CallSupervisor) -> None:
        if self.ours is not None:
            self.ours.on_gone = calls.push_endpoint_gone

    def health(self) -> dict[str, object]:
        return {} if self.ours is None else {"push": self.ours.counters()}


@asynccontextmanager
async def _open_gateways(
    configuration: PushConfiguration | None, own: PushPort | None, wall_s: Callable[[], float]
) -> AsyncGenerator[_Gateways]:
    """Open longer than the calls, whose end withdraws what rings."""
    if own is not None or configuration is None:
        yield _Gateways(own or NoPush())
        return
    async with open_push_sender(configuration, wall_s=wall_s) as sender:
        yield _Gateways(sender, sender)


def _features(configuration: ServerConfiguration) -> tuple[str, ...]:
    """What pages may offer here, beside what a token allows."""
    features = list(configuration.signaling.features)
    if configuration.calls.recording == "on_request":
        features.append("recording.on_request")
    if configuration.calls.visitor_preview_to_agent:
        features.append("visitor.preview")
    if _push_key(configuration.push) is not None:
        features.append("push.web")
    return tuple(features)


def _push_key(configuration: PushConfiguration | None) -> str | None:
    web_push = None if configuration is None else configuration.web_push
    return None if web_push is None else public_key(web_push)


@asynccontextmanager
async def _no_outbox(store: StateStore) -> AsyncGenerator[None]:
    yield


@asynccontextmanager
async def _opened(store: StateStore | None) -> AsyncGenerator[StateStore]:
    """The given store, or one in memory, open inside the block."""
    kept = MemoryStore() if store is None else store
    async with kept.open():
        yield kept


async def _serve_channel(signaling: SignalServer, channel: ServedChannel, context: UpgradeContext) -> None:
    foreign = context.origin if context.foreign else None
    await signaling.serve(channel, foreign_origin=foreign, peer=context.peer)


def _development_certificate(configuration: ServerConfiguration) -> ServerCertificate:
    return self_signed_certificate(configuration.host_names or (configuration.host,), now=datetime.now(UTC))


async def _accept(http: HttpServer, listeners: Sequence[Listener], connections: trio.Nursery) -> None:
    if listeners:
        await trio.serve_listeners(http.serve, list(listeners), handler_nursery=connections)


async def _renew_development_certificate(
    configuration: ServerConfiguration, use: Callable[[ServerCertificate], None]
) -> None:
    """Browsers take a hash for two weeks at most; pages ask for it whenever they connect."""
    while True:
        await trio.sleep(SELF_SIGNED_DAYS * 24 * 3600 / 2)
        use(_development_certificate(configuration))
