"""Call control that dies and is started anew, with a store between the two lives."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from support.calls import House
from triortc.engine.calls.actor import PushKind
from triortc.engine.calls.configuration import CallConfiguration
from triortc.engine.calls.effects import AppendHistory, AppendInvitation, Effect, KeepMessage
from triortc.engine.calls.gate_table import GateState
from triortc.engine.calls.keeping import Keeper
from triortc.engine.calls.memory_store import MemoryStore
from triortc.engine.calls.replies import Reply
from triortc.engine.calls.store import ENTITIES, Stored, decode_row

__all__ = ["KeptHouse"]


class KeptHouse(House):
    """A house whose every step is kept. `reborn` is the one after it."""

    def __init__(
        self,
        configuration: CallConfiguration | None = None,
        store: MemoryStore | None = None,
        push_kinds: frozenset[PushKind] = frozenset(),
        random_bytes: Callable[[int], bytes] | None = None,
    ) -> None:
        super().__init__(configuration, push_kinds, random_bytes)
        self.store = store or MemoryStore(durable=True)
        self.keeper = Keeper(self.store, self.world)

    def perform(self, effects: list[Effect]) -> Reply | None:
        for effect in effects:
            match effect:
                case AppendHistory(record):
                    self.keeper.history(record)
                case AppendInvitation(over):
                    self.keeper.invitation(over)
                case KeepMessage():
                    self.keeper.message(effect)
                case _:
                    pass
        reply = super().perform(effects)
        self.keeper.save()
        return reply

    @property
    def wall_ms(self) -> int:
        return self.world.unix_ms(self.now)

    def rows(self, entity: str) -> list[Any]:
        """What is stored of an entity."""
        return [decode_row(entity, data) for data in self.store._rows[entity].values()]

    def stored(self) -> Stored:
        """What another process would find now."""
        stored = Stored(alive_ms=self.store.alive_ms)
        for name in ENTITIES:
            if hasattr(stored, name):
                getattr(stored, name).extend(self.rows(name))
        return stored

    def reborn(self, after_s: float = 0.0, alive_s: float = 0.0) -> KeptHouse:
        """The process dies without a word; another one starts.

        Arguments:
            after_s: how long nobody was there.
            alive_s: how long before the death the last sign of life was given.
        """
        wall_ms = self.wall_ms + round(after_s * 1000)
        self.store.alive_ms = self.wall_ms - round(alive_s * 1000)
        new = KeptHouse(self.world.configuration, self.store, self.world.push_rules.kinds, self.random_bytes)
        new.now = 7.5  # another machine's clock might say anything
        new.world.unix_ms_at_zero = wall_ms - 7500
        new.inbox, new.appended = self.inbox, self.appended
        new.gates = {gate: state for gate, state in self.gates.items() if state is GateState.SEALED}
        for row in self.stored().history:
            new.history.append(row.record)
        for over in self.stored().invitation_history:
            new.history.append_invitation(over.record)
        new.control.restore(self.stored(), new.now)
        assert new.keeper.capture is not None
        new.keeper.capture.restored()
        new.perform(new.control.take_over(new.now))
        return new

    def check_kept(self) -> None:
        """What the store holds is what a look at everything would write: no change was overlooked."""
        capture = self.keeper.capture
        assert capture is not None
        capture.look_at_everything()
        changes = [change for change in capture.take() if change.entity in ENTITIES]
        assert not changes, changes
