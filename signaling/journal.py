"""A journal of a fixed size: what is appended survives the death of the process, at the cost of one write to memory.

A ring of numbered, checked records in a file whose blocks exist from the start. `append` copies a record into the
kernel's page cache: a few microseconds, no wait for the disk, no room to run out of but its own. What has been sorted
in elsewhere is released, and its place is used again. After a crash `recover` gives the records from a position on, as
far as they follow each other without a gap.
"""

from __future__ import annotations

import fcntl
import os
import struct
import zlib
from bisect import bisect_right
from collections.abc import Iterator
from operator import attrgetter
from pathlib import Path
from typing import Final, NamedTuple

from triortc.errors import StoreError

__all__ = ["Journal", "JournalFullError", "JournalRecord"]

_HEADER: Final = struct.Struct("<4sIQI")
_MAGIC: Final = b"tjr1"
_WRAP: Final = 0xFFFF_FFFF
_CHUNK: Final = bytes(1 << 20)


class JournalFullError(StoreError):
    """The record does not fit into what is free; nothing was written."""


class JournalRecord(NamedTuple):
    """A record that was found.

    Attributes:
        number: consecutive, from 1.
        end: the position behind it; positions count all bytes ever written.
        data: what was appended.
    """

    number: int
    end: int
    data: bytes


class _Written(NamedTuple):
    """What went to one place of the file, and the position that it led to."""

    end: int
    offset: int
    data: bytes


class Journal:
    """The file. One process at a time.

    Arguments:
        path: made if it is not there.
        size_bytes: of a file that is made; one that is there keeps its size.
        keep_unsynchronized: for `write_again`, keep in memory what `synchronized` has not been told of.

    Raises:
        StoreError: there is no room for it, another process uses it, or its size makes no sense.
    """

    def __init__(self, path: Path, size_bytes: int, *, keep_unsynchronized: bool = False) -> None:
        if size_bytes < 64 * 1024:
            raise StoreError(f"a journal of {size_bytes} bytes is too small; give it 64 KiB at least")
        try:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StoreError(f"{path} cannot be opened: {error.strerror}") from None
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self.size_bytes = self._allocate(size_bytes)
        except BlockingIOError:
            os.close(self._file)
            raise StoreError(f"another process uses {path.parent}: one server per directory") from None
        except OSError as error:
            os.ftruncate(self._file, 0)
            os.close(self._file)
            raise StoreError(f"there is no room for {path} ({size_bytes} bytes): {error.strerror}") from None
        self._number = 0
        self._end = 0
        self._released = 0
        self._unsynchronized: list[_Written] | None = [] if keep_unsynchronized else None

    def _allocate(self, size_bytes: int) -> int:
        """Write every block once: from then on no full disk is in the way of a record."""
        present = os.fstat(self._file).st_size
        if present >= 64 * 1024:
            return present
        for offset in range(0, size_bytes, len(_CHUNK)):
            os.pwrite(self._file, _CHUNK[: size_bytes - offset], offset)
        os.fsync(self._file)
        return size_bytes

    # --- after a start

    def recover(self, number: int, position: int) -> Iterator[JournalRecord]:
        """The records behind a position, up to the first that is missing or damaged; appending goes on behind them.

        Arguments:
            number: of the last record that was sorted in elsewhere; 0: none was.
            position: its end.
        """
        self._number, self._end, self._released = number, position, position
        while (found := self._read(self._end, self._number + 1)) is not None:
            self._number, self._end = found.number, found.end
            yield found

    def _read(self, position: int, number: int) -> JournalRecord | None:
        offset = position % self.size_bytes
        left = self.size_bytes - offset
        header = os.pread(self._file, _HEADER.size, offset) if left >= _HEADER.size else b""
        magic, length, found, check = _HEADER.unpack(header) if len(header) == _HEADER.size else (_MAGIC, _WRAP, 0, 0)
        if magic == _MAGIC and length == _WRAP:
            if offset == 0 or (found not in (0, number)):
                return None
            return self._read(position + left, number)
        if magic != _MAGIC or found != number or length > left - _HEADER.size:
            return None
        data = os.pread(self._file, length, offset + _HEADER.size)
        if zlib.crc32(data, number & 0xFFFF_FFFF) != check:
            return None
        return JournalRecord(number, position + _HEADER.size + length, data)

    # --- appending

    @property
    def position(self) -> int:
        """The end of the last record."""
        return self._end

    @property
    def number(self) -> int:
        """The number of the last record."""
        return self._number

    @property
    def used_share(self) -> float:
        """How much of the room is taken, 0 to 1."""
        return (self._end - self._released) / self.size_bytes

    def append(self, data: bytes) -> int:
        """Add a record; the position behind it.

        Raises:
            JournalFullError: it does not fit.
            OSError: the kernel refuses.
        """
        number, offset = self._number + 1, self._end % self.size_bytes
        length, left = _HEADER.size + len(data), self.size_bytes - offset
        skipped = left if length > left else 0
        if self._end + skipped + length > self._released + self.size_bytes:
            raise JournalFullError("the journal is full")
        end = self._end + skipped + length
        if skipped:
            if left >= _HEADER.size:
                self._write(end, offset, _HEADER.pack(_MAGIC, _WRAP, number, 0))
            offset = 0
        header = _HEADER.pack(_MAGIC, len(data), number, zlib.crc32(data, number & 0xFFFF_FFFF))
        self._write(end, offset, header + data)
        self._number, self._end = number, end
        return end

    def _write(self, end: int, offset: int, data: bytes) -> None:
        os.pwrite(self._file, data, offset)
        if self._unsynchronized is not None:
            self._unsynchronized.append(_Written(end, offset, data))

    def release(self, position: int) -> None:
        """What ends before this position is not needed any more: it is kept elsewhere, and safe there."""
        self._released = max(self._released, position)
        self.synchronized(self._released)

    def synchronize(self) -> None:
        """Bring everything appended to the platter. Blocks: for a thread.

        Raises:
            OSError: the disk refuses.
        """
        os.fdatasync(self._file)

    def synchronized(self, position: int) -> None:
        """What ends before this position is on the platter, here or elsewhere."""
        if self._unsynchronized is not None:
            del self._unsynchronized[: bisect_right(self._unsynchronized, position, key=attrgetter("end"))]

    def write_again(self) -> Iterator[None]:
        """Give the kernel once more what may not be on the platter, a piece at each turn.

        `synchronize` has failed. A kernel tells such a failure once, and may have let go of what it could not write:
        the next success would say nothing about it.

        Raises:
            OSError: the kernel refuses.
        """
        for written in list(self._unsynchronized or ()):
            if written.end > self._released:  # else the place may be another record's by now
                os.pwrite(self._file, written.data, written.offset)
            yield

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)
