"""The codecs that the engine can negotiate, and when two format descriptions mean the same (``a=rtpmap``, ``a=fmtp``).

Preference is the order of :data:`AUDIO_CODECS` and :data:`VIDEO_CODECS`. G722, VP9 and AV1 are here so that
descriptions which have them are matched by their rules; :mod:`triortc.codecs.payload` cannot read their packets, so
connections, legs and sessions refuse to be configured with them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final, Literal, TypeAlias

from triortc.codecs.h264_profile import answer_profile_level_id, parse_profile_level_id

__all__ = [
    "AUDIO_CODECS",
    "AV1",
    "DEFAULT_CODECS",
    "G722",
    "H264",
    "OPUS",
    "PCMA",
    "PCMU",
    "RTX_NAME",
    "STATIC_PAYLOAD_TYPES",
    "VIDEO_CODECS",
    "VP8",
    "VP9",
    "Codec",
    "MediaKind",
    "answer_parameters",
    "find_static",
    "format_fmtp",
    "matches",
    "media_kind",
    "parse_fmtp",
    "retransmission_of",
    "with_parameters",
]

MediaKind: TypeAlias = Literal["audio", "video"]
_Parameters: TypeAlias = Mapping[str, str]

#: Name of the retransmission format (RFC 4588); it accompanies a codec and is never one by itself.
RTX_NAME: Final = "rtx"
_VIDEO_FEEDBACK: Final = ("goog-remb", "transport-cc", "ccm fir", "nack", "nack pli")
#: Senders in the field leave profile-level-id out and mean this. RFC 6184 section 8.1 would read Baseline level 1 then.
_H264_DEFAULT_PROFILE: Final = "42e01f"


@dataclass(frozen=True, slots=True)
class Codec:
    """A media format.

    Attributes:
        kind: ``"audio"`` or ``"video"``.
        name: encoding name as written in ``a=rtpmap``; compared without case.
        clock_rate: RTP clock in Hz.
        channels: 1 for video and mono.
        parameters: ``a=fmtp`` parameters, names in lower case: what the side that declares them wants to receive.
        feedback: RTCP feedback that we understand for it (RFC 4585), as ``"nack pli"``.
        rtx: whether it is offered with a retransmission companion (RFC 4588).
        payload_type: the static payload type (RFC 3551), or the dynamic one that our offers try first; ``None``: any.
    """

    kind: MediaKind
    name: str
    clock_rate: int
    channels: int = 1
    parameters: _Parameters = field(default_factory=dict, hash=False)
    feedback: tuple[str, ...] = ()
    rtx: bool = False
    payload_type: int | None = None

    @property
    def encoding(self) -> str:
        """The value of ``a=rtpmap`` behind the payload type, as ``"opus/48000/2"``."""
        text = f"{self.name}/{self.clock_rate}"
        return f"{text}/{self.channels}" if self.channels != 1 else text


OPUS: Final = Codec(
    "audio", "opus", 48000, 2, {"minptime": "10", "useinbandfec": "1"}, feedback=("transport-cc",), payload_type=111
)
PCMU: Final = Codec("audio", "PCMU", 8000, feedback=("transport-cc",), payload_type=0)
PCMA: Final = Codec("audio", "PCMA", 8000, feedback=("transport-cc",), payload_type=8)
#: The clock is 8000 Hz though it samples at 16000 (RFC 3551 section 4.5.2).
G722: Final = Codec("audio", "G722", 8000, feedback=("transport-cc",), payload_type=9)
VP8: Final = Codec("video", "VP8", 90000, feedback=_VIDEO_FEEDBACK, rtx=True, payload_type=96)
H264: Final = Codec(
    "video",
    "H264",
    90000,
    parameters={"level-asymmetry-allowed": "1", "packetization-mode": "1", "profile-level-id": "42e01f"},
    feedback=_VIDEO_FEEDBACK,
    rtx=True,
    payload_type=98,
)
VP9: Final = Codec(
    "video", "VP9", 90000, parameters={"profile-id": "0"}, feedback=_VIDEO_FEEDBACK, rtx=True, payload_type=100
)
AV1: Final = Codec(
    "video",
    "AV1",
    90000,
    parameters={"level-idx": "5", "profile": "0", "tier": "0"},
    feedback=_VIDEO_FEEDBACK,
    rtx=True,
    payload_type=102,
)

#: What is offered and answered unless the embedder says otherwise, the most preferred first.
AUDIO_CODECS: Final = (OPUS, PCMU, PCMA)
VIDEO_CODECS: Final = (VP8, H264)
DEFAULT_CODECS: Final[Mapping[MediaKind, tuple[Codec, ...]]] = {"audio": AUDIO_CODECS, "video": VIDEO_CODECS}

#: Formats that need no ``a=rtpmap`` (RFC 3551 section 6, those in use).
STATIC_PAYLOAD_TYPES: Final[Mapping[int, Codec]] = {0: PCMU, 8: PCMA, 9: G722}


def media_kind(text: str) -> MediaKind | None:
    """Return the kind of a media type, or ``None`` for what is neither audio nor video."""
    match text:
        case "audio":
            return "audio"
        case "video":
            return "video"
        case _:
            return None


def find_static(payload_type: int) -> Codec | None:
    """Return the codec that a payload type means without ``a=rtpmap`` (RFC 3551 section 6), or ``None``."""
    return STATIC_PAYLOAD_TYPES.get(payload_type)


def parse_fmtp(text: str) -> dict[str, str]:
    """Split format parameters ``name=value; name=value``.

    Names become lower case, a parameter without ``=`` has an empty value, and the first of two with one name counts.
    """
    parameters: dict[str, str] = {}
    for part in text.split(";"):
        name, _, value = part.partition("=")
        name = name.strip().lower()
        if name:
            parameters.setdefault(name, value.strip())
    return parameters


def format_fmtp(parameters: Mapping[str, str]) -> str:
    """Return the text of ``a=fmtp`` behind the payload type; :func:`parse_fmtp` gives the same mapping back."""
    return ";".join(f"{name}={value}" if value else name for name, value in parameters.items())


def retransmission_of(parameters: Mapping[str, str]) -> int | None:
    """Return the payload type that an RTX format retransmits (``apt``, RFC 4588 section 8.6), or ``None``."""
    value = parameters.get("apt", "")
    if value.isascii() and value.isdigit() and len(value) <= 3 and int(value) <= 127:
        return int(value)
    return None


def with_parameters(codec: Codec, parameters: Mapping[str, str]) -> Codec:
    """Return ``codec`` with other format parameters."""
    return replace(codec, parameters=dict(parameters))


def matches(local: Codec, remote: Codec) -> bool:
    """Whether two formats are the same, so that one may answer the other (RFC 3264 section 6.1)."""
    return answer_parameters(local, remote) is not None


def answer_parameters(local: Codec, remote: Codec) -> Mapping[str, str] | None:
    """Return the format parameters with which ``local`` answers an offered ``remote``; ``None`` if they differ.

    Names are compared without case (RFC 8866 section 6.6), clock rate and channels must be equal, and each codec has
    a rule for those format parameters that are part of the format.
    """
    if (
        local.kind != remote.kind
        or local.name.lower() != remote.name.lower()
        or local.clock_rate != remote.clock_rate
        or local.channels != remote.channels
    ):
        return None
    rule = _RULES.get(local.name.lower())
    return rule(local.parameters, remote.parameters) if rule else local.parameters


def _answer_h264(local: _Parameters, remote: _Parameters) -> _Parameters | None:
    """RFC 6184 section 8.2.2: packetization mode and profile are the format, the level is negotiated."""
    if local.get("packetization-mode", "0") != remote.get("packetization-mode", "0"):
        return None
    own = parse_profile_level_id(local.get("profile-level-id", _H264_DEFAULT_PROFILE))
    offered = parse_profile_level_id(remote.get("profile-level-id", _H264_DEFAULT_PROFILE))
    if own is None or offered is None or own.profile != offered.profile:
        return None
    asymmetry = "1" == local.get("level-asymmetry-allowed") == remote.get("level-asymmetry-allowed")
    answer = dict(local)
    answer["profile-level-id"] = answer_profile_level_id(offered, own, asymmetry=asymmetry)
    return answer


def _answer_vp9(local: _Parameters, remote: _Parameters) -> _Parameters | None:
    """RFC 9628 section 6: an absent profile-id is 0."""
    return local if local.get("profile-id", "0") == remote.get("profile-id", "0") else None


def _answer_av1(local: _Parameters, remote: _Parameters) -> _Parameters | None:
    """AV1 RTP payload specification section 7.2.3: the profile (absent: 0) is the format, level and tier are limits."""
    return local if local.get("profile", "0") == remote.get("profile", "0") else None


_RULES: Final[Mapping[str, Callable[[_Parameters, _Parameters], _Parameters | None]]] = {
    "h264": _answer_h264,
    "vp9": _answer_vp9,
    "av1": _answer_av1,
}
