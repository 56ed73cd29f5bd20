"""DTLS-SRTP key agreement as an object without I/O (RFC 6347, RFC 5763, RFC 5764)."""

from __future__ import annotations

from triortc.engine.dtls.certificate import Certificate
from triortc.engine.dtls.configuration import DtlsConfiguration
from triortc.engine.dtls.events import DtlsClosed, DtlsConnected, DtlsEvent, DtlsFailed
from triortc.engine.dtls.transport import DtlsState, DtlsTransport

__all__ = [
    "Certificate",
    "DtlsClosed",
    "DtlsConfiguration",
    "DtlsConnected",
    "DtlsEvent",
    "DtlsFailed",
    "DtlsState",
    "DtlsTransport",
]
