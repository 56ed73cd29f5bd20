"""Video encoders for live calls: VP8 and H.264, with bitrate, keyframes and size that change at run time.

The objects are synchronous and block; the shell calls them in `CodecThreads`, one call of an encoder at a time.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from fractions import Fraction
from typing import ClassVar, Protocol

import av
from av.video.codeccontext import VideoCodecContext
from av.video.frame import PictureType

from triortc.codecs.audio_encoders import AudioEncoder, OpusEncoder, PcmaEncoder, PcmuEncoder
from triortc.codecs.configuration import AudioEncoderConfiguration, VideoEncoderConfiguration
from triortc.codecs.frames import EncodedFrame
from triortc.errors import CodecError, ConfigurationError

__all__ = [
    "AudioEncoder",
    "H264Encoder",
    "OpusEncoder",
    "PcmaEncoder",
    "PcmuEncoder",
    "VideoEncoder",
    "Vp8Encoder",
    "audio_encoder_for",
    "video_encoder_for",
]

CLOCK_RATE = 90_000
_TIMESTAMPS = 1 << 32


class VideoEncoder(ABC):
    """What VP8 and H.264 encoders share.

    A frame of another size than the one before reopens the encoder and so begins with a keyframe.
    """

    _CODEC: ClassVar[str]

    def __init__(self, configuration: VideoEncoderConfiguration | None = None) -> None:
        """Nothing is opened before the first frame, which brings the size.

        Args:
            configuration: bitrate to begin with, bounds and speed.
        """
        self._configuration = configuration or VideoEncoderConfiguration()
        self._bitrate_bps = self._configuration.clamp_bitrate(self._configuration.bitrate_bps)
        self._context: VideoCodecContext | None = None
        self._opened_at = 0  # RTP ticks, as all times here: the encoder reads no clock
        self._elapsed = 0
        self._last_timestamp: int | None = None
        self._keyframe_wanted = False
        self.reopened = 0
        """How often the encoder was opened again."""

    @property
    def bitrate_bps(self) -> int:
        """The bitrate asked for, within the configured bounds; a reopening encoder may follow later."""
        return self._bitrate_bps

    def set_bitrate(self, bitrate_bps: int) -> None:
        """Aim at ``bitrate_bps``, brought between the configured bounds, from one of the next frames on."""
        self._bitrate_bps = self._configuration.clamp_bitrate(bitrate_bps)
        self._apply_bitrate()

    def request_keyframe(self) -> None:
        """Make the next encoded frame a keyframe."""
        self._keyframe_wanted = True

    def encode(self, frame: av.VideoFrame, timestamp: int, *, force_keyframe: bool = False) -> list[EncodedFrame]:
        """Encode one picture.

        Args:
            frame: the picture, in any pixel format, with even sides. Its ``pts``, ``time_base`` and ``pict_type`` are
                overwritten.
            timestamp: RTP timestamp of the picture at 90 kHz.
            force_keyframe: make it a keyframe.

        Returns:
            Mostly one frame; none when the encoder drops it.

        Raises:
            CodecError: the size is odd or FFmpeg refuses the picture.
        """
        if frame.width % 2 or frame.height % 2:
            raise CodecError(f"pictures must have even sides, not {frame.width}x{frame.height}: scale or crop them")
        self._advance(timestamp)
        keyframe = force_keyframe or self._keyframe_wanted
        self._keyframe_wanted = False
        try:
            context = self._context_for(frame, keyframe)
            if frame.format.name != "yuv420p":
                frame = frame.reformat(format="yuv420p")
            frame.pts = self._elapsed
            frame.time_base = Fraction(1, CLOCK_RATE)
            # A frame out of a decoder remembers what it was and would be encoded as that again.
            frame.pict_type = PictureType.I if keyframe else PictureType.NONE
            packets = context.encode(frame)
        except (av.FFmpegError, ValueError) as error:
            self.close()
            raise CodecError(f"{self._CODEC} cannot encode a {frame.width}x{frame.height} picture: {error}") from error
        return [EncodedFrame(bytes(packet), timestamp, 0, packet.is_keyframe) for packet in packets]

    def close(self) -> None:
        """Free the encoder. The next frame opens it again."""
        self._context = None

    def _advance(self, timestamp: int) -> None:
        """Follow the RTP timestamps without their wrap. The encoder needs times that grow with every frame."""
        if self._last_timestamp is not None:
            step = (timestamp - self._last_timestamp) % _TIMESTAMPS
            # A source that was switched may jump back or far; the encoder sees one frame's time instead.
            if not 0 < step < 10 * CLOCK_RATE:
                step = CLOCK_RATE // self._configuration.frame_rate
            self._elapsed += step
        self._last_timestamp = timestamp

    def _context_for(self, frame: av.VideoFrame, keyframe: bool) -> VideoCodecContext:
        current = self._context
        if current is not None:
            same_size = (current.width, current.height) == (frame.width, frame.height)
            if same_size and not self._must_reopen(keyframe, (self._elapsed - self._opened_at) / CLOCK_RATE):
                return current
            self.reopened += 1
        context = av.CodecContext.create(self._CODEC, "w")
        if not isinstance(context, VideoCodecContext):
            raise CodecError(f"{self._CODEC} is not a video encoder in this FFmpeg")
        context.width, context.height = frame.width, frame.height
        context.pix_fmt = "yuv420p"
        context.time_base = Fraction(1, CLOCK_RATE)
        context.framerate = Fraction(self._configuration.frame_rate)
        context.bit_rate = self._opening_bitrate_bps()
        context.gop_size = max(1, round(self._configuration.keyframe_interval_s * self._configuration.frame_rate))
        context.max_b_frames = 0
        context.thread_count = self._configuration.threads
        context.options = self._options()
        context.open()
        self._context = context
        self._opened_at = self._elapsed
        self._apply_bitrate()
        return context

    def _opening_bitrate_bps(self) -> int:
        """The bitrate that the encoder is opened with."""
        return self._bitrate_bps

    @abstractmethod
    def _options(self) -> dict[str, str]:
        """FFmpeg's private options of the encoder."""

    @abstractmethod
    def _apply_bitrate(self) -> None:
        """Bring a new ``_bitrate_bps`` to the open encoder, if that can be done."""

    @abstractmethod
    def _must_reopen(self, keyframe: bool, open_for_s: float) -> bool:
        """Whether the encoder is to be opened again before this frame."""


class Vp8Encoder(VideoEncoder):
    """VP8 by libvpx in real-time mode at a constant bitrate.

    libvpx cannot change the bitrate of an open encoder through FFmpeg, so it is reopened, which costs a keyframe: when
    somebody asks for one anyway, or when the rate has moved far, and never more often than ``reopen_interval_s``.
    """

    _CODEC = "libvpx"

    def __init__(self, configuration: VideoEncoderConfiguration | None = None) -> None:
        """See `VideoEncoder`."""
        super().__init__(configuration)
        self._open_bitrate_bps = self._bitrate_bps

    def _options(self) -> dict[str, str]:
        self._open_bitrate_bps = self._bitrate_bps
        rate = str(self._bitrate_bps)
        return {
            "deadline": "realtime",
            "cpu-used": str(self._configuration.vp8_speed),
            "lag-in-frames": "0",
            "auto-alt-ref": "0",
            "minrate": rate,  # equal to maxrate: constant bitrate
            "maxrate": rate,
            "bufsize": rate,  # one second, of which rate control uses half as its target
            "undershoot-pct": "100",
            "overshoot-pct": "15",
            "static-thresh": "1",
            "qmin": "2",
            "qmax": "56",
        }

    def _apply_bitrate(self) -> None:
        """Only by reopening, see `_must_reopen`."""

    def _must_reopen(self, keyframe: bool, open_for_s: float) -> bool:
        if self._bitrate_bps == self._open_bitrate_bps or open_for_s < self._configuration.reopen_interval_s:
            return False
        change = abs(self._bitrate_bps - self._open_bitrate_bps) / self._open_bitrate_bps
        return keyframe or change >= self._configuration.reopen_change_ratio


class H264Encoder(VideoEncoder):
    """H.264 Constrained Baseline by libx264 without delay.

    Every keyframe brings SPS and PPS. A new bitrate holds from the next frame on, without a keyframe, up to twice the
    bitrate that the encoder was opened with; beyond, it is reopened, at most every ``reopen_interval_s``.
    """

    _CODEC = "libx264"

    # libx264 forgets what it spent before only when it was opened for a constant bitrate, equal to the rate of its
    # buffer model. So it is opened with the ceiling and the rate is lowered at once; without this a new rate would
    # take minutes to show.
    _HEADROOM = 2
    _LOW = 4  # so far below the ceiling keyframes grow out of proportion: the next one takes a new ceiling

    def __init__(self, configuration: VideoEncoderConfiguration | None = None) -> None:
        """See `VideoEncoder`."""
        super().__init__(configuration)
        self._ceiling_bps = 0

    def _opening_bitrate_bps(self) -> int:
        self._ceiling_bps = min(self._configuration.max_bitrate_bps, self._HEADROOM * self._bitrate_bps)
        return self._ceiling_bps

    def _options(self) -> dict[str, str]:
        return {
            "preset": self._configuration.h264_preset,
            "tune": "zerolatency",
            "profile": "baseline",
            "forced-idr": "1",
            "maxrate": str(self._ceiling_bps),
            "bufsize": str(self._ceiling_bps // 2),
        }

    def _apply_bitrate(self) -> None:
        if self._context is not None:
            self._context.bit_rate = min(self._bitrate_bps, self._ceiling_bps)

    def _must_reopen(self, keyframe: bool, open_for_s: float) -> bool:
        if open_for_s < self._configuration.reopen_interval_s:
            return False
        return self._bitrate_bps > self._ceiling_bps or (keyframe and self._bitrate_bps * self._LOW < self._ceiling_bps)


class _VideoEncoderFactory(Protocol):
    def __call__(self, configuration: VideoEncoderConfiguration | None = None) -> VideoEncoder: ...


_VIDEO: dict[str, _VideoEncoderFactory] = {"vp8": Vp8Encoder, "h264": H264Encoder}


def video_encoder_for(codec_name: str, configuration: VideoEncoderConfiguration | None = None) -> VideoEncoder:
    """A new video encoder by the codec's SDP name, in any case.

    Raises:
        ConfigurationError: there is no encoder for it.
    """
    factory = _VIDEO.get(codec_name.lower())
    if factory is None:
        raise ConfigurationError(f"no video encoder for {codec_name!r}: use one of {', '.join(sorted(_VIDEO))}")
    return factory(configuration)


def audio_encoder_for(codec_name: str, configuration: AudioEncoderConfiguration | None = None) -> AudioEncoder:
    """A new audio encoder by the codec's SDP name, in any case. ``configuration`` is for Opus.

    Raises:
        ConfigurationError: there is no encoder for it.
    """
    name = codec_name.lower()
    if name == "opus":
        return OpusEncoder(configuration)
    if name == "pcmu":
        return PcmuEncoder()
    if name == "pcma":
        return PcmaEncoder()
    raise ConfigurationError(f"no audio encoder for {codec_name!r}: use one of opus, pcma, pcmu")
