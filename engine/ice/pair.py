"""A candidate pair and its states (RFC 8445 section 6.1.2)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from triortc.engine.ice.candidates import pair_priority

if TYPE_CHECKING:
    from triortc.engine.address import Address
    from triortc.engine.sdp.candidate import Candidate

__all__ = ["CandidatePair", "PairState"]


class PairState(Enum):
    """RFC 8445 section 6.1.2.6."""

    FROZEN = "frozen"
    WAITING = "waiting"
    IN_PROGRESS = "in-progress"
    SUCCEEDED = "succeeded"
    FAILED = "failed"


@dataclass(slots=True, eq=False)
class CandidatePair:
    """A way from one of our bases to an address of the peer.

    Checks leave from the base, so two local candidates with one base are one pair (RFC 8445 section 6.1.2.4).
    ``priority`` is kept current by :meth:`rank` when the role, a candidate or the mapped address changes.
    """

    base: Address
    local: Candidate
    remote: Candidate
    remote_address: Address
    priority: int = 0
    state: PairState = PairState.FROZEN
    nominated: bool = False
    nominate_on_success: bool = False
    #: The peer has checked this pair without USE-CANDIDATE: if it sends one later, it has made a choice.
    plain_check_received: bool = False
    #: A check of the peer was answered by one of ours at once, whatever the pace says.
    answered_by_check: bool = False
    last_sent_at: float = float("-inf")
    last_heard_at: float = float("-inf")
    last_media_at: float = float("-inf")
    consent_at: float = float("-inf")
    rtt_s: float | None = None

    @property
    def foundation(self) -> tuple[str, str]:
        """Both candidates' foundations: pairs that share it tend to share their fate (RFC 8445 section 6.1.2.6)."""
        return self.local.foundation, self.remote.foundation

    @property
    def pending(self) -> bool:
        """Whether a check of this pair is still to come or to be answered."""
        return self.state in (PairState.FROZEN, PairState.WAITING, PairState.IN_PROGRESS)

    def rank(self, controlling: bool) -> None:
        """Compute the priority anew."""
        ours, theirs = self.local.priority, self.remote.priority
        self.priority = pair_priority(ours, theirs) if controlling else pair_priority(theirs, ours)

    def measure_rtt(self, rtt_s: float) -> None:
        """Take one measurement into the smoothed round-trip time (RFC 6298 section 2)."""
        self.rtt_s = rtt_s if self.rtt_s is None else self.rtt_s + (rtt_s - self.rtt_s) / 8
