"""What the demo tells while it runs and behind: the time line, the expectations, the figures."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final

import trio
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from triortc.errors import TriortcError

__all__ = ["DemoFailedError", "Expectation", "Expectations", "Figures", "Outcome", "Timeline", "print_outcome"]

_STYLES: Final = {"server": "blue", "visitor": "green", "desktop": "cyan", "mobile": "magenta", "files": "yellow"}


class DemoFailedError(TriortcError):
    """Something on the way of the demo was not as it must be."""


@dataclass(frozen=True, slots=True)
class Moment:
    """One line of the time line: milliseconds since the start, who, what."""

    ms: float
    who: str
    what: str


class Timeline:
    """What happens, with the milliseconds since the start.

    Args:
        console: where every line appears at once; None: nowhere.
        clock: seconds, monotonic.
    """

    def __init__(self, console: Console | None, clock: Callable[[], float] = trio.current_time) -> None:
        self.moments: list[Moment] = []
        self._console = console
        self._clock = clock
        self._started_at: float | None = None

    def add(self, who: str, what: str) -> None:
        """Something happens now."""
        now = self._clock()
        if self._started_at is None:
            self._started_at = now
        moment = Moment((now - self._started_at) * 1000, who, what)
        self.moments.append(moment)
        if self._console is not None:
            style = _STYLES.get(who, "white")
            self._console.print(
                f"[dim]{moment.ms:9.1f} ms[/]  [{style}]{who:<8}[/] {escape(what)}", highlight=False, soft_wrap=True
            )


@dataclass(frozen=True, slots=True)
class Expectation:
    """What must hold, whether it did, and what was found."""

    name: str
    holds: bool
    found: str


@dataclass(slots=True)
class Expectations:
    """Everything that was checked on the way."""

    all: list[Expectation] = field(default_factory=list)

    def expect(self, name: str, holds: bool, found: object) -> None:
        """Note whether something holds; `settle` acts on it."""
        self.all.append(Expectation(name, holds, str(found)))

    def settle(self) -> None:
        """End of a stage: it is no use to go on when something does not hold.

        Raises:
            DemoFailedError: names the first such thing.
        """
        for expectation in self.all:
            if not expectation.holds:
                raise DemoFailedError(f"expected: {expectation.name}; found: {expectation.found}")


@dataclass(frozen=True, slots=True)
class Figures:
    """What was measured. Directions are named by who sends.

    Attributes:
        leg_setup_ms: from a device's offer to its keys, by device.
        go_to_picture_ms: from the agent's "Go" to the first picture of the agent decoded at the visitor.
        pull_to_picture_ms: from the mobile's request to its first picture decoded at the visitor.
        handoff_gap_ms: the longest time between two pictures of the agent at the visitor around the handoff.
        picture_latency_ms, sound_latency_ms: p50 and p99 from the sender's call to the arrival of the last packet.
        frames: by direction, pictures sent and shown.
        sound_gaps: by direction, packets of 20 ms that were concealed while both talked.
        withheld_packets: packets of the agent that the gate dropped before Go.
        talk_ms: by the server's record.
        recorded_s: length of the recording.
        sound_behind_pictures_ms: in the recording, by side.
        wall_s: of the whole demo, without the start of Python.
    """

    leg_setup_ms: dict[str, float]
    go_to_picture_ms: float
    pull_to_picture_ms: float
    handoff_gap_ms: float
    picture_latency_ms: dict[str, float]
    sound_latency_ms: dict[str, float]
    frames: dict[str, dict[str, int]]
    sound_gaps: dict[str, int]
    withheld_packets: int
    talk_ms: int
    recorded_s: float
    sound_behind_pictures_ms: dict[str, float]
    wall_s: float


@dataclass(frozen=True, slots=True)
class Outcome:
    """How the demo ended.

    Attributes:
        failures: in words; empty when all went well.
        figures: None when the call did not get to its end.
        expectations: everything that was checked.
        timeline: what happened.
        files: what was written.
    """

    failures: tuple[str, ...]
    figures: Figures | None
    expectations: tuple[Expectation, ...]
    timeline: tuple[Moment, ...]
    files: tuple[Path, ...]

    @property
    def succeeded(self) -> bool:
        """Whether everything was as it must be."""
        return not self.failures and self.figures is not None

    def as_json(self) -> str:
        """For machines."""
        return json.dumps(
            {
                "succeeded": self.succeeded,
                "failures": self.failures,
                "figures": None if self.figures is None else asdict(self.figures),
                "expectations": [asdict(expectation) for expectation in self.expectations],
                "timeline": [asdict(moment) for moment in self.timeline],
                "files": [str(path) for path in self.files],
            },
            indent=2,
        )


def print_outcome(outcome: Outcome, console: Console) -> None:
    """The figures as a table, the files, and what failed."""
    if outcome.figures is not None:
        console.print(_table(outcome.figures))
    for path in outcome.files:
        console.print(f"wrote {path}", highlight=False, soft_wrap=True, markup=False)
    held = sum(expectation.holds for expectation in outcome.expectations)
    for failure in outcome.failures:
        console.print(f"[bold red]failed[/]  {escape(failure)}", highlight=False, soft_wrap=True)
    if outcome.succeeded:
        console.print(f"[bold green]all {held} expectations hold[/]", highlight=False)


def _table(figures: Figures) -> Table:
    table = Table(title="one call: ring, Go, handoff, hang-up")
    table.add_column("figure")
    table.add_column("value", justify="right")
    for device, setup_ms in figures.leg_setup_ms.items():
        table.add_row(f"leg of the {device}: offer to keys", f"{setup_ms:.1f} ms")
    table.add_row("packets withheld before Go", str(figures.withheld_packets))
    table.add_row("Go to first picture of the agent at the visitor", f"{figures.go_to_picture_ms:.0f} ms")
    table.add_row("handoff: request to first picture of the mobile", f"{figures.pull_to_picture_ms:.0f} ms")
    table.add_row("handoff: longest gap between pictures", f"{figures.handoff_gap_ms:.0f} ms")
    for kind, latency in (("pictures", figures.picture_latency_ms), ("sound", figures.sound_latency_ms)):
        table.add_row(f"relay latency of {kind}, p50 · p99", f"{latency['p50']:.2f} · {latency['p99']:.2f} ms")
    for direction, counts in figures.frames.items():
        table.add_row(f"pictures of the {direction}, sent · shown", f"{counts['sent']} · {counts['shown']}")
    for direction, gaps in figures.sound_gaps.items():
        table.add_row(f"gaps in the sound of the {direction}", f"{gaps} of 20 ms")
    table.add_row("talk time by the server", f"{figures.talk_ms / 1000:.2f} s")
    table.add_row("length of the recording", f"{figures.recorded_s:.2f} s")
    for side, behind_ms in figures.sound_behind_pictures_ms.items():
        table.add_row(f"sound behind pictures in the recording, {side}", f"{behind_ms:.0f} ms")
    table.add_row("the whole demo", f"{figures.wall_s:.1f} s")
    return table
