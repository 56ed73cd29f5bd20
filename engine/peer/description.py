"""A session description as signaling carries it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from triortc.errors import ConfigurationError

__all__ = ["DescriptionType", "RtcSessionDescription", "require_description"]

DescriptionType: TypeAlias = Literal["offer", "answer", "rollback"]


@dataclass(frozen=True, slots=True)
class RtcSessionDescription:
    """What the W3C calls RTCSessionDescription; provisional answers are not supported.

    Attributes:
        type: ``"offer"``, ``"answer"`` or ``"rollback"``, which takes the pending offer back.
        sdp: the text; empty for a rollback.

    Raises:
        ConfigurationError: the type is none of these, or the SDP is no text.
    """

    type: DescriptionType
    sdp: str = ""

    def __post_init__(self) -> None:
        if self.type not in ("offer", "answer", "rollback"):
            raise ConfigurationError(
                f"a description of type {self.type!r} is not supported: use offer, answer or rollback"
            )
        if not isinstance(self.sdp, str):
            raise ConfigurationError(f"sdp is text, not {type(self.sdp).__name__}: decode it as UTF-8")


def require_description(value: object) -> None:
    """What came by JSON is a mapping still.

    Raises:
        ConfigurationError: it is no description; the message says how to make one.
    """
    if not isinstance(value, RtcSessionDescription):
        raise ConfigurationError(
            f"give an RtcSessionDescription, not {type(value).__name__}: RtcSessionDescription(type, sdp)"
        )
