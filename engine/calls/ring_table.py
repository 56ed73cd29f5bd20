"""The ring on one device: table L of docs/calls.md."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, NamedTuple

from triortc.engine.calls.actor import DeviceAddress
from triortc.engine.calls.machine import SAME, Machine, Row

__all__ = ["RINGS", "Ring", "RingFacts", "RingLeg"]

_NOT_DONE: Final = ("planned", "offered", "alerting", "opened", "silenced")
_RING_COMMANDS: Final = ("ring.ack", "ring.opened", "ring.silence")


class RingFacts(NamedTuple):
    """What guards look at: whether the device has live signaling."""

    live: bool


RINGS: Final[Machine[RingFacts]] = Machine(
    "ring leg",
    (
        Row("L1", ("planned",), "int.start", "live", "offered", ("offer",)),
        Row("L3", ("planned",), "int.start", "", "planned"),
        Row("L4", ("offered",), "ring.ack", "", "alerting", ("tell_alerting",)),
        Row("L6", ("planned",), "int.device_back", "live", "offered", ("offer",)),
        Row("L7", ("offered", "alerting", "silenced"), "ring.opened", "", "opened", ("tell_alerting",)),
        Row("L8", ("alerting", "opened", "offered"), "ring.silence", "", "silenced"),
        Row("L9", ("offered", "alerting", "opened"), "int.device_lost", "", "planned"),
        Row("L10", _NOT_DONE, "int.won", "", "done"),
        Row("L11", _NOT_DONE, "int.answered_elsewhere", "", "done", ("tell_ended",)),
        *(
            Row("L12", _NOT_DONE, f"int.{reason}", "", "done", ("tell_ended",))
            for reason in ("declined_here", "declined_elsewhere", "timeout", "cancelled", "device_removed")
        ),
        *(Row("L13", ("done",), command, "", SAME) for command in _RING_COMMANDS),
    ),
    {"live": lambda facts: facts.live},
)


@dataclass(slots=True)
class RingLeg:
    """The ring on one device; `leg` is the media leg that it warms, if any."""

    platform: str
    state: str = "planned"
    reason: str | None = None
    leg: str | None = None


@dataclass(slots=True)
class Ring:
    """A ring for one session, on every device of one agent."""

    id: str
    session: str
    legs: dict[DeviceAddress, RingLeg] = field(default_factory=dict)
    told_alerting: bool = False

    @property
    def alerting(self) -> bool:
        """Whether some device shows or sounds the call."""
        return any(leg.state in ("alerting", "opened", "silenced") for leg in self.legs.values())

    @property
    def warm_legs(self) -> int:
        return sum(leg.leg is not None for leg in self.legs.values())
