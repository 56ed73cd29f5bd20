"""Two ICE agents on a virtual network, as the tests of the ICE room use them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from support.virtual_network import Address, Conditions, Nat, VirtualNetwork, seeded_random_bytes
from triortc.engine.ice import IceAgent, IceConfiguration, IceState, IceStateChanged, host_candidate
from triortc.engine.ice.events import IceEvent
from triortc.engine.sdp.candidate import Candidate

__all__ = ["CONNECTED", "IcePeer", "connect", "is_connected", "is_nominated", "make_peer", "pair_up"]

CONNECTED = (IceState.CONNECTED, IceState.COMPLETED)


@dataclass(slots=True, eq=False)
class IcePeer:
    """An agent, its candidates and the events it has told."""

    agent: IceAgent
    candidates: list[Candidate] = field(default_factory=list)
    events: list[IceEvent] = field(default_factory=list)

    def collect(self) -> list[IceEvent]:
        """Return all events so far."""
        while (event := self.agent.poll_event()) is not None:
            self.events.append(event)
        return self.events

    def states(self) -> list[IceState]:
        """Return the states told so far, in order."""
        return [event.state for event in self.collect() if isinstance(event, IceStateChanged)]


def make_peer(
    network: VirtualNetwork,
    *bases: Address,
    controlling: bool,
    seed: int,
    nat: Nat | None = None,
    advertised: Address | None = None,
    **numbers: Any,
) -> IcePeer:
    """Make an agent with a host candidate on every base and put it on the network."""
    agent = IceAgent(
        controlling=controlling,
        configuration=IceConfiguration(**numbers),
        random_bytes=seeded_random_bytes(seed),
    )
    peer = IcePeer(agent)
    for index, base in enumerate(bases):
        candidate = host_candidate(base, advertised=advertised, local_preference=65535 - index)
        agent.add_local_candidate(candidate, base)
        peer.candidates.append(candidate)
    network.attach(agent, *bases, nat=nat)
    return peer


def pair_up(network: VirtualNetwork, left: IcePeer, right: IcePeer, *, candidates: bool = True) -> None:
    """Exchange credentials, and candidates unless told otherwise, and start both."""
    for peer, other in ((left, right), (right, left)):
        peer.agent.set_remote_credentials(other.agent.local_ufrag, other.agent.local_password)
        if candidates:
            for candidate in other.candidates:
                peer.agent.add_remote_candidate(candidate, network.now)
            peer.agent.end_of_remote_candidates(network.now)
        peer.agent.start(network.now)


def is_connected(*peers: IcePeer) -> bool:
    """Whether all of them can send media."""
    return all(peer.agent.state in CONNECTED for peer in peers)


def is_nominated(*peers: IcePeer) -> bool:
    """Whether all of them use a nominated pair."""
    return all(peer.agent.nominated for peer in peers)


def connect(
    *, seed: int = 1, conditions: Conditions | None = None, timeout_s: float = 30.0, **numbers: Any
) -> tuple[VirtualNetwork, IcePeer, IcePeer]:
    """Return a network with a controlling and a controlled peer that have nominated a pair."""
    network = VirtualNetwork(seed=seed, conditions=conditions)
    left = make_peer(network, ("192.0.2.1", 4000), controlling=True, seed=seed, **numbers)
    right = make_peer(network, ("198.51.100.1", 5000), controlling=False, seed=seed + 1000003, **numbers)
    pair_up(network, left, right)
    assert network.run_until(lambda: is_nominated(left, right), timeout_s=timeout_s)
    return network, left, right
