"""Two connected ICE agents in virtual time: consent, outages, and paths that move."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from support.ice_peers import CONNECTED, IcePeer, connect, is_nominated, make_peer, pair_up
from support.virtual_network import Address, Conditions, Nat, VirtualNetwork
from triortc.engine.ice import IceState

SERVER: Address = ("203.0.113.1", 4000)
BROWSER: Address = ("192.168.1.2", 6000)


def behind_nat(*, server_controls: bool) -> tuple[VirtualNetwork, Nat, IcePeer, IcePeer]:
    """A connected server and browser, the latter behind a NAT that may rebind."""
    network = VirtualNetwork(conditions=Conditions(delay_s=0.01))
    nat = Nat("198.51.100.77")
    server = make_peer(network, SERVER, controlling=server_controls, seed=1)
    browser = make_peer(network, BROWSER, controlling=not server_controls, seed=2, nat=nat)
    pair_up(network, server, browser)
    assert network.run_until(lambda: is_nominated(server, browser), timeout_s=5)
    return network, nat, server, browser


def media(network: VirtualNetwork, nat: Nat, server: IcePeer, *, seconds: float) -> Callable[[], None]:
    """Send a packet every 20 ms from the browser to the server's agent, as its session would tell it."""
    end = network.now + seconds

    def packet() -> None:
        source = nat.outward(BROWSER, SERVER)

        def arrive() -> None:
            server.agent.touch(SERVER, source, network.now)

        network.call_later(0.01, arrive)
        if network.now < end:
            network.call_later(0.02, packet)

    return packet


def test_quiet_call_stays_completed_for_ten_minutes_with_five_percent_loss() -> None:
    network, left, right = connect(seed=3, conditions=Conditions(delay_s=0.05, jitter_s=0.02))
    network.conditions = Conditions(delay_s=0.05, jitter_s=0.02, loss=0.05)
    network.run_for(600)
    for peer in (left, right):
        assert peer.states() == [IceState.CHECKING, IceState.CONNECTED, IceState.COMPLETED]
        assert 90 <= peer.agent.statistics.consent_checks_sent <= 160


def test_rfc7675_5_1_dead_path_is_disconnected_first_and_failed_30_s_after_the_last_answer() -> None:
    network, left, right = connect()
    network.run_for(10)
    start = network.now
    network.block("192.0.2.1", "198.51.100.1")
    network.run_for(6)
    assert not {IceState.FAILED} & {left.agent.state, right.agent.state}
    assert network.run_until(lambda: left.agent.state is IceState.DISCONNECTED, timeout_s=5)
    assert network.run_until(lambda: left.agent.state is right.agent.state is IceState.FAILED, timeout_s=31)
    assert 24 <= network.now - start <= 30
    sent = network.sent
    network.run_for(60)
    assert network.sent == sent
    assert left.states()[-2:] == [IceState.DISCONNECTED, IceState.FAILED]


def test_one_way_death_expires_the_consent_of_the_side_that_is_not_answered() -> None:
    network, left, right = connect()
    network.block("192.0.2.1", "198.51.100.1", both_ways=False)
    assert network.run_until(lambda: left.agent.state is IceState.FAILED, timeout_s=31)
    assert left.states()[-2:] == [IceState.DISCONNECTED, IceState.FAILED]
    assert network.run_until(lambda: right.agent.state is IceState.FAILED, timeout_s=31)


def test_short_outage_is_survived() -> None:
    network, left, right = connect()
    network.block("192.0.2.1", "198.51.100.1")
    network.run_for(20)
    assert left.agent.state is IceState.DISCONNECTED
    network.unblock("192.0.2.1", "198.51.100.1")
    assert network.run_until(
        lambda: left.agent.state is right.agent.state is IceState.COMPLETED,
        timeout_s=10,
    )
    assert left.agent.statistics.pair_changes == 1


@pytest.mark.parametrize("server_controls", [False, True])
def test_nat_that_rebinds_under_media_is_followed_within_a_second(server_controls: bool) -> None:
    network, nat, server, browser = behind_nat(server_controls=server_controls)
    network.call_later(0, media(network, nat, server, seconds=20))
    network.run_for(3)
    before = server.agent.selected
    nat.rebind()
    start = network.now
    assert network.run_until(lambda: server.agent.selected != before, timeout_s=5)
    assert network.now - start <= 1.5
    assert server.agent.selected == (SERVER, nat.outward(BROWSER, SERVER))
    network.run_for(40)
    assert server.agent.state in CONNECTED
    assert browser.agent.state in CONNECTED
    assert is_nominated(browser)
    assert is_nominated(server)


@pytest.mark.parametrize("server_controls", [False, True])
def test_nat_that_rebinds_in_a_silent_call_is_followed_after_the_next_consent_check(server_controls: bool) -> None:
    network, nat, server, browser = behind_nat(server_controls=server_controls)
    network.run_for(12)
    before = server.agent.selected
    nat.rebind()
    start = network.now
    assert network.run_until(lambda: server.agent.selected != before, timeout_s=20)
    assert network.now - start <= 7.5
    network.run_for(60)
    assert server.agent.state in CONNECTED
    assert browser.agent.state in CONNECTED
    assert server.agent.selected == (SERVER, nat.outward(BROWSER, SERVER))


def test_address_that_changes_again_and_again_is_followed_every_time() -> None:
    network, nat, server, browser = behind_nat(server_controls=False)
    network.call_later(0, media(network, nat, server, seconds=150))
    for _ in range(30):
        nat.rebind()
        network.run_for(4)
        assert server.agent.selected == (SERVER, nat.outward(BROWSER, SERVER))
    assert server.agent.state in CONNECTED
    assert browser.agent.state in CONNECTED
    assert len(server.agent._directory.remote) <= 25


def test_attacker_who_replays_a_check_from_another_address_does_not_move_the_path() -> None:
    network, _, right = connect()
    captured: list[tuple[bytes, Address, Address]] = []
    network.tap = lambda now, data, source, remote: captured.append((data, source, remote))
    network.run_for(15)
    network.tap = None
    check = next(data for data, source, _ in captured if source[0] == "192.0.2.1" and data[:2] == b"\0\1")
    before = right.agent.selected
    for second in range(20):
        network.call_later(second, lambda: network.send(check, ("203.0.113.66", 666), ("198.51.100.1", 5000)))
    network.run_for(25)
    assert right.agent.selected == before
    assert right.agent.state is IceState.COMPLETED


def test_second_agent_beside_the_first_takes_only_its_own_datagrams() -> None:
    network, left, right = connect()
    captured: list[bytes] = []
    network.tap = lambda now, data, source, remote: captured.append(data)
    network.run_for(7)
    restarted = make_peer(VirtualNetwork(), ("198.51.100.1", 5000), controlling=False, seed=77)
    for data in captured:
        assert not restarted.agent.receive(data, ("198.51.100.1", 5000), ("192.0.2.1", 4000), network.now)
    assert restarted.agent.poll_transmit() is None
    assert left.agent.state is right.agent.state is IceState.COMPLETED
