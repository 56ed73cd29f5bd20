"""A device of the demo, as an app is one: its signaling session, its leg, what it shows, and what it sees and hears."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Final, TypeAlias

import av
import trio

from triortc.bench.demo_media import (
    HeardSound,
    Performer,
    ReceivedLog,
    SeenPicture,
    SentLog,
    SlateEye,
    beep_levels,
    timed_sender,
)
from triortc.bench.demo_report import DemoFailedError, Timeline
from triortc.codecs.registry import OPUS, VP8, MediaKind
from triortc.codecs.sources import TestCardSource
from triortc.codecs.threads import CodecThreads
from triortc.engine.endpoint_configuration import EndpointConfiguration
from triortc.engine.peer.configuration import PeerConfiguration
from triortc.engine.peer.connection import PeerConnection, open_peer_connection
from triortc.engine.peer.description import RtcSessionDescription
from triortc.engine.peer.playout import ReceivedFrame
from triortc.engine.peer.receiver import RtpReceiver
from triortc.engine.peer.sender import RtpSender
from triortc.engine.peer.tracks import decode_frames, send_source
from triortc.signaling.client import ClientDevice, SignalClient, connect_websocket, open_signal_client
from triortc.signaling.wire import Message

__all__ = ["Device", "open_device"]

#: What is done with a frame that came in: its kind, the frame, and what is on it if it is a picture.
TakeFrame: TypeAlias = Callable[[MediaKind, ReceivedFrame, SeenPicture | None], None]

_CONFIGURATION: Final = PeerConfiguration(endpoint=EndpointConfiguration(media_host=("127.0.0.1",)))


class Device:
    """One device that is signed in. Made by :func:`open_device`.

    Attributes:
        performer: what it shows and plays.
        signal: its signaling session.
        connection: its leg.
        events: what the server told it, in order.
        seen, heard: what it decoded, in order.
        last_picture: the newest one.
        sent, received: when frames left and came, by kind.
        setup_ms: from its offer to its keys; None before.
        take_frame: is given everything that comes; None: nobody.
    """

    def __init__(
        self,
        performer: Performer,
        signal: SignalClient,
        connection: PeerConnection,
        *,
        timeline: Timeline,
        threads: CodecThreads,
        eye: SlateEye,
        nursery: trio.Nursery,
    ) -> None:
        self.performer = performer
        self.signal = signal
        self.connection = connection
        self.events: list[Message] = []
        self.seen: list[SeenPicture] = []
        self.heard: list[HeardSound] = []
        self.last_picture: av.VideoFrame | None = None
        self.sent: dict[MediaKind, SentLog] = {"audio": SentLog(), "video": SentLog()}
        self.received: dict[MediaKind, ReceivedLog] = {"audio": ReceivedLog(), "video": ReceivedLog()}
        self.setup_ms: float | None = None
        self.take_frame: TakeFrame | None = None
        self._timeline = timeline
        self._threads = threads
        self._eye = eye
        self._nursery = nursery
        self._changed = trio.Event()
        self._offered_at = 0.0

    # -- waiting

    async def until(self, holds: Callable[[], bool], what: str, *, within_s: float) -> None:
        """Wait until something holds that depends on what this device was told, saw or heard.

        Raises:
            DemoFailedError: it does not within that time.
        """
        with trio.move_on_after(within_s):
            while not holds():
                await self._changed.wait()
            return
        raise DemoFailedError(f"{self.performer.name}: {what} did not come within {within_s:g} s")

    async def event(self, t: str, /, *, within_s: float, **matching: object) -> Message:
        """The first event of a type with these fields, which may have come already.

        Raises:
            DemoFailedError: it does not come within that time.
        """

        def found() -> Message | None:
            return next((event for event in self.events if event.t == t and matching.items() <= event.p.items()), None)

        await self.until(lambda: found() is not None, f"the event {t}", within_s=within_s)
        event = found()
        assert event is not None
        return event

    # -- the leg

    def offer(self) -> str:
        """Make the leg's offer; its set-up is timed from here."""
        self._offered_at = trio.current_time()
        return self.connection.set_local_description().sdp

    async def answered(self, sdp: str) -> None:
        """Take the server's answer, wait for the keys, then show, play, watch and listen.

        Raises:
            SdpError, IceError, DtlsError, ConnectionClosedError: the leg cannot be set up.
        """
        self.connection.set_remote_description(RtcSessionDescription("answer", sdp))
        await self.connection.connected()
        self.setup_ms = (trio.current_time() - self._offered_at) * 1000
        self.say(f"leg is up, {self.setup_ms:.1f} ms after its offer")
        for start in (self._perform, self._watch, self._listen):
            self._nursery.start_soon(start)

    def sender(self, kind: MediaKind) -> RtpSender:
        """The sending half of a kind."""
        transceiver = self.connection.transceiver(kind)
        assert transceiver is not None
        return transceiver.sender

    def say(self, what: str) -> None:
        """Put a line into the time line."""
        self._timeline.add(self.performer.name, what)

    async def _perform(self) -> None:
        senders = [timed_sender(self.sender(kind), self.sent[kind]) for kind in ("audio", "video")]
        source = TestCardSource(self.performer.card(), self.performer.tone())
        await send_source(source, *senders, threads=self._threads)

    async def _watch(self) -> None:
        async for decoded in decode_frames(self._receiver("video"), threads=self._threads):
            picture = decoded.frame
            assert isinstance(picture, av.VideoFrame)
            seen = await self._threads.run(self._eye.look, picture, trio.current_time())
            self.seen.append(seen)
            self.last_picture = picture
            self._took("video", decoded.received, seen)

    async def _listen(self) -> None:
        async for decoded in decode_frames(self._receiver("audio"), threads=self._threads):
            sound = decoded.frame
            assert isinstance(sound, av.AudioFrame)
            lost = decoded.received.lost
            self.heard.append(HeardSound(trio.current_time(), beep_levels(sound), lost))
            if not lost:
                self._took("audio", decoded.received, None)

    def _receiver(self, kind: MediaKind) -> RtpReceiver:
        transceiver = self.connection.transceiver(kind)
        assert transceiver is not None
        return transceiver.receiver

    def _took(self, kind: MediaKind, received: ReceivedFrame, seen: SeenPicture | None) -> None:
        self.received[kind].add(received.frame, received.arrived_at)
        if self.take_frame is not None:
            self.take_frame(kind, received, seen)
        self._wake()

    def _wake(self) -> None:
        changed, self._changed = self._changed, trio.Event()
        changed.set()

    # -- signaling

    async def hear_events(self) -> None:
        """Take what the server tells, as it comes; runs until cancelled."""
        last_told: dict[str, str | None] = {}
        while True:
            event = await self.signal.event()
            self.events.append(event)
            told = _told(event)
            if told is not None and told != last_told.get(event.t):
                self.say(told)
            last_told[event.t] = told or last_told.get(event.t)
            self._wake()


def _told(event: Message) -> str | None:
    """An event for the time line; None for those that tell a reader nothing new."""
    payload = event.p
    match event.t:
        case "presence.changed":
            return f"is told: {payload['channel']} is {payload['color']}" if payload["channel"] == "video" else None
        case "call.state":
            return f"is told: {payload['state']}{', the agent is alerted' if payload.get('alerting') else ''}"
        case "call.peer":
            return f"is told: {payload['what'].replace('_', ' ')}"
        case "media.gate":
            return f"is told: gate of {payload['kind']} is {payload['state']}"
        case "ring.ended":
            return f"is told: ring is over, {payload['reason'].replace('_', ' ')}"
        case "call.ended":
            return f"is told: call is over, {payload['outcome']}, {payload['reason']}"
        case "conversation.message":
            return f"reads “{payload['text']}”"
        case "ring.offer" | "call.accepted" | "call.active" | "handoff.started" | "handoff.moved" | "handoff.failed":
            return f"is told: {event.t}"
    return None


@asynccontextmanager
async def open_device(
    performer: Performer,
    url: str,
    token: str,
    description: ClientDevice,
    *,
    timeline: Timeline,
    threads: CodecThreads,
    eye: SlateEye,
) -> AsyncGenerator[Device]:
    """Sign a device in, over a WebSocket, with a leg that can be offered; leaving the block signs it out.

    Args:
        performer: what it shows and plays.
        url: of the WebSocket.
        token: whom it speaks for.
        description: what it says of itself.
        timeline: where it tells what happens.
        threads: where it encodes and decodes.
        eye: knows the slate.
    """
    async with (
        open_signal_client(partial(connect_websocket, url), token=token, device=description) as signal,
        open_peer_connection(_CONFIGURATION) as connection,
        trio.open_nursery() as nursery,
    ):
        # What a .webm can hold; the engine itself would take H.264 and G.711 as well.
        connection.add_transceiver("audio", codecs=[OPUS])
        connection.add_transceiver("video", codecs=[VP8])
        device = Device(performer, signal, connection, timeline=timeline, threads=threads, eye=eye, nursery=nursery)
        nursery.start_soon(device.hear_events)
        yield device
        nursery.cancel_scope.cancel()
