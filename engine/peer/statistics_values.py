"""What `get_stats` gives, entry by entry, typed: seconds, bits per second, and ``timestamp`` in Unix time."""

from __future__ import annotations

from typing import Literal, NotRequired, TypedDict

from triortc.codecs.registry import MediaKind

__all__ = [
    "CandidatePairStatistics",
    "InboundRtpStatistics",
    "OutboundRtpStatistics",
    "RemoteInboundRtpStatistics",
    "RemoteOutboundRtpStatistics",
    "Statistics",
    "TransportStatistics",
]


class TransportStatistics(TypedDict):
    """ICE, DTLS and SRTP together. What came and was not taken is counted by ``dropped_…``."""

    type: Literal["transport"]
    timestamp: float | None
    dtls_state: str
    ice_state: str
    ice_local_username_fragment: str
    ice_role: Literal["unknown", "controlling", "controlled"]
    packets_sent: int
    bytes_sent: int
    packets_received: int
    bytes_received: int
    selected_candidate_pair_changes: int
    dropped_unknown_protocol: int
    dropped_media_before_keys: int
    dropped_malformed: int
    dropped_malformed_rtcp: int
    dropped_unknown_stream: int
    dropped_srtp_replay: int
    dropped_srtp_authentication: int
    dropped_srtp_malformed: int
    dropped_srtp_ssrc_limit: int


class CandidatePairStatistics(TypedDict):
    """The path that media takes. ``None`` is what was not measured yet."""

    type: Literal["candidate_pair"]
    timestamp: float | None
    local_address: str
    local_port: int
    remote_address: str
    remote_port: int
    nominated: bool
    current_round_trip_time: float | None
    available_outgoing_bitrate: int | None


class OutboundRtpStatistics(TypedDict):
    """What we send of one kind."""

    type: Literal["outbound_rtp"]
    timestamp: float | None
    kind: MediaKind
    mid: str
    ssrc: int
    codec: str | None
    active: bool
    packets_sent: int
    bytes_sent: int
    frames_sent: int
    key_frames_sent: int
    frames_dropped: int
    packets_discarded_on_send: int
    retransmitted_packets_sent: int
    nack_count: int
    pli_and_fir_count: int
    target_bitrate: int | None


class RemoteInboundRtpStatistics(TypedDict):
    """What the peer reports of that; the round-trip time is the connection's. ``None``: not reported yet."""

    type: Literal["remote_inbound_rtp"]
    timestamp: float | None
    kind: MediaKind
    ssrc: int | None
    round_trip_time: float | None
    smoothed_round_trip_time: float | None
    total_round_trip_time: float
    round_trip_time_measurements: int
    packets_lost: int | None
    fraction_lost: float | None
    jitter: float | None


class InboundRtpStatistics(TypedDict):
    """What we receive of one kind."""

    type: Literal["inbound_rtp"]
    timestamp: float | None
    kind: MediaKind
    mid: str
    ssrc: int
    packets_received: int
    bytes_received: int
    packets_lost: int
    jitter: float
    packets_discarded: int
    frames_received: int
    frames_dropped: int
    key_frames_received: int
    concealed_frames: int
    jitter_buffer_delay: float
    nack_count: int
    pli_and_fir_count: int


class RemoteOutboundRtpStatistics(TypedDict):
    """What the peer reports to have sent of that. ``remote_timestamp`` is Unix time by its clock, if it has one."""

    type: Literal["remote_outbound_rtp"]
    timestamp: float | None
    kind: MediaKind
    ssrc: int
    packets_sent: int
    bytes_sent: int
    remote_timestamp: float | None
    reports_sent: int


class Statistics(TypedDict):
    """By id: ``transport`` is always there, the rest as soon as there is something to say."""

    transport: TransportStatistics
    candidate_pair: NotRequired[CandidatePairStatistics]
    outbound_rtp_audio: NotRequired[OutboundRtpStatistics]
    outbound_rtp_video: NotRequired[OutboundRtpStatistics]
    remote_inbound_rtp_audio: NotRequired[RemoteInboundRtpStatistics]
    remote_inbound_rtp_video: NotRequired[RemoteInboundRtpStatistics]
    inbound_rtp_audio: NotRequired[InboundRtpStatistics]
    inbound_rtp_video: NotRequired[InboundRtpStatistics]
    remote_outbound_rtp_audio: NotRequired[RemoteOutboundRtpStatistics]
    remote_outbound_rtp_video: NotRequired[RemoteOutboundRtpStatistics]
