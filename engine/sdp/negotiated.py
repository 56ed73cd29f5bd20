"""What offer and answer have agreed on: the values that a session is configured from.

Everything here is seen from our side: ``send`` is what we send, ``dtls_role`` is our role, ``local_ssrc`` is ours.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from triortc.codecs.registry import Codec, MediaKind
from triortc.engine.sdp.candidate import Candidate
from triortc.engine.sdp.fingerprint import Fingerprint
from triortc.errors import SdpError

__all__ = [
    "Direction",
    "DtlsRole",
    "Negotiated",
    "NegotiatedCodec",
    "NegotiatedMedia",
    "RejectedSection",
    "SdpUnsupportedError",
]

Direction: TypeAlias = Literal["sendrecv", "sendonly", "recvonly", "inactive"]
DtlsRole: TypeAlias = Literal["client", "server"]


class SdpUnsupportedError(SdpError):
    """A session description is well formed but asks for what we cannot do (no common codec, no bundling, …)."""


@dataclass(frozen=True, slots=True)
class NegotiatedCodec:
    """A codec that both sides may send.

    Attributes:
        codec: ours, with the format parameters that our description declares: what we want to receive.
        remote: the peer's, with the format parameters that its description declares: what it wants to receive. Given as
            a constraint to the answer of another leg, it lets that leg promise what this one can take.
        payload_type: the number of its packets, in both directions.
        rtx_payload_type: the number of its retransmissions (RFC 4588), or ``None`` if there are none.
        feedback: RTCP feedback that both sides understand: ``"nack"``, ``"nack pli"``, ``"ccm fir"``, ``"goog-remb"``,
            ``"transport-cc"``.
    """

    codec: Codec
    remote: Codec
    payload_type: int
    rtx_payload_type: int | None = None
    feedback: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class NegotiatedMedia:
    """One accepted media section.

    Attributes:
        kind: ``"audio"`` or ``"video"``.
        mid: identification of the section (RFC 5888); empty if the peer has none.
        index: place of the section in the description, from 0.
        direction: as our description declares it.
        codecs: never empty, the most preferred first.
        extensions: header extensions, URI to id (RFC 8285).
        sendable_extensions: URIs of those that we may send; the peer may send the same but for one-way extensions.
        remote_ssrc: the peer's media source, if it was signalled.
        remote_rtx_ssrc: the source of its retransmissions (``ssrc-group:FID``).
        remote_ssrcs: all sources that the section names, in order.
        remote_cname: the peer's CNAME (RFC 5576), if signalled.
        remote_stream_id: the peer's media stream (RFC 8830), if signalled.
        remote_track_id: the peer's track, if signalled.
        local_ssrc: our media source, ``None`` if we have declared none.
        local_rtx_ssrc: the source of our retransmissions, ``None`` unless RTX is agreed.
        reduced_size: whether reduced-size RTCP may be sent (RFC 5506).
        remote_max_bitrate_bps: what the peer wants to receive at most (``b=TIAS``, ``b=AS``), or ``None``.
        ptime_ms: packet duration that the peer prefers to receive, or ``None``.
        maxptime_ms: longest packet duration that the peer takes, or ``None``.
    """

    kind: MediaKind
    mid: str
    index: int
    direction: Direction
    codecs: tuple[NegotiatedCodec, ...]
    extensions: Mapping[str, int] = field(default_factory=dict, hash=False)
    sendable_extensions: frozenset[str] = frozenset()
    remote_ssrc: int | None = None
    remote_rtx_ssrc: int | None = None
    remote_ssrcs: tuple[int, ...] = ()
    remote_cname: str | None = None
    remote_stream_id: str | None = None
    remote_track_id: str | None = None
    local_ssrc: int | None = None
    local_rtx_ssrc: int | None = None
    reduced_size: bool = False
    remote_max_bitrate_bps: int | None = None
    ptime_ms: int | None = None
    maxptime_ms: int | None = None

    @property
    def send(self) -> bool:
        """Whether we may send media."""
        return self.direction in ("sendrecv", "sendonly")

    @property
    def receive(self) -> bool:
        """Whether the peer may send media."""
        return self.direction in ("sendrecv", "recvonly")

    def sendable_id(self, uri: str) -> int:
        """Return the id under which we may send a header extension, 0 if we may not (RFC 8285 section 6)."""
        return self.extensions.get(uri, 0) if uri in self.sendable_extensions else 0

    def codec_of(self, payload_type: int) -> NegotiatedCodec | None:
        """Return the codec whose media or retransmissions have this payload type, or ``None``."""
        for entry in self.codecs:
            if payload_type in (entry.payload_type, entry.rtx_payload_type):
                return entry
        return None


@dataclass(frozen=True, slots=True)
class RejectedSection:
    """A section answered with port 0 (RFC 3264 section 6), and why."""

    index: int
    kind: str
    mid: str
    reason: str


@dataclass(frozen=True, slots=True)
class Negotiated:
    """The outcome of one offer/answer exchange.

    Attributes:
        remote_ufrag: the peer's ICE user fragment.
        remote_password: the peer's ICE password.
        remote_fingerprints: those of strong hash functions; the peer's certificate must match one of them (RFC 8122).
        dtls_role: ours: ``"client"`` is ``a=setup:active``, ``"server"`` is passive (RFC 8842).
        remote_candidates: of component 1, from the section that carries the transport.
        media: the accepted sections, in the order of the description.
        rejected: the refused sections, in the order of the description.
        transport_mid: the section that carries the transport (the tag of RFC 9143); candidates of others do not count.
        end_of_candidates: the peer has sent its last candidate (RFC 8840).
        remote_trickle: the peer trickles candidates; if not, those of the description are all (RFC 8840).
        remote_ice_lite: the peer has a lite implementation, so that we must be controlling (RFC 8445 section 6.1.1).
        ice_restart: the peer's ICE credentials have changed since ``previous`` (RFC 8839 section 4.4.1.1.1).
        dtls_restart: fingerprints, role or ``tls-id`` have changed since ``previous``: a new association (RFC 8842).
        remote_tls_id: ``a=tls-id`` of the peer, or ``None``.
        skipped_candidates: number of candidate lines that were malformed or beyond the limit.
    """

    remote_ufrag: str
    remote_password: str
    remote_fingerprints: tuple[Fingerprint, ...]
    dtls_role: DtlsRole
    remote_candidates: tuple[Candidate, ...]
    media: tuple[NegotiatedMedia, ...]
    rejected: tuple[RejectedSection, ...] = ()
    transport_mid: str = ""
    end_of_candidates: bool = False
    remote_trickle: bool = False
    remote_ice_lite: bool = False
    ice_restart: bool = False
    dtls_restart: bool = False
    remote_tls_id: str | None = None
    skipped_candidates: int = 0

    def media_of(self, kind: MediaKind) -> NegotiatedMedia | None:
        """Return the accepted section of this kind, or ``None``."""
        for entry in self.media:
            if entry.kind == kind:
                return entry
        return None
