"""Writing our descriptions: from decisions to lines, in the order of RFC 9429 section 5.2.1."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from triortc.codecs.registry import RTX_NAME, Codec, format_fmtp
from triortc.engine.sdp.attributes import ExtensionMap, is_rtp
from triortc.engine.sdp.candidate import format_candidate
from triortc.engine.sdp.fingerprint import format_fingerprint
from triortc.engine.sdp.grammar import Line, MediaDescription, SessionDescription
from triortc.engine.sdp.local import LocalMedia, LocalTransport
from triortc.engine.sdp.negotiated import Direction
from triortc.errors import ConfigurationError

__all__ = ["DISCARD", "DefaultAddress", "Payload", "SectionPlan", "default_address", "refuse", "write", "write_section"]

_MAX_SESSION_NUMBER: Final = 2**63 - 1


class DefaultAddress(NamedTuple):
    """Where media goes by default (RFC 8839 section 4.2.1.2)."""

    type: str
    address: str
    port: int


#: What stands for "no address yet" (RFC 8840 section 4.1.1).
DISCARD: Final = DefaultAddress("IP4", "0.0.0.0", 9)


class Payload(NamedTuple):
    """A codec with its numbers, and the feedback that is declared for it."""

    codec: Codec
    payload_type: int
    rtx_payload_type: int | None
    feedback: Sequence[str]


@dataclass(frozen=True, slots=True)
class SectionPlan:
    """All that a section of ours says, but for the transport."""

    local: LocalMedia
    mid: str
    protocol: str
    direction: Direction
    payloads: Sequence[Payload]
    extensions: Sequence[ExtensionMap]
    reduced_size: bool
    mux_only: bool = False


def default_address(transport: LocalTransport) -> DefaultAddress:
    """Return the first UDP candidate of component 1 that has an IP address, or :data:`DISCARD`."""
    for candidate in transport.candidates:
        if candidate.transport != "udp" or candidate.component != 1:
            continue
        try:
            version = ipaddress.ip_address(candidate.address).version
        except ValueError:
            continue
        return DefaultAddress(f"IP{version}", candidate.address, candidate.port)
    return DISCARD


def write(
    session_id: int,
    session_version: int,
    transport: LocalTransport,
    sections: Sequence[MediaDescription],
    *,
    bundle: Sequence[str],
    mixed_extensions: bool,
) -> SessionDescription:
    """Put a description together.

    Raises:
        ConfigurationError: the session id or version does not fit in 63 bits (RFC 9429 section 5.2.1).
    """
    if not (0 <= session_id <= _MAX_SESSION_NUMBER and 0 <= session_version <= _MAX_SESSION_NUMBER):
        raise ConfigurationError("session_id and session_version must be between 0 and 2**63 - 1")
    lines = [
        Line("v", "0"),
        Line("o", f"- {session_id} {session_version} IN IP4 127.0.0.1"),
        Line("s", "-"),
        Line("t", "0 0"),
    ]
    if bundle:
        lines.append(_attribute("group", "BUNDLE " + " ".join(bundle)))
    if transport.ice_options:
        lines.append(_attribute("ice-options", " ".join(transport.ice_options)))
    if transport.ice_lite:
        lines.append(_attribute("ice-lite"))
    if mixed_extensions:
        lines.append(_attribute("extmap-allow-mixed"))
    return SessionDescription(tuple(lines), tuple(sections))


def refuse(
    section: MediaDescription, transport: LocalTransport | None = None, setup: str = "actpass"
) -> MediaDescription:
    """Return a disabled section (RFC 3264 section 6) in the place of one, with its kind, formats and mid.

    Args:
        section: the one that is refused, or ours that is not wanted any more.
        transport: whose credentials it repeats, as browsers do, with what its formats are: who reads a refused section
            needs neither, but aiortc reads no answer that leaves them out. ``None``: it has none.
        setup: value of ``a=setup`` beside them.
    """
    kind, protocol, formats, mid = section.kind, section.media.protocol, section.media.formats, section.mid
    lines = [Line("m", f"{kind} 0 {protocol} {' '.join(formats)}"), Line("c", "IN IP4 0.0.0.0")]
    if mid:
        lines.append(_attribute("mid", mid))
    lines.append(_attribute("inactive"))
    if transport is not None:
        if is_rtp(protocol):
            lines += [_attribute("rtpmap", value) for value in section.values("rtpmap")]
        lines += _transport_lines(transport, setup, tagged=False)
        if is_rtp(protocol):
            lines.append(_attribute("rtcp-mux"))
    return MediaDescription(tuple(lines))


def write_section(
    plan: SectionPlan, transport: LocalTransport, setup: str, address: DefaultAddress, *, tagged: bool
) -> MediaDescription:
    """Write a section.

    Args:
        plan: what it says.
        transport: its credentials are in every section, for peers that look for them there; its candidates are in the
            tagged one alone (RFC 9143 section 7.1.3).
        setup: value of ``a=setup``.
        address: of the ``m=`` and ``c=`` lines.
        tagged: whether this section carries the transport.
    """
    numbers: list[int] = []
    for payload in plan.payloads:
        numbers.append(payload.payload_type)
        if payload.rtx_payload_type is not None:
            numbers.append(payload.rtx_payload_type)
    formats = " ".join(map(str, numbers))
    lines = [
        Line("m", f"{plan.local.kind} {address.port} {plan.protocol} {formats}"),
        Line("c", f"IN {address.type} {address.address}"),
    ]
    if plan.local.max_bitrate_bps is not None:
        lines.append(Line("b", f"TIAS:{plan.local.max_bitrate_bps}"))
    if plan.mid:
        lines.append(_attribute("mid", plan.mid))
    lines.append(_attribute(plan.direction))
    lines += _payload_lines(plan.payloads)
    lines += [_attribute("extmap", _format_extmap(entry)) for entry in plan.extensions]
    lines += _transport_lines(transport, setup, tagged=tagged)
    lines.append(_attribute("rtcp-mux"))
    if plan.mux_only:
        lines.append(_attribute("rtcp-mux-only"))
    if plan.reduced_size:
        lines.append(_attribute("rtcp-rsize"))
    if plan.direction in ("sendrecv", "sendonly"):
        lines += _source_lines(plan)
    return MediaDescription(tuple(lines))


def _attribute(name: str, value: str | None = None) -> Line:
    return Line("a", name if value is None else f"{name}:{value}")


def _payload_lines(payloads: Sequence[Payload]) -> list[Line]:
    lines: list[Line] = []
    for codec, number, companion, feedback in payloads:
        lines.append(_attribute("rtpmap", f"{number} {codec.encoding}"))
        if codec.parameters:
            lines.append(_attribute("fmtp", f"{number} {format_fmtp(codec.parameters)}"))
        lines += [_attribute("rtcp-fb", f"{number} {value}") for value in feedback]
        if companion is not None:
            lines.append(_attribute("rtpmap", f"{companion} {RTX_NAME}/{codec.clock_rate}"))
            lines.append(_attribute("fmtp", f"{companion} apt={number}"))
    return lines


def _format_extmap(entry: ExtensionMap) -> str:
    direction = "" if entry.direction == "sendrecv" else f"/{entry.direction}"
    attributes = f" {entry.attributes}" if entry.attributes else ""
    return f"{entry.id}{direction} {entry.uri}{attributes}"


def _transport_lines(transport: LocalTransport, setup: str, *, tagged: bool) -> list[Line]:
    lines = [_attribute("ice-ufrag", transport.ufrag), _attribute("ice-pwd", transport.password)]
    lines += [_attribute("fingerprint", format_fingerprint(item)) for item in transport.fingerprints]
    lines.append(_attribute("setup", setup))
    if tagged:
        lines += [Line("a", format_candidate(candidate)) for candidate in transport.candidates]
        if transport.end_of_candidates:
            lines.append(_attribute("end-of-candidates"))
    return lines


def _source_lines(plan: SectionPlan) -> list[Line]:
    """Stream and sources (RFC 8830, RFC 5576); the source of retransmissions only where there are any."""
    local = plan.local
    lines = [_attribute("msid", f"{local.stream_id} {local.track_id}".rstrip(" "))]
    if local.ssrc is None or not local.cname:
        return lines
    sources = [local.ssrc]
    if local.rtx_ssrc is not None and any(payload.rtx_payload_type is not None for payload in plan.payloads):
        sources.append(local.rtx_ssrc)
        lines.append(_attribute("ssrc-group", f"FID {local.ssrc} {local.rtx_ssrc}"))
    lines += [_attribute("ssrc", f"{ssrc} cname:{local.cname}") for ssrc in sources]
    return lines
