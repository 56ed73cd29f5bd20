"""Messages in a stream of bytes: a length (32 bits, big endian) before each. No I/O."""

from __future__ import annotations

import struct
from typing import Final

from triortc.errors import ProtocolError

__all__ = ["MessageDecoder", "encode_frame"]

_LENGTH: Final = struct.Struct(">I")


def encode_frame(message: bytes) -> bytes:
    """One message with its length before it."""
    return _LENGTH.pack(len(message)) + message


class MessageDecoder:
    """Cuts a stream into messages.

    Args:
        max_bytes: the longest message; a longer one is refused before its first byte is looked at.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._buffer = bytearray()

    def __len__(self) -> int:
        return len(self._buffer)

    def feed(self, data: bytes) -> None:
        """Add what came. The bytes that wait here are bounded by the window that the sender was given."""
        self._buffer += data

    def next_message(self) -> bytes | None:
        """Take the next whole message; None: it is not whole yet.

        Raises:
            ProtocolError: the length announces more than `max_bytes`.
        """
        if len(self._buffer) < _LENGTH.size:
            return None
        (length,) = _LENGTH.unpack_from(self._buffer)
        if length > self._max_bytes:
            raise ProtocolError(f"a message may have {self._max_bytes} bytes, this one has {length}")
        end = _LENGTH.size + length
        if len(self._buffer) < end:
            return None
        message = bytes(self._buffer[_LENGTH.size : end])
        del self._buffer[:end]
        return message

    def clear(self) -> None:
        """Forget what waits."""
        self._buffer.clear()
