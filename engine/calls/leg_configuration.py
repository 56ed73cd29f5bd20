"""What may be tuned about the media side of calls."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal, TypeAlias

from triortc.codecs.configuration import SlateConfiguration, VideoEncoderConfiguration
from triortc.codecs.payload.formats import depacketizer_for
from triortc.codecs.registry import DEFAULT_CODECS, Codec, MediaKind
from triortc.configuration_kinds import require_kinds
from triortc.engine.calls.call_recording import RecordingConfiguration
from triortc.engine.calls.quality import QualityConfiguration
from triortc.engine.endpoint_configuration import EndpointConfiguration
from triortc.engine.relay.plane_choice import PlaneChoice
from triortc.engine.session.configuration import SessionConfiguration
from triortc.errors import ConfigurationError

__all__ = ["MediaConfiguration", "SlateMode"]

SlateMode: TypeAlias = Literal["off", "audio", "audio_video"]


@dataclass(frozen=True, slots=True)
class MediaConfiguration:
    """The numbers and choices of legs.

    Attributes:
        endpoint: where media is received.
        session: the numbers of every leg.
        plane: what forwards packets: "accelerated" by a thread of its own in C, which raises where that cannot run;
            "python" in trio's loop; "auto" by the former where it can run, else by the latter.
        codecs: what legs may negotiate, by kind, the most preferred first.
        slate: what a visitor sees and hears while the gate to it is closed.
        slate_look: text, size and rhythm of the slate.
        recording: where recordings go, and their limits; whether calls are recorded is call control's to say.
        quality: how often the way to a device is judged, and when it is told.
        max_transcodings: streams at one time that are decoded and encoded again, because two legs share no codec; a leg
            that would need more is refused, 0 refuses all. One of pictures takes a good part of a core.
        transcoded_video: bitrates and speed of transcoded pictures.
        thumbnail_bps: what a device is sent at most, in all, while it shows the other side as a thumbnail.
        max_early_candidates: candidates of a client kept before its offer has come.
        max_legs: legs at one time; more are refused.

    Raises:
        ConfigurationError: a codec is of another kind, or has no payload format here.
    """

    endpoint: EndpointConfiguration = field(default_factory=EndpointConfiguration)
    session: SessionConfiguration = field(default_factory=SessionConfiguration)
    plane: PlaneChoice = "python"
    codecs: Mapping[MediaKind, tuple[Codec, ...]] = field(default_factory=lambda: DEFAULT_CODECS)
    slate: SlateMode = "audio_video"
    slate_look: SlateConfiguration = field(default_factory=SlateConfiguration)
    recording: RecordingConfiguration = field(default_factory=RecordingConfiguration)
    quality: QualityConfiguration = field(default_factory=QualityConfiguration)
    max_transcodings: int = 8
    transcoded_video: VideoEncoderConfiguration = field(default_factory=VideoEncoderConfiguration)
    thumbnail_bps: int = 250_000
    max_early_candidates: int = 50
    max_legs: int = 4000

    def __post_init__(self) -> None:
        require_kinds(self)
        if not isinstance(self.endpoint, EndpointConfiguration):
            given = type(self.endpoint).__name__
            raise ConfigurationError(f"MediaConfiguration.endpoint is an EndpointConfiguration, not {given}")
        for kind, codecs in self.codecs.items():
            for codec in codecs:
                depacketizer_for(codec.name)  # raises, in words, for one that has no payload format here
                if codec.kind != kind:
                    raise ConfigurationError(f"MediaConfiguration.codecs: {codec.name} is no codec for {kind}")

    def with_wall_clock_offset(self, offset_s: float) -> MediaConfiguration:
        """What legs are made with: Unix time is `now` plus `offset_s`; peers on loopback are taken if we are there."""
        session = replace(self.session, wall_clock_offset_s=offset_s)
        return replace(self, session=session.with_loopback() if self.endpoint.on_loopback else session)
