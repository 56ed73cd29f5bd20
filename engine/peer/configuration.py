"""What may be tuned about a peer connection."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from triortc.configuration_kinds import require_kinds
from triortc.engine.dtls.certificate import Certificate
from triortc.engine.endpoint_configuration import EndpointConfiguration
from triortc.engine.jitter.configuration import AudioJitterConfiguration, VideoJitterConfiguration
from triortc.engine.sdp.configuration import SdpConfiguration
from triortc.engine.session.configuration import SessionConfiguration
from triortc.errors import ConfigurationError

__all__ = ["PeerConfiguration"]


@dataclass(frozen=True, slots=True)
class PeerConfiguration:
    """The numbers of a peer connection.

    Attributes:
        endpoint: where media is received; not used with a shared endpoint.
        session: transport and streams.
        sdp: limits on the peer's descriptions.
        audio_jitter: how long sound waits for its turn.
        video_jitter: how long pictures wait for retransmissions.
        max_payload_bytes: of one RTP packet; header, extensions and tag come on top.
        receive_queue_frames: received frames that wait for the reader; the oldest are dropped and counted.
        receive_queue_bytes: the same in bytes.
        max_early_candidates: trickled candidates kept until the answer is set; more are dropped and counted.
        certificate: ours; ``None``: a new one for each connection.
    """

    endpoint: EndpointConfiguration = field(default_factory=EndpointConfiguration)
    session: SessionConfiguration = field(default_factory=SessionConfiguration)
    sdp: SdpConfiguration = field(default_factory=SdpConfiguration)
    audio_jitter: AudioJitterConfiguration = field(default_factory=AudioJitterConfiguration)
    video_jitter: VideoJitterConfiguration = field(default_factory=VideoJitterConfiguration)
    max_payload_bytes: int = 1100
    receive_queue_frames: int = 128
    receive_queue_bytes: int = 16 << 20
    max_early_candidates: int = 50
    certificate: Certificate | None = None

    def __post_init__(self) -> None:
        require_kinds(self)
        if not 100 <= self.max_payload_bytes <= 1400:
            raise ConfigurationError("max_payload_bytes must be 100 to 1400: a packet must fit the path's MTU")
        if min(self.receive_queue_frames, self.receive_queue_bytes) < 1 or self.max_early_candidates < 0:
            raise ConfigurationError("the receive queue must hold something, and max_early_candidates be 0 or more")

    def with_wall_clock_offset(self, offset_s: float) -> PeerConfiguration:
        """The same, with a session that knows Unix time as `now` plus `offset_s` seconds."""
        return replace(self, session=replace(self.session, wall_clock_offset_s=offset_s))

    def with_loopback(self) -> PeerConfiguration:
        """The same, with a session that takes candidates of peers on this machine."""
        return replace(self, session=self.session.with_loopback())
