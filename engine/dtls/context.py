"""The OpenSSL context behind all connections of one certificate."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from OpenSSL import SSL

from triortc.engine.dtls.verification import verify_callback
from triortc.engine.protection_profile import SrtpProfile

__all__ = ["build_context"]

_DTLS_1_2: Final = 0xFEFD
# Forward secrecy and AEAD only. RFC 8827 section 6.5 demands the first one; the rest is what browsers speak.
_CIPHERS: Final = b"ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:ECDHE+AESGCM:ECDHE+CHACHA20"


def build_context(
    certificate: x509.Certificate,
    private_key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey,
    profiles: Sequence[SrtpProfile],
) -> SSL.Context:
    """A context for both roles: DTLS 1.2, certificates on both sides, ``use_srtp`` with ``profiles``, no resumption."""
    context = SSL.Context(SSL.DTLS_METHOD)
    context.set_min_proto_version(_DTLS_1_2)
    context.use_certificate(certificate)
    context.use_privatekey(private_key)
    context.check_privatekey()
    context.set_cipher_list(_CIPHERS)
    context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT, verify_callback)
    context.set_tlsext_use_srtp(":".join(profile.openssl_name for profile in profiles).encode())
    # A resumed session would show no certificate to check.
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    context.set_options(
        SSL.OP_NO_QUERY_MTU | SSL.OP_NO_TICKET | SSL.OP_NO_RENEGOTIATION | SSL.OP_CIPHER_SERVER_PREFERENCE
    )
    context.set_mode(SSL.MODE_RELEASE_BUFFERS)
    return context
