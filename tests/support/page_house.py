"""A development server for the pages with numbers of its own: short rings, a queue, an address to be cut off."""

from __future__ import annotations

import subprocess
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import trio

from triortc.engine.calls.call_recording import RecordingConfiguration
from triortc.engine.calls.configuration import CallConfiguration
from triortc.engine.calls.leg_configuration import MediaConfiguration
from triortc.engine.calls.quality import QualityConfiguration
from triortc.engine.endpoint_configuration import EndpointConfiguration
from triortc.engine.ice.configuration import IceConfiguration
from triortc.engine.session.configuration import SessionConfiguration
from triortc.signaling.app import ServerConfiguration
from triortc.signaling.engine import EngineConfiguration, open_engine
from triortc.signaling.push.configuration import PushConfiguration

__all__ = ["cut_off", "page_house"]


@asynccontextmanager
async def page_house(
    *,
    host: str = "127.0.0.1",
    media_host: str | None = None,
    recordings: Path | None = None,
    push: PushConfiguration | None = None,
    quality: QualityConfiguration | None = None,
    **calls: Any,
) -> AsyncGenerator[str]:
    """Serve the pages, and yield their address.

    Args:
        host: of pages, signaling and media: any loopback address.
        media_host: of media, where it is another.
        recordings: a directory for them, where calls are recorded.
        push: services that wake devices.
        quality: when a way counts as weak; None: the defaults.
        calls: fields of CallConfiguration.
    """
    media = MediaConfiguration(
        endpoint=EndpointConfiguration(media_host=(media_host or host,)),
        session=SessionConfiguration(ice=IceConfiguration(allow_loopback=True)),
    )
    if quality is not None:
        media = replace(media, quality=quality)
    if recordings is not None:
        media = replace(media, recording=RecordingConfiguration(directory=recordings))
    server = ServerConfiguration(host=host, port=0, development=True, calls=CallConfiguration(**calls), push=push)
    configuration = EngineConfiguration(server=server, media=media)
    async with open_engine(configuration) as house:
        yield house.url.rstrip("/")


@asynccontextmanager
async def cut_off(address: str) -> AsyncIterator[None]:
    """Nothing reaches this loopback address inside the block: what is sent there disappears, as behind a dead link."""
    route = ("blackhole", f"{address}/32", "table", "local")
    await trio.run_process(["ip", "route", "add", *route], stderr=subprocess.STDOUT)
    try:
        yield
    finally:
        with trio.CancelScope(shield=True), trio.move_on_after(5):
            await trio.run_process(["ip", "route", "del", *route], stderr=subprocess.STDOUT)
