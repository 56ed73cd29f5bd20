"""SRTP protection profiles: what DTLS negotiates and SRTP applies. One table for both rooms."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

__all__ = ["PROFILES", "PROFILES_BY_NAME", "SrtpProfile"]


@dataclass(frozen=True, slots=True)
class SrtpProfile:
    """One SRTP protection profile (RFC 5764 section 4.1.2, RFC 7714 section 14.2).

    ``name`` is the name in the IANA registry without its ``SRTP_`` prefix, ``identifier`` the two bytes of the
    ``use_srtp`` extension as a number, ``openssl_name`` what OpenSSL calls it.
    """

    name: str
    identifier: int
    openssl_name: str
    key_bytes: int
    salt_bytes: int
    rtp_tag_bytes: int
    rtcp_tag_bytes: int
    aead: bool


#: Every profile this engine speaks, in its order of preference. The last one authenticates RTP with 4 bytes only and is
#: therefore not offered unless configured.
PROFILES: Final = (
    SrtpProfile("AEAD_AES_128_GCM", 0x0007, "SRTP_AEAD_AES_128_GCM", 16, 12, 16, 16, aead=True),
    SrtpProfile("AEAD_AES_256_GCM", 0x0008, "SRTP_AEAD_AES_256_GCM", 32, 12, 16, 16, aead=True),
    SrtpProfile("AES128_CM_HMAC_SHA1_80", 0x0001, "SRTP_AES128_CM_SHA1_80", 16, 14, 10, 10, aead=False),
    SrtpProfile("AES128_CM_HMAC_SHA1_32", 0x0002, "SRTP_AES128_CM_SHA1_32", 16, 14, 4, 10, aead=False),
)

#: The same, by :attr:`SrtpProfile.name`.
PROFILES_BY_NAME: Final = MappingProxyType({profile.name: profile for profile in PROFILES})
