"""Sends the slate and the ringback to a visitor's leg until a source's gate opens."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field

import trio

from triortc.codecs.configuration import SlateConfiguration
from triortc.codecs.frames import EncodedFrame
from triortc.codecs.looping import LoopPlayer
from triortc.codecs.payload.formats import Packetizer, packetizer_for
from triortc.codecs.registry import MediaKind
from triortc.codecs.slate import encoded_ringback, encoded_slate
from triortc.codecs.threads import CodecThreads
from triortc.engine.calls.leg_configuration import MediaConfiguration
from triortc.engine.endpoint import Endpoint
from triortc.engine.relay.plane import DataPlane
from triortc.engine.session.session import Session
from triortc.errors import CodecError, ConfigurationError

__all__ = ["SlatePlayer"]

_log = logging.getLogger(__name__)

#: Payload bytes of a slate's packets: header, extensions and tag still fit an MTU of 1200.
MAX_PAYLOAD_BYTES = 1100


@dataclass(slots=True, eq=False)
class _Track:
    kind: MediaKind
    codec_name: str
    player: LoopPlayer
    packetizer: Packetizer


@dataclass(slots=True, eq=False)
class _Slate:
    leg: str
    scope: trio.CancelScope = field(default_factory=trio.CancelScope)
    tracks: list[_Track] = field(default_factory=list)


class SlatePlayer:
    """Plays to any number of legs, a task each. The loops are encoded once, in a codec thread.

    Arguments:
        plane: where the packets go.
        endpoint: flushed after each turn.
        nursery: the tasks live here.
        configuration: what is played.
    """

    def __init__(
        self, plane: DataPlane, endpoint: Endpoint, nursery: trio.Nursery, configuration: MediaConfiguration
    ) -> None:
        self._plane = plane
        self._endpoint = endpoint
        self._nursery = nursery
        self._mode = configuration.slate
        self._look: SlateConfiguration = configuration.slate_look
        self._threads: CodecThreads = CodecThreads()
        self._playing: dict[str, _Slate] = {}

    def start(self, leg: str, session: Session) -> None:
        """Play to a leg whose formats are agreed on; a leg that is played to already goes on as it is."""
        if self._mode == "off" or leg in self._playing:
            return
        chosen: dict[MediaKind, str] = {
            section.kind: section.codecs[0].codec.name
            for section in session.media.sections
            if section.send and (section.kind == "audio" or self._mode == "audio_video")
        }
        slate = self._playing[leg] = _Slate(leg)
        self._nursery.start_soon(self._play, slate, chosen)

    def stop(self, leg: str | None) -> None:
        """Play no longer to this leg; one that is not played to is ignored."""
        slate = self._playing.pop(leg, None) if leg is not None else None
        if slate is not None:
            slate.scope.cancel()

    def keyframe_wanted(self, leg: str) -> None:
        """The leg lost a picture of the slate: begin the loop anew."""
        slate = self._playing.get(leg)
        for track in slate.tracks if slate is not None else ():
            track.player.request_keyframe()

    async def _play(self, slate: _Slate, chosen: dict[MediaKind, str]) -> None:
        with slate.scope:
            for kind, name in chosen.items():
                encode = encoded_slate if kind == "video" else encoded_ringback
                try:
                    frames: tuple[EncodedFrame, ...] = await self._threads.run(encode, name, self._look)
                except (CodecError, ConfigurationError):
                    _log.exception("no slate in %s: the visitor waits without", name)
                    continue
                clock_rate = 90_000 if kind == "video" else 48_000 if name.lower() == "opus" else 8_000
                player = LoopPlayer(frames, clock_rate)
                slate.tracks.append(_Track(kind, name.lower(), player, packetizer_for(name)))
            for track in slate.tracks:
                track.player.start(trio.current_time())
            while slate.tracks:
                deadlines = [track.player.next_deadline() for track in slate.tracks]
                await trio.sleep_until(min(deadline for deadline in deadlines if deadline is not None))
                self._send_due(slate, trio.current_time())

    def _send_due(self, slate: _Slate, now: float) -> None:
        for track in slate.tracks:
            while (frame := track.player.poll_frame(now)) is not None:
                payloads = track.packetizer.packetize(frame.data, MAX_PAYLOAD_BYTES)
                last = len(payloads) - 1
                marked = [(payload, track.kind == "video" and n == last) for n, payload in enumerate(payloads)]
                sent = self._plane.send_own(slate.leg, track.kind, track.codec_name, marked, frame.timestamp, now)
                if not sent and track.kind == "video":
                    # Not connected yet: whatever is sent first must be a keyframe.
                    track.player.request_keyframe()
        self._endpoint.flush(now)
