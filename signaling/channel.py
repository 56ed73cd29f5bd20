"""Where messages travel: one interface for every transport, and the one inside a process.

The bytes are the same on every transport; only the frame around them differs.
"""

from __future__ import annotations

from collections import deque
from enum import Enum
from typing import Final, Protocol

import trio

from triortc.errors import SignalingError

__all__ = [
    "MAX_REASON_BYTES",
    "ChannelClosedError",
    "MemoryChannel",
    "MessageChannel",
    "Sending",
    "ServedChannel",
    "memory_channel_pair",
]

#: How long the text of a close may be (RFC 6455 section 5.5: with the code it has to fit into a control frame).
MAX_REASON_BYTES: Final = 123


class ChannelClosedError(SignalingError):
    """The channel is closed, by either side.

    Attributes:
        code: the close code; 1006: the connection just went away.
        reason: the text beside it.
        error: the peer has broken the framing; the channel still takes an `err` of this code before it is closed.
    """

    def __init__(self, code: int = 1006, reason: str = "", *, error: str | None = None) -> None:
        super().__init__(f"the channel is closed: {code} {reason}".rstrip())
        self.code = code
        self.reason = reason
        self.error = error


class Sending(Enum):
    """What `send_now` has done."""

    DONE = "done"
    #: All messages are taken; what has not gone yet goes before any other: `send` waits for it.
    BEGUN = "begun"
    #: Nothing is taken.
    BLOCKED = "blocked"


class MessageChannel(Protocol):
    """One connection that carries whole messages, both ways, in order."""

    @property
    def heard_at(self) -> float:
        """When the last bytes came, `trio.current_time()`."""

    async def send(self, *messages: bytes) -> None:
        """Send messages, in their order. Raises ChannelClosedError."""

    async def receive(self) -> bytes:
        """Wait for the next message. Raises ChannelClosedError, with `error` where the peer has broken the framing."""

    async def aclose(self, code: int = 1000, reason: str = "") -> None:
        """Close with a code and a reason (at most 123 bytes count). Abrupt when cancelled: bound it with a scope."""


class ServedChannel(MessageChannel, Protocol):
    """A server's end of one, which can be written to by whoever has something to tell."""

    def send_now(self, *messages: bytes) -> Sending:
        """Send messages without waiting, as far as that can be done. Never raises: `send` does, for whoever comes next.

        Not while another task is in `send`.
        """


class MemoryChannel:
    """One end of a pair of channels inside one process, for tests and for embedders without a network."""

    def __init__(
        self, outgoing: trio.MemorySendChannel[bytes], incoming: trio.MemoryReceiveChannel[bytes], log: _Closes
    ) -> None:
        self._outgoing = outgoing
        self._incoming = incoming
        self._closes = log
        self._begun: deque[bytes] = deque()
        self._heard_at = trio.current_time()

    @property
    def heard_at(self) -> float:
        """When the last message came."""
        return self._heard_at

    async def send(self, *messages: bytes) -> None:
        """Send messages, in their order. Raises ChannelClosedError."""
        try:
            while self._begun:
                await self._outgoing.send(self._begun[0])
                self._begun.popleft()
            for data in messages:
                await self._outgoing.send(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            raise ChannelClosedError(*self._closes.first) from None

    def send_now(self, *messages: bytes) -> Sending:
        """Send what the other end has room for; if that is at least one, the others are taken as well."""
        if self._begun:
            return Sending.BLOCKED
        for count, data in enumerate(messages):
            try:
                self._outgoing.send_nowait(data)
            except (trio.WouldBlock, trio.BrokenResourceError, trio.ClosedResourceError):
                self._begun.extend(messages[count:] if count else ())
                return Sending.BEGUN if count else Sending.BLOCKED
        return Sending.DONE

    async def receive(self) -> bytes:
        """Wait for the next message. Raises ChannelClosedError."""
        try:
            data = await self._incoming.receive()
        except (trio.EndOfChannel, trio.ClosedResourceError):
            raise ChannelClosedError(*self._closes.first) from None
        self._heard_at = trio.current_time()
        return data

    async def aclose(self, code: int = 1000, reason: str = "") -> None:
        """Close both directions; the other end reads what was sent before and then sees the code."""
        self._closes.add(code, reason)
        self._outgoing.close()
        self._incoming.close()
        await trio.lowlevel.checkpoint()

    def drop(self) -> None:
        """Go away without a word, as a network does."""
        self._closes.add(1006, "")
        self._outgoing.close()
        self._incoming.close()


class _Closes:
    """The first close of a pair, which both ends report."""

    def __init__(self) -> None:
        self.first: tuple[int, str] = (1006, "")
        self._known = False

    def add(self, code: int, reason: str) -> None:
        if not self._known:
            self._known = True
            self.first = (code, reason)


def memory_channel_pair(queue: int = 16) -> tuple[MemoryChannel, MemoryChannel]:
    """Two connected channels; each direction holds `queue` messages before `send` waits."""
    log = _Closes()
    to_b, from_a = trio.open_memory_channel[bytes](queue)
    to_a, from_b = trio.open_memory_channel[bytes](queue)
    return MemoryChannel(to_b, from_b, log), MemoryChannel(to_a, from_a, log)
