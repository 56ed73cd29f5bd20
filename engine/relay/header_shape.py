"""Header extensions of a flow: read and passed on by their place, as long as packets look alike."""

from __future__ import annotations

from collections.abc import Sequence

from triortc.engine.rtp.extensions import ONE_BYTE_PROFILE, elements, find_element
from triortc.engine.rtp.header import parse_header

__all__ = ["HeaderShape"]

_PADS = (b"", b"\0\0\0", b"\0\0", b"\0")


class HeaderShape:
    """Where the elements of a stream's extension block lie (RFC 8285 section 4.2), learned from a packet.

    The bytes that hold ids and lengths are compared at once with those of the packet it was learned from; the block is
    parsed again only when they differ.

    Arguments:
        transport_cc_in: id of the transport-wide number in what comes, 0 for none.
        transport_cc_out: the same in what goes out.
        abs_send_time_out: id of abs-send-time in what goes out, 0 for none.
        passed: (id here, id there) of elements that are passed on as they are.
    """

    __slots__ = (
        "_length",
        "_mask",
        "_number_at",
        "_number_prefix",
        "_passed",
        "_pieces",
        "_stamp_prefix",
        "_transport_cc_in",
        "_value",
        "numbered",
        "passed_on",
        "stamped",
    )

    def __init__(
        self,
        *,
        transport_cc_in: int,
        transport_cc_out: int,
        abs_send_time_out: int,
        passed: Sequence[tuple[int, int]],
    ) -> None:
        self._transport_cc_in = transport_cc_in
        #: Whether packets that go out carry a transport-wide number, or abs-send-time.
        self.numbered = transport_cc_out != 0
        self.stamped = not self.numbered and abs_send_time_out != 0
        self._passed = tuple(passed)
        self._number_prefix = ONE_BYTE_PROFILE << 48 | 1 << 32 | (transport_cc_out << 4 | 1) << 24
        self._stamp_prefix = ONE_BYTE_PROFILE << 48 | 1 << 32 | (abs_send_time_out << 4 | 2) << 24
        self._length = -1
        self._mask = self._value = 0
        self._number_at = -1
        self._pieces: list[tuple[bytes, int, int]] = []
        #: The elements of the packet read last that are passed on, with their ids there.
        self.passed_on = b""

    def read(self, packet: memoryview, header_length: int) -> int:
        """Read a packet with a one-byte extension block and no CSRC; sets `passed_on`.

        Returns:
            The transport-wide number, -1 if there is none.
        """
        block = int.from_bytes(packet[16:header_length], "big")
        if header_length != self._length or block & self._mask != self._value:
            self._learn(packet, header_length)
        if self._pieces:
            self.passed_on = b"".join([prefix + packet[start:end] for prefix, start, end in self._pieces])
        at = self._number_at
        return packet[at] << 8 | packet[at + 1] if at >= 0 else -1

    def _learn(self, packet: memoryview, header_length: int) -> None:
        header = parse_header(packet[:header_length])
        if header is None:
            return
        structure = bytearray(b"\xff" * (header_length - 16))
        for _, start, length in elements(packet, header):
            structure[start - 16 : start - 16 + length] = bytes(length)
        self._length = header_length
        self._mask = int.from_bytes(structure, "big")
        self._value = int.from_bytes(packet[16:header_length], "big") & self._mask
        found = find_element(packet, header, self._transport_cc_in) if self._transport_cc_in else None
        self._number_at = found[0] if found is not None and found[1] >= 2 else -1
        self.passed_on = b""
        self._pieces = []
        for element_id, own in self._passed:
            place = find_element(packet, header, element_id)
            if place is not None:
                start, length = place
                self._pieces.append((bytes((own << 4 | (length - 1),)), start, start + length))

    def number(self, transport_sequence_number: int, passed_on: bytes) -> bytes:
        """The extension block of a packet that goes out with this transport-wide number."""
        if not passed_on:
            return (self._number_prefix | (transport_sequence_number & 0xFFFF) << 8).to_bytes(8, "big")
        own = (self._number_prefix >> 24 & 0xFF) << 16 | (transport_sequence_number & 0xFFFF)
        return _block(own.to_bytes(3, "big") + passed_on)

    def stamp(self, now: float, passed_on: bytes) -> bytes:
        """The same with abs-send-time."""
        stamp = int(now * 262144) & 0xFFFFFF
        if not passed_on:
            return (self._stamp_prefix | stamp).to_bytes(8, "big")
        return _block(((self._stamp_prefix >> 24 & 0xFF) << 24 | stamp).to_bytes(4, "big") + passed_on)

    def block(self, passed_on: bytes) -> bytes:
        """The extension block of a packet with nothing of our own."""
        return _block(passed_on)


def _block(body: bytes) -> bytes:
    words = (len(body) + 3) >> 2
    return (ONE_BYTE_PROFILE << 16 | words).to_bytes(4, "big") + body + _PADS[len(body) & 3]
