"""Two legs joined by a plane, and stories of packets that are told to every way through it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

from support.planes import make_plane
from support.session_host import SessionHost, negotiate
from support.virtual_network import Address
from triortc.codecs.registry import DEFAULT_CODECS, Codec, MediaKind
from triortc.engine.datagrams import DatagramBatch
from triortc.engine.protection_profile import PROFILES, SrtpProfile
from triortc.engine.relay.gate import GateState
from triortc.engine.relay.python_plane import KINDS
from triortc.engine.rtp.extensions import build_extensions
from triortc.engine.rtp.header import build_header
from triortc.engine.srtp.keying import create_srtp

__all__ = ["Relay", "Story", "Way", "play", "video"]

#: By the slow path alone, by the Python plane's flows, or by the core of the accelerated one.
Way: TypeAlias = Literal["slow", "flows", "core"]
#: What happens, how often, and of what size.
Story: TypeAlias = list[tuple[str, int, int]]

A, B, LEG = ("10.0.1.1", 5000), ("10.0.1.2", 5000), ("10.0.0.1", 4000)
SSRC = {"audio": 1111, "video": 2222}
KEYFRAME, OTHER = b"\x90\xe0\x81\x02\x07\x00\x00", b"\x80\xe0\x81\x02\x07\x01\x00"


@dataclass(frozen=True)
class _Keys:
    profile: SrtpProfile
    local_key: bytes
    local_salt: bytes
    remote_key: bytes
    remote_salt: bytes


def _keys(profile: SrtpProfile, *, swapped: bool) -> _Keys:
    one = bytes(range(profile.key_bytes)), bytes(range(100, 100 + profile.salt_bytes))
    two = bytes(range(50, 50 + profile.key_bytes)), bytes(range(150, 150 + profile.salt_bytes))
    (local, local_salt), (remote, remote_salt) = (two, one) if swapped else (one, two)
    return _Keys(profile, local, local_salt, remote, remote_salt)


class Relay:
    """Two legs joined by a plane, their keys known, and what reaches the other side.

    Args:
        plain: the peers know neither header extensions nor RTX: what was lost goes out again as it was.
    """

    def __init__(self, profile: SrtpProfile = PROFILES[0], *, way: Way = "flows", plain: bool = False) -> None:
        self.way = way
        self.now = 1000.0
        self.plane, self.core = make_plane("accelerated" if way == "core" else "python")
        self.batch = DatagramBatch()
        self.sent: list[bytes] = []
        self.legs: list[SessionHost] = []
        codecs: dict[MediaKind, Sequence[Codec]] = {}
        for kind in KINDS:
            codecs[kind] = [replace(codec, rtx=codec.rtx and not plain) for codec in DEFAULT_CODECS[kind]]
        for number, address in enumerate((A, B)):
            device = SessionHost(10 + 2 * number, address, controlling=True)
            leg = SessionHost(11 + 2 * number, LEG, controlling=False)
            if self.core is not None:
                self.core.attach(leg)
            extensions = () if plain else None
            negotiate(device.session, leg.session, self.now, codecs=codecs, extensions=extensions)
            self._connect(device, leg, address)
            outbound, inbound = create_srtp(_keys(profile, swapped=False))
            leg.session.media.secure(inbound, outbound, on_first_packet=lambda: None, now=self.now)
            self.plane.add_leg(str(number), leg.session, on_ready=lambda name: None, on_own_keyframe=lambda name: None)
            self.plane.negotiated(str(number), self.now)
            self.legs.append(leg)
        # The peer of leg 0: what it sends is protected with the other half of the keys.
        self.peer, _ = create_srtp(_keys(profile, swapped=True))
        _, self.receiver = create_srtp(_keys(profile, swapped=True))
        self.plane.connect("0", "1", self.now)
        self.plane.connect("1", "0", self.now)
        for kind in ("audio", "video"):
            self.plane.set_gate("0", kind, GateState.OPEN, self.now)
        for gate in self.plane._legs["0"].gates.values():
            gate.on_ready = None

    def _connect(self, device: SessionHost, leg: SessionHost, address: Address) -> None:
        for _ in range(400):
            self.now += 0.005
            for host in (device, leg):
                host.handle_timeout(self.now)
            for sender, receiver in ((device, leg), (leg, device)):
                while (transmit := sender.poll_transmit()) is not None:
                    receiver.receive(transmit[0], receiver.address, sender.address, self.now)
            if device.session.media.secured and leg.session.media.secured:
                return
        raise AssertionError("the leg did not come up")

    def packet(
        self, kind: str, number: int, timestamp: int, payload: bytes, *, extension: bytes = b"", marker: bool = False
    ) -> bytes:
        header = build_header(
            payload_type=96 if kind == "video" else 111,
            sequence_number=number,
            timestamp=timestamp,
            ssrc=SSRC[kind],
            marker=marker,
            extension=extension,
        )
        out = memoryview(bytearray(2048))
        length = self.peer.protect_rtp(header, number & 0xFFFF, SSRC[kind], payload, out)
        return bytes(out[: max(0, length)])  # nothing, for a number that was used before

    def receive(self, packets: list[bytes], source: Address = A) -> None:
        leg = self.legs[0].session
        self.batch.load([(packet, source) for packet in packets], self.now)
        if self.core is not None:
            for packet in packets:
                self.legs[0].receive(packet, LEG, source, self.now)
                self.collect()
        elif self.way == "flows":
            leg.receive_batch(self.batch, 0, len(packets), LEG, source, self.now)
        else:
            for number, packet in enumerate(packets):
                leg.receive([(self.batch.slots[number][: len(packet)], source, self.now)], LEG, self.now)
                leg.media.close_flows()
        self.collect()

    def collect(self) -> None:
        for leg in self.legs:
            while (transmit := leg.poll_transmit()) is not None:
                if transmit[2] == B and 128 <= transmit[0][0] <= 191:
                    self.sent.append(transmit[0])

    def state(self) -> dict[str, Any]:
        """Everything that anybody may look at, of both legs."""
        found: dict[str, Any] = {}
        source, target = (leg.session.media for leg in self.legs)
        source.settle_flows()
        for ssrc, stream in source.inbound.items():
            statistics = stream.statistics
            found[f"in {ssrc}"] = (
                statistics.packets_received,
                statistics.bytes_received,
                statistics.packets_lost,
                round(statistics._jitter, 6),
                statistics.last_packet_at,
                stream.newest,
                None if stream.nack is None else (stream.nack._tracker.newest, stream.nack.missing_packets),
            )
        for stream_out in target.outbound_streams:
            found[f"out {stream_out.kind}"] = (
                stream_out.statistics.packets_sent,
                stream_out.statistics.bytes_sent,
                stream_out.statistics._timestamp,
                stream_out.statistics._at,
            )
            if stream_out.history is not None:
                ssrc_bytes = stream_out.ssrc.to_bytes(4, "big")
                numbers = [int.from_bytes(packet[2:4], "big") for packet in self.sent if packet[8:12] == ssrc_bytes]
                found["kept"] = [stream_out.history._find(number, self.now) for number in numbers]
        for kind, outlet in self.plane._legs["1"].outlets.items():
            rewriter = outlet._rewriter
            found[f"outlet {kind}"] = [getattr(rewriter, name) for name in rewriter.__slots__ if name != "_floor"]
        found["gates"] = dict(self.plane.statistics("0"))
        found["heard"] = self.legs[0].session._heard_at
        found["dropped"] = self.legs[0].session.dropped()
        return found


def video(relay: Relay, number: int, *, key: bool = False, size: int = 900) -> bytes:
    return relay.packet("video", number, 3000 * (number // 5), (KEYFRAME if key else OTHER) + bytes(size))


def play(  # noqa: C901  # one branch an action
    relay: Relay, actions: list[tuple[str, int, int]]
) -> None:
    """The same story for every relay."""
    numbers = {"audio": 65530, "video": 65500}
    history: list[bytes] = []
    held: list[bytes] = []
    transport_number = 65000  # ids as the engine offers them: transport-wide number, then sound level or orientation
    for step, (what, count, size) in enumerate(actions):
        relay.now += 0.004
        packets: list[bytes] = []
        if what in ("video", "audio", "keyframe"):
            kind = "audio" if what == "audio" else "video"
            for n in range(max(1, count)):
                number = numbers[kind]
                numbers[kind] = number + 1
                key = what == "keyframe"
                payload = (KEYFRAME if key else OTHER) + bytes((step & 0xFF,)) * (size or 50)
                if kind == "audio":
                    payload = bytes((0xFC, step & 0xFF)) + bytes(size)
                extension = b""
                if (step + n) % 3 == 0:
                    transport_number = (transport_number + 1) & 0xFFFF
                    extension = build_extensions([(3, transport_number.to_bytes(2, "big")), (4, b"\x05")])
                timestamp = step * (960 if kind == "audio" else 3000)
                packets.append(
                    relay.packet(kind, number & 0xFFFF, timestamp, payload, extension=extension, marker=n == count - 1)
                )
        elif what == "gap":
            for _ in range(min(count, 3)):
                held.append(relay.packet("video", numbers["video"] & 0xFFFF, step * 3000, OTHER + bytes(40)))
                numbers["video"] += 1
            numbers["video"] += count
        elif what == "late" and held:
            packets = [held.pop(0)]
        elif what == "again" and history:
            packets = [history[-1 - count % len(history)]]
        elif what == "forged" and history:
            damaged = bytearray(history[-1])
            number = numbers["video"] & 0xFFFF if count else (numbers["video"] + 5) & 0xFFFF
            damaged[2:4] = number.to_bytes(2, "big")
            packets = [bytes(damaged)]
        elif what in ("mute", "open"):
            state = GateState.MUTED if what == "mute" else GateState.OPEN
            relay.plane.set_gate("0", "video", state, relay.now)
            relay.collect()
        elif what == "wait":
            relay.now += count / 1000
            for leg in relay.legs:
                leg.session.media.handle_timeout(relay.now)
            relay.collect()
        elif what == "padded":
            number = numbers["video"] & 0xFFFF
            numbers["video"] += 1
            header = bytearray(build_header(payload_type=96, sequence_number=number, timestamp=0, ssrc=SSRC["video"]))
            header[0] |= 0x20
            out = memoryview(bytearray(2048))
            length = relay.peer.protect_rtp(bytes(header), number, SSRC["video"], OTHER + b"abc\0\0\3", out)
            packets = [bytes(out[: max(0, length)])]
        elif what == "jump":
            numbers["video"] += count
        packets = [packet for packet in packets if packet]
        history += packets
        relay.receive(packets)
