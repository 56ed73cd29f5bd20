"""Header extensions of a flow: read and passed on by their place, as long as packets look alike."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from triortc.engine.rtp.extensions import ONE_BYTE_PROFILE, elements, find_element
from triortc.engine.rtp.header import parse_header

__all__ = ["BLOCK_BYTES", "HeaderShape"]

#: A shorter extension block is read with what is behind it.
BLOCK_BYTES: Final = 8
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
        "_passed",
        "_pieces",
        "_stamp_prefix",
        "_transport_cc_in",
        "lead",
        "length",
        "mask",
        "number_prefix",
        "number_shift",
        "numbered",
        "passes_on",
        "stamped",
        "value",
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
        #: An extension block with nothing but a transport-wide number, which goes 8 bits from the right.
        self.number_prefix = ONE_BYTE_PROFILE << 48 | 1 << 32 | (transport_cc_out << 4 | 1) << 24
        self._stamp_prefix = ONE_BYTE_PROFILE << 48 | 1 << 32 | (abs_send_time_out << 4 | 2) << 24
        #: A packet looks like the one before if its header's extension begins with this number (profile and length) and
        #: its block, read as one number of eight bytes at least, has this value under this mask. Its header's length.
        self.lead = -1
        self.mask = self.value = 0
        self.length = 0
        #: How far from the right of that number the transport-wide number lies, in bits; -1: there is none.
        self.number_shift = -1
        #: Whether some element is passed on.
        self.passes_on = False
        self._pieces: list[tuple[bytes, int, int]] = []

    def learn(self, packet: memoryview, header_length: int) -> None:
        """See where the elements of a packet lie that has a one-byte extension block and no CSRC."""
        header = parse_header(packet[:header_length])
        if header is None:
            return
        structure = bytearray(b"\xff" * (header_length - 16))
        for _, start, length in elements(packet, header):
            structure[start - 16 : start - 16 + length] = bytes(length)
        self.length = header_length
        self.lead = ONE_BYTE_PROFILE << 16 | (header_length - 16) >> 2
        behind = 8 * max(0, BLOCK_BYTES - len(structure))  # what a shorter block is read with
        self.mask = int.from_bytes(structure, "big") << behind
        self.value = int.from_bytes(packet[16:header_length], "big") << behind & self.mask
        found = find_element(packet, header, self._transport_cc_in) if self._transport_cc_in else None
        self.number_shift = -1
        if found is not None and found[1] >= 2:
            self.number_shift = 8 * (header_length - found[0] - 2) + behind
        self._pieces = []
        for element_id, own in self._passed:
            place = find_element(packet, header, element_id)
            if place is not None:
                start, length = place
                self._pieces.append((bytes((own << 4 | (length - 1),)), start, start + length))
        self.passes_on = bool(self._pieces)

    def pass_on(self, packet: memoryview) -> bytes:
        """The elements of a packet that looks like the one learned from that are passed on, with their ids there."""
        return b"".join([prefix + packet[start:end] for prefix, start, end in self._pieces])

    def stamp(self, now: float) -> bytes:
        """An extension block with nothing but abs-send-time."""
        return (self._stamp_prefix | int(now * 262144) & 0xFFFFFF).to_bytes(8, "big")

    def surround(self, passed_on: bytes, transport_sequence_number: int, now: float) -> bytes:
        """An extension block with elements that are passed on behind our own, if there is one."""
        own = b""
        if self.numbered:
            own = (self.number_prefix | (transport_sequence_number & 0xFFFF) << 8).to_bytes(8, "big")[4:7]
        elif self.stamped:
            own = self.stamp(now)[4:]
        body = own + passed_on
        words = (len(body) + 3) >> 2
        return (ONE_BYTE_PROFILE << 16 | words).to_bytes(4, "big") + body + _PADS[len(body) & 3]
