"""Capsules on the CONNECT stream of a WebTransport session (RFC 9297 section 3.2). No I/O.

aioquic leaves them to its user. Only the close and the drain of a session mean something here; others are passed over.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

from aioquic.buffer import Buffer, BufferReadError, encode_uint_var

from triortc.errors import ProtocolError

__all__ = ["CapsuleParser", "SessionClose", "encode_close"]

#: draft-ietf-webtrans-http3, "Session Termination".
CLOSE_WEBTRANSPORT_SESSION: Final = 0x2843
MAX_REASON_BYTES: Final = 1024


@dataclass(frozen=True, slots=True)
class SessionClose:
    """The peer closes the session with a 32-bit code and a text."""

    code: int
    reason: str


def encode_close(code: int, reason: str) -> bytes:
    """Build CLOSE_WEBTRANSPORT_SESSION; of the reason the first 1,024 bytes count.

    Args:
        code: the close code, 32 bits.
        reason: a text for the log of the peer.
    """
    text = reason.encode("utf-8")[:MAX_REASON_BYTES].decode("utf-8", "ignore").encode("utf-8")
    value = struct.pack(">I", code) + text
    return encode_uint_var(CLOSE_WEBTRANSPORT_SESSION) + encode_uint_var(len(value)) + value


class CapsuleParser:
    """Finds the close among the capsules; holds no more than that capsule may be long."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._skip = 0

    def feed(self, data: bytes) -> SessionClose | None:
        """Take what came on the CONNECT stream.

        Returns:
            The close, once it is whole; what follows it means nothing any more.

        Raises:
            ProtocolError: a close that is too short, too long, or not UTF-8.
        """
        self._buffer += data
        while self._buffer:
            if self._skip:
                skipped = min(self._skip, len(self._buffer))
                del self._buffer[:skipped]
                self._skip -= skipped
                continue
            buffer = Buffer(data=bytes(self._buffer[:16]))
            try:
                kind, length = buffer.pull_uint_var(), buffer.pull_uint_var()
            except BufferReadError:
                return None
            start = buffer.tell()
            if kind != CLOSE_WEBTRANSPORT_SESSION:
                self._skip = start + length
                continue
            if not 4 <= length <= 4 + MAX_REASON_BYTES:
                raise ProtocolError(f"a close capsule of {length} bytes")
            if len(self._buffer) < start + length:
                return None
            value = bytes(self._buffer[start : start + length])
            try:
                return SessionClose(struct.unpack_from(">I", value)[0], value[4:].decode("utf-8"))
            except UnicodeDecodeError:
                raise ProtocolError("the reason of a close capsule is not UTF-8") from None
        return None
