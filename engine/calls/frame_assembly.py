"""From the packets that a call lets through to whole frames on one clock, for those who record it or look at it.

Each side's sound and pictures are two tracks. Whichever leg speaks for the side feeds them: a change of device, of
SSRC or of codec begins a new buffer, not a new track. Times of capture come from the sender reports of the leg's device
(RFC 3550 section 6.4.1), or else from the packet that took the shortest way.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple, TypeAlias

from triortc.codecs.payload.formats import depacketizer_for
from triortc.codecs.registry import MediaKind
from triortc.engine.calls.ports import Side
from triortc.engine.jitter.audio import AudioJitterBuffer
from triortc.engine.jitter.configuration import AudioJitterConfiguration, VideoJitterConfiguration
from triortc.engine.jitter.video import VideoJitterBuffer
from triortc.engine.rtp.header import MARKER, SEQUENCE_NUMBER, SSRC, TIMESTAMP, RtpHeader
from triortc.engine.rtp.sequence import TimestampUnwrapper
from triortc.engine.session.media import MediaSession

__all__ = [
    "CLOCK_RATES",
    "VIDEO_CODECS",
    "AssembledFrame",
    "CallTap",
    "SenderClock",
    "StreamClock",
    "TrackAssembler",
    "sender_clock",
]

#: RTP clocks of the formats that can be recorded; packets of others are passed over.
CLOCK_RATES: Final = {"vp8": 90_000, "h264": 90_000, "opus": 48_000, "pcmu": 8_000, "pcma": 8_000}

VIDEO_CODECS: Final = frozenset({"vp8", "h264"})

SenderClock: TypeAlias = Callable[[int, int], float | None]
"""From an SSRC and an RTP timestamp to its moment on the engine's clock in seconds; None before a sender report."""

# Nobody listens while it is written, so sound may wait for what comes late much longer than a conversation allows.
_AUDIO: Final = AudioJitterConfiguration(minimum_delay_ms=200, maximum_delay_ms=1000, maximum_span_ms=2000)
_MAXIMUM_CLOCK_ERROR_S: Final = 3.0  # sender reports that say more than this are not believed
_DRAIN_S: Final = 10.0


def sender_clock(media: MediaSession) -> SenderClock:
    """The clock of a leg's device, as its sender reports tell it."""

    def captured_at(ssrc: int, timestamp: int) -> float | None:
        stream = media.inbound.get(ssrc)
        offset_s = media.source_clock_offset_s
        if stream is None or offset_s is None:
            return None
        unix_s = stream.clock.unix_time_s(timestamp)
        return None if unix_s is None else unix_s + offset_s - media.unix_time_s(0.0)

    return captured_at


class StreamClock:
    """When the frames of one stream were captured, on the engine's clock.

    Arguments:
        sender: what the device's sender reports tell.
        ssrc: the stream.
        clock_rate: ticks of its RTP timestamps per second.
    """

    __slots__ = ("_base_s", "_clock_rate", "_sender", "_ssrc", "_ticks")

    def __init__(self, sender: SenderClock, ssrc: int, clock_rate: int) -> None:
        self._sender = sender
        self._ssrc = ssrc
        self._clock_rate = clock_rate
        self._ticks = TimestampUnwrapper()
        self._base_s = 0.0

    def note(self, timestamp: int, now: float, *, first: bool) -> None:
        """A packet came; the one that took the shortest way stands for all while there are no reports."""
        transit_s = now - self._ticks.unwrap(timestamp) / self._clock_rate
        if first or transit_s < self._base_s or transit_s > self._base_s + _MAXIMUM_CLOCK_ERROR_S:
            self._base_s = transit_s

    def told(self, timestamp: int, arrived_at: float) -> float | None:
        """By sender reports; None without one, and for what cannot be."""
        at = self._sender(self._ssrc, timestamp)
        return at if at is not None and abs(at - arrived_at) <= _MAXIMUM_CLOCK_ERROR_S else None

    def guess(self, timestamp: int) -> float:
        """By what came earliest: late by the device's own delays, which differ for sound and pictures."""
        return self._base_s + self._ticks.unwrap(timestamp) / self._clock_rate


class AssembledFrame(NamedTuple):
    """A frame of a track.

    Attributes:
        codec_name: in lower case.
        data: the codec's bytes.
        keyframe: decoding can start here; always true for sound.
        timestamp: of RTP, as its sender made it.
        arrived_at: when it was complete, in seconds of the engine's clock.
        clock: of its stream; knows more after the next sender report.
    """

    codec_name: str
    data: bytes
    keyframe: bool
    timestamp: int
    arrived_at: float
    clock: StreamClock


class _Stream:
    """One source of a track: its clock and its buffer."""

    __slots__ = ("_audio", "_clock", "_codec_name", "_first", "_video")

    def __init__(self, codec_name: str, ssrc: int, sender: SenderClock, video: VideoJitterConfiguration) -> None:
        clock_rate = CLOCK_RATES[codec_name]
        self._codec_name = codec_name
        self._clock = StreamClock(sender, ssrc, clock_rate)
        self._first = True
        is_video = codec_name in VIDEO_CODECS
        self._video = VideoJitterBuffer(depacketizer_for(codec_name), video) if is_video else None
        self._audio = None if is_video else AudioJitterBuffer(clock_rate, _AUDIO)

    def insert(self, header: RtpHeader, payload: memoryview, now: float) -> None:
        """Take a packet; the payload is copied."""
        self._clock.note(header[TIMESTAMP], now, first=self._first)
        self._first = False
        data = bytes(payload)
        if self._video is not None:
            self._video.insert(header[SEQUENCE_NUMBER], header[TIMESTAMP], header[MARKER], data, now)
            self._video.handle_timeout(now)
        elif self._audio is not None and data:
            self._audio.insert(header[SEQUENCE_NUMBER], header[TIMESTAMP], data, now)

    def take(self, now: float, *, ahead_s: float = 0.0) -> list[AssembledFrame]:
        """The frames that are complete and in order; of sound, also those whose turn comes in so many seconds."""
        name, clock = self._codec_name, self._clock
        frames: list[AssembledFrame] = []
        if self._video is not None:
            while (picture := self._video.poll_frame()) is not None:
                at = picture.arrived_at
                frames.append(AssembledFrame(name, picture.data, picture.keyframe, picture.timestamp, at, clock))
        elif self._audio is not None:
            while (sound := self._audio.pop(now + ahead_s)) is not None:
                timestamp, data = sound
                if data is not None:  # what is lost is filled by who writes the file
                    frames.append(AssembledFrame(name, data, True, timestamp, now, clock))
        return frames

    def keyframe_needed(self) -> bool:
        """Whether pictures cannot go on without a keyframe; said once per loss."""
        needed = False
        while self._video is not None and self._video.poll_event() is not None:
            needed = True
        return needed


class TrackAssembler:
    """One side's sound or pictures, whichever leg feeds them.

    Arguments:
        video: patience and bounds of the picture buffer.
    """

    __slots__ = ("_key", "_stream", "_video")

    def __init__(self, video: VideoJitterConfiguration | None = None) -> None:
        self._video = video or VideoJitterConfiguration()
        self._key: tuple[str, int, str] | None = None
        self._stream: _Stream | None = None

    def packet(
        self, leg: str, clock: SenderClock, codec_name: str, header: RtpHeader, payload: memoryview, now: float
    ) -> list[AssembledFrame]:
        """Take a packet that was forwarded and give the frames it completes. Never raises for what it holds.

        Arguments:
            leg: where it came from.
            clock: of the leg's device.
            codec_name: of the payload, in lower case.
            header, payload: the packet as its sender made it; lent.
            now: seconds.
        """
        if codec_name not in CLOCK_RATES:
            return []
        frames: list[AssembledFrame] = []
        key = (leg, header[SSRC], codec_name)
        if self._stream is None or key != self._key:
            frames = self.flush(now)
            self._key, self._stream = key, _Stream(codec_name, header[SSRC], clock, self._video)
        self._stream.insert(header, payload, now)
        return frames + self._stream.take(now)

    def keyframe_needed(self) -> bool:
        """Whether the source must be asked for a keyframe; said once per loss."""
        return self._stream is not None and self._stream.keyframe_needed()

    def flush(self, now: float) -> list[AssembledFrame]:
        """Nothing more comes from the present source: give what waited for its turn."""
        stream, self._stream, self._key = self._stream, None, None
        return [] if stream is None else stream.take(now, ahead_s=_DRAIN_S)


Watcher: TypeAlias = Callable[[Side, MediaKind, AssembledFrame], None]
"""Gets every frame of a call. Called from the data plane: it must not block or raise."""


class CallTap:
    """Both sides of one call as frames, for any number of watchers.

    Arguments:
        keyframe_wanted: called with the leg that must be asked for a keyframe; may be called often.
        video: patience and bounds of the picture buffers.
    """

    __slots__ = ("_keyframe_wanted", "_tracks", "_video", "watchers")

    def __init__(
        self, keyframe_wanted: Callable[[str, float], None], video: VideoJitterConfiguration | None = None
    ) -> None:
        self.watchers: list[Watcher] = []
        self._keyframe_wanted = keyframe_wanted
        self._video = video
        self._tracks: dict[tuple[Side, MediaKind], TrackAssembler] = {}

    def packet(
        self,
        side: Side,
        leg: str,
        clock: SenderClock,
        kind: MediaKind,
        codec_name: str,
        header: RtpHeader,
        payload: memoryview,
        now: float,
    ) -> None:
        """A packet that the gates of a leg let through; what a data plane's tap gets, and whose it is."""
        track = self._tracks.get((side, kind))
        if track is None:
            track = self._tracks[side, kind] = TrackAssembler(self._video)
        for frame in track.packet(leg, clock, codec_name, header, payload, now):
            self._show(side, kind, frame)
        if track.keyframe_needed():
            self._keyframe_wanted(leg, now)

    def flush(self, now: float) -> None:
        """Show what still waits for its turn: somebody stops watching, or the call ends."""
        for (side, kind), track in self._tracks.items():
            for frame in track.flush(now):
                self._show(side, kind, frame)

    def _show(self, side: Side, kind: MediaKind, frame: AssembledFrame) -> None:
        for watcher in tuple(self.watchers):
            watcher(side, kind, frame)
