"""The media port of one media process, at the server's end of the stream."""

from __future__ import annotations

import itertools
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field

import trio

from triortc.codecs.registry import MediaKind
from triortc.engine.calls.leg_configuration import MediaConfiguration
from triortc.engine.calls.media_events import (
    MediaEvent,
    MediaLost,
    OfferAnswered,
    OfferRefused,
    RecordingStopped,
)
from triortc.engine.calls.ports import Side, View
from triortc.engine.relay.gate import GateState, GateStatistics
from triortc.engine.workers import messages
from triortc.engine.workers.configuration import WorkerConfiguration
from triortc.engine.workers.message_stream import MessageStream
from triortc.errors import CallError, ConfigurationError, ProtocolError

__all__ = ["RemoteLegs"]


@dataclass(slots=True, eq=False)
class _Snapshot:
    """Who waits for a still."""

    done: trio.Event = field(default_factory=trio.Event)
    taken: messages.SnapshotTaken | None = None


class RemoteLegs:
    """Implements `MediaPort` over a stream to `serve_media`. Requests wait until there is one.

    Every offer is answered or refused, in bounded time, whatever the other side does: see `lost`.

    Arguments:
        name: what it is called in messages to people.
        media: what the other side is to be.
        configuration: deadlines and limits.
        on_event: told what happens to legs.
    """

    def __init__(
        self,
        name: str,
        media: MediaConfiguration,
        configuration: WorkerConfiguration,
        on_event: Callable[[MediaEvent], None],
    ) -> None:
        self.name = name
        #: What the other side said when it began to listen; None: it does not yet.
        self.ready: messages.Ready | None = None
        #: What the other side has counted, when it last told.
        self.counters: dict[str, int] = {}
        self._media = media
        self._configuration = configuration
        self._on_event = on_event
        self._on_latency: Callable[[float], None] = lambda latency_s: None
        self._channel = MessageStream(configuration.max_message_bytes, configuration.max_waiting_bytes)
        self._session_of: dict[str, str] = {}
        self._sessions: dict[str, dict[str, None]] = {}
        self._gates: dict[str, dict[MediaKind, GateStatistics]] = {}
        #: The deadline of each offer that waits for its answer; they are all given the same time.
        self._offers: dict[tuple[str, int], float] = {}
        self._snapshots: dict[int, _Snapshot] = {}
        self._numbers = itertools.count(1)
        self._clock: trio.CancelScope | None = None
        self._heard = trio.CancelScope()
        self._reports = 0
        self._silent = False
        self._unusable: ConfigurationError | OSError | None = None
        self._over = False

    @property
    def legs(self) -> int:
        """How many legs are open there."""
        return len(self._session_of)

    @property
    def sessions(self) -> list[str]:
        """The sessions that have legs there."""
        return list(self._sessions)

    def legs_of(self, session: str) -> list[str]:
        """The legs that a session has there."""
        return list(self._sessions.get(session, ()))

    # -- MediaPort

    def open_leg(self, session: str, leg: str, side: Side) -> None:
        """Make a leg. Raises CallError when the name is taken."""
        if leg in self._session_of:
            raise CallError(f"leg {leg!r} is already open: leg ids are never used again")
        self._session_of[leg] = session
        self._sessions.setdefault(session, {})[leg] = None
        self._ask(messages.OpenLeg(session, leg, side))

    def answer(self, leg: str, neg: int, offer_sdp: str) -> None:
        """Pass an offer on: `OfferAnswered` or `OfferRefused` follows within `request_timeout_s`. Raises CallError."""
        if leg not in self._session_of:
            raise CallError(f"there is no leg {leg!r}")
        self._offers[leg, neg] = trio.current_time() + self._configuration.request_timeout_s
        self._set_clock()
        self._ask(messages.AnswerOffer(leg, neg, offer_sdp))

    def add_candidates(self, leg: str, neg: int, ufrag: str, candidates: Sequence[tuple[str, str]], end: bool) -> None:
        """Candidates of the device as (candidate line, mid)."""
        if leg in self._session_of:
            self._ask(messages.AddCandidates(leg, neg, ufrag, tuple((line, mid) for line, mid in candidates), end))

    def set_gate(self, session: str, leg: str, kind: MediaKind, state: GateState, epoch: int) -> None:
        """Set the valve from this leg to the other side."""
        if leg in self._session_of:
            self._ask(messages.SetGate(session, leg, kind, state, epoch))

    def set_source(self, session: str, side: Side, leg: str) -> None:
        """From now on this leg, and no other of its side, feeds the other side."""
        if leg in self._session_of:
            self._ask(messages.SetSource(session, side, leg))

    def set_view(self, leg: str, view: View) -> None:
        """How large the leg's device shows the other side."""
        if leg in self._session_of:
            self._ask(messages.SetView(leg, view))

    def request_keyframe(self, leg: str) -> None:
        """Ask the leg's device for a keyframe."""
        if leg in self._session_of:
            self._ask(messages.RequestKeyframe(leg))

    def close_leg(self, leg: str) -> None:
        """End a leg; unknown or closed legs are ignored."""
        session = self._session_of.pop(leg, None)
        if session is None:
            return
        self._gates.pop(leg, None)
        legs = self._sessions[session]
        del legs[leg]
        if not legs:
            del self._sessions[session]
        self._ask(messages.CloseLeg(leg))

    def close_session(self, session: str) -> None:
        """End every leg of a session; unknown or closed sessions are ignored."""
        legs = self._sessions.pop(session, None)
        if legs is None:
            return
        for leg in legs:
            del self._session_of[leg]
            self._gates.pop(leg, None)
        self._ask(messages.CloseSession(session))

    def start_recording(self, session: str, recording: str) -> None:
        """Record both sides of a session from now on."""
        if session in self._sessions:
            self._ask(messages.StartRecording(session, recording))
        else:
            self._on_event(RecordingStopped(session, recording, "the call has no legs"))

    def stop_recording(self, session: str) -> None:
        """End the session's recording, if there is one."""
        if session in self._sessions:
            self._ask(messages.StopRecording(session))

    def gate_statistics(self, session: str) -> Mapping[tuple[str, MediaKind], GateStatistics]:
        """Counters by (source leg, kind), as the other side last told them: at most `report_interval_s` old."""
        return {
            (leg, kind): statistics
            for leg in self._sessions.get(session, ())
            for kind, statistics in self._gates.get(leg, {}).items()
        }

    async def snapshot(self, session: str, side: Side) -> bytes | None:
        """The newest picture of one side that the other side gets, as PNG; None when no picture came in time.

        Raises:
            CallError: there is no such session, or the other side does not answer.
        """
        if session not in self._sessions:
            raise CallError(f"there is no session {session!r} with legs: a still is taken while the call is on")
        number = next(self._numbers)
        waiting = self._snapshots[number] = _Snapshot()
        patience_s = self._media.recording.snapshot_timeout_s + self._configuration.request_timeout_s
        try:
            self._ask(messages.TakeSnapshot(number, session, side))
            with trio.move_on_after(patience_s):
                await waiting.done.wait()
        finally:
            del self._snapshots[number]
        if waiting.taken is None:
            raise CallError(f"{self.name} has not taken the still within {patience_s:g} s")
        if waiting.taken.fault:
            raise CallError(waiting.taken.fault)
        return waiting.taken.png

    def measure_relay_latency(self, on_latency: Callable[[float], None], *, every_s: float) -> None:
        """See `LegManager.measure_relay_latency`; what is measured is told every `report_interval_s`."""
        self._on_latency = on_latency
        self._ask(messages.MeasureLatency(every_s))

    # -- the stream

    async def run(self, stream: trio.abc.Stream, started: trio.Event) -> str:
        """Talk to the other side until it ends, breaks, falls silent or talks nonsense.

        Arguments:
            stream: to `serve_media`; the caller closes it.
            started: set once `ready` is there.

        Returns:
            Why it is over, in words.

        Raises:
            ConfigurationError, OSError: the other side cannot be what it was told to be.
        """
        settings = self._configuration
        level = logging.getLogger("triortc").getEffectiveLevel()
        configure = messages.Configure(
            self._media,
            settings.report_interval_s,
            settings.max_message_bytes,
            settings.max_waiting_bytes,
            settings.stop_timeout_s,
            level,
        )
        self._channel.send(messages.encode(configure), first=True)
        reason = f"{self.name} ended"
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._channel.write, stream)
                nursery.start_soon(self._listen, nursery.cancel_scope)
                async with aclosing(self._channel.read(stream)) as reports:
                    async for message in reports:
                        self._take(messages.decode_report(message), started)
                        if self._unusable is not None:
                            break
                        self._reports += 1
                        self._heard.deadline = trio.current_time() + settings.silence_timeout_s
                nursery.cancel_scope.cancel()
        except* (trio.BrokenResourceError, trio.ClosedResourceError):
            reason = f"the connection to {self.name} broke"
        except* ProtocolError as errors:
            reason = f"{self.name}: {_first(errors)}"
        if self._unusable is not None:
            raise self._unusable
        if self._silent:
            reason = f"{self.name} has said nothing for {settings.silence_timeout_s:g} s"
        return reason

    async def keep_deadlines(self) -> None:
        """Refuse the offers whose time is over, whether there is a stream or not; runs until cancelled."""
        while True:
            with trio.CancelScope() as self._clock:
                self._set_clock()
                await trio.sleep_forever()
            now = trio.current_time()
            for (leg, neg), deadline in list(self._offers.items()):
                if deadline > now:
                    break
                del self._offers[leg, neg]
                words = f"{self.name} has not answered within {self._configuration.request_timeout_s:g} s"
                self._on_event(OfferRefused(leg, neg, "failed", words))

    def lost(self, reason: str) -> None:
        """The other side is gone: refuse what it has not answered, and tell of the legs that went with it."""
        self._over = True
        offers, self._offers = self._offers, {}
        sessions, self._sessions, self._session_of, self._gates = self._sessions, {}, {}, {}
        for leg, neg in offers:
            self._on_event(OfferRefused(leg, neg, "failed", f"{reason}; offer again"))
        for number, waiting in self._snapshots.items():
            waiting.taken = messages.SnapshotTaken(number, fault=reason)
            waiting.done.set()
        for session in sessions:
            self._on_event(MediaLost(session, reason))

    def _ask(self, request: messages.Request) -> None:
        if not self._over:
            self._channel.send(messages.encode(request))

    def _take(self, report: messages.Report, started: trio.Event) -> None:
        match report:
            case messages.Happened():
                self._happened(messages.decode_event(report))
            case messages.Status():
                self.counters = report.counters
                for latency_s in report.latencies_s:
                    self._on_latency(latency_s)
                self._gates = {leg: gates for leg, gates in report.gates.items() if leg in self._session_of}
            case messages.SnapshotTaken():
                waiting = self._snapshots.get(report.request)
                if waiting is not None:
                    waiting.taken = report
                    waiting.done.set()
            case messages.Logged():
                logging.getLogger(report.logger).log(report.level, "%s: %s", self.name, report.message)
            case messages.Ready():
                self.ready = report
                started.set()
            case messages.Unusable():
                words = f"{self.name}: {report.message}"
                self._unusable = ConfigurationError(words) if report.configuration else OSError(words)

    def _happened(self, event: MediaEvent) -> None:
        if isinstance(event, OfferAnswered | OfferRefused) and self._offers.pop((event.leg, event.neg), None) is None:
            return  # too late: it was refused when its time was over
        self._on_event(event)

    # -- time

    def _set_clock(self) -> None:
        if self._clock is not None:
            self._clock.deadline = next(iter(self._offers.values()), math.inf)

    async def _listen(self, connection: trio.CancelScope) -> None:
        """End the connection when the other side has fallen silent."""
        settings = self._configuration
        patience_s = settings.start_timeout_s
        while not self._silent:
            with trio.CancelScope(deadline=trio.current_time() + patience_s) as self._heard:
                await trio.sleep_forever()
            # This process may have stood still itself: what has come meanwhile is read first.
            heard = self._reports
            await trio.sleep(settings.report_interval_s)
            self._silent = self._reports == heard
            patience_s = settings.silence_timeout_s
        connection.cancel()


def _first(errors: BaseExceptionGroup[ProtocolError]) -> BaseException:
    first = errors.exceptions[0]
    return _first(first) if isinstance(first, BaseExceptionGroup) else first
