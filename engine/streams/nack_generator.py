"""Finds gaps in a received stream and says which packets to ask for again (RFC 4585 6.2.1)."""

from __future__ import annotations

from math import inf
from typing import Final

from triortc.engine.rtp.sequence import SequenceTracker
from triortc.engine.streams.configuration import NackConfiguration

__all__ = ["DEFAULT_RTT_S", "NackGenerator"]

DEFAULT_RTT_S: Final = 0.1


#: Between two looks at so many missing packets: in an outage, every other packet would be a reason for one.
_PAUSE_S: Final = 0.005
_MANY: Final = 32
#: Numbers that are asked for together stay together if they have been missing since about the same time.
_ROUND_S: Final = 0.05


class _Round:
    """Missing packets that are asked for together."""

    __slots__ = ("next_at", "numbers", "requests", "since")

    def __init__(self, numbers: list[int], since: float, next_at: float, requests: int = 0) -> None:
        self.numbers = numbers
        self.since = since
        self.next_at = next_at
        self.requests = requests


class NackGenerator:
    """Watches one received stream. `note` runs for every packet; `due` when `next_deadline` has come.

    A gap is asked for once it is no reordering any more, again after a round trip (growing), and given up by age, by
    count of requests, or at once if it is wider than the list. Packets that come as RTX are noted with their original
    sequence number.
    """

    __slots__ = (
        "_configuration",
        "_looked_at",
        "_missing",
        "_paused_until",
        "_rounds",
        "_tracker",
        "_unasked",
        "deadline",
        "given_up",
        "recovered",
        "rtt_s",
    )

    def __init__(self, configuration: NackConfiguration | None = None) -> None:
        self._configuration = configuration or NackConfiguration()
        self._tracker = SequenceTracker()
        self._missing: dict[int, _Round] = {}
        self._rounds: list[_Round] = []
        self._looked_at = self._paused_until = -inf
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

    @property
    def must_note(self) -> bool:
        """Whether every packet counts at present: a missing one was not asked for yet."""
        return self._unasked < inf

    def note_run(self, packets: int) -> None:
        """Take note of packets that followed the newest one without a gap."""
        self._tracker.newest += packets

    def catch_up(self, sequence_number: int) -> None:
        """Everything up to this number has come without a gap."""
        ahead = (sequence_number - self._tracker.newest) & 0xFFFF
        if ahead < 0x8000:
            self._tracker.newest += ahead

    def pause(self, until: float) -> None:
        """Give up what is missing, and ask for nothing that is found missing before then."""
        self._paused_until = until
        self.given_up += len(self._missing)
        self._clear()

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
            pause_s = _PAUSE_S if len(self._missing) > _MANY else 0.0
            self.deadline = min(self.deadline, max(now, self._looked_at + pause_s))

    def _arrived(self, extended: int) -> None:
        missing = self._missing.pop(extended, None)
        if missing is not None and missing.requests:
            self.recovered += 1
        if not self._missing:
            self._clear()

    def _clear(self) -> None:
        self._missing.clear()
        self._rounds.clear()
        self.deadline = self._unasked = inf

    def _gap(self, first: int, end: int, now: float) -> None:
        if now < self._paused_until:
            self.given_up += end - first
            return
        limit = self._configuration.maximum_missing_packets
        if end - first > limit or len(self._missing) + end - first > limit:
            # Filling this would take longer than a keyframe; a restarted sender's jump ends here too.
            self.given_up += len(self._missing)
            self._clear()
            return
        next_at = now + self._configuration.reorder_wait_ms / 1000
        gap = _Round(list(range(first, end)), now, next_at)
        self._rounds.append(gap)
        for extended in gap.numbers:
            self._missing[extended] = gap
        self._unasked = min(self._unasked, first)
        self.deadline = min(self.deadline, next_at)

    def next_deadline(self) -> float | None:
        """Return when `due` wants to be called, None if nothing is missing."""
        return None if self.deadline == inf else self.deadline

    def due(self, now: float) -> list[int]:
        """Return the 16-bit sequence numbers to ask for now, oldest first; empty if none is due."""
        if now < self.deadline:
            return []
        configuration, missing = self._configuration, self._missing
        too_old = now - configuration.maximum_age_ms / 1000
        certain = self._tracker.newest - configuration.reorder_tolerance_packets
        rounds, self._rounds = self._rounds, []
        self._looked_at = now
        asked: dict[tuple[int, int], _Round] = {}
        for waiting in rounds:
            waiting.numbers = [extended for extended in waiting.numbers if missing.get(extended) is waiting]
            if waiting.since <= too_old or (
                waiting.requests >= configuration.maximum_requests and waiting.next_at <= now
            ):
                self.given_up += len(waiting.numbers)
                for extended in waiting.numbers:
                    del missing[extended]
                continue
            numbers = waiting.numbers
            if waiting.next_at > now:
                numbers = [extended for extended in numbers if extended <= certain] if not waiting.requests else []
            if len(numbers) < len(waiting.numbers):
                waiting.numbers = waiting.numbers[len(numbers) :]
                self._rounds.append(waiting)
            if numbers:
                self._join(asked, numbers, waiting, now)
        self._rounds += asked.values()
        self.deadline = min((waiting.next_at for waiting in self._rounds), default=inf)
        self._unasked = min((waiting.numbers[0] for waiting in self._rounds if not waiting.requests), default=inf)
        return [extended & 0xFFFF for extended in sorted(n for joined in asked.values() for n in joined.numbers)]

    def _join(self, asked: dict[tuple[int, int], _Round], numbers: list[int], waiting: _Round, now: float) -> None:
        """Ask for these now, and next together with others that are as old and were asked for as often."""
        key = waiting.requests, int(waiting.since / _ROUND_S)
        joined = asked.get(key)
        if joined is None:
            next_at = now + self._interval_s(waiting.requests)
            joined = asked[key] = _Round([], waiting.since, next_at, waiting.requests + 1)
        joined.since = min(joined.since, waiting.since)
        joined.numbers += numbers
        for extended in numbers:
            self._missing[extended] = joined

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
            self._clear()
