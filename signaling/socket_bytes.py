"""The bytes of a TCP connection, by its descriptor: what a small message costs above the two calls of the kernel.

trio's stream asks the kernel once in vain before it waits, and gives the loop a turn after every write; with some
hundred bytes a message that is a fifth of what a command costs. Waiting and closing are trio's here as there.
"""

from __future__ import annotations

import os
from typing import Final, Protocol

import trio

__all__ = ["ByteStream", "SocketBytes", "byte_stream"]

_RECEIVE_BYTES: Final = 32 * 1024


class ByteStream(Protocol):
    """What a channel needs of what is below it."""

    async def receive_some(self) -> bytes | bytearray:
        """Wait for bytes; none: the peer has finished. Raises trio.BrokenResourceError, trio.ClosedResourceError."""

    async def send_all(self, data: bytes) -> None:
        """Send all. Raises trio.BrokenResourceError, trio.ClosedResourceError."""


def byte_stream(stream: trio.abc.Stream) -> ByteStream:
    """The shortest way to a stream's bytes. Closing the stream closes it."""
    return SocketBytes(stream.socket) if type(stream) is trio.SocketStream else stream


class SocketBytes:
    """Reads and writes a connected socket that does not block.

    `send_all` is no checkpoint when the kernel takes everything at once.
    """

    __slots__ = ("_socket",)

    def __init__(self, socket: trio.socket.SocketType) -> None:
        self._socket = socket

    def _descriptor(self) -> int:
        descriptor = self._socket.fileno()
        if descriptor < 0:
            raise trio.ClosedResourceError("the socket was closed")
        return descriptor

    async def receive_some(self) -> bytes:
        """Wait for bytes; none: the peer has finished."""
        while True:
            descriptor = self._descriptor()
            await trio.lowlevel.wait_readable(descriptor)
            try:
                return os.read(descriptor, _RECEIVE_BYTES)
            except BlockingIOError:
                continue
            except OSError as error:
                raise trio.BrokenResourceError("the connection is broken") from error

    def send_now(self, data: bytes) -> int:
        """Send what the kernel takes: so many bytes. None, if the connection is broken or closed, too."""
        descriptor = self._socket.fileno()
        if descriptor < 0:
            return 0
        try:
            return os.write(descriptor, data)
        except OSError:  # whoever waits for this connection gets to know of it
            return 0

    async def send_all(self, data: bytes) -> None:
        """Send, and wait only for what the kernel does not take."""
        rest: bytes | memoryview = data
        while True:
            descriptor = self._descriptor()
            try:
                sent = os.write(descriptor, rest)
            except BlockingIOError:
                sent = 0
            except OSError as error:
                raise trio.BrokenResourceError("the connection is broken") from error
            if sent == len(rest):
                return
            rest = memoryview(rest)[sent:]
            await trio.lowlevel.wait_writable(descriptor)
