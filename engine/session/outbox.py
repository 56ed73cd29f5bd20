"""Protected packets on their way out, back to back in memory, so that a run of equal ones leaves by one system call."""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["Outbox"]

CHUNK_BYTES = 96 * 1024


class Outbox:
    """A bounded buffer of runs: consecutive packets of equal length, of which the last may be shorter.

    The shell drains it after every batch. A sender that outruns the shell loses packets, counted in ``overflows``,
    as it would at a full socket buffer.
    """

    __slots__ = ("_chunks", "_free", "_max_chunks", "_position", "_runs", "_view", "overflows")

    def __init__(self, max_bytes: int) -> None:
        self._max_chunks = max(1, max_bytes // CHUNK_BYTES)
        self._view = memoryview(bytearray(CHUNK_BYTES))
        self._free: list[memoryview] = []
        self._chunks = 1
        self._position = 0
        #: (buffer, start, end, segment length)
        self._runs: list[tuple[memoryview, int, int, int]] = []
        self.overflows = 0

    def __bool__(self) -> bool:
        return bool(self._runs)

    def reserve(self, length: int) -> memoryview | None:
        """Room for a packet of at most `length` bytes, to be filled and committed; None when the buffer is full."""
        if self._position + length > CHUNK_BYTES:
            if self._chunks >= self._max_chunks:
                self.overflows += 1
                return None
            self._chunks += 1
            self._view = self._free.pop() if self._free else memoryview(bytearray(CHUNK_BYTES))
            self._position = 0
        return self._view[self._position : self._position + length]

    def commit(self, length: int) -> None:
        """The reserved room now holds a packet of `length` bytes."""
        start = self._position
        end = self._position = start + length
        runs = self._runs
        if runs:
            buffer, first, last, segment = runs[-1]
            # A run goes on while every packet before this one has the segment's full length.
            if buffer is self._view and last == start and length <= segment and (last - first) % segment == 0:
                runs[-1] = (buffer, first, end, segment)
                return
        runs.append((self._view, start, end, length))

    def drain(self, send: Callable[[memoryview, int], None]) -> None:
        """Hand every run to `send(run, segment_bytes)` and begin anew. The views hold only during the call."""
        runs = self._runs
        if not runs:
            return
        self._runs = []
        for buffer, start, end, segment in runs:
            send(buffer[start:end], segment)
            if buffer is not self._view:
                self._free = [buffer]
        self._chunks = 1
        self._position = 0
