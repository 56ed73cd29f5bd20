"""Certificate fingerprints and their ``a=fingerprint`` value (RFC 8122 section 5)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from triortc.engine.sdp.remembering import remembered
from triortc.errors import SdpError

__all__ = ["DIGEST_BYTES", "STRONG_ALGORITHMS", "Fingerprint", "format_fingerprint", "parse_fingerprint"]

#: Digest lengths of the hash functions of RFC 8122 section 5.
DIGEST_BYTES: Final = {"sha-1": 20, "sha-224": 28, "sha-256": 32, "sha-384": 48, "sha-512": 64, "md5": 16, "md2": 16}
#: What a certificate may be checked against; the others are broken and never count (RFC 8122 section 5.1).
STRONG_ALGORITHMS: Final = frozenset({"sha-256", "sha-384", "sha-512"})

_ALGORITHM: Final = re.compile(r"[A-Za-z0-9\-]{1,32}", re.ASCII)
_VALUE: Final = re.compile(r"[0-9A-Fa-f]{2}(?::[0-9A-Fa-f]{2}){0,127}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """The digest of a certificate.

    Attributes:
        algorithm: in lower case, as ``"sha-256"``.
        value: upper-case hexadecimal pairs between colons, as ``"AB:CD:…"``.
    """

    algorithm: str
    value: str

    @property
    def strong(self) -> bool:
        """Whether a certificate may be checked against this fingerprint."""
        return self.algorithm in STRONG_ALGORITHMS


@remembered
def parse_fingerprint(value: str) -> Fingerprint:
    """Parse the value of an ``a=fingerprint`` line; case does not matter (RFC 8122 section 5).

    Raises:
        SdpError: the value is malformed, or has not the length that its hash function gives.
    """
    algorithm, _, digest = value.partition(" ")
    digest = digest.strip(" ")
    if not _ALGORITHM.fullmatch(algorithm) or not _VALUE.fullmatch(digest):
        raise SdpError("fingerprint is malformed")
    algorithm = algorithm.lower()
    expected = DIGEST_BYTES.get(algorithm)
    if expected is not None and len(digest) != 3 * expected - 1:
        raise SdpError(f"fingerprint has not the length of {algorithm}")
    return Fingerprint(algorithm, digest.upper())


def format_fingerprint(fingerprint: Fingerprint) -> str:
    """Return the value of the ``a=fingerprint`` line."""
    return f"{fingerprint.algorithm} {fingerprint.value}"
