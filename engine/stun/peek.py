"""Looks into a datagram that cost less than parsing it, for the demultiplexer in front of the agents."""

from __future__ import annotations

import struct
from typing import Final

from triortc.engine.stun.constants import HEADER_BYTES, MAGIC_COOKIE, Attribute

__all__ = ["looks_like_stun", "peek_local_ufrag", "peek_username"]

_BINDING_REQUEST: Final = 0x0001
_MAX_USERNAME_BYTES: Final = 508
_MAX_ATTRIBUTES_LOOKED_AT: Final = 16


def looks_like_stun(data: bytes | memoryview) -> bool:
    """Tell a STUN message from DTLS, SRTP and noise by its header (RFC 8489 section 5, RFC 7983 section 7)."""
    return len(data) >= HEADER_BYTES and data[0] < 4 and data[4:8] == b"\x21\x12\xa4\x42"


def peek_username(data: bytes | memoryview) -> str | None:
    """Return the USERNAME of a Binding request, or ``None`` when the datagram is something else or has none.

    Nothing is verified but the header: what comes back is a stranger's claim, good for finding the agent that
    verifies it. In ICE it reads ``receiver's ufrag:sender's ufrag`` (RFC 8445 section 7.2.2).
    """
    if len(data) < HEADER_BYTES:
        return None
    message_type, length, cookie = struct.unpack_from("!HHI", data)
    if message_type != _BINDING_REQUEST or cookie != MAGIC_COOKIE or HEADER_BYTES + length != len(data):
        return None
    offset = HEADER_BYTES
    for _ in range(_MAX_ATTRIBUTES_LOOKED_AT):
        if offset + 4 > len(data):
            return None
        kind, size = struct.unpack_from("!HH", data, offset)
        if kind == Attribute.USERNAME:
            value = bytes(data[offset + 4 : offset + 4 + size])
            if len(value) != size or size > _MAX_USERNAME_BYTES:
                return None
            try:
                return value.decode()
            except UnicodeDecodeError:
                return None
        offset += 4 + size + (-size % 4)
    return None


def peek_local_ufrag(data: bytes | memoryview) -> str | None:
    """Return the receiver's ufrag out of a Binding request's USERNAME, or ``None`` (see :func:`peek_username`)."""
    name = peek_username(data)
    if name is None:
        return None
    ufrag, colon, _ = name.partition(":")
    return ufrag if colon else None
