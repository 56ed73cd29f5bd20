"""Transport-wide congestion control feedback (draft-holmer-rmcat-transport-wide-cc-extensions-01 section 3.1).

A packet of 24 bytes may speak of 65535 packets, so a parsed message keeps only those that arrived: its size is
bounded by the packet's own.
"""

from __future__ import annotations

from collections.abc import Iterator
from struct import Struct
from typing import Final, NamedTuple

from triortc.errors import ConfigurationError, RtpError

__all__ = [
    "REFERENCE_TIME_US",
    "TICK_US",
    "TransportFeedback",
    "build_whole_feedback",
    "parse_transport_feedback",
]

TICK_US: Final = 250
REFERENCE_TIME_US: Final = 64_000

_HEAD = Struct("!IIHH")
_FIXED_HEAD = Struct("!IIHHI")
#: The same, and the first chunk.
_ORDINARY_HEAD = Struct("!IIHHIH")
#: The RTCP header, and all before the arrival times where every packet has come.
_WHOLE = Struct("!BBHIIHHIH")
_PADDING: Final = (b"", b"\1", b"\0\2", b"\0\0\3")
_NOT_RECEIVED: Final = 0
_SMALL: Final = 1
_LARGE: Final = 2
_RUN_LIMIT: Final = 0x1FFF
_ONE_BIT_SYMBOLS: Final = 14
_TWO_BIT_SYMBOLS: Final = 7
_FIXED_BYTES: Final = 16
#: Head and the one chunk of feedback whose packets have all come.
_ORDINARY_BYTES: Final = 18


class _Fields(NamedTuple):
    sender_ssrc: int
    media_ssrc: int
    base_sequence_number: int
    packet_status_count: int
    reference_time: int
    feedback_count: int
    deltas: bytes | tuple[tuple[int, int], ...]


class TransportFeedback(_Fields):
    """Which of `packet_status_count` packets from `base_sequence_number` on arrived, and when.

    `reference_time` is signed (24 bits) in units of 64 ms. `deltas` holds (offset from the base, delta) in rising
    order of offset; a delta is in units of 250 µs and counts from the received packet before, the first from the
    reference time. Where every packet has come soon after the one before, as they mostly do, it is the deltas alone, a
    byte each, as they lie in the packet. A tuple, because one is made for every hundredth of a call's packets or so.
    """

    __slots__ = ()

    packet_type = 205
    format = 15

    @property
    def received(self) -> tuple[tuple[int, int], ...]:
        """The same, however it lies there: (offset from the base, delta) of each packet that arrived."""
        deltas = self.deltas
        return tuple(enumerate(deltas)) if isinstance(deltas, bytes) else deltas

    def arrivals_us(self) -> Iterator[tuple[int, int]]:
        """Iterate (16-bit sequence number, arrival in µs of the receiver's clock) of the packets that arrived."""
        arrival = self.reference_time * REFERENCE_TIME_US
        for offset, delta in self.received:
            arrival += delta * TICK_US
            yield (self.base_sequence_number + offset) & 0xFFFF, arrival

    def build(self) -> tuple[int, bytes]:
        """Return the format and the body, unpadded: `build_compound` pads it.

        Raises ConfigurationError for what does not fit.
        """
        arrivals = self._build_ordinary() or self._build_arrivals()
        head = _HEAD.pack(self.sender_ssrc, self.media_ssrc, self.base_sequence_number, self.packet_status_count)
        timing = ((self.reference_time & 0xFFFFFF) << 8 | (self.feedback_count & 0xFF)).to_bytes(4, "big")
        return self.format, head + timing + arrivals

    def _build_ordinary(self) -> bytes:
        """Statuses and deltas where every packet has come, soon after the one before, as most have; else nothing."""
        count, received = self.packet_status_count, self.received
        if not 0 < count <= _RUN_LIMIT or len(received) != count:
            return b""
        if [offset for offset, _ in received] != list(range(count)):
            return b""
        try:
            return (_SMALL << 13 | count).to_bytes(2, "big") + bytes([delta for _, delta in received])
        except ValueError:
            return b""  # one that takes two bytes

    def _build_arrivals(self) -> bytes:
        symbols = self._symbols()
        return _build_chunks(symbols) + b"".join(
            delta.to_bytes(1, "big") if symbols[offset] == _SMALL else delta.to_bytes(2, "big", signed=True)
            for offset, delta in self.received
        )

    def _symbols(self) -> bytearray:
        if not 0 < self.packet_status_count <= 0xFFFF:
            raise ConfigurationError("transport feedback speaks of 1 to 65535 packets; split it")
        symbols = bytearray(self.packet_status_count)
        before = -1
        for offset, delta in self.received:
            if not before < offset < self.packet_status_count or not -0x8000 <= delta <= 0x7FFF:
                raise ConfigurationError(
                    "transport feedback needs rising offsets below its count and deltas of 16 bits"
                )
            symbols[offset] = _SMALL if 0 <= delta <= 0xFF else _LARGE
            before = offset
        return symbols


def build_whole_feedback(
    sender_ssrc: int,
    media_ssrc: int,
    base_sequence_number: int,
    reference_time: int,
    feedback_count: int,
    deltas: bytes,
) -> bytes:
    """Return the whole RTCP packet that says when every packet from the base on came, in the bytes that `build` gives.

    Arguments:
        deltas: one byte a packet, 1 to 8191 of them.
    """
    count = len(deltas)
    padding = _PADDING[-(_ORDINARY_BYTES + count) % 4]
    first = (0xA0 if padding else 0x80) | TransportFeedback.format
    head = _WHOLE.pack(
        *(first, TransportFeedback.packet_type, (_ORDINARY_BYTES + count + 3) // 4),
        *(sender_ssrc, media_ssrc, base_sequence_number, count),
        *((reference_time & 0xFFFFFF) << 8 | feedback_count, _SMALL << 13 | count),
    )
    return head + deltas + padding


def parse_transport_feedback(body: bytes) -> TransportFeedback:
    """Parse the body of transport-wide feedback; padding behind it is ignored.

    Raises RtpError if chunks or deltas are cut off.
    """
    if len(body) >= _ORDINARY_BYTES:
        sender_ssrc, media_ssrc, base, count, timing, chunk = _ORDINARY_HEAD.unpack_from(body)
    elif len(body) >= _FIXED_BYTES:
        sender_ssrc, media_ssrc, base, count, timing = _FIXED_HEAD.unpack_from(body)
        chunk = -1
    else:
        raise RtpError("transport feedback is shorter than its head")
    reference_time = ((timing >> 8) ^ 0x800000) - 0x800000
    if chunk == _SMALL << 13 | count and len(body) >= _ORDINARY_BYTES + count:
        ordinary = body[_ORDINARY_BYTES : _ORDINARY_BYTES + count]
        return TransportFeedback(sender_ssrc, media_ssrc, base, count, reference_time, timing & 0xFF, ordinary)
    symbols, offset = _parse_chunks(body, count)
    if offset + len(symbols) <= len(body) and all(symbol == _SMALL for _, symbol in symbols):
        deltas = body[offset : offset + len(symbols)]
        received = [(position, delta) for (position, _), delta in zip(symbols, deltas, strict=True)]
        return TransportFeedback(sender_ssrc, media_ssrc, base, count, reference_time, timing & 0xFF, tuple(received))
    received = []
    for position, symbol in symbols:
        end = offset + symbol
        if end > len(body):
            raise RtpError("transport feedback is shorter than its arrival times")
        received.append((position, int.from_bytes(body[offset:end], "big", signed=symbol == _LARGE)))
        offset = end
    return TransportFeedback(sender_ssrc, media_ssrc, base, count, reference_time, timing & 0xFF, tuple(received))


def _parse_chunks(body: bytes, count: int) -> tuple[list[tuple[int, int]], int]:
    """Return (position, symbol) of each packet that arrived, and where the deltas begin."""
    offset = _FIXED_BYTES
    position = 0
    arrived: list[tuple[int, int]] = []
    while position < count:
        if offset + 2 > len(body):
            raise RtpError("transport feedback is shorter than its packet statuses")
        chunk = (body[offset] << 8) | body[offset + 1]
        offset += 2
        if chunk & 0x8000:
            position = _parse_vector(chunk, position, count, arrived)
            continue
        symbol = chunk >> 13
        run = min(chunk & _RUN_LIMIT, count - position)
        if not run:
            raise RtpError("transport feedback has a run of no packets")
        if symbol:
            _check_symbol(symbol)
            if len(arrived) + run > len(body):  # each packet that arrived has at least one byte of delta
                raise RtpError("transport feedback is shorter than its arrival times")
            arrived.extend((at, symbol) for at in range(position, position + run))
        position += run
    return arrived, offset


def _parse_vector(chunk: int, position: int, count: int, arrived: list[tuple[int, int]]) -> int:
    bits, symbols = (2, _TWO_BIT_SYMBOLS) if chunk & 0x4000 else (1, _ONE_BIT_SYMBOLS)
    mask = (1 << bits) - 1
    end = min(position + symbols, count)
    shift = 14 - bits
    for at in range(position, end):
        symbol = (chunk >> shift) & mask
        shift -= bits
        if symbol:
            _check_symbol(symbol)
            arrived.append((at, symbol))
    return end


def _check_symbol(symbol: int) -> None:
    if symbol > _LARGE:
        raise RtpError("transport feedback uses the reserved packet status")


def _build_chunks(symbols: bytearray) -> bytes:
    """Runs where they are longer than a vector would be, else vectors of one bit, of two where a delta is large."""
    chunks = bytearray()
    position = 0
    while position < len(symbols):
        symbol = symbols[position]
        end = position + 1
        limit = min(len(symbols), position + _RUN_LIMIT)
        while end < limit and symbols[end] == symbol:
            end += 1
        run = end - position
        window = symbols[position : position + _ONE_BIT_SYMBOLS]
        one_bit = _LARGE not in window
        if run >= (_ONE_BIT_SYMBOLS if one_bit else _TWO_BIT_SYMBOLS) or end == len(symbols):
            chunk = symbol << 13 | run
        elif one_bit:
            chunk = 0x8000 | _pack(window, 1, _ONE_BIT_SYMBOLS)
            end = position + len(window)
        else:
            window = window[:_TWO_BIT_SYMBOLS]
            chunk = 0xC000 | _pack(window, 2, _TWO_BIT_SYMBOLS)
            end = position + len(window)
        chunks += chunk.to_bytes(2, "big")
        position = end
    return bytes(chunks)


def _pack(symbols: bytearray, bits: int, width: int) -> int:
    packed = 0
    for symbol in symbols:
        packed = packed << bits | symbol
    return packed << bits * (width - len(symbols))
