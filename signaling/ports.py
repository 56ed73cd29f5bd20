"""What the signaling server needs of call control, and the counters it keeps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from triortc.engine.calls.actor import Actor, DeviceAddress, DeviceInformation
from triortc.engine.calls.commands import Command
from triortc.engine.calls.replies import Reply
from triortc.engine.calls.store import ReplyRow
from triortc.engine.calls.view_values import Snapshot

__all__ = ["CallControl", "Keeper", "SignalCounters"]


class CallControl(Protocol):
    """What signaling needs of call control; `CallSupervisor` is it."""

    def command(
        self,
        actor: Actor,
        command: Command,
        rx_time: float | None = None,
        on_reply: Callable[[Reply], None] | None = None,
    ) -> Reply:
        """Carry out a command."""

    def device_connected(self, actor: Actor, device: DeviceInformation) -> Snapshot:
        """A device said hello."""

    def device_lost(self, address: DeviceAddress) -> None:
        """Its connection is gone; it may come back."""

    def device_resumed(self, address: DeviceAddress, device: DeviceInformation | None = None) -> None:
        """It came back."""

    def device_gone(self, address: DeviceAddress) -> None:
        """It will not come back."""

    def device_revoked(self, address: DeviceAddress) -> None:
        """It may not come back: its token was revoked."""

    def actor_changed(self, actor: Actor) -> None:
        """Its token was refreshed."""


class Keeper(Protocol):
    """What signaling needs where state outlives the process; `CallSupervisor` is it."""

    def keep_reply(self, row: ReplyRow) -> None:
        """Keep a reply together with what its command changed."""

    @property
    def settled(self) -> bool:
        """Whether everything that happened may be told."""

    async def settle(self) -> None:
        """Wait until what has happened by now may be told."""

    def health(self) -> dict[str, object]:
        """How the store does, for `/health`."""


@dataclass(slots=True)
class SignalCounters:
    """What has happened, for `/health` and tests."""

    connections: int = 0
    open_connections: int = 0
    handshakes: int = 0
    refused: int = 0
    welcomed: int = 0
    resumed: int = 0
    superseded: int = 0
    expired: int = 0
    commands: int = 0
    events: int = 0
