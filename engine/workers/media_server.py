"""The media side of calls behind a stream: requests come in, go to a `LegManager`, and reports go out.

Everything secret (certificates, keys, ICE passwords) is made here and stays here.
"""

from __future__ import annotations

import logging
import os
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterable
from contextlib import aclosing, asynccontextmanager

import trio

from triortc.codecs.registry import MediaKind
from triortc.engine.calls.legs import LegManager, open_leg_manager
from triortc.engine.calls.media_events import MediaCrashed, MediaEvent, OfferAnswered, OfferRefused
from triortc.engine.collector import settle_collector
from triortc.engine.relay.gate import GateStatistics
from triortc.engine.sdp.negotiated import SdpUnsupportedError
from triortc.engine.workers import messages
from triortc.engine.workers.message_stream import MessageStream
from triortc.errors import CallError, CodecError, ConfigurationError, ProtocolError, SdpError

__all__ = ["serve_media"]

_log = logging.getLogger("triortc.worker")
#: Before `Configure` has said what is allowed.
_FIRST_MESSAGE_BYTES = 1 << 20
_MAX_LOGGED_CHARACTERS = 16 * 1024
_MAX_LOGGED_LINES = 1000
_MAX_LATENCIES = 100
#: What is read of a session's gates is settled first; packets do not wait until that is done for all.
_SESSIONS_IN_A_TURN = 8


async def serve_media(stream: trio.abc.Stream, *, own_process: bool = False) -> None:
    """Serve one server over a stream, until it ends the stream; then every leg ends and recordings are finished.

    Arguments:
        stream: closed at the end.
        own_process: the process is here for this alone: log lines go to the server, the collector is settled.

    Raises:
        ProtocolError: the server says what cannot be understood; nothing can be trusted from there on.
    """
    channel = MessageStream(_FIRST_MESSAGE_BYTES, _FIRST_MESSAGE_BYTES)
    async with stream, aclosing(channel.read(stream)) as incoming:
        first = await anext(incoming, None)
        if first is None:
            return
        configure = messages.decode_request(first)
        if not isinstance(configure, messages.Configure):
            raise ProtocolError(f"the first message is Configure, not {type(configure).__name__}")
        channel.allow(configure.max_message_bytes, configure.max_waiting_bytes)
        try:
            async with _reported_logs(channel, configure, own_process), open_leg_manager(configure.media) as legs:
                if own_process:
                    settle_collector()
                await _MediaServer(legs, channel, configure).run(stream, incoming)
        except (ConfigurationError, OSError) as error:
            message = messages.Unusable(str(error), isinstance(error, ConfigurationError))
            channel.send(messages.encode(message))
            with trio.move_on_after(configure.stop_timeout_s):
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(channel.write, stream)
                    await stream.receive_some()  # the server closes when it has read why
                    nursery.cancel_scope.cancel()


class _MediaServer:
    """One server's requests."""

    def __init__(self, legs: LegManager, channel: MessageStream, configure: messages.Configure) -> None:
        self._legs = legs
        self._channel = channel
        self._configure = configure
        #: The session of each leg, for the blame.
        self._session_of: dict[str, str] = {}
        self._latencies_s: list[float] = []
        self._nursery: trio.Nursery | None = None
        legs.on_event = self._happened

    async def run(self, stream: trio.abc.SendStream, incoming: AsyncIterable[bytes]) -> None:
        """Until the server ends the stream."""
        self._say(messages.Ready(os.getpid(), tuple(self._legs.endpoint.addresses), self._legs.plane()))
        try:
            async with trio.open_nursery() as self._nursery:
                self._nursery.start_soon(self._channel.write, stream)
                self._nursery.start_soon(self._report)
                async for message in incoming:
                    self._take(messages.decode_request(message))
                self._nursery.cancel_scope.cancel()
        except* trio.BrokenResourceError:
            pass  # the server died: this is the end, as it is when it closes

    def _say(self, report: messages.Report) -> None:
        self._channel.send(messages.encode(report))

    def _happened(self, event: MediaEvent) -> None:
        self._say(messages.happened(event))

    def _measured(self, latency_s: float) -> None:
        self._latencies_s.append(latency_s)

    async def _report(self) -> None:
        while True:
            legs = self._legs
            gates: dict[str, dict[MediaKind, GateStatistics]] = {}
            for turn, session in enumerate(list(dict.fromkeys(self._session_of.values())), 1):
                if turn % _SESSIONS_IN_A_TURN == 0:
                    await trio.lowlevel.checkpoint()
                for (leg, kind), statistics in legs.gate_statistics(session).items():
                    gates.setdefault(leg, {})[kind] = statistics
            latencies_s, self._latencies_s = self._latencies_s, []
            self._say(messages.Status(legs.counters(), gates, tuple(latencies_s)))
            await trio.sleep(self._configure.report_interval_s)

    # -- requests

    def _take(self, request: messages.Request) -> None:
        """Carry out a request. What it cannot do is said, and the others go on."""
        try:
            self._carry_out(request)
        except Exception as error:  # noqa: BLE001 - a failure of one call's is told to the server, which ends that call
            name = type(request).__name__
            _log.exception("%s failed", name)
            session = getattr(request, "session", None) or self._session_of.get(getattr(request, "leg", ""), "")
            words = f"{name} failed in the media process: {type(error).__name__}: {error}"
            if isinstance(request, messages.AnswerOffer):
                self._happened(OfferRefused(request.leg, request.neg, "failed", words))
            self._happened(MediaCrashed(session, words))

    def _carry_out(self, request: messages.Request) -> None:
        legs = self._legs
        match request:
            case messages.OpenLeg(session, leg, side):
                legs.open_leg(session, leg, side)
                self._session_of[leg] = session
            case messages.AnswerOffer():
                self._answer(request)
            case messages.AddCandidates(leg, neg, ufrag, candidates, end):
                legs.add_candidates(leg, neg, ufrag, candidates, end)
            case messages.SetGate(session, leg, kind, state, epoch):
                legs.set_gate(session, leg, kind, state, epoch)
            case messages.SetSource(session, side, leg):
                legs.set_source(session, side, leg)
            case messages.SetView(leg, view):
                legs.set_view(leg, view)
            case messages.RequestKeyframe(leg):
                legs.request_keyframe(leg)
            case messages.CloseLeg(leg):
                self._session_of.pop(leg, None)
                legs.close_leg(leg)
            case messages.CloseSession(session):
                self._session_of = {leg: of for leg, of in self._session_of.items() if of != session}
                legs.close_session(session)
            case _:
                self._watch(request)

    def _watch(self, request: messages.Request) -> None:
        """What somebody wants to see of calls, and no call needs."""
        legs = self._legs
        match request:
            case messages.StartRecording(session, recording):
                legs.start_recording(session, recording)
            case messages.StopRecording(session):
                legs.stop_recording(session)
            case messages.TakeSnapshot():
                assert self._nursery is not None
                self._nursery.start_soon(self._take_snapshot, request)
            case messages.MeasureLatency(every_s):
                # Not more than the server takes in one report, however often it is to be measured.
                least_s = self._configure.report_interval_s / _MAX_LATENCIES
                legs.measure_relay_latency(self._measured, every_s=max(every_s, least_s))
            case _:
                raise CallError(f"{type(request).__name__} is not expected here: it is configured already")

    def _answer(self, request: messages.AnswerOffer) -> None:
        try:
            answer = self._legs.answer(request.leg, request.neg, request.sdp)
        except SdpUnsupportedError as error:
            self._happened(OfferRefused(request.leg, request.neg, "unsupported", str(error)))
        except SdpError as error:
            self._happened(OfferRefused(request.leg, request.neg, "invalid", str(error)))
        except CallError as error:  # the leg was closed while the offer was on its way
            self._happened(OfferRefused(request.leg, request.neg, "failed", str(error)))
        else:
            self._happened(OfferAnswered(request.leg, request.neg, answer))

    async def _take_snapshot(self, request: messages.TakeSnapshot) -> None:
        try:
            png = await self._legs.snapshot(request.session, request.side)
            self._say(messages.SnapshotTaken(request.request, png))
        except (CallError, CodecError, ProtocolError) as error:
            self._say(messages.SnapshotTaken(request.request, fault=str(error)))


class _LogReporter(logging.Handler):
    """Hands log lines to the server, from any thread; the newest are dropped where too many wait."""

    def __init__(self, channel: MessageStream) -> None:
        super().__init__()
        self._channel = channel
        self._token = trio.lowlevel.current_trio_token()
        self._lines: deque[messages.Logged] = deque()

    def emit(self, record: logging.LogRecord) -> None:
        """Take a line."""
        try:
            if len(self._lines) < _MAX_LOGGED_LINES:
                line = self.format(record)[:_MAX_LOGGED_CHARACTERS]
                self._lines.append(messages.Logged(record.name, record.levelno, line))
                self._token.run_sync_soon(self._hand_over, idempotent=True)
        except trio.RunFinishedError:
            pass  # nobody is there who would read it

    def _hand_over(self) -> None:
        while self._lines:
            self._channel.send(messages.encode(self._lines.popleft()))


@asynccontextmanager
async def _reported_logs(
    channel: MessageStream, configure: messages.Configure, own_process: bool
) -> AsyncGenerator[None]:
    if not own_process:
        yield
        return
    handler = _LogReporter(channel)
    root = logging.getLogger()
    root.addHandler(handler)
    root.setLevel(configure.log_level)
    try:
        yield
    finally:
        root.removeHandler(handler)
