"""Binding requests and answers as connectivity checks use them (RFC 8445 sections 7.1, 7.3; RFC 8489 section 9.1)."""

from __future__ import annotations

import base64
import hmac
from typing import TYPE_CHECKING, Final

from triortc.engine.stun import attributes
from triortc.engine.stun.constants import Attribute, ErrorCode, MessageClass, Method
from triortc.engine.stun.credentials import short_term_key
from triortc.engine.stun.message import Integrity, StunMessage, build_message

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from triortc.engine.address import Address
    from triortc.engine.stun.attributes import RawAttribute

__all__ = ["BindingMessages"]

_UFRAG_RANDOM_BYTES: Final = 6  # 8 characters; RFC 8445 section 5.3 asks for at least 24 bits
_PASSWORD_RANDOM_BYTES: Final = 18  # 24 characters; at least 128 bits
_MAX_UNKNOWN_REPORTED: Final = 8
_KNOWN_REQUIRED: Final = frozenset(
    {
        Attribute.MAPPED_ADDRESS,
        Attribute.USERNAME,
        Attribute.MESSAGE_INTEGRITY,
        Attribute.ERROR_CODE,
        Attribute.UNKNOWN_ATTRIBUTES,
        Attribute.REALM,
        Attribute.NONCE,
        Attribute.MESSAGE_INTEGRITY_SHA256,
        Attribute.XOR_MAPPED_ADDRESS,
        Attribute.PRIORITY,
        Attribute.USE_CANDIDATE,
    }
)


class BindingMessages:
    """The credentials and the role of one agent, and the messages made with them.

    Args:
        controlling: the role at the start.
        random_bytes: gives ``n`` unpredictable bytes.
    """

    def __init__(self, *, controlling: bool, random_bytes: Callable[[int], bytes]) -> None:
        self.controlling = controlling
        self.local_ufrag = base64.b64encode(random_bytes(_UFRAG_RANDOM_BYTES)).decode()
        self.local_password = base64.b64encode(random_bytes(_PASSWORD_RANDOM_BYTES)).decode()
        self.remote_ufrag: str | None = None
        self._random_bytes = random_bytes
        self._local_key = short_term_key(self.local_password)
        self._remote_key = b""
        self.tie_breaker = 0
        self.change_tie_breaker()

    def change_tie_breaker(self) -> None:
        """Draw a new tie-breaker, as RFC 8445 section 7.2.5.1 wants it after a 487."""
        self.tie_breaker = int.from_bytes(self._random_bytes(8), "big")

    def set_remote(self, ufrag: str, password: str) -> None:
        """Take the peer's credentials."""
        self.remote_ufrag = ufrag
        self._remote_key = short_term_key(password)

    def is_remote_password(self, password: str) -> bool:
        """Whether this is the password given before; compared in constant time."""
        return hmac.compare_digest(short_term_key(password), self._remote_key)

    def check(self, transaction_id: bytes, *, priority: int, use_candidate: bool) -> bytes:
        """Build a connectivity check (RFC 8445 section 7.1); ``priority`` is that of a prflx candidate on the base."""
        role = attributes.ice_controlling if self.controlling else attributes.ice_controlled
        fields = [
            attributes.username(f"{self.remote_ufrag}:{self.local_ufrag}"),
            attributes.priority(priority),
            role(self.tie_breaker),
        ]
        if use_candidate:
            fields.append(attributes.use_candidate())
        return build_message(MessageClass.REQUEST, Method.BINDING, transaction_id, fields, key=self._remote_key)

    def success(self, request: StunMessage, source: Address) -> bytes:
        """Build the answer to a check that came from ``source``."""
        return self._answer(
            request, MessageClass.SUCCESS, [attributes.xor_mapped_address(source, request.transaction_id)]
        )

    def error(
        self, request: StunMessage, code: ErrorCode, *, unknown: Sequence[int] = (), authenticated: bool = True
    ) -> bytes:
        """Build an error answer; without a MAC where the request proved nothing (RFC 8489 section 9.1.3)."""
        fields = [attributes.error_code(code)]
        if unknown:
            fields.append(attributes.unknown_attributes(unknown[:_MAX_UNKNOWN_REPORTED]))
        return self._answer(request, MessageClass.ERROR, fields, authenticated=authenticated)

    def _answer(
        self,
        request: StunMessage,
        message_class: MessageClass,
        fields: list[RawAttribute],
        *,
        authenticated: bool = True,
    ) -> bytes:
        return build_message(
            message_class,
            request.method,
            request.transaction_id,
            fields,
            key=self._local_key if authenticated else None,
            # RFC 8489 section 9.1.3: the answer is protected the way the request was.
            integrity=(request.integrity or Integrity.SHA1,),
        )

    def request_refusal(self, request: StunMessage) -> tuple[ErrorCode, str] | None:
        """Return the error and the reason to count when a request is not authentic (RFC 8489 section 9.1.3).

        Raises:
            StunError: USERNAME is malformed.
        """
        username = request.username
        if request.integrity is None or username is None:
            return ErrorCode.BAD_REQUEST, "no_credentials"
        local, _, remote = username.partition(":")
        if local != self.local_ufrag or self.remote_ufrag not in (None, remote):
            return ErrorCode.UNAUTHENTICATED, "username"
        if not request.verify(self._local_key):
            return ErrorCode.UNAUTHENTICATED, "integrity"
        return None

    def is_authentic_answer(self, answer: StunMessage) -> bool:
        """Whether an answer was made by who knows the peer's password."""
        return self.remote_ufrag is not None and answer.verify(self._remote_key)

    def unknown_required(self, message: StunMessage) -> list[int]:
        """Return the attribute types that must be understood and are not (RFC 8489 section 6.3)."""
        return message.unknown_required(_KNOWN_REQUIRED)
