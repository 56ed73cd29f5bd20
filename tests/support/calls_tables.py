"""The tables of call control as Markdown, as they stand in docs/calls.md. Run as a script, it prints them."""

from __future__ import annotations

from typing import Any

from triortc.engine.calls.claim_table import CLAIMS
from triortc.engine.calls.conversation_table import CONVERSATIONS
from triortc.engine.calls.gate_table import GATES
from triortc.engine.calls.machine import Machine
from triortc.engine.calls.ring_table import RINGS
from triortc.engine.calls.session import SESSIONS

__all__ = ["MACHINES", "markdown"]

MACHINES: tuple[Machine[Any], ...] = (SESSIONS, RINGS, CLAIMS, CONVERSATIONS, GATES)


def markdown(machine: Machine[Any]) -> str:
    """One table row for each row of the machine."""
    lines = ["| # | state | event | guard | next | effects |", "|---|---|---|---|---|---|"]
    for row in machine.rows:
        effects = ", ".join(row.effects) or "–"
        cells = (row.number, ", ".join(row.states), f"`{row.event}`", row.guard or "–", row.next, effects)
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    for shown in MACHINES:
        print(f"#### {shown.name}\n\n{markdown(shown)}\n")
