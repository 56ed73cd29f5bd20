"""When a STUN request over UDP is sent again and when it is given up (RFC 8489 section 6.2.1)."""

from __future__ import annotations

__all__ = ["RetransmissionTimer"]


class RetransmissionTimer:
    """The timer of one transaction: RTO, 2 RTO, 4 RTO, … between transmissions, and a last wait of ``Rm`` times RTO.

    Args:
        now: when the first transmission goes out, in seconds.
        rto_s: the first interval.
        transmissions: how often the request is sent in all (``Rc``); at least 1.
        last_wait_factor: how many RTO the last transmission is waited for (``Rm``).
    """

    __slots__ = ("_interval_s", "_last_wait_s", "_left", "deadline")

    def __init__(self, now: float, *, rto_s: float, transmissions: int = 7, last_wait_factor: float = 16) -> None:
        self._interval_s = rto_s
        self._last_wait_s = rto_s * last_wait_factor
        self._left = transmissions - 1
        self.deadline = now + (rto_s if self._left > 0 else self._last_wait_s)

    def expire(self, now: float) -> bool:
        """The deadline has passed: return ``True`` to send once more, ``False`` when the transaction has failed."""
        if self._left <= 0:
            return False
        self._left -= 1
        self._interval_s *= 2
        self.deadline = now + (self._interval_s if self._left > 0 else self._last_wait_s)
        return True

    def stop_retransmitting(self) -> None:
        """Send no more, but go on waiting for an answer for as long as a last transmission would."""
        if self._left > 0:
            self._left = 0
            self.deadline += self._last_wait_s
