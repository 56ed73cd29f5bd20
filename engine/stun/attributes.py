"""Values of STUN attributes to and from bytes (RFC 8489 section 14, RFC 8445 section 16.1).

An attribute is a pair ``(type, value)``; the length and the padding are the message's business.
"""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Iterable
from functools import lru_cache
from typing import TYPE_CHECKING, Final, TypeAlias

from triortc.engine.stun.constants import MAGIC_COOKIE, Attribute
from triortc.errors import StunError

if TYPE_CHECKING:
    from triortc.engine.address import Address

__all__ = [
    "RawAttribute",
    "decode_address",
    "decode_error_code",
    "decode_unknown_attributes",
    "decode_xor_address",
    "encode_address",
    "encode_error_code",
    "encode_unknown_attributes",
    "encode_xor_address",
    "error_code",
    "ice_controlled",
    "ice_controlling",
    "priority",
    "unknown_attributes",
    "use_candidate",
    "username",
    "xor_mapped_address",
]

#: A type number and the value's bytes, without padding.
RawAttribute: TypeAlias = tuple[int, bytes]

#: Checks name the same few addresses again and again.
_REMEMBERED_ADDRESSES: Final = 1024
_FAMILY_IPV4: Final = 1
_FAMILY_IPV6: Final = 2
_MAX_REASON_BYTES: Final = 509  # RFC 8489 section 14.8: fewer than 128 characters
_COOKIE: Final = MAGIC_COOKIE.to_bytes(4, "big")


def encode_address(address: Address) -> bytes:
    """Return the value of MAPPED-ADDRESS and the like (RFC 8489 section 14.1)."""
    packed = _pack(address[0])
    family = _FAMILY_IPV4 if len(packed) == 4 else _FAMILY_IPV6
    return struct.pack("!BBH", 0, family, address[1]) + packed


def decode_address(value: bytes) -> Address:
    """Read the value of MAPPED-ADDRESS and the like (RFC 8489 section 14.1).

    Raises:
        StunError: the family is unknown or the length does not fit it.
    """
    if len(value) < 4:
        raise StunError("address attribute is too short")
    _, family, port = struct.unpack_from("!BBH", value)
    if (family, len(value)) not in ((_FAMILY_IPV4, 8), (_FAMILY_IPV6, 20)):
        raise StunError("address attribute has an unknown family or a wrong length")
    return _unpack(value[4:]), port


@lru_cache(_REMEMBERED_ADDRESSES)
def _pack(text: str) -> bytes:
    return ipaddress.ip_address(text).packed


@lru_cache(_REMEMBERED_ADDRESSES)
def _unpack(packed: bytes) -> str:
    return str(ipaddress.ip_address(packed))


def encode_xor_address(address: Address, transaction_id: bytes) -> bytes:
    """Return the value of XOR-MAPPED-ADDRESS (RFC 8489 section 14.2)."""
    return _xor(encode_address(address), transaction_id)


def decode_xor_address(value: bytes, transaction_id: bytes) -> Address:
    """Read the value of XOR-MAPPED-ADDRESS (RFC 8489 section 14.2).

    Raises:
        StunError: the family is unknown or the length does not fit it.
    """
    return decode_address(_xor(value, transaction_id))


def _xor(value: bytes, transaction_id: bytes) -> bytes:
    mask = (b"\0\0" + _COOKIE[:2] + _COOKIE + transaction_id)[: len(value)]
    value = value[: len(mask)]
    return (int.from_bytes(value, "big") ^ int.from_bytes(mask, "big")).to_bytes(len(value), "big")


def encode_error_code(code: int, reason: str = "") -> bytes:
    """Return the value of ERROR-CODE: ``code`` from 300 to 699 and a phrase for people (RFC 8489 section 14.8)."""
    return struct.pack("!HBB", 0, code // 100, code % 100) + reason.encode()[:_MAX_REASON_BYTES]


def decode_error_code(value: bytes) -> tuple[int, str]:
    """Read the value of ERROR-CODE (RFC 8489 section 14.8).

    Raises:
        StunError: the value is too short, or class or number are out of range.
    """
    if len(value) < 4:
        raise StunError("ERROR-CODE is too short")
    hundreds, number = value[2] & 0x07, value[3]
    if not 3 <= hundreds <= 6 or number > 99:
        raise StunError("ERROR-CODE is out of range")
    return hundreds * 100 + number, value[4 : 4 + _MAX_REASON_BYTES].decode("utf-8", "replace")


def encode_unknown_attributes(types: Iterable[int]) -> bytes:
    """Return the value of UNKNOWN-ATTRIBUTES (RFC 8489 section 14.9)."""
    return b"".join(kind.to_bytes(2, "big") for kind in types)


def decode_unknown_attributes(value: bytes) -> tuple[int, ...]:
    """Read the value of UNKNOWN-ATTRIBUTES (RFC 8489 section 14.9).

    Raises:
        StunError: the length is odd.
    """
    if len(value) % 2:
        raise StunError("UNKNOWN-ATTRIBUTES has an odd length")
    return struct.unpack(f"!{len(value) // 2}H", value)


def username(name: str) -> RawAttribute:
    """USERNAME (RFC 8489 section 14.3)."""
    return Attribute.USERNAME, name.encode()


def xor_mapped_address(address: Address, transaction_id: bytes) -> RawAttribute:
    """XOR-MAPPED-ADDRESS (RFC 8489 section 14.2)."""
    return Attribute.XOR_MAPPED_ADDRESS, encode_xor_address(address, transaction_id)


def error_code(code: int, reason: str = "") -> RawAttribute:
    """ERROR-CODE (RFC 8489 section 14.8)."""
    return Attribute.ERROR_CODE, encode_error_code(code, reason)


def unknown_attributes(types: Iterable[int]) -> RawAttribute:
    """UNKNOWN-ATTRIBUTES (RFC 8489 section 14.9)."""
    return Attribute.UNKNOWN_ATTRIBUTES, encode_unknown_attributes(types)


def priority(value: int) -> RawAttribute:
    """PRIORITY (RFC 8445 section 16.1)."""
    return Attribute.PRIORITY, value.to_bytes(4, "big")


def use_candidate() -> RawAttribute:
    """USE-CANDIDATE (RFC 8445 section 16.1)."""
    return Attribute.USE_CANDIDATE, b""


def ice_controlling(tie_breaker: int) -> RawAttribute:
    """ICE-CONTROLLING with a tie-breaker of 64 bits (RFC 8445 section 16.1)."""
    return Attribute.ICE_CONTROLLING, tie_breaker.to_bytes(8, "big")


def ice_controlled(tie_breaker: int) -> RawAttribute:
    """ICE-CONTROLLED with a tie-breaker of 64 bits (RFC 8445 section 16.1)."""
    return Attribute.ICE_CONTROLLED, tie_breaker.to_bytes(8, "big")
