"""Two ICE agents in virtual time: time to connected, roles, trickling, loss, address families, NATs."""

from __future__ import annotations

from functools import partial

import pytest

from support.ice_peers import IcePeer, connect, is_connected, is_nominated, make_peer, pair_up
from support.virtual_network import Address, Conditions, Nat, VirtualNetwork
from triortc.engine.ice import IceState

LEFT: Address = ("192.0.2.1", 4000)
RIGHT: Address = ("198.51.100.1", 5000)
RTT_S = 0.02


def two(
    *,
    seed: int = 1,
    conditions: Conditions | None = None,
    roles: tuple[bool, bool] = (True, False),
    left: Address = LEFT,
    right: Address = RIGHT,
) -> tuple[VirtualNetwork, IcePeer, IcePeer]:
    network = VirtualNetwork(seed=seed, conditions=conditions or Conditions(delay_s=RTT_S / 2))
    return (
        network,
        make_peer(network, left, controlling=roles[0], seed=seed),
        make_peer(network, right, controlling=roles[1], seed=seed + 1000003),
    )


def agrees(left: IcePeer, right: IcePeer) -> bool:
    return left.agent.selected is not None and left.agent.selected == tuple(reversed(right.agent.selected or ()))


def test_connected_after_one_round_trip_and_nominated_after_two_without_loss() -> None:
    network, left, right = two()
    start = network.now
    pair_up(network, left, right)
    assert network.run_until(lambda: is_connected(left, right), timeout_s=1)
    assert network.now - start <= 1.5 * RTT_S + 1e-6
    assert network.run_until(lambda: is_nominated(left, right), timeout_s=1)
    assert network.now - start <= 3 * RTT_S + 1e-6
    assert left.states() == right.states() == [IceState.CHECKING, IceState.CONNECTED, IceState.COMPLETED]


@pytest.mark.parametrize("controlling", [True, False])
def test_peer_without_candidates_is_found_by_its_checks_within_three_round_trips(controlling: bool) -> None:
    network, server, browser = two(roles=(controlling, not controlling))
    start = network.now
    pair_up(network, server, browser, candidates=False)
    browser.agent.add_remote_candidate(server.candidates[0], network.now)
    assert network.run_until(lambda: is_nominated(server, browser), timeout_s=1)
    assert network.now - start <= 3 * RTT_S + 1e-6
    assert agrees(server, browser)


def test_late_candidates_connect_within_three_round_trips_of_their_arrival() -> None:
    network, left, right = two()
    pair_up(network, left, right, candidates=False)
    network.run_for(25)
    assert left.agent.state is right.agent.state is IceState.CHECKING
    start = network.now
    left.agent.add_remote_candidate(right.candidates[0], network.now)
    assert network.run_until(lambda: is_nominated(left, right), timeout_s=1)
    assert network.now - start <= 3 * RTT_S + 1e-6


def test_checks_that_come_before_the_credentials_are_repaid_at_once() -> None:
    network, left, right = two()
    left.agent.set_remote_credentials(right.agent.local_ufrag, right.agent.local_password)
    left.agent.add_remote_candidate(right.candidates[0], network.now)
    left.agent.start(network.now)
    network.run_for(0.3)
    assert left.agent.state is IceState.COMPLETED
    assert right.agent.state is IceState.NEW
    right.agent.start(network.now)
    right.agent.set_remote_credentials(left.agent.local_ufrag, left.agent.local_password)
    start = network.now
    assert network.run_until(lambda: is_nominated(left, right), timeout_s=1)
    assert network.now - start <= 2 * RTT_S + 1e-6


@pytest.mark.parametrize("roles", [(True, True), (False, False)])
@pytest.mark.parametrize("seed", range(10))
def test_rfc8445_7_3_1_1_equal_roles_end_in_one_controlling_agent(roles: tuple[bool, bool], seed: int) -> None:
    network, left, right = two(seed=seed, roles=roles)
    pair_up(network, left, right)
    assert network.run_until(lambda: is_nominated(left, right), timeout_s=5)
    assert left.agent.controlling is not right.agent.controlling
    assert agrees(left, right)
    assert network.run_until(lambda: False, timeout_s=60) is False
    assert is_nominated(left, right)


def test_ipv6_connects() -> None:
    network, left, right = two(left=("2001:db8::1", 4000), right=("2001:db8:1::1", 5000))
    pair_up(network, left, right)
    assert network.run_until(lambda: is_nominated(left, right), timeout_s=1)
    assert left.agent.selected == (("2001:db8::1", 4000), ("2001:db8:1::1", 5000))


def test_several_bases_of_both_families_agree_on_the_best_pair_that_works() -> None:
    network = VirtualNetwork(conditions=Conditions(delay_s=RTT_S / 2))
    lefts: list[Address] = [("192.0.2.1", 4000), ("192.0.2.2", 4000), ("2001:db8::1", 4000)]
    rights: list[Address] = [("198.51.100.1", 5000), ("2001:db8:1::1", 5000)]
    left = make_peer(network, *lefts, controlling=True, seed=1)
    right = make_peer(network, *rights, controlling=False, seed=2)
    network.block("192.0.2.1", "198.51.100.1")
    pair_up(network, left, right)
    assert network.run_until(lambda: is_nominated(left, right), timeout_s=5)
    assert left.agent.selected == (lefts[1], rights[0])
    assert agrees(left, right)


def test_server_behind_one_to_one_nat_is_reached_at_its_advertised_address() -> None:
    network = VirtualNetwork(conditions=Conditions(delay_s=RTT_S / 2))
    private, public = ("10.0.0.5", 4000), ("203.0.113.5", 4000)
    nat = Nat("203.0.113.5", one_to_one=True)
    server = make_peer(network, private, controlling=False, seed=1, nat=nat, advertised=public)
    browser = make_peer(network, ("192.168.1.2", 6000), controlling=True, seed=2, nat=Nat("198.51.100.77"))
    start = network.now
    pair_up(network, server, browser)
    assert network.run_until(lambda: is_nominated(server, browser), timeout_s=5)
    assert network.now - start <= 4 * RTT_S
    assert browser.agent.selected == (("192.168.1.2", 6000), public)
    assert server.agent.selected is not None
    assert server.agent.selected[0] == private
    assert server.agent.selected[1][0] == "198.51.100.77"


def test_peer_behind_a_symmetric_nat_is_found_as_peer_reflexive() -> None:
    network = VirtualNetwork(conditions=Conditions(delay_s=RTT_S / 2))
    nat = Nat("198.51.100.77", symmetric=True)
    server = make_peer(network, LEFT, controlling=True, seed=1)
    browser = make_peer(network, ("192.168.1.2", 6000), controlling=False, seed=2, nat=nat)
    pair_up(network, server, browser)
    assert network.run_until(lambda: is_nominated(server, browser), timeout_s=5)
    assert server.agent.selected is not None
    assert server.agent.selected[1][0] == "198.51.100.77"


@pytest.mark.parametrize("seed", range(200))
def test_any_seed_connects_through_loss_jitter_reordering_and_duplicates(seed: int) -> None:
    conditions = Conditions(delay_s=0.005 + seed % 7 * 0.02, jitter_s=0.03, loss=0.3, duplication=0.05)
    network, left, right = two(seed=seed, conditions=conditions, roles=(seed % 3 != 1, seed % 3 == 1 or seed % 5 == 0))
    pair_up(network, left, right)
    assert network.run_until(lambda: is_connected(left, right), timeout_s=15)
    assert network.run_until(lambda: is_nominated(left, right), timeout_s=15)
    assert agrees(left, right)


def test_median_time_to_connected_with_30_percent_loss_is_about_one_retransmission() -> None:
    times = []
    for seed in range(40):
        network, left, right = two(seed=seed, conditions=Conditions(delay_s=0.01, loss=0.3))
        start = network.now
        pair_up(network, left, right)
        assert network.run_until(partial(is_connected, left, right), timeout_s=30)
        times.append(network.now - start)
    assert sorted(times)[20] <= 0.6


def test_same_seed_gives_the_same_history() -> None:
    histories = []
    for _ in range(2):
        network, left, right = connect(seed=7, conditions=Conditions(delay_s=0.02, jitter_s=0.02, loss=0.2))
        network.run_for(20)
        histories.append((network.sent, network.lost, left.agent.statistics, right.agent.statistics))
    assert histories[0] == histories[1]


@pytest.mark.parametrize("seed", range(20))
def test_rfc5245_aggressive_controlling_peer_is_met_on_its_best_pair(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = VirtualNetwork(seed=seed, conditions=Conditions(delay_s=0.01, jitter_s=0.01, loss=0.1))
    lefts: list[Address] = [("192.0.2.1", 4000), ("192.0.2.2", 4000)]
    rights: list[Address] = [("198.51.100.1", 5000), ("198.51.100.2", 5000)]
    aggressive = make_peer(network, *lefts, controlling=True, seed=seed)
    controlled = make_peer(network, *rights, controlling=False, seed=seed + 1000003)
    build = aggressive.agent._binding.check
    monkeypatch.setattr(
        aggressive.agent._binding,
        "check",
        lambda transaction_id, *, priority, use_candidate: build(transaction_id, priority=priority, use_candidate=True),
    )
    # The best pair comes up last: the nomination has to move to it.
    network.block("192.0.2.1", "198.51.100.1")
    network.call_later(0.3, lambda: network.unblock("192.0.2.1", "198.51.100.1"))
    pair_up(network, aggressive, controlled)
    assert network.run_until(lambda: is_nominated(aggressive, controlled), timeout_s=10)
    network.run_for(20)
    assert is_nominated(aggressive, controlled)
    assert controlled.agent.state in (IceState.COMPLETED, IceState.CONNECTED)


def test_regular_nomination_stays_on_one_pair() -> None:
    network = VirtualNetwork(conditions=Conditions(delay_s=0.01))
    left = make_peer(network, ("192.0.2.1", 4000), ("192.0.2.2", 4000), controlling=True, seed=1)
    right = make_peer(network, ("198.51.100.1", 5000), controlling=False, seed=2)
    pair_up(network, left, right)
    network.run_for(60)
    assert is_nominated(left, right)
    assert agrees(left, right)
    assert left.agent.statistics.pair_changes == right.agent.statistics.pair_changes == 1
