"""The values of SDP attributes and lines: one parser for each, which raises :class:`SdpError` with a sentence."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from triortc.engine.sdp.fingerprint import parse_fingerprint
from triortc.engine.sdp.remembering import remembered
from triortc.errors import SdpError

__all__ = [
    "ATTRIBUTE_PARSERS",
    "DIRECTIONS",
    "ExtensionMap",
    "FormatParameters",
    "Group",
    "MediaLine",
    "Origin",
    "RtcpFeedback",
    "RtpMap",
    "SsrcAttribute",
    "SsrcGroup",
    "StreamTrack",
    "check_mid",
    "is_rtp",
    "parse_bandwidth",
    "parse_extmap",
    "parse_fmtp_line",
    "parse_group",
    "parse_media_line",
    "parse_msid",
    "parse_origin",
    "parse_rtcp_fb",
    "parse_rtpmap",
    "parse_setup",
    "parse_ssrc",
    "parse_ssrc_group",
]

#: Direction attributes (RFC 8866 section 6.7); the default is ``sendrecv``.
DIRECTIONS: Final = ("sendrecv", "sendonly", "recvonly", "inactive")
_SETUPS: Final = frozenset({"active", "passive", "actpass", "holdconn"})  # RFC 4145 section 4
_TOKEN: Final = re.compile(r"[!#$%&'*+\-.0-9A-Z^_`a-z{|}~]+", re.ASCII)
_ICE_CHARS: Final = re.compile(r"[A-Za-z0-9+/]+", re.ASCII)
_DIGITS: Final = re.compile(r"[0-9]{1,20}", re.ASCII)
_MAX_SSRC: Final = 2**32 - 1
_MAX_PAYLOAD_TYPE: Final = 127
_MAX_BANDWIDTH: Final = 10**12


class Origin(NamedTuple):
    """The ``o=`` line (RFC 8866 section 5.2)."""

    username: str
    session_id: int
    session_version: int
    network_type: str
    address_type: str
    address: str


class MediaLine(NamedTuple):
    """The ``m=`` line (RFC 8866 section 5.14)."""

    kind: str
    port: int
    port_count: int
    protocol: str
    formats: tuple[str, ...]


class RtpMap(NamedTuple):
    """``a=rtpmap`` (RFC 8866 section 6.6)."""

    payload_type: int
    name: str
    clock_rate: int
    channels: int


class FormatParameters(NamedTuple):
    """``a=fmtp`` (RFC 8866 section 6.15); the parameters are not split."""

    format: str
    parameters: str


class RtcpFeedback(NamedTuple):
    """``a=rtcp-fb`` (RFC 4585 section 4.2); payload type ``None`` is ``*``, all formats of the section."""

    payload_type: int | None
    value: str


class ExtensionMap(NamedTuple):
    """``a=extmap`` (RFC 8285 section 8)."""

    id: int
    uri: str
    direction: str
    attributes: str


class SsrcAttribute(NamedTuple):
    """``a=ssrc`` (RFC 5576 section 4.1)."""

    ssrc: int
    name: str
    value: str


class SsrcGroup(NamedTuple):
    """``a=ssrc-group`` (RFC 5576 section 4.2)."""

    semantics: str
    ssrcs: tuple[int, ...]


class Group(NamedTuple):
    """``a=group`` (RFC 5888 section 5)."""

    semantics: str
    mids: tuple[str, ...]


class StreamTrack(NamedTuple):
    """``a=msid`` (RFC 8830 section 2); the track is empty if only the stream is named."""

    stream_id: str
    track_id: str


def is_rtp(protocol: str) -> bool:
    """Whether the protocol of a media section is one of RTP, so that its formats are payload types."""
    return "RTP" in protocol.split("/")


def parse_origin(value: str) -> Origin:
    """Parse the value of ``o=``."""
    fields = value.split()
    if len(fields) != 6:
        raise SdpError("the origin has not six fields")
    username, session_id, session_version, network_type, address_type, address = fields
    return Origin(
        username,
        _number(session_id, "session id", 0, 10**20),
        _number(session_version, "session version", 0, 10**20),
        network_type,
        address_type,
        address,
    )


@remembered
def parse_media_line(value: str) -> MediaLine:
    """Parse the value of ``m=``; formats of RTP must be payload types."""
    fields = value.split()
    if len(fields) < 4:
        raise SdpError("a media line needs media, port, protocol and formats")
    kind, ports, protocol, *formats = fields
    _token(kind, "media type")
    port, slash, count = ports.partition("/")
    if not all(_TOKEN.fullmatch(part) for part in protocol.split("/")):
        raise SdpError("the media line has a malformed protocol")
    if is_rtp(protocol):
        for item in formats:
            _number(item, "payload type", 0, _MAX_PAYLOAD_TYPE)
    return MediaLine(
        kind,
        _number(port, "port", 0, 65535),
        _number(count, "number of ports", 1, 65535) if slash else 1,
        protocol,
        tuple(formats),
    )


def parse_bandwidth(value: str) -> tuple[str, int]:
    """Parse the value of ``b=`` (RFC 8866 section 5.8) into type and number; the unit depends on the type."""
    kind, colon, number = value.partition(":")
    if not colon:
        raise SdpError("a bandwidth line needs a type and a number")
    return _token(kind, "bandwidth type"), _number(number.strip(" "), "bandwidth", 0, _MAX_BANDWIDTH)


@remembered
def parse_rtpmap(value: str) -> RtpMap:
    """Parse the value of ``a=rtpmap``."""
    payload_type, _, encoding = value.partition(" ")
    parts = encoding.strip(" ").split("/")
    if len(parts) not in (2, 3):
        raise SdpError("rtpmap needs a name and a clock rate")
    return RtpMap(
        _number(payload_type, "payload type", 0, _MAX_PAYLOAD_TYPE),
        _token(parts[0], "encoding name"),
        _number(parts[1], "clock rate", 1, 2**31),
        _number(parts[2], "number of channels", 1, 255) if len(parts) == 3 else 1,
    )


@remembered
def parse_fmtp_line(value: str) -> FormatParameters:
    """Parse the value of ``a=fmtp`` into the format and the rest."""
    name, space, parameters = value.partition(" ")
    if not space:
        raise SdpError("fmtp needs a format and parameters")
    return FormatParameters(_token(name, "format"), parameters.strip(" "))


@remembered
def parse_rtcp_fb(value: str) -> RtcpFeedback:
    """Parse the value of ``a=rtcp-fb``; blanks within become single."""
    payload_type, _, feedback = value.partition(" ")
    feedback = " ".join(feedback.split())
    if not feedback:
        raise SdpError("rtcp-fb needs a payload type and a value")
    if payload_type == "*":
        return RtcpFeedback(None, feedback)
    return RtcpFeedback(_number(payload_type, "payload type", 0, _MAX_PAYLOAD_TYPE), feedback)


@remembered
def parse_extmap(value: str) -> ExtensionMap:
    """Parse the value of ``a=extmap``; ids are 1 to 255, and 4096 to 4351 in offers of more than fit (section 6)."""
    mapping, _, rest = value.partition(" ")
    number, slash, direction = mapping.partition("/")
    uri, _, attributes = rest.strip(" ").partition(" ")
    if not uri:
        raise SdpError("extmap needs an id and a URI")
    if slash and direction not in DIRECTIONS:
        raise SdpError("extmap has an unknown direction")
    identifier = _number(number, "extension id", 1, 4351)
    if 255 < identifier < 4096:
        raise SdpError("extmap has an id of the reserved range")
    return ExtensionMap(identifier, uri, direction or "sendrecv", attributes)


@remembered
def parse_ssrc(value: str) -> SsrcAttribute:
    """Parse the value of ``a=ssrc``."""
    ssrc, _, attribute = value.partition(" ")
    name, _, text = attribute.strip(" ").partition(":")
    return SsrcAttribute(_number(ssrc, "SSRC", 0, _MAX_SSRC), _token(name, "source attribute"), text)


def parse_ssrc_group(value: str) -> SsrcGroup:
    """Parse the value of ``a=ssrc-group``."""
    semantics, *ssrcs = value.split() or [""]
    return SsrcGroup(
        _token(semantics, "semantics"),
        tuple(_number(ssrc, "SSRC", 0, _MAX_SSRC) for ssrc in ssrcs),
    )


@remembered
def parse_group(value: str) -> Group:
    """Parse the value of ``a=group``."""
    semantics, *mids = value.split() or [""]
    return Group(_token(semantics, "semantics"), tuple(_token(mid, "mid") for mid in mids))


def parse_msid(value: str) -> StreamTrack:
    """Parse the value of ``a=msid``."""
    fields = value.split()
    if not 1 <= len(fields) <= 2:
        raise SdpError("msid needs a stream, and may have a track")
    return StreamTrack(fields[0], fields[1] if len(fields) == 2 else "")


def parse_setup(value: str) -> str:
    """Parse the value of ``a=setup`` (RFC 4145 section 4)."""
    if value not in _SETUPS:
        raise SdpError("setup is none of active, passive, actpass and holdconn")
    return value


def check_mid(value: str) -> str:
    """Return an identification tag as it is (RFC 5888 section 4).

    Raises:
        SdpError: it is not a token.
    """
    return _token(value, "mid")


def _parse_ufrag(value: str) -> str:
    return _ice(value, "ICE user fragment", 4)


def _parse_password(value: str) -> str:
    return _ice(value, "ICE password", 22)


def _parse_milliseconds(value: str) -> int:
    return int(_number(value.partition(".")[0], "duration", 0, 60_000))


#: What is checked while parsing. Attributes that are not here are kept as they are (RFC 8866 section 5.13); candidates
#: are not here because a bad one costs only itself.
ATTRIBUTE_PARSERS: Final[Mapping[str, Callable[[str], object]]] = {
    "extmap": parse_extmap,
    "fingerprint": parse_fingerprint,
    "fmtp": parse_fmtp_line,
    "group": parse_group,
    "ice-pwd": _parse_password,
    "ice-ufrag": _parse_ufrag,
    "maxptime": _parse_milliseconds,
    "mid": check_mid,
    "msid": parse_msid,
    "ptime": _parse_milliseconds,
    "rtcp-fb": parse_rtcp_fb,
    "rtpmap": parse_rtpmap,
    "setup": parse_setup,
    "ssrc": parse_ssrc,
    "ssrc-group": parse_ssrc_group,
}


def _number(text: str, what: str, low: int, high: int) -> int:
    if not _DIGITS.fullmatch(text):
        raise SdpError(f"the {what} is not a number")
    number = int(text)
    if not low <= number <= high:
        raise SdpError(f"the {what} is not between {low} and {high}")
    return number


def _token(text: str, what: str) -> str:
    if not _TOKEN.fullmatch(text):
        raise SdpError(f"the {what} is malformed")
    return text


def _ice(text: str, what: str, shortest: int) -> str:
    """RFC 8839 sections 5.3 and 5.4."""
    if not shortest <= len(text) <= 256 or not _ICE_CHARS.fullmatch(text):
        raise SdpError(f"the {what} is malformed")
    return text
