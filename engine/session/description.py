"""What a session says of itself in an offer or an answer."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from triortc.codecs.registry import Codec, MediaKind
from triortc.engine.rtp.extensions import (
    ABS_SEND_TIME_URI,
    AUDIO_LEVEL_URI,
    MID_URI,
    TRANSPORT_WIDE_CC_URI,
    VIDEO_ORIENTATION_URI,
)
from triortc.engine.sdp.local import LocalMedia, LocalTransport
from triortc.engine.sdp.negotiated import Direction
from triortc.engine.session.session import Session

__all__ = ["CONTENT_EXTENSIONS", "EXTENSIONS", "TRANSPORT_EXTENSIONS", "describe_media", "describe_transport"]

#: Extensions that concern one transport only; each leg negotiates them for itself.
TRANSPORT_EXTENSIONS: Final = (MID_URI, ABS_SEND_TIME_URI, TRANSPORT_WIDE_CC_URI)
#: Extensions that describe the picture or the sound; a relay passes them on, so both legs must have them.
CONTENT_EXTENSIONS: Final = {"audio": (AUDIO_LEVEL_URI,), "video": (VIDEO_ORIENTATION_URI,)}
#: Everything the engine can read and write, by kind.
EXTENSIONS: Final = {kind: (*TRANSPORT_EXTENSIONS, *own) for kind, own in CONTENT_EXTENSIONS.items()}


def describe_transport(session: Session, *, restart: bool = False) -> LocalTransport:
    """The session's ICE credentials, candidates and fingerprint.

    Arguments:
        restart: the credentials of the ICE restart that was prepared.
    """
    ufrag, password = session.local_credentials(restart=restart)
    return LocalTransport(
        ufrag=ufrag,
        password=password,
        fingerprints=(session.certificate.fingerprint(),),
        candidates=tuple(session.local_candidates),
        end_of_candidates=True,
    )


def describe_media(
    session: Session,
    kind: MediaKind,
    *,
    direction: Direction,
    codecs: Sequence[Codec],
    extensions: Iterable[str] | None = None,
) -> LocalMedia:
    """One section: the session's own sources, and what the caller lets it negotiate.

    Arguments:
        codecs: the most preferred first.
        extensions: URIs of header extensions; None: all that the engine knows for this kind.
    """
    source = session.media.source(kind)
    return LocalMedia(
        kind=kind,
        direction=direction,
        codecs=tuple(codecs),
        extensions=tuple(EXTENSIONS[kind] if extensions is None else extensions),
        ssrc=source.ssrc,
        rtx_ssrc=source.rtx_ssrc,
        cname=session.media.cname,
        stream_id=session.media.cname,
        track_id=f"{session.media.cname}-{kind}",
    )
