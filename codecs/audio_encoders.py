"""Audio encoders: Opus, PCMU and PCMA. Synchronous; the shell calls them in `CodecThreads`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from fractions import Fraction
from typing import ClassVar

import av
from av.audio.codeccontext import AudioCodecContext

from triortc.codecs.configuration import AudioEncoderConfiguration
from triortc.codecs.frames import EncodedFrame
from triortc.errors import CodecError, ConfigurationError

__all__ = ["AudioEncoder", "OpusEncoder", "PcmaEncoder", "PcmuEncoder"]

_TIMESTAMPS = 1 << 32
_G711_FRAME_MS = 20


class AudioEncoder(ABC):
    """What the audio encoders share: any sound in, packets of one duration out.

    Sound of any rate, layout and sample format is resampled; samples that do not fill a packet wait for the next call.
    """

    _CODEC: ClassVar[str]

    def __init__(self, *, clock_rate: int, channels: int, frame_ms: int) -> None:
        self.clock_rate = clock_rate
        self.channels = channels
        self.frame_samples = clock_rate * frame_ms // 1000
        self._context: AudioCodecContext | None = None
        self._resampler = self._new_resampler()
        self._next_timestamp: int | None = None
        self._buffered = Fraction(0)
        self._encoded = 0  # samples given to the encoder since it was opened

    def encode(self, frame: av.AudioFrame, timestamp: int) -> list[EncodedFrame]:
        """Encode sound.

        Args:
            frame: samples in any format; the packed and planar ones of FFmpeg. It says its ``sample_rate``; its
                ``pts`` is overwritten.
            timestamp: RTP timestamp of its first sample, in ticks of `clock_rate`. It is followed when it leaves the
                running count by more than a packet: then what waited is dropped and a new run begins.

        Returns:
            The packets that are full now, none or several.

        Raises:
            CodecError: FFmpeg refuses the sound, or nobody could tell how fast it is.
        """
        if not frame.sample_rate:  # PyAV makes frames of arrays without
            raise CodecError("this sound does not say its rate: set the frame's sample_rate, as 48000")
        self._follow(timestamp)
        frame.pts = None  # the resampler must not fill gaps by itself
        # What waits in the resampler is counted in ticks of our clock, to tell a jump from a run; in fractions of them,
        # which whole ones would lose: at 44100 Hz a packet's worth of them in 40 s.
        self._buffered += Fraction(frame.samples * self.clock_rate, frame.sample_rate)
        packets = []
        try:
            context = self._opened()
            for chunk in self._resampler.resample(frame):
                chunk.pts = self._encoded
                chunk.time_base = Fraction(1, self.clock_rate)
                self._encoded += chunk.samples
                packets += [bytes(packet) for packet in context.encode(chunk)]
        except (av.FFmpegError, ValueError) as error:
            self.close()
            raise CodecError(f"{self._CODEC} cannot encode this sound: {error}") from error
        return [self._stamp(data) for data in packets]

    def close(self) -> None:
        """Free the encoder and forget what waits. The next sound opens it again."""
        self._context = None
        self._restart()

    @abstractmethod
    def _configure(self, context: AudioCodecContext) -> None:
        """Set the bitrate and options of a context that is about to be opened."""

    def _restart(self) -> None:
        self._resampler = self._new_resampler()
        self._next_timestamp = None
        self._buffered = Fraction(0)

    def _new_resampler(self) -> av.AudioResampler:
        layout = "stereo" if self.channels == 2 else "mono"
        return av.AudioResampler(format="s16", layout=layout, rate=self.clock_rate, frame_size=self.frame_samples)

    def _follow(self, timestamp: int) -> None:
        if self._next_timestamp is not None:
            ahead = (timestamp - self._next_timestamp - round(self._buffered)) % _TIMESTAMPS
            if self.frame_samples < ahead < _TIMESTAMPS - self.frame_samples:
                self._restart()
        if self._next_timestamp is None:
            self._next_timestamp = timestamp

    def _stamp(self, data: bytes) -> EncodedFrame:
        timestamp = self._next_timestamp or 0
        self._next_timestamp = (timestamp + self.frame_samples) % _TIMESTAMPS
        self._buffered -= self.frame_samples
        return EncodedFrame(data, timestamp, self.frame_samples)

    def _opened(self) -> AudioCodecContext:
        if self._context is not None:
            return self._context
        context = av.CodecContext.create(self._CODEC, "w")
        if not isinstance(context, AudioCodecContext):
            raise CodecError(f"{self._CODEC} is not an audio encoder in this FFmpeg")
        context.sample_rate = self.clock_rate
        context.layout = "stereo" if self.channels == 2 else "mono"
        context.format = "s16"
        context.time_base = Fraction(1, self.clock_rate)
        self._configure(context)
        context.open()
        self._context = context
        self._encoded = 0
        return context


class OpusEncoder(AudioEncoder):
    """Opus by libopus for speech, with in-band FEC. A new bitrate reopens it between two packets, which is cheap."""

    _CODEC = "libopus"

    def __init__(self, configuration: AudioEncoderConfiguration | None = None) -> None:
        """Nothing is opened before the first sound.

        Args:
            configuration: bitrate to begin with, channels, packet duration and redundancy.
        """
        self._configuration = configuration or AudioEncoderConfiguration()
        self._bitrate_bps = self._configuration.bitrate_bps
        super().__init__(
            clock_rate=48_000, channels=self._configuration.channels, frame_ms=self._configuration.frame_ms
        )

    @property
    def bitrate_bps(self) -> int:
        """The bitrate in use."""
        return self._bitrate_bps

    def set_bitrate(self, bitrate_bps: int) -> None:
        """Change the bitrate from the next packet on.

        Raises:
            ConfigurationError: Opus has no such bitrate.
        """
        if not 6_000 <= bitrate_bps <= 510_000:
            raise ConfigurationError("Opus has bitrates from 6000 to 510000 bit/s: choose one of them")
        if bitrate_bps != self._bitrate_bps:
            self._bitrate_bps = bitrate_bps
            self._context = None  # what waits in the resampler stays

    def _configure(self, context: AudioCodecContext) -> None:
        loss = self._configuration.expected_loss_percent
        context.bit_rate = self._bitrate_bps
        context.options = {
            "application": "voip",
            "frame_duration": str(self._configuration.frame_ms),
            "fec": "1" if loss else "0",
            "packet_loss": str(loss),
        }


class _G711Encoder(AudioEncoder):
    def __init__(self) -> None:
        """Packets of 20 ms."""
        super().__init__(clock_rate=8_000, channels=1, frame_ms=_G711_FRAME_MS)

    def _configure(self, context: AudioCodecContext) -> None:
        """G.711 has nothing to choose."""


class PcmuEncoder(_G711Encoder):
    """G.711 mu-law, 8000 Hz, one channel."""

    _CODEC = "pcm_mulaw"


class PcmaEncoder(_G711Encoder):
    """G.711 A-law, 8000 Hz, one channel."""

    _CODEC = "pcm_alaw"
