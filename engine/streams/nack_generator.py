"""Finds gaps in a received stream and says which packets to ask for again (RFC 4585 6.2.1)."""

from __future__ import annotations

from math import inf
from typing import Final

from triortc.engine.rtp.sequence import SequenceTracker
from triortc.engine.streams.configuration import NackConfiguration

__all__ = ["DEFAULT_RTT_S", "NackGenerator"]

DEFAULT_RTT_S: Final = 0.1


class _Missing:
    __slots__ = ("next_at", "requests", "since")

    def __init__(self, now: float, next_at: float) -> None:
        self.since = now
        self.next_at = next_at
        self.requests = 0


class NackGenerator:
    """Watches one received stream. `note` runs for every packet; `due` when `next_deadline` has come.

    A gap is asked for once it is no reordering any more, again after a round trip (growing), and given up by age, by
    count of requests, or at once if it is wider than the list. Packets that come as RTX are noted with their original
    sequence number.
    """

    __slots__ = ("_configuration", "_missing", "_tracker", "_unasked", "deadline", "given_up", "recovered", "rtt_s")

    def __init__(self, configuration: NackConfiguration | None = None) -> None:
        self._configuration = configuration or NackConfiguration()
        self._tracker = SequenceTracker()
        self._missing: dict[int, _Missing] = {}
        self._unasked = inf
        self.deadline = inf
        """When `due` wants to be called; infinity if nothing is missing."""
        self.rtt_s = DEFAULT_RTT_S
        """The round-trip time in seconds; keep it up to date."""
        self.recovered = 0
        """Missing packets that came after they were asked for."""
        self.given_up = 0

    @property
    def missing_packets(self) -> int:
        """How many packets are waited for."""
        return len(self._missing)

    @property
    def newest(self) -> int:
        """The highest extended number for `note_run`; -1 while a missing packet was not asked for, or a jump came."""
        return -1 if self._unasked < inf or self._tracker.suspects else self._tracker.newest

    def note_run(self, packets: int) -> None:
        """Take note of packets that followed the newest one without a gap."""
        self._tracker.newest += packets

    def note(self, sequence_number: int, now: float) -> None:
        """Take note of a packet that arrived, in or out of order."""
        tracker = self._tracker
        newest = tracker.newest
        extended = tracker.extend(sequence_number)
        if extended == newest + 1 and not self._missing:
            return
        if extended <= newest:
            self._arrived(extended)
            return
        if newest >= 0 and extended > newest + 1:
            self._gap(newest + 1, extended, now)
        if extended - self._unasked >= self._configuration.reorder_tolerance_packets:
            self.deadline = min(self.deadline, now)

    def _arrived(self, extended: int) -> None:
        missing = self._missing.pop(extended, None)
        if missing is not None and missing.requests:
            self.recovered += 1
        if not self._missing:
            self.deadline = self._unasked = inf

    def _gap(self, first: int, end: int, now: float) -> None:
        limit = self._configuration.maximum_missing_packets
        if end - first > limit or len(self._missing) + end - first > limit:
            # Filling this would take longer than a keyframe; a restarted sender's jump ends here too.
            self.given_up += len(self._missing)
            self._missing.clear()
            self.deadline = self._unasked = inf
            return
        next_at = now + self._configuration.reorder_wait_ms / 1000
        for extended in range(first, end):
            self._missing[extended] = _Missing(now, next_at)
        self._unasked = min(self._unasked, first)
        self.deadline = min(self.deadline, next_at)

    def next_deadline(self) -> float | None:
        """Return when `due` wants to be called, None if nothing is missing."""
        return None if self.deadline == inf else self.deadline

    def due(self, now: float) -> list[int]:
        """Return the 16-bit sequence numbers to ask for now, oldest first; empty if none is due."""
        if now < self.deadline:
            return []
        configuration = self._configuration
        too_old = now - configuration.maximum_age_ms / 1000
        certain = self._tracker.newest - configuration.reorder_tolerance_packets
        due: list[int] = []
        gone: list[int] = []
        self.deadline = self._unasked = inf
        for extended, missing in self._missing.items():
            if missing.since <= too_old or (
                missing.requests >= configuration.maximum_requests and missing.next_at <= now
            ):
                gone.append(extended)
                continue
            if missing.next_at <= now or (not missing.requests and extended <= certain):
                due.append(extended & 0xFFFF)
                missing.next_at = now + self._interval_s(missing.requests)
                missing.requests += 1
            elif not missing.requests:
                self._unasked = min(self._unasked, extended)
            self.deadline = min(self.deadline, missing.next_at)
        for extended in gone:
            del self._missing[extended]
        self.given_up += len(gone)
        return due

    def _interval_s(self, requests: int) -> float:
        configuration = self._configuration
        interval_s = max(self.rtt_s * configuration.interval_per_rtt, configuration.minimum_interval_ms / 1000)
        return interval_s * configuration.backoff**requests

    def forget_before(self, sequence_number: int) -> None:
        """Ask no more for what came before this packet, the first of a keyframe for instance."""
        newest = self._tracker.newest
        limit = newest + ((sequence_number - newest + 0x8000) & 0xFFFF) - 0x8000
        for extended in [extended for extended in self._missing if extended < limit]:
            del self._missing[extended]
        if not self._missing:
            self.deadline = self._unasked = inf
