"""The ring on one device: table L of docs/calls.md."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, NamedTuple

from triortc.engine.calls.actor import DeviceAddress
from triortc.engine.calls.machine import SAME, Machine, Row
from triortc.engine.calls.push_planner import PushPlan

__all__ = ["RINGS", "Ring", "RingFacts", "RingLeg"]

_NOT_DONE: Final = ("planned", "offered", "pushed", "alerting", "opened", "silenced")
_RING_COMMANDS: Final = ("ring.ack", "ring.opened", "ring.silence")


class RingFacts(NamedTuple):
    """What guards look at: whether the device has live signaling, is in use, and can be woken by a push."""

    live: bool = False
    foreground: bool = True
    wakeable: bool = False


RINGS: Final[Machine[RingFacts]] = Machine(
    "ring leg",
    (
        Row("L2", ("planned",), "int.start", "asleep", "pushed", ("plan_pushes",)),
        Row("L2", ("planned",), "int.start", "in_background", "pushed", ("offer", "plan_pushes")),
        Row("L1", ("planned",), "int.start", "live", "offered", ("offer", "arm_fallback")),
        Row("L3", ("planned",), "int.start", "", "planned"),
        Row("L4", ("offered", "pushed"), "ring.ack", "", "alerting", ("stop_pushes",)),
        Row("L5", ("offered",), "int.no_ack", "wakeable", "pushed", ("plan_pushes",)),
        Row("L6", ("pushed", "planned"), "int.device_back", "live", "offered", ("stop_pushes", "offer")),
        Row("L7", ("offered", "alerting", "pushed", "silenced"), "ring.opened", "", "opened", ("stop_pushes",)),
        Row("L8", ("alerting", "opened", "offered"), "ring.silence", "", "silenced", ("stop_pushes",)),
        Row("L9", ("offered", "alerting", "opened"), "int.device_lost", "wakeable", "pushed", ("plan_pushes",)),
        Row("L9", ("offered", "alerting", "opened"), "int.device_lost", "", "planned", ("stop_pushes",)),
        Row("L10", _NOT_DONE, "int.won", "", "done", ("stop_pushes",)),
        Row("L11", _NOT_DONE, "int.answered_elsewhere", "", "done", ("stop_pushes", "tell_ended", "withdraw")),
        *(
            Row("L12", _NOT_DONE, f"int.{reason}", "", "done", ("stop_pushes", "tell_ended", "withdraw"))
            for reason in ("declined_here", "declined_elsewhere", "timeout", "cancelled", "device_removed")
        ),
        *(Row("L13", ("done",), command, "", SAME) for command in _RING_COMMANDS),
    ),
    {
        "asleep": lambda facts: facts.wakeable and not facts.live,
        "in_background": lambda facts: facts.wakeable and not facts.foreground,
        "live": lambda facts: facts.live,
        "wakeable": lambda facts: facts.wakeable,
    },
)


@dataclass(slots=True)
class RingLeg:
    """The ring on one device.

    Attributes:
        platform: the device's.
        state, reason: as table L says.
        leg: the media leg that it warms, if any.
        no_ack_at: when the lack of an acknowledgement makes a push necessary.
        plan: the pushes that were planned last.
        sent: how many pushes of any plan have been sent; `due`: which of the plan's are still to come.
    """

    platform: str
    state: str = "planned"
    reason: str | None = None
    leg: str | None = None
    no_ack_at: float | None = None
    plan: PushPlan | None = None
    sent: int = 0
    due: tuple[float, ...] = ()

    @property
    def next_at(self) -> float | None:
        """When something is to be done for this device though nobody says anything."""
        return self.due[0] if self.due else self.no_ack_at


@dataclass(slots=True)
class Ring:
    """A ring for one session, on every device of one agent."""

    id: str
    session: str
    legs: dict[DeviceAddress, RingLeg] = field(default_factory=dict)
    told_alerting: bool = False

    @property
    def next_at(self) -> float | None:
        """The next instant at which a push is due, or an acknowledgement overdue."""
        return min((leg.next_at for leg in self.legs.values() if leg.next_at is not None), default=None)

    @property
    def alerting(self) -> bool:
        """Whether some device shows or sounds the call."""
        return any(leg.state in ("alerting", "opened", "silenced") for leg in self.legs.values())

    @property
    def warm_legs(self) -> int:
        return sum(leg.leg is not None for leg in self.legs.values())
