"""Offer and answer for one audio and one video section on one transport (RFC 9429, RFC 3264, RFC 9143)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from triortc.engine.sdp.attributes import ExtensionMap
from triortc.engine.sdp.configuration import SdpConfiguration
from triortc.engine.sdp.description import (
    DISCARD,
    Payload,
    SectionPlan,
    default_address,
    refuse,
    write,
    write_section,
)
from triortc.engine.sdp.formats import (
    CodecPreference,
    Formats,
    choose_codecs,
    choose_extensions,
    name_formats,
    read_extensions,
    read_formats,
)
from triortc.engine.sdp.grammar import MediaDescription, SessionDescription
from triortc.engine.sdp.local import AnswerConstraints, LocalMedia, LocalTransport
from triortc.engine.sdp.negotiated import Negotiated, SdpUnsupportedError
from triortc.engine.sdp.numbering import Numbering
from triortc.engine.sdp.outcome import Exchange, conclude, narrow, resolve_setup, restarts_ice, transport_section
from triortc.errors import ConfigurationError

__all__ = ["apply_answer", "create_answer", "create_offer", "restarts_ice"]

_PROTOCOL: Final = "UDP/TLS/RTP/SAVPF"
#: Profiles that mean RTP over DTLS-SRTP; the answer repeats that of the offer (RFC 9429 sections 5.1.2 and 5.3.1).
_PROTOCOLS: Final = frozenset({_PROTOCOL, "UDP/TLS/RTP/SAVP", "TCP/DTLS/RTP/SAVPF", "TCP/TLS/RTP/SAVPF", "RTP/SAVPF"})
_DEFAULT: Final = SdpConfiguration()
_FREE: Final = AnswerConstraints()


@dataclass(slots=True)
class _Claims:
    """What the sections of an answer have taken; the bundle shares these numbers (RFC 9143 sections 9.1 and 10.2)."""

    kinds: set[str] = field(default_factory=set)
    #: The mids that share the transport of the section that was accepted first.
    bundle: Sequence[str] = ()
    payload_types: set[int] = field(default_factory=set)
    extensions: dict[int, str] = field(default_factory=dict)


def create_offer(
    transport: LocalTransport,
    media: Sequence[LocalMedia],
    session_id: int,
    session_version: int,
    *,
    previous_local: SessionDescription | None = None,
    previous_remote: SessionDescription | None = None,
) -> SessionDescription:
    """Describe what we would like (RFC 9429 section 5.2).

    Args:
        transport: ours; new credentials in it restart ICE.
        media: at most one of each kind, in the order of the sections.
        session_id: a random number below 2**63, the same for the life of the connection.
        session_version: one more with every description of ours.
        previous_local: in a renegotiation our last description: its sections keep their place, mid and numbers, and
            those that ``media`` has not (by mid) are disabled.
        previous_remote: in a renegotiation the peer's last description, whose numbers keep their meaning.

    Raises:
        ConfigurationError: the arguments make no sense.
    """
    if not media or len({item.kind for item in media}) != len(media):
        raise ConfigurationError("an offer needs one LocalMedia of a kind, and at least one")
    earlier = [description for description in (previous_local, previous_remote) if description is not None]
    numbering = Numbering(earlier)
    waiting = _name_sections(media, previous_local)
    order: list[MediaDescription | str] = [
        section.mid if section.mid in waiting else section
        for section in (previous_local.media if previous_local else ())
    ]
    order += [mid for mid in waiting if mid not in order]
    address = default_address(transport)
    sections: list[MediaDescription] = []
    bundle: list[str] = []
    for item in order:
        if isinstance(item, MediaDescription):
            sections.append(refuse(item, transport))
            continue
        plan = _plan_offer(waiting[item], item, numbering)
        # A first offer gives each address once; later all sections share that of the transport (RFC 9143 section 7.2).
        own = address if not bundle or previous_local is not None else DISCARD
        sections.append(write_section(plan, transport, "actpass", own, tagged=not bundle))
        bundle.append(item)
    return write(session_id, session_version, transport, sections, bundle=bundle, mixed_extensions=True)


def create_answer(
    offer: SessionDescription,
    transport: LocalTransport,
    media: Sequence[LocalMedia],
    *,
    session_id: int,
    session_version: int = 1,
    constraints: AnswerConstraints | None = None,
    prefer: CodecPreference = "local",
    previous: Negotiated | None = None,
    configuration: SdpConfiguration = _DEFAULT,
) -> tuple[SessionDescription, Negotiated]:
    """Answer an offer (RFC 9429 section 5.3).

    The first acceptable section of each kind is accepted; further ones, those of other kinds, those without a common
    codec and those that need a transport of their own (as under the policy "max-bundle") are refused with port 0 and
    listed in :attr:`Negotiated.rejected`.

    Args:
        offer: the peer's.
        transport: ours; new credentials in it answer an ICE restart.
        media: at most one of each kind; a kind that is missing is refused.
        session_id: a random number below 2**63, the same for the life of the connection.
        session_version: one more with every description of ours.
        constraints: what another leg has agreed on.
        prefer: whose order of codecs counts where there is no constraint.
        previous: the outcome before, if this is a renegotiation: sections keep their mids, DTLS its role, and
            restarts are told from it.
        configuration: limits.

    Returns:
        Our description, and what is agreed on with it.

    Raises:
        SdpUnsupportedError: no section can be accepted, or there are no credentials or no secure fingerprint.
        SdpError: the offer contradicts itself.
        ConfigurationError: the arguments make no sense.
    """
    if len({item.kind for item in media}) != len(media):
        raise ConfigurationError("an answer needs at most one LocalMedia of a kind")
    locals_by_kind = {str(item.kind): item for item in media}
    claims = _Claims()
    plans: dict[int, SectionPlan] = {}
    reasons: dict[int, str] = {}
    for index in _order_of_choice(offer, previous):
        section = offer.media[index]
        outcome = _plan_answer(offer, section, locals_by_kind, constraints or _FREE, prefer, claims)
        if isinstance(outcome, SectionPlan):
            plans[index] = outcome
        else:
            reasons[index] = outcome
    if not plans:
        raise SdpUnsupportedError("no media section is acceptable: " + "; ".join(reasons[i] for i in sorted(reasons)))
    bundle = _bundle(offer, [plans[index].mid for index in sorted(plans)])
    tag = next((index for index, plan in plans.items() if bundle and plan.mid == bundle[0]), min(plans))
    offered_setup = offer.inherited(transport_section(offer, offer.media[tag].mid, tag), "setup")
    role = resolve_setup(offered_setup, transport.dtls_role, previous.dtls_role if previous else None)
    setup = "active" if role == "client" else "passive"
    address = default_address(transport)
    sections = [
        write_section(plans[index], transport, setup, address, tagged=index == tag)
        if index in plans
        else refuse(section, transport, setup)
        for index, section in enumerate(offer.media)
    ]
    mixed = offer.has("extmap-allow-mixed") or any(offer.media[index].has("extmap-allow-mixed") for index in plans)
    answer = write(session_id, session_version, transport, sections, bundle=bundle, mixed_extensions=mixed)
    negotiated = conclude(offer, answer, Exchange(False, media, reasons, previous, configuration))
    return answer, negotiated


def apply_answer(
    offer: SessionDescription,
    answer: SessionDescription,
    *,
    media: Sequence[LocalMedia] = (),
    previous: Negotiated | None = None,
    configuration: SdpConfiguration = _DEFAULT,
) -> Negotiated:
    """Return what the answer to our offer means (RFC 9429 section 5.11).

    Args:
        offer: ours, as :func:`create_offer` gave it.
        answer: the peer's.
        media: as given to :func:`create_offer`; names the sources of sections that do not send.
        previous: the outcome before, if this is a renegotiation.
        configuration: limits.

    Raises:
        SdpUnsupportedError: nothing was accepted, or what was accepted cannot share one transport.
        SdpError: the answer does not fit the offer.
    """
    return conclude(offer, answer, Exchange(True, media, {}, previous, configuration))


def _name_sections(media: Sequence[LocalMedia], previous: SessionDescription | None) -> dict[str, LocalMedia]:
    """Return the media by mid; those without take that of the earlier section of their kind, or their index."""
    taken = {section.mid: section.kind for section in previous.media if not section.refused} if previous else {}
    named: dict[str, LocalMedia] = {}
    known = {section.mid for section in previous.media} if previous else set[str]()
    for index, item in enumerate(media):
        mid = item.mid or next((name for name, kind in taken.items() if kind == item.kind), "")
        if not mid:
            numbers = (str(number) for number in range(index, index + len(known) + len(media) + 1))
            mid = next(number for number in numbers if number not in known and number not in named)
        if mid in named or taken.get(mid, item.kind) != item.kind:
            raise ConfigurationError(f"mid {mid!r} is used for two sections")
        named[mid] = item
    return named


def _plan_offer(local: LocalMedia, mid: str, numbering: Numbering) -> SectionPlan:
    payloads = [
        Payload(codec, number, companion, codec.feedback) for codec, number, companion in numbering.codecs(mid, local)
    ]
    extensions = [
        ExtensionMap(numbering.extension(uri), uri, "sendrecv", "") for uri in dict.fromkeys(local.extensions)
    ]
    return SectionPlan(
        local, mid, _PROTOCOL, local.direction, payloads, extensions, reduced_size=local.reduced_size, mux_only=True
    )


def _order_of_choice(offer: SessionDescription, previous: Negotiated | None) -> list[int]:
    """Indices of the offer's sections, those that were accepted before first, so that they stay the chosen ones."""
    known = {media.mid for media in previous.media} if previous else set[str]()
    return sorted(range(len(offer.media)), key=lambda index: offer.media[index].mid not in known)


def _plan_answer(
    offer: SessionDescription,
    section: MediaDescription,
    media: dict[str, LocalMedia],
    constraints: AnswerConstraints,
    prefer: CodecPreference,
    claims: _Claims,
) -> SectionPlan | str:
    """Return how a section is answered, or why it is refused."""
    local = media.get(section.kind)
    if section.refused:
        return "the peer has disabled it"
    if local is None:
        return f"{section.kind} is not wanted here"
    if section.media.protocol not in _PROTOCOLS:
        return f"the protocol of the {section.kind} section is not RTP over DTLS-SRTP"
    if section.kind in claims.kinds:
        return f"another {section.kind} section is accepted already"
    if claims.kinds and section.mid not in claims.bundle:
        return f"the {section.kind} section is outside the BUNDLE group of the accepted one: it needs another port"
    if not _multiplexes(offer, section):
        return "RTP and RTCP are not multiplexed (rtcp-mux)"
    formats = read_formats(section, local.kind)
    free = Formats(
        {number: codec for number, codec in formats.codecs.items() if number not in claims.payload_types},
        {k: v for k, v in formats.retransmissions.items() if v not in claims.payload_types},
    )
    constraint = (constraints.codecs or {}).get(local.kind)
    codecs = choose_codecs(local, free, constraint, prefer)
    if not codecs and local.kind in constraints.else_any:
        constraint = None
        codecs = choose_codecs(local, free, None, prefer)
    if not codecs:
        taken = name_formats(local.preferred_codecs if constraint is None else constraint)
        offered = name_formats(free.codecs.values())
        return f"the {section.kind} section has no common codec: offered are {offered}; taken here: {taken}"
    permitted = (constraints.extensions or {}).get(local.kind)
    extensions = [
        entry
        for entry in choose_extensions(read_extensions(offer, section), local.extensions)
        if (permitted is None or entry.uri in permitted) and claims.extensions.get(entry.id, entry.uri) == entry.uri
    ]
    if not claims.kinds:
        claims.bundle = offer.bundle_of(section.mid)
    claims.kinds.add(section.kind)
    claims.extensions.update((entry.id, entry.uri) for entry in extensions)
    for codec in codecs:
        claims.payload_types.update(n for n in (codec.payload_type, codec.rtx_payload_type) if n is not None)
    return SectionPlan(
        local=local,
        mid=section.mid,
        protocol=section.media.protocol,
        direction=narrow(local.direction, offer.direction_of(section)),
        payloads=[
            Payload(
                item.codec,
                item.payload_type,
                item.rtx_payload_type,
                [value for value in item.codec.feedback if value in item.feedback],
            )
            for item in codecs
        ],
        extensions=extensions,
        reduced_size=local.reduced_size and section.has("rtcp-rsize"),
    )


def _multiplexes(offer: SessionDescription, section: MediaDescription) -> bool:
    """In a bundle the section that carries the transport says so for all (RFC 9143 section 7.1.3)."""
    if section.has("rtcp-mux"):
        return True
    bundled = (offer.section(mid) for mid in offer.bundle_of(section.mid))
    return any(other is not None and other.has("rtcp-mux") for other in bundled)


def _bundle(offer: SessionDescription, accepted: Sequence[str]) -> list[str]:
    """Return the mids of the answer's BUNDLE group, in the order of the offer's; empty if the offer has none."""
    return [mid for mid in offer.bundle_of(accepted[0]) if mid in accepted]
