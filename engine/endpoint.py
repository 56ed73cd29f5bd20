"""The trio shell of the data plane: one UDP port for all sessions, drained in batches, and one timer.

A packet goes from the socket it came from to the socket it leaves by within one synchronous pass: receive a batch,
hand it to its sessions in runs, send what they (or the sessions they feed) have put out.
"""

from __future__ import annotations

import heapq
import time
from collections.abc import AsyncGenerator, Callable, Hashable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from math import inf
from typing import Final

import trio

from triortc.engine.address import Address
from triortc.engine.backlog import Backlog, HandUps
from triortc.engine.datagrams import BATCH_DATAGRAMS, DatagramBatch
from triortc.engine.endpoint_configuration import EndpointConfiguration
from triortc.engine.interfaces import local_addresses
from triortc.engine.media_loop import MediaLoop, Turn, TurnWatch
from triortc.engine.overload import Overload
from triortc.engine.relay.accelerated_plane import AcceleratedPlane
from triortc.engine.session.events import PathChanged, SessionEvent
from triortc.engine.session.session import Session
from triortc.engine.session_directory import Routes, SessionDirectory
from triortc.engine.udp import UdpSocket
from triortc.errors import ConfigurationError
from triortc.lone_errors import raises_lone_errors

__all__ = ["Endpoint", "open_endpoint"]

#: Batches taken from one socket before the other tasks get a turn.
BATCHES_PER_TURN: Final = 8
#: A turn ends when it has lasted so long, with what it is at then and what is to be sent: nobody is to wait for 1 ms.
_TURN_S: Final = 0.0005
#: Flows that go to the core in one go: 50 µs each.
_FLOWS_AT_ONCE: Final = 8
#: Packets of one source that are taken in one go; a burst has some ten.
_RUN_DATAGRAMS: Final = 16
#: How often one looks whether a media thread's sockets have lost datagrams.
_OVERFLOW_LOOK_S: Final = 0.05
#: The first 16 bits of a datagram that may be media (RFC 7983) are this or more.
_MEDIA: Final = 128 << 8


@dataclass(slots=True, eq=False)
class _Port:
    socket: UdpSocket
    routes: Routes
    #: What the socket's batch still holds.
    backlog: Backlog = field(init=False)

    def __post_init__(self) -> None:
        self.backlog = Backlog(self.socket.batch)


class Endpoint:
    """The sockets and the timer that sessions live on. Made by :func:`open_endpoint`."""

    def __init__(
        self,
        sockets: list[UdpSocket],
        configuration: EndpointConfiguration,
        clock: Callable[[], float] = trio.current_time,
    ) -> None:
        self._clock = clock
        #: Who datagrams are for, and how many are for nobody.
        self.directory = SessionDirectory(configuration.max_routes_per_session)
        self._ports = [_Port(socket, self.directory.routes_to(socket.address)) for socket in sockets]
        self._by_local = {port.socket.address: port for port in self._ports}
        self.configuration = configuration
        self._on_event: dict[Session, Callable[[SessionEvent], None]] = {}
        self._scheduled: dict[Session, float] = {}
        #: (deadline, count, username fragment): a name, so that a session that was removed is not kept alive by it.
        self._heap: list[tuple[float, int, str]] = []
        self._heap_entries = 0
        self._timer: trio.CancelScope | None = None
        self._dirty: list[Session] = []
        self._media_dirty: list[Session] = []
        self._told = False
        self._looked_for_overflow_at = -inf
        self._overload = Overload()
        #: Looks at what a media thread has handed up, where there is one.
        self._take_waiting: Turn | None = None
        #: Waits for the sockets, where it was asked for and can.
        self.media_loop: MediaLoop | None = None
        self._turn_watch: TurnWatch | None = None
        #: How often somebody was called for something to be received.
        self.wakeups = 0
        self._on_latency: Callable[[float], None] = lambda latency_s: None
        self._latency_every_s = inf
        self._latency_due_at = inf

    @property
    def addresses(self) -> list[Address]:
        """The bound addresses, one a socket."""
        return [port.socket.address for port in self._ports]

    @property
    def sockets(self) -> list[UdpSocket]:
        """The sockets, for their counters."""
        return [port.socket for port in self._ports]

    @property
    def sessions(self) -> int:
        """How many sessions live here."""
        return len(self._on_event)

    def add(self, session: Session, on_event: Callable[[SessionEvent], None]) -> None:
        """Let a session live here: it gets host candidates for every socket, its datagrams and its timer.

        Arguments:
            on_event: called with every event of the session, from within the data plane: it must not block or raise.
        """
        self.directory.add(session)
        self._on_event[session] = on_event
        session.wake = self._dirty.append
        session.wake_media = self._media_dirty.append
        advertise = self.configuration.media_advertise
        for host, port in self.addresses:
            public = advertise if advertise and (":" in advertise) == (":" in host) else None
            session.add_host_candidate((host, port), advertised=public)
        self._schedule(session)

    def remove(self, session: Session) -> None:
        """Send what the session still has to say, then forget it."""
        if not self.directory.withdraw(session):
            return
        self._send(session)
        session.wake = session.wake_media = None
        del self._on_event[session]
        self._scheduled.pop(session, None)
        self.directory.forget(session)
        session.media.release()

    def measure_latency(self, on_latency: Callable[[float], None], *, every_s: float) -> None:
        """Time the relay now and then: from the kernel's stamp on a batch's first datagram until all of it is sent on.

        One batch in `every_s` is timed, if anything was sent because of it; the others cost a comparison each. A
        media thread of its own times what it forwards itself.

        Arguments:
            on_latency: called with seconds. It must not block or raise.
            every_s: the least time between two samples; infinity ends it.
        """
        self._on_latency, self._latency_every_s = on_latency, every_s
        self._latency_due_at = inf if every_s == inf else -inf

    def watch_turns(self, watch: TurnWatch) -> None:
        """Tell of each turn of the media loop, where there is one; other turns are steps of trio's tasks."""
        self._turn_watch = watch
        if self.media_loop is not None:
            self.media_loop.watch = watch

    def flush(self, now: float) -> None:
        """Send what sessions have put out since the last batch, and set the timer for them."""
        while self._dirty:
            dirty, self._dirty[:] = list(dict.fromkeys(self._dirty)), []
            for session in dirty:
                session.woken = False
                if self.directory.named(session.local_ufrag) is not None:
                    self._send(session)
                    self._schedule(session)
        media_dirty, by_local = self._media_dirty, self._by_local
        for session in media_dirty:
            session.media_woken = False
            if session.path is not None:  # what _send_media does, for every run of packets
                local, remote = session.path
                port = by_local.get(local)
                if port is not None:
                    session.outbox.drain(port.socket.send_run, remote)
        media_dirty.clear()

    def _send(self, session: Session) -> None:
        while (transmit := session.poll_transmit()) is not None:
            data, local, remote = transmit
            port = self._by_local.get(local)
            if port is not None:
                if remote not in port.routes:
                    self.directory.route(local, remote, session)
                port.socket.send(data, remote)
        self._send_media(session)
        while (event := session.poll_event()) is not None:
            on_event = self._on_event.get(session)
            if on_event is not None:
                # A path sets nobody's deadline; tasks that wait for it are runnable then, which is seen by itself.
                self._told = self._told or type(event) is not PathChanged
                on_event(event)

    def _send_media(self, session: Session) -> None:
        if session.path is not None:
            local, remote = session.path
            port = self._by_local.get(local)
            if port is not None:
                session.outbox.drain(port.socket.send_run, remote)

    def _schedule(self, session: Session) -> None:
        deadline = session.next_deadline()
        known = self._scheduled.get(session)
        # A session may have been removed by its own event, while its batch was under way.
        if session not in self._on_event or deadline is None or (known is not None and known <= deadline):
            return
        self._scheduled[session] = deadline
        self._heap_entries += 1
        heapq.heappush(self._heap, (deadline, self._heap_entries, session.local_ufrag))
        if self._timer is not None and deadline < self._timer.deadline:
            self._timer.deadline = deadline

    def _run_due(self, until: float) -> bool:
        """Give sessions their time that have waited for it; whether there is more to do than the time allows."""
        now, has_more = self._clock(), False
        if self._take_waiting is not None:
            # Feedback that a media thread has not thought worth a wake-up; it may take half of the time.
            has_more = self._take_waiting(now + (until - now) / 2)
            now = self._clock()
        heap = self._heap
        while heap and heap[0][0] <= now:
            deadline, _, ufrag = heapq.heappop(heap)
            session = self.directory.named(ufrag)
            if session is not None and self._scheduled.get(session) == deadline:
                del self._scheduled[session]
                session.handle_timeout(now)
                self._schedule(session)
                now = self._clock()
                if now >= until:
                    break
        self.flush(now)  # a session that has had its time is woken by that
        return has_more or bool(heap and heap[0][0] <= now)

    async def run(self, plane: AcceleratedPlane | None = None) -> None:
        """Serve sockets and deadlines; runs until cancelled.

        Arguments:
            plane: its media thread receives from the sockets, and hands up what is not its.
        """
        if plane is None:
            readers = {port.socket.fileno(): partial(self._drain, port) for port in self._ports}
        else:
            self._take_waiting = partial(self._take_hand_ups, plane, HandUps(plane))
            readers = {plane.fileno(): self._take_waiting}
        if self.configuration.media_first:
            loop = MediaLoop(
                readers, next_due=self._next_due, run_due=self._run_due, must_yield=self._take_told, turn_s=_TURN_S
            )
            self.media_loop, loop.watch = loop, self._turn_watch
            await loop.run()
            self.media_loop = None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.run_timer)
            for descriptor, read in readers.items():
                nursery.start_soon(self._run_reader, descriptor, read)

    async def _run_reader(self, descriptor: int, read: Turn) -> None:
        while True:
            await trio.lowlevel.wait_readable(descriptor)
            while read(self._clock() + _TURN_S):
                await trio.lowlevel.checkpoint()

    def _next_due(self) -> float:
        return self._heap[0][0] if self._heap else inf

    def _take_told(self) -> bool:
        """Whether somebody was told of an event since the last call."""
        told, self._told = self._told, False
        return told

    async def run_timer(self) -> None:
        """Call sessions when their deadlines pass; runs until cancelled."""
        while True:
            with trio.CancelScope(deadline=self._heap[0][0] if self._heap else float("inf")) as self._timer:
                await trio.sleep_forever()
            while self._run_due(self._clock() + _TURN_S):
                await trio.lowlevel.checkpoint()

    def _take_hand_ups(self, plane: AcceleratedPlane, hand_ups: HandUps, until: float) -> bool:
        """Look at what a media thread has handed up; whether some that was taken has to wait until the next turn."""
        self.wakeups += 1
        now = self._clock()
        if now >= self._looked_for_overflow_at + _OVERFLOW_LOOK_S:
            self._looked_for_overflow_at = now
            if sum([port.socket.take_overflow() for port in self._ports]):
                self._note_overflow(now)
        flows_wait = False
        for _ in range(BATCHES_PER_TURN):
            may_have_more = hand_ups.take() if hand_ups.is_done else True
            while not hand_ups.is_done:
                self._look_at_next(hand_ups, plane, now, until)
                now = self._clock()
                if now >= until:
                    break
            if hand_ups.is_done:
                flows_wait = plane.open_flows(now, _FLOWS_AT_ONCE)  # not before: no packet overtakes another
            if now >= until or not may_have_more:
                break  # it stays readable
        self.flush(now)
        return flows_wait or not hand_ups.is_done

    def _look_at_next(self, hand_ups: HandUps, plane: AcceleratedPlane, now: float, until: float) -> None:
        if hand_ups.backlog.is_done:
            feedback = hand_ups.next_feedback()
            if feedback is not None:
                local, remote, datagram = feedback
                self._receive_rtcp(self._by_local[local], datagram, remote, now)
                return
            hand_ups.fill_backlog(now)
        port = self._by_local[hand_ups.backlog_local]
        self._receive(port, hand_ups.backlog, lambda source: plane.address_of(source)[1], now, until)

    def _receive_rtcp(self, port: _Port, datagram: bytes, remote: Address, now: float) -> None:
        session = port.routes.get(remote)
        if session is None:
            self.directory.unknown_address += 1
            return
        authenticated = session.receive_rtcp(datagram, port.socket.address, remote, now)
        if authenticated:
            self.directory.learn_routes(port.socket.address, session, authenticated, now)

    def _drain(self, port: _Port, until: float) -> bool:
        """Take what has come to a socket; whether some of a batch has to wait until the next turn."""
        socket, backlog = port.socket, port.backlog
        self.wakeups += 1
        now = self._clock()
        for _ in range(BATCHES_PER_TURN):
            if backlog.is_done:
                backlog.begin(socket.receive(now))
                if not backlog.end:
                    break
                if backlog.end == BATCH_DATAGRAMS and socket.take_overflow():
                    self._note_overflow(now)
                is_timed = now >= self._latency_due_at and backlog.batch.heads[0] >= _MEDIA
                backlog.sent_before = self._sent() if is_timed else None
            self._receive(port, backlog, socket.address_of, now, until)
            if not backlog.is_done:
                return True
            if backlog.sent_before is not None and self._sent() > backlog.sent_before:
                done_at = self._clock()
                self._latency_due_at = done_at + self._latency_every_s
                self._on_latency(max(0.0, done_at - backlog.batch.arrived_at(0)))
            if backlog.end < BATCH_DATAGRAMS:
                break
            now = self._clock()
            if now >= until:
                break  # it stays readable
        return False

    def _note_overflow(self, now: float) -> None:
        """Datagrams were lost because nobody took them. Once is a hiccup, whose losses are repaired as any others.

        Again and again is more than can be done: nothing that is lost is asked for again until that is over.
        """
        if not self._overload.note(now):
            return
        until = now + self.configuration.repair_pause_ms / 1000
        for session in self._on_event:
            session.media.pause_repair(until)

    def _sent(self) -> int:
        return sum(port.socket.counters.sent for port in self._ports)

    def _receive(
        self, port: _Port, backlog: Backlog, address_of: Callable[[Hashable], Address], now: float, until: float
    ) -> None:
        """One batch, given to its sessions in runs while there is time, then everything that came of it is sent."""
        batch, routes, local = backlog.batch, port.routes, port.socket.address
        sources, heads = batch.sources, batch.heads
        first, count = backlog.first, backlog.end
        while first < count:
            source, end, last = sources[first], first + 1, min(count, first + _RUN_DATAGRAMS)
            while end < last and sources[end] == source:
                end += 1
            remote = address_of(source)
            session = routes.get(remote)
            if session is not None and min(heads[4 * first : 4 * end : 4]) >= _MEDIA:
                authenticated = session.receive_batch(batch, first, end, local, remote, now)
                if authenticated:
                    self.directory.learn_routes(local, session, authenticated, now)
            else:
                self._receive_each(port, batch, first, end, remote, now)
            first = end
            if first < count:
                if self._dirty:
                    self.flush(now)  # a leg that has ended is work as well, and is in the time
                if self._clock() >= until:
                    break
        backlog.first = first
        self.flush(now)

    def _receive_each(
        self, port: _Port, batch: DatagramBatch, first: int, end: int, remote: Address, now: float
    ) -> None:
        """Datagrams of one source, some of which may be checks or of nobody."""
        local = port.socket.address
        for n in range(first, end):
            length = batch.lengths[n]
            if length < 0:
                continue
            packet = batch.slots[n][:length]
            session = port.routes.get(remote)
            if session is None or (length and packet[0] < 4):
                session = self.directory.find(packet, session)
            if session is not None:
                authenticated = session.receive_batch(batch, n, n + 1, local, remote, now)
                self.directory.learn_routes(local, session, authenticated, now)


@raises_lone_errors
@asynccontextmanager
async def open_endpoint(
    configuration: EndpointConfiguration, plane: AcceleratedPlane | None = None
) -> AsyncGenerator[Endpoint]:
    """Bind the media sockets and run them until the block is left; nothing stays behind.

    Arguments:
        configuration: which sockets.
        plane: receives from the sockets in a thread of its own, until the block is left, and hands up what is not its.

    Raises:
        ConfigurationError: an address is no IP address, or none is left to bind.
        OSError: an address or port cannot be bound.
    """
    hosts = configuration.media_host or tuple(local_addresses(loopback=configuration.loopback))
    if not hosts:
        raise ConfigurationError("no address to bind: set media_host, or loopback=True on a machine without a network")
    sockets: list[UdpSocket] = []
    try:
        for host in hosts:
            sockets.append(UdpSocket(host, configuration.media_port, buffer_bytes=configuration.socket_buffer_bytes))
        endpoint = Endpoint(sockets, configuration, trio.lowlevel.current_clock().current_time)
        async with trio.open_nursery() as nursery:
            if plane is not None:
                for socket in sockets:
                    plane.listen(socket.address, socket.fileno())
                plane.start(trio.current_time() - time.monotonic())
            nursery.start_soon(endpoint.run, plane)
            try:
                yield endpoint
            finally:
                endpoint.flush(trio.current_time())
                nursery.cancel_scope.cancel()
    finally:
        if plane is not None:
            plane.stop()
        for socket in sockets:
            socket.close()
