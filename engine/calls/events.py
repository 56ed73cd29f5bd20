"""Everything that call control takes in."""

from __future__ import annotations

from typing import TypeAlias

from triortc.engine.calls.actor import Actor, DeviceAddress, DeviceInformation, PushEndpoint
from triortc.engine.calls.commands import Command
from triortc.engine.calls.media_events import ControlEvent
from triortc.engine.calls.value import value

__all__ = [
    "ActorChanged",
    "CommandReceived",
    "DeviceConnected",
    "DeviceGone",
    "DeviceLost",
    "DeviceResumed",
    "DeviceRevoked",
    "Drain",
    "Event",
    "PushEndpointGone",
    "SessionCrashed",
    "SessionFenced",
    "ShutDown",
]


@value(slots=True, frozen=True)
class CommandReceived:
    """A command; `rx_time` is the instant at which its message was complete (R1)."""

    actor: Actor
    command: Command
    rx_time: float


@value(slots=True, frozen=True)
class DeviceConnected:
    actor: Actor
    device: DeviceInformation


@value(slots=True, frozen=True)
class DeviceLost:
    address: DeviceAddress


@value(slots=True, frozen=True)
class DeviceResumed:
    address: DeviceAddress
    device: DeviceInformation | None = None


@value(slots=True, frozen=True)
class DeviceGone:
    address: DeviceAddress


@value(slots=True, frozen=True)
class DeviceRevoked:
    """An administrator takes a device away from its owner (D2): it is told the end of what it rings for, and let go."""

    address: DeviceAddress


@value(slots=True, frozen=True)
class ActorChanged:
    """A device's token was refreshed, perhaps with other capabilities or groups."""

    actor: Actor


@value(slots=True, frozen=True)
class SessionFenced:
    """V45: another node has this session now. It ends here without a trace, since it is not ours to write about."""

    session: str


@value(slots=True, frozen=True)
class PushEndpointGone:
    """The provider says that this endpoint of a device is no more; it is not pushed to again."""

    address: DeviceAddress
    endpoint: PushEndpoint


@value(slots=True, frozen=True)
class SessionCrashed:
    """The code of one session failed; it ends, its siblings go on."""

    session: str


@value(slots=True, frozen=True)
class Drain:
    """Take no new sessions; those that run go on (R24)."""


@value(slots=True, frozen=True)
class ShutDown:
    """End every session; take no new ones."""


Event: TypeAlias = (
    CommandReceived
    | DeviceConnected
    | DeviceLost
    | DeviceResumed
    | DeviceGone
    | DeviceRevoked
    | ActorChanged
    | PushEndpointGone
    | SessionFenced
    | ControlEvent
    | SessionCrashed
    | Drain
    | ShutDown
)
