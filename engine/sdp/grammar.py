"""Session descriptions as text: parsing that loses nothing, and typed access to what JSEP needs (RFC 8866, RFC 9429).

A description is a tuple of lines; everything else is read from them. Lines that we do not know keep their place.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final, NamedTuple, cast

from triortc.engine.sdp.attributes import (
    ATTRIBUTE_PARSERS,
    DIRECTIONS,
    ExtensionMap,
    Group,
    MediaLine,
    Origin,
    RtcpFeedback,
    RtpMap,
    SsrcAttribute,
    SsrcGroup,
    StreamTrack,
    parse_bandwidth,
    parse_extmap,
    parse_fmtp_line,
    parse_group,
    parse_media_line,
    parse_msid,
    parse_origin,
    parse_rtcp_fb,
    parse_rtpmap,
    parse_ssrc,
    parse_ssrc_group,
)
from triortc.engine.sdp.candidate import Candidate, parse_candidate
from triortc.engine.sdp.configuration import SdpConfiguration
from triortc.engine.sdp.fingerprint import Fingerprint, parse_fingerprint
from triortc.engine.sdp.negotiated import Direction
from triortc.engine.sdp.remembering import remembered
from triortc.errors import SdpError

__all__ = ["Line", "MediaDescription", "SessionDescription", "parse"]

_NAME: Final = re.compile(r"[!#$%&'*+\-.0-9A-Z^_`a-z{|}~]+", re.ASCII)
_DEFAULT: Final = SdpConfiguration()


class Line(NamedTuple):
    """One line, ``type=value``."""

    type: str
    value: str

    def __str__(self) -> str:
        return f"{self.type}={self.value}"


@dataclass(frozen=True, slots=True)
class _Section:
    """The lines of one level, and the attributes among them."""

    lines: tuple[Line, ...]
    _values: dict[str, list[str]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        index: dict[str, list[str]] = {}
        for kind, text in self.lines:
            if kind == "a":
                name, _, value = text.partition(":")
                index.setdefault(name, []).append(value)
        object.__setattr__(self, "_values", index)

    def values(self, name: str) -> Sequence[str]:
        """Return the value of each attribute of this name, in order; flags have an empty value."""
        return self._values.get(name, ())

    def value(self, name: str) -> str | None:
        """Return the value of the first attribute of this name (empty for a flag), or ``None``."""
        values = self._values.get(name)
        return values[0] if values else None

    def has(self, name: str) -> bool:
        """Whether there is an attribute of this name."""
        return name in self._values

    @property
    def direction(self) -> Direction | None:
        """The direction attribute of this level, or ``None``; the last one counts."""
        present: list[str] = [name for name in DIRECTIONS if name in self._values]
        if len(present) > 1:
            present = [text for kind, text in self.lines if kind == "a" and text in DIRECTIONS]
        return cast(Direction, present[-1]) if present else None

    @property
    def fingerprints(self) -> tuple[Fingerprint, ...]:
        """All fingerprints of this level (RFC 8122)."""
        return tuple(parse_fingerprint(value) for value in self.values("fingerprint"))

    @property
    def extensions(self) -> tuple[ExtensionMap, ...]:
        """``a=extmap`` lines of this level."""
        return tuple(parse_extmap(value) for value in self.values("extmap"))

    @property
    def bandwidths(self) -> dict[str, int]:
        """Bandwidth type to number; the unit depends on the type (``TIAS``: bit/s, ``AS``: kbit/s)."""
        return dict(parse_bandwidth(text) for kind, text in self.lines if kind == "b")

    @property
    def ice_options(self) -> frozenset[str]:
        """The ICE options of this level (RFC 8839 section 5.6)."""
        return frozenset(option for value in self.values("ice-options") for option in value.split())


@dataclass(frozen=True, slots=True)
class MediaDescription(_Section):
    """A media section; its first line is the ``m=`` line.

    Attributes:
        lines: all lines.
        media: the ``m=`` line, parsed.
        mid: identification of the section (RFC 5888), empty if it has none.
    """

    media: MediaLine = field(init=False, repr=False, compare=False)
    mid: str = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        _Section.__post_init__(self)  # super() does not work in a dataclass with slots
        object.__setattr__(self, "media", parse_media_line(self.lines[0].value))
        object.__setattr__(self, "mid", self.value("mid") or "")

    @property
    def kind(self) -> str:
        """Media type, as ``"audio"``."""
        return self.media.kind

    @property
    def refused(self) -> bool:
        """Whether the section is disabled: port 0, unless that says ``bundle-only`` (RFC 3264, RFC 9143 section 6)."""
        return self.media.port == 0 and not self.has("bundle-only")

    @property
    def rtpmaps(self) -> dict[int, RtpMap]:
        """Payload type to format; the first line for a payload type counts."""
        found: dict[int, RtpMap] = {}
        for value in self.values("rtpmap"):
            entry = parse_rtpmap(value)
            found.setdefault(entry.payload_type, entry)
        return found

    @property
    def fmtp(self) -> dict[str, str]:
        """Format to its parameters, not split; the first line for a format counts."""
        found: dict[str, str] = {}
        for value in self.values("fmtp"):
            entry = parse_fmtp_line(value)
            found.setdefault(entry.format, entry.parameters)
        return found

    @property
    def feedback(self) -> tuple[RtcpFeedback, ...]:
        """``a=rtcp-fb`` lines."""
        return tuple(parse_rtcp_fb(value) for value in self.values("rtcp-fb"))

    @property
    def ssrcs(self) -> tuple[SsrcAttribute, ...]:
        """``a=ssrc`` lines."""
        return tuple(parse_ssrc(value) for value in self.values("ssrc"))

    @property
    def ssrc_groups(self) -> tuple[SsrcGroup, ...]:
        """``a=ssrc-group`` lines."""
        return tuple(parse_ssrc_group(value) for value in self.values("ssrc-group"))

    @property
    def msid(self) -> StreamTrack | None:
        """The first ``a=msid``, or ``None``."""
        value = self.value("msid")
        return None if value is None else parse_msid(value)

    def candidates(self, limit: int) -> tuple[tuple[Candidate, ...], int]:
        """Return the candidates, and how many lines were skipped because they are malformed or beyond ``limit``."""
        found: list[Candidate] = []
        skipped = 0
        for value in self.values("candidate"):
            if len(found) == limit:
                skipped += 1
                continue
            try:
                found.append(parse_candidate(f"candidate:{value}"))
            except SdpError:
                skipped += 1
        return tuple(found), skipped


@dataclass(frozen=True, slots=True)
class SessionDescription(_Section):
    """A session description; ``str()`` gives the text.

    Attributes:
        lines: those of the session level.
        media: the media sections.
    """

    media: tuple[MediaDescription, ...]

    def __str__(self) -> str:
        sections: tuple[_Section, ...] = (self, *self.media)
        return "".join(f"{line}\r\n" for section in sections for line in section.lines)

    @property
    def origin(self) -> Origin:
        """The ``o=`` line."""
        return parse_origin(next(line.value for line in self.lines if line.type == "o"))

    @property
    def groups(self) -> tuple[Group, ...]:
        """``a=group`` lines."""
        return tuple(parse_group(value) for value in self.values("group"))

    def bundle_of(self, mid: str) -> tuple[str, ...]:
        """Return the mids of the BUNDLE group that ``mid`` is in, the tagged one first; empty if there is none."""
        for group in self.groups:
            if group.semantics == "BUNDLE" and mid and mid in group.mids:
                return group.mids
        return ()

    def section(self, mid: str) -> MediaDescription | None:
        """Return the section with this mid, or ``None``."""
        return next((section for section in self.media if section.mid == mid), None)

    def inherited(self, section: MediaDescription, name: str) -> str | None:
        """Return an attribute of the section, else of the session level, else ``None``."""
        value = section.value(name)
        return self.value(name) if value is None else value

    def direction_of(self, section: MediaDescription) -> Direction:
        """Return the direction of a section, with the session's and the general default (RFC 8866 section 6.7)."""
        return section.direction or self.direction or "sendrecv"

    def fingerprints_of(self, section: MediaDescription) -> tuple[Fingerprint, ...]:
        """Return the fingerprints of a section, else of the session level (RFC 8122 section 5)."""
        return section.fingerprints or self.fingerprints


def parse(text: str, configuration: SdpConfiguration = _DEFAULT) -> SessionDescription:
    """Parse a session description.

    Args:
        text: lines that end with CRLF or LF.
        configuration: limits.

    Returns:
        The description; ``str()`` of it is ``text`` with CRLF line endings.

    Raises:
        SdpError: a limit is exceeded or the text breaks the grammar; the message begins with the number of the line.
    """
    lines = _split(text, configuration)
    starts = [index for index, line in enumerate(lines) if line.type == "m"]
    if len(starts) > configuration.max_sections:
        raise SdpError(f"line {starts[configuration.max_sections] + 1}: there are too many media sections")
    _check_session(lines[: starts[0]] if starts else lines)
    for number, line in enumerate(lines, 1):
        _check_line(number, line)
    media = tuple(MediaDescription(tuple(lines[start:end])) for start, end in pairwise([*starts, len(lines)]))
    description = SessionDescription(tuple(lines[: starts[0]] if starts else lines), media)
    _check_mids(description, starts)
    return description


def _split(text: str, configuration: SdpConfiguration) -> list[Line]:
    if len(text) > configuration.max_bytes:
        raise SdpError(f"the description is longer than {configuration.max_bytes} bytes")
    try:
        size = len(text.encode())
    except UnicodeEncodeError as error:
        raise SdpError("the description is not valid Unicode") from error
    if size > configuration.max_bytes:
        raise SdpError(f"the description is longer than {configuration.max_bytes} bytes")
    raw = text.rstrip("\r\n").split("\n")
    if len(raw) > configuration.max_lines:
        raise SdpError(f"line {configuration.max_lines + 1}: there are too many lines")
    lines: list[Line] = []
    for number, item in enumerate(raw, 1):
        content = item.removesuffix("\r")
        try:
            lines.append(_read_line(content))
        except SdpError as error:
            raise SdpError(f"line {number}: {error}") from error
    return lines


@remembered
def _read_line(content: str) -> Line:
    if "\r" in content or "\0" in content:
        raise SdpError("a control character is not allowed here")
    if len(content) < 2 or content[1] != "=" or not (content[0].isascii() and content[0].isalpha()):
        raise SdpError("this is not a letter, an equals sign and a value")
    return Line(content[0], content[2:])


def _check_session(lines: list[Line]) -> None:
    """The lines that every description has, in their order (RFC 9429 section 5.8.1)."""
    for number, (kind, name) in enumerate((("v", "version"), ("o", "origin"), ("s", "name")), 1):
        if len(lines) < number or lines[number - 1].type != kind:
            raise SdpError(f"line {number}: the {name} of the session is missing")
        if sum(line.type == kind for line in lines) > 1:
            raise SdpError(f"line {number}: the {name} of the session occurs more than once")
    if lines[0].value != "0":
        raise SdpError("line 1: the version is not 0")
    if all(line.type != "t" for line in lines):
        raise SdpError(f"line {len(lines)}: the time of the session is missing")


def _check_line(number: int, line: Line) -> None:
    try:
        match line.type:
            case "a":
                _check_attribute(line.value)
            case "m":
                parse_media_line(line.value)
            case "o":
                parse_origin(line.value)
            case "b":
                parse_bandwidth(line.value)
            case "c":
                if len(line.value.split()) != 3:
                    raise SdpError("the connection line has not three fields")
    except SdpError as error:
        raise SdpError(f"line {number}: {error}") from error


@remembered
def _check_attribute(text: str) -> None:
    name, _, value = text.partition(":")
    check = ATTRIBUTE_PARSERS.get(name)
    if check is not None:
        check(value)
    elif not _NAME.fullmatch(name):
        raise SdpError("the attribute has no proper name")


def _check_mids(description: SessionDescription, starts: list[int]) -> None:
    """Mids are unique (RFC 5888 section 4), and BUNDLE groups name those that exist, each once (RFC 9143 section 7)."""
    mids: set[str] = set()
    for section, start in zip(description.media, starts, strict=True):
        if section.mid and section.mid in mids:
            raise SdpError(f"line {start + 1}: the mid of this section is taken")
        mids.add(section.mid)
    bundled: set[str] = set()
    for number, line in enumerate(description.lines, 1):
        if line.type != "a" or not line.value.startswith("group:"):
            continue
        group = parse_group(line.value.removeprefix("group:"))
        for mid in group.mids if group.semantics == "BUNDLE" else ():
            if mid not in mids:
                raise SdpError(f"line {number}: the group names a mid that no section has")
            if mid in bundled:
                raise SdpError(f"line {number}: a mid is in a BUNDLE group twice")
            bundled.add(mid)
