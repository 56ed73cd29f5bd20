"""Session keys from a master key (RFC 3711 section 4.3, RFC 6188, RFC 7714 section 11), at a derivation rate of 0."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import ECB

from triortc.engine.srtp.profile import SrtpProfile
from triortc.errors import ConfigurationError

__all__ = ["SessionKeys", "derive_session_keys"]

_SHA1_KEY_BYTES: Final = 20
_SALT_BYTES: Final = 14  # of the derivation's input; a shorter salt is followed by zeros (RFC 7714 section 11)

# RFC 3711 section 4.3.1 and 4.3.2
_LABEL_RTP_KEY: Final = 0
_LABEL_RTP_AUTHENTICATION: Final = 1
_LABEL_RTP_SALT: Final = 2
_LABEL_RTCP_KEY: Final = 3
_LABEL_RTCP_AUTHENTICATION: Final = 4
_LABEL_RTCP_SALT: Final = 5


@dataclass(frozen=True, slots=True)
class SessionKeys:
    """The keys one direction works with. An AEAD profile has no authentication keys. Never shown by ``repr``."""

    rtp_key: bytes = field(repr=False)
    rtp_salt: bytes = field(repr=False)
    rtcp_key: bytes = field(repr=False)
    rtcp_salt: bytes = field(repr=False)
    rtp_authentication: bytes = field(repr=False, default=b"")
    rtcp_authentication: bytes = field(repr=False, default=b"")


def derive_session_keys(profile: SrtpProfile, master_key: bytes, master_salt: bytes) -> SessionKeys:
    """Derive the session keys of one direction (RFC 3711 section 4.3).

    Arguments:
        profile: decides the lengths.
        master_key: ``profile.key_bytes`` long.
        master_salt: ``profile.salt_bytes`` long.

    Raises:
        ConfigurationError: key or salt have another length than the profile's.
    """
    if len(master_key) != profile.key_bytes or len(master_salt) != profile.salt_bytes:
        raise ConfigurationError(
            f"{profile.name} takes a master key of {profile.key_bytes} and a salt of {profile.salt_bytes} bytes, "
            f"not {len(master_key)} and {len(master_salt)}"
        )
    salt = int.from_bytes(master_salt.ljust(_SALT_BYTES, b"\0"), "big")
    # The key stream of AES in counter mode, block by block, by one context for all keys: making one is what costs.
    stream = Cipher(AES(master_key), ECB()).encryptor()

    def derive(label: int, length: int) -> bytes:
        start = (salt ^ (label << 48)) << 16
        return stream.update(b"".join([(start + n).to_bytes(16, "big") for n in range(-(-length // 16))]))[:length]

    authentication_bytes = 0 if profile.aead else _SHA1_KEY_BYTES
    return SessionKeys(
        rtp_key=derive(_LABEL_RTP_KEY, profile.key_bytes),
        rtp_salt=derive(_LABEL_RTP_SALT, profile.salt_bytes),
        rtcp_key=derive(_LABEL_RTCP_KEY, profile.key_bytes),
        rtcp_salt=derive(_LABEL_RTCP_SALT, profile.salt_bytes),
        rtp_authentication=derive(_LABEL_RTP_AUTHENTICATION, authentication_bytes),
        rtcp_authentication=derive(_LABEL_RTCP_AUTHENTICATION, authentication_bytes),
    )
