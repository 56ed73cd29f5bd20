"""The checklist of one component: which pair is checked next (RFC 8445 sections 6.1.2 and 6.1.4)."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from triortc.engine.ice.pair import CandidatePair, PairState

if TYPE_CHECKING:
    from triortc.engine.address import Address
    from triortc.engine.sdp.candidate import Candidate

__all__ = ["Checklist"]


class Checklist:
    """Pairs by (base, remote address), and the queue of triggered checks.

    Args:
        limit: how many pairs are kept.
    """

    def __init__(self, *, limit: int) -> None:
        self.pairs: dict[tuple[Address, Address], CandidatePair] = {}
        self._limit = limit
        self._triggered: deque[CandidatePair] = deque()

    def add(
        self, base: Address, local: Candidate, remote: Candidate, *, controlling: bool, triggered: bool = False
    ) -> CandidatePair | None:
        """Add a pair, unless it is there or the list is full; a triggered one then takes a lesser pair's place."""
        remote_address = (remote.address, remote.port)
        if (base, remote_address) in self.pairs:
            return None
        if len(self.pairs) >= self._limit and not (triggered and self._make_room()):
            return None
        pair = CandidatePair(base=base, local=local, remote=remote, remote_address=remote_address)
        pair.rank(controlling)
        if self._may_thaw(pair):
            pair.state = PairState.WAITING
        self.pairs[base, remote_address] = pair
        return pair

    def _make_room(self) -> bool:
        idle = [pair for pair in self.pairs.values() if pair.state in (PairState.FAILED, PairState.FROZEN)]
        if not idle:
            return False
        self.remove(min(idle, key=lambda pair: (pair.state is PairState.FROZEN, pair.priority)))
        return True

    def _may_thaw(self, pair: CandidatePair) -> bool:
        # RFC 8838 section 12: a new pair waits for nobody when its foundation has succeeded, or when none of its
        # foundation is being checked; RFC 8445 section 6.1.4.2 thaws a frozen one by the same rule.
        same = [
            other.state for other in self.pairs.values() if other is not pair and other.foundation == pair.foundation
        ]
        return PairState.SUCCEEDED in same or not (PairState.WAITING in same or PairState.IN_PROGRESS in same)

    def remove(self, pair: CandidatePair) -> None:
        """Forget a pair."""
        self.pairs.pop((pair.base, pair.remote_address), None)
        if pair in self._triggered:
            self._triggered.remove(pair)

    def trigger(self, pair: CandidatePair) -> None:
        """Put a pair into the queue of triggered checks (RFC 8445 section 7.3.1.4)."""
        pair.state = PairState.WAITING
        if pair not in self._triggered:
            self._triggered.append(pair)

    def next_check(self) -> CandidatePair | None:
        """Take the pair to check next: triggered ones first, then the best that waits, then the best that may thaw."""
        while self._triggered:
            pair = self._triggered.popleft()
            if pair.state is PairState.WAITING:
                return pair
        return max(self._ready(), key=lambda pair: pair.priority, default=None)

    def _ready(self) -> list[CandidatePair]:
        waiting = [pair for pair in self.pairs.values() if pair.state is PairState.WAITING]
        if waiting:
            return waiting
        busy = {pair.foundation for pair in self.pairs.values() if pair.state is PairState.IN_PROGRESS}
        return [p for p in self.pairs.values() if p.state is PairState.FROZEN and p.foundation not in busy]

    @property
    def has_checks(self) -> bool:
        """Whether :meth:`next_check` has a pair to give."""
        return bool(self._ready())

    def succeeded(self, pair: CandidatePair) -> None:
        """A check of this pair was answered: the frozen ones of its foundation may go (RFC 8445 section 7.2.5.3.3)."""
        pair.state = PairState.SUCCEEDED
        for other in self.pairs.values():
            if other.state is PairState.FROZEN and other.foundation == pair.foundation:
                other.state = PairState.WAITING

    def rank(self, controlling: bool) -> None:
        """Compute all priorities anew, after a change of role."""
        for pair in self.pairs.values():
            pair.rank(controlling)

    def best_valid(self, heard_since: float, consent_since: float) -> CandidatePair | None:
        """Return the best pair whose check was answered at or after ``consent_since`` and that was heard since."""
        valid = (
            pair
            for pair in self.pairs.values()
            if pair.state is PairState.SUCCEEDED
            and pair.consent_at >= consent_since
            and pair.last_heard_at >= heard_since
        )
        return max(valid, key=lambda pair: (pair.nominated, pair.priority), default=None)
