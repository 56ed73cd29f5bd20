"""Checks, roles and nomination of an ICE agent, rule by rule, with a hand-made peer on the other side."""

from __future__ import annotations

import pytest

from support.ice_bench import BASE, OTHER, PASSWORD, REMOTE, START, UFRAG, Bench, remote_candidate
from support.virtual_network import seeded_random_bytes
from triortc.engine.ice import IceAgent, IceConfiguration, IceState, host_candidate
from triortc.engine.ice.pair import PairState
from triortc.engine.stun import Attribute, Integrity, MessageClass, build_message
from triortc.engine.stun import attributes as fields


def test_own_check_follows_right_behind_the_answer() -> None:
    bench = Bench()
    assert bench.check()
    (answer, to), (own, own_to) = bench.sent()
    assert (answer.message_class, to) == (MessageClass.SUCCESS, REMOTE)
    assert answer.mapped_address == REMOTE
    assert answer.verify(bench.agent.local_password.encode())
    assert answer.has_fingerprint
    assert (own.message_class, own_to) == (MessageClass.REQUEST, REMOTE)
    assert own.username == f"{UFRAG}:{bench.agent.local_ufrag}"
    assert own.verify(PASSWORD.encode())
    assert own.priority == 1862270975
    assert own.ice_controlled is not None
    assert not own.use_candidate


def test_a_controlling_peer_whose_check_comes_after_ours_has_succeeded_still_hears_us_behind_the_answer() -> None:
    bench = Bench()
    bench.check()
    bench.answer_all(START + 0.001)
    bench.sent()
    bench.check(now=START + 0.002)
    (answer, _), (own, own_to) = bench.sent()
    assert answer.message_class is MessageClass.SUCCESS
    assert (own.message_class, own_to) == (MessageClass.REQUEST, REMOTE)
    bench.check(now=START + 0.003, nominate=True)
    assert [message.message_class for message, _ in bench.sent()] == [MessageClass.SUCCESS]


def test_rfc8445_14_first_check_goes_at_once_and_the_next_ones_at_the_pace_of_ta() -> None:
    bench = Bench(controlling=True)
    for port in (1, 2, 3):
        bench.agent.add_remote_candidate(remote_candidate((f"203.0.113.{port}", 9), foundation=str(port)), START)
    assert len(bench.requests()) == 1
    for tick in (1, 2):
        assert bench.agent.next_deadline() == pytest.approx(START + 0.05 * tick)
        bench.agent.handle_timeout(START + 0.05 * tick)
        assert len(bench.requests()) == 1


def test_rfc8489_6_2_1_check_is_retransmitted_seven_times_and_given_up_after_39_5_s() -> None:
    bench = Bench(controlling=True)
    bench.agent.add_remote_candidate(remote_candidate(), START)
    times = [START]
    ids = {bench.requests()[0][0].transaction_id}
    while bench.state() is not IceState.FAILED:
        deadline = bench.deadline()
        bench.agent.handle_timeout(deadline)
        for request, _ in bench.requests():
            times.append(deadline)
            ids.add(request.transaction_id)
    assert [time - START for time in times] == [0.0, 0.5, 1.5, 3.5, 7.5, 15.5, 31.5]
    assert len(ids) == 1
    assert deadline - START == pytest.approx(39.5)
    assert bench.agent.next_deadline() is None


def test_rfc8863_agent_without_candidates_waits_for_the_peers_checks_before_it_fails() -> None:
    bench = Bench()
    bench.agent.end_of_remote_candidates(START)
    assert bench.state() is IceState.CHECKING
    assert bench.agent.next_deadline() == START + 39.5
    bench.agent.handle_timeout(START + 39.5)
    assert bench.state() is IceState.FAILED
    assert not bench.check(now=START + 40)


def test_rfc8445_8_1_1_controlling_agent_checks_first_and_nominates_then() -> None:
    bench = Bench(controlling=True)
    bench.agent.add_remote_candidate(remote_candidate(), START)
    [(first, _)] = bench.requests()
    assert first.ice_controlling is not None
    assert not first.use_candidate
    bench.answer(first, REMOTE, now=START + 0.02)
    assert bench.state() is IceState.CONNECTED
    assert bench.agent.selected == (BASE, REMOTE)
    [(second, _)] = bench.requests()
    assert second.use_candidate
    assert not bench.agent.nominated
    bench.answer(second, REMOTE, now=START + 0.04)
    assert bench.agent.nominated
    assert bench.state() is IceState.COMPLETED
    assert bench.agent.rtt_s == pytest.approx(0.02)


def test_controlling_agent_waits_a_little_for_a_better_pair_before_it_nominates() -> None:
    bench = Bench(controlling=True)
    low, high = ("203.0.113.1", 9), ("203.0.113.2", 9)
    bench.agent.add_remote_candidate(remote_candidate(high, foundation="h"), START)
    bench.agent.add_remote_candidate(remote_candidate(low, foundation="l", priority=1000), START)
    bench.agent.handle_timeout(START + 0.05)
    checks = {remote: request for request, remote in bench.requests()}
    bench.answer(checks[low], low, now=START + 0.06)
    assert bench.agent.selected == (BASE, low)
    assert bench.requests() == []
    bench.answer(checks[high], high, now=START + 0.1)
    assert bench.agent.selected == (BASE, high)
    [(nomination, remote)] = bench.requests()
    assert (nomination.use_candidate, remote) == (True, high)


def test_controlling_agent_nominates_what_it_has_when_the_wait_is_over() -> None:
    bench = Bench(controlling=True)
    low, high = ("203.0.113.1", 9), ("203.0.113.2", 9)
    bench.agent.add_remote_candidate(remote_candidate(high, foundation="h"), START)
    bench.agent.add_remote_candidate(remote_candidate(low, foundation="l", priority=1000), START)
    bench.pass_time(START, START + 0.2, mute=[high])
    assert bench.agent.selected == (BASE, low)
    assert bench.agent.nominated
    assert bench.state() is IceState.COMPLETED


def test_rfc8445_7_3_1_5_controlled_agent_follows_a_nomination_before_and_after_its_own_check() -> None:
    bench = Bench()
    bench.check(nominate=True)
    assert bench.agent.selected is None
    bench.answer_all(START + 0.02)
    assert bench.agent.selected == (BASE, REMOTE)
    assert bench.agent.nominated
    bench = Bench()
    bench.check()
    bench.answer_all(START + 0.02)
    assert not bench.agent.nominated
    assert bench.state() is IceState.CONNECTED
    bench.check(nominate=True, now=START + 0.03)
    assert bench.agent.nominated
    assert bench.state() is IceState.COMPLETED


def test_peer_that_checks_plainly_and_nominates_later_is_followed_to_a_worse_pair() -> None:
    bench = Bench()
    for remote, priority in ((REMOTE, 1862270975), (OTHER, 1862270000)):
        bench.check(remote=remote, priority=priority)
        bench.answer_all(START + 0.02)
    bench.check(remote=REMOTE, nominate=True)
    assert bench.agent.selected == (BASE, REMOTE)
    bench.check(remote=OTHER, nominate=True)
    assert bench.agent.selected == (BASE, OTHER)


def test_aggressive_peer_gets_the_best_of_the_pairs_it_nominates() -> None:
    for order in ((REMOTE, OTHER), (OTHER, REMOTE)):
        bench = Bench()
        for remote in order:
            bench.check(remote=remote, priority=1862270975 if remote == REMOTE else 1862270000, nominate=True)
            bench.answer_all(START + 0.02)
        assert bench.agent.selected == (BASE, REMOTE)


def test_rfc8445_7_3_1_1_greater_tie_breaker_controls() -> None:
    bench = Bench(controlling=True)
    bench.check(role=fields.ice_controlling(0))
    [answer] = [m for m, _ in bench.sent() if m.message_class is MessageClass.ERROR]
    assert answer.error_code is not None
    assert answer.error_code[0] == 487
    assert answer.verify(bench.agent.local_password.encode())
    assert bench.agent.controlling
    bench.check(role=fields.ice_controlling(2**64 - 1))
    assert not bench.agent.controlling
    assert bench.sent()[0][0].message_class is MessageClass.SUCCESS
    bench.check(role=fields.ice_controlled(2**64 - 1))
    assert bench.sent()[0][0].message_class is MessageClass.ERROR
    assert not bench.agent.controlling
    bench.check(role=fields.ice_controlled(0))
    assert bench.agent.controlling
    assert bench.agent.statistics.role_switches == 2


def test_rfc8445_7_2_5_1_agent_that_is_told_487_switches_and_checks_again_with_another_tie_breaker() -> None:
    bench = Bench(controlling=True)
    bench.agent.add_remote_candidate(remote_candidate(), START)
    [(first, _)] = bench.requests()
    bench.answer(first, REMOTE, now=START + 0.01, error=487)
    assert not bench.agent.controlling
    bench.agent.handle_timeout(START + 0.06)
    [(second, _)] = bench.requests()
    assert second.ice_controlled not in (None, first.ice_controlling)


def test_other_error_fails_the_pair() -> None:
    bench = Bench(controlling=True)
    bench.agent.add_remote_candidate(remote_candidate(), START)
    bench.answer(bench.requests()[0][0], REMOTE, now=START + 0.01, error=400)
    assert [pair.state for pair in bench.agent._pairs.values()] == [PairState.FAILED]
    assert bench.agent.next_deadline() == START + 39.5


def test_rfc8445_7_2_5_2_1_answer_from_another_address_fails_the_pair() -> None:
    bench = Bench(controlling=True)
    bench.agent.add_remote_candidate(remote_candidate(), START)
    assert bench.answer(bench.requests()[0][0], REMOTE, now=START + 0.01, source=OTHER)
    assert bench.dropped("asymmetric") == 1
    assert bench.agent.selected is None


def test_rfc8445_7_2_5_3_1_unknown_mapped_address_becomes_a_local_prflx_candidate() -> None:
    bench = Bench(controlling=True)
    bench.agent.add_remote_candidate(remote_candidate(), START)
    bench.answer(bench.requests()[0][0], REMOTE, now=START + 0.01, mapped=("203.0.113.9", 999))
    [pair] = bench.agent._pairs.values()
    assert (pair.local.kind, pair.local.address, pair.local.priority) == ("prflx", "203.0.113.9", 1862270975)
    assert bench.agent.selected == (BASE, REMOTE)


def test_advertised_address_in_the_answer_is_no_new_candidate() -> None:
    agent = IceAgent(controlling=True, configuration=IceConfiguration(), random_bytes=seeded_random_bytes(5))
    bench = Bench()
    bench.agent = agent
    agent.add_local_candidate(host_candidate(BASE, advertised=("203.0.113.9", 4000)), BASE)
    agent.set_remote_credentials(UFRAG, PASSWORD)
    agent.add_remote_candidate(remote_candidate(), START)
    agent.start(START)
    bench.answer(bench.requests()[0][0], REMOTE, now=START + 0.01, mapped=("203.0.113.9", 4000))
    [pair] = agent._pairs.values()
    assert pair.local.kind == "host"


def test_early_check_of_another_peer_is_not_repaid() -> None:
    bench = Bench(credentials=False)
    assert bench.check(username=f"{bench.agent.local_ufrag}:somebody")
    bench.sent()
    bench.agent.set_remote_credentials(UFRAG, PASSWORD)
    bench.agent.start(START)
    assert bench.sent() == []
    assert bench.dropped("username") == 1


def test_strangers_are_dropped_in_silence() -> None:
    bench = Bench()
    assert not bench.check(password="wrong")
    assert not bench.check(username="other:peer")
    assert not bench.check(username=f"{bench.agent.local_ufrag}:other")
    assert not bench.agent.receive(build_message(MessageClass.REQUEST, 1, bytes(12)), BASE, REMOTE, START)
    assert not bench.agent.receive(b"noise", BASE, REMOTE, START)
    assert not bench.agent.receive(bench.request(), ("192.0.2.99", 1), REMOTE, START)
    assert not bench.agent.receive(bench.request(), BASE, ("127.0.0.1", 9), START)
    assert bench.sent() == []
    assert dict(bench.agent.statistics.dropped) == {
        "integrity": 1,
        "username": 2,
        "no_credentials": 1,
        "malformed": 1,
        "base": 1,
        "loopback": 1,
    }


def test_rfc8489_9_1_3_strangers_get_400_and_401_when_configured_and_never_more_bytes_than_they_sent() -> None:
    bench = Bench(answer_unauthenticated=True)
    request = bench.request(password="wrong")
    assert not bench.agent.receive(request, BASE, REMOTE, START)
    [(answer, _)] = bench.sent()
    assert answer.error_code == (401, "")
    assert answer.integrity is None
    assert len(answer.raw) <= len(request)
    assert not bench.agent.receive(build_message(MessageClass.REQUEST, 1, bytes(12)), BASE, REMOTE, START)
    assert bench.sent() == []


def test_rfc8489_6_3_1_unknown_required_attribute_is_answered_by_420() -> None:
    bench = Bench()
    assert bench.check(extra=[(0x7F01, b"?"), (0xFF01, b"optional")])
    [(answer, _)] = bench.sent()
    assert answer.error_code == (420, "")
    assert answer.get(Attribute.UNKNOWN_ATTRIBUTES) == b"\x7f\x01"


def test_check_without_priority_is_answered_by_400() -> None:
    bench = Bench()
    assert bench.check(priority=None)
    [(answer, _)] = bench.sent()
    assert answer.error_code == (400, "")


def test_malformed_attributes_of_an_authentic_peer_are_dropped() -> None:
    bench = Bench()
    assert not bench.check(role=(Attribute.ICE_CONTROLLED, b"short"), priority=None, extra=[(Attribute.PRIORITY, b"")])
    assert bench.dropped("malformed") == 1


def test_rfc8489_9_1_3_request_protected_by_sha256_is_answered_by_sha256() -> None:
    bench = Bench()
    assert bench.check(integrity=Integrity.SHA256)
    answer = bench.sent()[0][0]
    assert answer.integrity is Integrity.SHA256
    assert answer.verify(bench.agent.local_password.encode())


def test_forged_and_unknown_answers_change_nothing() -> None:
    bench = Bench(controlling=True)
    bench.agent.add_remote_candidate(remote_candidate(), START)
    [(request, _)] = bench.requests()
    assert not bench.answer(request, REMOTE, now=START, password="wrong")
    assert bench.answer(request, REMOTE, now=START)
    assert not bench.answer(request, REMOTE, now=START)
    assert (bench.dropped("integrity"), bench.dropped("transaction")) == (1, 1)


def test_answer_without_mapped_address_or_with_unknown_attribute_fails_the_pair() -> None:
    for extra, kind in (((0x7F01, b""), "attributes"),):
        bench = Bench(controlling=True)
        bench.agent.add_remote_candidate(remote_candidate(), START)
        assert bench.answer(bench.requests()[0][0], REMOTE, now=START, extra=[extra])
        assert bench.dropped(kind) == 1
        assert bench.agent.selected is None


def test_rfc8445_7_3_1_4_check_in_progress_is_replaced_and_its_late_answer_still_counts() -> None:
    bench = Bench()
    bench.agent.add_remote_candidate(remote_candidate(), START)
    [(first, _)] = bench.requests()
    bench.check(now=START + 0.2)
    [(second, _)] = bench.requests()
    assert second.transaction_id != first.transaction_id
    bench.agent.handle_timeout(START + 0.55)
    assert bench.requests() == []
    bench.answer(first, REMOTE, now=START + 0.6)
    assert bench.agent.selected == (BASE, REMOTE)


def test_nomination_that_nobody_answers_is_tried_again_more_and_more_slowly() -> None:
    bench = Bench(controlling=True)
    bench.agent.add_remote_candidate(remote_candidate(), START)
    bench.answer_all(START + 0.01)
    assert [request.use_candidate for request, _ in bench.requests()] == [True]
    times: list[float] = []
    while bench.state() is not IceState.FAILED:
        now = bench.deadline()
        bench.agent.handle_timeout(now)
        times += [now - START for request, _ in bench.requests() if request.use_candidate]
    assert times[:2] == pytest.approx([0.11, 0.31])
    assert 15 < len(times) < 40


def test_nomination_is_tried_again_soon_on_a_path_that_is_alive() -> None:
    bench = Bench(controlling=True)
    bench.agent.add_remote_candidate(remote_candidate(), START)
    bench.answer_all(START + 0.01)
    now = START
    requests = bench.requests()
    for _ in range(12):
        now = bench.deadline()
        bench.agent.handle_timeout(now)
        bench.agent.touch(BASE, REMOTE, now)
        requests = bench.requests() or requests
    assert now - START < 2.5
    assert not bench.agent.nominated
    assert bench.answer(requests[-1][0], REMOTE, now=now + 0.01)
    assert bench.agent.nominated


def test_nomination_without_answer_falls_back_to_the_next_valid_pair() -> None:
    bench = Bench(controlling=True)
    for index, remote in enumerate((REMOTE, OTHER)):
        bench.agent.add_remote_candidate(remote_candidate(remote, foundation=str(index), priority=900 - index), START)
    bench.agent.handle_timeout(START + 0.05)
    checks = bench.requests()
    for request, remote in reversed(checks):
        bench.answer(request, remote, now=START + 0.06)
    assert bench.agent.selected == (BASE, REMOTE)
    bench.pass_time(START + 0.06, START + 2, mute=[REMOTE])
    assert bench.agent.selected == (BASE, OTHER)
    assert bench.agent.nominated
