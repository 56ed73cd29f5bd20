"""Feedback: NACK and PLI (RFC 4585 section 6.2, 6.3), FIR (RFC 5104 4.3.1), REMB (draft-alvestrand-rmcat-remb-03).

Transport-wide feedback has a module of its own.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from struct import Struct
from typing import Final

from triortc.errors import ConfigurationError, RtpError

__all__ = [
    "MAXIMUM_NACK_ENTRIES",
    "MAXIMUM_NACK_NUMBERS",
    "FullIntraRequest",
    "GenericNack",
    "PictureLossIndication",
    "ReceiverEstimatedMaximumBitrate",
    "is_remb",
    "parse_fir",
    "parse_nack",
    "parse_pli",
    "parse_remb",
]

MAXIMUM_NACK_ENTRIES: Final = 512
"""More (packet id, bitmask) pairs than a datagram of 1500 bytes holds; a longer list is refused."""

MAXIMUM_NACK_NUMBERS: Final = 1024
"""So many packets of one NACK are looked for, and the rest is passed over: 1400 bytes can name 5780, and looking for
them would take a hundred times as long as any other packet."""

_SSRCS = Struct("!II")
_NACK_ENTRY = Struct("!HH")
#: A packet id, and the 16 of its bitmask.
_NACK_ENTRY_NUMBERS: Final = 17
_FIR_ENTRY = Struct("!IBxxx")
_REMB_IDENTIFIER: Final = b"REMB"
_REMB_MAXIMUM_MANTISSA: Final = (1 << 18) - 1


@dataclass(slots=True, frozen=True)
class GenericNack:
    """These packets of `media_ssrc` are missing (RFC 4585 6.2.1).

    `lost` are 16-bit sequence numbers in order of asking.
    """

    sender_ssrc: int
    media_ssrc: int
    lost: tuple[int, ...]

    packet_type = 205
    format = 1

    def build(self) -> tuple[int, bytes]:
        """Return the format and the body; neighbours share a bitmask, across the wrap at 65535 too."""
        entries = b"".join(_NACK_ENTRY.pack(packet_id, mask) for packet_id, mask in _nack_entries(self.lost))
        return self.format, _SSRCS.pack(self.sender_ssrc, self.media_ssrc) + entries


@dataclass(slots=True, frozen=True)
class PictureLossIndication:
    """A decoder lost pictures of `media_ssrc`: send a keyframe (RFC 4585 6.3.1)."""

    sender_ssrc: int
    media_ssrc: int

    packet_type = 206
    format = 1

    def build(self) -> tuple[int, bytes]:
        """Return the format and the body after the common header."""
        return self.format, _SSRCS.pack(self.sender_ssrc, self.media_ssrc)


@dataclass(slots=True, frozen=True)
class FullIntraRequest:
    """A command for keyframes: entries are (media SSRC, command sequence number) (RFC 5104 4.3.1).

    `media_ssrc` is 0 there.
    """

    sender_ssrc: int
    entries: tuple[tuple[int, int], ...]
    media_ssrc: int = 0

    packet_type = 206
    format = 4

    def build(self) -> tuple[int, bytes]:
        """Return the format and the body after the common header."""
        entries = b"".join(_FIR_ENTRY.pack(ssrc, number & 0xFF) for ssrc, number in self.entries)
        return self.format, _SSRCS.pack(self.sender_ssrc, self.media_ssrc) + entries


@dataclass(slots=True, frozen=True)
class ReceiverEstimatedMaximumBitrate:
    """The most that the receiver thinks it can take for the sum of `ssrcs` (REMB draft section 2)."""

    sender_ssrc: int
    bitrate_bps: int
    ssrcs: tuple[int, ...]

    packet_type = 206
    format = 15

    def build(self) -> tuple[int, bytes]:
        """Return the format and the body. The rate is rounded down to 18 significant bits."""
        if self.bitrate_bps < 0 or len(self.ssrcs) > 255:
            raise ConfigurationError("REMB needs a rate of at least 0 and at most 255 SSRCs")
        exponent = max(self.bitrate_bps.bit_length() - 18, 0)
        if exponent > 63:
            raise ConfigurationError("the rate of a REMB does not fit an exponent of 6 bits")
        rate = (len(self.ssrcs) << 24) | (exponent << 18) | (self.bitrate_bps >> exponent)
        sources = b"".join(ssrc.to_bytes(4, "big") for ssrc in self.ssrcs)
        return self.format, _SSRCS.pack(self.sender_ssrc, 0) + _REMB_IDENTIFIER + rate.to_bytes(4, "big") + sources


def parse_nack(body: bytes) -> GenericNack:
    """Parse the body of a generic NACK, up to MAXIMUM_NACK_NUMBERS; bitmasks go on past 65535 at 0.

    Raises RtpError, also beyond MAXIMUM_NACK_ENTRIES.
    """
    sender_ssrc, media_ssrc = _parse_ssrcs(body)
    if len(body) > 8 + 4 * MAXIMUM_NACK_ENTRIES:
        raise RtpError("a NACK asks for more than a datagram can hold")
    if len(body) % 4:
        raise RtpError("the entries of a NACK are not whole")
    lost: list[int] = []
    for packet_id, mask in _NACK_ENTRY.iter_unpack(body[8:]):
        if len(lost) > MAXIMUM_NACK_NUMBERS - _NACK_ENTRY_NUMBERS:
            break
        lost.append(packet_id)
        while mask:
            lowest = mask & -mask
            lost.append((packet_id + lowest.bit_length()) & 0xFFFF)
            mask ^= lowest
    return GenericNack(sender_ssrc, media_ssrc, tuple(lost))


def parse_pli(body: bytes) -> PictureLossIndication:
    """Parse the body of a PLI. Raises RtpError."""
    return PictureLossIndication(*_parse_ssrcs(body))


def parse_fir(body: bytes) -> FullIntraRequest:
    """Parse the body of a FIR. Raises RtpError if its entries are not whole."""
    sender_ssrc, media_ssrc = _parse_ssrcs(body)
    if len(body) % 8:
        raise RtpError("the entries of a FIR are not whole")
    return FullIntraRequest(sender_ssrc, tuple(_FIR_ENTRY.iter_unpack(body[8:])), media_ssrc)


def is_remb(body: bytes) -> bool:
    """Tell whether the body of application layer feedback is a REMB."""
    return body[8:12] == _REMB_IDENTIFIER


def parse_remb(body: bytes) -> ReceiverEstimatedMaximumBitrate:
    """Parse the body of a REMB. Raises RtpError if it lists fewer SSRCs than it says."""
    sender_ssrc, _ = _parse_ssrcs(body)
    if len(body) < 16:
        raise RtpError("REMB is shorter than its rate")
    rate = int.from_bytes(body[12:16], "big")
    count = rate >> 24
    if len(body) < 16 + 4 * count:
        raise RtpError("REMB is shorter than its SSRC count says")
    ssrcs = tuple(int.from_bytes(body[offset : offset + 4], "big") for offset in range(16, 16 + 4 * count, 4))
    return ReceiverEstimatedMaximumBitrate(sender_ssrc, (rate & _REMB_MAXIMUM_MANTISSA) << (rate >> 18 & 0x3F), ssrcs)


def _parse_ssrcs(body: bytes) -> tuple[int, int]:
    if len(body) < 8:
        raise RtpError("feedback is shorter than its SSRCs")
    sender_ssrc, media_ssrc = _SSRCS.unpack_from(body)
    return sender_ssrc, media_ssrc


def _nack_entries(lost: Iterable[int]) -> list[tuple[int, int]]:
    entries: list[tuple[int, int]] = []
    for sequence_number in lost:
        if entries:
            packet_id, mask = entries[-1]
            distance = (sequence_number - packet_id) & 0xFFFF
            if 1 <= distance <= 16:
                entries[-1] = (packet_id, mask | 1 << (distance - 1))
                continue
        entries.append((sequence_number & 0xFFFF, 0))
    return entries
