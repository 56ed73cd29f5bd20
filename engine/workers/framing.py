"""Messages on a stream of bytes: four bytes of length, big-endian, then so many bytes. No I/O."""

from __future__ import annotations

from typing import Final

from triortc.errors import ProtocolError

__all__ = ["LENGTH_BYTES", "FrameReader", "frame"]

LENGTH_BYTES: Final = 4


def frame(message: bytes, max_bytes: int) -> bytes:
    """A message with its length before it.

    Raises:
        ProtocolError: it is empty, or longer than the other side takes.
    """
    if not 0 < len(message) <= max_bytes:
        raise ProtocolError(f"a message has 1 to {max_bytes} bytes, not {len(message)}")
    return len(message).to_bytes(LENGTH_BYTES, "big") + message


class FrameReader:
    """Cuts what arrives into messages. What is kept is bounded by the longest message.

    Arguments:
        max_bytes: the longest message that is taken.
    """

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self._buffer = bytearray()

    @property
    def between_messages(self) -> bool:
        """Whether nothing of a message that is not whole is here: a stream may end now."""
        return not self._buffer

    def receive(self, data: bytes) -> list[bytes]:
        """Take in bytes in the pieces that they come in; give the messages that are whole by now.

        Raises:
            ProtocolError: a length is 0 or above the limit. Nothing after it can be understood: close the stream.
        """
        buffer = self._buffer
        buffer += data
        messages: list[bytes] = []
        at = 0
        while len(buffer) - at >= LENGTH_BYTES:
            length = int.from_bytes(buffer[at : at + LENGTH_BYTES], "big")
            if not 0 < length <= self.max_bytes:
                raise ProtocolError(f"a message of {length} bytes is announced; 1 to {self.max_bytes} are taken")
            end = at + LENGTH_BYTES + length
            if len(buffer) < end:
                break
            messages.append(bytes(buffer[at + LENGTH_BYTES : end]))
            at = end
        del buffer[:at]
        return messages
