"""Video over a lossy network in virtual time: NACK, RTX, history, throttle and jitter buffer work together."""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random

import pytest

from support.toy_codec import ToyDepacketizer, toy_frame
from support.virtual_link import VirtualLink
from triortc.engine.jitter.configuration import VideoJitterConfiguration
from triortc.engine.jitter.video import VideoJitterBuffer
from triortc.engine.rtcp.packets import (
    GenericNack,
    PictureLossIndication,
    RtcpPacket,
    build_compound,
    parse_compound,
)
from triortc.engine.rtp.header import build_header, parse_header, payload_length
from triortc.engine.streams.keyframe_requests import KeyframeRequestThrottle
from triortc.engine.streams.nack_generator import NackGenerator
from triortc.engine.streams.receive_statistics import ReceiveStatistics
from triortc.engine.streams.retransmission_history import RetransmissionHistory
from triortc.engine.streams.rtx import RtxReceiver, RtxSender

MEDIA_SSRC, RTX_SSRC, RECEIVER_SSRC = 0x1111, 0x2222, 0x3333
MEDIA_TYPE, RTX_TYPE = 96, 97
FRAME_S = 1 / 30
TICK_S = 0.002


@dataclass
class Delivered:
    frames: list[int] = field(default_factory=list)
    keyframes: int = 0
    latencies_s: list[float] = field(default_factory=list)


class VideoCall:
    """One video stream from a sender to a receiver over two links."""

    def __init__(
        self, *, loss: float = 0.0, delay_s: float = 0.03, jitter_s: float = 0.0, rtx: bool = True, seed: int = 1
    ):
        self.forward: VirtualLink[bytes] = VirtualLink(delay_s=delay_s, loss=loss, jitter_s=jitter_s, seed=seed)
        self.back: VirtualLink[bytes] = VirtualLink(delay_s=delay_s, loss=loss, seed=seed + 1)
        self.random = Random(seed)
        self.now = 50.0
        self.rtx = rtx
        self.history = RetransmissionHistory()
        self.rtx_sender = RtxSender(RTX_SSRC, {MEDIA_TYPE: RTX_TYPE}, 65000)
        self.sequence_number = 65000
        self.frame_number = 0
        self.keyframe_wanted = True
        self.ignores_requests = False
        self.keyframe_requests = 0
        self.sent_packets = 0
        self.packets_per_frame = 0  # 0: of any size from 1 to 8
        self.resent_packets = 0
        self.nack = NackGenerator()
        self.rtx_receiver = RtxReceiver(MEDIA_SSRC, {RTX_TYPE: MEDIA_TYPE})
        self.statistics = ReceiveStatistics(MEDIA_SSRC, 90000)
        self.buffer = VideoJitterBuffer(ToyDepacketizer(), VideoJitterConfiguration())
        self.throttle = KeyframeRequestThrottle()
        self.delivered = Delivered()
        rtt_s = 2 * delay_s
        self.nack.rtt_s = self.history.rtt_s = self.throttle.rtt_s = rtt_s

    def run(self, duration_s: float) -> Delivered:
        self.delivered = Delivered()
        ends_at = self.now + duration_s
        next_frame_at = self.now
        while self.now < ends_at:
            self.now += TICK_S
            if self.now >= next_frame_at:
                next_frame_at += FRAME_S
                self._send_frame()
            for at, packet in self.forward.receive(self.now):
                self._receive(packet, at)
            self._send_feedback()
            for _, datagram in self.back.receive(self.now):
                for feedback in parse_compound(datagram):
                    self._handle_feedback(feedback)
        return self.delivered

    def _send_frame(self) -> None:
        keyframe, self.keyframe_wanted = self.keyframe_wanted, False
        data = self.frame_number.to_bytes(4, "big") + int(self.now * 1000).to_bytes(8, "big") + bytes(100)
        payloads = toy_frame(keyframe, data, 20 if keyframe else self.packets_per_frame or self.random.randint(1, 8))
        for index, payload in enumerate(payloads):
            header = build_header(
                payload_type=MEDIA_TYPE,
                sequence_number=self.sequence_number,
                timestamp=self.frame_number * 3000,
                ssrc=MEDIA_SSRC,
                marker=index == len(payloads) - 1,
            )
            self.history.store(self.sequence_number, header, payload, self.now)
            self.forward.send(header + payload, 1200, self.now)
            self.sequence_number = (self.sequence_number + 1) & 0xFFFF
            self.sent_packets += 1
        self.frame_number += 1

    def _handle_feedback(self, packet: RtcpPacket) -> None:
        if isinstance(packet, PictureLossIndication):
            self.keyframe_wanted = not self.ignores_requests
            self.keyframe_requests += 1
        elif isinstance(packet, GenericNack):
            for number in packet.lost:
                found = self.history.lookup(number, self.now)
                if found is None:
                    continue
                self.resent_packets += 1
                wrapped = self.rtx_sender.wrap(*found) if self.rtx else (*found, number)
                assert wrapped is not None
                self.forward.send(wrapped[0] + wrapped[1], 1200, self.now)

    def _receive(self, packet: bytes, at: float) -> None:
        header = parse_header(packet)
        assert header is not None
        payload: bytes | memoryview = packet[header[5] :]
        if header[4] == RTX_SSRC:
            restored = self.rtx_receiver.restore(header, payload)
            if restored is None:
                return
            header, payload = restored
        else:
            self.statistics.note(header[2], header[3], at, len(packet))
        assert payload_length(payload, header[8]) == len(payload)
        self.nack.note(header[2], at)
        self.buffer.insert(header[2], header[3], header[0], bytes(payload), at)
        while (frame := self.buffer.poll_frame()) is not None:
            if frame.keyframe:
                self.throttle.keyframe_arrived()
                self.delivered.keyframes += 1
            self.delivered.frames.append(int.from_bytes(frame.data[:4], "big"))
            self.delivered.latencies_s.append(at - int.from_bytes(frame.data[4:12], "big") / 1000)

    def _send_feedback(self) -> None:
        self.buffer.handle_timeout(self.now)
        while self.buffer.poll_event() is not None:
            self.throttle.request(self.now)
        packets: list[RtcpPacket] = []
        deadline = self.nack.next_deadline()
        if deadline is not None and deadline <= self.now and (lost := self.nack.due(self.now)):
            packets.append(GenericNack(RECEIVER_SSRC, MEDIA_SSRC, tuple(lost)))
        if self.throttle.due(self.now):
            packets.append(PictureLossIndication(RECEIVER_SSRC, MEDIA_SSRC))
        if packets:
            self.back.send(build_compound(packets), 60, self.now)


def test_without_loss_nothing_is_asked_for() -> None:
    call = VideoCall()
    delivered = call.run(10)
    assert len(delivered.frames) >= 298
    assert (call.resent_packets, call.keyframe_requests, call.back.delivered) == (0, 0, 0)
    assert max(delivered.latencies_s) < 0.04


@pytest.mark.parametrize("rtx", [True, False], ids=["rtx", "same stream"])
@pytest.mark.parametrize("loss", [0.02, 0.05, 0.10])
def test_loss_is_repaired_without_keyframes_and_in_order(loss: float, rtx: bool) -> None:
    call = VideoCall(loss=loss, rtx=rtx, seed=int(loss * 1000))
    delivered = call.run(30)
    assert delivered.frames == sorted(set(delivered.frames))
    assert len(delivered.frames) >= 0.99 * call.frame_number
    assert call.keyframe_requests <= 1
    assert call.resent_packets <= 2.2 * loss * call.sent_packets
    assert sorted(delivered.latencies_s)[len(delivered.latencies_s) // 2] < 0.15


@pytest.mark.parametrize("rtx", [True, False], ids=["rtx", "same stream"])
def test_a_high_rate_over_a_long_round_trip_is_no_restart(rtx: bool) -> None:
    """Retransmissions come hundreds of packets late then."""
    call = VideoCall(loss=0.02, delay_s=0.12, rtx=rtx)
    call.packets_per_frame = 20
    delivered = call.run(20)
    assert (call.statistics.restarts, call.statistics.dropped) == (0, 0)
    assert len(delivered.frames) >= 0.98 * call.frame_number
    assert call.keyframe_requests <= 1


def test_reordering_alone_costs_few_retransmissions() -> None:
    call = VideoCall(jitter_s=0.004)
    delivered = call.run(20)
    assert len(delivered.frames) >= 0.995 * call.frame_number
    assert call.keyframe_requests == 0
    assert call.resent_packets <= 0.25 * call.sent_packets


def test_an_outage_ends_with_a_keyframe_and_no_storm_of_retransmissions() -> None:
    call = VideoCall()
    call.run(5)
    call.forward.loss = 1.0
    call.run(3)
    call.forward.loss = 0.0
    resent_before = call.resent_packets
    delivered = call.run(5)
    assert delivered.keyframes == 1
    assert delivered.frames[-1] >= call.frame_number - 3
    assert len(delivered.frames) >= 4.4 * 30
    assert call.resent_packets - resent_before <= 500
    assert call.keyframe_requests <= 3


def test_a_source_that_ignores_requests_is_asked_again_but_not_often() -> None:
    call = VideoCall()
    call.run(2)
    call.forward.loss = 1.0
    call.run(5)
    call.forward.loss = 0.0
    call.ignores_requests = True
    assert call.run(10).frames == []
    assert 5 <= call.keyframe_requests <= 10
    call.ignores_requests = False
    call.run(2)
    assert len(call.run(2).frames) >= 55


def test_the_sender_may_start_over_in_the_middle() -> None:
    """RFC 3550 A.1."""
    call = VideoCall()
    call.run(3)
    call.sequence_number = 20_000
    call.keyframe_wanted = True
    delivered = call.run(3)
    assert delivered.keyframes >= 1
    assert len(delivered.frames) >= 85
    assert call.statistics.restarts == 1


@pytest.mark.parametrize("seed", range(4))
def test_the_same_seed_gives_the_same_call(seed: int) -> None:
    first, second = (VideoCall(loss=0.08, jitter_s=0.01, seed=seed).run(5) for _ in range(2))
    assert first == second
