"""What was last said in a conversation, for whoever gets it next: bounded in number and in bytes."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from triortc.engine.calls.notifications import ConversationMessage

__all__ = ["EarlierMessages"]


class EarlierMessages:
    """The newest messages of one conversation.

    Arguments:
        most: how many are kept.
        most_bytes: how large their texts are together.
        reader: who has the conversation now.
    """

    __slots__ = ("_bytes", "_kept", "_most", "_most_bytes", "_reader")

    def __init__(self, most: int, most_bytes: int, reader: str | None) -> None:
        self._most = most
        self._most_bytes = most_bytes
        self._kept: deque[ConversationMessage] = deque()
        self._bytes = 0
        self._reader = reader

    def add(self, message: ConversationMessage) -> None:
        """This was said, and told to whoever has the conversation."""
        self._kept.append(message)
        self._bytes += _size(message)
        while len(self._kept) > self._most or self._bytes > self._most_bytes:
            self._bytes -= _size(self._kept.popleft())

    def for_reader(self, sub: str | None) -> Iterable[ConversationMessage]:
        """What this agent is to be shown, oldest first: all of it, unless it was they who had the conversation last."""
        before, self._reader = self._reader, sub
        return () if sub is None or sub == before else tuple(self._kept)


def _size(message: ConversationMessage) -> int:
    return len((message.text or "").encode()) + len((message.attachment_ref or "").encode())
