"""Between frames that are encoded and those that are not: sources are encoded and sent, what is received is decoded.

Encoders and decoders run in codec threads, one call at a time for each of these functions.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Sequence
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

import av
import trio
from numpy.typing import NDArray

from triortc.codecs.configuration import AudioEncoderConfiguration, DecoderConfiguration, VideoEncoderConfiguration
from triortc.codecs.decoders import AudioDecoder, VideoDecoder
from triortc.codecs.encoders import AudioEncoder, VideoEncoder, audio_encoder_for, video_encoder_for
from triortc.codecs.frames import EncodedFrame
from triortc.codecs.registry import MediaKind
from triortc.codecs.sources import MediaSource, SourceFrame
from triortc.codecs.threads import CodecThreads
from triortc.engine.peer.playout import ReceivedFrame
from triortc.engine.peer.receiver import RtpReceiver
from triortc.engine.peer.sender import RtpSender
from triortc.errors import ConfigurationError

__all__ = ["DecodedFrame", "SendStatistics", "decode_frames", "require_source_frame", "send_frames", "send_source"]

#: A picture that is later than this is not encoded: a slow machine shows fewer pictures rather than older ones.
_MAX_PICTURE_DELAY_S: Final = 0.15
#: Lost sound is bridged by the last one, so much quieter each time.
_FADE: Final = 0.5

_Encoded: TypeAlias = tuple[RtpSender, Sequence[EncodedFrame]]


@dataclass(slots=True)
class SendStatistics:
    """What `send_source` or `send_frames` has done, for whoever watches it.

    Attributes:
        pictures, sounds: what was encoded.
        skipped: pictures that were too late to be encoded, or that nobody could receive yet.
    """

    pictures: int = 0
    sounds: int = 0
    skipped: int = 0


@dataclass(slots=True)
class _Encoders:
    """The encoders of the senders of one source, made when the codecs are agreed on."""

    senders: dict[MediaKind, RtpSender]
    video_configuration: VideoEncoderConfiguration
    audio_configuration: AudioEncoderConfiguration
    statistics: SendStatistics
    video: VideoEncoder | None = None
    audio: AudioEncoder | None = None
    names: dict[MediaKind, str] = field(default_factory=dict)
    #: Where the senders' RTP clocks are, of those that have sent before and have had nothing from here yet.
    reached: dict[MediaKind, int | None] = field(default_factory=dict)
    #: The timestamps that time 0 of the source has.
    firsts: dict[MediaKind, int] = field(default_factory=dict)
    #: When the last keyframe was made for one who asked: each that comes again costs as much as many pictures.
    _keyframe_at: float = float("-inf")

    def prepare(self) -> None:
        """Bring the encoders to what is agreed on and to what the peer wants. In the trio thread, between calls."""
        for kind, sender in self.senders.items():
            codec = sender.codec
            if codec is None:
                continue
            if self.names.get(kind) != codec.name:
                self.names[kind] = codec.name
                self.firsts.pop(kind, None)
                if kind == "video":
                    self.video = video_encoder_for(codec.name, self.video_configuration)
                else:
                    self.audio = audio_encoder_for(codec.name, self.audio_configuration.for_receiver(codec.parameters))
            if kind not in self.firsts:
                self.reached[kind] = sender.reached_timestamp(codec.clock_rate, trio.current_time())
            if kind == "video" and self.video is not None and sender.ready:
                self._follow_keyframe_request(sender, self.video)
                target_bps = sender.target_bitrate_bps
                if target_bps is not None:
                    self.video.set_bitrate(target_bps)

    def _follow_keyframe_request(self, sender: RtpSender, encoder: VideoEncoder) -> None:
        now = trio.current_time()
        interval_s = self.video_configuration.keyframe_request_interval_s
        if now - self._keyframe_at >= interval_s and sender.take_keyframe_request():
            self._keyframe_at = now
            encoder.request_keyframe()

    def are_for(self, sender: RtpSender) -> bool:
        """Whether what was encoded is of the codec that is agreed on now; another may have been, meanwhile."""
        return sender.codec is not None and sender.codec.name == self.names.get(sender.kind)

    def ready(self) -> frozenset[MediaKind]:
        """What could be sent now."""
        return frozenset(kind for kind, sender in self.senders.items() if sender.ready)

    def encode_due(self, source: MediaSource, now: float, ready: frozenset[MediaKind]) -> list[_Encoded]:
        """Take what is due out of the source and encode it. In a codec thread."""
        encoded: list[_Encoded] = []
        due = source.next_deadline()
        while due is not None and due <= now and (item := source.poll_frame(now)) is not None:
            encoded += self.encode(item, ready, late=now - due > _MAX_PICTURE_DELAY_S)
            due = source.next_deadline()
        return encoded

    def encode(self, item: SourceFrame, ready: frozenset[MediaKind], *, late: bool = False) -> list[_Encoded]:
        """Encode one frame, unless nobody could have it or it is a picture that is late. In a codec thread."""
        if isinstance(item.frame, av.VideoFrame):
            if self.video is None or "video" not in ready or late:
                self.statistics.skipped += 1
                return []
            self.statistics.pictures += 1
            return [(self.senders["video"], self.video.encode(item.frame, self._timestamp("video", item, 90_000)))]
        if self.audio is None or "audio" not in ready:
            return []
        self.statistics.sounds += 1
        timestamp = self._timestamp("audio", item, self.audio.clock_rate)
        return [(self.senders["audio"], self.audio.encode(item.frame, timestamp))]

    def _timestamp(self, kind: MediaKind, item: SourceFrame, clock_rate: int) -> int:
        """Behind what an earlier source has sent: the clock of a stream does not go back (RFC 3550 section 5.1)."""
        if kind not in self.firsts:
            reached = self.reached.get(kind)
            self.firsts[kind] = 0 if reached is None else reached - item.timestamp(clock_rate)
        return item.timestamp(clock_rate, self.firsts[kind])

    def send(self, encoded: Sequence[_Encoded]) -> None:
        """Hand on what was encoded. In the trio thread."""
        for sender, frames in encoded:
            for frame in frames if self.are_for(sender) else ():
                sender.send_frame(frame)

    def close(self) -> None:
        """Free the encoders."""
        for encoder in (self.video, self.audio):
            if encoder is not None:
                encoder.close()


async def send_source(
    source: MediaSource,
    *senders: RtpSender,
    threads: CodecThreads | None = None,
    video: VideoEncoderConfiguration | None = None,
    audio: AudioEncoderConfiguration | None = None,
    statistics: SendStatistics | None = None,
) -> None:
    """Encode what a source gives and send it at its pace, until it ends or the connection is closed.

    What the peer wants is followed: codecs as negotiated, keyframes when asked for, the bitrate of the estimate.
    Pictures that are too late, and everything while nothing can be sent, are left out. The source is started and, at
    the end, closed.

    Args:
        source: pictures, sound or both, not started yet.
        senders: one of each kind at most; what has no sender is left out.
        threads: where to encode; ``None``: threads of its own.
        video: numbers of the video encoder.
        audio: numbers of the Opus encoder.
        statistics: is counted in.

    Raises:
        ConfigurationError: there is no sender, or two of one kind, or what was given is no sender or no source.
        CodecError: the source gives what cannot be encoded.
    """
    encoders = _encoders_for("send_source", senders, video, audio, statistics)
    if not hasattr(source, "poll_frame"):
        raise ConfigurationError(f"{type(source).__name__} is no source: MediaFileSource(path) plays a file")
    run = (threads or CodecThreads()).run
    try:
        await run(source.start, trio.current_time())
        while (due := source.next_deadline()) is not None and not all(sender.closed for sender in senders):
            await trio.sleep_until(due)
            encoders.prepare()
            encoders.send(await run(encoders.encode_due, source, trio.current_time(), encoders.ready()))
    finally:
        encoders.close()
        source.close()


def require_source_frame(item: object) -> None:
    """What is to be sent is a `SourceFrame`; anything else raises `ConfigurationError`, in words."""
    if not isinstance(item, SourceFrame):
        raise ConfigurationError(
            f"what is sent are SourceFrames, not {type(item).__name__}: of an array it is "
            "SourceFrame(av.VideoFrame.from_ndarray(array, format='rgb24'), time_s)"
        )


async def send_frames(
    frames: AsyncIterable[SourceFrame],
    *senders: RtpSender,
    threads: CodecThreads | None = None,
    video: VideoEncoderConfiguration | None = None,
    audio: AudioEncoderConfiguration | None = None,
    statistics: SendStatistics | None = None,
) -> None:
    """Encode frames and send them as they come, until there are no more or the connection is closed.

    For what has no pace of its own to be asked for: a camera, a model's pictures, what a peer sends and you have
    changed. What the peer wants is followed as by `send_source`; while nothing can be sent, frames are left out. A new
    frame is asked for when the one before is on its way: keep what waits short, and give the newest.

    Args:
        frames: pictures, sound or both; a generator is closed at the end. ``time_s`` is when each was taken, by any
            one clock.
        senders: one of each kind at most; what has no sender is left out.
        threads: where to encode; ``None``: threads of its own.
        video: numbers of the video encoder.
        audio: numbers of the Opus encoder.
        statistics: is counted in.

    Raises:
        ConfigurationError: there is no sender, or two of one kind, or what came is no `SourceFrame`.
        CodecError: a frame cannot be encoded.
    """
    encoders = _encoders_for("send_frames", senders, video, audio, statistics)
    run = (threads or CodecThreads()).run
    async with AsyncExitStack() as stack:
        stack.callback(encoders.close)
        if isinstance(frames, AsyncGenerator):
            await stack.enter_async_context(aclosing(frames))
        async for item in frames:
            require_source_frame(item)
            if all(sender.closed for sender in senders):
                return
            encoders.prepare()
            encoders.send(await run(encoders.encode, item, encoders.ready()))


def _encoders_for(
    function: str,
    senders: Sequence[RtpSender],
    video: VideoEncoderConfiguration | None,
    audio: AudioEncoderConfiguration | None,
    statistics: SendStatistics | None,
) -> _Encoders:
    for sender in senders:
        if not hasattr(sender, "send_frame"):
            raise ConfigurationError(f"{type(sender).__name__} is no sender: give a transceiver's `sender`")
    by_kind = {sender.kind: sender for sender in senders}
    if not senders or len(by_kind) != len(senders):
        raise ConfigurationError(f"{function} needs one sender of a kind, and at least one")
    return _Encoders(
        by_kind,
        video or VideoEncoderConfiguration(),
        audio or AudioEncoderConfiguration(),
        statistics or SendStatistics(),
    )


@dataclass(frozen=True, slots=True)
class DecodedFrame:
    """A picture or some sound of the peer.

    Attributes:
        frame: as FFmpeg has decoded it; its ``pts`` is the RTP timestamp.
        received: what it was decoded from.
    """

    frame: av.VideoFrame | av.AudioFrame
    received: ReceivedFrame

    @property
    def picture(self) -> av.VideoFrame:
        """The frame, by its type: what a receiver of pictures gives.

        Raises:
            ConfigurationError: it is sound.
        """
        if not isinstance(self.frame, av.VideoFrame):
            raise ConfigurationError("this frame is sound: take its `sound`, or decode the receiver of pictures")
        return self.frame

    @property
    def sound(self) -> av.AudioFrame:
        """The frame, by its type: what a receiver of sound gives.

        Raises:
            ConfigurationError: it is a picture.
        """
        if not isinstance(self.frame, av.AudioFrame):
            raise ConfigurationError("this frame is a picture: take its `picture`, or decode the receiver of sound")
        return self.frame


class _Decoders:
    """The decoder of what comes, by its codec, and the last sound to conceal lost ones with."""

    def __init__(self, channels: int, configuration: DecoderConfiguration | None) -> None:
        self._channels = channels
        self._configuration = configuration
        self._decoder: VideoDecoder | AudioDecoder | None = None
        self._codec_name = ""
        self._last_sound: av.AudioFrame | None = None
        self.failed = False

    def decode(self, received: ReceivedFrame) -> Sequence[av.VideoFrame | av.AudioFrame]:
        """In a codec thread. ``failed`` tells whether the bytes could not be decoded."""
        self.failed = False
        if received.codec_name != self._codec_name:
            self._open(received.codec_name)
        if received.lost:
            return self._conceal(received)
        decoder = self._decoder
        assert decoder is not None
        errors = decoder.errors
        frames: Sequence[av.VideoFrame | av.AudioFrame] = decoder.decode(received.frame.data, received.frame.timestamp)
        self.failed = decoder.errors != errors
        for frame in frames:
            if isinstance(frame, av.AudioFrame):
                self._last_sound = frame
        return frames

    def _open(self, codec_name: str) -> None:
        self.close()
        self._codec_name = codec_name
        if codec_name in ("vp8", "h264"):
            self._decoder = VideoDecoder(codec_name, self._configuration)
        else:
            channels = self._channels if codec_name == "opus" else 1
            self._decoder = AudioDecoder(codec_name, channels=channels, configuration=self._configuration)

    def _conceal(self, received: ReceivedFrame) -> Sequence[av.AudioFrame]:
        last = self._last_sound
        if last is None:
            return ()
        samples = last.to_ndarray()
        quieter: NDArray[Any] = (samples * _FADE).astype(samples.dtype)
        faded = av.AudioFrame.from_ndarray(quieter, format=last.format.name, layout=last.layout.name)
        faded.sample_rate, faded.time_base, faded.pts = last.sample_rate, last.time_base, received.frame.timestamp
        self._last_sound = faded
        return (faded,)

    def close(self) -> None:
        """Free the decoder."""
        if self._decoder is not None:
            self._decoder.close()


class _DecodedFrames:
    """An iterator that needs no clean-up when its loop is left, as a generator would."""

    __slots__ = ("_decoders", "_ready", "_receiver", "_threads")

    def __init__(self, receiver: RtpReceiver, threads: CodecThreads, decoders: _Decoders) -> None:
        self._receiver = receiver
        self._threads = threads
        self._decoders = decoders
        self._ready: deque[DecodedFrame] = deque()

    def __aiter__(self) -> _DecodedFrames:
        return self

    async def __anext__(self) -> DecodedFrame:
        while not self._ready:
            received = await self._receiver.next_frame()
            if received is None:
                self._decoders.close()
                raise StopAsyncIteration
            frames = await self._threads.run(self._decoders.decode, received)
            self._ready.extend(DecodedFrame(frame, received) for frame in frames)
            if self._decoders.failed:
                self._receiver.request_keyframe()
        return self._ready.popleft()


def decode_frames(
    receiver: RtpReceiver,
    *,
    threads: CodecThreads | None = None,
    channels: int = 1,
    configuration: DecoderConfiguration | None = None,
) -> AsyncIterator[DecodedFrame]:
    """Decode what a receiver gets, in playout order, until the connection is closed.

    Sound that was lost is bridged by the last one, fading out. When pictures cannot be decoded, a keyframe is
    asked for.

    Args:
        receiver: of sound or of pictures.
        threads: where to decode; ``None``: threads of its own.
        channels: of decoded Opus, 1 or 2.
        configuration: limits for the peer's bytes.

    Raises:
        ConfigurationError: it is no receiver.
    """
    if not hasattr(receiver, "next_frame"):
        raise ConfigurationError(f"{type(receiver).__name__} is no receiver: give a transceiver's `receiver`")
    return _DecodedFrames(receiver, threads or CodecThreads(), _Decoders(channels, configuration))
