"""Tells moderate loss of an overflowing short queue from the path's own: by sending less for a while."""

from __future__ import annotations

from typing import Final

__all__ = ["LossTrial"]

_PATIENCE_S: Final = 0.8
_TRIAL_S: Final = 1.5
_REST_S: Final = 20.0


class LossTrial:
    """Holds the state of one trial at a time.

    Args:
        factor: what is kept of the rate during a trial.
    """

    __slots__ = ("_factor", "_judged_at", "_moderate_since", "_rate_before_bps", "_rests_until")

    def __init__(self, factor: float) -> None:
        self._factor = factor
        self._moderate_since: float | None = None
        self._judged_at: float | None = None
        self._rate_before_bps = 0.0
        self._rests_until = 0.0

    def note_moderate_loss(self, rate_bps: float, now: float, rtt_s: float) -> float:
        """Take note that a loss sample was moderate again; return the rate to go on with.

        Lower: a trial begins. Higher: the trial has shown that loss does not depend on the rate, and none is made for
        a while.
        """
        if self._judged_at is not None:
            if now < self._judged_at:
                return rate_bps
            self._judged_at = None
            self._rests_until = now + _REST_S
            return max(rate_bps, self._rate_before_bps)
        if self._moderate_since is None:
            self._moderate_since = now
        if now < self._rests_until or now - self._moderate_since < _PATIENCE_S:
            return rate_bps
        self._moderate_since = None
        self._rate_before_bps = rate_bps
        self._judged_at = now + _TRIAL_S + rtt_s
        return rate_bps * self._factor

    def end(self) -> None:
        """Loss has stopped, or has become so high that the loss rule acts: the trial's lower rate stays."""
        self._moderate_since = None
        self._judged_at = None
