"""Requests that wait for their answer (RFC 8489 section 6.2.1)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from triortc.engine.ice.pair import CandidatePair
    from triortc.engine.stun.retransmission import RetransmissionTimer

__all__ = ["CheckKind", "Transaction", "Transactions"]


class CheckKind(Enum):
    """What a Binding request is for."""

    CHECK = "check"
    NOMINATION = "nomination"
    CONSENT = "consent"
    PROBE = "probe"


@dataclass(slots=True, eq=False)
class Transaction:
    """One request; ``controlling`` is the role it told, ``cancelled``: a newer check of the pair has replaced it."""

    transaction_id: bytes
    pair: CandidatePair
    kind: CheckKind
    data: bytes
    timer: RetransmissionTimer
    sent_at: float
    controlling: bool
    use_candidate: bool
    mapped_priority: int
    transmissions: int = 1
    cancelled: bool = False


class Transactions:
    """A bounded table of transactions by their id.

    Args:
        limit: how many are kept; a new one takes the place of the oldest cancelled one, or finds no room.
    """

    def __init__(self, *, limit: int) -> None:
        self._limit = limit
        self._by_id: dict[bytes, Transaction] = {}

    def __len__(self) -> int:
        return len(self._by_id)

    def __iter__(self) -> Iterator[Transaction]:
        return iter(self._by_id.values())

    def has_room(self) -> bool:
        """Make room for one more if that is possible."""
        if len(self._by_id) < self._limit:
            return True
        for transaction in self._by_id.values():
            if transaction.cancelled:
                self.remove(transaction)
                return True
        return False

    def add(self, transaction: Transaction) -> None:
        """Keep a transaction; ask :meth:`has_room` before."""
        self._by_id[transaction.transaction_id] = transaction

    def get(self, transaction_id: bytes) -> Transaction | None:
        """Return the transaction with this id, or ``None``."""
        return self._by_id.get(transaction_id)

    def remove(self, transaction: Transaction) -> None:
        """Forget a transaction."""
        self._by_id.pop(transaction.transaction_id, None)

    def of_pair(self, pair: CandidatePair, kind: CheckKind) -> list[Transaction]:
        """Return the transactions of this kind on this pair that nothing has replaced."""
        return [t for t in self._by_id.values() if t.pair is pair and t.kind is kind and not t.cancelled]

    def remove_pair(self, pair: CandidatePair) -> None:
        """Forget all transactions of a pair."""
        for transaction in [t for t in self._by_id.values() if t.pair is pair]:
            self.remove(transaction)

    def due(self, now: float) -> list[Transaction]:
        """Return those whose timer has run out."""
        return [t for t in self._by_id.values() if t.timer.deadline <= now]

    def next_deadline(self) -> float | None:
        """When the first timer runs out."""
        return min((t.timer.deadline for t in self._by_id.values()), default=None)
