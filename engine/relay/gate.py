"""The valve on everything that one leg sends: nothing passes but in the state OPEN."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from triortc.codecs.registry import MediaKind
from triortc.engine.relay.held_keyframe import HeldKeyframe
from triortc.engine.relay.payloads import is_keyframe
from triortc.engine.rtp.header import PAYLOAD_TYPE, SEQUENCE_NUMBER, RtpHeader

if TYPE_CHECKING:
    from triortc.engine.relay.outlet import Outlet
    from triortc.engine.session.inbound import InboundStream
    from triortc.engine.session.session import Session

__all__ = ["Gate", "GateState", "GateStatistics"]


class GateState(Enum):
    """The states of a gate; what each is for is told in docs/calls.md."""

    CLOSED = "closed"
    ARMED = "armed"
    OPEN = "open"
    MUTED = "muted"
    FROZEN = "frozen"
    SEALED = "sealed"


@dataclass(slots=True)
class GateStatistics:
    """What came to one gate.

    Attributes:
        forwarded: packets that left on the other side.
        dropped: packets that came while the gate was not open, or while an open one waited for a keyframe.
        late: packets older than what has been forwarded before them allows.
        unmapped: packets in a format that the other side does not take.
    """

    forwarded: int = 0
    dropped: int = 0
    late: int = 0
    unmapped: int = 0


class Gate:
    """One leg's packets of one kind.

    A closed gate looks at packets only to learn whether the leg could take over, and keeps none, but for one: the video
    of a leg that takes a running call over from another (`held`).
    """

    __slots__ = (
        "_keyframe_came",
        "clock_offset",
        "held",
        "kind",
        "on_ready",
        "outlet",
        "ready",
        "session",
        "state",
        "statistics",
        "tap",
    )

    def __init__(self, kind: MediaKind, clock_offset: Callable[[], float | None], session: Session) -> None:
        self.kind = kind
        #: Whose packets they are.
        self.session = session
        #: Our Unix time less that of the leg's device, in seconds; None while unknown.
        self.clock_offset = clock_offset
        self.state = GateState.CLOSED
        self.statistics = GateStatistics()
        self.outlet: Outlet | None = None
        #: What the leg will begin with when it takes over; None for one that takes nothing over.
        self.held: HeldKeyframe | None = None
        #: Whether this leg could take over now: sound has come; a keyframe is held, or begins with this very packet.
        self.ready = False
        #: Called while `ready`, before the packet is let through or dropped: who opens the gate in it loses nothing.
        self.on_ready: Callable[[Gate, float], None] | None = None
        #: Gets what is forwarded: (codec name, header, payload, now). For recordings and stills.
        self.tap: Callable[[str, RtpHeader, memoryview, float], None] | None = None
        self._keyframe_came = False

    def receive(
        self, stream: InboundStream, header: RtpHeader, packet: memoryview, payload: memoryview, now: float
    ) -> None:
        """One packet of the leg, decrypted. `packet` holds the header extensions, `payload` may be written to."""
        if self.on_ready is not None:
            if self.held is not None:
                self._keep(self.held, stream, header, packet, payload, now)
                return
            self._look(stream, header, payload, now)
        if self.state is not GateState.OPEN or self.outlet is None:
            self.statistics.dropped += 1
            return
        self.outlet.forward(self, stream, header, packet, payload, now)

    def _look(self, stream: InboundStream, header: RtpHeader, payload: memoryview, now: float) -> None:
        """Watch for the first packet of sound, or for one that begins a keyframe."""
        if self.kind == "video" and not is_keyframe(stream.codec_name(header[PAYLOAD_TYPE]), payload):
            if not self._keyframe_came and stream.keyframes is not None:
                stream.keyframes.request(now)  # the first one was lost, and its retransmission may be, too
            return
        self._keyframe_came = True
        self.ready = True
        if self.on_ready is not None:
            self.on_ready(self, now)
        if self.kind == "video":
            self.ready = False  # unless somebody has opened the gate, this keyframe is gone: the next one counts

    def _keep(
        self,
        held: HeldKeyframe,
        stream: InboundStream,
        header: RtpHeader,
        packet: memoryview,
        payload: memoryview,
        now: float,
    ) -> None:
        """Hold the newest keyframe and what follows it, but nothing of a camera that is muted."""
        if self.state in (GateState.MUTED, GateState.FROZEN, GateState.SEALED):
            self.statistics.dropped += 1
            return
        begins = is_keyframe(stream.codec_name(header[PAYLOAD_TYPE]), payload)
        self.statistics.dropped += held.add(stream, header, packet, payload, begins=begins)
        if not held and stream.keyframes is not None:
            stream.keyframes.request(now)
        self.ready = held.whole
        if self.ready and self.on_ready is not None:
            self.on_ready(self, now)

    def let_go(self) -> None:
        """Drop what is held."""
        if self.held is not None:
            self.statistics.dropped += self.held.clear()

    def release(self, now: float) -> bool:
        """Begin with what is held, if that is a whole keyframe; nothing is held from here on."""
        held, self.held = self.held, None
        if held is None:
            return False
        outlet, stream = self.outlet, held.stream
        if outlet is None or stream is None or not held.whole:
            self.statistics.dropped += held.clear()
            return False
        packets = held.take()
        outlet.begin_at(stream, packets[0].header[SEQUENCE_NUMBER])
        for header, packet, payload in packets:
            outlet.forward(self, stream, header, packet, payload, now)
        return True
