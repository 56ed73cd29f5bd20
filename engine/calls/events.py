"""Everything that call control takes in."""

from __future__ import annotations

from typing import TypeAlias

from triortc.engine.calls.actor import Actor, DeviceAddress, DeviceInformation, PushEndpoint
from triortc.engine.calls.commands import Command
from triortc.engine.calls.media_events import ControlEvent
from triortc.engine.calls.value import ValueStruct

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


class CommandReceived(ValueStruct, frozen=True):
    """A command; `rx_time` is the instant at which its message was complete (R1)."""

    actor: Actor
    command: Command
    rx_time: float


class DeviceConnected(ValueStruct, frozen=True):
    actor: Actor
    device: DeviceInformation


class DeviceLost(ValueStruct, frozen=True):
    address: DeviceAddress


class DeviceResumed(ValueStruct, frozen=True):
    address: DeviceAddress
    device: DeviceInformation | None = None


class DeviceGone(ValueStruct, frozen=True):
    address: DeviceAddress


class DeviceRevoked(ValueStruct, frozen=True):
    """An administrator takes a device away from its owner (D2): it is told the end of what it rings for, and let go."""

    address: DeviceAddress


class ActorChanged(ValueStruct, frozen=True):
    """A device's token was refreshed, perhaps with other capabilities or groups."""

    actor: Actor


class SessionFenced(ValueStruct, frozen=True):
    """V45: another node has this session now. It ends here without a trace, since it is not ours to write about."""

    session: str


class PushEndpointGone(ValueStruct, frozen=True):
    """The provider says that this endpoint of a device is no more; it is not pushed to again."""

    address: DeviceAddress
    endpoint: PushEndpoint


class SessionCrashed(ValueStruct, frozen=True):
    """The code of one session failed; it ends, its siblings go on."""

    session: str


class Drain(ValueStruct, frozen=True):
    """Take no new sessions; those that run go on (R24)."""


class ShutDown(ValueStruct, frozen=True):
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
