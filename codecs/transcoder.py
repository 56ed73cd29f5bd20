"""Turns the stream of one codec into that of another, for two legs that share none. Blocks: for codec threads."""

from __future__ import annotations

from triortc.codecs.configuration import (
    AudioEncoderConfiguration,
    DecoderConfiguration,
    VideoEncoderConfiguration,
)
from triortc.codecs.decoders import AudioDecoder, VideoDecoder
from triortc.codecs.encoders import audio_encoder_for, video_encoder_for
from triortc.codecs.frames import EncodedFrame

__all__ = ["AudioTranscoder", "VideoTranscoder"]

_TIMESTAMPS = 1 << 32


class VideoTranscoder:
    """Decodes pictures of one codec and encodes them in another. Timestamps stay: both count at 90 kHz."""

    def __init__(
        self,
        source_codec: str,
        target_codec: str,
        *,
        encoder: VideoEncoderConfiguration | None = None,
        decoder: DecoderConfiguration | None = None,
    ) -> None:
        """Prepare both sides.

        Args:
            source_codec: SDP name of what comes in.
            target_codec: SDP name of what goes out.
            encoder: bitrate to begin with, bounds, speed.
            decoder: limits for what comes in.

        Raises:
            ConfigurationError: there is no decoder or encoder for a codec.
        """
        self._decoder = VideoDecoder(source_codec, decoder)
        self._encoder = video_encoder_for(target_codec, encoder)
        self.keyframe_wanted = True
        """The source must send a keyframe: none came yet, or what came could not be decoded."""

    def transcode(self, frame: EncodedFrame) -> list[EncodedFrame]:
        """Transcode one frame; what cannot be decoded gives nothing and sets `keyframe_wanted`.

        Raises:
            CodecError: the encoder fails.
        """
        if self.keyframe_wanted and not frame.keyframe:
            return []
        errors = self._decoder.errors
        pictures = self._decoder.decode(frame.data, frame.timestamp)
        self.keyframe_wanted = self._decoder.errors > errors
        encoded = []
        for picture in pictures:
            if picture.width % 2 or picture.height % 2:
                # The encoders want even sides; one line of pixels is not missed.
                picture = picture.reformat(width=picture.width & ~1, height=picture.height & ~1)
            encoded += self._encoder.encode(picture, frame.timestamp)
        return encoded

    def request_keyframe(self) -> None:
        """The receiver asks for a keyframe: the encoder makes one, the source is not troubled."""
        self._encoder.request_keyframe()

    def set_bitrate(self, bitrate_bps: int) -> None:
        """Aim at ``bitrate_bps``."""
        self._encoder.set_bitrate(bitrate_bps)

    def close(self) -> None:
        """Free both sides."""
        self._decoder.close()
        self._encoder.close()


class AudioTranscoder:
    """Decodes sound of one codec and encodes it in another, timestamps in the other's clock."""

    def __init__(
        self,
        source_codec: str,
        target_codec: str,
        *,
        first_timestamp: int = 0,
        encoder: AudioEncoderConfiguration | None = None,
        decoder: DecoderConfiguration | None = None,
    ) -> None:
        """Prepare both sides.

        Args:
            source_codec: SDP name of what comes in.
            target_codec: SDP name of what goes out.
            first_timestamp: RTP timestamp of the first packet that goes out.
            encoder: for Opus.
            decoder: limits for what comes in.

        Raises:
            ConfigurationError: there is no decoder or encoder for a codec.
        """
        self._decoder = AudioDecoder(source_codec, configuration=decoder)
        self._encoder = audio_encoder_for(target_codec, encoder)
        self._first_timestamp = first_timestamp
        self._last: int | None = None
        self._ticks = 0  # since the first packet, in the source's clock

    def transcode(self, frame: EncodedFrame) -> list[EncodedFrame]:
        """Transcode one packet; what cannot be decoded gives nothing. Holes in time stay holes.

        Raises:
            CodecError: the encoder fails.
        """
        if self._last is not None:
            self._ticks += (frame.timestamp - self._last + _TIMESTAMPS // 2) % _TIMESTAMPS - _TIMESTAMPS // 2
        self._last = frame.timestamp
        ticks = self._ticks * self._encoder.clock_rate // self._decoder.clock_rate
        encoded = []
        for sound in self._decoder.decode(frame.data, frame.timestamp):
            encoded += self._encoder.encode(sound, (self._first_timestamp + ticks) % _TIMESTAMPS)
            ticks += sound.samples * self._encoder.clock_rate // sound.sample_rate
        return encoded

    def close(self) -> None:
        """Free both sides."""
        self._decoder.close()
        self._encoder.close()
