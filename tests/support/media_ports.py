"""Call control's media port in each of its forms, to be held to the same: here, over a stream, in another process."""

from __future__ import annotations

import itertools
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Literal, TypeVar

import trio
import trio.testing

from triortc.engine.calls.call_recording import RecordingConfiguration
from triortc.engine.calls.leg_configuration import MediaConfiguration
from triortc.engine.calls.legs import LegManager, open_leg_manager
from triortc.engine.calls.media_events import MediaEvent, OfferAnswered, OfferRefused
from triortc.engine.endpoint_configuration import EndpointConfiguration
from triortc.engine.ice.configuration import IceConfiguration
from triortc.engine.sdp.negotiated import SdpUnsupportedError
from triortc.engine.session.configuration import SessionConfiguration
from triortc.engine.workers.configuration import WorkerConfiguration
from triortc.engine.workers.media_server import serve_media
from triortc.engine.workers.remote_legs import RemoteLegs
from triortc.engine.workers.worker_pool import WorkerPool, open_worker_pool
from triortc.errors import CallError, SdpError

__all__ = ["MEDIA", "Form", "Port", "open_port", "until"]

Form = Literal["in_process", "stream", "worker"]
EventT = TypeVar("EventT")

MEDIA = MediaConfiguration(
    endpoint=EndpointConfiguration(media_host=("127.0.0.1",)),
    session=SessionConfiguration(ice=IceConfiguration(allow_loopback=True)),
    recording=RecordingConfiguration(snapshot_timeout_s=0.2),
    slate="off",
)
_SETTINGS = WorkerConfiguration(count=1, report_interval_s=0.05)


async def until(condition: Callable[[], object], what: str, within_s: float = 20.0) -> None:
    """Wait for what comes every now and then, or from another process, and which no event here tells of."""
    deadline = trio.current_time() + within_s
    for _ in itertools.count():
        if condition():
            return
        assert trio.current_time() < deadline, f"{what}: not within {within_s:g} s"
        await trio.sleep(0.03)


@dataclass
class Port:
    """A media port and what it has told.

    Attributes:
        legs: the port.
        events: in the order in which they came.
    """

    legs: LegManager | RemoteLegs | WorkerPool
    events: list[MediaEvent] = field(default_factory=list)
    _news: trio.Event = field(default_factory=trio.Event)

    def take(self, event: MediaEvent) -> None:
        self.events.append(event)
        self._news.set()

    async def event(self, kind: type[EventT], such: Callable[[EventT], bool] = lambda event: True) -> EventT:
        """The first event of a kind that is such, now or later."""
        with trio.fail_after(20.0):
            while True:
                for event in self.events:
                    if isinstance(event, kind) and such(event):
                        return event
                self._news = trio.Event()
                await self._news.wait()

    async def answer(self, leg: str, neg: int, offer_sdp: str) -> str:
        """The answer, whenever it comes; raises what the in-process port raises."""
        answer = self.legs.answer(leg, neg, offer_sdp)
        if answer is not None:
            return answer
        with trio.fail_after(20.0):
            while True:
                for event in self.events:
                    if isinstance(event, OfferAnswered | OfferRefused) and (event.leg, event.neg) == (leg, neg):
                        self.events.remove(event)
                        return _answer(event)
                self._news = trio.Event()
                await self._news.wait()


def _answer(event: OfferAnswered | OfferRefused) -> str:
    if isinstance(event, OfferAnswered):
        return event.sdp
    kinds: dict[str, type[Exception]] = {"invalid": SdpError, "unsupported": SdpUnsupportedError, "failed": CallError}
    raise kinds[event.why](event.message)


@asynccontextmanager
async def open_port(form: Form, media: MediaConfiguration = MEDIA) -> AsyncGenerator[Port]:
    """A media port of a form; leaving it ends it."""
    if form == "in_process":
        async with open_leg_manager(media) as legs:
            port = Port(legs)
            legs.on_event = port.take
            yield port
    elif form == "worker":
        async with open_worker_pool(media, _SETTINGS) as pool:
            port = Port(pool)
            pool.on_event = port.take
            yield port
    else:
        near, far = trio.testing.memory_stream_pair()
        remote = RemoteLegs("the other end", media, _SETTINGS, lambda event: port.take(event))
        port = Port(remote)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(serve_media, far)
            nursery.start_soon(remote.keep_deadlines)
            started = trio.Event()
            nursery.start_soon(remote.run, near, started)
            await started.wait()
            yield port
            nursery.cancel_scope.cancel()
