"""What an ICE agent counts, and what that says where no way was found."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

__all__ = ["IceStatistics"]


@dataclass(slots=True)
class IceStatistics:
    """Counters since the agent was made; ``dropped`` counts by reason."""

    checks_sent: int = 0
    retransmissions_sent: int = 0
    consent_checks_sent: int = 0
    requests_received: int = 0
    responses_sent: int = 0
    error_responses_sent: int = 0
    responses_received: int = 0
    error_responses_received: int = 0
    indications_received: int = 0
    role_switches: int = 0
    pair_changes: int = 0
    dropped: Counter[str] = field(default_factory=Counter)

    def why_no_path(self) -> str:
        """What an engineer looks at first: whether anything was sent at all, whether anything came."""
        if self.checks_sent:
            came = "some of the peer's checks came" if self.requests_received else "nothing of the peer came"
            return f"no path to the peer (ICE failed): {self.checks_sent} checks without an answer, {came}"
        dropped = ", ".join(f"{reason}: {count}" for reason, count in sorted(self.dropped.items()))
        return (
            f"no path to the peer (ICE failed): no candidate of the peer to check{f' ({dropped})' if dropped else ''}"
        )
