"""The client's half of connectivity checks: what an answer means (RFC 8445 section 7.2.5)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from triortc.engine.ice.candidates import peer_reflexive_candidate
from triortc.engine.ice.pair import PairState
from triortc.engine.ice.transactions import CheckKind, Transaction
from triortc.engine.stun.constants import ErrorCode, MessageClass

if TYPE_CHECKING:
    from triortc.engine.address import Address
    from triortc.engine.ice.binding import BindingMessages
    from triortc.engine.ice.checks import CheckSender
    from triortc.engine.ice.directory import CandidateDirectory
    from triortc.engine.ice.nomination import Nomination
    from triortc.engine.ice.paths import PathSelection
    from triortc.engine.ice.statistics import IceStatistics
    from triortc.engine.stun.message import StunMessage

__all__ = ["AnswerHandler"]


class AnswerHandler:
    """Takes answers and missing answers to our checks.

    Args:
        binding: credentials and role.
        checks: holds the transactions and the checklist.
        directory: knows our own candidates.
        nomination: told of valid pairs and of nominations that worked or did not.
        paths: holds the selected pair.
        statistics: where answers and drops are counted.
    """

    def __init__(
        self,
        *,
        binding: BindingMessages,
        checks: CheckSender,
        directory: CandidateDirectory,
        nomination: Nomination,
        paths: PathSelection,
        statistics: IceStatistics,
    ) -> None:
        self._binding = binding
        self._checks = checks
        self._directory = directory
        self._nomination = nomination
        self._paths = paths
        self._statistics = statistics

    def receive(self, answer: StunMessage, base: Address, remote: Address, now: float) -> bool:
        """Take an answer; ``False`` when it is not one of ours or not authentic.

        Raises:
            StunError: an attribute is malformed; the transaction goes on waiting.
        """
        transaction = self._checks.transactions.get(answer.transaction_id)
        if transaction is None:
            return self._drop("transaction")
        if not self._binding.is_authentic_answer(answer):
            return self._drop("integrity")
        mapped = answer.mapped_address
        error = answer.error_code
        self._checks.transactions.remove(transaction)
        pair = transaction.pair
        if (base, remote) != (pair.base, pair.remote_address):
            # RFC 8445 section 7.2.5.2.1: the answer must come back the way the check went.
            self._drop("asymmetric")
            self.failed(transaction, now)
        elif answer.message_class is MessageClass.ERROR:
            self._statistics.error_responses_received += 1
            self._refused(transaction, 0 if error is None else error[0], now)
        elif mapped is None or self._binding.unknown_required(answer):
            self._drop("attributes")
            self.failed(transaction, now)
        else:
            self._statistics.responses_received += 1
            if transaction.transmissions == 1:
                pair.measure_rtt(now - transaction.sent_at)
            self._succeeded(transaction, mapped, now)
        return True

    def _succeeded(self, transaction: Transaction, mapped: Address, now: float) -> None:
        pair = transaction.pair
        self._checks.checklist.succeeded(pair)
        pair.consent_at = now
        self._nomination.heard(pair, now)
        local = self._directory.local_at(pair.base, mapped)
        if local is None and (pair.local.address, pair.local.port) != mapped:
            # The NAT has shown us an address that we did not know (RFC 8445 section 7.2.5.3.1).
            local = peer_reflexive_candidate(mapped, priority=transaction.mapped_priority, base=pair.base)
        if local is not None and local != pair.local:
            pair.local = local
            pair.rank(self._binding.controlling)
        told = transaction.use_candidate and transaction.controlling and self._binding.controlling
        if told and pair is self._paths.pair and not pair.nominated:
            self._nomination.confirmed(pair, now)
        else:
            self._nomination.valid(pair, now)

    def _refused(self, transaction: Transaction, code: int, now: float) -> None:
        if code != ErrorCode.ROLE_CONFLICT:
            self.failed(transaction, now)
            return
        # RFC 8445 section 7.2.5.1: take the other role, unless that has happened since, and check again.
        if transaction.controlling is self._binding.controlling:
            self._checks.switch_role(not self._binding.controlling)
            self._binding.change_tie_breaker()
        if transaction.pair is not self._paths.pair:
            self._checks.checklist.trigger(transaction.pair)

    def failed(self, transaction: Transaction, now: float) -> None:
        """A request got no answer, or none that helps."""
        pair = transaction.pair
        if transaction.kind is CheckKind.NOMINATION:
            self._nomination.unanswered(transaction, now)
        elif transaction.kind is CheckKind.PROBE:
            self._nomination.probe_unanswered(transaction, now)
        elif transaction.kind is CheckKind.CONSENT or transaction.cancelled:
            return
        elif pair.state is PairState.IN_PROGRESS:
            pair.state = PairState.FAILED

    def _drop(self, reason: str) -> bool:
        self._statistics.dropped[reason] += 1
        return False
