"""The trio shell of call control: a nursery per session, deadlines as cancel scopes, effects performed.

(The signatures are stable; the bodies are being written.)
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from triortc.engine.calls.actor import Actor, DeviceAddress, DeviceInformation
from triortc.engine.calls.commands import Command
from triortc.engine.calls.media_events import MediaEvent
from triortc.engine.calls.notifications import Snapshot
from triortc.engine.calls.ports import ClientPort, HistoryPort, MediaPort, RouterPort
from triortc.engine.calls.replies import Reply

if TYPE_CHECKING:
    from triortc.engine.calls.configuration import CallConfiguration

__all__ = ["CallSupervisor", "open_call_supervisor"]


class CallSupervisor:
    """Everything is synchronous; call it from the trio loop."""

    clients: ClientPort | None  # set by signaling once it exists (or given to open_call_supervisor)

    def command(
        self,
        actor: Actor,
        command: Command,
        rx_time: float | None = None,
        on_reply: Callable[[Reply], None] | None = None,
    ) -> Reply:
        """Carry out a command. `rx_time`: trio.current_time() when the message was complete; None: now.

        `on_reply`, if given, is called with the reply at its place among the notifications (before those that the command
        causes for other devices and for its own); the reply is returned as well.
        """
        raise AssertionError

    def device_connected(self, actor: Actor, device: DeviceInformation) -> Snapshot:
        """`hello` without resume (or a resume that was not possible)."""
        raise AssertionError

    def device_lost(self, address: DeviceAddress) -> None:
        """The socket is gone without `bye`; the signaling session can be resumed (state `grace`)."""

    def device_resumed(self, address: DeviceAddress, device: DeviceInformation | None = None) -> None:
        """The signaling session was resumed with its event buffer (no snapshot needed). `device`: what the new hello says."""

    def device_gone(self, address: DeviceAddress) -> None:
        """`bye` 4000, T_resume over, or superseded for good: not resumable any more."""

    def media_event(self, event: MediaEvent) -> None:
        """What happened to a leg."""

    def snapshot(self, actor: Actor) -> Snapshot:
        """What `welcome` and `sync.get` show this device."""
        raise AssertionError


@asynccontextmanager
async def open_call_supervisor(
    media: MediaPort,
    *,
    clients: ClientPort | None = None,
    configuration: CallConfiguration | None = None,
    router: RouterPort | None = None,
    history: HistoryPort | None = None,
    random_bytes: Callable[[int], bytes] | None = None,
    wall_clock_ms: Callable[[], int] | None = None,
) -> AsyncIterator[CallSupervisor]:
    """Open call control. Leaving ends every session as failed/server_shutdown, in bounded time."""
    yield CallSupervisor()
