"""Protected packets on their way out, back to back in memory, so that a run of equal ones leaves by one system call."""

from __future__ import annotations

from collections.abc import Callable

from triortc.engine.address import Address

__all__ = ["CHUNK_BYTES", "Outbox"]

#: A burst of a picture or two; of the memory behind it, no more is touched than that.
CHUNK_BYTES = 32 * 1024


class Outbox:
    """A bounded buffer of runs: consecutive packets of equal length, of which the last may be shorter.

    The shell drains it after every batch. A sender that outruns the shell loses packets, counted in ``overflows``,
    as it would at a full socket buffer. The first chunk is made when something is sent.
    """

    __slots__ = ("_chunks", "_free", "_max_chunks", "_runs", "overflows", "position", "view")

    def __init__(self, max_bytes: int) -> None:
        self._max_chunks = max(1, max_bytes // CHUNK_BYTES)
        #: Where the next packet goes: `view` from `position` on.
        self.view = memoryview(b"")
        self.position = CHUNK_BYTES
        self._free: memoryview | None = None
        self._chunks = 0
        #: (buffer, start, end, segment length)
        self._runs: list[tuple[memoryview, int, int, int]] = []
        self.overflows = 0

    def __bool__(self) -> bool:
        return bool(self._runs)

    def make_room(self, length: int) -> bool:
        """See to `length` bytes of room at `position`, at most CHUNK_BYTES; False when the buffer is full."""
        if self.position + length > CHUNK_BYTES:
            if self._chunks >= self._max_chunks:
                self.overflows += 1
                return False
            self._chunks += 1
            self.view, self._free = self._free or memoryview(bytearray(CHUNK_BYTES)), None
            self.position = 0
        return True

    def reserve(self, length: int) -> memoryview | None:
        """Room for a packet of at most `length` bytes, to be filled and committed; None when the buffer is full."""
        if not self.make_room(length):
            return None
        return self.view[self.position : self.position + length]

    def put(self, packet: bytes) -> bool:
        """Append a packet that is whole; False when the buffer is full."""
        length = len(packet)
        if not self.make_room(length):
            return False
        end = self.position + length
        self.view[self.position : end] = packet
        self.commit_run(end, length)
        return True

    def commit(self, length: int) -> None:
        """The room at `position` now holds a packet of `length` bytes."""
        self.commit_run(self.position + length, length)

    def commit_run(self, end: int, segment: int) -> None:
        """From `position` to `end` there are packets of `segment` bytes each."""
        start, self.position = self.position, end
        runs = self._runs
        if runs:
            buffer, first, last, before = runs[-1]
            # A run goes on while every packet before this one has the segment's full length.
            full = buffer is self.view and last == start and (last - first) % before == 0
            if full and (segment == before or (segment < before and end - start == segment)):
                runs[-1] = (buffer, first, end, before)
                return
        runs.append((self.view, start, end, segment))

    def drain(self, send: Callable[[memoryview, int, Address], None], remote: Address) -> None:
        """Hand every run to `send(run, segment_bytes, remote)` and begin anew. The views hold only during the call."""
        runs = self._runs
        if not runs:
            return
        self._runs = []
        for buffer, start, end, segment in runs:
            send(buffer[start:end], segment, remote)
        # The last chunk is used again; of more, one is kept for the next burst.
        self._free = runs[0][0] if self._chunks > 1 and runs[0][0] is not self.view else self._free
        self._chunks = 1
        self.position = 0
