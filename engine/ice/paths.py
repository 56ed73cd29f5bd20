"""The path that media takes: its consent, its silence, and the state that follows from both (RFC 8445 8, RFC 7675)."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

from triortc.engine.ice.events import IceEvent, IceState, IceStateChanged, SelectedPairChanged

if TYPE_CHECKING:
    from triortc.engine.ice.configuration import IceConfiguration
    from triortc.engine.ice.consent import ConsentTimer
    from triortc.engine.ice.pair import CandidatePair
    from triortc.engine.ice.statistics import IceStatistics

__all__ = ["PathSelection"]

_ALIVE: Final = (IceState.CONNECTED, IceState.COMPLETED)
#: The share of ``disconnected_after_s`` after which a silent path is probed: one lost packet is not its death.
#: With the defaults it is longer than the longest wait between two consent checks, so that an idle path is not probed.
_PROBE_AFTER: Final = 0.9
#: The share of the consent's life after which a peer that is heard but does not answer counts as disconnected.
_UNANSWERED_AFTER: Final = 0.75


class PathSelection:
    """The selected pair, the state, and the events that tell of their changes.

    Args:
        configuration: how long silence and missing consent are borne.
        consent: the timer of consent checks, restarted with every new pair.
        statistics: counts changes of the pair.
    """

    def __init__(self, *, configuration: IceConfiguration, consent: ConsentTimer, statistics: IceStatistics) -> None:
        self.state = IceState.NEW
        self.pair: CandidatePair | None = None
        self.consent = consent
        self._since = float("-inf")
        self._silence_probed = float("-inf")
        self._configuration = configuration
        self._statistics = statistics
        self._events: deque[IceEvent] = deque()

    def poll_event(self) -> IceEvent | None:
        """Return the next event, or ``None``."""
        return self._events.popleft() if self._events else None

    def change_state(self, state: IceState) -> None:
        """Go to a state and tell it."""
        if state is not self.state:
            self.state = state
            self._events.append(IceStateChanged(state))

    def select(self, pair: CandidatePair, now: float) -> None:
        """Send media over this pair from now on."""
        if pair is self.pair:
            return
        self.pair = pair
        self._since = now
        self._statistics.pair_changes += 1
        self._events.append(SelectedPairChanged(pair.base, pair.remote_address))
        self.consent.restart(now)

    def end(self, state: IceState) -> None:
        """Stop sending for good."""
        self.pair = None
        self.consent.stop()
        self.change_state(state)

    def is_quiet(self, now: float) -> bool:
        """Whether nothing came over the selected pair for so long that another one deserves a thought."""
        if self.pair is None:
            return False
        return now - self._heard_at(self.pair) >= self._configuration.quiet_path_ms / 1000

    def is_without_media(self, now: float) -> bool:
        """Whether the selected pair has carried no media of the peer for so long that it may have chosen another."""
        if self.pair is None:
            return False
        return now - max(self.pair.last_media_at, self._since) >= self._configuration.quiet_path_ms / 1000

    def has_consent(self, now: float) -> bool:
        """Whether the peer has agreed lately to hear from us on the selected pair (RFC 7675 section 5.1)."""
        return self.pair is not None and now < self.pair.consent_at + self._configuration.consent_expiry_s

    def update_state(self, now: float, *, pending: bool) -> None:
        """Derive the state from the selected pair; ``pending``: checks are still under way."""
        pair = self.pair
        if pair is None:
            return
        if now >= self._disconnected_at(pair):
            self.change_state(IceState.DISCONNECTED)
        elif pair.nominated and (not pending or self.state is IceState.COMPLETED):
            self.change_state(IceState.COMPLETED)
        else:
            self.change_state(IceState.CONNECTED)

    def wants_probe(self, now: float) -> bool:
        """Whether the selected pair has been silent so long that it should be probed; true once for each silence."""
        pair = self.pair
        if pair is None or self.state not in _ALIVE or now < self._probe_at(pair):
            return False
        self._silence_probed = self._heard_at(pair)
        return True

    def _heard_at(self, pair: CandidatePair) -> float:
        return max(pair.last_heard_at, self._since)

    def _probe_at(self, pair: CandidatePair) -> float:
        heard = self._heard_at(pair)
        if heard == self._silence_probed:
            return float("inf")
        return heard + self._configuration.disconnected_after_s * _PROBE_AFTER

    def _disconnected_at(self, pair: CandidatePair) -> float:
        # Hearing the peer is not enough: when most of the consent's life has gone unanswered, it cannot hear us.
        return min(
            self._heard_at(pair) + self._configuration.disconnected_after_s,
            pair.consent_at + self._configuration.consent_expiry_s * _UNANSWERED_AFTER,
        )

    def next_deadline(self) -> float | None:
        """When the state may change by itself, or a consent check is due."""
        if self.pair is None or self.consent.deadline is None:
            return None
        deadline = min(self.consent.deadline, self.pair.consent_at + self._configuration.consent_expiry_s)
        if self.state in _ALIVE:
            return min(deadline, self._disconnected_at(self.pair), self._probe_at(self.pair))
        return deadline
