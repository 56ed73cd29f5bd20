"""Everything that call control takes in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from triortc.engine.calls.actor import Actor, DeviceAddress, DeviceInformation, PushEndpoint
from triortc.engine.calls.commands import Command
from triortc.engine.calls.media_events import MediaEvent

__all__ = [
    "CommandReceived",
    "DeviceConnected",
    "DeviceGone",
    "DeviceLost",
    "DeviceResumed",
    "Drain",
    "Event",
    "PushEndpointGone",
    "SessionCrashed",
    "ShutDown",
]


@dataclass(slots=True, frozen=True)
class CommandReceived:
    """A command; `rx_time` is the instant at which its message was complete (R1)."""

    actor: Actor
    command: Command
    rx_time: float


@dataclass(slots=True, frozen=True)
class DeviceConnected:
    actor: Actor
    device: DeviceInformation


@dataclass(slots=True, frozen=True)
class DeviceLost:
    address: DeviceAddress


@dataclass(slots=True, frozen=True)
class DeviceResumed:
    address: DeviceAddress
    device: DeviceInformation | None = None


@dataclass(slots=True, frozen=True)
class DeviceGone:
    address: DeviceAddress


@dataclass(slots=True, frozen=True)
class PushEndpointGone:
    """The provider says that this endpoint of a device is no more; it is not pushed to again."""

    address: DeviceAddress
    endpoint: PushEndpoint


@dataclass(slots=True, frozen=True)
class SessionCrashed:
    """The code of one session failed; it ends, its siblings go on."""

    session: str


@dataclass(slots=True, frozen=True)
class Drain:
    """Take no new sessions; those that run go on (R24)."""


@dataclass(slots=True, frozen=True)
class ShutDown:
    """End every session; take no new ones."""


Event: TypeAlias = (
    CommandReceived
    | DeviceConnected
    | DeviceLost
    | DeviceResumed
    | DeviceGone
    | PushEndpointGone
    | MediaEvent
    | SessionCrashed
    | Drain
    | ShutDown
)
