"""The memory of replies that makes commands idempotent: the same id gets the same reply, and no second effect."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from dataclasses import dataclass

__all__ = ["CachedReply", "ReplyCache"]


@dataclass(slots=True)
class CachedReply:
    """What is known of one command id: a digest of its content, and its reply unless it is still being worked on."""

    digest: bytes
    stored_at: float
    reply: bytes | None = None


class ReplyCache:
    """Replies of one device by command id, bounded in number, bytes and age.

    Args:
        lifetime_s: how long a reply is remembered.
        max_replies: how many ids are remembered.
        max_bytes: the sum of the remembered replies' lengths.
    """

    def __init__(self, *, lifetime_s: float, max_replies: int, max_bytes: int) -> None:
        self._lifetime_s = lifetime_s
        self._max_replies = max_replies
        self._max_bytes = max_bytes
        self._entries: OrderedDict[str, CachedReply] = OrderedDict()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def expires_at(self) -> float | None:
        """When the newest reply may be forgotten; None: there is none."""
        if not self._entries:
            return None
        return next(reversed(self._entries.values())).stored_at + self._lifetime_s

    def find(self, id: str, content: bytes, now: float) -> tuple[CachedReply | None, bool]:
        """Look a command up: what is known of its id, and whether it is the same command."""
        self._expire(now)
        entry = self._entries.get(id)
        return entry, entry is not None and entry.digest == _digest(content)

    def begin(self, id: str, content: bytes, now: float) -> None:
        """Remember that a command is being carried out."""
        self._entries[id] = CachedReply(_digest(content), now)
        while len(self._entries) > self._max_replies:
            self._pop()

    def finish(self, id: str, reply: bytes) -> None:
        """Remember the reply."""
        entry = self._entries.get(id)
        if entry is not None:
            entry.reply = reply
            self._bytes += len(reply)
            while self._bytes > self._max_bytes and self._entries:
                self._pop()

    def kept(self, id: str) -> CachedReply | None:
        """What is known of a command, whatever its content."""
        return self._entries.get(id)

    def restore(self, id: str, digest: bytes, reply: bytes, stored_at: float) -> None:
        """Remember a reply of another process. Older ones first."""
        self._entries[id] = CachedReply(digest, stored_at)
        self.finish(id, reply)

    def forget(self, id: str) -> None:
        """Forget a command that had no effect, so that it can be tried again with its id."""
        entry = self._entries.pop(id, None)
        if entry is not None and entry.reply is not None:
            self._bytes -= len(entry.reply)

    def _expire(self, now: float) -> None:
        while self._entries and next(iter(self._entries.values())).stored_at + self._lifetime_s <= now:
            self._pop()

    def _pop(self) -> None:
        _, entry = self._entries.popitem(last=False)
        if entry.reply is not None:
            self._bytes -= len(entry.reply)


def _digest(content: bytes) -> bytes:
    return hashlib.sha256(content).digest()
