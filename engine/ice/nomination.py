"""Which valid pair is used: nomination by either side, and leaving a path that died (RFC 8445 section 8.1)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from triortc.engine.ice.pair import CandidatePair, PairState
from triortc.engine.ice.transactions import CheckKind, Transaction

if TYPE_CHECKING:
    from triortc.engine.ice.binding import BindingMessages
    from triortc.engine.ice.checks import CheckSender
    from triortc.engine.ice.configuration import IceConfiguration
    from triortc.engine.ice.paths import PathSelection

__all__ = ["Nomination"]

_MAX_DOUBLINGS: Final = 4


class Nomination:
    """Moves the selection among valid pairs.

    Args:
        binding: knows the role.
        checks: sends nominating checks and probes.
        paths: holds the selected pair.
        configuration: delays.
    """

    def __init__(
        self, *, binding: BindingMessages, checks: CheckSender, paths: PathSelection, configuration: IceConfiguration
    ) -> None:
        self._binding = binding
        self._checks = checks
        self._paths = paths
        self._configuration = configuration
        self._wait_until = float("-inf")
        self._not_before = float("-inf")
        self._failures = 0

    def valid(self, pair: CandidatePair, now: float) -> None:
        """A check of this pair was answered: use it if it is better than what there is."""
        if pair.nominate_on_success and not self._binding.controlling:
            self.nominated_by_peer(pair, now)
            return
        selected = self._paths.pair
        if selected is None:
            self._wait_until = now + self._configuration.nomination_delay_ms / 1000
        elif selected.nominated or selected.priority >= pair.priority or self._is_nominating(selected):
            return
        self._paths.select(pair, now)

    def nominated_by_peer(self, pair: CandidatePair, now: float) -> None:
        """The controlling peer has put USE-CANDIDATE into a check of this pair, which is valid (RFC 8445 7.3.1.5).

        A peer that checks plainly first and nominates later has made a choice, and it is followed. A peer that puts
        USE-CANDIDATE into every check (aggressive nomination, RFC 5245) has not: the best of its pairs is meant.
        """
        pair.nominate_on_success = False
        pair.nominated = True
        selected = self._paths.pair
        chosen = pair.plain_check_received
        if selected is None or not selected.nominated or chosen or pair.priority > selected.priority:
            self._paths.select(pair, now)
            self._conclude(pair)

    def confirmed(self, pair: CandidatePair, now: float) -> None:
        """Our nominating check was answered: the pair is nominated on both sides (RFC 8445 section 7.2.5.3.4)."""
        for other in self._checks.checklist.pairs.values():
            other.nominated = other is pair
        self._paths.select(pair, now)
        self._conclude(pair)

    def _conclude(self, pair: CandidatePair) -> None:
        # RFC 8445 section 8.1.2. As controlled agent we go on with better pairs: an aggressive peer may mean them.
        for other in list(self._checks.checklist.pairs.values()):
            if other.pending and (self._binding.controlling or other.priority < pair.priority):
                self._checks.forget(other)

    def proceed(self, now: float) -> None:
        """Nominate the selected pair, as controlling agent, when nothing better is under way or the wait is over."""
        pair = self._paths.pair
        if pair is None or not self._wants_nomination(pair) or now < self._not_before:
            return
        is_time = now >= self._wait_until or not self._better_is_pending(pair)
        if is_time and not self._checks.send(pair, CheckKind.NOMINATION, now):
            self._not_before = now + self._configuration.rto_ms / 1000

    def next_deadline(self) -> float | None:
        """When :meth:`proceed` may nominate."""
        pair = self._paths.pair
        if pair is None or not self._wants_nomination(pair):
            return None
        return max(self._not_before, self._wait_until)

    def _wants_nomination(self, pair: CandidatePair) -> bool:
        return self._binding.controlling and not pair.nominated and not self._is_nominating(pair)

    def _is_nominating(self, pair: CandidatePair) -> bool:
        return bool(self._checks.transactions.of_pair(pair, CheckKind.NOMINATION))

    def _better_is_pending(self, pair: CandidatePair) -> bool:
        return any(o.pending and o.priority > pair.priority for o in self._checks.checklist.pairs.values())

    def unanswered(self, check: Transaction, now: float) -> None:
        """Our nominating check failed: try it again if the peer was heard since, else the next valid pair."""
        pair = check.pair
        if pair is not self._paths.pair or pair.nominated:
            return
        if pair.last_heard_at > check.sent_at:
            self._failures = 0
            self._not_before = now + self._configuration.check_interval_ms / 1000
        elif not self._leave(pair, heard_since=float("-inf"), now=now):
            self._not_before = now + self._configuration.rto_ms / 1000 * 2 ** min(self._failures, _MAX_DOUBLINGS)
            self._failures += 1

    def heard(self, pair: CandidatePair, now: float) -> bool:
        """The peer was heard on this pair: if it is not the selected one and that one is quiet, probe the selected one.

        So a peer that moved without a word, because its NAT took another port or its radio another network, is found
        within some round trips instead of at the end of its consent. Returns whether a probe was sent.
        """
        pair.last_heard_at = now
        selected = self._paths.pair
        if selected is None or selected is pair or not self._paths.is_quiet(now):
            return False
        if self._checks.transactions.of_pair(selected, CheckKind.PROBE):
            return False
        return self._checks.send(selected, CheckKind.PROBE, now)

    def media(self, pair: CandidatePair, now: float) -> bool:
        """Authentic media came over this pair; returns whether that changed anything.

        An aggressive peer may have nominated several pairs: the one that carries its media is the one it has chosen.
        """
        pair.last_media_at = now
        selected = self._paths.pair
        if selected is None or selected is pair:
            pair.last_heard_at = now
            return False
        is_choice = pair.nominated and pair.state is PairState.SUCCEEDED and not self._binding.controlling
        if is_choice and self._paths.is_without_media(now) and self._has_consent(pair, now):
            pair.last_heard_at = now
            self._paths.select(pair, now)
            return True
        return self.heard(pair, now)

    def _has_consent(self, pair: CandidatePair, now: float) -> bool:
        return now < pair.consent_at + self._configuration.consent_expiry_s

    def probe_unanswered(self, probe: Transaction, now: float) -> None:
        """Nobody is left on the selected pair: go where the peer was heard since the probe was sent."""
        if probe.pair is self._paths.pair and probe.pair.last_heard_at < probe.sent_at:
            self._leave(probe.pair, heard_since=probe.sent_at, now=now)

    def consent_expired(self, now: float) -> bool:
        """Leave a pair whose consent is over (RFC 7675 section 5.1); ``False`` when there is no other one."""
        pair = self._paths.pair
        expiry_s = self._configuration.consent_expiry_s
        return pair is None or self._leave(pair, heard_since=now - expiry_s / 2, now=now)

    def _leave(self, pair: CandidatePair, *, heard_since: float, now: float) -> bool:
        pair.state = PairState.FAILED
        other = self._checks.checklist.best_valid(heard_since, now - self._configuration.consent_expiry_s)
        if other is None:
            pair.state = PairState.SUCCEEDED
            return False
        pair.nominated = False
        self._failures = 0
        self._not_before = now
        self._checks.transactions.remove_pair(pair)
        if self._binding.controlling:
            other.nominated = False
        self._wait_until = now
        self._paths.select(other, now)
        return True
