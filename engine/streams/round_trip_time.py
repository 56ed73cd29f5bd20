"""The round-trip time that report blocks tell (RFC 3550 6.4.1, figure 2)."""

from __future__ import annotations

from typing import Final

from triortc.engine.rtcp.ntp import compact_to_seconds
from triortc.engine.rtcp.packets import ReportBlock

__all__ = ["RttEstimator"]

_SMOOTHING: Final = 1 / 8
_MAXIMUM_S: Final = 60.0
_HALF_RANGE: Final = 1 << 31


class RttEstimator:
    """Smooths the round-trip times of the report blocks that come back for our sender reports."""

    __slots__ = ("last_s", "measurements", "rtt_s", "total_s")

    def __init__(self) -> None:
        self.rtt_s: float | None = None
        """Smoothed, in seconds; None before the first measurement."""
        self.last_s: float | None = None
        self.total_s = 0.0
        self.measurements = 0

    def note_report_block(self, block: ReportBlock, now_middle_32: int) -> float | None:
        """Take a block, `now_middle_32` being our NTP time in the middle 32 bits.

        Return this round trip in seconds or None.

        A block without LSR says nothing. Rounding of a peer may make the time slightly negative, which counts as none
        at all; times above a minute are taken for a mistake of the peer.
        """
        if not block.last_sr:
            return None
        ticks = (now_middle_32 - block.last_sr - block.delay_since_last_sr) & 0xFFFFFFFF
        rtt_s = 0.0 if ticks >= _HALF_RANGE else compact_to_seconds(ticks)
        if rtt_s > _MAXIMUM_S:
            return None
        self.last_s = rtt_s
        self.total_s += rtt_s
        self.measurements += 1
        self.rtt_s = rtt_s if self.rtt_s is None else self.rtt_s + (rtt_s - self.rtt_s) * _SMOOTHING
        return rtt_s
