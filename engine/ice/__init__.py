"""Interactive Connectivity Establishment as an object without I/O (RFC 8445)."""

from __future__ import annotations

from triortc.engine.ice.agent import IceAgent
from triortc.engine.ice.candidates import candidate_priority, host_candidate
from triortc.engine.ice.configuration import IceConfiguration
from triortc.engine.ice.events import IceEvent, IceState, IceStateChanged, SelectedPairChanged
from triortc.engine.ice.statistics import IceStatistics

__all__ = [
    "IceAgent",
    "IceConfiguration",
    "IceEvent",
    "IceState",
    "IceStateChanged",
    "IceStatistics",
    "SelectedPairChanged",
    "candidate_priority",
    "host_candidate",
]
