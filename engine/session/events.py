"""What a session tells its owner."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final, TypeAlias

from triortc.engine.address import Address

__all__ = [
    "FINAL_STATES",
    "ConnectionState",
    "ConnectionStateChanged",
    "PathChanged",
    "SessionEvent",
    "SessionResumed",
    "SessionSilent",
]


class ConnectionState(Enum):
    """The state of ICE and DTLS together, as the W3C's RTCPeerConnectionState."""

    NEW = "new"
    CONNECTING = "connecting"
    CONNECTED = "connected"
    DISCONNECTED = "disconnected"
    FAILED = "failed"
    CLOSED = "closed"


#: After these a connection does nothing more: it has to be opened anew.
FINAL_STATES: Final = (ConnectionState.FAILED, ConnectionState.CLOSED)


@dataclass(frozen=True, slots=True)
class ConnectionStateChanged:
    """The connection has a new state; `reason` says in words why it failed or closed."""

    state: ConnectionState
    reason: str = ""


@dataclass(frozen=True, slots=True)
class PathChanged:
    """Media now goes from `local` to `remote`."""

    local: Address
    remote: Address


@dataclass(frozen=True, slots=True)
class SessionSilent:
    """Nothing authentic has come for the silence timeout."""


@dataclass(frozen=True, slots=True)
class SessionResumed:
    """After a silence, the peer is heard again."""


SessionEvent: TypeAlias = ConnectionStateChanged | PathChanged | SessionSilent | SessionResumed
