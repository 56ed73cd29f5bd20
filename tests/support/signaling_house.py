"""A whole server, call control included, with a media side that only pretends; over any transport."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import trio

from support.calls import FakeMedia
from support.signaling_host import NAMES, Transport, wall_s
from support.wire_schemas import CheckedChannel
from triortc.engine.calls.media_events import LegReady, LegUp, MediaEvent
from triortc.engine.calls.ports import PushPort
from triortc.engine.calls.store import StateStore
from triortc.signaling.app import RunningServer, ServerConfiguration, open_server
from triortc.signaling.channel import MessageChannel, memory_channel_pair
from triortc.signaling.client import ClientDevice, SignalClient, connect_websocket, open_signal_client
from triortc.signaling.webtransport.client import connect_webtransport
from triortc.signaling.webtransport.configuration import WebTransportConfiguration
from triortc.signaling.wire_values import Platform


class PretendedMedia(FakeMedia):
    """Legs are up as soon as they are answered."""

    def __init__(self) -> None:
        super().__init__()
        self.on_event: Callable[[MediaEvent], None] = lambda event: None
        self.closed = False

    def plane(self) -> dict[str, str]:
        return {"name": "none", "reason": "no media here"}

    def counters(self) -> dict[str, int]:
        return {"gate.dropped": 0, "legs": len(self.open_legs)}

    def answer(self, leg: str, neg: int, offer_sdp: str) -> str | None:
        answer = super().answer(leg, neg, offer_sdp)
        if neg == 1:
            self.on_event(LegUp(leg))
            self.on_event(LegReady(leg))
        return answer


@dataclass
class SignalingHouse:
    """What a test works with."""

    transport: Transport
    server: RunningServer
    media: PretendedMedia
    nursery: trio.Nursery

    @asynccontextmanager
    async def open_channel(self) -> AsyncGenerator[MessageChannel]:
        """A channel to the server; everything that passes is held against the published schemas (3.9)."""
        async with self._open_transport() as channel:
            yield CheckedChannel(channel)

    @asynccontextmanager
    async def _open_transport(self) -> AsyncGenerator[MessageChannel]:
        if self.transport == "websocket":
            async with connect_websocket(self.server.signal_url) as channel:
                yield channel
            return
        if self.transport == "webtransport":
            listener, url = self.server.webtransport, self.server.webtransport_url
            assert listener is not None
            assert url is not None
            async with connect_webtransport(url, trusted_pem=listener.certificate.pem) as channel:
                yield channel
            return
        ours, theirs = memory_channel_pair()
        self.nursery.start_soon(self.server.signaling.serve, theirs)
        try:
            yield ours
        finally:
            ours.drop()

    def token(self, role: Any, sub: str, did: str, **claims: Any) -> str:
        assert self.server.issuer is not None
        return self.server.issuer.issue(role=role, sub=sub, did=did, name=sub.title(), **claims)

    @asynccontextmanager
    async def agent(
        self, did: str = "desk", platform: Platform = "desktop", *, sub: str = "ana", green: bool = True
    ) -> AsyncGenerator[SignalClient]:
        """An agent's device; `green`: available for chat and video."""
        device = ClientDevice(did, platform, name=f"{sub}'s {did}")
        async with open_signal_client(self.open_channel, token=self.token("agent", sub, did), device=device) as client:
            if green:
                for channel in ("chat", "video"):
                    await client.command("presence.set", channel=channel, declared="available")
            yield client

    @asynccontextmanager
    async def visitor(
        self, sub: str = "lea", did: str = "tab", conversation: str = "cv_9"
    ) -> AsyncGenerator[SignalClient]:
        """A visitor's page."""
        token = self.token("visitor", sub, did, cv=[conversation])
        device = ClientDevice(did, "web")
        async with open_signal_client(self.open_channel, token=token, device=device) as client:
            yield client


@asynccontextmanager
async def open_signaling_house(
    transport: Transport = "memory",
    configuration: ServerConfiguration | None = None,
    *,
    store: StateStore | None = None,
    push: PushPort | None = None,
) -> AsyncGenerator[SignalingHouse]:
    """Run a development server on a port of its own, and check that nothing is left of it."""
    media = PretendedMedia()

    @asynccontextmanager
    async def open_media() -> AsyncGenerator[PretendedMedia]:
        try:
            yield media
        finally:
            media.closed = True

    served = WebTransportConfiguration(linger_s=0.1) if transport == "webtransport" else None
    chosen = configuration or ServerConfiguration(port=0, development=True, webtransport=served, host_names=NAMES)
    opened = open_server(chosen, open_media=open_media, store=store, push=push, wall_s=wall_s)
    async with opened as server, trio.open_nursery() as nursery:
        yield SignalingHouse(transport, server, media, nursery)
        nursery.cancel_scope.cancel()
    assert media.closed
    assert not media.open_legs
    assert server.signaling.counters.open_connections == 0
    assert server.http.open_connections == 0
    assert server.http.counters.faults == 0
    assert server.webtransport is None or server.webtransport.counters.faults == 0
    assert server.webtransport is None or server.webtransport.open_connections == 0
    assert server.calls.running_sessions == 0


async def together(*steps: Callable[[], Any]) -> None:
    """Take several steps at the same time."""
    async with trio.open_nursery() as nursery:
        for step in steps:
            nursery.start_soon(partial(step))
