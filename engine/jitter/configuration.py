"""The numbers of the jitter buffers."""

from __future__ import annotations

from dataclasses import dataclass

from triortc.configuration_kinds import require_kinds
from triortc.errors import ConfigurationError

__all__ = ["AudioJitterConfiguration", "VideoJitterConfiguration"]


@dataclass(slots=True, frozen=True, kw_only=True)
class AudioJitterConfiguration:
    """How much delay an audio buffer may add, and what it holds."""

    minimum_delay_ms: int = 20
    maximum_delay_ms: int = 500
    """The target delay stays between these."""
    late_fraction: float = 0.03
    """The target is chosen so that about this part of the packets comes too late."""
    window_s: float = 10.0
    """How far the measurement of jitter and clock drift looks back."""
    maximum_decrease_ms_per_s: int = 20
    """How fast the delay shrinks while sound goes on; in silence it shrinks at once."""
    maximum_concealment_ms: int = 120
    """How long lost sound is bridged; then the buffer waits for the next packet."""
    maximum_packets: int = 200
    maximum_span_ms: int = 2000
    """A buffer wider than either of these drops its oldest packets."""

    def __post_init__(self) -> None:
        require_kinds(self)
        if not 0 <= self.minimum_delay_ms <= self.maximum_delay_ms < self.maximum_span_ms:
            raise ConfigurationError("audio delays must rise: minimum_delay_ms, maximum_delay_ms, maximum_span_ms")
        if not 0 < self.late_fraction < 1 or self.maximum_packets < 2 or self.window_s <= 0:
            raise ConfigurationError("late_fraction is between 0 and 1, maximum_packets above 1, window_s above 0")


@dataclass(slots=True, frozen=True, kw_only=True)
class VideoJitterConfiguration:
    """How long a video buffer waits for retransmissions, and what it holds."""

    maximum_wait_ms: int = 500
    """A gap is given up this long after it was noticed, and a keyframe is needed."""
    keyframe_patience_ms: int = 100
    """A keyframe is asked for when none has begun this long after the first packet of a stream.

    Also how long a keyframe behind a gap waits for what may belong to it.
    """
    maximum_packets: int = 2048
    maximum_bytes: int = 4_000_000
    """A buffer that holds more than either of these is emptied, and a keyframe is needed."""

    def __post_init__(self) -> None:
        require_kinds(self)
        patience_ms = min(self.maximum_wait_ms, self.keyframe_patience_ms)
        if min(patience_ms, self.maximum_packets, self.maximum_bytes) <= 0:
            raise ConfigurationError("waits and bounds of the video buffer must be above zero")
