"""What an ICE agent tells its owner."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from triortc.engine.address import Address

__all__ = ["IceEvent", "IceState", "IceStateChanged", "SelectedPairChanged"]


class IceState(Enum):
    """The agent's state, with the meaning of W3C's RTCIceTransportState."""

    NEW = "new"
    CHECKING = "checking"
    CONNECTED = "connected"
    COMPLETED = "completed"
    DISCONNECTED = "disconnected"
    FAILED = "failed"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True)
class IceStateChanged:
    """The state is another one now."""

    state: IceState


@dataclass(frozen=True, slots=True)
class SelectedPairChanged:
    """Media goes another way from now on: out of the base ``local`` to ``remote``."""

    local: Address
    remote: Address


IceEvent: TypeAlias = IceStateChanged | SelectedPairChanged
