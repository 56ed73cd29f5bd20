"""The trio shell of call control: commands and events come in as plain calls and are decided at once.

What takes time belongs to a session, and lives as long as it does (`session_lives`): its clock, and the tasks that the
media side starts for it. What goes wrong for one session ends that session and no other.
"""

from __future__ import annotations

import logging
import os
import secrets
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import asdict
from typing import Final

import trio

from triortc.engine.calls.actor import Actor, DeviceAddress, DeviceInformation, Principal, PushEndpoint
from triortc.engine.calls.commands import Command
from triortc.engine.calls.configuration import CallConfiguration
from triortc.engine.calls.control import CallControl
from triortc.engine.calls.crash_boundary import CrashBoundary
from triortc.engine.calls.effects import Effect
from triortc.engine.calls.event_log import EventLogPort
from triortc.engine.calls.events import (
    ActorChanged,
    CommandReceived,
    DeviceConnected,
    DeviceGone,
    DeviceLost,
    DeviceResumed,
    DeviceRevoked,
    Drain,
    Event,
    PushEndpointGone,
    SessionCrashed,
    SessionFenced,
    ShutDown,
)
from triortc.engine.calls.history import MemoryHistory
from triortc.engine.calls.keeping import Keeper
from triortc.engine.calls.media_events import (
    MediaCrashed,
    MediaEvent,
    MediaLost,
    OfferAnswered,
    OfferRefused,
    RecordingStopped,
)
from triortc.engine.calls.memory_store import MemoryStore
from triortc.engine.calls.observing import Observers, OutboxPort
from triortc.engine.calls.performing import OnReply, Performer, internal_fault, reply_to_offer
from triortc.engine.calls.ports import (
    ClientPort,
    HistoryPort,
    MediaPort,
    NoPush,
    PushPort,
    RecordingPolicyPort,
    RouterPort,
)
from triortc.engine.calls.replies import Reply
from triortc.engine.calls.session import LogRecord
from triortc.engine.calls.session_lives import SessionLives, Task
from triortc.engine.calls.store import ReplyRow, StateStore, Stored
from triortc.engine.calls.subject import session_of
from triortc.engine.calls.view_values import Snapshot
from triortc.engine.calls.wall_clock import WallClock, machine_offset_ms
from triortc.errors import CallError

__all__ = ["CallSupervisor", "open_call_supervisor"]

_logger: Final = logging.getLogger("triortc.calls")


class CallSupervisor:
    """Runs calls. Made by `open_call_supervisor`; every method is synchronous and belongs to the trio loop's thread.

    Attributes:
        control: the rules, for inspection.
        kept_replies: replies of the process before, for commands that come again.
        crashes_total: sessions' failures that were contained, and commands that failed outside of a session.
    """

    def __init__(
        self,
        nursery: trio.Nursery,
        control: CallControl,
        media: MediaPort,
        history: HistoryPort,
        clients: ClientPort | None,
        push: PushPort,
        keeper: Keeper,
        cleanup_timeout_s: float,
        wall_clock: WallClock,
    ) -> None:
        self.control = control
        self._wall_clock = wall_clock
        self.crashes_total = 0
        self.kept_replies: list[ReplyRow] = []
        self._keeper = keeper
        self._media = media
        self._history = history
        self._cleanup_timeout_s = cleanup_timeout_s
        self._lives = SessionLives(
            nursery,
            next_deadline=control.next_deadline,
            on_deadline=self._on_deadline,
            on_crash=self._crashed,
            on_gone=self._gone,
        )
        self._performer = Performer(media, history, push, keeper, self._lives, self._crashed)
        self._performer.clients = clients
        self._performing = False
        self._later: deque[MediaEvent | SessionFenced] = deque()
        self._all_over = trio.Event()

    @property
    def clients(self) -> ClientPort | None:
        """The connected devices; the signaling layer sets it when it exists."""
        return self._performer.clients

    @clients.setter
    def clients(self, clients: ClientPort | None) -> None:
        self._performer.clients = clients

    @property
    def observers(self) -> Observers:
        """Those who are told what happens to calls."""
        return self._performer.observers

    # --- what comes in

    def command(
        self,
        actor: Actor,
        command: Command,
        rx_time: float | None = None,
        on_reply: OnReply | None = None,
    ) -> Reply:
        """Carry out a command.

        Arguments:
            actor: its verified author.
            command: what is asked.
            rx_time: `trio.current_time()` when the message was complete; None: now. It decides races with deadlines.
            on_reply: called with the reply at its place among the notifications that the command causes (before those
                to the losing devices and to the other side). The reply is returned as well.

        Returns:
            `Ok` or `CallFault`. Never blocks, never raises for what a client sent. Where the media side answers an
            offer later, the answer is not in it: `on_reply` is called when there is one, before any further event.
        """
        refusal = self._keeper.refusal(command)
        if refusal is not None:
            if on_reply is not None:
                on_reply(refusal)
            return refusal
        now = trio.current_time()
        event = CommandReceived(actor, command, now if rx_time is None else rx_time)
        self._drain_before(session_of(self.control.world, actor, command), event.rx_time)
        reply: Reply | None = None
        with CrashBoundary(self._crashed, lambda: session_of(self.control.world, actor, command)) as boundary:
            reply = self._step(event, on_reply)
        if reply is None:
            reply = internal_fault(boundary.incident)
            if on_reply is not None:
                on_reply(reply)
        return reply

    def device_connected(self, actor: Actor, device: DeviceInformation) -> Snapshot:
        """A device said hello and could not resume: register it, and return what its `welcome` shows."""
        with CrashBoundary(self._crashed, None):
            self._step(DeviceConnected(actor, device))
            return self.control.last_snapshot
        return Snapshot()

    def device_lost(self, address: DeviceAddress) -> None:
        """A device's socket is gone without `bye`; its signaling session may be resumed.

        Not for a connection that a newer one of the same device has replaced: the device is still there.
        """
        with CrashBoundary(self._crashed, None):
            self._step(DeviceLost(address))

    def device_resumed(self, address: DeviceAddress, device: DeviceInformation | None = None) -> None:
        """A device resumed its signaling session with all the events it missed. `device`: what its new hello says."""
        with CrashBoundary(self._crashed, None):
            self._step(DeviceResumed(address, device))

    def device_gone(self, address: DeviceAddress) -> None:
        """A device left for good, or its time to resume is over."""
        with CrashBoundary(self._crashed, None):
            self._step(DeviceGone(address))

    def device_revoked(self, address: DeviceAddress) -> None:
        """An administrator takes a device away from its owner: its connection ends, and a call on it 5 s later (D2)."""
        with CrashBoundary(self._crashed, None):
            self._step(DeviceRevoked(address))

    def actor_changed(self, actor: Actor) -> None:
        """A connected device has a new token: what it may do is decided by this one from now on (D2, if it is less)."""
        with CrashBoundary(self._crashed, None):
            self._step(ActorChanged(actor))

    def push_endpoint_gone(self, address: DeviceAddress, endpoint: PushEndpoint) -> None:
        """A push provider says that this endpoint of a device is no more (410, UNREGISTERED)."""
        with CrashBoundary(self._crashed, None):
            self._step(PushEndpointGone(address, endpoint))

    def media_event(self, event: MediaEvent) -> None:
        """What happened on the media side. May be called from the media port's own methods; it then comes after."""
        if self._performing:
            self._later.append(event)
            return
        session = self._session_of_media(event)
        match event:
            case OfferAnswered() | OfferRefused():
                with CrashBoundary(self._crashed, session):
                    if self._performer.held.answered(event.leg, event.neg, reply_to_offer(event)):
                        self._save()
            case MediaCrashed():
                self._crashed(session, CallError(event.reason))
            case _:
                with CrashBoundary(self._crashed, session):
                    self._step(event)

    def _session_of_media(self, event: MediaEvent) -> str | None:
        if isinstance(event, RecordingStopped | MediaLost | MediaCrashed):
            return event.session if event.session in self.control.world.sessions else None
        leg = self.control.world.legs.get(event.leg)
        return None if leg is None else leg.session

    # --- for the media side and for embedders

    def start_in_session(self, session: str, task: Task) -> None:
        """Run a task inside a session's nursery: it ends with the session, and its failure ends the session.

        Raises:
            CallError: the session is not running.
        """
        self._lives.start(session, task)

    def open_conversation(self, visitor: Principal, conversation: str, group: str | None = None) -> None:
        """Make an open, unassigned conversation for a visitor. One that exists is left as it is."""
        self.control.open_conversation(visitor, conversation, group, trio.current_time())

    def assign_conversation(self, org: str, conversation: str, agent: str, *, even_if_busy: bool = False) -> Reply:
        """Give an unassigned conversation to an agent. One that is assigned is left as it is.

        Arguments:
            org: the tenant.
            conversation: the one to give.
            agent: who gets it.
            even_if_busy: give it whatever the agent does, and even if call control does not know the agent yet.

        Returns:
            `Ok`, or `CallFault` with `agent.busy`, `agent.unavailable` or `state.not_found`.
        """
        now = trio.current_time()
        effects = self.control.assign_conversation(org, conversation, agent, now, even_if_busy=even_if_busy)
        reply = self._perform(effects)
        assert reply is not None
        return reply

    def occupy(self, agent: Principal, kind: str, item: str) -> None:
        """A `call` or `third_party` conversation outside of the engine begins for an agent."""
        self._perform(self.control.occupy(agent, kind, item, trio.current_time()))

    def vacate(self, agent: Principal, kind: str, item: str) -> None:
        """It ends."""
        self._perform(self.control.vacate(agent, kind, item, trio.current_time()))

    def event_log(self, session: str) -> list[LogRecord]:
        """The event log of a session that is on or ended not long ago."""
        return self.control.event_log(session)

    @property
    def running_sessions(self) -> int:
        """Sessions that have begun and are not over."""
        return len(self._lives)

    # --- what is kept

    def keep_reply(self, row: ReplyRow) -> None:
        """From within `on_reply`: keep the reply with what its command changed, for a client that asks again."""
        self._keeper.reply(row)

    @property
    def settled(self) -> bool:
        """Whether everything that happened may be told: with `synchronous=full`, that it is on the platter."""
        return self._keeper.store.settled

    async def settle(self) -> None:
        """Wait until what has happened by now may be told."""
        await self._keeper.store.settle()

    def health(self) -> dict[str, object]:
        """How the store does, and what was refused because of it."""
        return {**asdict(self._keeper.store.health()), "refused": self._keeper.refused_total}

    def _go_on(self, stored: Stored) -> None:
        """Take the place of a process that died."""
        for row in stored.history:
            self._history.append(row.record)
        for over in stored.invitation_history:
            self._history.append_invitation(over.record)
        now = trio.current_time()
        self.control.restore(stored, now)
        if self._keeper.capture is not None:
            self._keeper.capture.restored()
        self._perform(self.control.take_over(now))

    # --- stepping

    def _drain_before(self, session: str | None, rx_time: float) -> None:
        """Let commands that came before a deadline be heard before one that came after it (R1, R5)."""
        deadline = None if session is None else self.control.next_deadline(session)
        if deadline is not None and deadline < rx_time and self.clients is not None:
            self.clients.drain(deadline)

    def _step(self, event: Event, on_reply: OnReply | None = None) -> Reply | None:
        address = event.actor.address if isinstance(event, CommandReceived) else None
        self._follow_wall_clock()
        return self._perform(self.control.handle(event, trio.current_time()), on_reply, address)

    def _follow_wall_clock(self) -> None:
        step_ms = self._wall_clock.step_ms()
        if step_ms:
            _logger.warning("the wall clock was set by %+.1f s; stamps follow it, calls go on", step_ms / 1000)
            self.control.world.unix_ms_at_zero += step_ms

    def _perform(
        self, effects: list[Effect], on_reply: OnReply | None = None, address: DeviceAddress | None = None
    ) -> Reply | None:
        outermost, self._performing = not self._performing, True
        try:
            reply = self._performer.perform(effects, on_reply, address)
        finally:
            self._performing = not outermost
        if outermost:
            self._save()
        self._lives.reschedule(None)
        for session in self.control.world.take_rescheduled():
            self._lives.reschedule(session)
        while outermost and self._later:
            later = self._later.popleft()
            if isinstance(later, SessionFenced):
                self.session_fenced(later.session)
            else:
                self.media_event(later)
        return reply

    def _save(self) -> None:
        """Write what the step has changed. If the store says meanwhile that a session is not ours, that comes next."""
        self._performing = True
        try:
            self._keeper.save()
        finally:
            self._performing = False

    def _on_deadline(self, session: str | None, deadline: float) -> None:
        if self.clients is not None:
            self.clients.drain(deadline)
        self._follow_wall_clock()
        self._perform(self.control.handle_timeout(trio.current_time(), session))

    # --- the end of sessions

    def _gone(self, session: str) -> None:
        with CrashBoundary(self._crashed, None):
            self._media.close_session(session)
        if not self._lives and self.control.world.draining:
            self._all_over.set()

    def _crashed(self, session: str | None, error: Exception) -> str:
        """V44: log, count, end the session. If even that fails, its tasks are ended at least."""
        self.crashes_total += 1
        incident = f"in_{secrets.token_hex(6)}"
        _logger.error("%s: a failure was contained in session %s", incident, session or "(none)", exc_info=error)
        self.control.world.drop_effects()
        if session is not None:
            with CrashBoundary(self._crashed, None):
                self._step(SessionCrashed(session))
            self._lives.end(session)
        return incident

    def drain(self) -> None:
        """Take no new calls; those that ring or run go on (R24). `wait_until_idle` returns when the last has ended."""
        self._step(Drain())
        if not self._lives:
            self._all_over.set()

    async def wait_until_idle(self) -> None:
        """After `drain` or `shut_down`: wait until no call is left."""
        await self._all_over.wait()

    def session_fenced(self, session: str) -> None:
        """V45: the store says that another node has this session: stop at once, and write nothing about it."""
        if self._performing:
            self._later.append(SessionFenced(session))
            return
        with CrashBoundary(self._crashed, session):
            self._step(SessionFenced(session))

    def shut_down(self) -> None:
        """End every session as failed/server_shutdown. Leaving the supervisor does this."""
        with CrashBoundary(self._crashed, None):
            self._step(ShutDown())
        self._lives.end_all()
        if not self._lives:
            self._all_over.set()

    async def _wait_until_over(self) -> None:
        with trio.move_on_after(self._cleanup_timeout_s, shield=True):
            await self._all_over.wait()


@asynccontextmanager
async def open_call_supervisor(
    media: MediaPort,
    *,
    clients: ClientPort | None = None,
    configuration: CallConfiguration | None = None,
    router: RouterPort | None = None,
    history: HistoryPort | None = None,
    recording_policy: RecordingPolicyPort | None = None,
    push: PushPort | None = None,
    store: StateStore | None = None,
    event_log: EventLogPort | None = None,
    observers: Observers | None = None,
    outbox: OutboxPort | None = None,
    random_bytes: Callable[[int], bytes] = os.urandom,
    unix_ms_now: int | None = None,
    wall_offset_ms: Callable[[], int] = machine_offset_ms,
) -> AsyncIterator[CallSupervisor]:
    """Open call control; leaving ends every session as failed/server_shutdown, in bounded time, and leaves nothing.

    Arguments:
        media: the media side.
        clients: the connected devices; may be set later, as `supervisor.clients`.
        configuration: timers and policies.
        router: orders candidates; by default the agent idle longest comes first.
        history: keeps records of ended sessions; by default in memory.
        recording_policy: may refuse recordings; by default what the configuration allows is done.
        push: wakes devices without a connection; by default nothing does.
        store: keeps what must outlive the process; open. By default history is kept, in memory.
        event_log: gets every transition of every session; by default they are kept in memory only, for a while.
        observers: are told what happens to calls, from the first one that is taken over; more may join at any time.
        outbox: delivers what happens to others, at least once; open, with what the process before left.
        random_bytes: source of ids.
        unix_ms_now: the wall clock at this moment in milliseconds, for stamps; None: the machine's.
        wall_offset_ms: what the wall clock says more than a clock that is never set: stamps follow when it is.
    """
    chosen = configuration or CallConfiguration()
    kept = history or MemoryHistory(chosen.history_kept)
    gateways = NoPush() if push is None else push
    wall_ms = round(time.time() * 1000) if unix_ms_now is None else unix_ms_now
    offset_ms = wall_ms - round(trio.current_time() * 1000)
    control = CallControl(
        chosen,
        random_bytes,
        unix_ms_at_zero=offset_ms,
        router=router,
        history=kept,
        recording_policy=recording_policy,
        event_log=event_log,
        push_kinds=gateways.kinds,
    )
    keeper = Keeper(MemoryStore() if store is None else store, control.world)
    stored = await keeper.store.load()
    async with trio.open_nursery() as nursery:
        supervisor = CallSupervisor(
            nursery,
            control,
            media,
            kept,
            clients,
            gateways,
            keeper,
            chosen.cleanup_timeout_s,
            WallClock(wall_offset_ms),
        )
        supervisor.kept_replies = stored.replies
        supervisor._performer.outbox = outbox
        if observers is not None:
            supervisor._performer.observers = observers
        supervisor._go_on(stored)
        keeper.store.watch_fences(supervisor.session_fenced)
        nursery.start_soon(supervisor._lives.run_clock, name="calls' clock")
        try:
            yield supervisor
        finally:
            supervisor.shut_down()
            await supervisor._wait_until_over()
            supervisor.observers.end()
            nursery.cancel_scope.cancel()
