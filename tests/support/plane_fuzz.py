"""One stream of datagrams, ordinary and hostile, into the slow path in Python and into the core in C: all is equal."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from support.relay_story import KEYFRAME, LEG, OTHER, SSRC, A, B, Relay
from triortc.codecs.registry import MediaKind
from triortc.engine.protection_profile import SrtpProfile
from triortc.engine.relay.gate import GateState
from triortc.engine.rtcp.packets import GenericNack, PictureLossIndication, build_compound
from triortc.engine.rtp.extensions import build_extensions
from triortc.engine.rtp.header import build_header
from triortc.engine.srtp import SrtpOutbound

__all__ = ["PlaneFuzz"]

_ELEMENTS = (1, 2, 3, 4, 5, 9, 13, 14)


@dataclass
class PlaneFuzz:
    """A pair of relays that are told the same.

    Attributes:
        seed: gives the whole history.
        profile: of both legs.
        extensions: what goes out: the transport-wide number, the time of sending, or nothing of our own.
        datagrams: so many were told.
    """

    seed: int
    profile: SrtpProfile
    extensions: str = "number"
    datagrams: int = 0
    _numbers: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)
        self.core, self.slow = Relay(self.profile, way="core"), Relay(self.profile, way="slow")
        self.stranger = SrtpOutbound(self.profile, b"k" * self.profile.key_bytes, b"s" * self.profile.salt_bytes)
        self._numbers = {kind: self.random.choice((3, 65000, 0x7FF0)) for kind in ("audio", "video")}
        self._recent: list[bytes] = []
        self._held: list[bytes] = []
        self._step = 0
        for relay in (self.core, self.slow):
            relay.now = 1000.0
            for stream in relay.legs[1].session.media.outbound_streams:
                if self.extensions != "number":
                    stream._transport_cc_id = 0
                    stream._abs_send_time_id = 3 if self.extensions == "time" else 0
        self._tell([self._video(key=True), self._sound()])

    @property
    def taken(self) -> int:
        """Datagrams that never came to Python."""
        assert self.core.core is not None
        return self.core.core.taken

    def run(self, datagrams: int) -> None:
        """Tell so many more; raises AssertionError where the two differ."""
        end = self.datagrams + datagrams
        while self.datagrams < end:
            self._one_step()
            if self._step % 256 == 0:
                self.compare()
        self.compare()

    def compare(self) -> None:
        """Both have sent the same bytes and count the same."""
        assert self.core.sent == self.slow.sent, f"seed {self.seed} step {self._step}: other bytes"
        assert self.core.state() == self.slow.state(), f"seed {self.seed} step {self._step}: other counters"
        self.core.sent.clear()
        self.slow.sent.clear()

    def _tell(self, packets: list[bytes], source: tuple[str, int] = A) -> None:
        packets = [packet for packet in packets if packet]
        self._recent = (self._recent + packets)[-40:]
        self.datagrams += len(packets)
        for packet in packets:
            for relay in (self.core, self.slow):
                relay.receive([packet], source)

    def _one_step(self) -> None:
        choose, self._step = self.random, self._step + 1
        passed = choose.choice((0.0, 0.001, 0.004, 0.02))
        for relay in (self.core, self.slow):
            relay.now += passed
        what = choose.random()
        if what < 0.62:
            self._tell([self._video() for _ in range(choose.randint(1, 12))])
        elif what < 0.74:
            self._tell([self._sound() for _ in range(choose.randint(1, 3))])
        elif what < 0.83:
            self._tell([self._video(key=True)])
        elif what < 0.88:
            self._tell([self._hostile()])
        elif what < 0.90:
            self._disorder()
        elif what < 0.92:
            self._feedback()
        elif what < 0.99:
            self._let_pass(choose.choice((0.02, 0.3)))
        else:
            self._set_gate()

    def _payload(self, start: bytes) -> bytes:
        shape = self.random.random()
        if shape < 0.9:
            return start + self.random.randbytes(self.random.choice((0, 1, 60, 900, 1150)))
        return self.random.randbytes(self.random.randint(0, 30))

    def _extension(self) -> bytes:
        choose = self.random
        if choose.random() < 0.6:
            return b""
        ids = choose.sample(_ELEMENTS, choose.randint(1, 4))
        pairs = [(n, choose.randbytes(choose.choice((1, 2, 3, 8)))) for n in ids]
        block = bytearray(build_extensions(pairs))
        if choose.random() < 0.1:  # an element of id 0 with a length (RFC 8285 section 4.2), or padding
            block[4 + sum(1 + len(value) for _, value in pairs[: choose.randrange(len(pairs))])] &= 0x0F
        return bytes(block)

    def _next(self, kind: str) -> int:
        number = self._numbers[kind]
        self._numbers[kind] = number + 1
        return number & 0xFFFF

    def _video(self, *, key: bool = False) -> bytes:
        number = self._numbers["video"]
        descriptor = KEYFRAME if key else self.random.choice((OTHER, OTHER, b"\x80\x80\x12\x01", b"\x10\x01"))
        payload = descriptor + b"\0" * 20 if key else self._payload(descriptor)
        return self.core.packet(
            *("video", self._next("video"), 3000 * (number // 7) & 0xFFFFFFFF, payload),
            extension=self._extension(),
            marker=self.random.random() < 0.2,
        )

    def _sound(self) -> bytes:
        number = self._numbers["audio"]
        return self.core.packet(
            *("audio", self._next("audio"), 960 * number & 0xFFFFFFFF, self._payload(b"\xfc")),
            extension=self._extension(),
        )

    def _hostile(self) -> bytes:
        choose = self.random
        recent = choose.choice(self._recent)
        match choose.randint(0, 8):
            case 0:
                return choose.randbytes(choose.randint(1, 2048))
            case 1:
                return bytes((choose.randint(128, 191),)) + recent[1 : choose.randint(1, len(recent))]
            case 2:
                damaged = bytearray(recent)
                damaged[choose.randrange(len(damaged))] ^= 1 << choose.randint(0, 7)
                return bytes(damaged)
            case 3:
                return recent + choose.randbytes(choose.randint(1, 40))
            case 4:
                return recent
            case 5:
                return self._protected(self.stranger, payload_type=96, ssrc=SSRC["video"])
            case 6:
                return self._protected(self.core.peer, payload_type=choose.randint(0, 127), ssrc=SSRC["video"])
            case 7:
                return self._protected(self.core.peer, payload_type=96, ssrc=SSRC["video"], csrcs=(1, 2))
            case _:
                return self._protected(self.core.peer, payload_type=96, ssrc=SSRC["video"], padding=True)

    def _protected(
        self,
        srtp: SrtpOutbound,
        *,
        payload_type: int,
        ssrc: int,
        csrcs: tuple[int, ...] = (),
        padding: bool = False,
    ) -> bytes:
        number = self._next("video")
        extension = bytes.fromhex("10000001") + bytes(4) if self.random.random() < 0.2 else b""
        header = build_header(
            payload_type=payload_type,
            sequence_number=number,
            timestamp=1,
            ssrc=ssrc,
            csrcs=csrcs,
            padding=padding,
            extension=extension,
        )
        out = memoryview(bytearray(2048))
        length = srtp.protect_rtp(header, number, ssrc, OTHER + b"abc" + bytes((self.random.randint(0, 9),)), out)
        return bytes(out[: max(0, length)])

    def _disorder(self) -> None:
        choose = self.random
        match choose.randint(0, 3):
            case 0:
                self._held += [self._video() for _ in range(choose.randint(1, 3))]
            case 1:
                choose.shuffle(self._held)
                self._tell(self._held)
                self._held = []
            case 2:
                self._numbers["video"] += choose.choice((1, 2, 20, 400, 2000))
            case _:
                self._tell(choose.sample(self._recent, min(len(self._recent), 5)))

    def _feedback(self) -> None:
        """What the receiver asks for: packets again, or a keyframe."""
        stream = self.slow.legs[1].session.media.outbound("video")
        assert stream is not None
        self.slow.legs[0].session.media.settle_flows()
        newest = self.slow.plane._legs["1"].outlets["video"]._rewriter.newest[1]
        if self.random.random() < 0.8:
            lost = tuple(sorted({(newest - self.random.randint(0, 60)) & 0xFFFF for _ in range(4)}))
            packet = build_compound([GenericNack(9, stream.ssrc, lost)])
        else:
            packet = build_compound([PictureLossIndication(9, stream.ssrc)])
        protected = self.core.peer.protect_rtcp(packet)
        for relay in (self.core, self.slow):
            relay.legs[1].receive(protected, LEG, B, relay.now)
            relay.collect()

    def _let_pass(self, seconds: float) -> None:
        for relay in (self.core, self.slow):
            relay.now += seconds
            for leg in relay.legs:
                leg.session.media.handle_timeout(relay.now)
            relay.collect()

    def _set_gate(self) -> None:
        kind: MediaKind = "audio" if self.random.random() < 0.5 else "video"
        state = self.random.choice((GateState.OPEN, GateState.OPEN, GateState.MUTED))
        for relay in (self.core, self.slow):
            relay.plane.set_gate("0", kind, state, relay.now)
            relay.collect()
