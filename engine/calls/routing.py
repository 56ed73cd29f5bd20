"""The default router: the agent who has been idle longest comes first."""

from __future__ import annotations

from collections.abc import Sequence

from triortc.engine.calls.ports import Candidate

__all__ = ["LongestIdleRouter"]


class LongestIdleRouter:
    """Orders candidates by how long they have been idle, then by how few chats they have, then by id."""

    def order(self, org: str, group: str, candidates: Sequence[Candidate]) -> Sequence[str]:
        ranked = sorted(candidates, key=lambda candidate: (candidate.idle_since, candidate.open_chats, candidate.sub))
        return [candidate.sub for candidate in ranked]
