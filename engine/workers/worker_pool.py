"""Media processes: started, watched, started again, and the media port that spreads calls over them.

A call's legs live in one process, the one with the fewest legs when the call began. A process that dies takes its calls
only: they are told by `MediaLost`, and their legs are opened again, in whichever process has room.
"""

from __future__ import annotations

import logging
import os
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Final

import trio

from triortc.codecs.registry import MediaKind
from triortc.engine.calls.leg_configuration import MediaConfiguration
from triortc.engine.calls.media_events import MediaEvent, RecordingStopped
from triortc.engine.calls.ports import Side, View
from triortc.engine.relay.gate import GateState, GateStatistics
from triortc.engine.relay.plane_choice import describe_choice
from triortc.engine.workers.configuration import WorkerConfiguration
from triortc.engine.workers.remote_legs import RemoteLegs
from triortc.errors import CallError, ConfigurationError

__all__ = ["WorkerPool", "open_worker_pool"]

_log = logging.getLogger("triortc.workers")
_MAIN: Final = "triortc.engine.workers.worker_process"
#: A process whose connection broke is mostly gone already, and its end says why.
_MOMENT_S: Final = 0.25
#: Counters that rise and fall: what a process had of them went with it.
_PRESENT: Final = frozenset({"legs.open", "recordings.open", "transcodings.open", "forwarder.open_flows"})


@dataclass(slots=True, eq=False)
class _Worker:
    """One of the pool's places: the process that runs there now, or that is about to."""

    number: int
    remote: RemoteLegs
    process: trio.Process | None = None
    #: Set when the first process listens, or cannot.
    began: trio.Event = field(default_factory=trio.Event)
    unusable: ConfigurationError | OSError | None = None
    restarts: int = 0
    failures_in_a_row: int = 0

    @property
    def load(self) -> tuple[bool, int, int]:
        """What the choice for a new call goes by: the least."""
        return (self.remote.ready is None, self.failures_in_a_row, self.remote.legs)


class WorkerPool:
    """Implements `MediaPort` over media processes. Made by :func:`open_worker_pool`."""

    def __init__(self, media: MediaConfiguration, configuration: WorkerConfiguration) -> None:
        port = media.endpoint.media_port
        if port and port + configuration.count > 65536:
            raise ConfigurationError(f"{configuration.count} workers do not fit above media_port {port}: choose less")
        self._media = media
        self._configuration = configuration
        self._ended: Counter[str] = Counter()
        self._worker_of: dict[str, _Worker] = {}
        self._session_of: dict[str, str] = {}
        self._latency: tuple[Callable[[float], None], float] | None = None
        #: Set by call control: what happened to a leg.
        self.on_event: Callable[[MediaEvent], None] = lambda event: None
        self._workers = [_Worker(number, self._remote(number)) for number in range(configuration.count)]

    # -- MediaPort

    def open_leg(self, session: str, leg: str, side: Side) -> None:
        """Make a leg, its gates closed. Raises CallError when the name is taken or the limit reached."""
        if leg in self._session_of:
            raise CallError(f"leg {leg!r} is already open: leg ids are never used again")
        if len(self._session_of) >= self._media.max_legs:
            raise CallError("the limit of legs is reached (max_legs)")
        worker = self._worker_of.get(session)
        if worker is None:
            worker = self._worker_of[session] = min(self._workers, key=lambda worker: worker.load)
        self._session_of[leg] = session
        worker.remote.open_leg(session, leg, side)

    def answer(self, leg: str, neg: int, offer_sdp: str) -> None:
        """Pass an offer on: `OfferAnswered` or `OfferRefused` follows within `request_timeout_s`. Raises CallError."""
        remote = self._remote_of_leg(leg)
        if remote is None:
            raise CallError(f"there is no leg {leg!r}")
        remote.answer(leg, neg, offer_sdp)

    def add_candidates(self, leg: str, neg: int, ufrag: str, candidates: Sequence[tuple[str, str]], end: bool) -> None:
        """Candidates of the device as (candidate line, mid); those of a leg that is not there are dropped."""
        remote = self._remote_of_leg(leg)
        if remote is None:
            self._ended["candidates_dropped"] += len(candidates)
        else:
            remote.add_candidates(leg, neg, ufrag, candidates, end)

    def set_gate(self, session: str, leg: str, kind: MediaKind, state: GateState, epoch: int) -> None:
        """Set the valve from this leg to the other side."""
        remote = self._remote_of_leg(leg)
        if remote is not None:
            remote.set_gate(session, leg, kind, state, epoch)

    def set_source(self, session: str, side: Side, leg: str) -> None:
        """From now on this leg, and no other of its side, feeds the other side, and is fed by it."""
        remote = self._remote_of_leg(leg)
        if remote is not None:
            remote.set_source(session, side, leg)

    def set_view(self, leg: str, view: View) -> None:
        """How large the leg's device shows the other side."""
        remote = self._remote_of_leg(leg)
        if remote is not None:
            remote.set_view(leg, view)

    def request_keyframe(self, leg: str) -> None:
        """Ask the leg's device for a keyframe."""
        remote = self._remote_of_leg(leg)
        if remote is not None:
            remote.request_keyframe(leg)

    def close_leg(self, leg: str) -> None:
        """End a leg; unknown or closed legs are ignored."""
        session = self._session_of.pop(leg, None)
        if session is None:
            return
        remote = self._worker_of[session].remote
        remote.close_leg(leg)
        if not remote.legs_of(session):
            del self._worker_of[session]

    def close_session(self, session: str) -> None:
        """End every leg of a session; unknown or closed sessions are ignored."""
        worker = self._worker_of.pop(session, None)
        if worker is not None:
            for leg in worker.remote.legs_of(session):
                del self._session_of[leg]
            worker.remote.close_session(session)

    def start_recording(self, session: str, recording: str) -> None:
        """Record both sides of a session from now on, into a file named by the id, which its worker writes."""
        worker = self._worker_of.get(session)
        if worker is None:
            self.on_event(RecordingStopped(session, recording, "the call has no legs"))
        else:
            worker.remote.start_recording(session, recording)

    def stop_recording(self, session: str) -> None:
        """End the session's recording, if there is one."""
        worker = self._worker_of.get(session)
        if worker is not None:
            worker.remote.stop_recording(session)

    def gate_statistics(self, session: str) -> Mapping[tuple[str, MediaKind], GateStatistics]:
        """Counters by (source leg, kind), at most `report_interval_s` old."""
        worker = self._worker_of.get(session)
        return {} if worker is None else worker.remote.gate_statistics(session)

    # -- for the server

    @property
    def legs(self) -> int:
        """How many legs are open."""
        return len(self._session_of)

    @property
    def processes(self) -> list[int | None]:
        """The process number of each worker, as this machine counts them; None: it is not running now."""
        return [None if worker.process is None else worker.process.pid for worker in self._workers]

    def worker_of(self, session: str) -> int | None:
        """The number of the worker that has a session's legs."""
        worker = self._worker_of.get(session)
        return None if worker is None else worker.number

    async def snapshot(self, session: str, side: Side) -> bytes | None:
        """The newest picture of one side that the other side gets, as PNG; None when no picture came in time.

        Raises:
            CallError: there is no such session, or its worker does not answer.
        """
        worker = self._worker_of.get(session)
        if worker is None:
            raise CallError(f"there is no session {session!r} with legs: a still is taken while the call is on")
        return await worker.remote.snapshot(session, side)

    def counters(self) -> dict[str, int]:
        """Totals since the start over all workers, those that died included, and how each worker does."""
        total = Counter(self._ended)
        for worker in self._workers:
            total.update(worker.remote.counters)
            total[f"worker_{worker.number}.legs"] = worker.remote.legs
            total[f"worker_{worker.number}.restarts"] = worker.restarts
            total[f"worker_{worker.number}.running"] = int(worker.remote.ready is not None)
        total["workers.running"] = sum(worker.remote.ready is not None for worker in self._workers)
        total["workers.restarts"] = sum(worker.restarts for worker in self._workers)
        return dict(total)

    def plane(self) -> dict[str, str]:
        """Which data plane runs, why, and where the workers listen, in words."""
        ready = [(worker, worker.remote.ready) for worker in self._workers if worker.remote.ready is not None]
        name, reason = describe_choice(self._media.plane)
        found = {"name": name, "reason": reason, "fallbacks": ""}
        for _, said in ready:
            found.update(said.plane)
        for worker, said in ready:
            where = ", ".join(f"{f'[{host}]' if ':' in host else host}:{port}" for host, port in said.addresses)
            found[f"worker_{worker.number}"] = f"process {said.process} at {where}"
        return found

    def measure_relay_latency(self, on_latency: Callable[[float], None], *, every_s: float) -> None:
        """Time what goes through the loops of the workers, now and then: see `Endpoint.measure_latency`."""
        self._latency = (on_latency, every_s)
        for worker in self._workers:
            worker.remote.measure_relay_latency(on_latency, every_s=every_s)

    # -- processes

    def _remote(self, number: int) -> RemoteLegs:
        endpoint = self._media.endpoint
        if endpoint.media_port:
            endpoint = replace(endpoint, media_port=endpoint.media_port + number)
        name = f"media worker {number}"
        remote = RemoteLegs(name, replace(self._media, endpoint=endpoint), self._configuration, self._happened)
        if self._latency is not None:
            on_latency, every_s = self._latency
            remote.measure_relay_latency(on_latency, every_s=every_s)
        return remote

    def _remote_of_leg(self, leg: str) -> RemoteLegs | None:
        session = self._session_of.get(leg)
        return None if session is None else self._worker_of[session].remote

    def _happened(self, event: MediaEvent) -> None:
        self.on_event(event)

    async def run(self, task_status: trio.TaskStatus[ConfigurationError | OSError | None]) -> None:
        """Keep every worker running, until cancelled.

        It is started when all of them listen, and then returns nothing; or when one of them cannot, and returns why.
        """
        async with trio.open_nursery() as nursery:
            for worker in self._workers:
                nursery.start_soon(self._keep, worker)
            for worker in self._workers:
                await worker.began.wait()
                if worker.unusable is not None:
                    nursery.cancel_scope.cancel()
            task_status.started(next((worker.unusable for worker in self._workers if worker.unusable), None))

    async def _keep(self, worker: _Worker) -> None:
        """One worker's place: a process after the other."""
        settings = self._configuration
        while True:
            since = trio.current_time()
            await self._run_once(worker)
            if trio.current_time() - since >= settings.restart_at_most_s:
                worker.failures_in_a_row = 0
            pause_s = min(settings.restart_after_s * 2**worker.failures_in_a_row, settings.restart_at_most_s)
            worker.failures_in_a_row = min(worker.failures_in_a_row + 1, 30)
            worker.restarts += 1
            _log.info("%s is started again in %g s", worker.remote.name, pause_s)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(worker.remote.keep_deadlines)
                await trio.sleep(pause_s)
                nursery.cancel_scope.cancel()

    async def _run_once(self, worker: _Worker) -> None:
        """Start a process and talk to it until it ends. Its place takes requests again before it is gone for good."""
        remote = worker.remote
        ours, theirs = socket.socketpair()
        stream = trio.SocketStream(trio.socket.from_stdlib_socket(ours))
        process: trio.Process | None = None
        reason = ""
        try:
            with theirs:
                process = worker.process = await _start(theirs)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(remote.keep_deadlines)
                reason = await remote.run(stream, worker.began)
                nursery.cancel_scope.cancel()
            with trio.move_on_after(_MOMENT_S):
                ended = await process.wait()
                reason = f"{remote.name} was ended by signal {-ended}" if ended < 0 else reason
        except* (ConfigurationError, OSError) as errors:
            error = _only(errors)
            reason = str(error)
            worker.unusable = error
            worker.began.set()
        finally:
            stream.socket.close()  # a process that still lives ends its legs now
            worker.process = None
            if reason:
                _log.error("%s", reason)
                self._lost(worker, reason)
            if process is not None:
                await _end(process, self._configuration.stop_timeout_s)

    def _lost(self, worker: _Worker, reason: str) -> None:
        """What the process had is gone. Its place takes requests again before anybody is told."""
        gone, worker.remote = worker.remote, self._remote(worker.number)
        self._ended.update({name: value for name, value in gone.counters.items() if name not in _PRESENT})
        for session in gone.sessions:
            del self._worker_of[session]
            for leg in gone.legs_of(session):
                del self._session_of[leg]
        gone.lost(reason)


async def _start(connection: socket.socket) -> trio.Process:
    """A media process at the other end of a socket pair. It is told all else through it."""
    descriptor = connection.fileno()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TRIORTC_")}
    return await trio.lowlevel.open_process(
        [sys.executable, "-P", "-m", _MAIN, str(descriptor)],
        pass_fds=(descriptor,),
        stdin=subprocess.DEVNULL,
        env=environment,
    )


async def _end(process: trio.Process, within_s: float) -> None:
    """Wait for a process that has no connection any more, and kill it when it takes too long."""
    with trio.move_on_after(within_s, shield=True):
        await process.wait()
    if process.returncode is None:
        process.kill()
        with trio.move_on_after(within_s, shield=True):
            await process.wait()


def _only(errors: BaseExceptionGroup[ConfigurationError | OSError]) -> ConfigurationError | OSError:
    first = errors.exceptions[0]
    return _only(first) if isinstance(first, BaseExceptionGroup) else first


@asynccontextmanager
async def open_worker_pool(media: MediaConfiguration, configuration: WorkerConfiguration) -> AsyncGenerator[WorkerPool]:
    """Start media processes; leaving ends every leg and every process, in bounded time.

    Arguments:
        media: what each of them is; with a `media_port`, each has the next one.
        configuration: how many, and how long what may take.

    Raises:
        ConfigurationError, OSError: one of them cannot be what it was told to be.
    """
    if not configuration.count:
        raise ConfigurationError("workers.count is 0: media runs in this process; open_leg_manager opens it")
    pool = WorkerPool(media, configuration)
    async with trio.open_nursery() as nursery:
        unusable = await nursery.start(pool.run)
        if unusable is None:
            yield pool
        nursery.cancel_scope.cancel()
    if unusable is not None:
        raise unusable
