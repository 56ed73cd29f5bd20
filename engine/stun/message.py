"""STUN messages to and from bytes, with their integrity and fingerprint (RFC 8489 sections 5, 14.5 to 14.7)."""

from __future__ import annotations

import hmac
import struct
import zlib
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Final

from triortc.engine.stun.attributes import RawAttribute, decode_address, decode_error_code, decode_xor_address
from triortc.engine.stun.constants import FINGERPRINT_XOR, HEADER_BYTES, MAGIC_COOKIE, Attribute, MessageClass
from triortc.errors import StunError

if TYPE_CHECKING:
    from triortc.engine.address import Address

__all__ = ["Integrity", "StunMessage", "build_message", "fingerprint", "parse_message"]

_MAX_ATTRIBUTES: Final = 64
_TRANSACTION_ID_BYTES: Final = 12
_SHA1_BYTES: Final = 20
_SHA256_BYTES: Final = 32
_MIN_SHA256_BYTES: Final = 16  # RFC 8489 section 14.6 allows a truncated value
_MAX_USERNAME_BYTES: Final = 508  # RFC 8489 section 14.3: less than 509
_COMPREHENSION_OPTIONAL: Final = 0x8000


class Integrity(Enum):
    """Which attribute proves that a message comes from who knows the password."""

    SHA1 = Attribute.MESSAGE_INTEGRITY
    SHA256 = Attribute.MESSAGE_INTEGRITY_SHA256


@dataclass(slots=True)
class StunMessage:
    """A parsed message.

    Attributes:
        message_class: request, indication, success or error.
        method: the method's number, 1 for Binding.
        transaction_id: 12 bytes.
        attributes: (type, value) in order, without those that the integrity attributes do not cover (RFC 8489 14.5).
        has_fingerprint: the message ended with a FINGERPRINT (a wrong one is an error of the parser).
        raw: the whole message.
        integrity_offsets: where each integrity attribute starts in ``raw``.
    """

    message_class: MessageClass
    method: int
    transaction_id: bytes
    attributes: list[RawAttribute]
    has_fingerprint: bool
    raw: bytes
    integrity_offsets: dict[Integrity, int]

    def get(self, kind: int) -> bytes | None:
        """Return the value of the first attribute of this type: RFC 8489 section 14 ignores the further ones."""
        for candidate, value in self.attributes:
            if candidate == kind:
                return value
        return None

    @property
    def integrity(self) -> Integrity | None:
        """The strongest integrity attribute that the message carries (RFC 8489 section 9.1.3), or ``None``."""
        for kind in (Integrity.SHA256, Integrity.SHA1):
            if kind in self.integrity_offsets:
                return kind
        return None

    def verify(self, key: bytes) -> bool:
        """Tell whether the strongest integrity attribute was made with ``key``; compared in constant time."""
        kind = self.integrity
        if kind is None:
            return False
        offset = self.integrity_offsets[kind]
        length = int.from_bytes(self.raw[offset + 2 : offset + 4], "big")
        value = self.raw[offset + 4 : offset + 4 + length]
        # The MAC covers everything before its attribute, with a header length that counts up to the attribute's end.
        covered = _with_length(self.raw[:offset], offset + 4 + length - HEADER_BYTES)
        digest = hmac.digest(key, covered, "sha1" if kind is Integrity.SHA1 else "sha256")
        return hmac.compare_digest(digest[:length], value)

    def unknown_required(self, known: Collection[int]) -> list[int]:
        """Return the types below 0x8000 that are not in ``known``, each once (RFC 8489 section 6.3.1)."""
        types = (kind for kind, _ in self.attributes if kind < _COMPREHENSION_OPTIONAL and kind not in known)
        return list(dict.fromkeys(types))

    @property
    def username(self) -> str | None:
        """USERNAME.

        Raises:
            StunError: too long, or not UTF-8.
        """
        value = self.get(Attribute.USERNAME)
        return None if value is None else _decode_username(value)

    @property
    def priority(self) -> int | None:
        """PRIORITY.

        Raises:
            StunError: not four bytes.
        """
        return self._integer(Attribute.PRIORITY, 4)

    @property
    def use_candidate(self) -> bool:
        """Whether USE-CANDIDATE is there."""
        return self.get(Attribute.USE_CANDIDATE) is not None

    @property
    def ice_controlling(self) -> int | None:
        """The tie-breaker of ICE-CONTROLLING.

        Raises:
            StunError: not eight bytes.
        """
        return self._integer(Attribute.ICE_CONTROLLING, 8)

    @property
    def ice_controlled(self) -> int | None:
        """The tie-breaker of ICE-CONTROLLED.

        Raises:
            StunError: not eight bytes.
        """
        return self._integer(Attribute.ICE_CONTROLLED, 8)

    @property
    def error_code(self) -> tuple[int, str] | None:
        """Code and reason phrase of ERROR-CODE.

        Raises:
            StunError: malformed.
        """
        value = self.get(Attribute.ERROR_CODE)
        return None if value is None else decode_error_code(value)

    @property
    def mapped_address(self) -> Address | None:
        """XOR-MAPPED-ADDRESS, else MAPPED-ADDRESS.

        Raises:
            StunError: malformed.
        """
        value = self.get(Attribute.XOR_MAPPED_ADDRESS)
        if value is not None:
            return decode_xor_address(value, self.transaction_id)
        value = self.get(Attribute.MAPPED_ADDRESS)
        return None if value is None else decode_address(value)

    def _integer(self, kind: Attribute, size: int) -> int | None:
        value = self.get(kind)
        if value is None:
            return None
        if len(value) != size:
            raise StunError(f"{kind.name} has {len(value)} bytes instead of {size}")
        return int.from_bytes(value, "big")


def parse_message(data: bytes | memoryview) -> StunMessage:
    """Parse one datagram.

    Attributes behind MESSAGE-INTEGRITY are ignored, except MESSAGE-INTEGRITY-SHA256 and FINGERPRINT (RFC 8489
    sections 14.5 and 14.6). The integrity is not verified here: see :meth:`StunMessage.verify`.

    Raises:
        StunError: not a STUN message, malformed, or its FINGERPRINT is wrong.
    """
    raw = bytes(data)
    if len(raw) < HEADER_BYTES:
        raise StunError("message is shorter than its header")
    message_type, length, cookie = struct.unpack_from("!HHI", raw)
    if message_type & 0xC000 or cookie != MAGIC_COOKIE:
        raise StunError("not a STUN message")
    if length % 4 or HEADER_BYTES + length != len(raw):
        raise StunError("header's length does not fit the datagram")
    message = StunMessage(
        message_class=MessageClass((message_type >> 7 & 2) | (message_type >> 4 & 1)),
        method=(message_type >> 2 & 0xF80) | (message_type >> 1 & 0x70) | (message_type & 0xF),
        transaction_id=raw[8:HEADER_BYTES],
        attributes=[],
        has_fingerprint=False,
        raw=raw,
        integrity_offsets={},
    )
    offset = HEADER_BYTES
    count = 0
    while offset < len(raw):
        count += 1
        if count > _MAX_ATTRIBUTES:
            raise StunError("too many attributes")
        kind, size = struct.unpack_from("!HH", raw, offset)
        end = offset + 4 + size
        if end > len(raw):
            raise StunError("an attribute overruns the message")
        _keep(message, kind, offset, raw[offset + 4 : end])
        offset = end + (-size % 4)
    return message


def _keep(message: StunMessage, kind: int, offset: int, value: bytes) -> None:
    if message.has_fingerprint:
        raise StunError("FINGERPRINT is not the last attribute")
    if kind == Attribute.FINGERPRINT:
        _check_fingerprint(message.raw, offset, value)
        message.has_fingerprint = True
    elif Integrity.SHA256 in message.integrity_offsets:
        return
    elif kind == Attribute.MESSAGE_INTEGRITY_SHA256:
        if not _MIN_SHA256_BYTES <= len(value) <= _SHA256_BYTES or len(value) % 4:
            raise StunError("MESSAGE-INTEGRITY-SHA256 has a wrong length")
        message.integrity_offsets[Integrity.SHA256] = offset
    elif Integrity.SHA1 in message.integrity_offsets:
        return
    elif kind == Attribute.MESSAGE_INTEGRITY:
        if len(value) != _SHA1_BYTES:
            raise StunError("MESSAGE-INTEGRITY has a wrong length")
        message.integrity_offsets[Integrity.SHA1] = offset
    message.attributes.append((kind, value))


def _check_fingerprint(raw: bytes, offset: int, value: bytes) -> None:
    if len(value) != 4 or fingerprint(raw[:offset]) != int.from_bytes(value, "big"):
        raise StunError("FINGERPRINT is wrong")


def fingerprint(covered: bytes) -> int:
    """Return the value of FINGERPRINT over the bytes before it (RFC 8489 section 14.7)."""
    return zlib.crc32(covered) ^ FINGERPRINT_XOR


def build_message(
    message_class: MessageClass,
    method: int,
    transaction_id: bytes,
    attributes: Iterable[RawAttribute] = (),
    *,
    key: bytes | None = None,
    integrity: Sequence[Integrity] = (Integrity.SHA1,),
    with_fingerprint: bool = True,
) -> bytes:
    """Build a message.

    Args:
        message_class: request, indication, success or error.
        method: the method's number.
        transaction_id: 12 bytes.
        attributes: (type, value) in order, without integrity and fingerprint.
        key: the HMAC key of the credential; ``None`` for no integrity.
        integrity: the integrity attributes to add, SHA-1 before SHA-256.
        with_fingerprint: whether FINGERPRINT ends the message.
    """
    if len(transaction_id) != _TRANSACTION_ID_BYTES:
        raise ValueError("transaction_id must have 12 bytes")
    message_type = (
        (method & 0xF80) << 2
        | (method & 0x70) << 1
        | (method & 0xF)
        | (message_class & 2) << 7
        | (message_class & 1) << 4
    )
    out = struct.pack("!HHI", message_type, 0, MAGIC_COOKIE) + transaction_id
    for kind, value in attributes:
        out += struct.pack("!HH", kind, len(value)) + value + bytes(-len(value) % 4)
    if key is not None:
        for which in integrity:
            size, name = (_SHA1_BYTES, "sha1") if which is Integrity.SHA1 else (_SHA256_BYTES, "sha256")
            out = _with_length(out, len(out) + 4 + size - HEADER_BYTES)
            out += struct.pack("!HH", which.value, size) + hmac.digest(key, out, name)
    if with_fingerprint:
        out = _with_length(out, len(out) + 8 - HEADER_BYTES)
        out += struct.pack("!HHI", Attribute.FINGERPRINT, 4, fingerprint(out))
    return _with_length(out, len(out) - HEADER_BYTES)


def _with_length(message: bytes, length: int) -> bytes:
    return message[:2] + length.to_bytes(2, "big") + message[4:]


def _decode_username(value: bytes) -> str:
    if len(value) > _MAX_USERNAME_BYTES:
        raise StunError("USERNAME is too long")
    try:
        return value.decode()
    except UnicodeDecodeError as error:
        raise StunError("USERNAME is not UTF-8") from error
