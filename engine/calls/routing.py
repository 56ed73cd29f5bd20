"""The default router: the agent who has been idle longest comes first."""

from __future__ import annotations

from collections.abc import Sequence
from operator import attrgetter
from typing import Final

from triortc.engine.calls.ports import Candidate

__all__ = ["LongestIdleRouter"]

_IDLE_LONGEST: Final = attrgetter("idle_since", "open_chats", "sub")


class LongestIdleRouter:
    """Orders candidates by how long they have been idle, then by how few chats they have, then by id."""

    def order(self, org: str, group: str, candidates: Sequence[Candidate]) -> Sequence[str]:
        return [candidate.sub for candidate in sorted(candidates, key=_IDLE_LONGEST)]
