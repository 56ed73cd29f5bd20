"""Payload formats and header extensions of a media section, and what an answer takes of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Final, Literal, TypeAlias

from triortc.codecs.registry import (
    RTX_NAME,
    Codec,
    MediaKind,
    answer_parameters,
    find_static,
    matches,
    parse_fmtp,
    retransmission_of,
    with_parameters,
)
from triortc.engine.sdp.attributes import ExtensionMap, RtpMap, parse_fmtp_line, parse_rtcp_fb, parse_rtpmap
from triortc.engine.sdp.grammar import MediaDescription, SessionDescription
from triortc.engine.sdp.local import LocalMedia
from triortc.engine.sdp.negotiated import NegotiatedCodec

__all__ = [
    "CodecPreference",
    "Formats",
    "agree",
    "choose_codecs",
    "choose_extensions",
    "name_formats",
    "opposite",
    "read_extensions",
    "read_formats",
]

CodecPreference: TypeAlias = Literal["local", "remote"]
_ONE_BYTE_IDS: Final = range(1, 15)
_TWO_BYTE_IDS: Final = range(1, 256)
_OPPOSITES: Final = {"sendonly": "recvonly", "recvonly": "sendonly"}
#: Format parameters that make two formats of one name different.
_TELLING: Final = ("packetization-mode", "profile-level-id", "profile-id", "profile")
_MAX_NAMED: Final = 12


@dataclass(frozen=True, slots=True)
class Formats:
    """The payload formats of a section.

    Attributes:
        codecs: payload type to codec, in the order of the media line; the codec's feedback is what the section says.
        retransmissions: payload type of a codec to that of its retransmissions.
    """

    codecs: Mapping[int, Codec]
    retransmissions: Mapping[int, int]


def read_formats(section: MediaDescription, kind: MediaKind) -> Formats:
    """Read the formats of a section; those without a known meaning are left out.

    Payload types 64 to 95 are left out too: with rtcp-mux they look like RTCP (RFC 5761 section 4).
    """
    values = section.values
    return _read_formats(
        kind, section.media.formats, tuple(values("rtpmap")), tuple(values("fmtp")), tuple(values("rtcp-fb"))
    )


@lru_cache(maxsize=64)
def _read_formats(
    kind: MediaKind,
    formats: tuple[str, ...],
    rtpmap_lines: tuple[str, ...],
    fmtp_lines: tuple[str, ...],
    feedback_lines: tuple[str, ...],
) -> Formats:
    """Each description is read twice, and all that come from one browser say the same of formats."""
    rtpmaps: dict[int, RtpMap] = {}
    for mapping in map(parse_rtpmap, rtpmap_lines):
        rtpmaps.setdefault(mapping.payload_type, mapping)
    parameters: dict[str, str] = {}
    for name, text in map(parse_fmtp_line, fmtp_lines):
        parameters.setdefault(name, text)
    for_all: list[str] = []
    feedback: dict[int, list[str]] = {}
    for entry in map(parse_rtcp_fb, feedback_lines):
        (for_all if entry.payload_type is None else feedback.setdefault(entry.payload_type, [])).append(entry.value)
    numbers = [number for number in dict.fromkeys(map(int, formats)) if not 64 <= number <= 95]
    values = {number: parse_fmtp(parameters[str(number)]) for number in numbers if str(number) in parameters}
    companions: dict[int, RtpMap] = {}
    for number in numbers:
        rtx = rtpmaps.get(number)
        if rtx is not None and rtx.name.lower() == RTX_NAME:
            original = retransmission_of(values.get(number, {}))
            if original is not None:
                companions.setdefault(original, rtx)
    codecs: dict[int, Codec] = {}
    retransmissions: dict[int, int] = {}
    for number in numbers:
        known = rtpmaps.get(number) or _static(number, kind)
        if known is None or known.name.lower() == RTX_NAME:
            continue
        companion = companions.get(number)
        if companion is not None and companion.clock_rate == known.clock_rate:
            retransmissions[number] = companion.payload_type
        codecs[number] = Codec(
            kind,
            known.name,
            known.clock_rate,
            known.channels,
            parameters=values.get(number, {}),
            feedback=tuple(dict.fromkeys([*feedback.get(number, ()), *for_all])),
            rtx=number in retransmissions,
            payload_type=number,
        )
    return Formats(codecs, retransmissions)


def _static(payload_type: int, kind: MediaKind) -> RtpMap | None:
    codec = find_static(payload_type)
    if codec is None or codec.kind != kind:
        return None
    return RtpMap(payload_type, codec.name, codec.clock_rate, codec.channels)


def choose_codecs(
    local: LocalMedia, offered: Formats, constraint: Sequence[Codec] | None, prefer: CodecPreference
) -> tuple[NegotiatedCodec, ...]:
    """Return what an answer takes of the offered codecs, the most preferred first; payload types are the offerer's.

    Args:
        local: what we want; each codec is taken once.
        offered: what the offer has.
        constraint: if given, nothing else may be taken; its order is the preference, and its format parameters are
            what the answer promises to receive.
        prefer: without a constraint, whose order counts.
    """
    wanted: Iterable[Codec] = local.preferred_codecs
    if constraint is not None:
        wanted = [
            with_parameters(own, item.parameters)
            for item in constraint
            for own in local.preferred_codecs
            if matches(own, item)
        ]
    chosen: dict[int, NegotiatedCodec] = {}
    for own in wanted:
        for payload_type, remote in offered.codecs.items():
            parameters = answer_parameters(own, remote)
            if parameters is None or payload_type in chosen:
                continue
            companion = offered.retransmissions.get(payload_type) if own.rtx and local.rtx else None
            chosen[payload_type] = NegotiatedCodec(
                codec=replace(own, parameters=dict(parameters), payload_type=payload_type, rtx=companion is not None),
                remote=remote,
                payload_type=payload_type,
                rtx_payload_type=companion,
                feedback=frozenset(own.feedback) & frozenset(remote.feedback),
            )
            break
    if constraint is None and prefer == "remote":
        return tuple(chosen[payload_type] for payload_type in offered.codecs if payload_type in chosen)
    return tuple(chosen.values())


def agree(offered: Formats, answered: Formats, *, local_offers: bool) -> tuple[NegotiatedCodec, ...]:
    """Return the codecs that offer and answer have in common, in the order of the answer (RFC 3264 section 6.1).

    A codec that the answer gives another payload type than the offer did does not count: we use one number both ways.
    """
    found: list[NegotiatedCodec] = []
    for payload_type, answer in answered.codecs.items():
        offer = offered.codecs.get(payload_type)
        if offer is None or not matches(offer, answer):
            continue
        companion = answered.retransmissions.get(payload_type)
        found.append(
            NegotiatedCodec(
                codec=offer if local_offers else answer,
                remote=answer if local_offers else offer,
                payload_type=payload_type,
                rtx_payload_type=companion if companion == offered.retransmissions.get(payload_type) else None,
                feedback=frozenset(offer.feedback) & frozenset(answer.feedback),
            )
        )
    return tuple(found)


def name_formats(codecs: Iterable[Codec], *, numbered: bool = False) -> str:
    """Return codecs in words for whoever asks why none is common, with what makes formats of one name different.

    Args:
        codecs: of a peer, whose words are kept short, or ours.
        numbered: whether their payload types matter as well.
    """
    names: dict[str, None] = {}
    for codec in codecs:
        telling = [
            f"{name}={codec.parameters[name][:8]!a}".replace("'", "")
            for name in _TELLING
            if codec.name.lower() in ("h264", "vp9", "av1") and name in codec.parameters
        ]
        number = f"{codec.payload_type} " if numbered else ""
        names[f"{number}{codec.name[:32]}" + (f" ({', '.join(telling)})" if telling else "")] = None
    shown = list(names)[:_MAX_NAMED]
    more = [f"{len(names) - _MAX_NAMED} more"] if len(names) > _MAX_NAMED else []
    return ", ".join(shown + more) or "nothing with a known meaning"


def read_extensions(description: SessionDescription, section: MediaDescription) -> dict[str, ExtensionMap]:
    """Return URI to mapping of the header extensions that can be used (RFC 8285).

    Ids over 14 need the two-byte form, for which the description must allow both forms (``extmap-allow-mixed``); those
    over 255 are to be renumbered by the answerer, which we do not. The first of two mappings of a URI or id counts.
    """
    mixed = description.has("extmap-allow-mixed") or section.has("extmap-allow-mixed")
    allowed = _TWO_BYTE_IDS if mixed else _ONE_BYTE_IDS
    found: dict[str, ExtensionMap] = {}
    taken: set[int] = set()
    for entry in (*section.extensions, *description.extensions):
        if entry.id in allowed and entry.id not in taken and entry.uri not in found:
            taken.add(entry.id)
            found[entry.uri] = entry
    return found


def choose_extensions(offered: Mapping[str, ExtensionMap], allowed: Iterable[str]) -> list[ExtensionMap]:
    """Return what an answer takes of the offered extensions: with the offerer's ids (RFC 8285 section 6)."""
    wanted = frozenset(allowed)
    return [entry._replace(direction=opposite(entry.direction)) for uri, entry in offered.items() if uri in wanted]


def opposite(direction: str) -> str:
    """Return the direction as the other side sees it."""
    return _OPPOSITES.get(direction, direction)
