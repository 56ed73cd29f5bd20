"""A certificate of our own for a server on a local network: browsers give no camera to plain HTTP.

The same serves WebTransport in development: a browser that is told the certificate's hash (`serverCertificateHashes`)
takes a P-256 certificate that is valid for two weeks at most, whoever signed it.
"""

from __future__ import annotations

import hashlib
import ipaddress
import ssl
import tempfile
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from triortc.errors import ConfigurationError

__all__ = ["ServerCertificate", "install", "load_certificate", "self_signed_certificate", "server_context"]

#: Browsers refuse a hash of a certificate that is valid for more than 14 days.
SELF_SIGNED_DAYS = 10


@dataclass(frozen=True, slots=True)
class ServerCertificate:
    """A certificate, what leads to it from its authority, and its key.

    Attributes:
        certificate: that of the server.
        chain: intermediate certificates.
        private_key: the certificate's key.
        self_signed: whether clients know it by its hash only.
    """

    certificate: x509.Certificate
    chain: tuple[x509.Certificate, ...]
    private_key: PrivateKeyTypes
    self_signed: bool = False

    @property
    def sha256(self) -> bytes:
        """The hash that browsers are told."""
        return hashlib.sha256(self.certificate.public_bytes(serialization.Encoding.DER)).digest()

    @property
    def pem(self) -> bytes:
        """The certificate itself, without its key."""
        return self.certificate.public_bytes(serialization.Encoding.PEM)


def self_signed_certificate(
    names: Collection[str], *, now: datetime, days: int = SELF_SIGNED_DAYS
) -> ServerCertificate:
    """Make a fresh P-256 key and its certificate.

    Args:
        names: host names and addresses it is for.
        now: the present time, with a time zone.
        days: how long it is valid.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "triortc development")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.SubjectAlternativeName([_general_name(name) for name in names]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(key, hashes.SHA256())
    )
    return ServerCertificate(certificate, (), key, self_signed=True)


def load_certificate(certificate_file: Path, key_file: Path) -> ServerCertificate:
    """Read a certificate with its chain, and its key, both PEM.

    Raises:
        ConfigurationError: a file cannot be read, or does not hold what it should, or the two do not belong together.
    """
    try:
        certificates = x509.load_pem_x509_certificates(certificate_file.read_bytes())
        key = serialization.load_pem_private_key(key_file.read_bytes(), None)
    except (OSError, ValueError, TypeError) as error:
        raise ConfigurationError(f"{certificate_file} and {key_file}: {error}") from None
    if certificates[0].public_key() != key.public_key():
        raise ConfigurationError(f"{key_file} is not the key of {certificate_file}")
    return ServerCertificate(certificates[0], tuple(certificates[1:]), key)


def server_context(certificate: ServerCertificate) -> ssl.SSLContext:
    """A TLS server context that shows a certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    install(context, certificate)
    return context


def install(context: ssl.SSLContext, certificate: ServerCertificate) -> None:
    """Let a context show this certificate from now on; connections that are open keep the one they have."""
    pem = certificate.private_key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ) + b"".join(one.public_bytes(serialization.Encoding.PEM) for one in (certificate.certificate, *certificate.chain))
    # The ssl module reads keys from files only; this one is readable by its owner and gone at once.
    with tempfile.TemporaryDirectory(prefix="triortc-") as folder:
        path = Path(folder) / "certificate.pem"
        path.touch(mode=0o600)
        path.write_bytes(pem)
        context.load_cert_chain(path)


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)
