"""What the media side tells call control about a leg."""

from __future__ import annotations

from typing import Literal, TypeAlias

from triortc.engine.calls.commands import IceCandidate
from triortc.engine.calls.value import value

__all__ = [
    "ControlEvent",
    "LegFailed",
    "LegLost",
    "LegQuality",
    "LegReady",
    "LegRecovered",
    "LegUp",
    "LocalCandidates",
    "MediaCrashed",
    "MediaEvent",
    "MediaLost",
    "OfferAnswered",
    "OfferRefused",
    "RecordingStopped",
]


@value(slots=True, frozen=True)
class LegUp:
    """ICE and DTLS are up for the first time."""

    leg: str


@value(slots=True, frozen=True)
class LegReady:
    """The first packet of every unmuted kind has arrived; of video, a whole keyframe. What a handoff waits for."""

    leg: str


@value(slots=True, frozen=True)
class LegLost:
    """Nothing authenticated has come for the detection time, or ICE consent is gone. The leg may come back."""

    leg: str


@value(slots=True, frozen=True)
class LegRecovered:
    """Authenticated packets come again."""

    leg: str


@value(slots=True, frozen=True)
class LegFailed:
    """The leg will not work as it is (DTLS refused, ICE failed); an offer from a new connection mends it."""

    leg: str
    reason: str


@value(slots=True, frozen=True)
class LegQuality:
    """How good the way to the leg's device is, when that has changed: see `triortc.engine.calls.quality.Quality`."""

    leg: str
    score: int
    rtt_ms: float
    loss: float
    kbps: float


@value(slots=True, frozen=True)
class LocalCandidates:
    """Candidates of the server's side of a leg, to be sent to its device."""

    leg: str
    neg: int
    ufrag: str
    candidates: tuple[IceCandidate, ...]
    end: bool


@value(slots=True, frozen=True)
class RecordingStopped:
    """A recording ended that nobody stopped: the disk is full, the limit is reached. The call goes on."""

    session: str
    recording: str
    reason: str


@value(slots=True, frozen=True)
class OfferAnswered:
    """The answer to an offer whose `MediaPort.answer` had none at once."""

    leg: str
    neg: int
    sdp: str


@value(slots=True, frozen=True)
class OfferRefused:
    """There is no answer to an offer whose `MediaPort.answer` had none at once.

    Attributes:
        leg, neg: which offer.
        why: `invalid` and `unsupported`: the offer's own fault. `failed`: ours; a further offer may be answered.
        message: in words.
    """

    leg: str
    neg: int
    why: Literal["invalid", "unsupported", "failed"]
    message: str


@value(slots=True, frozen=True)
class MediaLost:
    """The process that had a session's legs is gone, and they with it: they have to be opened again, and negotiated."""

    session: str
    reason: str


@value(slots=True, frozen=True)
class MediaCrashed:
    """The media side's code failed for a session: the session ends (V44)."""

    session: str
    reason: str


#: What the rules look at.
ControlEvent: TypeAlias = (
    LegUp | LegReady | LegLost | LegRecovered | LegFailed | LegQuality | LocalCandidates | RecordingStopped | MediaLost
)
#: All of it.
MediaEvent: TypeAlias = ControlEvent | OfferAnswered | OfferRefused | MediaCrashed
