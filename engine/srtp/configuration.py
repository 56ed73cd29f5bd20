"""The numbers of the SRTP room."""

from __future__ import annotations

from dataclasses import dataclass

from triortc.configuration_kinds import require_kinds
from triortc.errors import ConfigurationError

__all__ = ["SrtpConfiguration"]


@dataclass(frozen=True, slots=True)
class SrtpConfiguration:
    """Limits of SRTP and SRTCP contexts.

    Arguments:
        replay_window_packets: how far behind the newest packet of its stream a packet may be received (RFC 3711
            section 3.3.2 asks for at least 64).
        max_inbound_ssrcs: how many streams of one peer are kept; packets of further SSRCs are dropped.
        send_window_packets: how far behind the newest packet of its stream a packet may still be protected. No index
            is used twice.

    Raises:
        ConfigurationError: a value is out of range.
    """

    replay_window_packets: int = 128
    max_inbound_ssrcs: int = 64
    send_window_packets: int = 1024

    def __post_init__(self) -> None:
        """Check the ranges."""
        require_kinds(self)
        if not 64 <= self.replay_window_packets <= 0x4000:
            raise ConfigurationError("replay_window_packets must be between 64 (RFC 3711 section 3.3.2) and 16384")
        if not 64 <= self.send_window_packets <= 0x4000:
            raise ConfigurationError("send_window_packets must be between 64 and 16384")
        if self.max_inbound_ssrcs < 1:
            raise ConfigurationError("max_inbound_ssrcs must be at least 1")
