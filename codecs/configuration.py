"""The numbers of this room that an embedder may want to change."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from triortc.configuration_kinds import require_kinds
from triortc.errors import ConfigurationError

__all__ = [
    "AudioEncoderConfiguration",
    "CompositionConfiguration",
    "DecoderConfiguration",
    "RecorderConfiguration",
    "SlateConfiguration",
    "VideoEncoderConfiguration",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoEncoderConfiguration:
    """Numbers of the video encoders.

    Attributes:
        bitrate_bps: the bitrate to begin with.
        min_bitrate_bps: a lower bitrate asked for is raised to this.
        max_bitrate_bps: a higher bitrate asked for is lowered to this.
        frame_rate: frames a second that the rate control plans for.
        keyframe_interval_s: the longest time without a keyframe; mostly they are sent when somebody asks.
        keyframe_request_interval_s: who asks again sooner than this after a keyframe waits for the next one until then.
        reopen_interval_s: an encoder that must be reopened to change its bitrate is reopened at most this often.
        reopen_change_ratio: a bitrate that moved by less than this part waits for a keyframe somebody asked for.
        vp8_speed: libvpx's ``cpu-used``, -16 to 16: higher magnitude is faster; negative is fixed, positive may adapt.
        h264_preset: libx264's preset.
        threads: threads of one encoder; more than one costs latency in H.264 (it cuts slices) and memory.
    """

    bitrate_bps: int = 800_000
    min_bitrate_bps: int = 30_000
    max_bitrate_bps: int = 6_000_000
    frame_rate: int = 30
    keyframe_interval_s: float = 100.0
    keyframe_request_interval_s: float = 0.3
    reopen_interval_s: float = 2.0
    reopen_change_ratio: float = 0.15
    vp8_speed: int = -6
    h264_preset: str = "veryfast"
    threads: int = 1

    def __post_init__(self) -> None:
        require_kinds(self)
        if not 0 < self.min_bitrate_bps <= self.max_bitrate_bps:
            raise ConfigurationError("min_bitrate_bps must be above 0 and at most max_bitrate_bps")
        if not 1 <= self.frame_rate <= 240:
            raise ConfigurationError("frame_rate must be 1 to 240 frames a second")
        if not -16 <= self.vp8_speed <= 16:
            raise ConfigurationError("vp8_speed must be -16 to 16; -6 suits live video")
        if self.keyframe_request_interval_s < 0:
            raise ConfigurationError("keyframe_request_interval_s must be 0 or more; 0 answers everybody at once")

    def clamp_bitrate(self, bitrate_bps: int) -> int:
        """``bitrate_bps`` brought between the two bounds."""
        return max(self.min_bitrate_bps, min(self.max_bitrate_bps, bitrate_bps))


@dataclass(frozen=True, slots=True, kw_only=True)
class AudioEncoderConfiguration:
    """Numbers of the Opus encoder (G.711 has none).

    Attributes:
        bitrate_bps: the bitrate to begin with, 6000 to 510000.
        channels: 1 or 2.
        frame_ms: duration of a packet: 10, 20, 40 or 60.
        expected_loss_percent: how much redundancy in-band FEC adds; 0 turns it off.
    """

    bitrate_bps: int = 32_000
    channels: int = 1
    frame_ms: int = 20
    expected_loss_percent: int = 5

    def __post_init__(self) -> None:
        require_kinds(self)
        if not 6_000 <= self.bitrate_bps <= 510_000:
            raise ConfigurationError("Opus has bitrates from 6000 to 510000 bit/s: choose one of them")
        if self.channels not in (1, 2):
            raise ConfigurationError("channels must be 1 or 2")
        if self.frame_ms not in (10, 20, 40, 60):
            raise ConfigurationError("frame_ms must be 10, 20, 40 or 60")
        if not 0 <= self.expected_loss_percent <= 100:
            raise ConfigurationError("expected_loss_percent must be 0 to 100")

    def for_receiver(self, parameters: Mapping[str, str]) -> AudioEncoderConfiguration:
        """Return these numbers, within what a receiver of Opus has declared (RFC 7587 section 6.1).

        Args:
            parameters: its format parameters. ``maxaveragebitrate`` caps the bitrate, unless it is one that Opus has
                not, and without ``useinbandfec=1`` redundancy would be wasted on it.
        """
        limit = parameters.get("maxaveragebitrate", "")
        limit_bps = int(limit) if limit.isascii() and limit.isdigit() and len(limit) <= 6 else 0
        return replace(
            self,
            bitrate_bps=min(self.bitrate_bps, limit_bps) if 6_000 <= limit_bps <= 510_000 else self.bitrate_bps,
            expected_loss_percent=self.expected_loss_percent if parameters.get("useinbandfec") == "1" else 0,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class DecoderConfiguration:
    """Limits of the decoders, for bytes of strangers.

    Attributes:
        max_pixels: a picture with more is not decoded: it would cost memory before it is seen.
        max_frame_bytes: a longer encoded frame is not decoded.
    """

    max_pixels: int = 2560 * 1440
    max_frame_bytes: int = 4 << 20

    def __post_init__(self) -> None:
        require_kinds(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class SlateConfiguration:
    """The engine's own picture and sound while a call rings.

    Attributes:
        text: what the picture says.
        width: pixels, even.
        height: pixels, even.
        frame_rate: pictures a second; the dots pulse calmly, few are enough.
        loop_s: seconds until the picture repeats, with a keyframe.
        bitrate_bps: an upper bound for the picture.
        ringback_hz: frequency of the ringback tone.
        ringback_on_s: seconds of tone.
        ringback_off_s: seconds of silence behind it.
        ringback_level: amplitude of the tone, 0 to 1 of full scale.
    """

    text: str = "Connecting you"
    width: int = 640
    height: int = 480
    frame_rate: int = 10
    loop_s: float = 3.0
    bitrate_bps: int = 150_000
    ringback_hz: float = 425.0
    ringback_on_s: float = 1.0
    ringback_off_s: float = 4.0
    ringback_level: float = 0.12

    def __post_init__(self) -> None:
        require_kinds(self)
        if self.width < 64 or self.height < 64 or self.width % 2 or self.height % 2:
            raise ConfigurationError("the slate's width and height must be even and at least 64 pixels")
        if self.frame_rate < 1 or self.loop_s <= 0:
            raise ConfigurationError("the slate needs a frame_rate of 1 or more and a loop_s above 0")
        if not 0 <= self.ringback_level <= 1:
            raise ConfigurationError("ringback_level must be 0 to 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class RecorderConfiguration:
    """Limits of a recording.

    Attributes:
        queue_frames: encoded frames that wait for the disk; more are dropped and counted.
        queue_bytes: the same in bytes.
        flush_frames: so many waiting frames wake the writer.
        header_wait_s: how long the file's head waits for the first frame of every track.
        cluster_s: the file can be played up to the last whole cluster, of this length, should the machine fail.
        max_audio_fill_s: a longer hole in the sound stays a hole; shorter ones are filled with silence.
        max_clock_error_s: a frame whose timestamp is further from its arrival than this starts a new time line.
        max_file_bytes: the recording stops with an error before it grows beyond this; ``None``: no bound.
        temporary_suffix: the file's name has this behind it until it is whole.
    """

    queue_frames: int = 2_000
    queue_bytes: int = 32 << 20
    flush_frames: int = 64
    header_wait_s: float = 3.0
    cluster_s: float = 2.0
    max_audio_fill_s: float = 30.0
    max_clock_error_s: float = 5.0
    max_file_bytes: int | None = None
    temporary_suffix: str = ".part"

    def __post_init__(self) -> None:
        require_kinds(self)
        if self.queue_frames < 1 or self.flush_frames < 1:
            raise ConfigurationError("queue_frames and flush_frames must be 1 or more")
        if not 0 < self.cluster_s <= 30:
            raise ConfigurationError("cluster_s must be above 0 and at most 30: block times count in 16 bits")
        if not self.temporary_suffix or Path(self.temporary_suffix).name != self.temporary_suffix:
            raise ConfigurationError("temporary_suffix must be a plain suffix such as '.part'")


@dataclass(frozen=True, slots=True, kw_only=True)
class CompositionConfiguration:
    """How both sides of a recording are brought into one picture.

    Attributes:
        pane_width: pixels of each side's half, even.
        pane_height: pixels, even.
        frame_rate: pictures a second.
        video_bitrate_bps: of the composed picture.
        audio_bitrate_bps: of the mixed sound.
    """

    pane_width: int = 640
    pane_height: int = 480
    frame_rate: int = 25
    video_bitrate_bps: int = 1_500_000
    audio_bitrate_bps: int = 48_000

    def __post_init__(self) -> None:
        require_kinds(self)
        if self.pane_width < 16 or self.pane_height < 16 or self.pane_width % 2 or self.pane_height % 2:
            raise ConfigurationError("pane_width and pane_height must be even and at least 16 pixels")
        if not 1 <= self.frame_rate <= 60:
            raise ConfigurationError("frame_rate must be 1 to 60 pictures a second")
