"""Statistics of a peer connection, by the names of the W3C's Identifiers for WebRTC's Statistics in snake_case."""

from __future__ import annotations

from collections.abc import Iterable

from triortc.engine.peer.receiver import RtpReceiver
from triortc.engine.peer.sender import RtpSender
from triortc.engine.peer.statistics_values import (
    CandidatePairStatistics,
    InboundRtpStatistics,
    OutboundRtpStatistics,
    RemoteInboundRtpStatistics,
    RemoteOutboundRtpStatistics,
    Statistics,
    TransportStatistics,
)
from triortc.engine.peer.transceiver import RtpTransceiver
from triortc.engine.rtcp.ntp import ntp_to_unix
from triortc.engine.session.events import FINAL_STATES, ConnectionState
from triortc.engine.session.session import Session

__all__ = ["collect_statistics"]


def collect_statistics(
    session: Session | None, state: ConnectionState, transceivers: Iterable[RtpTransceiver], now: float
) -> Statistics:
    """What is known at `now`: ``transport`` always, the rest as soon as there is something to say."""
    timestamp = None if session is None else session.media.unix_time_s(now)
    found: Statistics = {"transport": _transport(session, state, timestamp)}
    if session is None:
        return found
    if session.path is not None:
        found["candidate_pair"] = _candidate_pair(session, timestamp)
    for each in transceivers:
        if session.media.outbound(each.kind) is not None:
            outbound = _outbound(session, each.sender, timestamp)
            remote_inbound = _remote_inbound(session, each.sender, timestamp)
            if each.kind == "audio":
                found["outbound_rtp_audio"], found["remote_inbound_rtp_audio"] = outbound, remote_inbound
            else:
                found["outbound_rtp_video"], found["remote_inbound_rtp_video"] = outbound, remote_inbound
        if each.receiver.stream is not None:
            inbound = _inbound(each.receiver, timestamp)
            remote_outbound = _remote_outbound(each.receiver, timestamp)
            if each.kind == "audio":
                found["inbound_rtp_audio"] = inbound
            else:
                found["inbound_rtp_video"] = inbound
            if remote_outbound is not None and each.kind == "audio":
                found["remote_outbound_rtp_audio"] = remote_outbound
            elif remote_outbound is not None:
                found["remote_outbound_rtp_video"] = remote_outbound
    return found


def _transport(session: Session | None, state: ConnectionState, timestamp: float | None) -> TransportStatistics:
    sent = [] if session is None else [stream.statistics for stream in session.media.outbound_streams]
    received = [] if session is None else [stream.statistics for stream in session.media.inbound.values()]
    dropped = {} if session is None else session.dropped()
    return {
        "type": "transport",
        "timestamp": timestamp,
        "dtls_state": _dtls_state(session, state),
        "ice_state": "new" if session is None else session.ice.state.value,
        "ice_local_username_fragment": "" if session is None else session.ice.local_ufrag,
        "ice_role": "unknown" if session is None else "controlling" if session.ice.controlling else "controlled",
        "packets_sent": sum(item.packets_sent for item in sent),
        "bytes_sent": sum(item.bytes_sent for item in sent),
        "packets_received": sum(item.packets_received for item in received),
        "bytes_received": sum(item.bytes_received for item in received),
        "selected_candidate_pair_changes": 0 if session is None else session.ice.statistics.pair_changes,
        "dropped_unknown_protocol": dropped.get("unknown_protocol", 0),
        "dropped_media_before_keys": dropped.get("media_before_keys", 0),
        "dropped_malformed": dropped.get("malformed", 0),
        "dropped_malformed_rtcp": dropped.get("malformed_rtcp", 0),
        "dropped_unknown_stream": dropped.get("unknown_stream", 0),
        "dropped_srtp_replay": dropped.get("srtp_replay", 0),
        "dropped_srtp_authentication": dropped.get("srtp_authentication", 0),
        "dropped_srtp_malformed": dropped.get("srtp_malformed", 0),
        "dropped_srtp_ssrc_limit": dropped.get("srtp_ssrc_limit", 0),
    }


def _dtls_state(session: Session | None, state: ConnectionState) -> str:
    if session is not None and state in FINAL_STATES:
        return str(state.value)
    if session is not None and session.media.secured:
        return "connected"
    return "new" if session is None or session.path is None else "connecting"


def _candidate_pair(session: Session, timestamp: float | None) -> CandidatePairStatistics:
    assert session.path is not None
    (local_host, local_port), (remote_host, remote_port) = session.path
    estimator = session.media.estimator
    return {
        "type": "candidate_pair",
        "timestamp": timestamp,
        "local_address": local_host,
        "local_port": local_port,
        "remote_address": remote_host,
        "remote_port": remote_port,
        "nominated": session.ice.nominated,
        "current_round_trip_time": session.ice.rtt_s,
        "available_outgoing_bitrate": None if estimator is None else estimator.target_bps,
    }


def _outbound(session: Session, sender: RtpSender, timestamp: float | None) -> OutboundRtpStatistics:
    stream = session.media.outbound(sender.kind)
    assert stream is not None
    codec = sender.codec
    return {
        "type": "outbound_rtp",
        "timestamp": timestamp,
        "kind": sender.kind,
        "mid": stream.section.mid,
        "ssrc": stream.ssrc,
        "codec": None if codec is None else codec.encoding,
        "active": sender.ready,
        "packets_sent": stream.statistics.packets_sent,
        "bytes_sent": stream.statistics.bytes_sent,
        "frames_sent": sender.frames_sent,
        "key_frames_sent": sender.keyframes_sent,
        "frames_dropped": sender.frames_dropped,
        "packets_discarded_on_send": stream.unprotected,
        "retransmitted_packets_sent": 0 if stream.history is None else stream.history.packets_resent,
        "nack_count": stream.nacks_received,
        "pli_and_fir_count": sender.keyframe_requests,
        "target_bitrate": sender.target_bitrate_bps,
    }


def _remote_inbound(session: Session, sender: RtpSender, timestamp: float | None) -> RemoteInboundRtpStatistics:
    stream, rtt = session.media.outbound(sender.kind), session.media.rtt
    assert stream is not None
    report = stream.report
    return {
        "type": "remote_inbound_rtp",
        "timestamp": timestamp,
        "kind": sender.kind,
        "ssrc": sender.ssrc,
        "round_trip_time": rtt.last_s,
        "smoothed_round_trip_time": rtt.rtt_s,
        "total_round_trip_time": rtt.total_s,
        "round_trip_time_measurements": rtt.measurements,
        "packets_lost": None if report is None else report.cumulative_lost,
        "fraction_lost": None if report is None else report.fraction_lost / 256,
        "jitter": None if report is None else report.jitter / stream.clock_rate,
    }


def _inbound(receiver: RtpReceiver, timestamp: float | None) -> InboundRtpStatistics:
    stream, playout = receiver.stream, receiver.playout
    assert stream is not None
    assert playout is not None
    statistics = stream.statistics
    return {
        "type": "inbound_rtp",
        "timestamp": timestamp,
        "kind": receiver.kind,
        "mid": stream.section.mid,
        "ssrc": stream.ssrc,
        "packets_received": statistics.packets_received,
        "bytes_received": statistics.bytes_received,
        "packets_lost": statistics.packets_lost,
        "jitter": statistics.jitter_s,
        "packets_discarded": playout.discarded + playout.unusable,
        "frames_received": receiver.frames_received,
        "frames_dropped": receiver.frames_dropped,
        "key_frames_received": playout.keyframes,
        "concealed_frames": playout.concealed,
        "jitter_buffer_delay": playout.delay_s,
        "nack_count": stream.nacks_sent,
        "pli_and_fir_count": 0 if stream.keyframes is None else stream.keyframes.sent,
    }


def _remote_outbound(receiver: RtpReceiver, timestamp: float | None) -> RemoteOutboundRtpStatistics | None:
    stream = receiver.stream
    report = None if stream is None else stream.sender_report
    if stream is None or report is None:
        return None
    return {
        "type": "remote_outbound_rtp",
        "timestamp": timestamp,
        "kind": receiver.kind,
        "ssrc": report.ssrc,
        "packets_sent": report.packet_count,
        "bytes_sent": report.octet_count,
        "remote_timestamp": ntp_to_unix(report.ntp_timestamp) if report.ntp_timestamp else None,
        "reports_sent": stream.sender_reports,
    }
