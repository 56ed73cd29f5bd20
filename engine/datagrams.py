"""A batch of datagrams in flat memory: what one receive call of a socket leaves behind."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from struct import Struct
from typing import Final

__all__ = ["BATCH_DATAGRAMS", "MAX_DATAGRAM_BYTES", "STAMP_BYTES", "DatagramBatch"]

#: Datagrams of one batch, and the largest of them; a longer datagram is no media packet and is dropped.
BATCH_DATAGRAMS: Final = 64
MAX_DATAGRAM_BYTES: Final = 2048

#: A control message of SO_TIMESTAMPNS: a header of 16 bytes and a timespec.
STAMP_BYTES: Final = 32
_STAMP = Struct("=16xqq")
_unpack_stamp, _pack_stamp = _STAMP.unpack_from, _STAMP.pack_into
#: A stamp that says more is the work of a wall clock that was set, not of a full buffer.
_MAX_WAITING_NS: Final = 1_000_000_000

#: The first twelve bytes of so many datagrams: a 16-bit word, sequence number, timestamp, SSRC of each.
_HEADS: Final = [Struct("!" + f"HHII{MAX_DATAGRAM_BYTES - 12}x" * count) for count in range(BATCH_DATAGRAMS + 1)]


class DatagramBatch:
    """Slots of equal size in one buffer, filled by a socket and lent until it is filled again.

    Whoever fills `buffer` sets `lengths` and `sources`, then calls :meth:`filled`.
    """

    __slots__ = ("buffer", "count", "fixed", "heads", "lengths", "now", "slots", "sources", "stamps", "wall_ns")

    def __init__(self) -> None:
        self.buffer = bytearray(BATCH_DATAGRAMS * MAX_DATAGRAM_BYTES)
        view = memoryview(self.buffer)
        self.slots = [view[i * MAX_DATAGRAM_BYTES : (i + 1) * MAX_DATAGRAM_BYTES] for i in range(BATCH_DATAGRAMS)]
        #: The first twelve bytes of each slot: an RTP header without extensions.
        self.fixed = [slot[:12] for slot in self.slots]
        self.count = 0
        #: Bytes of each datagram; -1 for one that was cut off.
        self.lengths: Sequence[int] = ()
        #: Where each came from, as the socket tells sources apart.
        self.sources: Sequence[Hashable] = ()
        #: Read as RTP, four numbers a datagram: first 16 bits, sequence number, timestamp, SSRC. Numbers of datagrams
        #: that are shorter mean nothing.
        self.heads: tuple[int, ...] = ()
        #: When the batch was taken, in seconds by the clock of every `now`.
        self.now = 0.0
        #: The same by the wall clock that the kernel stamps datagrams by; 0 where it does not.
        self.wall_ns = 0
        #: One control message of SO_TIMESTAMPNS a datagram.
        self.stamps = bytearray(BATCH_DATAGRAMS * STAMP_BYTES)

    def filled(self, count: int) -> None:
        """The first `count` slots hold datagrams now."""
        self.count = count
        self.heads = _HEADS[count].unpack_from(self.buffer)

    def arrived_at(self, n: int) -> float:
        """When datagram `n` reached this machine, by the clock of every `now`."""
        if not self.wall_ns:
            return self.now
        seconds, nanoseconds = _unpack_stamp(self.stamps, n * STAMP_BYTES)
        waited_ns = self.wall_ns - seconds * 1_000_000_000 - nanoseconds
        return self.now - waited_ns * 1e-9 if 0 <= waited_ns < _MAX_WAITING_NS else self.now

    def arrivals(self, places: Sequence[int], at_once_s: float) -> list[float]:
        """When each of these datagrams reached this machine; all at one time if the last came so soon after the first.

        Arguments:
            places: in the order of the batch, one at least.
        """
        first_at = self.arrived_at(places[0])
        if len(places) < 2:
            return [first_at]
        if self.arrived_at(places[-1]) - first_at < at_once_s:
            return [first_at] * len(places)
        return [self.arrived_at(n) for n in places]

    def load_stamped(self, datagrams: Sequence[tuple[Hashable, bytes, float]], now: float) -> None:
        """Fill the batch from values that come with their arrival, as (source, datagram, arrived at)."""
        self.load([(data, source) for source, data, _ in datagrams], now)
        self.wall_ns = _MAX_WAITING_NS
        for n, (_, _, arrived_at) in enumerate(datagrams):
            stamp_ns = max(0, _MAX_WAITING_NS - round(max(0.0, now - arrived_at) * 1e9))
            _pack_stamp(self.stamps, n * STAMP_BYTES, *divmod(stamp_ns, 1_000_000_000))

    def load(self, datagrams: Sequence[tuple[bytes | memoryview, Hashable]], now: float) -> None:
        """Fill the batch from values, at most BATCH_DATAGRAMS, as (datagram, source)."""
        self.now = now
        for slot, (data, _) in zip(self.slots, datagrams, strict=False):
            slot[: len(data)] = data
        self.lengths = [len(data) for data, _ in datagrams]
        self.sources = [source for _, source in datagrams]
        self.filled(len(datagrams))
