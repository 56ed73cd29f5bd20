"""A one-way link in virtual time.

A bottleneck with a queue, propagation delay, jitter and loss, deterministic from a seed.
"""

from __future__ import annotations

import heapq
from random import Random
from typing import Generic, TypeVar

Item = TypeVar("Item")


class VirtualLink(Generic[Item]):
    """Packets go in with `send` and come out of `receive` when their time has come, in order of arrival."""

    def __init__(
        self,
        *,
        delay_s: float = 0.02,
        capacity_bps: float = 1e9,
        queue_s: float = 0.3,
        loss: float = 0.0,
        jitter_s: float = 0.0,
        seed: int = 1,
    ) -> None:
        self.delay_s = delay_s
        self.capacity_bps = capacity_bps
        self.queue_s = queue_s
        self.loss = loss
        self.jitter_s = jitter_s
        self.delivered = 0
        self.dropped = 0
        self._random = Random(seed)
        self._free_at = 0.0
        self._flying: list[tuple[float, int, Item]] = []
        self._order = 0

    def send(self, item: Item, size_bytes: int, now: float) -> None:
        """Put a packet on the link; it is lost by chance or because the queue is longer than `queue_s`."""
        begins_at = max(self._free_at, now)
        if begins_at - now > self.queue_s or self._random.random() < self.loss:
            self.dropped += 1
            return
        self._free_at = begins_at + size_bytes * 8 / self.capacity_bps
        arrives_at = self._free_at + self.delay_s + self._random.random() * self.jitter_s
        self._order += 1
        heapq.heappush(self._flying, (arrives_at, self._order, item))

    def busy_for(self, now: float) -> float:
        """Return how long the queue is, in seconds of sending."""
        return max(self._free_at - now, 0.0)

    def next_arrival(self) -> float | None:
        """Return when the next packet comes out, None if the link is empty."""
        return self._flying[0][0] if self._flying else None

    def receive(self, now: float) -> list[tuple[float, Item]]:
        """Return (arrival, packet) of all that have come out by now."""
        arrived: list[tuple[float, Item]] = []
        while self._flying and self._flying[0][0] <= now:
            arrives_at, _, item = heapq.heappop(self._flying)
            arrived.append((arrives_at, item))
        self.delivered += len(arrived)
        return arrived
