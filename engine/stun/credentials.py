"""Keys of STUN's credential mechanisms (RFC 8489 sections 9.1, 9.2, 14.4 and 18.5.1)."""

from __future__ import annotations

import hashlib
from enum import IntEnum

__all__ = ["PasswordAlgorithm", "long_term_key", "short_term_key", "user_hash"]


class PasswordAlgorithm(IntEnum):
    """How the key of a long-term credential is made (RFC 8489 section 18.5.1)."""

    MD5 = 1
    SHA256 = 2


def short_term_key(password: str) -> bytes:
    """Return the HMAC key of a short-term credential, such as ICE's.

    Args:
        password: prepared by the OpaqueString profile (RFC 8265); ICE passwords are plain ASCII and need nothing.
    """
    return password.encode()


def long_term_key(
    username: str, realm: str, password: str, algorithm: PasswordAlgorithm = PasswordAlgorithm.MD5
) -> bytes:
    """Return the HMAC key of a long-term credential; all three strings prepared by the OpaqueString profile."""
    text = f"{username}:{realm}:{password}".encode()
    if algorithm is PasswordAlgorithm.SHA256:
        return hashlib.sha256(text).digest()
    # The RFC's key, kept for servers that know nothing newer: not a use of MD5 for secrecy of the message.
    return hashlib.md5(text, usedforsecurity=False).digest()


def user_hash(username: str, realm: str) -> bytes:
    """Return the value of USERHASH (RFC 8489 section 14.4)."""
    return hashlib.sha256(f"{username}:{realm}".encode()).digest()
