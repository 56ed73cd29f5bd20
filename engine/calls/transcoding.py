"""Calls between legs that share no codec: what one sends is decoded, and encoded as the other takes it.

The data plane gives the packets of an open gate to a converter; frames are put together there and then, wait in a short
queue, and are decoded and encoded in a codec thread by a task of this stream's own. A machine that does not keep up
drops what it cannot do, and begins again with a keyframe.
"""

from __future__ import annotations

import logging
from collections import deque
from typing import Final, NamedTuple

import trio

from triortc.codecs.configuration import VideoEncoderConfiguration
from triortc.codecs.frames import EncodedFrame
from triortc.codecs.payload.formats import Packetizer, packetizer_for
from triortc.codecs.registry import MediaKind
from triortc.codecs.threads import CodecThreads
from triortc.codecs.transcoder import AudioTranscoder, VideoTranscoder
from triortc.engine.calls.frame_assembly import CLOCK_RATES, TrackAssembler
from triortc.engine.calls.leg_configuration import MediaConfiguration
from triortc.engine.endpoint import Endpoint
from triortc.engine.relay.plane import DataPlane
from triortc.engine.rtp.header import PAYLOAD_TYPE, SSRC, TIMESTAMP, RtpHeader
from triortc.engine.session.inbound import InboundStream
from triortc.engine.session.session import Session
from triortc.errors import CodecError, ConfigurationError

__all__ = ["Transcodings"]

_log = logging.getLogger(__name__)

#: Payload bytes of what is made: header, extensions and tag still fit an MTU of 1200.
MAX_PAYLOAD_BYTES: Final = 1100
#: Frames that wait for a thread: a quarter of a second of either kind. More means that the machine does not keep up.
MAX_WAITING: Final[dict[MediaKind, int]] = {"audio": 12, "video": 8}


class _Waiting(NamedTuple):
    codec_name: str
    frame: EncodedFrame
    stream: InboundStream


def _no_clock(ssrc: int, timestamp: int) -> float | None:
    return None


class _Transcoding:
    """One stream to one leg. A :class:`triortc.engine.relay.converter.Converter`."""

    def __init__(self, leg: str, kind: MediaKind, target_codec: str, configuration: VideoEncoderConfiguration) -> None:
        self.leg = leg
        self.kind: MediaKind = kind
        self.target_codec = target_codec
        self.scope = trio.CancelScope()
        self.dropped = 0
        self._configuration = configuration
        self._frames: deque[_Waiting] = deque()
        self._wakened = trio.Event()
        self._pictures = TrackAssembler()
        self._newest: tuple[int, int] | None = None
        self._keyframe_asked = False
        self._waits_for_keyframe = False
        self._bitrate_bps: int | None = None
        self._packetizer: Packetizer = packetizer_for(target_codec)
        self._transcoder: VideoTranscoder | AudioTranscoder | None = None
        self._source_codec = ""
        self._maker: object = self
        self._maker_of: object = None

    # -- in the data plane

    def receive(self, stream: InboundStream, header: RtpHeader, payload: memoryview, now: float) -> None:
        """Take a packet that an open gate lets through."""
        codec_name = stream.codec_name(header[PAYLOAD_TYPE])
        if codec_name not in CLOCK_RATES or not payload:
            return
        if self.kind == "audio":
            self._receive_sound(stream, codec_name, header, bytes(payload))
        else:
            for made in self._pictures.packet("", _no_clock, codec_name, header, payload, now):
                frame = EncodedFrame(made.data, made.timestamp, keyframe=made.keyframe)
                self._queue(_Waiting(made.codec_name, frame, stream))
            if (self._pictures.keyframe_needed() or self._waits_for_keyframe) and stream.keyframes is not None:
                stream.keyframes.request(now)

    def _receive_sound(self, stream: InboundStream, codec_name: str, header: RtpHeader, data: bytes) -> None:
        """Nothing waits for sound that is late: the receiver conceals the hole, as it does where nobody transcodes."""
        if self._newest is not None and self._newest[0] == header[SSRC]:
            ahead = (header[TIMESTAMP] - self._newest[1]) & 0xFFFFFFFF
            if not 0 < ahead < 0x80000000:
                return
        self._newest = (header[SSRC], header[TIMESTAMP])
        self._queue(_Waiting(codec_name, EncodedFrame(data, header[TIMESTAMP]), stream))

    def _queue(self, waiting: _Waiting) -> None:
        if len(self._frames) >= MAX_WAITING[self.kind]:
            if self.kind == "audio":
                self._frames.popleft()
                self.dropped += 1
            else:
                self.dropped += len(self._frames)
                self._frames.clear()
                self._waits_for_keyframe = True
        if self._waits_for_keyframe and not waiting.frame.keyframe:
            self.dropped += 1
            return
        self._waits_for_keyframe = False
        self._frames.append(waiting)
        self._wakened.set()

    def request_keyframe(self) -> None:
        """The receiver has lost a picture."""
        self._keyframe_asked = True

    def limit_bitrate(self, bitrate_bps: int | None) -> None:
        """Make no more than this."""
        self._bitrate_bps = bitrate_bps

    # -- in its task

    async def next(self) -> _Waiting:
        """The next frame that waits."""
        while not self._frames:
            self._wakened = trio.Event()
            await self._wakened.wait()
        return self._frames.popleft()

    def transcode(self, waiting: _Waiting) -> list[tuple[list[bytes], int]]:
        """Blocks: for a codec thread. The payloads and the timestamp of each frame that comes of this one.

        Raises:
            CodecError, ConfigurationError: this pair of codecs cannot be done.
        """
        if self._transcoder is None or waiting.codec_name != self._source_codec:
            self.close()
            self._source_codec = waiting.codec_name
            if self.kind == "audio":
                self._transcoder = AudioTranscoder(waiting.codec_name, self.target_codec)
            else:
                self._transcoder = VideoTranscoder(waiting.codec_name, self.target_codec, encoder=self._configuration)
        transcoder = self._transcoder
        if isinstance(transcoder, VideoTranscoder):
            if self._keyframe_asked:
                self._keyframe_asked = False
                transcoder.request_keyframe()
            transcoder.set_bitrate(self._bitrate_bps or self._configuration.bitrate_bps)
        encoded = transcoder.transcode(waiting.frame)
        if isinstance(transcoder, VideoTranscoder) and transcoder.keyframe_wanted:
            self._waits_for_keyframe = True
        return [(self._packetizer.packetize(frame.data, MAX_PAYLOAD_BYTES), frame.timestamp) for frame in encoded]

    def clock_of(self, waiting: _Waiting) -> tuple[object, InboundStream | None]:
        """Whose clock the timestamps are by, and the stream that shares it: pictures keep their source's."""
        if self.kind == "audio":
            return self._transcoder or self, None
        if self._maker_of is not waiting.stream.run:
            self._maker, self._maker_of = object(), waiting.stream.run
        return self._maker, waiting.stream

    def close(self) -> None:
        """Free encoder and decoder. Blocks a little."""
        if self._transcoder is not None:
            self._transcoder.close()
            self._transcoder = None


class Transcodings:
    """All streams that are transcoded, a task each.

    Arguments:
        plane: where packets come from and go to.
        endpoint: flushed after each frame.
        nursery: the tasks live here.
        configuration: how many at most, and how pictures are encoded.
    """

    def __init__(
        self, plane: DataPlane, endpoint: Endpoint, nursery: trio.Nursery, configuration: MediaConfiguration
    ) -> None:
        self._plane = plane
        self._endpoint = endpoint
        self._nursery = nursery
        self._video = configuration.transcoded_video
        self._max = configuration.max_transcodings
        self._threads = CodecThreads()
        self._running: dict[tuple[str, MediaKind], _Transcoding] = {}
        self._dropped = 0

    @property
    def running(self) -> int:
        """Streams that are transcoded now."""
        return len(self._running)

    @property
    def dropped(self) -> int:
        """Frames that were not transcoded because the machine did not keep up."""
        return self._dropped + sum(one.dropped for one in self._running.values())

    @property
    def room(self) -> bool:
        """Whether both ways of a kind can be taken on."""
        return len(self._running) + 2 <= self._max

    def update(self, leg: str, session: Session) -> None:
        """A leg's source or formats have changed: begin what is needed, end what is not."""
        needed = self._plane.kinds_without_common_format(leg)
        sections = {section.kind: section for section in session.media.sections}
        for kind, section in sections.items():
            running = self._running.get((leg, kind))
            target = section.codecs[0].codec.name.lower() if kind in needed and section.codecs else None
            if running is not None and running.target_codec != target:
                self._end(running)
                running = None
            if target is not None and running is None and len(self._running) < self._max:
                self._begin(_Transcoding(leg, kind, target, self._video))

    def close(self, leg: str) -> None:
        """The leg is about to leave the data plane."""
        for running in [one for (name, _), one in self._running.items() if name == leg]:
            self._end(running)

    def _begin(self, transcoding: _Transcoding) -> None:
        self._running[transcoding.leg, transcoding.kind] = transcoding
        self._plane.convert(transcoding.leg, transcoding.kind, transcoding, trio.current_time())
        self._nursery.start_soon(self._run, transcoding, name=f"transcode {transcoding.kind} for {transcoding.leg}")

    def _end(self, transcoding: _Transcoding) -> None:
        del self._running[transcoding.leg, transcoding.kind]
        self._dropped += transcoding.dropped
        self._plane.convert(transcoding.leg, transcoding.kind, None, trio.current_time())
        transcoding.scope.cancel()

    async def _run(self, transcoding: _Transcoding) -> None:
        try:
            with transcoding.scope:
                while True:
                    waiting = await transcoding.next()
                    made = await self._threads.run(transcoding.transcode, waiting)
                    self._send(transcoding, waiting, made)
        except (CodecError, ConfigurationError):
            _log.exception("leg %s goes without %s: it cannot be transcoded", transcoding.leg, transcoding.kind)
            if self._running.get((transcoding.leg, transcoding.kind)) is transcoding:
                self._end(transcoding)
        finally:
            transcoding.close()

    def _send(self, transcoding: _Transcoding, waiting: _Waiting, made: list[tuple[list[bytes], int]]) -> None:
        now = trio.current_time()
        maker, source = transcoding.clock_of(waiting)
        for payloads, timestamp in made:
            last = len(payloads) - 1
            marked = [(payload, transcoding.kind == "video" and n == last) for n, payload in enumerate(payloads)]
            self._plane.send_converted(
                transcoding.leg,
                transcoding.kind,
                transcoding.target_codec,
                marked,
                timestamp,
                now,
                maker=maker,
                source=source,
            )
        self._endpoint.flush(now)
