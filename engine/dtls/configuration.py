"""The numbers of the DTLS room."""

from __future__ import annotations

from dataclasses import dataclass

from triortc.configuration_kinds import require_kinds
from triortc.engine.protection_profile import PROFILES, SrtpProfile
from triortc.errors import ConfigurationError

__all__ = ["DtlsConfiguration"]


@dataclass(frozen=True, slots=True)
class DtlsConfiguration:
    """Time-outs, sizes and profiles of DTLS-SRTP.

    Arguments:
        srtp_profiles: what we offer, best first. As server our order decides, not the client's.
        mtu_bytes: the largest datagram we send.
        first_retransmission_ms: after so long without an answer a flight is sent again; the pause then doubles.
        max_retransmission_ms: the longest such pause.
        final_flight_resends: how often the server repeats the last flight of the handshake, which nobody acknowledges,
            as long as no media has arrived.
        handshake_timeout_ms: a handshake that takes longer has failed.
        max_datagram_bytes: longer datagrams are dropped.
        max_handshake_datagrams: a peer that needs more datagrams for its handshake has failed.
        max_handshake_bytes: the same, in bytes.

    Raises:
        ConfigurationError: a value is out of range.
    """

    srtp_profiles: tuple[SrtpProfile, ...] = PROFILES[:3]
    mtu_bytes: int = 1200
    first_retransmission_ms: int = 50
    max_retransmission_ms: int = 1600
    final_flight_resends: int = 4
    handshake_timeout_ms: int = 20_000
    max_datagram_bytes: int = 8192
    max_handshake_datagrams: int = 512
    max_handshake_bytes: int = 262_144

    def __post_init__(self) -> None:
        """Check the ranges."""
        require_kinds(self)
        if not self.srtp_profiles:
            raise ConfigurationError("srtp_profiles is empty; name at least one of triortc.engine.srtp.PROFILES")
        if not 508 <= self.mtu_bytes <= 9000:
            raise ConfigurationError("mtu_bytes must be between 508 (what every IPv4 path carries) and 9000")
        if not 10 <= self.first_retransmission_ms <= self.max_retransmission_ms:
            raise ConfigurationError("first_retransmission_ms must be between 10 and max_retransmission_ms")
        if self.final_flight_resends < 0:
            raise ConfigurationError("final_flight_resends must not be negative")
        if self.handshake_timeout_ms <= self.first_retransmission_ms:
            raise ConfigurationError("handshake_timeout_ms must be longer than first_retransmission_ms")
        # OpenSSL reads a datagram into a buffer of one record of 2^14 bytes.
        if not 1500 <= self.max_datagram_bytes <= 16384:
            raise ConfigurationError("max_datagram_bytes must be between 1500 and 16384")
        if self.max_handshake_datagrams < 8 or self.max_handshake_bytes < 8192:
            raise ConfigurationError("a handshake needs at least 8 datagrams and 8192 bytes")
