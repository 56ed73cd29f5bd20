"""What an ICE agent counts."""

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
