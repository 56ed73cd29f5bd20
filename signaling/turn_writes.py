"""What one turn of the loop tells is written at its end, by one task for all connections.

A step of call control tells several devices several things, and in one turn of the loop there are often several steps.
To wake a task for each connection costs as much as the write, and more; to write from each step wakes the peers one
by one while the loop still works, which costs the kernel more than the task would have. So one task is woken, once.
What goes wrong in one connection is handed back to it: the task belongs to all of them, and has to go on.
"""

from __future__ import annotations

from typing import Final, Protocol

import trio

__all__ = ["TurnWrites", "Writer"]

#: After so many at once others get a turn: what all devices are told does not hold up media.
_AT_ONCE: Final = 32


class Writer(Protocol):
    """A connection."""

    def write_now(self) -> None:
        """Write what is queued, as far as that needs no wait, and see to it that the rest is written."""

    def failed(self, error: Exception) -> None:
        """`write_now` raised this: end in the connection's own task, and with it. Must not raise."""


class TurnWrites:
    """Knows which connections have something to write since the last turn of the loop."""

    __slots__ = ("_lot", "_running", "_waiting")

    def __init__(self) -> None:
        self._lot = trio.lowlevel.ParkingLot()
        self._running = False
        self._waiting: dict[Writer, None] = {}

    def gather(self, writer: Writer) -> bool:
        """This connection has something to write. False: nobody does that here, its own task has to be woken."""
        if self._running:
            if not self._waiting:
                self._lot.unpark()
            self._waiting[writer] = None
        return self._running

    async def run(self) -> None:
        """Write; runs until cancelled."""
        self._running = True
        try:
            while True:
                if self._waiting:
                    await trio.lowlevel.checkpoint()
                else:
                    await self._lot.park()
                self._write(_AT_ONCE)
        finally:
            self._running = False
            self._write(len(self._waiting))

    def _write(self, at_most: int) -> None:
        for _ in range(min(at_most, len(self._waiting))):
            writer = next(iter(self._waiting))
            del self._waiting[writer]
            try:
                writer.write_now()
            except Exception as error:  # noqa: BLE001 - raised again in the task of that connection
                writer.failed(error)
