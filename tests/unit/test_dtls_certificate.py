"""Our own certificates and their fingerprints."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from triortc.engine.dtls import Certificate
from triortc.errors import ConfigurationError

NOW = datetime(2025, 6, 1, tzinfo=UTC)


def _pem_key(key: ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def test_a_generated_certificate_is_self_signed_on_p256_rfc8827_section_6_5() -> None:
    certificate = Certificate.generate(valid_from=NOW, valid_for=timedelta(days=3), common_name="unit").x509
    key = certificate.public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    assert key.curve.name == "secp256r1"
    certificate.verify_directly_issued_by(certificate)
    assert certificate.not_valid_before_utc == NOW
    assert certificate.not_valid_after_utc == NOW + timedelta(days=3)


@pytest.mark.parametrize("algorithm", ["sha-256", "sha-384", "sha-512"])
def test_fingerprints_are_digests_of_the_der_form_rfc8122_section_5(algorithm: str) -> None:
    certificate = Certificate.generate(valid_from=NOW)
    digest = hashlib.new(algorithm.replace("-", ""), certificate.x509.public_bytes(Encoding.DER)).digest()
    fingerprint = certificate.fingerprint(algorithm)
    assert (fingerprint.algorithm, fingerprint.value) == (algorithm, digest.hex(":").upper())


@pytest.mark.parametrize("algorithm", ["sha-1", "md5", "SHA-256", ""])
def test_other_fingerprints_are_not_made(algorithm: str) -> None:
    with pytest.raises(ConfigurationError, match="use sha-256"):
        Certificate.generate(valid_from=NOW).fingerprint(algorithm)


def test_a_time_without_zone_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="time zone"):
        Certificate.generate(valid_from=datetime(2025, 6, 1))


def test_a_validity_that_ends_before_it_begins_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="positive"):
        Certificate.generate(valid_from=NOW, valid_for=timedelta(0))


def test_a_certificate_is_read_from_pem_with_its_key() -> None:
    made = Certificate.generate(valid_from=NOW)
    read = Certificate.from_pem(made.x509.public_bytes(Encoding.PEM), _pem_key(made._key))  # type: ignore[arg-type]  # P-256
    assert read.fingerprint() == made.fingerprint()


def test_what_does_not_belong_together_is_refused() -> None:
    pem = Certificate.generate(valid_from=NOW).x509.public_bytes(Encoding.PEM)
    with pytest.raises(ConfigurationError, match="not the one of the certificate"):
        Certificate.from_pem(pem, _pem_key(ec.generate_private_key(ec.SECP256R1())))
    with pytest.raises(ConfigurationError, match="ECDSA or RSA"):
        Certificate.from_pem(pem, _pem_key(ed25519.Ed25519PrivateKey.generate()))
    with pytest.raises(ConfigurationError, match="no PEM"):
        Certificate.from_pem(pem, b"nothing")
    with pytest.raises(ConfigurationError, match="no PEM"):
        Certificate.from_pem(b"nothing", b"nothing")
