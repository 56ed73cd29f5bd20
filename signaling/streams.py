"""A byte stream whose first bytes have been read already, and which remembers when bytes came."""

from __future__ import annotations

import trio

__all__ = ["PushBackStream"]

#: More than any queue of whole messages can hold: a peer that sends this much without finishing one is not honest.
MAX_UNFINISHED_BYTES = 1 << 20


class PushBackStream(trio.abc.Stream):
    """Replays what was read from a stream before it goes on with the stream.

    Args:
        stream: the stream; closing this one closes it.
        first: the bytes to be received first.
    """

    def __init__(self, stream: trio.abc.Stream, first: bytes) -> None:
        self._stream = stream
        self._first = first
        self._unfinished = 0
        self._writing = trio.Lock()
        self.heard_at = trio.current_time()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        """The bytes pushed back, then those of the stream."""
        if self._first:
            await trio.lowlevel.checkpoint()
            size = len(self._first) if max_bytes is None else max_bytes
            data, self._first = self._first[:size], self._first[size:]
            return data
        received = await self._stream.receive_some(max_bytes)
        if received:
            self.heard_at = trio.current_time()
            self._unfinished += len(received)
            if self._unfinished > MAX_UNFINISHED_BYTES:
                raise trio.BrokenResourceError("too many bytes without a whole message")
        return received

    def message_finished(self) -> None:
        """A whole message was taken out; the count of bytes without one starts again."""
        self._unfinished = 0

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send through to the stream; of several senders one after the other."""
        async with self._writing:
            await self._stream.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        """Ask the stream."""
        await self._stream.wait_send_all_might_not_block()

    async def aclose(self) -> None:
        """Close the stream."""
        await self._stream.aclose()
