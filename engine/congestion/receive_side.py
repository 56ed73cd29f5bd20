"""A receiver's estimate, for peers that send no transport-wide sequence numbers: told to them as REMB."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from triortc.engine.congestion.configuration import CongestionConfiguration
from triortc.engine.congestion.rate_meter import RateMeter
from triortc.engine.rtcp.packets import ReceiverEstimatedMaximumBitrate

__all__ = ["ReceiveSideEstimator"]

_INTERVAL_S: Final = 1.0
_RATE_WINDOW_S: Final = 1.0


class ReceiveSideEstimator:
    """Incoming rate and loss to a REMB once a second, at once when the estimate falls.

    More than `high_loss`: the estimate falls to the incoming rate less half the loss. Less than `low_loss`: it grows,
    no further than `headroom` times what comes in, which never lowers it. Between the two it stays.
    """

    __slots__ = ("_configuration", "_deadline", "_incoming", "estimate_bps", "loss")

    def __init__(self, configuration: CongestionConfiguration | None = None) -> None:
        self._configuration = configuration or CongestionConfiguration()
        self._incoming = RateMeter(_RATE_WINDOW_S)
        self._deadline: float | None = None
        self.estimate_bps = float(self._configuration.start_bps)
        self.loss = 0.0

    def note(self, size_bytes: int, now: float) -> None:
        """Count a received packet."""
        self._incoming.add(size_bytes, now)
        if self._deadline is None:
            self._deadline = now + _INTERVAL_S

    def on_loss(self, fraction_lost: float, now: float) -> None:
        """Take the loss of the last interval, 0 to 1, as our own report blocks tell it."""
        self.loss = fraction_lost
        incoming_bps = self._incoming.rate_bps(now)
        if fraction_lost > self._configuration.high_loss and incoming_bps is not None:
            wanted = incoming_bps * (1 - fraction_lost / 2)
            self.estimate_bps = max(min(self.estimate_bps, wanted), self._configuration.minimum_bps)
            self._deadline = now

    def next_deadline(self) -> float | None:
        """Return when a REMB is due, None before the first packet."""
        return self._deadline

    def due(
        self, *, sender_ssrc: int, media_ssrcs: Sequence[int], now: float
    ) -> ReceiverEstimatedMaximumBitrate | None:
        """Return the REMB to send now, None if none is due."""
        if self._deadline is None or now < self._deadline:
            return None
        self._deadline = now + _INTERVAL_S
        incoming_bps = self._incoming.rate_bps(now)
        configured = self._configuration
        if incoming_bps is not None and self.loss < configured.low_loss:
            grown = self.estimate_bps * (1 + configured.search_growth_per_s)
            allowed = max(self.estimate_bps, min(grown, configured.headroom * incoming_bps))
            self.estimate_bps = min(allowed, configured.maximum_bps)
        return ReceiverEstimatedMaximumBitrate(sender_ssrc, int(self.estimate_bps), tuple(media_ssrcs))
