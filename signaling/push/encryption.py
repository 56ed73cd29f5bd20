"""Message encryption for Web Push (RFC 8291) in the content coding aes128gcm (RFC 8188): one record, one message."""

from __future__ import annotations

import base64
import binascii
import os
import re
import struct
from collections.abc import Callable
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

__all__ = ["MAX_PLAINTEXT_BYTES", "base64url", "base64url_decoded", "encrypt", "public_bytes"]

RECORD_BYTES: Final = 4096
_TAG_BYTES: Final = 16
_SALT_BYTES: Final = 16
_POINT_BYTES: Final = 65
_AUTH_BYTES: Final = 16
#: RFC 8291 §4: a push service need not take more than 4096 bytes, header, delimiter and tag included.
MAX_PLAINTEXT_BYTES: Final = RECORD_BYTES - (_SALT_BYTES + 4 + 1 + _POINT_BYTES) - 1 - _TAG_BYTES
_LAST_RECORD: Final = b"\x02"


def encrypt(
    plaintext: bytes,
    p256dh: bytes,
    auth: bytes,
    *,
    padded_bytes: int = 1,
    key: ec.EllipticCurvePrivateKey | None = None,
    random_bytes: Callable[[int], bytes] = os.urandom,
) -> bytes:
    """Encrypt a message for one subscription.

    Args:
        plaintext: `MAX_PLAINTEXT_BYTES` at most.
        p256dh: the browser's public key, an uncompressed point of P-256.
        auth: the subscription's secret, 16 bytes.
        padded_bytes: the plaintext is padded to a multiple of this, as far as it fits.
        key: our half of the agreement; a fresh one for each message, unless a test knows better.
        random_bytes: the source of the salt.

    Returns:
        The body of the request: the header of RFC 8188 §2.1 and one record.

    Raises:
        ValueError: the plaintext is too long, or a key is not one.
    """
    if len(plaintext) > MAX_PLAINTEXT_BYTES:
        raise ValueError(f"a push message holds {MAX_PLAINTEXT_BYTES} bytes at most")
    if len(auth) != _AUTH_BYTES or len(p256dh) != _POINT_BYTES:
        raise ValueError("p256dh has 65 bytes and auth 16, RFC 8291 §3.1 and §3.2")
    theirs = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), p256dh)
    ours = key or ec.generate_private_key(ec.SECP256R1())
    sender = public_bytes(ours.public_key())
    salt = random_bytes(_SALT_BYTES)
    secret = _derive(ours.exchange(ec.ECDH(), theirs), auth, b"WebPush: info\x00" + p256dh + sender, 32)
    content_key = _derive(secret, salt, b"Content-Encoding: aes128gcm\x00", 16)
    nonce = _derive(secret, salt, b"Content-Encoding: nonce\x00", 12)
    padded = min(-(-len(plaintext) // padded_bytes) * padded_bytes, MAX_PLAINTEXT_BYTES)
    record = AESGCM(content_key).encrypt(nonce, plaintext + _LAST_RECORD + bytes(padded - len(plaintext)), None)
    return salt + struct.pack("!IB", RECORD_BYTES, len(sender)) + sender + record


def _derive(secret: bytes, salt: bytes, info: bytes, length: int) -> bytes:
    return HKDF(SHA256(), length, salt, info).derive(secret)


def public_bytes(key: ec.EllipticCurvePublicKey) -> bytes:
    """A public key as an uncompressed point."""
    return key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)


def base64url(data: bytes) -> str:
    """base64url without padding (RFC 7515 §2)."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def base64url_decoded(text: str) -> bytes:
    """The bytes of a base64url text, padded or not.

    Raises:
        ValueError: it is not base64url.
    """
    bare = text.rstrip("=")
    if not re.fullmatch(r"[A-Za-z0-9_-]*", bare):
        raise ValueError("not base64url")
    try:
        return base64.urlsafe_b64decode(bare + "=" * (-len(bare) % 4))
    except binascii.Error:
        raise ValueError("not base64url") from None
