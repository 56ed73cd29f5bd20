"""The newest keyframe of a leg that is about to take over, and what follows it, kept until it does or does not.

A sender paces a keyframe out over a tenth of a second and more. A receiver that is switched over when it begins sees
nothing new for so long; switched over when it is whole, with all of it sent at once, it sees the next picture.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from triortc.engine.rtp.header import HEADER_LENGTH, MARKER, SEQUENCE_NUMBER, TIMESTAMP, RtpHeader
from triortc.engine.session.inbound import InboundStream

__all__ = ["HeldKeyframe", "HeldPacket"]

#: More than a keyframe of 1920×1080; a leg that sends more before it takes over begins anew with its next keyframe.
MAX_HELD_BYTES: Final = 1 << 20
#: Packets carry their objects with them: a stranger's crumbs must not cost more than a picture.
MAX_HELD_PACKETS: Final = 2048


class HeldPacket(NamedTuple):
    """One packet as it was delivered; `packet` ends with the header extensions."""

    header: RtpHeader
    packet: memoryview
    payload: memoryview


class HeldKeyframe:
    """Packets of one stream from a keyframe's first one on, in any order of arrival. Bounded; empty to begin with."""

    __slots__ = ("_bytes", "_first", "_last", "_packets", "_timestamp", "stream", "whole")

    def __init__(self) -> None:
        self.stream: InboundStream | None = None
        #: Whether every packet of the keyframe is there, from its first to its marker (RFC 3550 section 5.1).
        self.whole = False
        self._packets: dict[int, HeldPacket] = {}
        self._bytes = 0
        self._first = 0
        self._timestamp = 0
        self._last: int | None = None

    def __len__(self) -> int:
        return len(self._packets)

    def add(
        self, stream: InboundStream, header: RtpHeader, packet: memoryview, payload: memoryview, *, begins: bool
    ) -> int:
        """Keep a packet.

        Arguments:
            begins: whether a keyframe begins with it; a newer one takes the place of what is held.

        Returns:
            how many packets were let go instead, this one included if it is of no use.
        """
        sequence_number = header[SEQUENCE_NUMBER]
        lost = 0
        if begins and (stream is not self.stream or header[TIMESTAMP] != self._timestamp or not self._packets):
            if stream is self.stream and self._packets and (sequence_number - self._first) & 0xFFFF >= 0x8000:
                return 1  # an older one, late
            lost = self.clear()
            self.stream, self._first, self._timestamp = stream, sequence_number, header[TIMESTAMP]
        elif not self._packets or stream is not self.stream or (sequence_number - self._first) & 0xFFFF >= 0x8000:
            return 1
        if sequence_number in self._packets:
            return 1
        if self._bytes + len(payload) > MAX_HELD_BYTES or len(self._packets) >= MAX_HELD_PACKETS:
            return self.clear() + 1
        self._bytes += len(payload)
        head = memoryview(bytes(packet[: header[HEADER_LENGTH]]))
        self._packets[sequence_number] = HeldPacket(header, head, memoryview(bytearray(payload)))
        if header[MARKER] and header[TIMESTAMP] == self._timestamp:
            self._last = sequence_number
        self.whole = self.whole or self._is_whole()
        return lost

    def _is_whole(self) -> bool:
        if self._last is None:
            return False
        count = ((self._last - self._first) & 0xFFFF) + 1
        return all((self._first + offset) & 0xFFFF in self._packets for offset in range(count))

    def take(self) -> list[HeldPacket]:
        """All packets in the order of their numbers; nothing is held afterwards."""
        first = self._first
        packets = sorted(self._packets.values(), key=lambda held: (held.header[SEQUENCE_NUMBER] - first) & 0xFFFF)
        self.clear()
        return packets

    def clear(self) -> int:
        """Let everything go; returns how many packets that were."""
        count = len(self._packets)
        self._packets.clear()
        self._bytes, self._last, self.whole = 0, None, False
        return count
