"""From the keys of a DTLS handshake to the two SRTP contexts of a session."""

from __future__ import annotations

from typing import Protocol

from triortc.engine.srtp.configuration import SrtpConfiguration
from triortc.engine.srtp.inbound import SrtpInbound
from triortc.engine.srtp.outbound import SrtpOutbound
from triortc.engine.srtp.profile import SrtpProfile

__all__ = ["SrtpKeys", "create_srtp"]


class SrtpKeys(Protocol):
    """What :class:`triortc.engine.dtls.DtlsConnected` carries (RFC 5764 section 4.2)."""

    @property
    def profile(self) -> SrtpProfile:
        """The negotiated profile."""

    @property
    def local_key(self) -> bytes:
        """Our master key."""

    @property
    def local_salt(self) -> bytes:
        """Our master salt."""

    @property
    def remote_key(self) -> bytes:
        """The peer's master key."""

    @property
    def remote_salt(self) -> bytes:
        """The peer's master salt."""


def create_srtp(keys: SrtpKeys, configuration: SrtpConfiguration | None = None) -> tuple[SrtpOutbound, SrtpInbound]:
    """The contexts of both directions.

    Arguments:
        keys: of a finished handshake.
        configuration: window and limits.

    Raises:
        ConfigurationError: a key or salt has another length than the profile's.
    """
    return (
        SrtpOutbound(keys.profile, keys.local_key, keys.local_salt, configuration),
        SrtpInbound(keys.profile, keys.remote_key, keys.remote_salt, configuration),
    )
