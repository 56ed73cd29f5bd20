"""The wall clock may be set, and stands still for no machine that sleeps: how much the stamps of calls have to move.

Nothing is decided by it (rings, grace and all else keep to the monotonic clock), but others act upon stamps: a push
that says that its ring was over an hour ago is delivered to nobody.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

__all__ = ["WallClock", "machine_offset_ms"]

#: Less is in nobody's way; what is slewed moves both clocks alike.
_NOTICED_MS: Final = 500


def machine_offset_ms() -> int:
    """What the wall clock says more than the monotonic one."""
    return (time.time_ns() - time.monotonic_ns()) // 1_000_000


class WallClock:
    """Notices when it was set.

    Arguments:
        offset_ms: what it says more than a clock that is never set.
    """

    __slots__ = ("_offset_ms", "_seen_ms")

    def __init__(self, offset_ms: Callable[[], int] = machine_offset_ms) -> None:
        self._offset_ms = offset_ms
        self._seen_ms = offset_ms()

    def step_ms(self) -> int:
        """By how much it was set since the last time; 0: by nothing that anybody would notice."""
        step = self._offset_ms() - self._seen_ms
        if abs(step) < _NOTICED_MS:
            return 0
        self._seen_ms += step
        return step
