"""The store of a server that keeps nothing on disk: history and event logs in memory, the newest of them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from triortc.engine.calls.store import ENTITIES, Change, Stored, StoreHealth, decode_row

__all__ = ["MemoryStore"]


class MemoryStore:
    """Rows in dicts.

    Arguments:
        durable: keep everything, so that call control which is opened anew with the same store goes on where it
            ended. Without, what lives is kept by call control alone.
        capacity: rows of an entity that is only ever added to; the oldest make room.
    """

    def __init__(self, *, durable: bool = False, capacity: int = 10_000) -> None:
        self.durable = durable
        self.accepting = True
        self.alive_ms: int | None = None
        self._capacity = capacity
        self._rows: dict[str, dict[tuple[str | int, ...], bytes]] = {name: {} for name in ENTITIES}
        self._written = 0

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """There is nothing to open."""
        yield

    def watch_fences(self, on_fenced: Callable[[str], None]) -> None:
        """Nobody else has it."""

    async def load(self) -> Stored:
        """What was written before."""
        stored = Stored(alive_ms=self.alive_ms)
        for name, rows in self._rows.items():
            if hasattr(stored, name):
                getattr(stored, name).extend(decode_row(name, data) for data in rows.values())
        return stored

    def write(self, changes: Sequence[Change]) -> None:
        """Take the changes of one transition."""
        for entity, key, data in changes:
            rows = self._rows[entity]
            if data is None:
                rows.pop(key, None)
            elif not ENTITIES[entity].once:
                rows[key] = data
            elif key not in rows:
                rows[key] = data
                if len(rows) > self._capacity:
                    del rows[next(iter(rows))]
        self._written += len(changes)

    @property
    def accepts(self) -> bool:
        """Always, unless a test says otherwise by `accepting`."""
        return self.accepting

    @property
    def settled(self) -> bool:
        """Memory has nothing to wait for."""
        return True

    async def settle(self) -> None:
        """Memory has nothing to wait for."""

    def health(self) -> StoreHealth:
        """Memory does well."""
        return StoreHealth("memory", "ok" if self.accepting else "full", written=self._written)

    async def rows(self, entity: str, *key: str | int, newest: int | None = None) -> list[Any]:
        """Rows whose key begins so, in the order of keys."""
        found = sorted((known, data) for known, data in self._rows[entity].items() if known[: len(key)] == key)
        return [decode_row(entity, data) for _, data in (found if newest is None else found[-newest:])]
