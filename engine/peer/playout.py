"""From the packets of one received stream to its frames, in playout order, without I/O: time is an argument."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Protocol

from triortc.codecs.frames import EncodedFrame
from triortc.codecs.payload import opus
from triortc.codecs.payload.formats import Depacketizer, depacketizer_for
from triortc.engine.jitter.audio import AudioJitterBuffer
from triortc.engine.jitter.configuration import AudioJitterConfiguration, VideoJitterConfiguration
from triortc.engine.jitter.video import VideoJitterBuffer
from triortc.engine.rtp.header import MARKER, PAYLOAD_TYPE, SEQUENCE_NUMBER, TIMESTAMP, RtpHeader
from triortc.engine.rtp.sequence import sequence_is_newer
from triortc.engine.session.inbound import InboundStream

__all__ = ["AudioPlayout", "Playout", "ReceivedFrame", "VideoPlayout"]


@dataclass(frozen=True, slots=True)
class ReceivedFrame:
    """A frame of the peer, whole and in its turn.

    Attributes:
        frame: the encoded picture or packet of sound, with the RTP timestamp of the packets. Empty if `lost`.
        codec_name: the codec's SDP name in lower case.
        clock_rate: ticks of the timestamp per second.
        ssrc: the peer's source.
        arrived_at: when its last packet came, in seconds of trio's clock; for a lost frame, when it was given up.
        captured_at: Unix time of the timestamp by the peer's own clock, from its sender reports; ``None`` before one.
        lost: sound that did not come in time, for the decoder to conceal. Pictures are never marked: after a loss the
            next one is a keyframe.
    """

    frame: EncodedFrame
    codec_name: str
    clock_rate: int
    ssrc: int
    arrived_at: float
    captured_at: float | None = None
    lost: bool = False


class Playout(Protocol):
    """What a receiver asks of a stream's buffer."""

    #: Packets of a format that was not agreed on, or of the one before.
    unusable: int

    @property
    def keyframes(self) -> int:
        """Keyframes that were whole."""
        ...

    @property
    def concealed(self) -> int:
        """Frames that came out empty."""
        ...

    @property
    def discarded(self) -> int:
        """Packets that came too late or could not be used any more."""
        ...

    @property
    def delay_s(self) -> float:
        """What the buffer adds to the way of a frame at present."""
        ...

    def insert(self, header: RtpHeader, payload: memoryview, now: float) -> None:
        """Take a packet as the session delivers it; the payload is lent."""
        ...

    def next_deadline(self) -> float | None:
        """When `handle_timeout` wants to be called."""
        ...

    def handle_timeout(self, now: float) -> None:
        """The deadline has passed."""
        ...

    def poll_frame(self) -> ReceivedFrame | None:
        """The next frame, ``None`` when there is no more."""
        ...

    def poll_keyframe_needed(self) -> bool:
        """Whether a keyframe must be asked for; told once for each loss."""
        ...


class _Format:
    """Which payload type the stream has at present. A late packet of the one before does not switch back."""

    __slots__ = ("_newest", "payload_type")

    def __init__(self) -> None:
        self.payload_type: int | None = None
        self._newest = 0

    def follow(self, header: RtpHeader) -> bool | None:
        """True: a new format begins with this packet; False: it goes on; None: the packet is of the old one."""
        number = header[SEQUENCE_NUMBER]
        newer = self.payload_type is None or sequence_is_newer(number, self._newest)
        if header[PAYLOAD_TYPE] != self.payload_type:
            if not newer:
                return None
            self.payload_type, self._newest = header[PAYLOAD_TYPE], number
            return True
        if newer:
            self._newest = number
        return False


class VideoPlayout:
    """Pictures of one stream, as soon as they and all before them are whole.

    Arguments:
        stream: the stream that is received.
        configuration: patience and bounds.
    """

    def __init__(self, stream: InboundStream, configuration: VideoJitterConfiguration) -> None:
        self._stream = stream
        self._configuration = configuration
        self._format = _Format()
        self._buffer: VideoJitterBuffer | None = None
        self._codec_name = ""
        self._keyframes_before = self._discarded_before = 0
        self._needs_keyframe = False
        self.unusable = 0

    @property
    def keyframes(self) -> int:
        """Keyframes that were whole."""
        return self._keyframes_before + (self._buffer.statistics.keyframes if self._buffer else 0)

    @property
    def concealed(self) -> int:
        """None: pictures are not concealed here."""
        return 0

    @property
    def discarded(self) -> int:
        """Packets that came too late or whose pictures could not be decoded."""
        if self._buffer is None:
            return self._discarded_before
        statistics = self._buffer.statistics
        return self._discarded_before + statistics.discarded + statistics.late

    @property
    def delay_s(self) -> float:
        """Nothing: pictures are handed out when they are whole."""
        return 0.0

    def insert(self, header: RtpHeader, payload: memoryview, now: float) -> None:
        """Take a packet as the session delivers it; the payload is lent."""
        name = self._stream.codec_name(header[PAYLOAD_TYPE])
        follows = self._format.follow(header) if name else None
        if follows is None:
            self.unusable += 1
            return
        if follows or self._buffer is None:
            self._keyframes_before, self._discarded_before = self.keyframes, self.discarded
            self._codec_name = name
            self._buffer = VideoJitterBuffer(depacketizer_for(name), self._configuration)
        self._buffer.insert(header[SEQUENCE_NUMBER], header[TIMESTAMP], header[MARKER], bytes(payload), now)

    def next_deadline(self) -> float | None:
        """When the present gap is given up."""
        return None if self._buffer is None else self._buffer.next_deadline()

    def handle_timeout(self, now: float) -> None:
        """Give a gap up whose time is over."""
        if self._buffer is not None:
            self._buffer.handle_timeout(now)

    def poll_frame(self) -> ReceivedFrame | None:
        """The next picture, ``None`` when there is no more."""
        picture = None if self._buffer is None else self._buffer.poll_frame()
        if picture is None:
            return None
        stream = self._stream
        return ReceivedFrame(
            EncodedFrame(picture.data, picture.timestamp, 0, picture.keyframe),
            self._codec_name,
            stream.clock.clock_rate,
            stream.ssrc,
            picture.arrived_at,
            stream.clock.unix_time_s(picture.timestamp),
        )

    def poll_keyframe_needed(self) -> bool:
        """Whether a keyframe must be asked for; told once for each loss."""
        needed = False
        while self._buffer is not None and self._buffer.poll_event() is not None:
            needed = True
        return needed


class AudioPlayout:
    """Sound of one stream, each packet when its time has come, and a mark where none came.

    Arguments:
        stream: the stream that is received.
        configuration: delays and bounds.
    """

    def __init__(self, stream: InboundStream, configuration: AudioJitterConfiguration) -> None:
        self._stream = stream
        self._configuration = configuration
        self._format = _Format()
        self._buffer: AudioJitterBuffer | None = None
        self._depacketizer: Depacketizer | None = None
        self._codec_name = ""
        self._clock_rate = stream.clock.clock_rate
        self._duration = 0
        #: When packets that wait have come, by timestamp.
        self._arrivals: dict[int, float] = {}
        self._frames: deque[ReceivedFrame] = deque()
        self._concealed_before = self._discarded_before = 0
        self.unusable = 0

    @property
    def keyframes(self) -> int:
        """None: all sound is one."""
        return 0

    @property
    def concealed(self) -> int:
        """Frames that came out empty."""
        return self._concealed_before + (self._buffer.statistics.concealed if self._buffer else 0)

    @property
    def discarded(self) -> int:
        """Packets that came too late or found the buffer full."""
        if self._buffer is None:
            return self._discarded_before
        statistics = self._buffer.statistics
        return self._discarded_before + statistics.late + statistics.overflowed

    @property
    def delay_s(self) -> float:
        """What the buffer adds at present, which follows the jitter."""
        return 0.0 if self._buffer is None else self._buffer.delay_ms / 1000

    def insert(self, header: RtpHeader, payload: memoryview, now: float) -> None:
        """Take a packet as the session delivers it; the payload is lent."""
        name = self._stream.codec_name(header[PAYLOAD_TYPE])
        if not name or not payload:
            self.unusable += 1
            return
        follows = self._format.follow(header)
        if follows is None:
            self.unusable += 1
            return
        if follows or self._buffer is None:
            self._switch(name, header[PAYLOAD_TYPE])
        if self._buffer is not None:
            if len(self._arrivals) > 2 * self._configuration.maximum_packets:
                self._arrivals.clear()
            self._arrivals[header[TIMESTAMP]] = now
            duration = self._duration_of(payload)
            self._buffer.insert(header[SEQUENCE_NUMBER], header[TIMESTAMP], bytes(payload), now, duration)

    def _duration_of(self, payload: bytes | memoryview) -> int:
        """How long a packet lasts, in ticks; 0 for what is none."""
        return (opus.duration_samples(payload) or 0) if self._codec_name == "opus" else len(payload)

    def _switch(self, name: str, payload_type: int) -> None:
        """Another codec: what waits of the old one is dropped, its clock says nothing about the new one's."""
        entry = self._stream.section.codec_of(payload_type)
        self._concealed_before, self._discarded_before = self.concealed, self.discarded
        self._clock_rate = self._stream.clock.clock_rate if entry is None else entry.codec.clock_rate
        self._codec_name, self._duration = name, 0
        self._arrivals.clear()
        self._depacketizer = depacketizer_for(name)
        self._buffer = AudioJitterBuffer(self._clock_rate, self._configuration)

    def next_deadline(self) -> float | None:
        """When the next packet, or the lack of one, has its turn."""
        return None if self._buffer is None else self._buffer.next_deadline()

    def handle_timeout(self, now: float) -> None:
        """Take out everything whose time has come."""
        buffer = self._buffer
        while buffer is not None and (popped := buffer.pop(now)) is not None:
            self._frames.append(self._frame(*popped, now))

    def _frame(self, timestamp: int, payload: bytes | None, now: float) -> ReceivedFrame:
        data = None
        if payload is not None and self._depacketizer is not None:
            data = self._depacketizer.depacketize((payload,))
        if data is not None:
            self._duration = self._duration_of(data) or self._duration
        return ReceivedFrame(
            EncodedFrame(data or b"", timestamp, self._duration),
            self._codec_name,
            self._clock_rate,
            self._stream.ssrc,
            self._arrivals.pop(timestamp, now) if payload is not None else now,
            self._stream.clock.unix_time_s(timestamp),
            lost=data is None,
        )

    def poll_frame(self) -> ReceivedFrame | None:
        """The next packet of sound or mark of a lost one, ``None`` when there is no more."""
        return self._frames.popleft() if self._frames else None

    def poll_keyframe_needed(self) -> bool:
        """Never: all sound is a keyframe."""
        return False
