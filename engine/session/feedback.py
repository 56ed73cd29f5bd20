"""What the peer's RTCP means for our streams and for what we know of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from triortc.engine.rtcp.ntp import middle_32, unix_to_ntp
from triortc.engine.rtcp.packets import (
    FullIntraRequest,
    GenericNack,
    PictureLossIndication,
    ReceiverEstimatedMaximumBitrate,
    ReceiverReport,
    ReportBlock,
    SenderReport,
    TransportFeedback,
    parse_compound,
)
from triortc.errors import RtpError

if TYPE_CHECKING:
    from triortc.engine.session.media import MediaSession

__all__ = ["handle_rtcp"]


def handle_rtcp(media: MediaSession, plain: bytes, now: float) -> None:
    """Carry out a decrypted RTCP datagram; a malformed one is counted and dropped whole."""
    try:
        packets = parse_compound(plain)
    except RtpError:
        media.counters.malformed_rtcp += 1
        return
    estimator = media.estimator
    for packet in packets:
        match packet:
            case TransportFeedback():  # the first: most of what comes is that
                if estimator is not None:
                    estimator.on_feedback(packet, now)
            case SenderReport():
                media.note_sender_report(packet, now)
                _report_blocks(media, packet.report_blocks, now)
            case ReceiverReport():
                _report_blocks(media, packet.report_blocks, now)
            case GenericNack():
                stream = media.outbound_of(packet.media_ssrc)
                if stream is not None:
                    stream.nacks_received += 1
                    stream.retransmit(packet.lost, now)
            case PictureLossIndication():
                _keyframe_wanted(media, packet.media_ssrc, now)
            case FullIntraRequest():
                for ssrc, _command in packet.entries:
                    _keyframe_wanted(media, ssrc, now)
            case ReceiverEstimatedMaximumBitrate() if estimator is not None:
                estimator.on_remb(packet.bitrate_bps, now)
    media.check_limit(now)


def _report_blocks(media: MediaSession, blocks: tuple[ReportBlock, ...], now: float) -> None:
    ntp_now = middle_32(unix_to_ntp(media.unix_time_s(now)))
    for block in blocks:
        stream = media.outbound_of(block.ssrc)
        if stream is None:
            continue
        stream.report = block
        if media.rtt.note_report_block(block, ntp_now) is not None and media.rtt.rtt_s is not None:
            media.note_rtt(media.rtt.rtt_s)
        if media.estimator is not None and stream.kind == "video":
            media.estimator.on_receiver_report(block.fraction_lost / 256, media.rtt.rtt_s, now)


def _keyframe_wanted(media: MediaSession, ssrc: int, now: float) -> None:
    stream = media.outbound_of(ssrc)
    if stream is not None:
        media.on_keyframe_request(stream, now)
