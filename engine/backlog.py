"""Datagrams that were taken and that nobody has looked at yet: a turn may end between any two of them."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Final

from triortc.engine.address import Address
from triortc.engine.datagrams import BATCH_DATAGRAMS, DatagramBatch
from triortc.engine.relay.accelerated_plane import AcceleratedPlane
from triortc.engine.session.datagram_kinds import is_rtcp

__all__ = ["Backlog", "HandUps"]


@dataclass(slots=True, eq=False)
class Backlog:
    """A batch, and how far it has come.

    Attributes:
        first, end: the datagrams that are still to be looked at.
        sent_before: how much had been sent when the batch began, if it is measured how long the batch takes.
    """

    batch: DatagramBatch = field(default_factory=DatagramBatch)
    first: int = 0
    end: int = 0
    sent_before: int | None = None

    def begin(self, count: int) -> None:
        """The batch was filled anew."""
        self.first, self.end = 0, count

    @property
    def is_done(self) -> bool:
        """Whether everything was looked at."""
        return self.first >= self.end


class HandUps:
    """What a media thread has handed up, in the order in which it came.

    Arguments:
        plane: hands it up.
    """

    def __init__(self, plane: AcceleratedPlane) -> None:
        self._plane: Final = plane
        self._taken: deque[tuple[bytes, bytes, float]] = deque()
        #: Datagrams to one socket that need a batch, and are before everything else.
        self.backlog = Backlog()

    @property
    def is_done(self) -> bool:
        """Whether everything that was taken was looked at."""
        return not self._taken and self.backlog.is_done

    def take(self) -> bool:
        """Take from the thread what it has; whether there may be more."""
        self._taken.extend(self._plane.take())
        return len(self._taken) == BATCH_DATAGRAMS

    def next_feedback(self) -> tuple[Address, Address, bytes] | None:
        """The next datagram as (local, remote, datagram), if it looks like RTCP, which needs no batch."""
        source, datagram, _ = self._taken[0]
        if not _is_feedback(datagram):
            return None
        self._taken.popleft()
        return *self._plane.address_of(source), datagram

    def fill_backlog(self, now: float) -> None:
        """Let the next datagrams, all to one socket and none of them RTCP, be the backlog."""
        local, together = self._plane.address_of(self._taken[0][0])[0], []
        while self._taken:
            source, datagram, _ = self._taken[0]
            if _is_feedback(datagram) or self._plane.address_of(source)[0] != local:
                break
            together.append(self._taken.popleft())
        self.backlog.batch.load_stamped(together, now)
        self.backlog.begin(len(together))

    @property
    def backlog_local(self) -> Address:
        """The socket that the backlog came to."""
        return self._plane.address_of(self.backlog.batch.sources[self.backlog.first])[0]


def _is_feedback(datagram: bytes) -> bool:
    return len(datagram) > 1 and is_rtcp(datagram[0] << 8 | datagram[1])
