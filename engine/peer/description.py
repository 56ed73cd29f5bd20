"""A session description as signaling carries it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from triortc.errors import ConfigurationError

__all__ = ["DescriptionType", "RtcSessionDescription"]

DescriptionType: TypeAlias = Literal["offer", "answer", "rollback"]


@dataclass(frozen=True, slots=True)
class RtcSessionDescription:
    """What the W3C calls RTCSessionDescription; provisional answers are not supported.

    Attributes:
        type: ``"offer"``, ``"answer"`` or ``"rollback"``, which takes the pending offer back.
        sdp: the text; empty for a rollback.

    Raises:
        ConfigurationError: the type is none of these.
    """

    type: DescriptionType
    sdp: str = ""

    def __post_init__(self) -> None:
        if self.type not in ("offer", "answer", "rollback"):
            raise ConfigurationError(
                f"a description of type {self.type!r} is not supported: use offer, answer or rollback"
            )
