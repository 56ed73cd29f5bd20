"""STUN messages (RFC 8489) to and from bytes."""

from __future__ import annotations

from triortc.engine.stun.constants import Attribute, ErrorCode, MessageClass, Method
from triortc.engine.stun.message import Integrity, StunMessage, build_message, parse_message
from triortc.engine.stun.peek import looks_like_stun, peek_local_ufrag, peek_username

__all__ = [
    "Attribute",
    "ErrorCode",
    "Integrity",
    "MessageClass",
    "Method",
    "StunMessage",
    "build_message",
    "looks_like_stun",
    "parse_message",
    "peek_local_ufrag",
    "peek_username",
]
