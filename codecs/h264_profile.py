"""``profile-level-id`` of H.264: which profiles are the same, which level an answer names (RFC 6184 section 8)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

__all__ = [
    "H264Profile",
    "ProfileLevel",
    "answer_profile_level_id",
    "format_profile_level_id",
    "parse_profile_level_id",
]

H264Profile: TypeAlias = Literal[
    "ConstrainedBaseline", "Baseline", "Main", "ConstrainedHigh", "High", "PredictiveHigh444"
]

_HEX: Final = re.compile(r"[0-9A-Fa-f]{6}", re.ASCII)
_CONSTRAINT_SET3: Final = 0x10
#: profile_idc, mask and value of the constraint flags, profile: table 5 of RFC 6184, as far as WebRTC knows it.
_PROFILES: Final[tuple[tuple[int, int, int, H264Profile], ...]] = (
    (0x42, 0b0100_1111, 0b0100_0000, "ConstrainedBaseline"),
    (0x4D, 0b1000_1111, 0b1000_0000, "ConstrainedBaseline"),
    (0x58, 0b1100_1111, 0b1100_0000, "ConstrainedBaseline"),
    (0x42, 0b0100_1111, 0b0000_0000, "Baseline"),
    (0x58, 0b1100_1111, 0b1000_0000, "Baseline"),
    (0x4D, 0b1010_1111, 0b0000_0000, "Main"),
    (0x64, 0b1111_1111, 0b0000_0000, "High"),
    (0x64, 0b1111_1111, 0b0000_1100, "ConstrainedHigh"),
    (0xF4, 0b1111_1111, 0b0000_0000, "PredictiveHigh444"),
)
#: The usual first four digits of each profile.
_PREFIXES: Final[dict[H264Profile, int]] = {
    "ConstrainedBaseline": 0x42E0,
    "Baseline": 0x4200,
    "Main": 0x4D00,
    "ConstrainedHigh": 0x640C,
    "High": 0x6400,
    "PredictiveHigh444": 0xF400,
}
#: level_idc of the levels; 1b shares 11 with 1.1 where constraint_set3 tells them apart.
_LEVELS: Final = frozenset({10, 11, 12, 13, 20, 21, 22, 30, 31, 32, 40, 41, 42, 50, 51, 52, 60, 61, 62})
_LEVEL_1B: Final = 10.5
_SETS_LEVEL_1B: Final = frozenset({0x42, 0x4D, 0x58})


@dataclass(frozen=True, slots=True)
class ProfileLevel:
    """A profile and a level.

    Attributes:
        profile: name of the profile.
        level: ten times the level, so that levels compare as numbers: 31 is level 3.1, 10.5 is level 1b.
    """

    profile: H264Profile
    level: float


def parse_profile_level_id(text: str) -> ProfileLevel | None:
    """Return profile and level of six hexadecimal digits; ``None`` if malformed or no profile of WebRTC."""
    if not _HEX.fullmatch(text):
        return None
    number = int(text, 16)
    idc, flags, level = number >> 16, number >> 8 & 0xFF, number & 0xFF
    profile = next((name for code, mask, value, name in _PROFILES if code == idc and flags & mask == value), None)
    if profile is None:
        return None
    if idc in _SETS_LEVEL_1B:
        is_1b = level == 11 and bool(flags & _CONSTRAINT_SET3)
    else:
        is_1b = level == 9
    if is_1b:
        return ProfileLevel(profile, _LEVEL_1B)
    return ProfileLevel(profile, level) if level in _LEVELS else None


def format_profile_level_id(value: ProfileLevel) -> str:
    """Return the usual six digits; :func:`parse_profile_level_id` gives the same value back."""
    prefix = _PREFIXES[value.profile]
    if value.level == _LEVEL_1B:
        return f"{prefix | _CONSTRAINT_SET3:04x}0b" if prefix >> 8 in _SETS_LEVEL_1B else f"{prefix:04x}09"
    return f"{prefix:04x}{int(value.level):02x}"


def answer_profile_level_id(offered: ProfileLevel, local: ProfileLevel, *, asymmetry: bool) -> str:
    """Return the ``profile-level-id`` of an answer (RFC 6184 section 8.2.2).

    Args:
        offered: what the offer names; the profile is that of ``local``.
        local: what we can receive.
        asymmetry: both sides say ``level-asymmetry-allowed=1``: each names its own level. Else the lower one counts.
    """
    level = local.level if asymmetry else min(offered.level, local.level)
    return format_profile_level_id(ProfileLevel(local.profile, level))
