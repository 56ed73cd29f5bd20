"""The ciphers that the data plane's core in C works with, keyed by the libcrypto that it calls."""

from __future__ import annotations

import ctypes
import weakref
from struct import Struct
from typing import Final

from triortc.engine.srtp.key_derivation import SessionKeys
from triortc.engine.srtp.profile import SrtpProfile

__all__ = ["CIPHER_BYTES", "Cipher", "Libcrypto"]

#: An EVP_CIPHER_CTX, whether it is AES-GCM, bytes of the tag, salt, SHA_CTXs behind the inner and the outer pad.
_CIPHER: Final = Struct("=Qii14s2x128s128s")
CIPHER_BYTES: Final = _CIPHER.size
_SHA1_BLOCK_BYTES: Final = 64
_POINTER, _INT, _BYTES = ctypes.c_void_p, ctypes.c_int, ctypes.c_char_p
#: What the core calls for every packet, in the order of its `libcrypto`.
_CALLED_BY_CORE: Final = (
    "EVP_EncryptInit_ex",
    "EVP_DecryptInit_ex",
    "EVP_EncryptUpdate",
    "EVP_DecryptUpdate",
    "EVP_EncryptFinal_ex",
    "EVP_DecryptFinal_ex",
    "EVP_CIPHER_CTX_ctrl",
    "SHA1_Update",
    "SHA1_Final",
)
#: What is called here: (result, arguments).
_CALLED_HERE: Final = {
    "EVP_CIPHER_CTX_new": (_POINTER, ()),
    "EVP_CIPHER_CTX_free": (None, (_POINTER,)),
    "EVP_aes_128_gcm": (_POINTER, ()),
    "EVP_aes_256_gcm": (_POINTER, ()),
    "EVP_aes_128_ctr": (_POINTER, ()),
    "EVP_EncryptInit_ex": (_INT, (_POINTER, _POINTER, _POINTER, _BYTES, _BYTES)),
    "EVP_DecryptInit_ex": (_INT, (_POINTER, _POINTER, _POINTER, _BYTES, _BYTES)),
    "SHA1_Init": (_INT, (_POINTER,)),
    "SHA1_Update": (_INT, (_POINTER, _BYTES, ctypes.c_size_t)),
}


class Libcrypto:
    """The functions of one libcrypto.

    Arguments:
        name: its soname. The loader knows where the machine keeps it.

    Raises:
        OSError: the machine has none of this name.
        AttributeError: it lacks a function.
    """

    def __init__(self, name: str) -> None:
        self.library = ctypes.CDLL(name)
        for function, (result, arguments) in _CALLED_HERE.items():
            found = getattr(self.library, function)
            found.restype, found.argtypes = result, arguments
        #: Addresses, for the core.
        self.addresses = [ctypes.cast(getattr(self.library, function), _POINTER).value for function in _CALLED_BY_CORE]


class Cipher:
    """The cipher of one direction of one session, for RTP.

    Raises:
        ValueError: libcrypto cannot be keyed with this.
    """

    def __init__(self, crypto: Libcrypto, profile: SrtpProfile, keys: SessionKeys, *, sending: bool) -> None:
        library = crypto.library
        context = library.EVP_CIPHER_CTX_new()
        weakref.finalize(self, library.EVP_CIPHER_CTX_free, context).atexit = False
        mode = "gcm" if profile.aead else "ctr"
        kind = getattr(library, f"EVP_aes_{8 * profile.key_bytes}_{mode}", None)
        # Counter mode deciphers by enciphering.
        key = library.EVP_EncryptInit_ex if sending or not profile.aead else library.EVP_DecryptInit_ex
        fits = len(keys.rtp_key) == profile.key_bytes and len(keys.rtp_salt) == profile.salt_bytes
        if kind is None or not fits or key(context, kind(), None, keys.rtp_key, None) != 1:
            raise ValueError(f"libcrypto has no cipher for {profile.name}, or its keys have other lengths")
        #: As the core reads it; it holds while this object does.
        self.packed = _CIPHER.pack(
            *(context, profile.aead, profile.rtp_tag_bytes, keys.rtp_salt),
            *(_padded(library, keys.rtp_authentication, pad) for pad in (0x36, 0x5C)),
        )


def _padded(library: ctypes.CDLL, key: bytes, pad: int) -> bytes:
    """The SHA_CTX of an HMAC's one half (RFC 2104) behind its first block, copied for every packet."""
    state = ctypes.create_string_buffer(128)
    library.SHA1_Init(state)
    library.SHA1_Update(state, bytes(byte ^ pad for byte in key.ljust(_SHA1_BLOCK_BYTES, b"\0")), _SHA1_BLOCK_BYTES)
    return state.raw
