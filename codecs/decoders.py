"""Decoders: VP8, H.264, Opus, PCMU, PCMA. Corrupt input costs a picture, never an exception.

Synchronous; the shell calls them in `CodecThreads`, one call of a decoder at a time.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from fractions import Fraction
from typing import Any, Generic, TypeVar

import av
from av.audio.codeccontext import AudioCodecContext
from av.video.codeccontext import VideoCodecContext

from triortc.codecs.configuration import DecoderConfiguration
from triortc.codecs.payload import opus, vp8
from triortc.codecs.payload.h264 import NAL_SPS, split_annex_b
from triortc.codecs.payload.h264_sps import parse_sps
from triortc.errors import CodecError, ConfigurationError

__all__ = ["AudioDecoder", "VideoDecoder"]

_Context = TypeVar("_Context", AudioCodecContext, VideoCodecContext)
_Frame = TypeVar("_Frame", av.AudioFrame, av.VideoFrame)


class _Decoder(ABC, Generic[_Context, _Frame]):
    """What both kinds share: one packet in, pictures or sound out, errors counted."""

    def __init__(self, ffmpeg_name: str, clock_rate: int, configuration: DecoderConfiguration | None) -> None:
        self._ffmpeg_name = ffmpeg_name
        self._configuration = configuration or DecoderConfiguration()
        self._context: _Context | None = None
        self.clock_rate = clock_rate
        self.decoded = 0
        """Pictures or packets of sound that came out."""
        self.errors = 0
        """Encoded frames that were refused or could not be decoded."""

    def close(self) -> None:
        """Free the decoder. The next frame opens it again, from nothing."""
        self._context = None

    @abstractmethod
    def _open(self) -> _Context:
        """A new context for the codec."""

    @abstractmethod
    def _run(self, context: _Context, packet: av.Packet[Any]) -> list[_Frame]:
        """What the context makes of one packet."""

    def _acceptable(self, data: bytes) -> bool:
        return 0 < len(data) <= self._configuration.max_frame_bytes

    def _decode(self, data: bytes, timestamp: int) -> list[_Frame]:
        if not self._acceptable(data):
            self.errors += 1
            return []
        if self._context is None:
            self._context = self._open()
        packet = av.Packet(data)
        packet.pts = packet.dts = timestamp
        packet.time_base = Fraction(1, self.clock_rate)
        try:
            frames = self._run(self._context, packet)
        except (av.FFmpegError, ValueError):
            self.errors += 1
            return []
        self.decoded += len(frames)
        return frames


class VideoDecoder(_Decoder[VideoCodecContext, av.VideoFrame]):
    """Decodes VP8 or H.264 (Annex B)."""

    def __init__(self, codec_name: str, configuration: DecoderConfiguration | None = None) -> None:
        """Prepare for a codec by its SDP name, ``"VP8"`` or ``"H264"``, in any case.

        Raises:
            ConfigurationError: there is no decoder for it.
        """
        self._codec_name = codec_name.lower()
        if self._codec_name not in ("vp8", "h264"):
            raise ConfigurationError(f"no video decoder for {codec_name!r}: use VP8 or H264")
        super().__init__(self._codec_name, 90_000, configuration)

    def decode(self, data: bytes, timestamp: int) -> list[av.VideoFrame]:
        """Decode one encoded frame.

        Args:
            data: the frame, Annex B for H.264.
            timestamp: its RTP timestamp; comes back as the picture's ``pts``.

        Returns:
            The pictures that are ready, mostly one; none for bytes that cannot be decoded, which are counted in
            `errors`. A picture with ``is_corrupt`` was repaired by guessing.
        """
        return self._decode(data, timestamp)

    def _open(self) -> VideoCodecContext:
        context = av.CodecContext.create(self._ffmpeg_name, "r")
        if not isinstance(context, VideoCodecContext):
            raise CodecError(f"{self._ffmpeg_name} is not a video decoder in this FFmpeg")
        context.thread_count = 1  # frame threads would hold pictures back
        context.options = {"max_pixels": str(self._configuration.max_pixels), "flags": "low_delay"}
        return context

    def _run(self, context: VideoCodecContext, packet: av.Packet[Any]) -> list[av.VideoFrame]:
        return context.decode(packet)

    def _acceptable(self, data: bytes) -> bool:
        """The size of a picture is looked at before FFmpeg takes memory for it."""
        if not super()._acceptable(data):
            return False
        size = None
        if self._codec_name == "vp8":
            size = vp8.frame_size(data)
        else:
            for unit in split_annex_b(data):
                parsed = parse_sps(unit) if unit[0] & 0x1F == NAL_SPS else None
                if parsed is not None:
                    size = (parsed.width, parsed.height)
        return size is None or size[0] * size[1] <= self._configuration.max_pixels


class AudioDecoder(_Decoder[AudioCodecContext, av.AudioFrame]):
    """Decodes Opus, PCMU or PCMA."""

    def __init__(
        self, codec_name: str, *, channels: int = 1, configuration: DecoderConfiguration | None = None
    ) -> None:
        """Prepare for a codec by its SDP name, in any case.

        Args:
            codec_name: ``"opus"``, ``"PCMU"`` or ``"PCMA"``.
            channels: of the decoded sound, 1 or 2; G.711 has 1.
            configuration: limits.

        Raises:
            ConfigurationError: there is no decoder for it, or it has not so many channels.
        """
        self._codec_name = codec_name.lower()
        names = {"opus": "libopus", "pcmu": "pcm_mulaw", "pcma": "pcm_alaw"}
        if self._codec_name not in names:
            raise ConfigurationError(f"no audio decoder for {codec_name!r}: use opus, PCMU or PCMA")
        if channels not in ((1, 2) if self._codec_name == "opus" else (1,)):
            raise ConfigurationError("channels must be 1 or 2 for Opus and 1 for G.711")
        self.channels = channels
        super().__init__(names[self._codec_name], 48_000 if self._codec_name == "opus" else 8_000, configuration)

    def decode(self, data: bytes, timestamp: int) -> list[av.AudioFrame]:
        """Decode one packet.

        Args:
            data: the packet.
            timestamp: its RTP timestamp; comes back as the sound's ``pts``.

        Returns:
            The sound, mostly one frame; none for bytes that cannot be decoded, which are counted in `errors`.
        """
        return self._decode(data, timestamp)

    def _open(self) -> AudioCodecContext:
        context = av.CodecContext.create(self._ffmpeg_name, "r")
        if not isinstance(context, AudioCodecContext):
            raise CodecError(f"{self._ffmpeg_name} is not an audio decoder in this FFmpeg")
        context.sample_rate = self.clock_rate
        context.layout = "stereo" if self.channels == 2 else "mono"
        return context

    def _run(self, context: AudioCodecContext, packet: av.Packet[Any]) -> list[av.AudioFrame]:
        return context.decode(packet)

    def _acceptable(self, data: bytes) -> bool:
        if not super()._acceptable(data):
            return False
        return self._codec_name != "opus" or opus.parse_packet(data) is not None
