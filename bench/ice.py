"""How many connectivity checks one ICE agent answers in a second of CPU (RFC 8445 section 7.3)."""

from __future__ import annotations

import secrets
import time
from typing import Any, Final

from triortc.engine.address import Address
from triortc.engine.ice import IceAgent, IceConfiguration, IceState, host_candidate

__all__ = ["measure_ice"]

_CONNECTED: Final = (IceState.CONNECTED, IceState.COMPLETED)
_ADDRESSES: Final[tuple[Address, Address]] = (("192.0.2.1", 4000), ("192.0.2.2", 4000))


def _pair() -> tuple[IceAgent, IceAgent]:
    agents = tuple(
        IceAgent(controlling=controlling, configuration=IceConfiguration(), random_bytes=secrets.token_bytes)
        for controlling in (True, False)
    )
    for agent, address in zip(agents, _ADDRESSES, strict=True):
        agent.add_local_candidate(host_candidate(address, local_preference=65535), address)
    for agent, other, remote in ((agents[0], agents[1], _ADDRESSES[1]), (agents[1], agents[0], _ADDRESSES[0])):
        agent.set_remote_credentials(other.local_ufrag, other.local_password)
        agent.add_remote_candidate(host_candidate(remote, local_preference=65535), 0.0)
        agent.end_of_remote_candidates(0.0)
        agent.start(0.0)
    return agents[0], agents[1]


def _connect(offerer: IceAgent, answerer: IceAgent) -> bytes:
    """Carry datagrams until both have a pair; gives one of the offerer's checks."""
    now, check = 0.0, b""
    while not (offerer.state in _CONNECTED and answerer.state in _CONNECTED) and now < 10:
        now += 0.01
        for agent, other in ((offerer, answerer), (answerer, offerer)):
            agent.handle_timeout(now)
            while (transmit := agent.poll_transmit()) is not None:
                data, local, remote = transmit
                if agent is offerer and data[:2] == b"\0\1":
                    check = data
                other.receive(data, remote, local, now)
    return check


def measure_ice(checks: int) -> dict[str, Any]:
    """Answer one authentic check over and over, as a server under many legs does with different ones.

    Returns:
        Checks a second of CPU, microseconds a check, and milliseconds of CPU for a whole agent pair to connect.
    """
    began = time.thread_time_ns()
    pairs = 20
    for _ in range(pairs):
        offerer, answerer = _pair()
        check = _connect(offerer, answerer)
    connected_ns = time.thread_time_ns() - began
    began = time.thread_time_ns()
    answered = 0
    for number in range(checks):
        answerer.receive(check, _ADDRESSES[1], _ADDRESSES[0], 20.0 + number / 1000)
        while answerer.poll_transmit() is not None:
            answered += 1
    checks_ns = time.thread_time_ns() - began
    return {
        "what": "ice",
        "label": "triortc",
        "checks_per_second": answered / (checks_ns / 1e9),
        "us_per_check": checks_ns / 1000 / max(1, answered),
        "cpu_ms_per_connected_pair": connected_ns / 1e6 / pairs,
    }
