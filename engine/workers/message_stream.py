"""Messages both ways over one byte stream: written in order by one task, read by another, bounded both ways."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncGenerator

import trio

from triortc.engine.workers.framing import FrameReader, frame
from triortc.errors import ProtocolError

__all__ = ["MessageStream"]

_READ_BYTES = 64 * 1024


class MessageStream:
    """Holds what is to be written until a stream is there, and while it is slow.

    Arguments:
        max_message_bytes: the longest message, either way.
        max_waiting_bytes: what may wait to be written; more, and `write` ends with an error.
    """

    def __init__(self, max_message_bytes: int, max_waiting_bytes: int) -> None:
        self._reader = FrameReader(max_message_bytes)
        self._max_waiting_bytes = max_waiting_bytes
        self._waiting: deque[bytes] = deque()
        self._waiting_bytes = 0
        self._overflowed = False
        self._wake = trio.Event()

    def allow(self, max_message_bytes: int, max_waiting_bytes: int) -> None:
        """Other limits from now on."""
        self._reader.max_bytes = max_message_bytes
        self._max_waiting_bytes = max_waiting_bytes

    def send(self, message: bytes, *, first: bool = False) -> None:
        """Queue a message. Never blocks; what is too much ends `write`, which ends the whole connection.

        Raises:
            ProtocolError: the message alone is longer than the other side takes.
        """
        framed = frame(message, self._reader.max_bytes)
        if self._overflowed:
            return
        self._waiting_bytes += len(framed)
        if self._waiting_bytes > self._max_waiting_bytes:
            self._overflowed = True
            self._waiting.clear()
        elif first:
            self._waiting.appendleft(framed)
        else:
            self._waiting.append(framed)
        self._wake.set()

    async def write(self, stream: trio.abc.SendStream) -> None:
        """Write what is queued, until cancelled.

        Raises:
            ProtocolError: more waits than may.
            trio.BrokenResourceError, trio.ClosedResourceError: the other side is gone.
        """
        while True:
            if self._overflowed:
                raise ProtocolError(f"the other side does not read: more than {self._max_waiting_bytes} bytes wait")
            if not self._waiting:
                self._wake = trio.Event()
                await self._wake.wait()
                continue
            batch = b"".join(self._waiting)
            self._waiting.clear()
            await stream.send_all(batch)
            self._waiting_bytes -= len(batch)

    async def read(self, stream: trio.abc.ReceiveStream) -> AsyncGenerator[bytes]:
        """The other side's messages, until it ends the stream between two of them.

        Raises:
            ProtocolError: it announces a message that is too long, or ends inside one.
            trio.BrokenResourceError: the connection broke.
        """
        reader = self._reader
        while data := await stream.receive_some(_READ_BYTES):
            for message in reader.receive(bytes(data)):
                yield message
        if not reader.between_messages:
            raise ProtocolError("the stream ended inside a message")
