"""The valve on one flow (source leg, kind): table G. What is not open drops, at the leg's exit and without keeping."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from triortc.engine.calls.machine import SAME, Machine, Row
from triortc.engine.relay.gate import GateState

__all__ = ["GATES", "Gate", "GateFacts", "GateState"]


@dataclass(slots=True, frozen=True)
class GateFacts:
    """What the guards look at: the sender's own mute."""

    muted: bool


GATES: Final[Machine[GateFacts]] = Machine(
    "gate",
    (
        Row("G1", ("closed",), "commit", "", "armed"),
        Row("G2", ("armed",), "ready", "muted", "muted"),
        Row("G2", ("armed",), "ready", "", "open", ("request_keyframe",)),
        Row("G3", ("open",), "mute", "", "muted"),
        Row("G4", ("muted",), "unmute", "", "open", ("request_keyframe",)),
        Row("G5", ("open", "muted"), "freeze", "", "frozen"),
        Row("G6", ("frozen",), "thaw", "muted", "muted"),
        Row("G6", ("frozen",), "thaw", "", "open", ("request_keyframe",)),
        Row("G7", ("armed", "frozen"), "mute", "", SAME),
        Row("G7", ("armed", "frozen"), "unmute", "", SAME),
        Row("G8", ("closed", "armed", "open", "muted", "frozen"), "seal", "", "sealed"),
    ),
    {"muted": lambda facts: facts.muted},
)


@dataclass(slots=True)
class Gate:
    """One gate: its state, since when, and the mute its sender asked for."""

    state: GateState = GateState.CLOSED
    muted: bool = False
    since: float = 0.0

    def apply(self, event: str, now: float) -> Row | None:
        """Take the transition for `event`; the row taken, or None when the table has none (nothing changes).

        `mute` and `unmute` are remembered in every state but `sealed`, so that a gate opens as its sender left it.
        """
        if event in ("mute", "unmute") and self.state is not GateState.SEALED:
            self.muted = event == "mute"
        row = GATES.select(self.state.value, event, GateFacts(self.muted))
        if row is not None and row.next not in (SAME, self.state.value):
            self.state = GateState(row.next)
            self.since = now
        return row
