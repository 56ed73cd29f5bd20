"""A network in virtual time: seeded loss, delay, jitter, reordering, duplication, NATs that rebind, paths that break.

It moves ``(data, local, remote)`` between objects that have ``receive``, ``handle_timeout``, ``next_deadline`` and
``poll_transmit`` as docs/architecture.md has them. Nothing sleeps and nothing reads a clock; a seed gives one history.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias

__all__ = ["Address", "Conditions", "Endpoint", "Nat", "VirtualNetwork", "seeded_random_bytes"]

Address: TypeAlias = tuple[str, int]

_MAX_STEPS_WITHOUT_TIME = 2000


class Endpoint(Protocol):
    """What the network can carry datagrams for."""

    def receive(self, data: bytes, local: Address, remote: Address, now: float) -> object: ...

    def handle_timeout(self, now: float) -> None: ...

    def next_deadline(self) -> float | None: ...

    def poll_transmit(self) -> tuple[bytes, Address, Address] | None: ...


def seeded_random_bytes(seed: int) -> Callable[[int], bytes]:
    """Return a ``random_bytes`` that gives the same bytes for the same seed."""
    return random.Random(seed).randbytes


@dataclass(slots=True)
class Conditions:
    """What happens to a datagram on its way, in one direction.

    Attributes:
        delay_s: the least time it takes.
        jitter_s: up to so much more, evenly distributed; more than the spacing of datagrams reorders them.
        loss: the share that is lost, 0 to 1.
        duplication: the share that arrives twice, 0 to 1.
    """

    delay_s: float = 0.01
    jitter_s: float = 0.0
    loss: float = 0.0
    duplication: float = 0.0


@dataclass(slots=True)
class Nat:
    """A NAT in front of private addresses.

    Attributes:
        public_ip: its outer address.
        one_to_one: ports are kept and anybody may come in, as with a cloud server's public address.
        symmetric: a new outer port for every remote address; otherwise one per private address (RFC 4787 4.1).
        filtering: let in only what comes from an address and port that was sent to (RFC 4787 section 5).
    """

    public_ip: str
    one_to_one: bool = False
    symmetric: bool = False
    filtering: bool = True
    _next_port: int = 40000
    _out: dict[tuple[Address, Address | None], Address] = field(default_factory=dict)
    _in: dict[Address, Address] = field(default_factory=dict)
    _sent_to: set[tuple[Address, Address]] = field(default_factory=set)

    def outward(self, source: Address, destination: Address) -> Address:
        """Return the outer address for a datagram going out."""
        key = (source, destination if self.symmetric else None)
        outer = self._out.get(key)
        if outer is None:
            port = source[1] if self.one_to_one else self._next_port
            self._next_port += 1
            outer = (self.public_ip, port)
            self._out[key] = outer
            self._in[outer] = source
        self._sent_to.add((outer, destination))
        return outer

    def open(self, private: Address) -> None:
        """Make a mapping before anything was sent, as a static rule would."""
        outer = (self.public_ip, private[1])
        self._out[private, None] = outer
        self._in[outer] = private

    def inward(self, source: Address, destination: Address) -> Address | None:
        """Return the private address for a datagram coming in, or ``None`` when it is filtered."""
        private = self._in.get(destination)
        if private is None:
            return None
        if self.filtering and not self.one_to_one and (destination, source) not in self._sent_to:
            return None
        return private

    def rebind(self) -> None:
        """Forget all mappings: the next datagrams go out of other ports, and nothing comes in by the old ones."""
        self._out.clear()
        self._in.clear()
        self._sent_to.clear()


class VirtualNetwork:
    """Carries datagrams between endpoints in virtual time.

    Args:
        seed: gives the history of losses, delays and duplicates.
        conditions: of every way for which ``set_conditions`` says nothing else.
        now: the time at the start, in seconds.
    """

    def __init__(self, *, seed: int = 0, conditions: Conditions | None = None, now: float = 1000.0) -> None:
        self.now = now
        self.conditions = conditions or Conditions()
        self.sent = 0
        self.lost = 0
        self.undeliverable = 0
        self.tap: Callable[[float, bytes, Address, Address], None] | None = None
        self._random = random.Random(seed)
        self._ways: dict[tuple[str, str], Conditions] = {}
        self._blocked: set[tuple[str, str]] = set()
        self._endpoints: list[Endpoint] = []
        self._owners: dict[Address, Endpoint] = {}
        self._nat_of: dict[Address, Nat] = {}
        self._nats: dict[str, Nat] = {}
        self._flying: list[tuple[float, int, bytes, Address, Address]] = []
        self._sequence = 0
        self._calls: list[tuple[float, int, Callable[[], None]]] = []

    def attach(self, endpoint: Endpoint, *addresses: Address, nat: Nat | None = None) -> None:
        """Put an endpoint on the network with these addresses, behind a NAT if one is given."""
        if endpoint not in self._endpoints:
            self._endpoints.append(endpoint)
        for address in addresses:
            self._owners[address] = endpoint
            if nat is not None:
                self._nat_of[address] = nat
                self._nats[nat.public_ip] = nat
                if nat.one_to_one:
                    nat.open(address)

    def set_conditions(self, source_ip: str, destination_ip: str, conditions: Conditions) -> None:
        """Set what happens from one outer address to another, in this direction."""
        self._ways[source_ip, destination_ip] = conditions

    def block(self, source_ip: str, destination_ip: str, *, both_ways: bool = True) -> None:
        """Break the way between two outer addresses."""
        self._blocked.add((source_ip, destination_ip))
        if both_ways:
            self._blocked.add((destination_ip, source_ip))

    def unblock(self, source_ip: str, destination_ip: str) -> None:
        """Mend the way between two outer addresses."""
        self._blocked -= {(source_ip, destination_ip), (destination_ip, source_ip)}

    def call_at(self, when: float, action: Callable[[], None]) -> None:
        """Do something at a time, before what arrives then."""
        self._sequence += 1
        heapq.heappush(self._calls, (when, self._sequence, action))

    def call_later(self, delay_s: float, action: Callable[[], None]) -> None:
        """Do something after so many seconds."""
        self.call_at(self.now + delay_s, action)

    def send(self, data: bytes, local: Address, remote: Address) -> None:
        """Send a datagram as if an endpoint had."""
        self.sent += 1
        nat = self._nat_of.get(local)
        source = local if nat is None else nat.outward(local, remote)
        if self.tap is not None:
            self.tap(self.now, data, source, remote)
        way = (source[0], remote[0])
        conditions = self._ways.get(way, self.conditions)
        if way in self._blocked or self._random.random() < conditions.loss:
            self.lost += 1
            return
        copies = 2 if self._random.random() < conditions.duplication else 1
        for _ in range(copies):
            arrival = self.now + conditions.delay_s + conditions.jitter_s * self._random.random()
            self._sequence += 1
            heapq.heappush(self._flying, (arrival, self._sequence, data, source, remote))

    def run_for(self, seconds: float) -> None:
        """Let so many seconds pass."""
        self.run_until(lambda: False, timeout_s=seconds)

    def run_until(self, condition: Callable[[], bool], *, timeout_s: float) -> bool:
        """Let time pass until a condition holds; ``False`` when it does not hold by the time-out."""
        end = self.now + timeout_s
        steps = 0
        self._flush()
        while not condition():
            when = self._next_time()
            if when is None or when > end:
                self.now = end
                return condition()
            steps = steps + 1 if when <= self.now else 0
            assert steps < _MAX_STEPS_WITHOUT_TIME, "an endpoint's deadline does not move on"
            self.now = max(self.now, when)
            self._step()
        return True

    def _next_time(self) -> float | None:
        times = [deadline for e in self._endpoints if (deadline := e.next_deadline()) is not None]
        if self._flying:
            times.append(self._flying[0][0])
        if self._calls:
            times.append(self._calls[0][0])
        return min(times, default=None)

    def _step(self) -> None:
        while self._calls and self._calls[0][0] <= self.now:
            heapq.heappop(self._calls)[2]()
            self._flush()
        while self._flying and self._flying[0][0] <= self.now:
            _, _, data, source, destination = heapq.heappop(self._flying)
            self._deliver(data, source, destination)
            self._flush()
        for endpoint in self._endpoints:
            deadline = endpoint.next_deadline()
            if deadline is not None and deadline <= self.now:
                endpoint.handle_timeout(self.now)
                self._flush()

    def _deliver(self, data: bytes, source: Address, destination: Address) -> None:
        nat = self._nats.get(destination[0])
        local = destination if nat is None else nat.inward(source, destination)
        if local is None or local not in self._owners or (nat is None and local in self._nat_of):
            self.undeliverable += 1
            return
        self._owners[local].receive(data, local, source, self.now)

    def _flush(self) -> None:
        for endpoint in self._endpoints:
            while (datagram := endpoint.poll_transmit()) is not None:
                self.send(*datagram)
