"""Limits for session descriptions of strangers."""

from __future__ import annotations

from dataclasses import dataclass

from triortc.configuration_kinds import require_kinds
from triortc.errors import ConfigurationError

__all__ = ["SdpConfiguration"]


@dataclass(frozen=True, slots=True)
class SdpConfiguration:
    """Limits on what is parsed.

    Attributes:
        max_bytes: longest description, in bytes of UTF-8.
        max_lines: most lines in a description.
        max_sections: most media sections in a description.
        max_candidates: most ICE candidates taken from a description; further ones are skipped and counted.
    """

    max_bytes: int = 32 * 1024
    max_lines: int = 2048
    max_sections: int = 32
    max_candidates: int = 64

    def __post_init__(self) -> None:
        require_kinds(self)
        for name in ("max_bytes", "max_lines", "max_sections", "max_candidates"):
            if getattr(self, name) < 1:
                raise ConfigurationError(f"SdpConfiguration.{name} must be at least 1")
