"""Pairs of our own peer connections on loopback."""

from __future__ import annotations

import os
import threading
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Literal

import trio

from triortc import (
    EndpointConfiguration,
    PeerConfiguration,
    PeerConnection,
    RtcSessionDescription,
    open_peer_connection,
)

__all__ = ["LOOPBACK", "Leftovers", "connected_pair", "exchange", "see_and_hear"]

LOOPBACK = PeerConfiguration(endpoint=EndpointConfiguration(media_host=("127.0.0.1",)))


def exchange(offerer: PeerConnection, answerer: PeerConnection) -> None:
    """One offer and answer; what travels is text, as over signaling."""
    offer = offerer.set_local_description()
    answerer.set_remote_description(RtcSessionDescription(offer.type, offer.sdp))
    answer = answerer.set_local_description()
    offerer.set_remote_description(RtcSessionDescription(answer.type, answer.sdp))


@asynccontextmanager
async def connected_pair(
    configuration: PeerConfiguration = LOOPBACK,
) -> AsyncGenerator[tuple[PeerConnection, PeerConnection]]:
    """An offerer and an answerer with sound and pictures both ways."""
    async with open_peer_connection(configuration) as offerer, open_peer_connection(configuration) as answerer:
        for connection in (offerer, answerer):
            connection.add_transceiver("audio")
            connection.add_transceiver("video")
        exchange(offerer, answerer)
        with trio.fail_after(10):
            await offerer.connected()
            await answerer.connected()
        yield offerer, answerer


@dataclass(frozen=True, slots=True)
class Leftovers:
    """What a process holds: taken before and after, it must be the same."""

    tasks: int
    files: frozenset[str]
    threads: int

    @classmethod
    def now(cls) -> Leftovers:
        """Count tasks, sockets and threads that are not trio's own idle workers."""
        files = set()
        for name in os.listdir("/proc/self/fd"):
            try:
                files.add(os.readlink(f"/proc/self/fd/{name}"))
            except OSError:
                continue
        idle = sum(thread.name.startswith("Trio thread") for thread in threading.enumerate())
        return cls(
            trio.lowlevel.current_statistics().tasks_living,
            frozenset(name for name in files if name.startswith("socket:")),
            threading.active_count() - idle,
        )


async def see_and_hear(*sides: PeerConnection) -> None:
    """Wait until ten frames of each kind have come to each of these."""
    kinds: tuple[Literal["audio", "video"], ...] = ("audio", "video")
    for side in sides:
        for kind in kinds:
            transceiver = side.transceiver(kind)
            assert transceiver is not None
            for _ in range(10):
                assert await transceiver.receiver.next_frame() is not None
