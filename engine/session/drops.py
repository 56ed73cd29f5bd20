"""What a session did not take, by reason."""

from __future__ import annotations

from dataclasses import dataclass

from triortc.engine.session.media import MediaSession

__all__ = ["SessionCounters", "count_drops"]


@dataclass(slots=True)
class SessionCounters:
    """Datagrams that were not understood, by the first byte of RFC 7983."""

    unknown_protocol: int = 0
    empty: int = 0
    media_before_keys: int = 0
    dtls_before_ice: int = 0


def count_drops(counters: SessionCounters, media: MediaSession) -> dict[str, int]:
    """By reason, from every part of a session."""
    heard, srtp = media.counters, media.srtp_in
    drops = {
        "unknown_protocol": counters.unknown_protocol + counters.empty,
        "media_before_keys": counters.media_before_keys,
        "malformed": heard.malformed,
        "malformed_rtcp": heard.malformed_rtcp,
        "unknown_stream": heard.unknown_stream + heard.too_many_streams,
    }
    if srtp is not None:
        drops["srtp_replay"] = srtp.dropped_replay
        drops["srtp_authentication"] = srtp.dropped_authentication
        drops["srtp_malformed"] = srtp.dropped_malformed
        drops["srtp_ssrc_limit"] = srtp.dropped_ssrc_limit
    return drops
