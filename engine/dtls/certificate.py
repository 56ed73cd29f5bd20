"""Our own certificate: self-signed, trusted by its fingerprint in the session description (RFC 8122, RFC 8827)."""

from __future__ import annotations

from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.hashes import SHA256, SHA384, SHA512, HashAlgorithm
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509.oid import NameOID
from OpenSSL import SSL

from triortc.engine.dtls.context import build_context
from triortc.engine.protection_profile import SrtpProfile
from triortc.engine.sdp.fingerprint import Fingerprint
from triortc.errors import ConfigurationError

__all__ = ["Certificate"]

_HASHES: dict[str, type[HashAlgorithm]] = {"sha-256": SHA256, "sha-384": SHA384, "sha-512": SHA512}


class Certificate:
    """A certificate with its private key. One serves every connection of a process.

    It keeps the OpenSSL contexts made from it and its fingerprints, so that a connection does not pay for them.
    """

    __slots__ = ("_contexts", "_fingerprints", "_key", "x509")

    def __init__(
        self, certificate: x509.Certificate, private_key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
    ) -> None:
        #: The certificate itself.
        self.x509 = certificate
        self._key = private_key
        self._contexts: dict[tuple[SrtpProfile, ...], SSL.Context] = {}
        self._fingerprints: dict[str, Fingerprint] = {}

    @classmethod
    def generate(
        cls, *, valid_from: datetime, valid_for: timedelta = timedelta(days=30), common_name: str = "triortc"
    ) -> Certificate:
        """Make a key on P-256 and a certificate for it.

        Arguments:
            valid_from: with a time zone; a day before now allows for peers whose clock is slow.
            valid_for: from then on.
            common_name: every peer can read it, so it should name nobody.

        Raises:
            ConfigurationError: ``valid_from`` has no time zone, or ``valid_for`` is not positive.
        """
        if valid_from.tzinfo is None:
            raise ConfigurationError("valid_from needs a time zone: datetime.now(timezone.utc)")
        if valid_for <= timedelta():
            raise ConfigurationError("valid_for must be positive")
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(valid_from)
            .not_valid_after(valid_from + valid_for)
            .sign(key, SHA256())
        )
        return cls(certificate, key)

    @classmethod
    def from_pem(cls, certificate_pem: bytes, private_key_pem: bytes) -> Certificate:
        """Read a certificate and its unencrypted private key (P-256, P-384 or RSA).

        Raises:
            ConfigurationError: one of them cannot be read, the key is of another kind, or they do not belong together.
        """
        try:
            certificate = x509.load_pem_x509_certificate(certificate_pem)
            key = load_pem_private_key(private_key_pem, password=None)
        except (ValueError, TypeError) as error:
            raise ConfigurationError(f"the certificate or its key is no PEM we can read: {error}") from error
        if not isinstance(key, (ec.EllipticCurvePrivateKey, rsa.RSAPrivateKey)):
            raise ConfigurationError("the private key of a DTLS certificate is ECDSA or RSA")
        if key.public_key() != certificate.public_key():
            raise ConfigurationError("the private key is not the one of the certificate")
        return cls(certificate, key)

    def fingerprint(self, algorithm: str = "sha-256") -> Fingerprint:
        """What the session description says of this certificate (RFC 8122 section 5).

        Arguments:
            algorithm: ``"sha-256"``, ``"sha-384"`` or ``"sha-512"``.

        Raises:
            ConfigurationError: another algorithm was asked for.
        """
        if algorithm not in _HASHES:
            raise ConfigurationError(f"no fingerprints by {algorithm!r}; use sha-256, sha-384 or sha-512")
        fingerprint = self._fingerprints.get(algorithm)
        if fingerprint is None:
            digest = self.x509.fingerprint(_HASHES[algorithm]())
            fingerprint = self._fingerprints[algorithm] = Fingerprint(algorithm, digest.hex(":").upper())
        return fingerprint

    def context(self, profiles: tuple[SrtpProfile, ...]) -> SSL.Context:
        """The OpenSSL context that shows this certificate and offers these profiles, best first; made once."""
        context = self._contexts.get(profiles)
        if context is None:
            context = self._contexts[profiles] = build_context(self.x509, self._key, profiles)
        return context
