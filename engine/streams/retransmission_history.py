"""Sent packets, kept for answers to NACK: bounded by age, count and bytes, and by how fast they may go out again."""

from __future__ import annotations

from array import array
from collections import deque
from math import inf
from struct import Struct
from typing import Final

from triortc.engine.rtp.header import Buffer
from triortc.engine.streams.configuration import RetransmissionConfiguration

__all__ = ["CHUNK_BYTES", "RECORD", "RECORD_BYTES", "RetransmissionHistory"]

#: Packets lie one behind the other in chunks of this size. Equally long ones that were stored together lie behind one
#: record: time, sequence number of the first, how many, bytes of a header, bytes of header and payload.
CHUNK_BYTES: Final = 32 * 1024
RECORD: Final = Struct("!dHHHH")
RECORD_BYTES: Final = RECORD.size

_RESENT_KEPT: Final = 512


class RetransmissionHistory:
    """The last packets of one sent stream. Something is stored for every packet, so all of it is flat memory.

    Chunks are added while the oldest one is younger than the maximum age, and used again afterwards: a slow stream
    keeps little memory, a fast one what its rate needs. The data plane writes records itself (`chunk`, `position`,
    `positions`); :meth:`store` does the same for one packet.

    A packet is given out at most once per round trip, and all together within a bit rate: after an outage a peer may
    ask for thousands, and answering would cause the next one.
    """

    __slots__ = (
        "_burst_bytes",
        "_bytes_per_s",
        "_chunks",
        "_ended_at",
        "_maximum_age_s",
        "_maximum_chunks",
        "_minimum_interval_s",
        "_resent_at",
        "_tokens",
        "_tokens_at",
        "chunk",
        "mask",
        "number",
        "packets_resent",
        "position",
        "positions",
        "refused_by_age",
        "refused_by_interval",
        "refused_by_rate",
        "rtt_s",
    )

    def __init__(self, configuration: RetransmissionConfiguration | None = None) -> None:
        chosen = configuration or RetransmissionConfiguration()
        # A power of two divides 65536, so that slots follow each other across the wrap of the sequence number.
        size = min(1 << (chosen.maximum_packets - 1).bit_length(), 0x8000)
        self.mask = size - 1
        #: By the low bits of the sequence number: number of the chunk shifted by 16, and where the record begins in it.
        self.positions = array("Q", bytes(8 * size))
        self._maximum_chunks = max(2, chosen.maximum_bytes // CHUNK_BYTES)
        self._chunks: deque[memoryview] = deque()
        self._ended_at: deque[float] = deque()
        self.chunk = memoryview(b"")
        """The chunk that is written to, at `position`; `number` counts chunks, from 1."""
        self.number = 0
        self.position = CHUNK_BYTES
        self._maximum_age_s = chosen.maximum_age_ms / 1000
        self._minimum_interval_s = chosen.minimum_resend_interval_ms / 1000
        self._bytes_per_s = chosen.maximum_bps / 8
        self._burst_bytes = float(chosen.maximum_burst_bytes)
        self._tokens = self._burst_bytes
        self._tokens_at = -inf
        self._resent_at: dict[int, float] = {}
        self.rtt_s = 0.0
        """The round-trip time in seconds; keep it up to date."""
        self.packets_resent = 0
        self.refused_by_age = 0
        """Also packets that were never stored or have been pushed out."""
        self.refused_by_interval = 0
        self.refused_by_rate = 0

    @property
    def memory_bytes(self) -> int:
        """The memory that packets lie in."""
        return len(self._chunks) * CHUNK_BYTES

    def next_chunk(self, now: float) -> None:
        """The packet to come has no room in the chunk: go on in the next one."""
        chunks, ended_at = self._chunks, self._ended_at
        if chunks:
            ended_at[-1] = now
        too_old = now - self._maximum_age_s
        if chunks and (ended_at[0] < too_old or len(chunks) >= self._maximum_chunks):
            self.chunk = chunks.popleft()
            ended_at.popleft()
            while len(chunks) > 1 and ended_at[0] < too_old:
                chunks.popleft()  # the stream has become slower
                ended_at.popleft()
        else:
            self.chunk = memoryview(bytearray(CHUNK_BYTES))
        chunks.append(self.chunk)
        ended_at.append(now)
        self.number += 1
        self.position = 0

    def store(self, sequence_number: int, header: bytes, payload: Buffer, now: float) -> None:
        """Keep a sent packet's header and plain payload; both are copied."""
        header_length = len(header)
        length = header_length + len(payload)
        if length > CHUNK_BYTES - RECORD_BYTES:
            return
        if self.position + RECORD_BYTES + length > CHUNK_BYTES:
            self.next_chunk(now)
        chunk, start = self.chunk, self.position
        RECORD.pack_into(chunk, start, now, sequence_number, 1, header_length, length)
        body = start + RECORD_BYTES
        chunk[body : body + header_length] = header
        chunk[body + header_length : body + length] = payload
        self.positions[sequence_number & self.mask] = self.number << 16 | start
        self.position = body + length

    def store_run(self, sequence_number: int, packets: memoryview, length: int, now: float) -> None:
        """Keep packets as they were sent: consecutive numbers from this one on, `length` bytes each; all are copied."""
        if length > CHUNK_BYTES - RECORD_BYTES:
            return
        begin, end, mask, positions = 0, len(packets), self.mask, self.positions
        while begin < end:
            start = self.position
            if start + RECORD_BYTES + length > CHUNK_BYTES:
                self.next_chunk(now)
                start = 0
            body = start + RECORD_BYTES
            count = min((CHUNK_BYTES - body) // length, (end - begin) // length)
            behind, place = begin + count * length, self.number << 16 | start
            RECORD.pack_into(self.chunk, start, now, sequence_number & 0xFFFF, count, 0, length)
            self.position = body + count * length
            self.chunk[body : self.position] = packets[begin:behind]
            for number in range(sequence_number, sequence_number + count):
                positions[number & mask] = place
            sequence_number, begin = sequence_number + count, behind

    def _find(self, sequence_number: int, now: float) -> tuple[bytes, bytes] | None:
        place = self.positions[sequence_number & self.mask]
        behind = self.number - (place >> 16)
        if not place or behind >= len(self._chunks):
            return None
        chunk, start = self._chunks[-1 - behind], place & 0xFFFF
        stored_at, first, count, header_length, length = RECORD.unpack_from(chunk, start)
        behind_first = (sequence_number - first) & 0xFFFF
        if behind_first >= count or now - stored_at > self._maximum_age_s:
            return None
        body = start + RECORD_BYTES + behind_first * length
        return bytes(chunk[body : body + header_length]), bytes(chunk[body + header_length : body + length])

    def lookup(self, sequence_number: int, now: float) -> tuple[bytes, bytes] | None:
        """Return (header, payload) to send again; None if gone, resent within a round trip, or beyond the rate."""
        found = self._find(sequence_number, now)
        if found is None:
            self.refused_by_age += 1
            return None
        if now - self._resent_at.get(sequence_number, -inf) < max(self.rtt_s, self._minimum_interval_s):
            self.refused_by_interval += 1
            return None
        if not self._take(len(found[0]) + len(found[1]), now):
            self.refused_by_rate += 1
            return None
        self._resent_at[sequence_number] = now
        if len(self._resent_at) > _RESENT_KEPT:
            # What is older than any packet here says nothing, however long a round trip the peer claims.
            recent = now - min(max(self.rtt_s, self._minimum_interval_s), self._maximum_age_s)
            self._resent_at = {number: at for number, at in self._resent_at.items() if at >= recent}
        self.packets_resent += 1
        return found

    def _take(self, size_bytes: int, now: float) -> bool:
        tokens = min(self._tokens + (now - self._tokens_at) * self._bytes_per_s, self._burst_bytes)
        self._tokens_at = now
        self._tokens = tokens - size_bytes if tokens >= size_bytes else tokens
        return tokens >= size_bytes

    def clear(self) -> None:
        """Forget all packets, for a stream whose source or keys have changed."""
        self.positions = array("Q", bytes(8 * (self.mask + 1)))
        self._resent_at.clear()
