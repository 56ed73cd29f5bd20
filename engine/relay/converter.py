"""What stands between a source and an outlet that share no format: it takes packets, and sends others instead."""

from __future__ import annotations

from typing import Protocol

from triortc.engine.rtp.header import RtpHeader
from triortc.engine.session.inbound import InboundStream

__all__ = ["Converter"]


class Converter(Protocol):
    """Called from within the data plane: its methods must not block or raise."""

    def receive(self, stream: InboundStream, header: RtpHeader, payload: memoryview, now: float) -> None:
        """Take a packet that an open gate lets through; the payload is lent."""

    def request_keyframe(self) -> None:
        """The receiver has lost a picture: begin anew, without troubling the source."""

    def limit_bitrate(self, bitrate_bps: int | None) -> None:
        """Send no more than this; None: nothing says how much."""
