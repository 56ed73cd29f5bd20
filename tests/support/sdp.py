"""What the tests of offer and answer share: a transport, media, and the stored descriptions."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from triortc.engine.sdp.candidate import Candidate
from triortc.engine.sdp.fingerprint import Fingerprint
from triortc.engine.sdp.grammar import SessionDescription, parse
from triortc.engine.sdp.local import LocalMedia, LocalTransport
from triortc.engine.sdp.negotiated import DtlsRole, Negotiated, NegotiatedMedia
from triortc.engine.sdp.negotiation import create_answer

__all__ = [
    "ABS_SEND_TIME",
    "AUDIO_LEVEL",
    "FINGERPRINT",
    "MID",
    "ORIENTATION",
    "PLAYOUT_DELAY",
    "TRANSPORT_CC",
    "answer",
    "browser_offer",
    "lines_of",
    "make_media",
    "make_offer",
    "make_transport",
    "vectors",
    "video_of",
]

VECTORS = Path(__file__).parent.parent / "vectors"
MID = "urn:ietf:params:rtp-hdrext:sdes:mid"
AUDIO_LEVEL = "urn:ietf:params:rtp-hdrext:ssrc-audio-level"
TRANSPORT_CC = "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01"
ABS_SEND_TIME = "http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time"
PLAYOUT_DELAY = "http://www.webrtc.org/experiments/rtp-hdrext/playout-delay"
ORIENTATION = "urn:3gpp:video-orientation"
FINGERPRINT = Fingerprint("sha-256", ":".join(["5A"] * 32))
HOST = Candidate("1", 1, "udp", 2130706431, "192.0.2.1", 40000, "host")


def vectors(name: str) -> dict[str, Any]:
    """Return a file of test vectors."""
    loaded: dict[str, Any] = json.loads((VECTORS / name).read_text())
    return loaded


def browser_offer(browser: str) -> str:
    """Return the stored offer of ``"chromium156"`` or ``"firefox153"``."""
    return (VECTORS / "sdp" / f"{browser}-offer-audio-video.sdp").read_text()


def make_transport(
    ufrag: str = "oUrS", *, candidates: Sequence[Candidate] = (HOST,), dtls_role: DtlsRole = "server"
) -> LocalTransport:
    """Return a transport with credentials of its own."""
    return LocalTransport(
        ufrag, f"{ufrag}Password0123456789", (FINGERPRINT,), candidates, end_of_candidates=True, dtls_role=dtls_role
    )


def make_media(**changes: Any) -> tuple[LocalMedia, LocalMedia]:
    """Return one audio and one video section's wishes; ``changes`` go to both."""
    common: dict[str, Any] = {"cname": "us", "stream_id": "stream", **changes}
    audio = LocalMedia("audio", **{"extensions": (MID, AUDIO_LEVEL), "ssrc": 11, "track_id": "a", **common})
    video = {"extensions": (MID, TRANSPORT_CC, ORIENTATION), "ssrc": 21, "rtx_ssrc": 22, "track_id": "v", **common}
    return audio, LocalMedia("video", **video)


TRANSPORT_LINES = (
    "a=ice-ufrag:abcd",
    "a=ice-pwd:pppppppppppppppppppppp",
    "a=fingerprint:sha-256 " + ":".join(["AB"] * 32),
    "a=setup:actpass",
)
SECTIONS = {
    "audio": ("m=audio 9 UDP/TLS/RTP/SAVPF 111 0", "c=IN IP4 0.0.0.0", "a=mid:a", "a=rtpmap:111 opus/48000/2"),
    "video": ("m=video 9 UDP/TLS/RTP/SAVPF 96", "c=IN IP4 0.0.0.0", "a=mid:v", "a=rtpmap:96 VP8/90000"),
}


def make_offer(
    *kinds: str, session: Sequence[str] = (), extra: Sequence[str] = (), replace: tuple[str, str] = ("", "")
) -> SessionDescription:
    """Return a small offer of a peer.

    Args:
        kinds: sections of it, bundled if there are two.
        session: further lines of the session level.
        extra: further lines of every section.
        replace: a text and its replacement, everywhere in the description.
    """
    lines = ["v=0", "o=- 1 1 IN IP4 127.0.0.1", "s=-", "t=0 0"]
    if len(kinds) > 1:
        lines.append("a=group:BUNDLE " + " ".join(kind[0] for kind in kinds))
    lines += session
    for kind in kinds:
        lines += [*SECTIONS[kind], "a=rtcp-mux", *TRANSPORT_LINES, *extra]
    text = "\r\n".join(lines) + "\r\n"
    return parse(text.replace(*replace) if replace[0] else text)


def lines_of(description: SessionDescription, index: int) -> list[str]:
    """Return the lines of a media section as text."""
    return [str(line) for line in description.media[index].lines]


def answer(offer: SessionDescription | str, **arguments: Any) -> tuple[SessionDescription, Negotiated]:
    """Answer an offer with the transport and the media from here, unless others are given."""
    description = parse(offer) if isinstance(offer, str) else offer
    media = arguments.pop("media", make_media())
    return create_answer(description, arguments.pop("transport", make_transport()), media, session_id=7, **arguments)


def video_of(negotiated: Negotiated) -> NegotiatedMedia:
    """Return the video section that was agreed on."""
    media = negotiated.media_of("video")
    assert media is not None
    return media
