"""SRTP and SRTCP (RFC 3711, RFC 7714) on the cryptography package."""

from __future__ import annotations

from triortc.engine.srtp.configuration import SrtpConfiguration
from triortc.engine.srtp.inbound import SrtpInbound
from triortc.engine.srtp.keying import SrtpKeys, create_srtp
from triortc.engine.srtp.outbound import SrtpOutbound
from triortc.engine.srtp.profile import PROFILES, PROFILES_BY_NAME, SrtpProfile

__all__ = [
    "PROFILES",
    "PROFILES_BY_NAME",
    "SrtpConfiguration",
    "SrtpInbound",
    "SrtpKeys",
    "SrtpOutbound",
    "SrtpProfile",
    "create_srtp",
]
