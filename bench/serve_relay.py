"""A relay for load generators: two legs a call, offered by HTTP, everything forwarded from one to the other.

The contract (bench/peers/README.md): `POST /offer {"call", "leg": "a" | "b", "sdp", "type"}` answers
`{"call", "leg", "sdp", "type": "answer"}`; whatever leg a sends goes to leg b untouched. `GET /` answers anything.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Annotated, Literal

import msgspec
import trio
from msgspec import Meta

from triortc.bench.loop_watch import LoopWatch
from triortc.engine.calls.leg_configuration import MediaConfiguration
from triortc.engine.calls.legs import LegManager, Side, open_leg_manager
from triortc.engine.calls.media_events import LegFailed, MediaEvent, OfferAnswered, OfferRefused
from triortc.engine.collector import settle_collector
from triortc.engine.endpoint_configuration import EndpointConfiguration
from triortc.engine.ice.configuration import IceConfiguration
from triortc.engine.relay.gate import GateState
from triortc.engine.relay.plane_choice import PlaneChoice
from triortc.engine.session.configuration import SessionConfiguration
from triortc.engine.workers.configuration import WorkerConfiguration
from triortc.engine.workers.worker_pool import WorkerPool, open_worker_pool
from triortc.errors import CallError, SdpError
from triortc.signaling.http import HttpServer, UpgradeContext
from triortc.signaling.site import Request, Response
from triortc.signaling.websocket import WebSocketChannel

__all__ = ["BENCH_MEDIA", "open_relay_server"]

#: Media on loopback alone, nothing of our own in between.
BENCH_MEDIA = MediaConfiguration(
    endpoint=EndpointConfiguration(media_host=("127.0.0.1",), media_first=True),
    session=SessionConfiguration(ice=IceConfiguration(allow_loopback=True)),
    slate="off",
)
_SIDES: dict[str, Side] = {"a": "agent", "b": "visitor"}


class _Offer(msgspec.Struct, frozen=True):
    call: Annotated[str, Meta(max_length=64)] | int
    leg: Literal["a", "b"]
    sdp: Annotated[str, Meta(max_length=32 * 1024)]
    type: Literal["offer"] = "offer"


class RelaySite:
    """Answers offers with legs whose gates are open."""

    def __init__(self, legs: LegManager | WorkerPool, watch: LoopWatch | None) -> None:
        self._legs = legs
        self._watch = watch
        self._waiting: dict[str, trio.MemorySendChannel[OfferAnswered | OfferRefused]] = {}
        legs.on_event = self._happened

    def _happened(self, event: MediaEvent) -> None:
        if isinstance(event, LegFailed):
            self._legs.close_leg(event.leg)  # as call control does, and the relays of the other stacks
        elif isinstance(event, OfferAnswered | OfferRefused) and event.leg in self._waiting:
            self._waiting[event.leg].send_nowait(event)

    async def respond(self, request: Request) -> Response:
        """Answer one HTTP request; see the module's contract."""
        if request.method != "POST" or request.path != "/offer":
            counters = self._legs.counters()
            if self._watch is not None:
                counters |= self._watch.take()
            return Response(200, msgspec.json.encode(counters), "application/json")
        try:
            offer = msgspec.json.decode(request.body, type=_Offer)
            answer = await self._answer(offer)
        except (msgspec.MsgspecError, SdpError, CallError) as error:
            return Response(400, str(error).encode() + b"\n")
        body = {"call": offer.call, "leg": offer.leg, "sdp": answer, "type": "answer"}
        return Response(200, msgspec.json.encode(body), "application/json")

    async def _answer(self, offer: _Offer) -> str:
        session, leg = str(offer.call), f"{offer.call}-{offer.leg}"
        self._legs.close_leg(leg)
        self._legs.open_leg(session, leg, _SIDES[offer.leg])
        answer = self._legs.answer(leg, 1, offer.sdp)
        if answer is None:
            answer = await self._answer_elsewhere(leg)
        for kind in ("audio", "video"):
            self._legs.set_gate(session, leg, kind, GateState.OPEN, 1)
        return answer

    async def _answer_elsewhere(self, leg: str) -> str:
        self._waiting[leg], answers = trio.open_memory_channel[OfferAnswered | OfferRefused](1)
        event = await answers.receive()
        del self._waiting[leg]
        if isinstance(event, OfferRefused):
            raise SdpError(event.message)
        return event.sdp


async def _no_websocket(channel: WebSocketChannel, context: UpgradeContext) -> None:
    await channel.aclose(4400, "no signaling here")


@asynccontextmanager
async def open_relay_server(
    port: int, plane: PlaneChoice = "python", workers: int = 0, *, watch_cpu: bool = False
) -> AsyncGenerator[int]:
    """Serve the contract on 127.0.0.1 until the block is left; gives the bound port.

    Arguments:
        port: of HTTP.
        plane: what forwards packets.
        workers: media processes; 0: media runs in this one.
        watch_cpu: tell the longest callback of this process by its CPU time, which costs a little for each.

    Raises:
        ConfigurationError: the accelerated plane was asked for and cannot run here.
        OSError: the port is taken.
    """
    media = replace(BENCH_MEDIA, plane=plane)
    opened = open_worker_pool(media, WorkerConfiguration(count=workers)) if workers else open_leg_manager(media)
    async with opened as legs:
        watch = None
        if watch_cpu and isinstance(legs, LegManager):
            watch = LoopWatch(time.thread_time)
            trio.lowlevel.add_instrument(watch)
            legs.endpoint.watch_turns(watch)
        site = RelaySite(legs, watch)
        server = HttpServer(site=site, upgraded=_no_websocket, may_upgrade=lambda upgrading, peer: False)
        settle_collector()
        async with trio.open_nursery() as nursery:
            listeners = await trio.open_tcp_listeners(port, host="127.0.0.1")
            nursery.start_soon(trio.serve_listeners, server.serve, listeners)
            bound: int = listeners[0].socket.getsockname()[1]
            yield bound
            nursery.cancel_scope.cancel()
