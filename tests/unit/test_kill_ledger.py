"""The ledger of `triortc bench kills` notices what a server has lost."""

from __future__ import annotations

from triortc.bench.kill_ledger import Ledger, Promises
from triortc.engine.calls.actor import Principal
from triortc.engine.calls.store import AgentRow, Stored
from triortc.engine.calls.world import Agent


def test_an_agent_who_was_welcomed_and_is_not_known_is_a_fault() -> None:
    ledger = Ledger(welcomed={"ana"}, declared={("ana", "chat"): Promises("unavailable")})
    assert ledger.compare(Stored(), [], []) == ["agent ana was welcomed, and is not known"]
    ana = AgentRow(0, Agent(Principal("org", "agent", "ana")), 0)
    assert ledger.compare(Stored(agents=[ana]), [], []) == []
    ana.agent.declared["chat"] = "available"
    assert len(ledger.compare(Stored(agents=[ana]), [], [])) == 1
