"""Call control that dies at any moment and goes on from its store, against the same invariants."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import invariant, rule
from model.test_calls_model import Calls

from support.calls_restart import KeptHouse
from triortc.engine.calls.session_table import IN_CALL
from triortc.engine.calls.store import delete


class KeptCalls(Calls):
    make_house = KeptHouse
    house: KeptHouse

    @rule(after_s=st.sampled_from([0.0, 0.25, 3.0, 29.0, 31.0, 4000.0]), alive_s=st.sampled_from([0.0, 0.5]))
    def die(self, after_s: float, alive_s: float) -> None:
        """Nothing that was decided is forgotten, nothing happens twice."""
        before = self.house.world
        # The model makes closed conversations unheard of, so that it can use their names again.
        closed = [row.key for row in self.house.rows("conversations") if row.key not in before.conversations]
        self.house.store.write([delete("conversations", key) for key in closed])
        known = {session.id: (session.outcome, session.reason) for session in before.sessions.values()}
        epochs = {agent: before.claims.epoch(agent) for agent in before.agents}
        self.house = self.house.reborn(after_s, alive_s)
        after = self.house.world
        assert {session.id: (session.outcome, session.reason) for session in after.sessions.values()} == known
        assert all(after.claims.epoch(agent) >= epoch for agent, epoch in epochs.items()), "I6"
        self.house.fire()

    @invariant()
    def in_time(self) -> None:
        """I7, I10, V49: nothing outlives its timer, which a death moves only for legs that have to be made anew."""
        house, limits = self.house, self.house.world.configuration
        house.fire()
        for session in house.world.sessions.values():
            if session.state == "ringing":
                assert session.ring_at is not None
                assert house.now < session.deadline == pytest.approx(session.ring_at + limits.ring_timeout_s)
            if session.state in IN_CALL:
                adopted = session.timers.get("T_adopted")
                assert adopted is None or house.now < adopted
            if session.state == "connecting":
                assert {"T_adopted", "T_connect"} & set(session.timers)
            for leg, deadline in session.grace.items():
                assert session.pending is not None or house.now < deadline, leg

    @invariant()
    def kept(self) -> None:
        """The store holds what a look at everything would write."""
        self.house.check_kept()


KeptCalls.TestCase.settings = settings(
    max_examples=60,
    stateful_step_count=40,
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
TestKeptCallsModel = KeptCalls.TestCase
