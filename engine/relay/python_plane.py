"""The data plane in plain Python: every packet is decrypted, renumbered and encrypted within the batch it came in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from triortc.codecs.registry import MediaKind
from triortc.engine.relay.converter import Converter
from triortc.engine.relay.gate import Gate, GateState, GateStatistics
from triortc.engine.relay.held_keyframe import HeldKeyframe
from triortc.engine.relay.outlet import Outlet
from triortc.engine.relay.plane import MediaTap
from triortc.engine.rtp.header import RtpHeader
from triortc.engine.sdp.negotiated import NegotiatedMedia
from triortc.engine.session.inbound import InboundStream
from triortc.engine.session.outbound import OutboundStream
from triortc.engine.session.session import Session
from triortc.errors import CallError

__all__ = ["PythonPlane"]

KINDS: Final[tuple[MediaKind, ...]] = ("audio", "video")


@dataclass(slots=True, eq=False)
class _Leg:
    name: str
    session: Session
    on_ready: Callable[[str], None]
    on_own_keyframe: Callable[[str], None]
    gates: dict[MediaKind, Gate]
    outlets: dict[MediaKind, Outlet] = field(default_factory=dict)
    fed_by: _Leg | None = None
    at_most_bps: int | None = None
    received: set[MediaKind] = field(default_factory=set)
    not_expected: set[MediaKind] = field(default_factory=set)
    told_ready: bool = False


class PythonPlane:
    """The reference implementation of :class:`triortc.engine.relay.plane.DataPlane`."""

    def __init__(self) -> None:
        self._legs: dict[str, _Leg] = {}

    def _leg(self, name: str) -> _Leg:
        leg = self._legs.get(name)
        if leg is None:
            raise CallError(f"the data plane has no leg {name!r}: add it first")
        return leg

    def add_leg(
        self,
        leg: str,
        session: Session,
        *,
        takes_over: bool = False,
        on_ready: Callable[[str], None],
        on_own_keyframe: Callable[[str], None],
    ) -> None:
        """Take a session in; its gates are closed. Raises CallError when the name is taken."""
        if leg in self._legs:
            raise CallError(f"the data plane already has a leg {leg!r}: leg names are unique")
        media = session.media

        def clock_offset() -> float | None:
            return media.source_clock_offset_s

        gates = {kind: Gate(kind, clock_offset, session) for kind in KINDS}
        added = _Leg(leg, session, on_ready, on_own_keyframe, gates)
        self._legs[leg] = added
        if takes_over:
            added.gates["video"].held = HeldKeyframe()

        def on_stream(stream: InboundStream) -> None:
            stream.deliver = added.gates[stream.kind].receive

        def on_gate_ready(gate: Gate, now: float) -> None:
            if not _tell_ready(added) and gate.kind == "audio":
                media.request_keyframe(now)  # the first one may have come before the sound

        for gate in added.gates.values():
            gate.on_ready = on_gate_ready
        session.media.on_stream = on_stream
        session.media.on_keyframe_request = lambda stream, now: self._keyframe_wanted(added, stream, now)
        session.media.on_limit = lambda bitrate_bps, now: _limit_source(added, bitrate_bps, now)

    def remove_leg(self, leg: str) -> None:
        """Forget a leg, its gates and what it feeds. Unknown legs are ignored."""
        removed = self._legs.pop(leg, None)
        if removed is None:
            return
        for gate in removed.gates.values():
            gate.on_ready = None
        for outlet in removed.outlets.values():
            outlet.detach()
        for other in self._legs.values():
            if other.fed_by is removed:
                other.fed_by = None
                for outlet in other.outlets.values():
                    outlet.detach()

    def negotiated(self, leg: str, now: float) -> None:
        """The leg's formats are known: make its outgoing streams, or tell them what has changed."""
        target = self._leg(leg)
        for negotiated in target.session.media.sections:
            kind = negotiated.kind
            if negotiated.receive:
                target.received.add(kind)
            else:
                target.received.discard(kind)
            outlet = target.outlets.get(kind)
            if outlet is not None:
                outlet.renegotiate(negotiated)
                continue
            stream = target.session.media.outbound(kind)
            if stream is not None:
                target.outlets[kind] = self._make_outlet(target.session, stream, negotiated)
        for kind in KINDS:
            if all(negotiated.kind != kind for negotiated in target.session.media.sections):
                target.received.discard(kind)
                if kind in target.outlets:
                    target.outlets[kind].renegotiate(target.outlets[kind].stream.section)
        if target.fed_by is not None:
            self._attach(target.fed_by, target, now)
        for other in self._legs.values():
            if other.fed_by is target:
                self._attach(target, other, now)

    def _make_outlet(self, session: Session, stream: OutboundStream, negotiated: NegotiatedMedia) -> Outlet:
        return Outlet(stream, negotiated)

    def expect(self, leg: str, kind: MediaKind, expected: bool) -> None:
        """Whether the leg's readiness waits for this kind."""
        target = self._leg(leg)
        if expected:
            target.not_expected.discard(kind)
        else:
            target.not_expected.add(kind)
            _tell_ready(target)

    def connect(self, source: str, destination: str, now: float) -> None:
        """From the next packet on, `source` and no other leg feeds `destination`."""
        feeding, target = self._leg(source), self._leg(destination)
        for other in self._legs.values():
            if other.fed_by is feeding and other is not target:
                other.fed_by = None  # a leg feeds one other; its gates are taken from the old one when attached
        target.fed_by = feeding
        self._attach(feeding, target, now)
        estimator = target.session.media.estimator
        _limit_source(target, None if estimator is None else estimator.limit_bps(now), now)

    def _attach(self, feeding: _Leg, target: _Leg, now: float) -> None:
        for kind, outlet in target.outlets.items():
            gate = feeding.gates[kind]
            section = next((media for media in feeding.session.media.sections if media.kind == kind), None)
            if section is not None and (outlet.source is not gate or gate.outlet is not outlet):
                outlet.attach(gate, section)
                if outlet.waits_for_keyframe:
                    # Nobody behind this outlet has lost a picture yet, so nobody else would ask.
                    feeding.session.media.request_keyframe(now)
            elif section is not None:
                outlet.remap(section)

    def limit(self, leg: str, at_most_bps: int | None, now: float) -> None:
        """Ask whatever feeds `leg` to send it no more than this in all; None: what its way can carry."""
        target = self._leg(leg)
        target.at_most_bps = at_most_bps
        estimator = target.session.media.estimator
        _limit_source(target, None if estimator is None else estimator.limit_bps(now), now)

    def disconnect(self, destination: str) -> None:
        """Nothing feeds `destination` any more."""
        target = self._leg(destination)
        target.fed_by = None
        for outlet in target.outlets.values():
            outlet.detach()

    def set_gate(self, leg: str, kind: MediaKind, state: GateState, now: float) -> None:
        """Set the valve on what a leg sends."""
        target = self._leg(leg)
        gate = target.gates[kind]
        if gate.state is GateState.SEALED or gate.state is state:
            return
        if gate.outlet is not None:
            gate.outlet.hold()
        gate.state = state
        if state in (GateState.MUTED, GateState.FROZEN, GateState.SEALED):
            gate.let_go()
        elif state is GateState.OPEN and kind == "video":
            if not gate.release(now):
                target.session.media.request_keyframe(now)
            if target.told_ready:
                gate.on_ready = None

    def request_keyframe(self, leg: str, now: float) -> None:
        """Ask a leg for a keyframe, throttled."""
        self._leg(leg).session.media.request_keyframe(now)

    def _keyframe_wanted(self, receiver: _Leg, stream: OutboundStream, now: float) -> None:
        """A receiver lost pictures: only its source can help, and only while it is let through."""
        outlet = receiver.outlets.get(stream.kind)
        if outlet is None:
            return
        if outlet.source is not None and outlet.source.state is GateState.OPEN and receiver.fed_by is not None:
            if outlet.converter is not None:
                outlet.converter.request_keyframe()
                return
            receiver.fed_by.session.media.request_keyframe(now)
        else:
            receiver.on_own_keyframe(receiver.name)

    def send_own(
        self,
        leg: str,
        kind: MediaKind,
        codec_name: str,
        payloads: list[tuple[bytes, bool]],
        timestamp: int,
        now: float,
    ) -> bool:
        """Send the engine's own packets to a leg while no source reaches it."""
        target = self._leg(leg)
        outlet = target.outlets.get(kind)
        if outlet is None or not target.session.media.secured or not outlet.negotiated.send:
            return False
        if outlet.source is not None and outlet.source.state is GateState.OPEN and not outlet.waits_for_keyframe:
            return False
        payload_type = _payload_type_of(outlet, codec_name)
        if payload_type is None:
            return False
        outlet.send_own(payloads, payload_type, timestamp, now)
        return True

    def kinds_without_common_format(self, leg: str) -> tuple[MediaKind, ...]:
        """The kinds of which the leg's source sends nothing that the leg has agreed to."""
        return tuple(kind for kind, outlet in self._leg(leg).outlets.items() if outlet.shares_no_format)

    def convert(self, leg: str, kind: MediaKind, converter: Converter | None, now: float) -> None:
        """Give what the leg's source sends in such formats to `converter`; None: it is dropped and counted."""
        target = self._leg(leg)
        outlet = target.outlets.get(kind)
        if outlet is not None:
            outlet.converter = converter
            self.limit(leg, target.at_most_bps, now)

    def send_converted(
        self,
        leg: str,
        kind: MediaKind,
        codec_name: str,
        payloads: list[tuple[bytes, bool]],
        timestamp: int,
        now: float,
        *,
        maker: object,
        source: InboundStream | None,
    ) -> bool:
        """Send what a converter has made of the source's packets."""
        target = self._legs.get(leg)
        outlet = None if target is None else target.outlets.get(kind)
        if target is None or outlet is None or not target.session.media.secured or not outlet.negotiated.send:
            return False
        if outlet.source is None or outlet.source.state is not GateState.OPEN:
            return False
        payload_type = _payload_type_of(outlet, codec_name)
        if payload_type is None:
            return False
        outlet.send_own(payloads, payload_type, timestamp, now, maker=maker, source=source)
        return True

    def tap(self, leg: str, tap: MediaTap | None) -> None:
        """Show what the leg's gates let through to `tap`; None ends it."""
        for kind, gate in self._leg(leg).gates.items():
            gate.tap = None if tap is None else _bind(tap, kind)
            if gate.outlet is not None:
                gate.outlet.stream.close_flow()

    def statistics(self, leg: str) -> Mapping[MediaKind, GateStatistics]:
        """The counters of a leg's gates."""
        target = self._leg(leg)
        target.session.media.settle_flows()
        return {kind: gate.statistics for kind, gate in target.gates.items()}


def _bind(tap: MediaTap, kind: MediaKind) -> Callable[[str, RtpHeader, memoryview, float], None]:
    return lambda codec_name, header, payload, now: tap(kind, codec_name, header, payload, now)


def _tell_ready(leg: _Leg) -> bool:
    expected = leg.received - leg.not_expected
    if not leg.told_ready and leg.received and all(leg.gates[kind].ready for kind in expected):
        leg.told_ready = True
        for gate in leg.gates.values():
            if gate.held is None:
                gate.on_ready = None
        leg.on_ready(leg.name)
    return leg.told_ready


def _limit_source(receiver: _Leg, bitrate_bps: int | None, now: float) -> None:
    """What the receiver's way can carry, and what it wants at most (``b=TIAS``, ``b=AS``, `limit`), caps its source.

    The source's own way is estimated on its own.
    """
    sections = receiver.session.media.sections
    wanted_bps = next((section.remote_max_bitrate_bps for section in sections if section.kind == "video"), None)
    limits = [limit for limit in (bitrate_bps, wanted_bps, receiver.at_most_bps) if limit]
    limit_bps = min(limits, default=None)
    pictures = receiver.outlets.get("video")
    if pictures is not None and pictures.converter is not None:
        pictures.converter.limit_bitrate(limit_bps)
        limit_bps = None
    if receiver.fed_by is not None:
        receiver.fed_by.session.media.limit_bitrate(limit_bps, now)


def _payload_type_of(outlet: Outlet, codec_name: str) -> int | None:
    entries = outlet.negotiated.codecs
    return next((entry.payload_type for entry in entries if entry.codec.name.lower() == codec_name), None)
