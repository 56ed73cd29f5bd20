"""The legs of one video session: what is known of each, and which one speaks for its side."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from typing import Final

from triortc.codecs.registry import MediaKind
from triortc.engine.calls.ports import Side, View
from triortc.engine.relay.gate import GateState
from triortc.engine.sdp.negotiated import Negotiated
from triortc.engine.session.session import Session

__all__ = ["CallLegs", "Leg"]

#: States of a gate that was opened once, and not for ever shut.
_LET_THROUGH: Final = frozenset({GateState.OPEN, GateState.MUTED, GateState.FROZEN})


@dataclass(slots=True, eq=False)
class Leg:
    """One offer/answer between one device and the engine.

    Attributes:
        name: its id, never used again.
        session_id: of the video session it belongs to.
        side: whose device it is.
        transport: None before the first offer.
        negotiated: what is agreed on; None before the first answer.
        neg: the number of the newest offer that was answered.
        description_id, description_version: of our ``o=`` line.
        early_candidates: of the device, as (candidate line, mid), until its offer is here.
        early_end: whether these were all.
        up: whether it was connected once.
        lost: whether nothing of the device is heard just now.
        gates: as they were set, by kind.
        view: how large the device shows what it gets.
    """

    name: str
    session_id: str
    side: Side
    transport: Session | None = None
    negotiated: Negotiated | None = None
    neg: int = 0
    description_id: int = field(default_factory=lambda: secrets.randbits(62))
    description_version: int = 1
    early_candidates: list[tuple[str, str]] = field(default_factory=list)
    early_end: bool = False
    up: bool = False
    lost: bool = False
    gates: dict[MediaKind, GateState] = field(default_factory=dict)
    view: View = "full"


@dataclass(slots=True, eq=False)
class CallLegs:
    """The legs of one video session.

    Attributes:
        legs: by name, the oldest first.
        source: the name of the leg that feeds the other side, and is fed by it, by its side.
    """

    legs: dict[str, Leg] = field(default_factory=dict)
    source: dict[Side, str] = field(default_factory=dict)

    def add(self, leg: Leg) -> None:
        """Take a leg in; the first of its side speaks for it."""
        self.legs[leg.name] = leg
        self.source.setdefault(leg.side, leg.name)

    def remove(self, leg: Leg) -> None:
        """Forget a leg; if it spoke for its side, nobody does."""
        del self.legs[leg.name]
        if self.speaks(leg):
            del self.source[leg.side]

    def speaker(self, side: Side) -> Leg | None:
        """The leg that speaks for a side."""
        return self.legs.get(self.source.get(side, ""))

    def speaks(self, leg: Leg) -> bool:
        """Whether it is this one that speaks for its side."""
        return self.source.get(leg.side) == leg.name

    def opposite(self, leg: Leg) -> Leg | None:
        """The leg that speaks for the other side."""
        return self.speaker("visitor" if leg.side == "agent" else "agent")

    def takes_over(self, leg: Leg) -> bool:
        """Whether another leg of its side is let through: a second device that merely rings takes nothing over."""
        source = self.speaker(leg.side)
        return source is not None and source is not leg and not _LET_THROUGH.isdisjoint(source.gates.values())

    @property
    def agent_is_shown(self) -> bool:
        """Whether a gate from the agent to the visitor is open."""
        agent = self.speaker("agent")
        return agent is not None and GateState.OPEN in agent.gates.values()

    def agreed_before(self, leg: Leg) -> Negotiated | None:
        """What the other side has agreed on: its leg that speaks for it, or else the oldest that has."""
        others = [other for other in self.legs.values() if other.side != leg.side and other.negotiated is not None]
        chosen = next(filter(self.speaks, others), None) or next(iter(others), None)
        return None if chosen is None else chosen.negotiated
