"""SRTP keys from a DTLS connection (RFC 5764 section 4.2, RFC 7714 section 12)."""

from __future__ import annotations

from typing import Final, Literal

from triortc.engine.dtls.events import DtlsConnected
from triortc.engine.protection_profile import SrtpProfile

__all__ = ["EXPORTER_LABEL", "keying_material_bytes", "split_keying_material"]

#: What the exporter of RFC 5705 is asked for; without a context.
EXPORTER_LABEL: Final = b"EXTRACTOR-dtls_srtp"


def keying_material_bytes(profile: SrtpProfile) -> int:
    """How much to export."""
    return 2 * (profile.key_bytes + profile.salt_bytes)


def split_keying_material(profile: SrtpProfile, material: bytes, role: Literal["client", "server"]) -> DtlsConnected:
    """Cut it in its order: client key, server key, client salt, server salt.

    Arguments:
        profile: the negotiated profile.
        material: :func:`keying_material_bytes` of it.
        role: our own DTLS role.
    """
    key, salt = profile.key_bytes, profile.salt_bytes
    client = material[:key], material[2 * key : 2 * key + salt]
    server = material[key : 2 * key], material[2 * key + salt : 2 * (key + salt)]
    local, remote = (client, server) if role == "client" else (server, client)
    return DtlsConnected(profile, *local, *remote)
