"""Consent freshness (RFC 7675): when to ask the peer again whether it still wants to hear from us."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["ConsentTimer"]


class ConsentTimer:
    """The randomised period of consent checks. They keep NAT bindings open as well (RFC 8445 section 11).

    Args:
        interval_s: the basic period; each wait is 0.8 to 1.2 of it (RFC 7675 section 5.1).
        random_bytes: gives ``n`` random bytes.
    """

    def __init__(self, *, interval_s: float, random_bytes: Callable[[int], bytes]) -> None:
        self._interval_s = interval_s
        self._random_bytes = random_bytes
        self.deadline: float | None = None

    def restart(self, now: float) -> None:
        """Set the deadline of the next check."""
        fraction = int.from_bytes(self._random_bytes(2), "big") / 0xFFFF
        self.deadline = now + self._interval_s * (0.8 + 0.4 * fraction)

    def stop(self) -> None:
        """Check no more."""
        self.deadline = None
