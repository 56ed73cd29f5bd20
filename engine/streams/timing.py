"""When what is not urgent is due: at times that many sessions share, so that one wake-up serves them all."""

from __future__ import annotations

from math import ceil

__all__ = ["next_multiple"]


#: An instant of rounding is not waited for until the next multiple.
_ROUNDING = 1e-6


def next_multiple(at: float, step_ms: int) -> float:
    """The first multiple of `step_ms` milliseconds that is not before `at`, in seconds like `at`."""
    return ceil(at * 1000 / step_ms - _ROUNDING) * step_ms / 1000
