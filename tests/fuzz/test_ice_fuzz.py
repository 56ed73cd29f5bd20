"""A peer that knows the password and means harm: whatever it sends, limits hold, time moves on, nothing is raised."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from support.ice_bench import BASE, Bench, remote_candidate
from support.virtual_network import Address
from triortc.engine.ice import IceState
from triortc.engine.stun import attributes as fields

LIMITS: dict[str, Any] = {
    "max_pairs": 8,
    "max_peer_reflexive": 5,
    "max_remote_candidates": 5,
    "max_transactions": 10,
    "max_queued_datagrams": 40,
}
MAX_TIMEOUTS = 400

addresses = st.integers(0, 11).map(lambda number: (f"203.0.113.{number % 4 + 1}", 1000 + number // 4))
times = st.sampled_from([0.0, 0.001, 0.02, 0.2, 3.0, 31.0])
steps = st.one_of(
    st.tuples(st.just("check"), addresses, times, st.booleans(), st.sampled_from([None, 0, 1, 2])),
    st.tuples(st.just("answer"), addresses, times, st.booleans(), st.sampled_from([None, 400, 487])),
    st.tuples(st.just("candidate"), addresses, times, st.booleans(), st.none()),
    st.tuples(st.just("touch"), addresses, times, st.booleans(), st.none()),
)


def serve_timers(bench: Bench, now: float) -> None:
    for _ in range(MAX_TIMEOUTS):
        deadline = bench.agent.next_deadline()
        if deadline is None or deadline > now:
            return
        bench.agent.handle_timeout(max(deadline, 1.0))
    raise AssertionError("the deadline does not move on")


@settings(max_examples=250, deadline=None)
@given(st.booleans(), st.lists(steps, max_size=40))
def test_hostile_authenticated_peer_cannot_break_the_agent(
    controlling: bool, script: list[tuple[str, Address, float, bool, int | None]]
) -> None:
    bench = Bench(controlling=controlling, **LIMITS)
    now = 100.0
    for action, address, wait_s, flag, number in script:
        now += wait_s
        serve_timers(bench, now)
        requests = bench.requests()
        if action == "check":
            role = None if number is None else fields.ice_controlling if number else fields.ice_controlled
            tie_breaker = 2**64 - 1 if number == 2 else 0
            bench.check(remote=address, now=now, nominate=flag, role=role(tie_breaker) if role else None)
        elif action == "answer":
            for request, remote in requests:
                bench.answer(request, remote, now=now, source=address if flag else None, error=number)
        elif action == "candidate":
            bench.agent.add_remote_candidate(remote_candidate(address, foundation="1" if flag else "2"), now)
        else:
            bench.agent.touch(BASE, address, now)
        while bench.agent.poll_event() is not None:
            pass
        assert len(bench.agent._pairs) <= 8
        assert len(bench.agent._directory.remote) <= 10
        assert len(bench.agent._checks.transactions) <= 10
        selected = bench.agent.selected
        assert (selected is None) is (
            bench.state() in (IceState.NEW, IceState.CHECKING, IceState.FAILED, IceState.CLOSED)
        )
        assert selected is None or selected in bench.agent._pairs
