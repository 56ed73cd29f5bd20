"""When datagrams that nobody took in time are more than a hiccup."""

from __future__ import annotations

from collections import deque
from typing import Final

__all__ = ["Overload"]

#: So many overflows, so far apart or more, within so long are an overload.
_OVERFLOWS: Final = 3
_OVERFLOWS_APART_S: Final = 0.1
_OVERFLOWS_WITHIN_S: Final = 3.0


class Overload:
    """Remembers when sockets have overflowed lately."""

    __slots__ = ("_overflowed_at",)

    def __init__(self) -> None:
        self._overflowed_at: deque[float] = deque(maxlen=_OVERFLOWS)

    def note(self, now: float) -> bool:
        """A socket has overflowed; whether that happens again and again. What is noted at one time counts once."""
        times = self._overflowed_at
        if not times or now - times[-1] >= _OVERFLOWS_APART_S:
            times.append(now)
        return len(times) == _OVERFLOWS and now - times[0] <= _OVERFLOWS_WITHIN_S
