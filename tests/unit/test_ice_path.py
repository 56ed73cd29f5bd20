"""Consent, silence, moving paths, limits and the life of an ICE agent, with a hand-made peer on the other side."""

from __future__ import annotations

from itertools import pairwise

import pytest

from support.ice_bench import BASE, OTHER, PASSWORD, REMOTE, START, UFRAG, Bench, remote_candidate
from support.virtual_network import seeded_random_bytes
from triortc.engine.ice import IceAgent, IceConfiguration, IceState, SelectedPairChanged, host_candidate
from triortc.engine.stun import MessageClass, build_message
from triortc.errors import IceError


def test_checks_before_the_credentials_are_answered_and_repaid_when_they_are_known() -> None:
    bench = Bench(credentials=False)
    for port in range(10):
        assert bench.check(remote=("203.0.113.7", 1000 + port))
    assert [m.message_class for m, _ in bench.sent()] == [MessageClass.SUCCESS] * 10
    assert bench.dropped("early_checks") == 2
    assert bench.state() is IceState.NEW
    assert bench.agent.next_deadline() is None
    bench.agent.set_remote_credentials(UFRAG, PASSWORD)
    assert bench.agent.next_deadline() == 0.0
    bench.agent.handle_timeout(START + 1)
    assert {remote for _, remote in bench.requests()} == {("203.0.113.7", 1000 + port) for port in range(8)}
    assert bench.state() is IceState.CHECKING


def test_many_checks_of_the_peer_are_not_multiplied() -> None:
    bench = Bench()
    for _ in range(50):
        bench.check()
    assert len(bench.requests()) == 1


def test_signaled_candidate_replaces_the_peer_reflexive_one() -> None:
    bench = Bench()
    bench.check()
    [pair] = bench.agent._pairs.values()
    before = pair.priority
    bench.agent.add_remote_candidate(remote_candidate(), START)
    assert pair.remote.kind == "host"
    assert pair.priority > before
    assert len(bench.agent._pairs) == 1


def test_learned_addresses_pairs_transactions_and_datagrams_are_bounded() -> None:
    bench = Bench(max_pairs=15, max_peer_reflexive=10, max_transactions=12, max_queued_datagrams=30)
    for port in range(1, 500):
        bench.check(remote=("203.0.113.7", port), now=START + port * 0.001)
    assert len(bench.agent._pairs) <= 15
    assert len(bench.agent._directory.remote) <= 10
    assert len(bench.agent._checks.transactions) <= 12
    assert len(bench.sent()) <= 30
    assert bench.dropped("transmit_queue") > 0


def test_selected_address_survives_a_flood_of_learned_ones() -> None:
    bench = Bench(max_peer_reflexive=5, max_pairs=8)
    bench.check(nominate=True)
    bench.answer_all(START + 0.01)
    for port in range(1, 200):
        bench.check(remote=("203.0.113.7", port), now=START + 0.02)
    assert bench.agent.selected == (BASE, REMOTE)
    assert (BASE, REMOTE) in bench.agent._pairs


def test_rfc7675_5_1_consent_checks_come_every_4_to_6_s_once_each_with_new_ids() -> None:
    bench = Bench(controlling=True)
    bench.agent.add_remote_candidate(remote_candidate(), START)
    bench.answer_all(START + 0.01)
    bench.answer_all(START + 0.02)
    assert bench.agent.nominated
    times, ids = [START + 0.02], set()
    while len(times) < 12:
        deadline = bench.deadline()
        bench.agent.handle_timeout(deadline)
        for request, remote in bench.requests():
            times.append(deadline)
            ids.add(request.transaction_id)
            bench.answer(request, remote, now=deadline + 0.02)
    gaps = [b - a for a, b in pairwise(times)]
    assert all(4 <= gap <= 6.0001 for gap in gaps)
    assert len({round(gap, 3) for gap in gaps}) > 5
    assert len(ids) == 11
    assert bench.agent.statistics.consent_checks_sent == 11
    assert bench.state() is IceState.COMPLETED


def test_rfc7675_5_1_consent_expires_30_s_after_the_last_answer_and_media_is_no_consent() -> None:
    bench = Bench(controlling=True)
    bench.agent.add_remote_candidate(remote_candidate(), START)
    bench.answer_all(START + 0.01)
    bench.answer_all(START + 0.02)
    states: list[tuple[float, IceState]] = []
    now = START + 0.02
    while bench.state() is not IceState.FAILED:
        bench.agent.touch(BASE, REMOTE, now)
        deadline = bench.deadline()
        now = max(deadline, now + 0.01)
        bench.agent.handle_timeout(now)
        if not states or states[-1][1] is not bench.state():
            states.append((round(now - START - 0.02, 2), bench.state()))
    assert [state for _, state in states] == [IceState.COMPLETED, IceState.DISCONNECTED, IceState.FAILED]
    assert states[-1][0] == pytest.approx(30, abs=0.02)
    assert bench.agent.selected is None
    bench.sent()
    assert bench.agent.next_deadline() is None


def test_silence_disconnects_and_a_packet_reconnects() -> None:
    bench = Bench()
    bench.check(nominate=True)
    bench.answer_all(START + 0.01)
    now = START + 0.01
    while bench.state() is IceState.COMPLETED:
        deadline = bench.deadline()
        now = deadline
        bench.agent.handle_timeout(now)
    assert now == pytest.approx(START + 7.01)
    assert bench.state() is IceState.DISCONNECTED
    assert bench.agent.selected == (BASE, REMOTE)
    bench.agent.touch(BASE, REMOTE, now + 1)
    assert bench.state() is IceState.COMPLETED


def test_media_from_a_new_address_is_checked_before_it_is_followed() -> None:
    bench = Bench()
    bench.check(nominate=True)
    bench.answer_all(START + 0.01)
    bench.agent.touch(BASE, OTHER, START + 2)
    sent = bench.requests()
    assert [remote for _, remote in sent] == [OTHER, REMOTE]
    assert bench.agent.selected == (BASE, REMOTE)
    bench.answer(sent[0][0], OTHER, now=START + 2.02)
    assert bench.agent.selected == (BASE, REMOTE)
    bench.agent.touch(BASE, OTHER, START + 2.04)
    bench.pass_time(START + 2.04, START + 3, mute=[REMOTE])
    assert bench.agent.selected == (BASE, OTHER)


def test_media_from_a_new_address_does_not_move_a_path_that_still_answers() -> None:
    bench = Bench()
    bench.check(nominate=True)
    bench.answer_all(START + 0.01)
    bench.agent.touch(BASE, OTHER, START + 2)
    bench.answer_all(START + 2.02)
    bench.pass_time(START + 2.02, START + 4)
    assert bench.agent.selected == (BASE, REMOTE)


def test_touch_of_refused_or_foreign_addresses_does_nothing() -> None:
    bench = Bench()
    bench.agent.touch(BASE, ("127.0.0.1", 9), START)
    bench.agent.touch(("192.0.2.77", 1), OTHER, START)
    assert bench.sent() == []


def test_candidate_of_another_generation_is_ignored() -> None:
    bench = Bench()
    bench.agent.add_remote_candidate(remote_candidate(extensions=(("ufrag", "older"),)), START)
    assert bench.dropped("ufrag") == 1
    bench.agent.add_remote_candidate(remote_candidate(extensions=(("ufrag", UFRAG),)), START)
    assert len(bench.requests()) == 1


def test_rfc8445_6_1_2_6_pairs_of_one_foundation_wait_for_the_first_of_them() -> None:
    bench = Bench(controlling=True)
    remotes = [("203.0.113.1", port) for port in (1, 2, 3)]
    for index, remote in enumerate(remotes):
        bench.agent.add_remote_candidate(remote_candidate(remote, priority=1000 - index), START)
    [(first, first_remote)] = bench.requests()
    assert first_remote == remotes[0]
    bench.agent.handle_timeout(START + 0.05)
    assert bench.requests() == []
    bench.answer(first, first_remote, now=START + 0.06, error=500)
    bench.agent.handle_timeout(START + 0.2)
    assert [remote for _, remote in bench.requests()] == [remotes[1]]


def test_pairs_are_made_within_one_address_family_and_late_bases_take_part() -> None:
    bench = Bench(controlling=True)
    bench.agent.add_remote_candidate(remote_candidate(("2001:db8::7", 7)), START)
    assert bench.agent._pairs == {}
    bench.agent.add_local_candidate(host_candidate(("2001:db8::1", 1)))
    assert bench.agent.next_deadline() == 0.0
    bench.agent.handle_timeout(START)
    assert [remote for _, remote in bench.requests()] == [("2001:db8::7", 7)]


def test_late_candidates_do_not_disturb_a_nominated_pair() -> None:
    bench = Bench(controlling=True)
    bench.agent.add_remote_candidate(remote_candidate(), START)
    bench.answer_all(START + 0.01)
    bench.answer_all(START + 0.02)
    bench.agent.add_remote_candidate(remote_candidate(OTHER), START + 1)
    assert bench.sent() == []
    assert len(bench.agent._pairs) == 1


def test_credentials_are_checked_and_cannot_be_replaced() -> None:
    bench = Bench()
    bench.agent.set_remote_credentials(UFRAG, PASSWORD)
    with pytest.raises(IceError, match="restart"):
        bench.agent.set_remote_credentials("other", PASSWORD)
    with pytest.raises(IceError, match="characters"):
        Bench(credentials=False).agent.set_remote_credentials("abc", PASSWORD)
    with pytest.raises(IceError, match="characters"):
        Bench(credentials=False).agent.set_remote_credentials(UFRAG, "p" * 21)


def test_rfc8445_5_3_own_credentials_are_long_enough_and_differ() -> None:
    random_bytes = seeded_random_bytes(9)
    agents = [IceAgent(controlling=True, configuration=IceConfiguration(), random_bytes=random_bytes) for _ in range(5)]
    assert len({agent.local_ufrag for agent in agents}) == 5
    assert all(len(agent.local_ufrag) >= 4 and len(agent.local_password) >= 22 for agent in agents)


def test_indication_is_counted_and_closed_agent_is_silent() -> None:
    bench = Bench()
    assert not bench.agent.receive(build_message(MessageClass.INDICATION, 1, bytes(12)), BASE, REMOTE, START)
    assert not bench.agent.receive(build_message(MessageClass.REQUEST, 3, bytes(12)), BASE, REMOTE, START)
    assert bench.agent.statistics.indications_received == 1
    bench.check(nominate=True)
    bench.answer_all(START + 0.01)
    events = []
    while (event := bench.agent.poll_event()) is not None:
        events.append(event)
    assert SelectedPairChanged(BASE, REMOTE) in events
    bench.agent.close()
    bench.agent.close()
    bench.agent.start(START)
    bench.agent.end_of_remote_candidates(START)
    bench.agent.add_remote_candidate(remote_candidate(), START)
    bench.agent.touch(BASE, REMOTE, START)
    bench.agent.handle_timeout(START + 99)
    assert not bench.check()
    assert bench.sent() == []
    assert bench.state() is IceState.CLOSED
    assert bench.agent.selected is None
    assert bench.agent.next_deadline() is None


def test_media_on_another_nominated_pair_shows_what_an_aggressive_peer_has_chosen() -> None:
    bench = Bench()
    for remote, priority in ((REMOTE, 1862270975), (OTHER, 1862270000)):
        bench.check(remote=remote, priority=priority, nominate=True)
        bench.answer_all(START + 0.02)
    assert bench.agent.selected == (BASE, REMOTE)
    bench.agent.touch(BASE, REMOTE, START + 0.9)
    bench.agent.touch(BASE, OTHER, START + 1)
    assert bench.agent.selected == (BASE, REMOTE)
    bench.agent.touch(BASE, OTHER, START + 1.5)
    assert bench.agent.selected == (BASE, OTHER)
    bench.agent.handle_timeout(START + 1.6)
    assert bench.state() is IceState.COMPLETED
