"""What our side brings to offer and answer."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from triortc.codecs.registry import DEFAULT_CODECS, Codec, MediaKind
from triortc.engine.sdp.candidate import Candidate
from triortc.engine.sdp.fingerprint import Fingerprint
from triortc.engine.sdp.negotiated import Direction, DtlsRole
from triortc.errors import ConfigurationError

__all__ = ["AnswerConstraints", "LocalMedia", "LocalTransport"]


@dataclass(frozen=True, slots=True)
class LocalTransport:
    """Our transport: one for everything, by BUNDLE and rtcp-mux.

    Attributes:
        ufrag: our ICE user fragment.
        password: our ICE password.
        fingerprints: of our certificate.
        candidates: those known by now; the first UDP one of component 1 is the default (RFC 8839 section 4.2.1.2).
        ice_options: ``"trickle"`` (RFC 8840) and ``"ice2"`` (RFC 8445).
        end_of_candidates: no candidate will follow.
        ice_lite: we have a lite implementation.
        dtls_role: what we choose where the peer leaves the choice to us; the server role costs a lost flight less.
    """

    ufrag: str
    password: str
    fingerprints: Sequence[Fingerprint]
    candidates: Sequence[Candidate] = ()
    ice_options: Sequence[str] = ("trickle", "ice2")
    end_of_candidates: bool = False
    ice_lite: bool = False
    dtls_role: DtlsRole = "server"

    def __post_init__(self) -> None:
        if not any(fingerprint.strong for fingerprint in self.fingerprints):
            raise ConfigurationError("LocalTransport needs a SHA-256 fingerprint (or a longer one) of the certificate")


@dataclass(frozen=True, slots=True)
class LocalMedia:
    """What we would like in the media section of one kind.

    Attributes:
        kind: ``"audio"`` or ``"video"``.
        direction: what we would like; the peer may narrow it.
        codecs: the most preferred first; ``None``: the defaults of :mod:`triortc.codecs.registry`.
        extensions: URIs of the header extensions that we handle, the most important first.
        ssrc: of our media; ``None``: not signalled.
        rtx_ssrc: of our retransmissions; ``None``: not signalled.
        cname: our CNAME (RFC 3550 section 6.5.1).
        stream_id: our media stream (RFC 8830), ``"-"`` for none.
        track_id: our track; empty: not signalled.
        mid: identification of the section, used in offers alone; answers take that of the offer. Empty: its index.
        rtx: whether retransmissions are wanted for the codecs that have a companion.
        reduced_size: whether reduced-size RTCP is wanted (RFC 5506).
        max_bitrate_bps: the most we want to receive (``b=TIAS``, RFC 3890), or ``None``.
    """

    kind: MediaKind
    direction: Direction = "sendrecv"
    codecs: Sequence[Codec] | None = None
    extensions: Sequence[str] = ()
    ssrc: int | None = None
    rtx_ssrc: int | None = None
    cname: str = ""
    stream_id: str = "-"
    track_id: str = ""
    mid: str = ""
    rtx: bool = True
    reduced_size: bool = True
    max_bitrate_bps: int | None = None

    def __post_init__(self) -> None:
        if self.codecs is not None and not self.codecs:
            raise ConfigurationError(f"LocalMedia of {self.kind} needs at least one codec, or None for the defaults")
        if any(codec.kind != self.kind for codec in self.codecs or ()):
            raise ConfigurationError(f"LocalMedia of {self.kind} has a codec of another kind")

    @property
    def preferred_codecs(self) -> Sequence[Codec]:
        """The codecs, or the defaults."""
        return DEFAULT_CODECS[self.kind] if self.codecs is None else self.codecs


@dataclass(frozen=True, slots=True)
class AnswerConstraints:
    """What an answer must stay within, because another leg has agreed on it.

    Attributes:
        codecs: for each kind, the codecs that may be answered, the one in use first, with the format parameters that
            the other leg can receive: our answer promises those (:attr:`NegotiatedCodec.remote`). A kind that is not
            in the mapping is free.
        extensions: for each kind, the URIs that may be answered. A kind that is not in the mapping is free.
        else_any: kinds that are answered in any codec of ours where none of `codecs` is common: they are transcoded.
    """

    codecs: Mapping[MediaKind, Sequence[Codec]] | None = None
    extensions: Mapping[MediaKind, Collection[str]] | None = None
    else_any: Collection[MediaKind] = ()
