"""A call of devices and the engine's legs over a simulated network, and what the visitor's device gets of it."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field

from support.planes import make_plane
from support.session_host import SessionHost, connect
from support.virtual_network import Conditions, VirtualNetwork
from triortc.codecs.registry import MediaKind
from triortc.engine.relay.gate import GateState
from triortc.engine.rtp.header import MARKER, SEQUENCE_NUMBER, SSRC, TIMESTAMP, RtpHeader
from triortc.engine.session.inbound import InboundStream


@dataclass(slots=True)
class Received:
    """One packet as a device got it."""

    kind: str
    ssrc: int
    sequence_number: int
    timestamp: int
    marker: bool
    payload: bytes

    @property
    def source(self) -> int:
        """Which device sent it (the byte behind the VP8 descriptor and keyframe bit, or the first of sound)."""
        return self.payload[7] if self.kind == "video" else self.payload[1]

    @property
    def picture_id(self) -> int:
        """PictureID of the VP8 descriptor."""
        return ((self.payload[2] & 0x7F) << 8) | self.payload[3]


@dataclass
class Device:
    """A browser's stand-in: sends sound and VP8 pictures that carry its number, makes keyframes when asked."""

    number: int
    host: SessionHost
    leg: SessionHost
    received: list[Received] = field(default_factory=list)
    keyframe_asked: int = 0
    frame: int = 0
    packet: int = 0
    wants_keyframe: bool = True

    def __post_init__(self) -> None:
        media = self.host.session.media
        media.on_stream = self._on_stream
        media.on_keyframe_request = self._on_keyframe_request

    def _on_stream(self, stream: InboundStream) -> None:
        stream.deliver = self._deliver

    def _on_keyframe_request(self, stream: object, now: float) -> None:
        self.keyframe_asked += 1
        self.wants_keyframe = True

    def _deliver(
        self, stream: InboundStream, header: RtpHeader, packet: memoryview, payload: memoryview, now: float
    ) -> None:
        self.received.append(
            Received(
                stream.kind, header[SSRC], header[SEQUENCE_NUMBER], header[TIMESTAMP], header[MARKER], bytes(payload)
            )
        )

    def send(self, now: float, kind: MediaKind | None = None, parts: Sequence[int] = range(3)) -> None:
        """Send one picture of three packets, or those of its parts that are asked for, and one packet of sound."""
        media = self.host.session.media
        if kind in (None, "audio"):
            stream = media.outbound("audio")
            assert stream is not None
            number = (stream.first_sequence_number + self.frame) & 0xFFFF
            stream.send(False, 111, number, 960 * self.frame, b"", bytes((0xFC, self.number)) + bytes(60), now)
        if kind in (None, "video"):
            stream = media.outbound("video")
            assert stream is not None
            key, self.wants_keyframe = self.wants_keyframe, False
            for part in parts:
                picture = 0x8000 | (self.number * 1000 + self.frame) & 0x7FFF
                descriptor = bytes((0x90 if part == 0 else 0x80, 0xC0)) + picture.to_bytes(2, "big")
                descriptor += bytes((self.frame & 0xFF,))
                first = 0 if key and part == 0 else 1
                payload = descriptor + bytes((first, 0, self.number)) + bytes(700)
                number = (stream.first_sequence_number + self.packet) & 0xFFFF
                self.packet += 1
                stream.send(part == 2, 96, number, 3000 * self.frame, b"", payload, now)
        if 2 in parts:
            self.frame += 1


class Call:
    """A visitor and up to two agent devices, each with a leg of the engine's, joined by the data plane."""

    plane_name = "python"

    def __init__(
        self, *, seed: int = 0, conditions: Conditions | None = None, agents: int = 1, takes_over: bool = False
    ) -> None:
        self.network = VirtualNetwork(seed=seed, conditions=conditions or Conditions(delay_s=0.005))
        self.plane, self.core = make_plane(self.plane_name)
        self.ready: list[str] = []
        self.own_keyframes: list[str] = []
        self.visitor = self._device(0, "visitor")
        self.agents = [self._device(n, f"agent{n}", takes_over and n > 1) for n in range(1, agents + 1)]
        self.devices = [self.visitor, *self.agents]

    def _device(self, number: int, name: str, takes_over: bool = False) -> Device:
        host = SessionHost(10 + 2 * number, (f"10.0.1.{number + 1}", 5000), controlling=True)
        leg = SessionHost(11 + 2 * number, ("10.0.0.1", 4000 + number), controlling=False)
        if self.core is not None:
            self.core.attach(leg)
        device = Device(number, host, leg)
        self.plane.add_leg(
            name,
            leg.session,
            takes_over=takes_over,
            on_ready=self.ready.append,
            on_own_keyframe=self.own_keyframes.append,
        )
        assert connect(self.network, host, leg)
        self.plane.negotiated(name, self.network.now)
        return device

    def join(self, agent: str = "agent1") -> None:
        self.plane.connect(agent, "visitor", self.network.now)
        self.plane.connect("visitor", agent, self.network.now)

    def gates(self, leg: str, state: GateState, *kinds: MediaKind) -> None:
        for kind in kinds or ("audio", "video"):
            self.plane.set_gate(leg, kind, state, self.network.now)

    def talk(self, frames: int, *devices: Device) -> None:
        """Let the devices send so many pictures and sounds, 33 ms apart."""
        for _ in range(frames):
            for device in devices or self.devices:
                device.send(self.network.now)
            self.network.run_for(0.033)

    def seen(self, kind: str = "video") -> list[Received]:
        return [packet for packet in self.visitor.received if packet.kind == kind]


def continuous(packets: list[Received]) -> None:
    """I19: one SSRC, sequence numbers without gap or repetition, timestamps that do not go back."""
    assert len({packet.ssrc for packet in packets}) == 1
    ordered = sorted(
        packets, key=lambda packet: (packet.sequence_number - packets[0].sequence_number + 0x4000) & 0xFFFF
    )
    for before, after in itertools.pairwise(ordered):
        assert (after.sequence_number - before.sequence_number) & 0xFFFF == 1
        assert (after.timestamp - before.timestamp) & 0xFFFFFFFF < 0x80000000
