"""Numbers of the STUN registry, each written once (RFC 8489 section 18, RFC 8445 section 16)."""

from __future__ import annotations

from enum import IntEnum
from typing import Final

__all__ = ["FINGERPRINT_XOR", "HEADER_BYTES", "MAGIC_COOKIE", "Attribute", "ErrorCode", "MessageClass", "Method"]

HEADER_BYTES: Final = 20
MAGIC_COOKIE: Final = 0x2112A442
FINGERPRINT_XOR: Final = 0x5354554E


class MessageClass(IntEnum):
    """The class bits C1 C0 of the message type (RFC 8489 section 5)."""

    REQUEST = 0
    INDICATION = 1
    SUCCESS = 2
    ERROR = 3


class Method(IntEnum):
    """Methods that this library knows; a message may carry any other number."""

    BINDING = 0x001


class Attribute(IntEnum):
    """Attribute types; those below 0x8000 must be understood by the receiver (RFC 8489 section 14)."""

    MAPPED_ADDRESS = 0x0001
    USERNAME = 0x0006
    MESSAGE_INTEGRITY = 0x0008
    ERROR_CODE = 0x0009
    UNKNOWN_ATTRIBUTES = 0x000A
    REALM = 0x0014
    NONCE = 0x0015
    MESSAGE_INTEGRITY_SHA256 = 0x001C
    PASSWORD_ALGORITHM = 0x001D
    USERHASH = 0x001E
    XOR_MAPPED_ADDRESS = 0x0020
    PRIORITY = 0x0024
    USE_CANDIDATE = 0x0025
    PASSWORD_ALGORITHMS = 0x8002
    ALTERNATE_DOMAIN = 0x8003
    SOFTWARE = 0x8022
    ALTERNATE_SERVER = 0x8023
    FINGERPRINT = 0x8028
    ICE_CONTROLLED = 0x8029
    ICE_CONTROLLING = 0x802A


class ErrorCode(IntEnum):
    """Error codes that connectivity checks use (RFC 8489 section 14.8, RFC 8445 section 16.2)."""

    BAD_REQUEST = 400
    UNAUTHENTICATED = 401
    UNKNOWN_ATTRIBUTE = 420
    ROLE_CONFLICT = 487
    SERVER_ERROR = 500
