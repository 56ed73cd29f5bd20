"""The media side of calls: legs over ICE and DTLS-SRTP, gates between them. Call control's MediaPort, for real.

A leg is one offer/answer between one device and the engine (:mod:`triortc.engine.calls.call_legs`). What it may agree
on follows from the leg that is there before it (:mod:`triortc.engine.calls.leg_negotiation`).
"""

from __future__ import annotations

import os
import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import trio

from triortc.codecs.registry import MediaKind
from triortc.engine.calls.call_legs import CallLegs, Leg
from triortc.engine.calls.call_recording import delete_old_recordings
from triortc.engine.calls.leg_configuration import MediaConfiguration
from triortc.engine.calls.leg_counters import AT_ONCE, LegCounters
from triortc.engine.calls.leg_negotiation import answer_offer, constrain
from triortc.engine.calls.media_events import (
    LegFailed,
    LegLost,
    LegReady,
    LegRecovered,
    LegUp,
    MediaEvent,
    RecordingStopped,
)
from triortc.engine.calls.media_watch import MediaWatch, WatchedLeg
from triortc.engine.calls.ports import Side, View
from triortc.engine.calls.quality_watch import QualityWatch
from triortc.engine.calls.slate_player import SlatePlayer
from triortc.engine.calls.transcoding import Transcodings
from triortc.engine.dtls.certificate import Certificate
from triortc.engine.endpoint import Endpoint, open_endpoint
from triortc.engine.relay.accelerated_plane import AcceleratedPlane
from triortc.engine.relay.gate import GateState, GateStatistics
from triortc.engine.relay.plane import DataPlane
from triortc.engine.relay.plane_choice import choose_plane, describe_choice
from triortc.engine.sdp.candidate import parse_candidate
from triortc.engine.sdp.grammar import SessionDescription, parse
from triortc.engine.sdp.negotiated import Negotiated, SdpUnsupportedError
from triortc.engine.session.events import (
    FINAL_STATES,
    ConnectionState,
    ConnectionStateChanged,
    SessionEvent,
    SessionResumed,
    SessionSilent,
)
from triortc.engine.session.session import Session
from triortc.errors import CallError, SdpError

__all__ = ["LegManager", "Side", "open_leg_manager"]


class LegManager:
    """Implements call control's MediaPort over an endpoint and a data plane. Made by :func:`open_leg_manager`.

    Every method is synchronous and must be called from the trio thread.
    """

    def __init__(
        self, endpoint: Endpoint, plane: DataPlane, nursery: trio.Nursery, configuration: MediaConfiguration
    ) -> None:
        self._endpoint = endpoint
        self._plane = plane
        self._configuration = configuration
        self._certificate = Certificate.generate(valid_from=datetime.now(UTC) - timedelta(days=1))
        self._slates = SlatePlayer(plane, endpoint, nursery, configuration)
        self._transcodings = Transcodings(plane, endpoint, nursery, configuration)
        self._watch = MediaWatch(plane, nursery, configuration.recording, self._recording_stopped)
        self._quality = QualityWatch(nursery, configuration.quality, lambda event: self.on_event(event))
        self._legs: dict[str, Leg] = {}
        self._calls: dict[str, CallLegs] = {}
        self._counters = LegCounters(endpoint, plane)
        self._nursery = nursery
        self._following = False
        #: Set by call control: what happened to a leg.
        self.on_event: Callable[[MediaEvent], None] = lambda event: None

    # -- MediaPort

    def open_leg(self, session: str, leg: str, side: Side) -> None:
        """Make a leg, its gates closed. Raises CallError when the name is taken or the limit reached."""
        if leg in self._legs:
            raise CallError(f"leg {leg!r} is already open: leg ids are never used again")
        if len(self._legs) >= self._configuration.max_legs:
            raise CallError("the limit of legs is reached (max_legs)")
        opened = self._legs[leg] = Leg(leg, session, side)
        if len(self._legs) > AT_ONCE and not self._following:
            self._following = True
            self._nursery.start_soon(self._follow_counters, name="counters of legs")
        self._calls.setdefault(session, CallLegs()).add(opened)

    def answer(self, leg: str, neg: int, offer_sdp: str) -> str:
        """Apply an offer of the leg's device and return the answer.

        Raises:
            SdpError: the offer is malformed, out of date, or asks for what cannot be done (SdpUnsupportedError).
            CallError: there is no such leg.
        """
        target = self._known(leg)
        if neg <= target.neg:
            raise SdpError(f"offer {neg} is out of date: {target.neg} has been answered")
        offer = parse(offer_sdp)
        now = trio.current_time()
        transport = target.transport or self._open_transport(target)
        try:
            answer, negotiated = self._answer(target, transport, offer, target.negotiated)
            if negotiated.dtls_restart:
                transport = self._renew_transport(target)
                answer, negotiated = self._answer(target, transport, offer, None)
            elif negotiated.ice_restart and transport.state in FINAL_STATES:
                raise SdpUnsupportedError("this leg's transport is over: offer from a new connection instead")
        except SdpError:
            transport.give_up_ice_restart()
            if target.negotiated is None:
                self._close_transport(target)
            raise
        target.neg, target.negotiated = neg, negotiated
        target.description_version += 1
        transport.set_remote(negotiated, now)
        self._plane.negotiated(leg, now)
        self._give_early_candidates(target, now)
        self._connect(target)
        if target.side == "visitor" and not self._calls[target.session_id].agent_is_shown:
            self._slates.start(leg, transport)
        self._endpoint.flush(now)
        return str(answer)

    def add_candidates(self, leg: str, neg: int, ufrag: str, candidates: Sequence[tuple[str, str]], end: bool) -> None:
        """Candidates of the device as (candidate line, mid). Malformed and out-of-date ones are dropped and counted."""
        target = self._legs.get(leg)
        if target is None or (target.neg and neg < target.neg):
            self._counters.totals["candidates_dropped"] += len(candidates)
            return
        if target.negotiated is not None and ufrag and ufrag != target.negotiated.remote_ufrag:
            self._counters.totals["candidates_dropped"] += len(candidates)
            return
        room = self._configuration.max_early_candidates - len(target.early_candidates)
        self._counters.totals["candidates_dropped"] += max(0, len(candidates) - room)
        target.early_candidates += list(candidates)[: max(0, room)]
        target.early_end = target.early_end or end
        if target.negotiated is not None:
            now = trio.current_time()
            self._give_early_candidates(target, now)
            self._endpoint.flush(now)

    def set_gate(self, session: str, leg: str, kind: MediaKind, state: GateState, epoch: int) -> None:
        """Set the valve from this leg to the other side."""
        target = self._legs.get(leg)
        if target is None:
            return
        target.gates[kind] = state
        if target.transport is not None:
            now = trio.current_time()
            self._plane.set_gate(leg, kind, state, now)
            self._plane.expect(leg, kind, state is not GateState.MUTED)
            self._endpoint.flush(now)
        if state is GateState.OPEN:
            self._quality.start(leg, lambda: target.transport)
            opposite = self._calls[target.session_id].opposite(target)
            self._slates.stop(opposite.name if opposite is not None else None)

    def set_source(self, session: str, side: Side, leg: str) -> None:
        """From now on this leg, and no other of its side, feeds the other side, and is fed by it."""
        call = self._calls.get(session)
        target = self._legs.get(leg)
        if call is None or target is None:
            return
        call.source[side] = leg
        self._connect(target)

    def set_view(self, leg: str, view: View) -> None:
        """A thumbnail needs less: what feeds the leg is asked to send less, and to send all again for `full`."""
        target = self._legs.get(leg)
        if target is not None:
            target.view = view
            self._limit(target)

    def _limit(self, leg: Leg) -> None:
        if leg.transport is not None:
            now = trio.current_time()
            at_most_bps = self._configuration.thumbnail_bps if leg.view == "thumbnail" else None
            self._plane.limit(leg.name, at_most_bps, now)
            self._endpoint.flush(now)

    def request_keyframe(self, leg: str) -> None:
        """Ask the leg's device for a keyframe."""
        target = self._legs.get(leg)
        if target is not None and target.transport is not None:
            now = trio.current_time()
            self._plane.request_keyframe(leg, now)
            self._endpoint.flush(now)

    def close_leg(self, leg: str) -> None:
        """End a leg; unknown or closed legs are ignored."""
        target = self._legs.pop(leg, None)
        if target is None:
            return
        self._quality.stop(leg)
        call = self._calls[target.session_id]
        call.remove(target)
        if not call.legs:
            del self._calls[target.session_id]
        self._close_transport(target)

    def close_session(self, session: str) -> None:
        """End every leg of a session; unknown or closed sessions are ignored."""
        self._watch.close_session(session)
        call = self._calls.get(session)
        for leg in list(call.legs) if call is not None else ():
            self.close_leg(leg)

    def start_recording(self, session: str, recording: str) -> None:
        """Record both sides of a session from now on, into a file named by the id. Returns at once.

        What is in the way (no directory, the limit, a full disk) ends the recording and no call: see RecordingStopped.
        """
        if session not in self._calls:
            self._recording_stopped(session, recording, "the call has no legs")
            return
        self._watch.start_recording(session, recording, self._watched_legs(session))
        self._endpoint.flush(trio.current_time())

    def stop_recording(self, session: str) -> None:
        """End the session's recording, if there is one. Returns at once; the file is finished in a thread."""
        self._watch.stop_recording(session)

    def gate_statistics(self, session: str) -> Mapping[tuple[str, MediaKind], GateStatistics]:
        """Counters by (source leg, kind) of the legs that are open."""
        call = self._calls.get(session)
        found: dict[tuple[str, MediaKind], GateStatistics] = {}
        for leg in call.legs.values() if call is not None else ():
            if leg.transport is not None:
                for kind, statistics in self._plane.statistics(leg.name).items():
                    found[leg.name, kind] = statistics
        return found

    def close(self) -> None:
        """End every leg and recording."""
        for session in list(self._calls):
            self._watch.close_session(session)
        for leg in list(self._legs):
            self.close_leg(leg)

    # -- for the server

    @property
    def legs(self) -> int:
        """How many legs are open."""
        return len(self._legs)

    def transport(self, leg: str) -> Session | None:
        """The session under a leg, for statistics; None before its offer."""
        return self._known(leg).transport

    async def snapshot(self, session: str, side: Side) -> bytes | None:
        """The newest picture of one side that the other side gets, as PNG.

        From what is recorded, or else from the next keyframe, which the device is asked for.

        Returns:
            None when no picture came in time: the camera is off, or the gate is not open.

        Raises:
            CallError: there is no such session.
        """
        if session not in self._calls:
            raise CallError(f"there is no session {session!r} with legs: a still is taken while the call is on")
        return await self._watch.snapshot(session, side, self._watched_legs(session))

    def measure_relay_latency(self, on_latency: Callable[[float], None], *, every_s: float) -> None:
        """Time what goes through the loop, now and then: see `Endpoint.measure_latency`."""
        self._endpoint.measure_latency(on_latency, every_s=every_s)

    @property
    def endpoint(self) -> Endpoint:
        """The sockets under the legs, for who measures them."""
        return self._endpoint

    def counters(self) -> dict[str, int]:
        """Totals since the start, open legs included: gates, drops, sockets. Of many legs a second old."""
        total = self._counters.read(self._legs)
        total["legs.open"] = len(self._legs)
        total["recordings.open"] = self._watch.running
        total["transcodings.open"] = self._transcodings.running
        total["transcodings.dropped"] = self._transcodings.dropped
        return dict(total)

    def plane(self) -> dict[str, str]:
        """Which data plane runs, why, and in words what this kernel does not have and packets cost more without."""
        name, reason = describe_choice(self._configuration.plane)
        fallbacks = [words for socket in self._endpoint.sockets for words in socket.fallbacks]
        return {"name": name, "reason": reason, "fallbacks": "; ".join(fallbacks)}

    # -- inside

    async def _follow_counters(self) -> None:
        await self._counters.follow(self._legs)
        self._following = False

    def _answer(
        self, leg: Leg, transport: Session, offer: SessionDescription, previous: Negotiated | None
    ) -> tuple[SessionDescription, Negotiated]:
        agreed_before = self._calls[leg.session_id].agreed_before(leg)
        return answer_offer(
            leg,
            transport,
            offer,
            previous=previous,
            codecs=self._configuration.codecs,
            constraints=constrain(agreed_before, may_transcode=self._transcodings.room),
        )

    def _known(self, leg: str) -> Leg:
        target = self._legs.get(leg)
        if target is None:
            raise CallError(f"there is no leg {leg!r}")
        return target

    def _open_transport(self, leg: Leg) -> Session:
        session_configuration = self._configuration.session
        transport = Session(
            controlling=False,
            certificate=self._certificate,
            configuration=session_configuration,
            random_bytes=os.urandom,
        )
        leg.transport = transport
        self._plane.add_leg(
            leg.name,
            transport,
            takes_over=self._calls[leg.session_id].takes_over(leg),
            on_ready=lambda name: self.on_event(LegReady(name)),
            on_own_keyframe=self._slates.keyframe_wanted,
        )
        for kind, state in leg.gates.items():
            self._plane.set_gate(leg.name, kind, state, trio.current_time())
            self._plane.expect(leg.name, kind, state is not GateState.MUTED)
        self._limit(leg)
        self._watch.leg_opened(leg.session_id, WatchedLeg(leg.name, leg.side, transport.media))
        self._endpoint.add(transport, lambda event: self._transport_event(leg, transport, event))
        return transport

    def _renew_transport(self, leg: Leg) -> Session:
        """Another certificate is another association (RFC 8842): the device's page was loaded again.

        Nothing of the old one can be used, so the leg starts anew under its name, its gates as they are. What the
        other side is sent goes on in the streams it has.
        """
        self._missed(leg)
        self._close_transport(leg)
        leg.negotiated = None
        return self._open_transport(leg)

    def _close_transport(self, leg: Leg) -> None:
        self._slates.stop(leg.name)
        self._transcodings.close(leg.name)
        transport = leg.transport
        if transport is None:
            return
        self._counters.keep(leg)
        leg.transport = None
        self._watch.leg_closing(leg.session_id, leg.name)
        self._plane.remove_leg(leg.name)
        transport.close(trio.current_time())
        self._endpoint.remove(transport)

    def _give_early_candidates(self, leg: Leg, now: float) -> None:
        transport = leg.transport
        if transport is None:
            return
        lines, leg.early_candidates = leg.early_candidates, []
        for line, _mid in lines:
            if not line:
                continue
            try:
                transport.add_remote_candidate(parse_candidate(line), now)
            except SdpError:
                self._counters.totals["candidates_malformed"] += 1
        if leg.early_end:
            leg.early_end = False
            transport.add_remote_candidate(None, now)

    def _connect(self, leg: Leg) -> None:
        """Join a leg with the other side's, if each is the one that speaks for its side."""
        call = self._calls[leg.session_id]
        other = call.opposite(leg)
        if other is None or not call.speaks(leg):
            return
        if leg.transport is not None and other.transport is not None:
            now = trio.current_time()
            self._plane.connect(leg.name, other.name, now)
            self._plane.connect(other.name, leg.name, now)
            self._transcodings.update(leg.name, leg.transport)
            self._transcodings.update(other.name, other.transport)
            self._endpoint.flush(now)

    def _watched_legs(self, session: str) -> list[WatchedLeg]:
        call = self._calls.get(session)
        return [
            WatchedLeg(leg.name, leg.side, leg.transport.media)
            for leg in (call.legs.values() if call is not None else ())
            if leg.transport is not None
        ]

    def _recording_stopped(self, session: str, recording: str, reason: str) -> None:
        self.on_event(RecordingStopped(session, recording, reason))

    def _transport_event(self, leg: Leg, transport: Session, event: SessionEvent) -> None:
        if leg.name not in self._legs or leg.transport is not transport:
            return
        match event:
            case ConnectionStateChanged(ConnectionState.CONNECTED):
                if not leg.up:
                    leg.up = True
                    self.on_event(LegUp(leg.name))
                self._found(leg)
            case ConnectionStateChanged(ConnectionState.DISCONNECTED) | SessionSilent():
                self._missed(leg)
            case SessionResumed():
                self._found(leg)
            case ConnectionStateChanged(ConnectionState.FAILED | ConnectionState.CLOSED, reason):
                self._missed(leg)
                self.on_event(LegFailed(leg.name, reason))

    def _missed(self, leg: Leg) -> None:
        if leg.up and not leg.lost:
            leg.lost = True
            self.on_event(LegLost(leg.name))

    def _found(self, leg: Leg) -> None:
        if leg.lost:
            leg.lost = False
            self.on_event(LegRecovered(leg.name))


@asynccontextmanager
async def open_leg_manager(configuration: MediaConfiguration) -> AsyncGenerator[LegManager]:
    """Open the media side of calls; leaving it closes every leg and socket.

    Raises:
        ConfigurationError, OSError: the media address or the directory of recordings cannot be used.
    """
    await trio.to_thread.run_sync(delete_old_recordings, configuration.recording)
    # The engine's own clock is trio's; sender reports carry Unix time, so the difference is taken once, here.
    configuration = configuration.with_wall_clock_offset(time.time() - trio.current_time())
    plane = choose_plane(configuration.plane)
    accelerated = plane if isinstance(plane, AcceleratedPlane) else None
    async with open_endpoint(configuration.endpoint, accelerated) as endpoint, trio.open_nursery() as nursery:
        manager = LegManager(endpoint, plane, nursery, configuration)
        try:
            yield manager
        finally:
            manager.close()
            nursery.cancel_scope.cancel()
