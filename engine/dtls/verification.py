"""Checking the peer's certificate against the fingerprints of its session description (RFC 8122 section 5)."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from hmac import compare_digest
from typing import Final

from OpenSSL import SSL, crypto

from triortc.engine.sdp.fingerprint import DIGEST_BYTES, STRONG_ALGORITHMS, Fingerprint
from triortc.errors import DtlsError

__all__ = ["PeerVerification", "verify_callback"]

_HASHES: Final = {"sha-256": hashlib.sha256, "sha-384": hashlib.sha384, "sha-512": hashlib.sha512}


class PeerVerification:
    """Which certificates a peer may show. Holds no connection, so that a connection can hold it without a cycle.

    Of several fingerprints those of the strongest hash function count (RFC 8122 section 5), those of broken ones never.

    Raises:
        DtlsError: there is no usable fingerprint.
    """

    __slots__ = ("_accepted", "_expected", "_hash", "refused")

    def __init__(self, fingerprints: Sequence[Fingerprint]) -> None:
        algorithms = {fingerprint.algorithm for fingerprint in fingerprints}
        usable = algorithms & STRONG_ALGORITHMS
        if not usable:
            given = ", ".join(sorted(algorithms)) or "none"
            raise DtlsError(
                f"no usable fingerprint of the peer's certificate (given: {given}); "
                "sha-256, sha-384 and sha-512 are accepted, sha-1 and md5 are not"
            )
        algorithm = max(usable, key=lambda name: DIGEST_BYTES[name])
        self._hash = _HASHES[algorithm]
        self._accepted: bytes | None = None
        self._expected = tuple(
            fingerprint.value.upper().encode("ascii", "replace")
            for fingerprint in fingerprints
            if fingerprint.algorithm == algorithm
        )
        if any(len(value) != 3 * DIGEST_BYTES[algorithm] - 1 for value in self._expected):
            raise DtlsError(f"a fingerprint of {algorithm} has {DIGEST_BYTES[algorithm]} pairs of digits")
        #: Whether a certificate has been shown that matches nothing.
        self.refused = False

    def accepts(self, certificate: crypto.X509) -> bool:
        """Whether this is a certificate the peer announced; compared in constant time."""
        encoded = crypto.dump_certificate(crypto.FILETYPE_ASN1, certificate)
        if encoded == self._accepted:
            return True  # OpenSSL asks twice of each certificate, and the transport once more at the end
        digest = self._hash(encoded).digest().hex(":").upper().encode("ascii")
        # No short cut: every fingerprint is compared, so that time tells nothing about which one came near.
        matches = [compare_digest(digest, expected) for expected in self._expected]
        self.refused = not any(matches)
        self._accepted = None if self.refused else encoded
        return not self.refused


def verify_callback(
    connection: SSL.Connection, certificate: crypto.X509, error_number: int, depth: int, preverified: int
) -> bool:
    """OpenSSL's question about one certificate of the chain. Only the peer's own counts: trust comes from signaling."""
    if depth > 0:
        return True
    verification = connection.get_app_data()
    return isinstance(verification, PeerVerification) and verification.accepts(certificate)
