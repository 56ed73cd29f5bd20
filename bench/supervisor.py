"""Call control under load, in one process and without a network: rings in progress, the cost of a step, memory."""

from __future__ import annotations

import gc
import os
import random
import resource
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import trio
from trio.testing import MockClock

from triortc.bench.machine import cpu_seconds, percentile
from triortc.engine.calls.actor import Actor, DeviceAddress, DeviceInformation
from triortc.engine.calls.commands import (
    CallAccept,
    CallCancel,
    CallHangup,
    CallRequest,
    Command,
    ConversationClose,
    PresenceSet,
)
from triortc.engine.calls.configuration import CallConfiguration
from triortc.engine.calls.control import CallControl
from triortc.engine.calls.effects import Effect, ReplyTo
from triortc.engine.calls.events import CommandReceived, DeviceConnected, Event
from triortc.engine.calls.media_events import LegUp, MediaEvent
from triortc.engine.calls.notifications import CallEnded, Notification, RingOffer
from triortc.engine.calls.ports import Kind, Side, View
from triortc.engine.calls.replies import Ok
from triortc.engine.calls.supervisor import CallSupervisor, open_call_supervisor
from triortc.engine.collector import settle_collector
from triortc.engine.relay.gate import GateState, GateStatistics
from triortc.errors import TriortcError

__all__ = ["NullMedia", "measure_memory", "measure_reducer", "measure_rings"]

_CAPS: Final = frozenset({"video.receive", "video.invite", "handoff", "presence", "history"})
_PER_ORG: Final = 100
_RING_S: Final = 30.0
_AS_FAST_AS_ONE_CAN: Final = CallConfiguration(requests_per_minute=1_000_000)


class NullMedia:
    """A media side that does nothing: what call control costs by itself."""

    def __init__(self) -> None:
        self.on_event: Callable[[MediaEvent], None] = _ignore

    def open_leg(self, session: str, leg: str, side: Side) -> None: ...

    def answer(self, leg: str, neg: int, offer_sdp: str) -> str:
        return "v=0"

    def add_candidates(
        self, leg: str, neg: int, ufrag: str, candidates: Sequence[tuple[str, str]], end: bool
    ) -> None: ...

    def set_gate(self, session: str, leg: str, kind: Kind, state: GateState, epoch: int) -> None: ...

    def set_source(self, session: str, side: Side, leg: str) -> None: ...

    def set_view(self, leg: str, view: View) -> None: ...

    def request_keyframe(self, leg: str) -> None: ...

    def close_leg(self, leg: str) -> None: ...

    def close_session(self, session: str) -> None: ...

    def start_recording(self, session: str, recording: str) -> None: ...

    def stop_recording(self, session: str) -> None: ...

    def gate_statistics(self, session: str) -> Mapping[tuple[str, Kind], GateStatistics]:
        return {}

    def counters(self) -> Mapping[str, int]:
        return {}

    def plane(self) -> Mapping[str, str]:
        return {}


def _ignore(event: MediaEvent) -> None:
    """Nobody listens."""


class _Clients:
    """Devices that note when a ring reached them and when it was over."""

    def __init__(self, rings: int) -> None:
        self._rings = rings
        self.over = trio.Event()
        self.told: Counter[str] = Counter()
        self.deadlines: dict[str, float] = {}
        self.late_s: list[float] = []

    def notify(self, address: DeviceAddress, notification: Notification) -> None:
        self.told[notification.wire_type] += 1
        if isinstance(notification, CallEnded) and address.role == "visitor":
            self.late_s.append(trio.current_time() - self.deadlines.pop(notification.session))
            if len(self.late_s) == self._rings:
                self.over.set()
        elif isinstance(notification, RingOffer) and notification.session not in self.deadlines:
            self.deadlines[notification.session] = trio.current_time() + notification.ttl_ms / 1000

    def remove(self, address: DeviceAddress) -> None:
        """Nobody is revoked here."""

    def drain(self, until: float) -> None:
        """Nothing waits here."""


def _agent(org: str, number: int, device: str) -> Actor:
    return Actor(f"a{number}", "agent", org, device, _CAPS, frozenset({"default"}), name=f"Agent {number}")


def _visitor(org: str, number: int) -> Actor:
    return Actor(
        f"v{number}", "visitor", org, "tab", name=f"Visitor {number}", conversations=frozenset({f"cv{number}"})
    )


def _device(actor: Actor) -> DeviceInformation:
    return DeviceInformation(actor.device or "", "web" if actor.role == "visitor" else "desktop")


async def measure_rings(rings: int) -> dict[str, Any]:
    """So many rings in progress, their starts spread over the 30 s that a ring lasts; nobody answers.

    Returns:
        how late their ends were, in milliseconds, and the share of a core while they began and while they ended.
    """
    clients = _Clients(rings)
    pid = os.getpid()
    async with open_call_supervisor(NullMedia(), clients=clients, configuration=_AS_FAST_AS_ONE_CAN) as calls:
        began = time.perf_counter()
        people = [(f"org{number // _PER_ORG}", number) for number in range(rings)]
        for org, number in people:
            for device in ("desk", "phone"):
                actor = _agent(org, number, device)
                calls.device_connected(actor, _device(actor))
            _must(calls.command(actor, PresenceSet("video", "available")))
            visitor = _visitor(org, number)
            calls.device_connected(visitor, _device(visitor))
            if number % 500 == 0:
                await trio.lowlevel.checkpoint()
        connect_s = time.perf_counter() - began
        gc.collect()
        gc.freeze()
        start, cpu_start = trio.current_time(), cpu_seconds(pid)
        for count, (org, number) in enumerate(people):
            await trio.sleep_until(start + count * _RING_S / rings)
            _must(calls.command(_visitor(org, number), CallRequest(f"cv{number}")))
        most = calls.running_sessions
        cpu_middle = cpu_seconds(pid)
        middle_s = trio.current_time() - start
        with trio.fail_after(_RING_S + 10):
            await clients.over.wait()
        cpu_end, end_s = cpu_seconds(pid), trio.current_time() - start
        gc.unfreeze()
    late_ms = [late * 1000 for late in clients.late_s]
    return {
        "what": "rings in progress",
        "label": "triortc",
        "rings": rings,
        "in_progress": float(most),
        "offers": float(clients.told["ring.offer"]),
        "late_ms_p50": percentile(late_ms, 0.5),
        "late_ms_p99": percentile(late_ms, 0.99),
        "late_ms_p99.9": percentile(late_ms, 0.999),
        "late_ms_max": max(late_ms),
        "cpu_percent_beginning": 100 * (cpu_middle - cpu_start) / middle_s,
        "cpu_percent_ending": 100 * (cpu_end - cpu_middle) / (end_s - middle_s),
        "connect_us_per_device": connect_s * 1e6 / (3 * rings),
        "rss_mib": _rss_kib() / 1024,
    }


def _must(reply: object) -> Any:
    if not isinstance(reply, Ok):
        raise TriortcError(f"the benchmark's own command was refused: {reply}")
    return reply.payload


# --- the reducer alone


class _Reducer:
    """Call control without its shell, and a clock of CPU time around every step."""

    def __init__(self) -> None:
        chance = random.Random(1)
        self.control = CallControl(_AS_FAST_AS_ONE_CAN, chance.randbytes)
        self.now = 100.0
        self.steps: dict[str, list[float]] = {}

    def handle(self, name: str, event: Event) -> list[Effect]:
        self.now += 0.01
        began = time.thread_time()
        effects = self.control.handle(event, self.now)
        self.steps.setdefault(name, []).append(time.thread_time() - began)
        return effects

    def command(self, actor: Actor, command: Command) -> Any:
        effects = self.handle(command.wire_type, CommandReceived(actor, command, self.now + 0.01))
        (reply,) = [effect.reply for effect in effects if isinstance(effect, ReplyTo)]
        return _must(reply)


def measure_reducer(calls: int) -> dict[str, Any]:
    """The pure step on a node with 1,000 agents: half of the calls are cancelled, half are answered and ended.

    Returns:
        microseconds, on average over all steps of calls, and by event.
    """
    reducer = _Reducer()
    for number in range(1000):
        for device in ("desk", "phone"):
            actor = _agent(f"org{number // _PER_ORG}", number, device)
            reducer.handle("hello", DeviceConnected(actor, _device(actor)))
        reducer.command(actor, PresenceSet("video", "available"))
    visitors = [_visitor("org0", number) for number in range(50)]
    for visitor in visitors:
        reducer.handle("hello", DeviceConnected(visitor, _device(visitor)))
    reducer.steps.clear()
    settle_collector()  # as a server does
    for number in range(calls):
        visitor = visitors[number % len(visitors)]
        conversation = next(iter(visitor.conversations))
        if number % 2:
            _whole_call(reducer, visitor, f"{conversation}_{number}")
        else:
            session = reducer.command(visitor, CallRequest(conversation)).session
            reducer.command(visitor, CallCancel(session))
    every = [step for name, steps in reducer.steps.items() if name != "hello" for step in steps]
    by_event = {f"us {name}": percentile(steps, 0.5) * 1e6 for name, steps in reducer.steps.items()}
    return {
        "what": "reducer",
        "label": "triortc",
        "steps": len(every),
        "us_mean": sum(every) / len(every) * 1e6,
        "us_p50": percentile(every, 0.5) * 1e6,
        "us_p99": percentile(every, 0.99) * 1e6,
        **by_event,
    }


def _whole_call(reducer: _Reducer, visitor: Actor, conversation: str) -> None:
    caller = Actor(visitor.sub, "visitor", visitor.org, visitor.device, conversations=frozenset({conversation}))
    asked = reducer.command(caller, CallRequest(conversation))
    session = reducer.control.world.sessions[asked.session]
    agent = Actor(session.agent or "", "agent", session.org, "desk", _CAPS, frozenset({"default"}))
    accepted = reducer.command(agent, CallAccept(session.id))
    for leg in (asked.leg, accepted.leg):
        reducer.handle("leg up", LegUp(leg))
    reducer.command(agent, CallHangup(session.id))
    reducer.command(agent, ConversationClose(conversation))


# --- memory


async def measure_memory(calls: int, clock: MockClock | None = None) -> dict[str, Any]:
    """Whole calls, one after the other: how much memory a node has after a fifth of them, and after all.

    Arguments:
        calls: of a visitor each.
        clock: the run's own, if its time is virtual: there is a call a second then, and what is kept of the visitors
            of the last minute stays as much as it is.
    """
    async with open_call_supervisor(NullMedia(), configuration=_AS_FAST_AS_ONE_CAN) as supervisor:
        agent = _agent("org0", 0, "desk")
        supervisor.device_connected(agent, _device(agent))
        _must(supervisor.command(agent, PresenceSet("video", "available")))
        first = 0.0
        for number in range(calls):
            await _simulated_call(supervisor, agent, number)
            if clock is not None:
                clock.jump(1.0)
            if number + 1 == calls // 5:
                gc.collect()
                first = _rss_kib()
        gc.collect()
        last = _rss_kib()
    return {
        "what": "memory over calls",
        "label": "triortc",
        "simulated": calls,
        "rss_mib_after_a_fifth": first / 1024,
        "rss_mib_after_all": last / 1024,
        "bytes_per_call": (last - first) * 1024 / (calls - calls // 5),
    }


async def _simulated_call(supervisor: CallSupervisor, agent: Actor, number: int) -> None:
    conversation = f"cv{number}"
    visitor = Actor(f"v{number}", "visitor", "org0", "tab", conversations=frozenset({conversation}))
    supervisor.device_connected(visitor, _device(visitor))
    asked = _must(supervisor.command(visitor, CallRequest(conversation)))
    accepted = _must(supervisor.command(agent, CallAccept(asked.session)))
    for leg in (asked.leg, accepted.leg):
        supervisor.media_event(LegUp(leg))
    _must(supervisor.command(visitor, CallHangup(asked.session)))
    _must(supervisor.command(agent, ConversationClose(conversation)))
    assert visitor.address is not None
    supervisor.device_gone(visitor.address)
    await trio.lowlevel.checkpoint()


def _rss_kib() -> float:
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * resource.getpagesize() / 1024
