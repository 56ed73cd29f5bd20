"""The numbers of the bandwidth estimators."""

from __future__ import annotations

from dataclasses import dataclass

from triortc.configuration_kinds import require_kinds
from triortc.errors import ConfigurationError

__all__ = ["CongestionConfiguration"]


@dataclass(slots=True, frozen=True, kw_only=True)
class CongestionConfiguration:
    """Bounds, growth and back-off of an estimate."""

    start_bps: int = 600_000
    minimum_bps: int = 50_000
    maximum_bps: int = 5_000_000
    growth_per_s: float = 0.08
    """Growth near the rate at which the path was last full."""
    search_growth_per_s: float = 0.4
    """Growth while it is not known where the path is full."""
    backoff: float = 0.85
    """What is kept of the acknowledged rate when queues build up."""
    high_loss: float = 0.10
    low_loss: float = 0.02
    """Above the first the estimate falls by half the loss, below the second it may grow (GCC)."""
    acknowledged_window_ms: int = 500
    headroom: float = 1.5
    """The estimate grows no further than this multiple of what has been acknowledged."""
    overuse_threshold_ms: float = 12.5
    feedback_timeout_ms: int = 1500
    """Without feedback for this long, while sending, the estimate is halved, and again each time it has passed."""
    history_packets: int = 4096
    limit_memory_ms: int = 10_000
    """How long after the path was last full a source that feeds it is held back."""
    delay_limit_floor_bps: int = 1_000_000
    """Growing delay alone, which a busy machine shows as well, holds a source back no further than this; loss does."""

    def __post_init__(self) -> None:
        require_kinds(self)
        if not 0 < self.minimum_bps <= self.start_bps <= self.maximum_bps:
            raise ConfigurationError("bit rates must rise: minimum_bps, start_bps, maximum_bps")
        if not 0 < self.backoff < 1 or not 0 <= self.low_loss <= self.high_loss < 1 or self.headroom <= 1:
            raise ConfigurationError("backoff is below 1, low_loss not above high_loss, headroom above 1")
        if min(self.acknowledged_window_ms, self.feedback_timeout_ms, self.history_packets, self.limit_memory_ms) <= 0:
            raise ConfigurationError("windows, time-outs and history must be above zero")
