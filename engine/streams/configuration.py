"""The numbers of reports, loss repair and feedback. Every one has a default that suits a video call."""

from __future__ import annotations

from dataclasses import dataclass, fields

from triortc.configuration_kinds import require_kinds
from triortc.errors import ConfigurationError

__all__ = [
    "FeedbackConfiguration",
    "KeyframeConfiguration",
    "NackConfiguration",
    "ReportConfiguration",
    "RetransmissionConfiguration",
]


class _Positive:
    """Refuses configuration values of zero or less, which would mean a busy loop or a feature that never works."""

    __slots__ = ()

    def __post_init__(self) -> None:
        require_kinds(self)
        for field in fields(self):  # type: ignore[arg-type]  # only dataclasses below derive from this
            value = getattr(self, field.name)
            if value <= 0:
                raise ConfigurationError(f"{field.name} is {value}; give a number above zero")


@dataclass(slots=True, frozen=True, kw_only=True)
class ReportConfiguration(_Positive):
    """How often sender and receiver reports go out (RFC 3550 6.2, with the reduced minimum of RFC 4585 3.4)."""

    audio_interval_ms: int = 5000
    video_interval_ms: int = 1000
    grid_ms: int = 50
    """Reports wait for the next multiple of this, so that one wake-up sends those of many sessions."""


@dataclass(slots=True, frozen=True, kw_only=True)
class NackConfiguration(_Positive):
    """When missing packets are asked for, how often, and when they are given up."""

    reorder_tolerance_packets: int = 2
    """A missing packet is asked for once the newest one is this far ahead of it ..."""
    reorder_wait_ms: int = 10
    """... or after this time, whichever comes first."""
    minimum_interval_ms: int = 20
    """The least time between two requests for one packet; a longer round trip counts instead."""
    interval_per_rtt: float = 1.1
    backoff: float = 1.15
    """Each further wait for the same packet is this much longer."""
    maximum_requests: int = 10
    maximum_age_ms: int = 1000
    maximum_missing_packets: int = 500
    """A wider gap is given up at once: only a keyframe helps."""


@dataclass(slots=True, frozen=True, kw_only=True)
class RetransmissionConfiguration(_Positive):
    """What is kept of sent packets and how fast it may be sent again."""

    maximum_packets: int = 1024
    """Rounded up to a power of two, 32768 at most."""
    maximum_age_ms: int = 1200
    maximum_bytes: int = 2 << 20
    """Memory for one stream's packets: with `maximum_age_ms`, 14 Mbit/s."""
    minimum_resend_interval_ms: int = 10
    """The least time between two copies of one packet; a longer round trip counts instead."""
    maximum_bps: int = 1_000_000
    maximum_burst_bytes: int = 64_000


@dataclass(slots=True, frozen=True, kw_only=True)
class KeyframeConfiguration(_Positive):
    """How often a source is asked for a keyframe."""

    minimum_interval_ms: int = 250
    """The least time between two requests; also how long one waits for the keyframe before it is repeated."""
    maximum_interval_ms: int = 2000
    backoff: float = 1.5
    """Each repetition for the same keyframe waits this much longer."""


@dataclass(slots=True, frozen=True, kw_only=True)
class FeedbackConfiguration(_Positive):
    """How often transport-wide feedback goes out, and how much it holds."""

    interval_ms: int = 100
    grid_ms: int = 10
    """Feedback waits for the next multiple of this, so that one wake-up sends that of many sessions."""
    settle_grid_ms: int = 50
    """The same for flows that run beside the interpreter: what they have counted is fetched at a multiple of this."""
    maximum_packets: int = 256
    """A feedback packet goes out early when this many arrivals wait."""
    maximum_gap_packets: int = 1000
    """A jump wider than this is a restart and is not reported as loss."""
