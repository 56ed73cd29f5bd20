"""The accelerated plane's own policy: which flows go to the core, and when."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from support.planes import make_plane
from triortc.engine.relay.accelerated_plane import AcceleratedPlane


class RefusingOutlet:
    """Says of no stream that it is ordinary, and which it was asked of."""

    def __init__(self) -> None:
        self.asked: list[Any] = []

    def is_ordinary(self, gate: object, stream: Any) -> bool:
        self.asked.append(stream)
        return False


def test_flows_are_opened_so_many_at_a_time_the_first_first() -> None:
    plane, _ = make_plane("accelerated")
    assert isinstance(plane, AcceleratedPlane)
    outlet, nobody = RefusingOutlet(), SimpleNamespace()
    for stream in range(5):
        plane._want_flow(nobody, outlet, nobody, stream, "vp8")  # type: ignore[arg-type]  # none gets so far
    assert [plane.open_flows(0.0, 2) for _ in range(3)] == [True, True, False]
    assert outlet.asked == [0, 1, 2, 3, 4]
    plane._want_flow(nobody, outlet, nobody, 5, "vp8")  # type: ignore[arg-type]  # as above
    assert not plane.open_flows(0.0), "without a number all of them"
    plane.stop()
