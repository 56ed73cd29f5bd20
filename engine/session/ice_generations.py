"""ICE agents of one session: the one whose pair carries media, and beside it that of a restart (RFC 8445 section 9).

A restart never breaks what works: the old pair carries media until the new agent has a nominated one, or at least a
valid one where the old pair is dead. A restart that finds no way changes nothing.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

from triortc.engine.address import Address
from triortc.engine.ice.agent import IceAgent
from triortc.engine.ice.configuration import IceConfiguration
from triortc.engine.ice.events import IceEvent, IceState, IceStateChanged
from triortc.engine.sdp.candidate import Candidate
from triortc.engine.stun.peek import peek_local_ufrag
from triortc.errors import ConfigurationError

__all__ = ["IceGenerations"]

_ALIVE: Final = (IceState.CONNECTED, IceState.COMPLETED)


class IceGenerations:
    """Three agents at most: one that carries media, one that is to follow it, one that is described and not agreed on.

    Args:
        controlling: our role at the start; a restart begins with the role of the time.
        configuration: timers, limits and address policy, the same for all.
        random_bytes: gives ``n`` unpredictable bytes.
    """

    def __init__(
        self, *, controlling: bool, configuration: IceConfiguration, random_bytes: Callable[[int], bytes]
    ) -> None:
        self._configuration = configuration
        self._random_bytes = random_bytes
        self._local: list[tuple[Candidate, Address]] = []
        self._events: deque[IceEvent] = deque()
        #: The agent whose pair carries media.
        self.current = self._open(controlling=controlling)
        self._following: IceAgent | None = None
        self._prepared: IceAgent | None = None
        #: Media's pair has died while a restart was under way, and the session was not told that it is over.
        self._lost = False

    def _open(self, *, controlling: bool) -> IceAgent:
        agent = IceAgent(controlling=controlling, configuration=self._configuration, random_bytes=self._random_bytes)
        for candidate, base in self._local:
            agent.add_local_candidate(candidate, base)
        return agent

    @property
    def agreed(self) -> IceAgent:
        """The agent of the last exchange of descriptions: a later one without a restart repeats its credentials."""
        return self._following or self.current

    @property
    def agents(self) -> tuple[IceAgent, ...]:
        """Those whose checks are taken."""
        return tuple(agent for agent in (self.current, self._following, self._prepared) if agent is not None)

    @property
    def restarting(self) -> bool:
        """Whether an agent is looking for a pair that takes the place of the one in use."""
        return self._following is not None and self._following.state is not IceState.FAILED

    def add_local_candidate(self, candidate: Candidate, base: Address) -> None:
        """Add one of our candidates, for these agents and later ones."""
        self._local.append((candidate, base))
        for agent in self.agents:
            agent.add_local_candidate(candidate, base)

    def prepare_restart(self) -> IceAgent:
        """The agent of the next restart, for its description; the same one until it is agreed on or given up."""
        if self._prepared is None:
            self._prepared = self._open(controlling=self.current.controlling)
        return self._prepared

    def give_up_restart(self) -> None:
        """What was prepared will not be agreed on."""
        if self._prepared is not None:
            self._prepared.close()
            self._prepared = None

    def restart(self, ufrag: str, password: str, now: float) -> None:
        """The peer has agreed: look for a pair with its new credentials.

        Raises:
            ConfigurationError: no restart was prepared.
            IceError: the credentials break RFC 8839 section 5.4.
        """
        agent = self._prepared
        if agent is None:
            raise ConfigurationError("the peer restarts ICE: call prepare_ice_restart before you describe the answer")
        agent.set_remote_credentials(ufrag, password)
        agent.start(now)
        if self._following is not None:
            self._following.close()
        self._following, self._prepared = agent, None

    def receive(self, data: bytes, local: Address, remote: Address, now: float) -> bool:
        """Take a datagram that looks like STUN; whether it is authentic and for one of the agents."""
        if self._following is None and self._prepared is None:
            return self.current.receive(data, local, remote, now)
        ufrag = peek_local_ufrag(data)
        if ufrag is None:  # an answer: to whoever has asked
            return any(agent.receive(data, local, remote, now) for agent in self.agents)
        agent = next((agent for agent in self.agents if agent.local_ufrag == ufrag), self.current)
        return agent.receive(data, local, remote, now)

    def poll_transmit(self) -> tuple[bytes, Address, Address] | None:
        """The next datagram with its base and remote address."""
        for agent in self.agents:
            transmit = agent.poll_transmit()
            if transmit is not None:
                return transmit
        return None

    def poll_event(self) -> IceEvent | None:
        """The next event of the agent whose pair carries media."""
        self._follow()
        if self._events:
            return self._events.popleft()
        event = self.current.poll_event()
        if isinstance(event, IceStateChanged) and event.state is IceState.FAILED and self.restarting:
            self._lost = True
            return IceStateChanged(IceState.DISCONNECTED)
        return event

    def _follow(self) -> None:
        """Let the agent of a restart take over as soon as it may."""
        following = self._following
        if following is None:
            return
        if following.state is IceState.FAILED:
            if self._lost:
                self._lost = False
                self._events.append(IceStateChanged(IceState.FAILED))
        elif following.selected is not None and (following.nominated or self.current.state not in _ALIVE):
            self.current.close()
            self.current, self._following = following, None
            self._lost = False

    def handle_timeout(self, now: float) -> None:
        """Do what is due."""
        for agent in self.agents:
            agent.handle_timeout(now)

    def next_deadline(self) -> float | None:
        """When :meth:`handle_timeout` wants to be called."""
        if self._following is None:
            return self.current.next_deadline()
        deadlines = [agent.next_deadline() for agent in (self.current, self._following)]
        return min((deadline for deadline in deadlines if deadline is not None), default=None)

    def close(self) -> None:
        """Stop all of them."""
        for agent in self.agents:
            agent.close()
