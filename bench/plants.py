"""Bugs to plant into the rules, to see that a simulated day notices them. For tests only."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Final

from triortc.engine.calls import availability, session, telling
from triortc.engine.calls.gate_table import Gate
from triortc.engine.calls.lifecycle import Lifecycle

__all__ = ["PLANTS", "planted"]


@contextmanager
def _replaced(owner: Any, name: str, make: Callable[[Any], Any]) -> Iterator[None]:
    original = getattr(owner, name)
    setattr(owner, name, make(original))
    try:
        yield
    finally:
        setattr(owner, name, original)


def _late_ring() -> AbstractContextManager[None]:
    """Each ring has five seconds more than it says."""

    def make(mutations: Mapping[str, Any]) -> Mapping[str, Any]:
        def start_ring(state: Any, data: Any, now: float) -> None:
            mutations["start_ring"](state, data, now)
            state.timers["T_ring"] += 5.0

        return {**mutations, "start_ring": start_ring}

    return _replaced(session, "_MUTATIONS", make)


def _early_picture() -> AbstractContextManager[None]:
    """The gates open with "Go", before both sides are connected."""

    def make(arm: Any) -> Any:
        def arm_and_open(self: Lifecycle, state: Any, data: Any) -> None:
            arm(self, state, data)
            self._gates_of_committed(state, "ready")

        return arm_and_open

    return _replaced(Lifecycle, "_arm_gates", make)


def _beside_a_chat() -> AbstractContextManager[None]:
    """Open chats do not count: who chats is rung."""
    return _replaced(availability, "open_chats", lambda count: lambda world, agent: 0)


def _told_twice() -> AbstractContextManager[None]:
    """Everybody is told twice that a call has ended."""

    def make(tell: Any) -> Any:
        def tell_again(world: Any, state: Any) -> None:
            tell(world, state)
            tell(world, state)

        return tell_again

    return _replaced(telling, "tell_ended", make)


def _deaf_mute() -> AbstractContextManager[None]:
    """A gate remembers a mute and lets everything through."""

    def make(apply: Any) -> Any:
        def apply_but_mutes(self: Gate, event: str, now: float) -> Any:
            return None if event == "mute" else apply(self, event, now)

        return apply_but_mutes

    return _replaced(Gate, "apply", make)


PLANTS: Final[Mapping[str, tuple[Callable[[], AbstractContextManager[None]], str]]] = {
    "late-ring": (_late_ring, "I7"),
    "early-picture": (_early_picture, "I13"),
    "beside-a-chat": (_beside_a_chat, "I31"),
    "told-twice": (_told_twice, "I23"),
    "deaf-mute": (_deaf_mute, "I15"),
}
"""Each bug, and the number of the rule that it breaks."""


@contextmanager
def planted(name: str | None) -> Iterator[None]:
    """The rules with a bug in them, for the length of the block; None: as they are."""
    if name is None:
        yield
        return
    with PLANTS[name][0]():
        yield
