"""Whole calls against a real server: WebSocket, UDP on loopback, our own PeerConnection; frames made up, no codecs."""

from __future__ import annotations

import gc
import os
import threading
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import trio
import trio.testing

from triortc.codecs.frames import EncodedFrame
from triortc.engine.calls.configuration import CallConfiguration
from triortc.engine.calls.leg_configuration import MediaConfiguration
from triortc.engine.calls.legs import LegManager
from triortc.engine.endpoint_configuration import EndpointConfiguration
from triortc.engine.ice.configuration import IceConfiguration
from triortc.engine.peer.configuration import PeerConfiguration
from triortc.engine.peer.connection import PeerConnection, open_peer_connection
from triortc.engine.peer.description import RtcSessionDescription
from triortc.engine.relay.plane_choice import PlaneChoice
from triortc.engine.session.configuration import SessionConfiguration
from triortc.engine.workers.configuration import WorkerConfiguration
from triortc.engine.workers.worker_pool import WorkerPool
from triortc.signaling.app import RunningServer, ServerConfiguration
from triortc.signaling.client import ClientDevice, SignalClient, connect_websocket, open_signal_client
from triortc.signaling.configuration import SignalingConfiguration
from triortc.signaling.engine import EngineConfiguration, open_engine

__all__ = [
    "Party",
    "agent",
    "ask",
    "held_before",
    "leftovers",
    "legs_of",
    "open_house",
    "settled",
    "talk",
    "visitor",
    "workers_of",
]

_LOOPBACK = SessionConfiguration(ice=IceConfiguration(allow_loopback=True))
_PEER = PeerConfiguration(endpoint=EndpointConfiguration(media_host=("127.0.0.1",)), session=_LOOPBACK)
#: A keyframe's first bytes are enough for everybody who only passes pictures on.
_KEYFRAME = b"\x10\x00\x00\x9d\x01\x2a\x80\x02\xe0\x01" + bytes(400)
_PICTURE = b"\x11\x00\x00" + bytes(200)
_SOUND = b"\xfc" + bytes(40)


@asynccontextmanager
async def open_house(*, workers: int = 0, plane: PlaneChoice = "python", **calls: Any) -> AsyncGenerator[RunningServer]:
    """A development server on loopback, ports picked by the system; `calls` are fields of CallConfiguration."""
    configuration = EngineConfiguration(
        server=ServerConfiguration(
            port=0,
            development=True,
            calls=CallConfiguration(**calls),
            # Programs are faster than people: the limits of a device are tested elsewhere.
            signaling=SignalingConfiguration(
                rate_burst=10_000, rate_per_s=1000.0, offer_burst=10_000, offers_per_s=1000.0
            ),
        ),
        media=MediaConfiguration(
            endpoint=EndpointConfiguration(media_host=("127.0.0.1",)), session=_LOOPBACK, plane=plane
        ),
        workers=WorkerConfiguration(count=workers, report_interval_s=0.1),
    )
    async with open_engine(configuration) as house:
        yield house


@dataclass(eq=False)
class Party:
    """One device: its signaling and, once it has one, its leg."""

    signal: SignalClient
    house: RunningServer
    nursery: trio.Nursery
    legs: list[trio.CancelScope] = field(default_factory=list)

    async def leg(self, leg: str, neg: int = 1) -> PeerConnection:
        """Bring this device's leg up, and send made-up sound and pictures on it until the device leaves.

        Another connection of the same leg, as a page that was loaded again makes one, offers with a greater `neg`.
        """
        opened: PeerConnection = await self.nursery.start(self._run_leg)
        opened.set_local_description(opened.create_offer())
        assert opened.local_description is not None
        reply = await self.signal.command("sdp.offer", leg=leg, neg=neg, sdp=opened.local_description.sdp)
        opened.set_remote_description(RtcSessionDescription("answer", reply["answer"]))
        await opened.connected()
        return opened

    def close_legs(self) -> None:
        """End this device's legs from its own side."""
        for scope in self.legs:
            scope.cancel()
        self.legs.clear()

    async def _run_leg(self, task_status: trio.TaskStatus[PeerConnection]) -> None:
        with trio.CancelScope() as scope:
            self.legs.append(scope)
            async with open_peer_connection(_PEER) as connection:
                connection.add_transceiver("audio")
                connection.add_transceiver("video")
                task_status.started(connection)
                await self._send(connection)

    async def _send(self, connection: PeerConnection) -> None:
        audio, video = connection.transceiver("audio"), connection.transceiver("video")
        assert audio is not None
        assert video is not None
        number = 0
        while True:
            key = number == 0 or video.sender.take_keyframe_request()
            video.sender.send_frame(EncodedFrame(_KEYFRAME if key else _PICTURE, number * 1800, 1800, key))
            audio.sender.send_frame(EncodedFrame(_SOUND, number * 960, 960))
            number += 1
            await trio.sleep(0.02)


@asynccontextmanager
async def _party(
    house: RunningServer, role: str, sub: str, device: str, platform: str, **token: Any
) -> AsyncGenerator[Party]:
    assert house.issuer is not None
    issued = house.issuer.issue(role=role, sub=sub, did=device, **token)  # type: ignore[arg-type]  # a literal at run time
    channel = partial(connect_websocket, house.signal_url)
    described = ClientDevice(id=device, platform=platform)  # type: ignore[arg-type]  # a literal at run time
    async with open_signal_client(channel, token=issued, device=described) as signal, trio.open_nursery() as nursery:
        yield Party(signal, house, nursery)
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def agent(
    house: RunningServer, sub: str = "ana", device: str = "desk", platform: str = "desktop", *, green: bool = True
) -> AsyncGenerator[Party]:
    """An agent's device, available for chat and video."""
    async with _party(house, "agent", sub, device, platform, name=sub.title()) as party:
        for channel in ("chat", "video") if green else ():
            await party.signal.command("presence.set", channel=channel, declared="available")
        yield party


@asynccontextmanager
async def visitor(house: RunningServer, conversation: str, sub: str = "lea") -> AsyncGenerator[Party]:
    """A visitor's page for one conversation."""
    async with _party(
        house, "visitor", f"{sub}-{conversation}", f"tab-{conversation}", "web", cv=(conversation,)
    ) as party:
        yield party


async def ask(caller: Party, conversation: str) -> dict[str, Any]:
    """Ask for a video call."""
    return await caller.signal.command("call.request", conversation=conversation, media={"audio": True, "video": True})


async def talk(caller: Party, callee: Party, conversation: str) -> str:
    """Ask, ring, warm, accept, and wait until both sides are told that the call is active."""
    asked = await ask(caller, conversation)
    session: str = asked["session"]
    await caller.leg(asked["leg"])
    offer = await callee.signal.event("ring.offer", session=session)
    opened = await callee.signal.command("ring.opened", ring=offer.p["ring"])
    await callee.leg(opened["leg"])
    await callee.signal.command("call.accept", session=session)
    await caller.signal.event("call.active", session=session)
    await callee.signal.event("call.active", session=session)
    return session


def leftovers() -> dict[str, int]:
    """What this process holds now: open files (sockets too), threads at work, tasks.

    trio keeps idle threads for ten seconds, to use them again; one at work has taken a place of a limiter.
    """
    return {
        "files": len(os.listdir("/proc/self/fd")),
        "threads": trio.to_thread.current_default_thread_limiter().borrowed_tokens + len(_own_threads()),
        "tasks": trio.lowlevel.current_statistics().tasks_living,
    }


def held_before() -> dict[str, int]:
    """`leftovers` when a test begins: what other tests have left to the garbage collector is none of it."""
    gc.collect()
    return leftovers()


async def settled() -> dict[str, int]:
    """`leftovers` once they change no more: a connection is closed by both its ends, and each takes a few turns.

    A thread at work (a slate is encoded) is waited for: it may take long on a busy machine.
    """
    last: dict[str, int] = {}
    found = leftovers()
    while found != last or found["threads"]:
        await trio.testing.wait_all_tasks_blocked(0.1)
        last, found = found, leftovers()
    return found


def _own_threads() -> list[str]:
    """Threads that neither Python's start nor trio's cache accounts for."""
    return [
        thread.name
        for thread in threading.enumerate()
        if thread is not threading.main_thread() and not thread.name.startswith("Trio thread")
    ]


def workers_of(house: RunningServer) -> WorkerPool:
    """The media processes."""
    assert isinstance(house.media, WorkerPool)
    return house.media


def legs_of(house: RunningServer) -> LegManager:
    """The media side, for its counters."""
    assert isinstance(house.media, LegManager)
    return house.media
