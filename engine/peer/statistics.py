"""Statistics of a peer connection, by the names of the W3C's Identifiers for WebRTC's Statistics in snake_case."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeAlias

from triortc.engine.peer.receiver import RtpReceiver
from triortc.engine.peer.sender import RtpSender
from triortc.engine.peer.transceiver import RtpTransceiver
from triortc.engine.session.events import FINAL_STATES, ConnectionState
from triortc.engine.session.session import Session

__all__ = ["Statistics", "StatisticsValue", "collect_statistics"]

StatisticsValue: TypeAlias = str | int | float | bool | None
#: By id; every entry has its ``type``. Times are in seconds, ``timestamp`` is Unix time.
Statistics: TypeAlias = dict[str, dict[str, StatisticsValue]]


def collect_statistics(
    session: Session | None, state: ConnectionState, transceivers: Iterable[RtpTransceiver], now: float
) -> Statistics:
    """What is known at `now`: ``transport`` always, the rest as soon as there is something to say."""
    if session is None:
        return {"transport": {"type": "transport", "timestamp": None, "dtls_state": "new", "ice_state": "new"}}
    timestamp = session.media.unix_time_s(now)
    found: Statistics = {"transport": _transport(session, state)}
    if session.path is not None:
        found["candidate_pair"] = _candidate_pair(session)
    for each in transceivers:
        if session.media.outbound(each.kind) is not None:
            found[f"outbound_rtp_{each.kind}"] = _outbound(session, each.sender)
            found[f"remote_inbound_rtp_{each.kind}"] = _remote_inbound(session, each.sender)
        if each.receiver.stream is not None:
            found[f"inbound_rtp_{each.kind}"] = _inbound(each.receiver)
    for entry in found.values():
        entry["timestamp"] = timestamp
    return found


def _transport(session: Session, state: ConnectionState) -> dict[str, StatisticsValue]:
    sent = [stream.statistics for stream in session.media.outbound_streams]
    received = [stream.statistics for stream in session.media.inbound.values()]
    return {
        "type": "transport",
        "dtls_state": _dtls_state(session, state),
        "ice_state": session.ice.state.value,
        "ice_local_username_fragment": session.ice.local_ufrag,
        "ice_role": "controlling" if session.ice.controlling else "controlled",
        "packets_sent": sum(item.packets_sent for item in sent),
        "bytes_sent": sum(item.bytes_sent for item in sent),
        "packets_received": sum(item.packets_received for item in received),
        "bytes_received": sum(item.bytes_received for item in received),
        "selected_candidate_pair_changes": session.ice.statistics.pair_changes,
        **{f"dropped_{reason}": count for reason, count in session.dropped().items()},
    }


def _dtls_state(session: Session, state: ConnectionState) -> str:
    if state in FINAL_STATES:
        return str(state.value)
    if session.media.secured:
        return "connected"
    return "new" if session.path is None else "connecting"


def _candidate_pair(session: Session) -> dict[str, StatisticsValue]:
    assert session.path is not None
    (local_host, local_port), (remote_host, remote_port) = session.path
    estimator = session.media.estimator
    return {
        "type": "candidate_pair",
        "local_address": local_host,
        "local_port": local_port,
        "remote_address": remote_host,
        "remote_port": remote_port,
        "nominated": session.ice.nominated,
        "current_round_trip_time": session.ice.rtt_s,
        "available_outgoing_bitrate": None if estimator is None else estimator.target_bps,
    }


def _outbound(session: Session, sender: RtpSender) -> dict[str, StatisticsValue]:
    stream = session.media.outbound(sender.kind)
    assert stream is not None
    codec = sender.codec
    return {
        "type": "outbound_rtp",
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
        "pli_and_fir_count": sender.keyframe_requests,
        "target_bitrate": sender.target_bitrate_bps,
    }


def _remote_inbound(session: Session, sender: RtpSender) -> dict[str, StatisticsValue]:
    rtt = session.media.rtt
    estimator = session.media.estimator
    return {
        "type": "remote_inbound_rtp",
        "kind": sender.kind,
        "ssrc": sender.ssrc,
        "round_trip_time": rtt.last_s,
        "smoothed_round_trip_time": rtt.rtt_s,
        "total_round_trip_time": rtt.total_s,
        "round_trip_time_measurements": rtt.measurements,
        "fraction_lost": None if estimator is None else estimator.loss,
    }


def _inbound(receiver: RtpReceiver) -> dict[str, StatisticsValue]:
    stream, playout = receiver.stream, receiver.playout
    assert stream is not None
    assert playout is not None
    statistics = stream.statistics
    return {
        "type": "inbound_rtp",
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
        "pli_and_fir_count": 0 if stream.keyframes is None else stream.keyframes.sent,
    }
