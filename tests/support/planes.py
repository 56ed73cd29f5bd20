"""Both data planes on the virtual network: the accelerated one's core is asked first, without its thread."""

from __future__ import annotations

from typing import Final

from support.session_host import SessionHost
from support.virtual_network import Address
from triortc.engine.relay.accelerated_plane import AcceleratedPlane
from triortc.engine.relay.acceleration import acceleration
from triortc.engine.relay.python_plane import PythonPlane

__all__ = ["PLANES", "SimulatedCore", "make_plane"]

PLANES: Final = ("python", "accelerated")


class SimulatedCore:
    """What stands in front of sessions: the core takes what is its own, and its packets leave by the right session.

    Attributes:
        taken: datagrams that never came to Python.
    """

    def __init__(self, plane: AcceleratedPlane) -> None:
        self.plane = plane
        self.taken = 0
        self._hosts: dict[Address, SessionHost] = {}

    def attach(self, host: SessionHost) -> None:
        """Let this host's datagrams come by the core."""
        if host.address not in self._hosts:
            self.plane.listen(host.address, -1 - len(self._hosts))  # it sends nothing itself
        self._hosts[host.address] = host
        host.core = self

    def receive(self, data: bytes, local: Address, remote: Address, now: float) -> bool:
        """Whether the core has done all that is to be done with a datagram."""
        if len(data) > 2048:
            return False
        sent = self.plane.process(data, local, remote, now)
        if sent is None:
            return False
        self.taken += 1
        for packet, source, destination in sent:
            self._hosts[source].put_out(packet, source, destination)
        return True

    def looked_at(self, now: float) -> None:
        """A session has looked at what was handed up."""
        self.plane.open_flows(now)


def make_plane(name: str) -> tuple[PythonPlane, SimulatedCore | None]:
    """A plane by its name, and what its sessions' datagrams come by."""
    if name == "python":
        return PythonPlane(), None
    core = acceleration().core
    assert core is not None, acceleration().reason
    plane = AcceleratedPlane(core)
    return plane, SimulatedCore(plane)
