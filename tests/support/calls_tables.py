"""The tables of call control as Markdown, as they stand in docs/calls.md. Run as a script, it writes them there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from triortc.engine.calls.claim_table import CLAIMS
from triortc.engine.calls.conversation_table import CONVERSATIONS
from triortc.engine.calls.gate_table import GATES
from triortc.engine.calls.invitation_table import INVITATIONS
from triortc.engine.calls.machine import Machine
from triortc.engine.calls.ring_table import RINGS
from triortc.engine.calls.session import SESSIONS

__all__ = ["MACHINES", "markdown"]

HEAD = "| # | state | event | guard | next | effects |\n|---|---|---|---|---|---|"
MACHINES: tuple[Machine[Any], ...] = (SESSIONS, INVITATIONS, RINGS, CLAIMS, CONVERSATIONS, GATES)


def markdown(machine: Machine[Any]) -> str:
    """One table row for each row of the machine."""
    lines = [HEAD]
    for row in machine.rows:
        effects = ", ".join(row.effects) or "–"
        cells = (row.number, ", ".join(row.states), f"`{row.event}`", row.guard or "–", row.next, effects)
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def written(text: str) -> str:
    """The document with each table, below the heading with its letter, replaced by the one in the code."""
    for machine in MACHINES:
        letter = machine.rows[0].number[0]
        table = re.search(rf"(?<=\n)### {letter}: [^\n]*\n\n((?:\|[^\n]*\n)+)", text)
        if table is None:
            raise SystemExit(f"docs/calls.md needs a heading `### {letter}: …` with a table below it")
        text = text[: table.start(1)] + markdown(machine) + "\n" + text[table.end(1) :]
    return text


if __name__ == "__main__":
    document = Path(__file__).parents[2] / "docs" / "calls.md"
    document.write_text(written(document.read_text(encoding="utf-8")), encoding="utf-8")
