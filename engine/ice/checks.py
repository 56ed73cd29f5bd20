"""Sending connectivity checks: the pace, triggered checks and retransmission (RFC 8445 sections 6.1.4 and 7.2)."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from triortc.engine.ice.candidates import peer_reflexive_priority
from triortc.engine.ice.checklist import Checklist
from triortc.engine.ice.pair import CandidatePair, PairState
from triortc.engine.ice.transactions import CheckKind, Transaction, Transactions
from triortc.engine.stun.retransmission import RetransmissionTimer

if TYPE_CHECKING:
    from collections.abc import Callable

    from triortc.engine.address import Address
    from triortc.engine.ice.binding import BindingMessages
    from triortc.engine.ice.configuration import IceConfiguration
    from triortc.engine.ice.statistics import IceStatistics

__all__ = ["CheckSender"]

_TRANSACTION_ID_BYTES = 12
# The path of these two was good a moment ago. A long back-off would only be slow to see that it no longer is, or to get
# through a lossy one: better to fail early and try again.
_PROBE_TRANSMISSIONS = 3
_PROBE_LAST_WAIT_FACTOR = 2
_NOMINATION_TRANSMISSIONS = 3
_NOMINATION_LAST_WAIT_FACTOR = 3


class CheckSender:
    """The checklist, the transactions and the queue of datagrams to send.

    Args:
        binding: builds the requests; knows the role.
        configuration: pace, timers and limits.
        random_bytes: gives ``n`` unpredictable bytes.
        statistics: where checks are counted.
    """

    def __init__(
        self,
        *,
        binding: BindingMessages,
        configuration: IceConfiguration,
        random_bytes: Callable[[int], bytes],
        statistics: IceStatistics,
    ) -> None:
        self.checklist = Checklist(limit=configuration.max_pairs)
        self.transactions = Transactions(limit=configuration.max_transactions)
        self._binding = binding
        self._configuration = configuration
        self._random_bytes = random_bytes
        self._statistics = statistics
        self._queue: deque[tuple[bytes, Address, Address]] = deque()
        self._next_paced_at = 0.0

    def poll_transmit(self) -> tuple[bytes, Address, Address] | None:
        """Return the next datagram, base and remote address, or ``None``."""
        return self._queue.popleft() if self._queue else None

    def transmit(self, data: bytes, base: Address, remote: Address) -> bool:
        """Queue a datagram; ``False`` when too many wait already, so that it is lost as on the wire."""
        if len(self._queue) >= self._configuration.max_queued_datagrams:
            self._statistics.dropped["transmit_queue"] += 1
            return False
        self._queue.append((data, base, remote))
        return True

    def trigger(self, pair: CandidatePair, now: float) -> None:
        """Check a pair because the peer did (RFC 8445 section 7.3.1.4): at once, or when it is its turn again.

        At once means right behind the answer, in the same batch of datagrams: the peer's path to us is known to work
        now, and a tick later would be a tick lost.
        """
        if pair.state is PairState.IN_PROGRESS:
            for transaction in self.transactions.of_pair(pair, CheckKind.CHECK):
                transaction.cancelled = True
                transaction.timer.stop_retransmitting()
        self.checklist.trigger(pair)
        if now - pair.last_sent_at >= self._interval_s or not pair.answered_by_check:
            pair.answered_by_check = True
            self.send(pair, CheckKind.CHECK, now)

    def send_paced(self, now: float) -> None:
        """Send the next ordinary or triggered check if Ta has passed since the last one (RFC 8445 section 6.1.4.2)."""
        if now < self._next_paced_at:
            return
        pair = self.checklist.next_check()
        if pair is not None:
            self.send(pair, CheckKind.CHECK, now)

    def send(self, pair: CandidatePair, kind: CheckKind, now: float) -> bool:
        """Send one request on a pair; ``False`` when the table of transactions is full."""
        if not self.transactions.has_room():
            # Stay on the list, and let the pace decide when to try again.
            self._statistics.dropped["transactions"] += 1
            self._next_paced_at = now + self._interval_s
            return False
        transaction_id = self._random_bytes(_TRANSACTION_ID_BYTES)
        priority = peer_reflexive_priority(pair.local.priority)
        use_candidate = kind is CheckKind.NOMINATION or self._is_nomination_told(pair)
        data = self._binding.check(transaction_id, priority=priority, use_candidate=use_candidate)
        self.transactions.add(
            Transaction(
                transaction_id=transaction_id,
                pair=pair,
                kind=kind,
                data=data,
                timer=self._timer(pair, kind, now),
                sent_at=now,
                controlling=self._binding.controlling,
                use_candidate=use_candidate,
                mapped_priority=priority,
            )
        )
        if kind is CheckKind.CHECK:
            pair.state = PairState.IN_PROGRESS
            self._next_paced_at = now + self._interval_s
        if kind is CheckKind.CONSENT:
            self._statistics.consent_checks_sent += 1
        else:
            self._statistics.checks_sent += 1
        pair.last_sent_at = now
        self.transmit(data, pair.base, pair.remote_address)
        return True

    def _is_nomination_told(self, pair: CandidatePair) -> bool:
        # Consent checks repeat the nomination: a peer that moved, or missed it so far, learns it from them.
        if not self._binding.controlling:
            return False
        return pair.nominated or bool(self.transactions.of_pair(pair, CheckKind.NOMINATION))

    def _timer(self, pair: CandidatePair, kind: CheckKind, now: float) -> RetransmissionTimer:
        configuration = self._configuration
        if kind is CheckKind.CONSENT:
            # RFC 7675 section 5.1: each consent check is sent once only.
            return RetransmissionTimer(now, rto_s=configuration.consent_expiry_s, transmissions=1, last_wait_factor=1)
        rto_s = configuration.rto_ms / 1000
        if pair.rtt_s is not None and kind is not CheckKind.CHECK:
            # RFC 6298 after the first measurement: RTT + 4 * RTT / 2.
            rto_s = max(min(rto_s, 3 * pair.rtt_s), configuration.min_rto_ms / 1000)
        if kind is CheckKind.PROBE:
            return RetransmissionTimer(
                now, rto_s=rto_s, transmissions=_PROBE_TRANSMISSIONS, last_wait_factor=_PROBE_LAST_WAIT_FACTOR
            )
        if kind is CheckKind.NOMINATION:
            return RetransmissionTimer(
                now,
                rto_s=rto_s,
                transmissions=_NOMINATION_TRANSMISSIONS,
                last_wait_factor=_NOMINATION_LAST_WAIT_FACTOR,
            )
        return RetransmissionTimer(now, rto_s=rto_s, transmissions=configuration.check_transmissions)

    def switch_role(self, controlling: bool) -> None:
        """Take this role; what the peer has nominated but not yet got counts no more (RFC 8445 section 7.3.1.1)."""
        self._statistics.role_switches += 1
        self._binding.controlling = controlling
        self.checklist.rank(controlling)
        for pair in self.checklist.pairs.values():
            pair.nominate_on_success = False
            pair.plain_check_received = False

    def expire(self, now: float) -> list[Transaction]:
        """Retransmit what is due; return the transactions that have failed."""
        failed = []
        for transaction in self.transactions.due(now):
            if transaction.timer.expire(now):
                transaction.transmissions += 1
                self._statistics.retransmissions_sent += 1
                transaction.pair.last_sent_at = now
                self.transmit(transaction.data, transaction.pair.base, transaction.pair.remote_address)
            else:
                self.transactions.remove(transaction)
                failed.append(transaction)
        return failed

    def forget(self, pair: CandidatePair) -> None:
        """Remove a pair and all that waits for it."""
        self.checklist.remove(pair)
        self.transactions.remove_pair(pair)

    def next_deadline(self) -> float | None:
        """When a timer runs out, or the next paced check may go."""
        deadline = self.transactions.next_deadline()
        if self.checklist.has_checks:
            return self._next_paced_at if deadline is None else min(deadline, self._next_paced_at)
        return deadline

    def clear(self) -> None:
        """Forget everything, the datagrams that wait as well."""
        self._queue.clear()
        for pair in list(self.checklist.pairs.values()):
            self.forget(pair)

    @property
    def _interval_s(self) -> float:
        return self._configuration.check_interval_ms / 1000
