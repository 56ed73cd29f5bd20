"""What a pair of descriptions means for us, whichever of them is ours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from triortc.codecs.registry import media_kind
from triortc.engine.sdp.attributes import is_rtp
from triortc.engine.sdp.configuration import SdpConfiguration
from triortc.engine.sdp.formats import agree, name_formats, read_extensions, read_formats
from triortc.engine.sdp.grammar import MediaDescription, SessionDescription
from triortc.engine.sdp.local import LocalMedia
from triortc.engine.sdp.negotiated import (
    Direction,
    DtlsRole,
    Negotiated,
    NegotiatedMedia,
    RejectedSection,
    SdpUnsupportedError,
)
from triortc.errors import SdpError

__all__ = ["Exchange", "conclude", "narrow", "resolve_setup", "restarts_ice", "transport_section"]

_MAY_SEND: Final = ("sendrecv", "sendonly")
_MAY_RECEIVE: Final = ("sendrecv", "recvonly")


@dataclass(frozen=True, slots=True)
class Exchange:
    """The circumstances of an offer and its answer.

    Attributes:
        local_offers: whether the offer is ours.
        media: ours, for sources that our description does not name because it does not send.
        reasons: why we refused a section, by its index.
        previous: the outcome before, if this is a renegotiation.
        configuration: limits.
    """

    local_offers: bool
    media: Sequence[LocalMedia]
    reasons: Mapping[int, str]
    previous: Negotiated | None
    configuration: SdpConfiguration


@dataclass(frozen=True, slots=True)
class _Sources:
    ssrc: int | None
    rtx_ssrc: int | None
    all: tuple[int, ...]
    cname: str | None


def narrow(local: str, remote: str) -> Direction:
    """Return our direction: what we declare, less what the peer's direction does not allow (RFC 3264 section 6.1)."""
    send = local in _MAY_SEND and remote in _MAY_RECEIVE
    receive = local in _MAY_RECEIVE and remote in _MAY_SEND
    if send:
        return "sendrecv" if receive else "sendonly"
    return "recvonly" if receive else "inactive"


def restarts_ice(description: SessionDescription, previous: Negotiated) -> bool:
    """Whether the peer's description has other ICE credentials than before (RFC 8839 section 4.4.1.1.1).

    An answer to a restart needs new credentials of ours, so ask this before :func:`create_answer`.

    Raises:
        SdpUnsupportedError: the description has no ICE credentials, or disables every section.
    """
    live = [(item.mid != previous.transport_mid, index) for index, item in enumerate(description.media)]
    live = [entry for entry in live if not description.media[entry[1]].refused]
    if not live:
        raise SdpUnsupportedError("the description disables every section (port 0): close the connection instead")
    index = min(live)[1]
    section = transport_section(description, description.media[index].mid, index)
    credentials = (description.inherited(section, "ice-ufrag"), description.inherited(section, "ice-pwd"))
    return credentials != (previous.remote_ufrag, previous.remote_password)


def resolve_setup(offered: str | None, preferred: DtlsRole, current: DtlsRole | None) -> DtlsRole:
    """Return the DTLS role in which we answer ``a=setup`` (RFC 8842 section 5.3).

    Args:
        offered: the peer's value; ``None`` means ``active`` in an offer (RFC 4145 section 4).
        preferred: ours, where the peer leaves the choice.
        current: that of the association that goes on, which is kept if the peer leaves the choice.

    Raises:
        SdpUnsupportedError: the peer wants to hold the connection.
    """
    if offered == "actpass":
        return current or preferred
    if offered == "passive":
        return "client"
    if offered == "holdconn":
        raise SdpUnsupportedError("setup:holdconn is not supported")
    return "server"


def transport_section(description: SessionDescription, mid: str, index: int) -> MediaDescription:
    """Return the section of a description that carries the transport of the bundle of ``mid``.

    It is the section itself unless that has no credentials, as a bundle-only one (RFC 9143 section 6): then the first
    of the bundle that has.

    Raises:
        SdpUnsupportedError: none has ICE credentials.
    """
    candidates = [description.media[index]]
    for other in description.bundle_of(mid):
        section = description.section(other)
        if section is not None:
            candidates.append(section)
    for section in candidates:
        if description.inherited(section, "ice-ufrag") and description.inherited(section, "ice-pwd"):
            return section
    raise SdpUnsupportedError("the description has no ICE credentials")


def conclude(offer: SessionDescription, answer: SessionDescription, exchange: Exchange) -> Negotiated:
    """Return what an offer and its answer have agreed on.

    Raises:
        SdpError: the answer does not fit the offer.
        SdpUnsupportedError: nothing was accepted, or what was needs more than one transport.
    """
    local, remote = (offer, answer) if exchange.local_offers else (answer, offer)
    if len(offer.media) != len(answer.media):
        raise SdpError("the answer has not as many media sections as the offer")
    accepted: list[NegotiatedMedia] = []
    rejected: list[RejectedSection] = []
    for index, (asked, given) in enumerate(zip(offer.media, answer.media, strict=True)):
        if asked.kind != given.kind or (given.mid and asked.mid != given.mid):
            raise SdpError(f"section {index} of the answer is not that of the offer")
        if given.media.port == 0 or asked.refused:
            reason = exchange.reasons.get(index, "the peer has refused it")
            rejected.append(RejectedSection(index, asked.kind, asked.mid, reason))
        else:
            accepted.append(_conclude_media(local, remote, index, exchange))
    if not accepted:
        raise SdpUnsupportedError("no media section is acceptable: " + "; ".join(item.reason for item in rejected))
    _check_transport(answer, accepted)
    return _conclude_transport(local, remote, _tag(answer, accepted), accepted, rejected, exchange)


def _conclude_media(
    local: SessionDescription, remote: SessionDescription, index: int, exchange: Exchange
) -> NegotiatedMedia:
    ours, theirs = local.media[index], remote.media[index]
    kind = media_kind(ours.kind)
    if kind is None or not is_rtp(ours.media.protocol) or not is_rtp(theirs.media.protocol):
        raise SdpUnsupportedError(f"section {index} was accepted, but it is not audio or video over RTP")
    formats = read_formats(ours, kind), read_formats(theirs, kind)
    offered, answered = formats if exchange.local_offers else formats[::-1]
    codecs = agree(offered, answered, local_offers=exchange.local_offers)
    if not codecs:
        given, asked = (name_formats(item.codecs.values(), numbered=True) for item in (answered, offered))
        raise SdpUnsupportedError(
            f"section {index} has no common codec: the answer has {given}; the offer had {asked}, each with its number"
        )
    local_extensions, remote_extensions = read_extensions(local, ours), read_extensions(remote, theirs)
    common = {
        uri: entry
        for uri, entry in local_extensions.items()
        if uri in remote_extensions and remote_extensions[uri].id == entry.id
    }
    sendable = frozenset(
        uri
        for uri, entry in common.items()
        if entry.direction in _MAY_SEND and remote_extensions[uri].direction in _MAY_RECEIVE
    )
    sources = _sources(theirs)
    own: LocalMedia | _Sources | None = next((item for item in exchange.media if item.kind == kind), None)
    if own is None:
        own = _sources(ours)
    stream = theirs.msid
    has_rtx = any(codec.rtx_payload_type is not None for codec in codecs)
    return NegotiatedMedia(
        kind=kind,
        mid=theirs.mid or ours.mid,
        index=index,
        direction=narrow(local.direction_of(ours), remote.direction_of(theirs)),
        codecs=codecs,
        extensions={uri: entry.id for uri, entry in common.items()},
        sendable_extensions=sendable,
        remote_ssrc=sources.ssrc,
        remote_rtx_ssrc=sources.rtx_ssrc,
        remote_ssrcs=sources.all,
        remote_cname=sources.cname,
        remote_stream_id=stream.stream_id if stream else None,
        remote_track_id=(stream.track_id or None) if stream else None,
        local_ssrc=own.ssrc,
        local_rtx_ssrc=own.rtx_ssrc if has_rtx else None,
        reduced_size=ours.has("rtcp-rsize") and theirs.has("rtcp-rsize"),
        remote_max_bitrate_bps=_max_bitrate_bps(theirs),
        ptime_ms=_milliseconds(theirs, "ptime"),
        maxptime_ms=_milliseconds(theirs, "maxptime"),
    )


def _conclude_transport(
    local: SessionDescription,
    remote: SessionDescription,
    tag: NegotiatedMedia,
    media: list[NegotiatedMedia],
    rejected: list[RejectedSection],
    exchange: Exchange,
) -> Negotiated:
    section = transport_section(remote, tag.mid, tag.index)
    fingerprints = tuple(item for item in remote.fingerprints_of(section) if item.strong)
    if not fingerprints:
        raise SdpUnsupportedError("the description has no fingerprint of a hash function that is still secure")
    if exchange.local_offers:
        role = _role_of_answer(remote.inherited(section, "setup"))
    else:
        role = "client" if local.inherited(local.media[tag.index], "setup") == "active" else "server"
    source = _candidate_section(remote, section, tag.mid)
    candidates, skipped = source.candidates(exchange.configuration.max_candidates)
    previous = exchange.previous
    tls_id = remote.inherited(section, "tls-id")
    # transport_section has made sure that both are there.
    ufrag, password = remote.inherited(section, "ice-ufrag") or "", remote.inherited(section, "ice-pwd") or ""
    return Negotiated(
        remote_ufrag=ufrag,
        remote_password=password,
        remote_fingerprints=fingerprints,
        dtls_role=role,
        remote_candidates=tuple(candidate for candidate in candidates if candidate.component == 1),
        media=tuple(media),
        rejected=tuple(rejected),
        transport_mid=tag.mid,
        end_of_candidates=bool(source.has("end-of-candidates") or remote.has("end-of-candidates")),
        remote_trickle="trickle" in remote.ice_options | section.ice_options,
        remote_ice_lite=remote.has("ice-lite"),
        ice_restart=previous is not None and (previous.remote_ufrag, previous.remote_password) != (ufrag, password),
        dtls_restart=previous is not None
        and (
            frozenset(previous.remote_fingerprints) != frozenset(fingerprints)
            or previous.dtls_role != role
            or (tls_id is not None and previous.remote_tls_id is not None and previous.remote_tls_id != tls_id)
        ),
        remote_tls_id=tls_id,
        skipped_candidates=skipped,
    )


def _candidate_section(remote: SessionDescription, section: MediaDescription, mid: str) -> MediaDescription:
    """The section whose candidates count: a bundle's are in its tagged one alone (RFC 9143 section 7.1.3).

    Where that is refused, as a data channel is, its candidates still lead to the transport that the others share.
    """
    if section.has("candidate"):
        return section

    def transport(of: MediaDescription) -> tuple[str | None, str | None]:
        return remote.inherited(of, "ice-ufrag"), remote.inherited(of, "ice-pwd")

    bundled = (remote.section(name) for name in remote.bundle_of(mid))
    sharing = (one for one in bundled if one is not None and transport(one) == transport(section))
    return next((one for one in sharing if one.has("candidate")), section)


def _check_transport(answer: SessionDescription, media: list[NegotiatedMedia]) -> None:
    """Everything must be in one bundle, with RTP and RTCP on one port (RFC 9143, RFC 5761)."""
    mids = [item.mid for item in media]
    bundle = answer.bundle_of(mids[0])
    if len(mids) > 1 and not all(mid in bundle for mid in mids):
        raise SdpUnsupportedError(
            "the answer does not take up the offer's BUNDLE group: media shares one transport here, so the peer must"
            " bundle its sections, or refuse all but one"
        )
    if not any(answer.media[item.index].has("rtcp-mux") for item in media):
        raise SdpUnsupportedError("RTP and RTCP are not multiplexed (rtcp-mux)")


def _tag(answer: SessionDescription, media: list[NegotiatedMedia]) -> NegotiatedMedia:
    """The accepted section that comes first in the answer's bundle (RFC 9143 section 7.3.1)."""
    order = answer.bundle_of(media[0].mid)
    return next((item for mid in order for item in media if item.mid == mid), media[0])


def _role_of_answer(setup: str | None) -> DtlsRole:
    """An absent value means passive in an answer (RFC 4145 section 4)."""
    if setup in (None, "passive"):
        return "client"
    if setup == "active":
        return "server"
    raise SdpError("the answer chooses no DTLS role")


def _sources(section: MediaDescription) -> _Sources:
    """The source of media and that of its retransmissions (RFC 5576, RFC 4588 section 8.8)."""
    attributes = section.ssrcs
    order = tuple(dict.fromkeys(item.ssrc for item in attributes))
    pairs = [group.ssrcs for group in section.ssrc_groups if group.semantics == "FID" and len(group.ssrcs) == 2]
    companions = {pair[1] for pair in pairs}
    ssrc = next((item for item in order if item not in companions), pairs[0][0] if pairs else None)
    rtx_ssrc = next((pair[1] for pair in pairs if pair[0] == ssrc), None)
    cname = next((item.value for item in attributes if item.name == "cname" and item.ssrc == ssrc), None)
    return _Sources(ssrc, rtx_ssrc, order, cname)


def _max_bitrate_bps(section: MediaDescription) -> int | None:
    """RFC 3890 before the coarser unit of RFC 8866 section 5.8."""
    bandwidths = section.bandwidths
    if "TIAS" in bandwidths:
        return bandwidths["TIAS"]
    return bandwidths["AS"] * 1000 if "AS" in bandwidths else None


def _milliseconds(section: MediaDescription, name: str) -> int | None:
    value = section.value(name)
    return None if value is None else int(value.partition(".")[0])
