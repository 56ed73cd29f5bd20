"""The whole server in one `async with`: media, call control, signaling, HTTP. Leaving it leaves nothing behind."""

from __future__ import annotations

import os
import ssl
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field, fields
from functools import partial
from typing import Protocol

import trio

from triortc.engine.calls.configuration import CallConfiguration
from triortc.engine.calls.media_events import MediaEvent
from triortc.engine.calls.ports import HistoryPort, MediaPort, RecordingPolicyPort, RouterPort
from triortc.engine.calls.supervisor import CallSupervisor, open_call_supervisor
from triortc.errors import ConfigurationError
from triortc.signaling.channel import WebSocketChannel
from triortc.signaling.configuration import HttpConfiguration, SignalingConfiguration
from triortc.signaling.http import SIGNAL_PATH, HttpServer, UpgradeContext
from triortc.signaling.server import SignalServer, open_signal_server
from triortc.signaling.site import Site
from triortc.signaling.tokens import DevelopmentIssuer, KeyPort, RevocationPort, TokenVerifier

__all__ = ["ObservableMedia", "OpenMedia", "RunningServer", "ServerConfiguration", "open_server"]


class ObservableMedia(MediaPort, Protocol):
    """The media side, which tells what happens to legs."""

    on_event: Callable[[MediaEvent], None]

    def counters(self) -> Mapping[str, int]:
        """Totals for `/health`: gates, drops, sockets."""


OpenMedia = Callable[[], AbstractAsyncContextManager[ObservableMedia]]


@dataclass(frozen=True, slots=True)
class ServerConfiguration:
    """What a server is made of.

    Attributes:
        host, port: where HTTP and WebSocket listen; port 0: one that the system picks.
        development: give tokens to whoever asks (`POST /dev/token`). Insecure by design.
        keys: where the keys come from that tokens are verified with; None only in development.
        revocations: which tokens are not valid any more.
        tls: serve https with this context.
        host_names: the names that `Host` may hold; None: any (then a proxy in front has to check it).
        origin_allowed: whether pages of an origin (second) may connect for a tenant (first).
        signaling, http, calls: the numbers of each room.
    """

    host: str = "127.0.0.1"
    port: int = 8080
    development: bool = False
    keys: KeyPort | None = None
    revocations: RevocationPort | None = None
    tls: ssl.SSLContext | None = None
    host_names: tuple[str, ...] | None = None
    origin_allowed: Callable[[str, str], bool] | None = None
    signaling: SignalingConfiguration = field(default_factory=SignalingConfiguration)
    http: HttpConfiguration = field(default_factory=HttpConfiguration)
    calls: CallConfiguration = field(default_factory=CallConfiguration)

    def __post_init__(self) -> None:
        if not self.development and self.keys is None:
            raise ConfigurationError("give `keys` to verify tokens with, or development=True on your own machine")
        if self.development and self.keys is not None:
            raise ConfigurationError("a development server makes its own keys: give either `keys` or development=True")


@dataclass(frozen=True, slots=True)
class RunningServer:
    """A server that is listening.

    Attributes:
        addresses: the bound addresses, (host, port).
        scheme: `http` or `https`.
        signaling: the signaling server; its `serve` takes channels that do not come from the network, too.
        calls: call control.
        http: the HTTP side, for its counters.
        issuer: makes development tokens; None outside development.
        media: what `open_media` gave.
    """

    addresses: tuple[tuple[str, int], ...]
    scheme: str
    signaling: SignalServer
    calls: CallSupervisor
    http: HttpServer
    issuer: DevelopmentIssuer | None
    media: ObservableMedia

    @property
    def url(self) -> str:
        """Where the page is, by the first bound address."""
        host, port = self.addresses[0]
        return f"{self.scheme}://{f'[{host}]' if ':' in host else host}:{port}/"

    @property
    def signal_url(self) -> str:
        """Where the WebSocket is."""
        return self.url.replace("http", "ws", 1).rstrip("/") + SIGNAL_PATH


@asynccontextmanager
async def open_server(
    configuration: ServerConfiguration,
    *,
    open_media: OpenMedia,
    router: RouterPort | None = None,
    history: HistoryPort | None = None,
    recording_policy: RecordingPolicyPort | None = None,
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
        random_bytes: the source of ids, keys and secrets.
        wall_s: unix seconds.

    Raises:
        ConfigurationError, OSError: an address or a value cannot be used.
    """
    issuer = DevelopmentIssuer(random_bytes=random_bytes, wall_s=wall_s) if configuration.development else None
    keys: KeyPort | None = issuer or configuration.keys
    assert keys is not None  # ServerConfiguration has seen to it
    signaling = SignalServer(
        TokenVerifier(keys, wall_s=wall_s, revocations=configuration.revocations),
        configuration=configuration.signaling,
        origin_allowed=configuration.origin_allowed,
        random_bytes=random_bytes,
        wall_ms=lambda: int(wall_s() * 1000),
    )
    scheme = "http" if configuration.tls is None else "https"
    http: HttpServer
    media: ObservableMedia

    def health() -> Mapping[str, object]:
        counters = {field.name: getattr(http.counters, field.name) for field in fields(http.counters)}
        return {**signaling.health(), "http": counters, **_by_room(media.counters())}

    http = HttpServer(
        site=Site(health=health, issuer=issuer),
        upgraded=partial(_serve_websocket, signaling),
        may_upgrade=signaling.may_greet,
        configuration=configuration.http,
        host_names=None if configuration.host_names is None else (*configuration.host_names, *configuration.http.hosts),
        scheme=scheme,
    )
    # Bound first: an address that is taken is an OSError, and not one inside the groups of the nurseries below.
    listeners = await _open_listeners(configuration)
    try:
        async with open_media() as media, open_signal_server(signaling), trio.open_nursery() as connections:
            open_calls = open_call_supervisor(
                media,
                clients=signaling,
                configuration=configuration.calls,
                router=router,
                history=history,
                recording_policy=recording_policy,
                random_bytes=random_bytes,
                unix_ms_now=int(wall_s() * 1000),
            )
            try:
                async with open_calls as calls, trio.open_nursery() as accepting:
                    media.on_event = calls.media_event
                    signaling.calls = calls
                    serve = partial(trio.serve_listeners, http.serve, listeners, handler_nursery=connections)
                    accepting.start_soon(serve)
                    yield RunningServer(
                        addresses=tuple(_address(listener) for listener in listeners),
                        scheme=scheme,
                        signaling=signaling,
                        calls=calls,
                        http=http,
                        issuer=issuer,
                        media=media,
                    )
                    # Listeners first, then calls; devices hear of it before their connections are closed.
                    accepting.cancel_scope.cancel()
            finally:
                signaling.calls = None
            signaling.close_all()
            http.close_idle()
            connections.cancel_scope.deadline = trio.current_time() + configuration.signaling.close_timeout_s
    finally:
        for listener in listeners:
            await trio.aclose_forcefully(listener)


def _by_room(counters: Mapping[str, int]) -> dict[str, dict[str, int]]:
    """`{"gate.dropped": 3}` as `{"gate": {"dropped": 3}}`; names without a dot belong to `media`."""
    rooms: dict[str, dict[str, int]] = {}
    for name, value in counters.items():
        room, _, counter = name.rpartition(".")
        rooms.setdefault(room or "media", {})[counter] = value
    return rooms


async def _serve_websocket(signaling: SignalServer, channel: WebSocketChannel, context: UpgradeContext) -> None:
    await signaling.serve(channel, foreign_origin=context.origin if context.foreign else None)


_Listener = trio.SocketListener | trio.SSLListener[trio.SocketStream]


async def _open_listeners(configuration: ServerConfiguration) -> list[_Listener]:
    plain = await trio.open_tcp_listeners(configuration.port, host=configuration.host)
    if configuration.tls is None:
        return list(plain)
    return [trio.SSLListener(listener, configuration.tls, https_compatible=True) for listener in plain]


def _address(listener: _Listener) -> tuple[str, int]:
    socket_listener = listener.transport_listener if isinstance(listener, trio.SSLListener) else listener
    assert isinstance(socket_listener, trio.SocketListener)
    name = socket_listener.socket.getsockname()
    return name[0], name[1]
