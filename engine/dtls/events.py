"""What a DTLS transport tells its session."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias

from triortc.engine.protection_profile import SrtpProfile

__all__ = ["DtlsClosed", "DtlsConnected", "DtlsEvent", "DtlsFailed"]


@dataclass(frozen=True, slots=True)
class DtlsConnected:
    """The handshake is done and the peer's certificate is the signalled one. The keys never show in ``repr``."""

    profile: SrtpProfile
    local_key: bytes = field(repr=False)
    local_salt: bytes = field(repr=False)
    remote_key: bytes = field(repr=False)
    remote_salt: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class DtlsFailed:
    """The handshake failed, or the connection broke with a fatal alert. There will be no further event."""

    reason: str


@dataclass(frozen=True, slots=True)
class DtlsClosed:
    """The peer has closed the connection (``close_notify``). There will be no further event."""


DtlsEvent: TypeAlias = DtlsConnected | DtlsFailed | DtlsClosed
