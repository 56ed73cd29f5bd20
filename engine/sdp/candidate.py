"""ICE candidates and their ``a=candidate`` line (RFC 8839 section 5.1, RFC 6544 section 4.5)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from triortc.errors import SdpError

__all__ = ["Candidate", "format_candidate", "parse_candidate"]

_MAX_LINE_LENGTH: Final = 1024
_MAX_PRIORITY: Final = 2**31 - 1
_MAX_PORT: Final = 65535
_MAX_COMPONENT: Final = 256
_FOUNDATION: Final = re.compile(r"[A-Za-z0-9+/]{1,32}", re.ASCII)
_TOKEN: Final = re.compile(r"[!#$%&'*+\-.^_`{|}~A-Za-z0-9]{1,64}", re.ASCII)
_ADDRESS: Final = re.compile(r"[A-Za-z0-9.:%_\-]{1,255}", re.ASCII)
_DIGITS: Final = re.compile(r"[0-9]{1,10}", re.ASCII)
_VISIBLE: Final = re.compile(r"[\x21-\x7e]+", re.ASCII)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A transport address that a peer may be reached at.

    Attributes:
        foundation: 1 to 32 ice-chars; equal for candidates of one type, base, protocol and server (RFC 8445 5.1.1.3).
        component: 1 for RTP (and everything, with rtcp-mux), 2 for RTCP.
        transport: in lower case, ``"udp"`` or ``"tcp"``; an unknown one is kept, for the agent to ignore.
        priority: 1 to 2**31 - 1 (RFC 8445 section 5.1.2).
        address: an IP address, or a name (mDNS names hide addresses of browsers).
        port: 0 to 65535; 9 in active TCP candidates.
        kind: ``"host"``, ``"srflx"``, ``"prflx"`` or ``"relay"``; an unknown one is kept, for the agent to ignore.
        related_address: ``raddr``, the base of a reflexive candidate, or ``None``.
        related_port: ``rport``, or ``None``.
        tcp_type: ``"active"``, ``"passive"`` or ``"so"`` of a TCP candidate, or ``None``.
        extensions: further (name, value) pairs in the order of the line, such as ``("generation", "0")``.
    """

    foundation: str
    component: int
    transport: str
    priority: int
    address: str
    port: int
    kind: str
    related_address: str | None = None
    related_port: int | None = None
    tcp_type: str | None = None
    extensions: tuple[tuple[str, str], ...] = ()

    def extension(self, name: str) -> str | None:
        """Return the value of the first extension called ``name`` (``"ufrag"``, ``"generation"``), or ``None``."""
        for key, value in self.extensions:
            if key == name:
                return value
        return None


def parse_candidate(line: str) -> Candidate:
    """Parse a candidate line.

    Args:
        line: ``candidate:…`` as in trickled candidates, or ``a=candidate:…`` as in a session description.

    Raises:
        SdpError: the line breaks the grammar of RFC 8839 section 5.1. An unknown transport or candidate type does not:
            both are extensible, and whoever uses the candidate ignores what it does not know.
    """
    if len(line) > _MAX_LINE_LENGTH:
        raise SdpError("candidate line is too long")
    text = line.strip(" \r\n").removeprefix("a=")
    if not text.startswith("candidate:"):
        raise SdpError("candidate line does not begin with 'candidate:'")
    fields = text.removeprefix("candidate:").split(" ")
    if len(fields) < 8 or len(fields) % 2:
        raise SdpError("candidate line has too few fields, or an extension without a value")
    foundation, component, transport, priority, address, port, typ, kind = fields[:8]
    _match(_FOUNDATION, foundation, "foundation")
    _match(_TOKEN, transport, "transport")
    _match(_ADDRESS, address, "address")
    _match(_TOKEN, kind, "type")
    if typ != "typ":
        raise SdpError("candidate line lacks 'typ'")
    related_address: str | None = None
    related_port: int | None = None
    tcp_type: str | None = None
    extensions: list[tuple[str, str]] = []
    for name, value in zip(fields[8::2], fields[9::2], strict=True):
        _match(_VISIBLE, name, "extension name")
        _match(_VISIBLE, value, "extension value")
        if name == "raddr":
            related_address = _match(_ADDRESS, value, "raddr")
        elif name == "rport":
            related_port = _integer(value, "rport", 0, _MAX_PORT)
        elif name == "tcptype":
            tcp_type = value
        else:
            extensions.append((name, value))
    return Candidate(
        foundation=foundation,
        component=_integer(component, "component", 1, _MAX_COMPONENT),
        transport=transport.lower(),
        priority=_integer(priority, "priority", 1, _MAX_PRIORITY),
        address=address,
        port=_integer(port, "port", 0, _MAX_PORT),
        kind=kind,
        related_address=related_address,
        related_port=related_port,
        tcp_type=tcp_type,
        extensions=tuple(extensions),
    )


def format_candidate(candidate: Candidate) -> str:
    """Return the ``candidate:…`` line, without ``a=``; :func:`parse_candidate` gives the same candidate back."""
    parts = [
        f"candidate:{candidate.foundation} {candidate.component} {candidate.transport} {candidate.priority}"
        f" {candidate.address} {candidate.port} typ {candidate.kind}"
    ]
    if candidate.related_address is not None:
        parts.append(f"raddr {candidate.related_address}")
    if candidate.related_port is not None:
        parts.append(f"rport {candidate.related_port}")
    if candidate.tcp_type is not None:
        parts.append(f"tcptype {candidate.tcp_type}")
    parts.extend(f"{name} {value}" for name, value in candidate.extensions)
    return " ".join(parts)


def _match(pattern: re.Pattern[str], text: str, what: str) -> str:
    if not pattern.fullmatch(text):
        raise SdpError(f"candidate line has a malformed {what}")
    return text


def _integer(text: str, what: str, low: int, high: int) -> int:
    if not _DIGITS.fullmatch(text):
        raise SdpError(f"candidate line has a {what} that is not a number")
    value = int(text)
    if not low <= value <= high:
        raise SdpError(f"candidate line has a {what} outside {low} to {high}")
    return value
