"""What may be tuned about one session, with the defaults that calls run on."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from triortc.configuration_kinds import require_kinds
from triortc.engine.congestion.configuration import CongestionConfiguration
from triortc.engine.dtls.configuration import DtlsConfiguration
from triortc.engine.ice.configuration import IceConfiguration
from triortc.engine.srtp.configuration import SrtpConfiguration
from triortc.engine.streams.configuration import (
    FeedbackConfiguration,
    KeyframeConfiguration,
    NackConfiguration,
    ReportConfiguration,
    RetransmissionConfiguration,
)

__all__ = ["SessionConfiguration", "StreamsConfiguration"]


@dataclass(frozen=True, slots=True)
class StreamsConfiguration:
    """The numbers of reports, loss repair and feedback, for every stream of a session."""

    reports: ReportConfiguration = field(default_factory=ReportConfiguration)
    nack: NackConfiguration = field(default_factory=NackConfiguration)
    retransmission: RetransmissionConfiguration = field(default_factory=RetransmissionConfiguration)
    keyframes: KeyframeConfiguration = field(default_factory=KeyframeConfiguration)
    feedback: FeedbackConfiguration = field(default_factory=FeedbackConfiguration)


@dataclass(frozen=True, slots=True)
class SessionConfiguration:
    """The numbers of a session.

    Attributes:
        ice, dtls, srtp, streams, congestion: the numbers of the parts.
        max_inbound_streams: media streams of a peer that are kept; a further one takes the place of one that its sender
            has left behind, or is dropped. All SSRCs, those of retransmissions too, `srtp.max_inbound_ssrcs` bounds.
        outbox_bytes: packets on their way to the socket.
        silence_timeout_s: without one authentic packet for so long, the session says that it is silent; longer than one
            consent interval (RFC 7675), so that a muted peer is not taken for a lost one.
        wall_clock_offset_s: seconds to add to `now` for Unix time; sender reports carry it as NTP time.
    """

    ice: IceConfiguration = field(default_factory=IceConfiguration)
    dtls: DtlsConfiguration = field(default_factory=DtlsConfiguration)
    srtp: SrtpConfiguration = field(default_factory=SrtpConfiguration)
    streams: StreamsConfiguration = field(default_factory=StreamsConfiguration)
    congestion: CongestionConfiguration = field(default_factory=CongestionConfiguration)
    max_inbound_streams: int = 16
    outbox_bytes: int = 1536 * 1024
    silence_timeout_s: float = 8.0
    wall_clock_offset_s: float = 0.0

    def __post_init__(self) -> None:
        require_kinds(self)

    def with_loopback(self) -> SessionConfiguration:
        """The same, taking candidates on 127.0.0.0/8 and ::1: for an endpoint that is bound there."""
        return replace(self, ice=replace(self.ice, allow_loopback=True))
