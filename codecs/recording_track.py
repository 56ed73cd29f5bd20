"""One track of a recording: places frames on the file's time line, fills holes in sound, waits for keyframes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from triortc.codecs.configuration import RecorderConfiguration
from triortc.codecs.frames import EncodedFrame
from triortc.codecs.matroska import MatroskaTrack, avc_configuration, opus_head, wave_format
from triortc.codecs.payload import g711, h264, opus, vp8
from triortc.codecs.payload.h264_sps import parse_sps
from triortc.errors import ConfigurationError

__all__ = ["RecorderTrack", "TimedFrame", "TrackTimeline"]

_CLOCK_RATES = {"vp8": 90_000, "h264": 90_000, "opus": 48_000, "pcmu": 8_000, "pcma": 8_000}
_VIDEO = ("vp8", "h264")
_FALLBACK_SIZE = (640, 480)  # of a track whose first keyframe comes after the file's head; decoders read the real one
_OPUS_PRE_SKIP = 312  # the look-ahead of libopus at 48 kHz, which browsers use too
_FILL_FRAME_MS = 20
_DEFAULT_PICTURE_S = 1 / 30
_ROUNDING_S = 0.0005  # the file counts milliseconds
_MAX_PARAMETER_SET_BYTES = 1024


@dataclass(frozen=True, slots=True)
class RecorderTrack:
    """One side's pictures or sound.

    Attributes:
        name: how `Recorder.write` and the file call it, such as ``"agent video"``.
        codec: SDP name: VP8, H264, opus, PCMU or PCMA, in any case.
        channels: of sound.
    """

    name: str
    codec: str
    channels: int = 1

    def __post_init__(self) -> None:
        if self.codec.lower() not in _CLOCK_RATES:
            raise ConfigurationError(f"{self.codec!r} cannot be recorded: use VP8, H264, opus, PCMU or PCMA")
        if self.channels not in (1, 2):
            raise ConfigurationError("a recorded track has 1 or 2 channels")

    @property
    def is_video(self) -> bool:
        """Pictures, not sound."""
        return self.codec.lower() in _VIDEO

    @property
    def clock_rate(self) -> int:
        """Ticks a second of the RTP timestamps."""
        return _CLOCK_RATES[self.codec.lower()]


class TimedFrame(NamedTuple):
    """A frame in the file's form, at its place."""

    time_ms: int
    data: bytes
    keyframe: bool
    duration_ms: int


class TrackTimeline:
    """Turns RTP timestamps of one track into times of the file and says what to write."""

    def __init__(self, track: RecorderTrack, started_at_s: float, configuration: RecorderConfiguration) -> None:
        self.track = track
        self._codec = track.codec.lower()
        self._started_at_s = started_at_s
        self._configuration = configuration
        self._anchor: tuple[int, float] | None = None  # an RTP timestamp and its time
        self._anchored_by_capture = False
        self._end_s = 0.0  # of what was given out, from the file's start
        self._last_s = 0.0
        self._held: tuple[float, EncodedFrame] | None = None  # a picture that waits to know how long it lasts
        self._size: tuple[int, int] | None = None
        self._parameter_sets: bytes | None = None
        self.waits_for_keyframe = track.is_video
        self.frames_dropped = 0
        self.clock_jumps = 0
        self.filled_ms = 0

    @property
    def is_known(self) -> bool:
        """Whether the file's head can describe the track from what came."""
        if self._codec == "h264":
            return self._parameter_sets is not None
        return self._codec != "vp8" or self._size is not None

    def describe(self, fallback_parameter_sets: bytes) -> MatroskaTrack:
        """The track's entry in the file. ``fallback_parameter_sets``: Annex B, for H.264 that has not come yet."""
        name, channels = self.track.name, self.track.channels
        if self._codec == "vp8":
            width, height = self._size or _FALLBACK_SIZE
            return MatroskaTrack(name=name, codec_id="V_VP8", width=width, height=height)
        if self._codec == "h264":
            sps, pps = _first_sets(self._parameter_sets or fallback_parameter_sets)
            parsed = parse_sps(sps)
            width, height = (parsed.width, parsed.height) if parsed else _FALLBACK_SIZE
            private = avc_configuration(sps, pps)
            return MatroskaTrack(
                name=name, codec_id="V_MPEG4/ISO/AVC", codec_private=private, width=width, height=height
            )
        if self._codec == "opus":
            return MatroskaTrack(
                name=name,
                codec_id="A_OPUS",
                codec_private=opus_head(channels, _OPUS_PRE_SKIP),
                sample_rate=48_000,
                channels=channels,
                codec_delay_ns=_OPUS_PRE_SKIP * 1_000_000_000 // 48_000,
                seek_preroll_ns=80_000_000,
            )
        private = wave_format(7 if self._codec == "pcmu" else 6, channels, 8_000)
        return MatroskaTrack(
            name=name, codec_id="A_MS/ACM", codec_private=private, sample_rate=8_000, channels=channels
        )

    def map(self, rtp_timestamp: int, captured_at_s: float) -> None:
        """From now on the tick ``rtp_timestamp`` was captured at ``captured_at_s``, as a sender report tells."""
        self._anchor = rtp_timestamp, captured_at_s
        self._anchored_by_capture = True

    def place(self, frame: EncodedFrame, arrived_at_s: float) -> Iterator[TimedFrame]:
        """Take a frame; give what can be written now, in order of time."""
        time_s = self._time_of(frame.timestamp, arrived_at_s) - self._started_at_s
        if not frame.data or time_s < -_ROUNDING_S:
            self.frames_dropped += 1
            return
        time_s = max(time_s, 0.0)
        if self.track.is_video:
            yield from self._place_picture(frame, time_s)
        else:
            yield from self._place_sound(frame, time_s)

    def finish(self, ended_at_s: float | None) -> Iterator[TimedFrame]:
        """The recording ends, at ``ended_at_s`` if that is known: give what was held back and fill up the sound."""
        end_s = None if ended_at_s is None else ended_at_s - self._started_at_s
        if self._held is not None:
            held_s, frame = self._held
            last_s = _DEFAULT_PICTURE_S if end_s is None else max(end_s - held_s, 0.001)
            yield self._timed(frame.data, held_s, frame.keyframe, max(1, round(last_s * 1000)))
            self._held = None
        elif not self.track.is_video and end_s is not None and self._end_s:
            yield from self._silence_until(end_s)

    def _time_of(self, timestamp: int, arrived_at_s: float) -> float:
        if self._anchor is None:
            self._anchor = timestamp, arrived_at_s
        reference, reference_s = self._anchor
        ticks = (timestamp - reference + 0x8000_0000) % (1 << 32) - 0x8000_0000
        time_s = reference_s + ticks / self.track.clock_rate
        if abs(time_s - arrived_at_s) > self._configuration.max_clock_error_s:
            self.clock_jumps += 1
            self._anchored_by_capture = False
            time_s = arrived_at_s
        elif not self._anchored_by_capture and time_s > arrived_at_s:
            # It cannot arrive before it was captured: the frame that anchored the clock was a late one.
            time_s = arrived_at_s
        self._anchor = timestamp, time_s
        return time_s

    def _place_picture(self, frame: EncodedFrame, time_s: float) -> Iterator[TimedFrame]:
        if self.waits_for_keyframe:
            if not frame.keyframe:
                self.frames_dropped += 1
                return
            self.waits_for_keyframe = False
        if frame.keyframe:
            self._learn(frame.data)
        time_s = max(time_s, self._last_s)
        if self._held is not None:
            held_s, held = self._held
            yield self._timed(held.data, held_s, held.keyframe, 0)
        self._held = time_s, frame
        self._last_s = time_s + 0.001  # two pictures never share a time

    def _place_sound(self, frame: EncodedFrame, time_s: float) -> Iterator[TimedFrame]:
        duration_s = self._sound_duration_s(frame)
        if duration_s <= 0:
            self.frames_dropped += 1
            return
        if time_s - self._end_s >= 0.9 * _FILL_FRAME_MS / 1000:
            yield from self._silence_until(time_s)
        time_s = max(time_s, self._last_s)
        yield self._timed(frame.data, time_s, True, 0)
        self._last_s = time_s
        self._end_s = time_s + duration_s

    def _silence_until(self, time_s: float) -> Iterator[TimedFrame]:
        """Fill a hole: players run ahead of the pictures where sound is missing. What remains is under a packet."""
        step_s = _FILL_FRAME_MS / 1000
        if time_s - self._end_s > self._configuration.max_audio_fill_s:
            self._end_s = time_s
            return
        if self._codec == "opus":
            packet = opus.silence(stereo=self.track.channels == 2)
        else:
            sample = g711.PCMU_SILENCE if self._codec == "pcmu" else g711.PCMA_SILENCE
            packet = bytes((sample,)) * (8 * _FILL_FRAME_MS * self.track.channels)
        while time_s - self._end_s >= 0.9 * step_s:
            yield self._timed(packet, self._end_s, True, 0)
            self._last_s = self._end_s
            self._end_s += step_s
            self.filled_ms += _FILL_FRAME_MS

    def _sound_duration_s(self, frame: EncodedFrame) -> float:
        if self._codec == "opus":
            return (opus.duration_samples(frame.data) or 0) / 48_000
        return len(frame.data) / self.track.channels / 8_000

    def _learn(self, data: bytes) -> None:
        if self._codec == "vp8":
            size = vp8.frame_size(data)
            if size is not None and all(size):
                self._size = size
        elif self._parameter_sets is None:
            sets = h264.parameter_sets(data)
            if sets is not None and _usable(sets):
                self._parameter_sets = sets

    def _timed(self, data: bytes, time_s: float, keyframe: bool, duration_ms: int) -> TimedFrame:
        if self._codec == "h264":
            data = b"".join(len(unit).to_bytes(4, "big") + unit for unit in h264.split_annex_b(data))
        return TimedFrame(round(time_s * 1000), data, keyframe, duration_ms)


def _usable(annex_b: bytes) -> bool:
    """Whether parameter sets of a peer may go into the file's head."""
    sps, pps = _first_sets(annex_b)
    return parse_sps(sps) is not None and len(pps) <= _MAX_PARAMETER_SET_BYTES


def _first_sets(annex_b: bytes) -> tuple[bytes, bytes]:
    """The first SPS and the first PPS."""
    units = h264.split_annex_b(annex_b)
    sps = next(unit for unit in units if unit[0] & 0x1F == h264.NAL_SPS)
    return sps, next(unit for unit in units if unit[0] & 0x1F == h264.NAL_PPS)
