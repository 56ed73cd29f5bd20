"""The two families of packet transforms: AES-GCM (RFC 7714) and AES counter mode with HMAC-SHA1 (RFC 3711 section 4).

A transform knows keys and bytes, nothing of replay or roll-over. The initialization vectors of all four cases (SRTP and
SRTCP, both families) come of one formula, ``salt XOR (ssrc << 48) XOR index``; its constant part for a stream is what
:meth:`Transform.rtp_iv` and :meth:`Transform.rtcp_iv` return.
"""

from __future__ import annotations

from hmac import compare_digest
from typing import Final, Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CTR
from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.hmac import HMAC

from triortc.engine.srtp.key_derivation import SessionKeys
from triortc.engine.srtp.profile import SrtpProfile

__all__ = ["RTCP_HEADER_BYTES", "RTCP_INDEX_BYTES", "AesCmTransform", "AesGcmTransform", "Transform", "make_transform"]

RTCP_HEADER_BYTES: Final = 8  # what SRTCP leaves in clear: the first packet's header and SSRC
RTCP_INDEX_BYTES: Final = 4  # the E flag and the 31-bit SRTCP index
_ENCRYPTED: Final = 0x80000000  # the E flag


class Transform(Protocol):
    """What both families do. ``iv`` is the stream's constant, ``index`` that of the packet (48 bits; SRTCP: 31)."""

    def rtp_iv(self, ssrc: int) -> int:
        """The constant part of the stream's initialization vectors, for SRTP."""

    def rtcp_iv(self, ssrc: int) -> int:
        """The same for SRTCP."""

    def seal_rtp(self, header: bytes, payload: bytes | memoryview, iv: int, index: int, out: memoryview) -> None:
        """Write header, ciphertext and tag to ``out``, which has exactly their length (else ValueError)."""

    def open_rtp(self, packet: memoryview, header_length: int, iv: int, index: int, out: memoryview) -> bool:
        """Write the plain payload to ``out``, which has exactly its length. False: not authentic."""

    def seal_rtcp(self, packet: bytes, iv: int, index: int) -> bytes:
        """The SRTCP packet, encrypted."""

    def open_rtcp(self, packet: bytes, iv: int, trailer: int) -> bytes | None:
        """The compound packet, ``None`` if not authentic. ``trailer`` is the E flag and the index as one number."""


class AesGcmTransform:
    """AEAD_AES_128_GCM and AEAD_AES_256_GCM (RFC 7714)."""

    __slots__ = ("_rtcp", "_rtcp_salt", "_rtp_salt", "decrypt_into", "encrypt_into")

    TAG_BYTES: Final = 16

    def __init__(self, keys: SessionKeys) -> None:
        rtp = AESGCM(keys.rtp_key)
        self.encrypt_into = rtp.encrypt_into
        self.decrypt_into = rtp.decrypt_into
        self._rtcp = AESGCM(keys.rtcp_key)
        self._rtp_salt = int.from_bytes(keys.rtp_salt, "big")
        self._rtcp_salt = int.from_bytes(keys.rtcp_salt, "big")

    def rtp_iv(self, ssrc: int) -> int:
        """RFC 7714 section 8.1."""
        return self._rtp_salt ^ (ssrc << 48)

    def rtcp_iv(self, ssrc: int) -> int:
        """RFC 7714 section 9.1."""
        return self._rtcp_salt ^ (ssrc << 48)

    def seal_rtp(self, header: bytes, payload: bytes | memoryview, iv: int, index: int, out: memoryview) -> None:
        """See :meth:`Transform.seal_rtp`; the header is the associated data (RFC 7714 section 8.2)."""
        header_length = len(header)
        out[:header_length] = header
        self.encrypt_into((iv ^ index).to_bytes(12, "big"), payload, header, out[header_length:])

    def open_rtp(self, packet: memoryview, header_length: int, iv: int, index: int, out: memoryview) -> bool:
        """See :meth:`Transform.open_rtp`."""
        nonce = (iv ^ index).to_bytes(12, "big")
        try:
            self.decrypt_into(nonce, packet[header_length:], packet[:header_length], out)
        except InvalidTag:
            return False
        return True

    def seal_rtcp(self, packet: bytes, iv: int, index: int) -> bytes:
        """See :meth:`Transform.seal_rtcp`; header and trailer are the associated data (RFC 7714 section 9.2)."""
        header = packet[:RTCP_HEADER_BYTES]
        trailer = (_ENCRYPTED | index).to_bytes(RTCP_INDEX_BYTES, "big")
        nonce = (iv ^ index).to_bytes(12, "big")
        return header + self._rtcp.encrypt(nonce, packet[RTCP_HEADER_BYTES:], header + trailer) + trailer

    def open_rtcp(self, packet: bytes, iv: int, trailer: int) -> bytes | None:
        """See :meth:`Transform.open_rtcp`; an unencrypted packet is all associated data (RFC 7714 section 9.3)."""
        nonce = (iv ^ (trailer & ~_ENCRYPTED)).to_bytes(12, "big")
        end = len(packet) - RTCP_INDEX_BYTES
        try:
            if trailer & _ENCRYPTED:
                header = packet[:RTCP_HEADER_BYTES]
                return header + self._rtcp.decrypt(nonce, packet[RTCP_HEADER_BYTES:end], header + packet[end:])
            plain = packet[: end - self.TAG_BYTES]
            self._rtcp.decrypt(nonce, packet[end - self.TAG_BYTES : end], plain + packet[end:])
        except InvalidTag:
            return None
        return plain


class AesCmTransform:
    """AES in counter mode with HMAC-SHA1 (RFC 3711 sections 4.1.1 and 4.2.1), tags of 80 or 32 bits."""

    __slots__ = (
        "_rtcp_cipher",
        "_rtcp_mac",
        "_rtcp_salt",
        "_rtcp_tag",
        "_rtp_cipher",
        "_rtp_mac",
        "_rtp_salt",
        "_rtp_tag",
    )

    def __init__(self, keys: SessionKeys, rtp_tag_bytes: int, rtcp_tag_bytes: int) -> None:
        # One cipher context for all packets, given a new counter each time: making one costs eight times as much.
        self._rtp_cipher = Cipher(AES(keys.rtp_key), CTR(bytes(16))).encryptor()
        self._rtcp_cipher = Cipher(AES(keys.rtcp_key), CTR(bytes(16))).encryptor()
        # The same for the MAC: keyed once, copied for each packet.
        self._rtp_mac = HMAC(keys.rtp_authentication, SHA1())
        self._rtcp_mac = HMAC(keys.rtcp_authentication, SHA1())
        self._rtp_salt = int.from_bytes(keys.rtp_salt, "big")
        self._rtcp_salt = int.from_bytes(keys.rtcp_salt, "big")
        self._rtp_tag = rtp_tag_bytes
        self._rtcp_tag = rtcp_tag_bytes

    def rtp_iv(self, ssrc: int) -> int:
        """RFC 3711 section 4.1.1, without the 16 bits of the block counter."""
        return self._rtp_salt ^ (ssrc << 48)

    def rtcp_iv(self, ssrc: int) -> int:
        """RFC 3711 section 4.1.1, without the 16 bits of the block counter."""
        return self._rtcp_salt ^ (ssrc << 48)

    def seal_rtp(self, header: bytes, payload: bytes | memoryview, iv: int, index: int, out: memoryview) -> None:
        """See :meth:`Transform.seal_rtp`; the tag covers packet and roll-over counter (RFC 3711 section 4.2)."""
        header_length = len(header)
        end = header_length + len(payload)
        out[:header_length] = header
        cipher = self._rtp_cipher
        cipher.reset_nonce(((iv ^ index) << 16).to_bytes(16, "big"))
        cipher.update_into(payload, out[header_length:end])
        mac = self._rtp_mac.copy()
        mac.update(out[:end])
        mac.update((index >> 16).to_bytes(4, "big"))
        out[end:] = mac.finalize()[: self._rtp_tag]

    def open_rtp(self, packet: memoryview, header_length: int, iv: int, index: int, out: memoryview) -> bool:
        """See :meth:`Transform.open_rtp`."""
        end = len(packet) - self._rtp_tag
        mac = self._rtp_mac.copy()
        mac.update(packet[:end])
        mac.update((index >> 16).to_bytes(4, "big"))
        if not compare_digest(mac.finalize()[: self._rtp_tag], packet[end:]):
            return False
        cipher = self._rtp_cipher
        cipher.reset_nonce(((iv ^ index) << 16).to_bytes(16, "big"))
        cipher.update_into(packet[header_length:end], out)
        return True

    def seal_rtcp(self, packet: bytes, iv: int, index: int) -> bytes:
        """See :meth:`Transform.seal_rtcp` (RFC 3711 section 3.4)."""
        self._rtcp_cipher.reset_nonce(((iv ^ index) << 16).to_bytes(16, "big"))
        sealed = packet[:RTCP_HEADER_BYTES] + self._rtcp_cipher.update(packet[RTCP_HEADER_BYTES:])
        sealed += (_ENCRYPTED | index).to_bytes(RTCP_INDEX_BYTES, "big")
        return sealed + self._rtcp_digest(sealed)

    def open_rtcp(self, packet: bytes, iv: int, trailer: int) -> bytes | None:
        """See :meth:`Transform.open_rtcp` (RFC 3711 section 3.4)."""
        signed = packet[: len(packet) - self._rtcp_tag]
        if not compare_digest(self._rtcp_digest(signed), packet[len(signed) :]):
            return None
        plain = signed[:-RTCP_INDEX_BYTES]
        if not trailer & _ENCRYPTED:
            return plain
        self._rtcp_cipher.reset_nonce(((iv ^ (trailer & ~_ENCRYPTED)) << 16).to_bytes(16, "big"))
        return plain[:RTCP_HEADER_BYTES] + self._rtcp_cipher.update(plain[RTCP_HEADER_BYTES:])

    def _rtcp_digest(self, signed: bytes) -> bytes:
        mac = self._rtcp_mac.copy()
        mac.update(signed)
        return mac.finalize()[: self._rtcp_tag]


def make_transform(profile: SrtpProfile, keys: SessionKeys) -> Transform:
    """The transform of a profile."""
    if profile.aead:
        return AesGcmTransform(keys)
    return AesCmTransform(keys, profile.rtp_tag_bytes, profile.rtcp_tag_bytes)
