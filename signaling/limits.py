"""Token buckets and signs of life: two small clocks without a clock."""

from __future__ import annotations

__all__ = ["Liveness", "TokenBucket"]


class TokenBucket:
    """Lets `burst` things happen at once and `per_s` a second on average.

    Args:
        burst: how many tokens the bucket holds; it starts full.
        per_s: tokens that come back a second.
        now: seconds, monotonic.
    """

    __slots__ = ("_at", "_burst", "_per_s", "_tokens")

    def __init__(self, burst: float, per_s: float, now: float) -> None:
        self._burst = burst
        self._per_s = per_s
        self._tokens = burst
        self._at = now

    def take(self, now: float) -> bool:
        """Take one token; False: there is none."""
        self._tokens = min(self._burst, self._tokens + max(0.0, now - self._at) * self._per_s)
        self._at = now
        if self._tokens < 1.0:
            return False
        self._tokens -= 1.0
        return True

    def wait_s(self) -> float:
        """Seconds until the next token, counted from the last `take`."""
        return max(0.0, 1.0 - self._tokens) / self._per_s


class Liveness:
    """When to ask a silent peer for a sign of life, and when to give it up.

    Args:
        interval_s: silence after which a ping is due, and again after each further interval.
        dead_after_s: silence after which the peer is gone.
        now: seconds, monotonic.
    """

    __slots__ = ("_dead_after_s", "_interval_s", "_next_ping", "heard_at")

    def __init__(self, interval_s: float, dead_after_s: float, now: float) -> None:
        self._interval_s = interval_s
        self._dead_after_s = dead_after_s
        self.heard_at = now
        self._next_ping = now + interval_s

    def change(self, interval_s: float, dead_after_s: float, now: float) -> None:
        """Use other numbers from now on. The peer gets a whole interval to learn of them."""
        if dead_after_s < self._dead_after_s:
            self.heard_at = max(self.heard_at, now)
        self._interval_s = interval_s
        self._dead_after_s = dead_after_s
        self._next_ping = now + interval_s

    def heard(self, now: float) -> None:
        """Something came from the peer."""
        if now > self.heard_at:
            self.heard_at = now
            self._next_ping = now + self._interval_s

    def next_deadline(self) -> float:
        """When `ping_due` or `dead` may become true."""
        return min(self._next_ping, self.heard_at + self._dead_after_s)

    def dead(self, now: float) -> bool:
        """Whether the peer has been silent for too long."""
        return now >= self.heard_at + self._dead_after_s

    def ping_due(self, now: float) -> bool:
        """Whether a ping is due; if so, the next one is an interval away."""
        if now < self._next_ping:
            return False
        self._next_ping = now + self._interval_s
        return True
