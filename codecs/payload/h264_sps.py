"""What a sequence parameter set of H.264 says about the picture (ITU-T H.264 section 7.3.2.1.1)."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["SequenceParameterSet", "parse_sps"]

# Profiles whose SPS carries the chroma format and scaling lists (ITU-T H.264 section 7.3.2.1.1).
_HIGH_PROFILES = frozenset((100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135))
_MAX_GOLOMB_ZEROS = 31
_MAX_CYCLE = 255
_MAX_MACROBLOCKS_A_SIDE = 1 << 12


class SequenceParameterSet(NamedTuple):
    """Profile, level and the size of the cropped picture in pixels."""

    profile_idc: int
    constraint_flags: int
    level_idc: int
    width: int
    height: int

    @property
    def profile_level_id(self) -> str:
        """The six hexadecimal digits of SDP's profile-level-id (RFC 6184 section 8.1)."""
        return f"{self.profile_idc:02x}{self.constraint_flags:02x}{self.level_idc:02x}"


class _BitsError(Exception):
    """The parameter set ended early or a number in it is out of all bounds. Does not leave this module."""


class _BitReader:
    __slots__ = ("_bits", "_left")

    def __init__(self, data: bytes) -> None:
        self._bits = int.from_bytes(data, "big")
        self._left = len(data) * 8

    def u(self, count: int) -> int:
        self._left -= count
        if self._left < 0:
            raise _BitsError
        return self._bits >> self._left & (1 << count) - 1

    def ue(self) -> int:
        zeros = 0
        while not self.u(1):
            zeros += 1
            if zeros > _MAX_GOLOMB_ZEROS:
                raise _BitsError
        return (1 << zeros) - 1 + self.u(zeros)

    def se(self) -> int:
        value = self.ue()
        return (value + 1) // 2 if value & 1 else -(value // 2)


def parse_sps(unit: bytes | bytearray | memoryview) -> SequenceParameterSet | None:
    """Parse a sequence parameter set NAL unit, its header byte included.

    Returns:
        ``None`` when it is no SPS, is cut short, or states a size that makes no sense.
    """
    # An SPS is a few dozen bytes; a longer one from a stranger is not worth the work.
    if len(unit) < 4 or len(unit) > 512 or unit[0] & 0x1F != 7:
        return None
    profile_idc, constraint_flags, level_idc = unit[1], unit[2], unit[3]
    bits = _BitReader(bytes(unit[4:]).replace(b"\x00\x00\x03", b"\x00\x00"))
    try:
        width, height = _read_size(bits, profile_idc)
    except _BitsError:
        return None
    if width <= 0 or height <= 0:
        return None
    return SequenceParameterSet(profile_idc, constraint_flags, level_idc, width, height)


def _read_size(bits: _BitReader, profile_idc: int) -> tuple[int, int]:
    bits.ue()  # seq_parameter_set_id
    chroma_format, separate_planes = 1, 0
    if profile_idc in _HIGH_PROFILES:
        chroma_format, separate_planes = _read_chroma_format(bits)
    bits.ue()  # log2_max_frame_num_minus4
    _skip_picture_order_count(bits)
    bits.ue()  # max_num_ref_frames
    bits.u(1)  # gaps_in_frame_num_value_allowed_flag
    width_in_mbs = bits.ue() + 1
    height_in_units = bits.ue() + 1
    if width_in_mbs > _MAX_MACROBLOCKS_A_SIDE or height_in_units > _MAX_MACROBLOCKS_A_SIDE:
        raise _BitsError
    frame_mbs_only = bits.u(1)
    if not frame_mbs_only:
        bits.u(1)  # mb_adaptive_frame_field_flag
    bits.u(1)  # direct_8x8_inference_flag
    left = right = top = bottom = 0
    if bits.u(1):  # frame_cropping_flag
        left, right, top, bottom = bits.ue(), bits.ue(), bits.ue(), bits.ue()
    subsampled = chroma_format if not separate_planes else 0
    crop_x = 2 if subsampled in (1, 2) else 1
    crop_y = (2 if subsampled == 1 else 1) * (2 - frame_mbs_only)
    width = width_in_mbs * 16 - crop_x * (left + right)
    height = (2 - frame_mbs_only) * height_in_units * 16 - crop_y * (top + bottom)
    return width, height


def _read_chroma_format(bits: _BitReader) -> tuple[int, int]:
    chroma_format = bits.ue()
    separate_planes = bits.u(1) if chroma_format == 3 else 0
    bits.ue()  # bit_depth_luma_minus8
    bits.ue()  # bit_depth_chroma_minus8
    bits.u(1)  # qpprime_y_zero_transform_bypass_flag
    if bits.u(1):  # seq_scaling_matrix_present_flag
        for index in range(12 if chroma_format == 3 else 8):
            if bits.u(1):
                _skip_scaling_list(bits, 16 if index < 6 else 64)
    return chroma_format, separate_planes


def _skip_scaling_list(bits: _BitReader, size: int) -> None:
    last = following = 8
    for _ in range(size):
        if following:
            following = (last + bits.se()) % 256
        last = following or last


def _skip_picture_order_count(bits: _BitReader) -> None:
    kind = bits.ue()
    if kind == 0:
        bits.ue()
    elif kind == 1:
        bits.u(1)
        bits.se()
        bits.se()
        cycle = bits.ue()
        if cycle > _MAX_CYCLE:
            raise _BitsError
        for _ in range(cycle):
            bits.se()
