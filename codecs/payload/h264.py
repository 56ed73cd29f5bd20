"""The RTP payload format of H.264, packetization mode 1 (RFC 6184): single NAL units, STAP-A and FU-A."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from triortc.codecs.payload.splitting import even_chunks
from triortc.errors import ConfigurationError

__all__ = [
    "NAL_IDR",
    "NAL_PPS",
    "NAL_SLICE",
    "NAL_SPS",
    "START_CODE",
    "H264Depacketizer",
    "H264Packetizer",
    "is_keyframe_data",
    "packetize",
    "parameter_sets",
    "split_annex_b",
]

START_CODE = b"\x00\x00\x00\x01"

NAL_SLICE = 1
NAL_IDR = 5
NAL_SPS = 7
NAL_PPS = 8
_STAP_A = 24
_FU_A = 28

_TYPE = 0x1F
_F_NRI = 0xE0
_FU_START = 0x80
_FU_END = 0x40

# NAL units that may stand before the first slice of an access unit (ITU-T H.264 section 7.4.1.2.3).
_LEADING = frozenset((6, NAL_SPS, NAL_PPS, 9, 14, 15, 16, 17, 18))


def split_annex_b(stream: bytes) -> list[bytes]:
    """The NAL units of an Annex B byte stream, without start codes and trailing zeros, empty ones left out.

    Bytes before the first start code are skipped (ITU-T H.264 annex B.1).
    """
    units = []
    start = stream.find(b"\x00\x00\x01")
    while start >= 0:
        start += 3
        following = stream.find(b"\x00\x00\x01", start)
        # A NAL unit never ends in a zero byte: those before a start code belong to it.
        unit = stream[start : following if following >= 0 else len(stream)].rstrip(b"\x00")
        if unit:
            units.append(unit)
        start = following
    return units


def is_keyframe_data(frame: bytes) -> bool:
    """Whether an Annex B access unit has an IDR slice."""
    return any(unit[0] & _TYPE == NAL_IDR for unit in split_annex_b(frame))


def parameter_sets(frame: bytes) -> bytes | None:
    """The SPS and PPS of an Annex B access unit, as Annex B; ``None`` unless it has both."""
    units = [unit for unit in split_annex_b(frame) if unit[0] & _TYPE in (NAL_SPS, NAL_PPS)]
    if {unit[0] & _TYPE for unit in units} != {NAL_SPS, NAL_PPS}:
        return None
    return b"".join(START_CODE + unit for unit in units)


def packetize(frame: bytes, max_payload_bytes: int) -> list[bytes]:
    """Cut an Annex B access unit into RTP payloads of packetization mode 1 (RFC 6184 section 6.3).

    Neighbouring small NAL units share a STAP-A (parameter sets travel with the slice behind them when that is small),
    those larger than ``max_payload_bytes`` are cut into FU-A of nearly equal size.

    Args:
        frame: one access unit with start codes.
        max_payload_bytes: the most bytes of a payload.

    Returns:
        The payloads in order; the last one's RTP packet takes the marker bit. Empty when there is no NAL unit.

    Raises:
        ConfigurationError: ``max_payload_bytes`` is less than 3, too small for a fragment.
    """
    if max_payload_bytes < 3:
        raise ConfigurationError("max_payload_bytes leaves no room for media: raise it, 1200 is a usual value")
    payloads: list[bytes] = []
    pending: list[bytes] = []
    pending_bytes = 1
    for unit in split_annex_b(frame):
        # A STAP-A counts sizes in 16 bits, whatever room there is.
        if pending and (pending_bytes + 2 + len(unit) > max_payload_bytes or len(unit) > 0xFFFF):
            payloads.append(_aggregate(pending))
            pending, pending_bytes = [], 1
        if len(unit) > max_payload_bytes:
            payloads += _fragment(unit, max_payload_bytes)
        else:
            pending.append(unit)
            pending_bytes += 2 + len(unit)
    if pending:
        payloads.append(_aggregate(pending))
    return payloads


def _aggregate(units: Sequence[bytes]) -> bytes:
    """One NAL unit as it is, several as a STAP-A (RFC 6184 section 5.7.1)."""
    if len(units) == 1:
        return units[0]
    # F is set when any unit has it, NRI is the highest of all.
    header = _STAP_A | max(unit[0] & 0x60 for unit in units)
    if any(unit[0] & 0x80 for unit in units):
        header |= 0x80
    return bytes((header,)) + b"".join(len(unit).to_bytes(2, "big") + unit for unit in units)


def _fragment(unit: bytes, max_payload_bytes: int) -> Iterator[bytes]:
    """FU-A fragments of a NAL unit larger than a payload (RFC 6184 section 5.8)."""
    indicator = unit[0] & _F_NRI | _FU_A
    nal_type = unit[0] & _TYPE
    body_bytes = len(unit) - 1
    # A unit that just fails to fit must still become two fragments: S and E never share a header.
    for start, end in even_chunks(body_bytes, min(max_payload_bytes - 2, body_bytes - 1)):
        flags = (_FU_START if start == 0 else 0) | (_FU_END if end == body_bytes else 0)
        yield bytes((indicator, flags | nal_type)) + unit[1 + start : 1 + end]


class H264Packetizer:
    """`packetize` in the shape that all packetizers share."""

    __slots__ = ()

    def packetize(self, frame: bytes, max_payload_bytes: int) -> list[bytes]:
        """Cut an Annex B access unit into payloads; see `packetize`."""
        return packetize(frame, max_payload_bytes)


class H264Depacketizer:
    """Reads RTP payloads of H.264, packetization modes 0 and 1. Keeps no state; may serve many streams."""

    __slots__ = ()

    def is_frame_start(self, payload: bytes | bytearray | memoryview) -> bool:
        """Whether the payload can be an access unit's first.

        Its first NAL unit is a slice that begins at macroblock 0, or one that stands before slices (parameter sets,
        SEI, delimiter). H.264 over RTP has no explicit mark; several payloads of one timestamp may answer yes, the
        first of them in sequence is meant.
        """
        size = len(payload)
        if size < 2:
            return False
        nal_type = payload[0] & _TYPE
        offset = 1
        if nal_type == _STAP_A:
            if size < 5:
                return False
            nal_type = payload[3] & _TYPE
            offset = 4
        elif nal_type == _FU_A:
            if not payload[1] & _FU_START:
                return False
            nal_type = payload[1] & _TYPE
            offset = 2
        if nal_type in _LEADING:
            return True
        # first_mb_in_slice is ue(v): 0 is coded as a single 1 bit. Data partition A (2) begins the same way.
        return nal_type in (NAL_SLICE, 2, NAL_IDR) and size > offset and bool(payload[offset] & 0x80)

    def is_keyframe(self, payload: bytes | bytearray | memoryview) -> bool:
        """Whether the payload begins what a decoder can start from: an IDR slice or a sequence parameter set."""
        if len(payload) < 2:
            return False
        nal_type = payload[0] & _TYPE
        if nal_type == _FU_A:
            return bool(payload[1] & _FU_START) and payload[1] & _TYPE in (NAL_IDR, NAL_SPS)
        if nal_type == _STAP_A:
            units = _stap_a_units(payload)
            return units is not None and any(unit[0] & _TYPE in (NAL_IDR, NAL_SPS) for unit in units)
        return nal_type in (NAL_IDR, NAL_SPS)

    def depacketize(self, payloads: Sequence[bytes | memoryview]) -> bytes | None:
        """Put together the access unit whose RTP payloads are given in sequence, all of one timestamp.

        Returns:
            An Annex B byte stream with four-byte start codes, or ``None``: no payload, a packet type that modes 0 and
            1 do not have, a broken aggregate, or fragments that do not run from a start to an end.
        """
        parts: list[bytes | bytearray | memoryview] = []
        fragmented = -1  # the NAL header that the fragments in progress stand for
        for payload in payloads:
            if not payload:
                return None
            nal_type = payload[0] & _TYPE
            if nal_type == _FU_A:
                if len(payload) < 3:
                    return None
                header, flags = payload[0] & _F_NRI | payload[1] & _TYPE, payload[1]
                starts, ends = bool(flags & _FU_START), bool(flags & _FU_END)
                # Starts exactly when none is in progress, never starts and ends at once, and stays the same unit.
                if starts == (fragmented >= 0) or (starts and ends) or (not starts and header != fragmented):
                    return None
                if starts:
                    parts += (START_CODE, bytes((header,)))
                parts.append(payload[2:])
                fragmented = -1 if ends else header
                continue
            if fragmented >= 0:
                return None
            if nal_type == _STAP_A:
                units = _stap_a_units(payload)
                if units is None:
                    return None
                for unit in units:
                    parts += (START_CODE, unit)
            elif 1 <= nal_type <= 23:
                parts += (START_CODE, payload)
            else:
                return None
        if fragmented >= 0 or not parts:
            return None
        return b"".join(parts)


def _stap_a_units(payload: bytes | bytearray | memoryview) -> list[bytes | bytearray | memoryview] | None:
    """The NAL units of a STAP-A (RFC 6184 section 5.7.1); ``None`` when a size overruns or nothing is inside."""
    units: list[bytes | bytearray | memoryview] = []
    offset = 1
    size = len(payload)
    while offset < size:
        if offset + 2 > size:
            return None
        end = offset + 2 + (payload[offset] << 8 | payload[offset + 1])
        if end > size or end == offset + 2:
            return None
        unit = payload[offset + 2 : end]
        if not 1 <= unit[0] & _TYPE <= 23:  # aggregates and fragments do not nest
            return None
        units.append(unit)
        offset = end
    return units or None
