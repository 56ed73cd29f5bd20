"""Set-up time over a path that loses flights, in virtual time: 20 ms there and back, retransmission from 50 ms."""

from __future__ import annotations

from itertools import product
from random import Random

import pytest

from support.dtls_pair import CLIENT, SERVER, DtlsPair, make_transport
from triortc.engine.dtls import DtlsConfiguration, DtlsFailed
from triortc.engine.dtls.records import epoch, split_records

FLIGHTS = list(product((CLIENT, SERVER), (1, 2)))


def _pair(lost: set[tuple[str, int]], configuration: DtlsConfiguration | None = None) -> DtlsPair:
    pair = DtlsPair(
        make_transport("client", configuration=configuration),
        make_transport("server", configuration=configuration),
        lost=lambda sender, burst, _: (sender, burst) in lost,
    )
    pair.start()
    return pair


def test_two_round_trips_when_nothing_is_lost() -> None:
    pair = _pair(set())
    pair.run()
    assert pair.set_up_ms == 40
    assert pair.transports[CLIENT].retransmissions == pair.transports[SERVER].retransmissions == 0


@pytest.mark.parametrize("flight", FLIGHTS)
def test_one_lost_flight_costs_50_ms_rfc6347_section_4_2_4(flight: tuple[str, int]) -> None:
    pair = _pair({flight})
    pair.run()
    assert pair.set_up_ms == 90
    client, server = pair.keys
    assert client.local_key == server.remote_key


@pytest.mark.parametrize(("sender", "flight"), FLIGHTS)
def test_two_lost_in_a_row_cost_150_ms(sender: str, flight: int) -> None:
    pair = _pair({(sender, flight), (sender, flight + 1)})
    pair.run()
    assert pair.set_up_ms == 190


@pytest.mark.parametrize("seed", range(12))
def test_connects_over_a_path_that_loses_a_third_of_all_datagrams(seed: int) -> None:
    random = Random(seed)
    # A small MTU makes flights of several datagrams, so that parts of them are lost.
    configuration = DtlsConfiguration(mtu_bytes=508, final_flight_resends=20)
    pair = DtlsPair(
        make_transport("client", configuration=configuration),
        make_transport("server", configuration=configuration),
        lost=lambda *_: random.random() < 1 / 3,
    )
    pair.start()
    pair.run()
    client, server = pair.keys
    assert (client.local_key, client.remote_salt) == (server.remote_key, server.local_salt)


def test_sequence_numbers_of_epoch_0_never_repeat_rfc6347_section_4_1_2_6() -> None:
    pair = _pair({(SERVER, 1), (SERVER, 2), (CLIENT, 4)})
    pair.run()
    for name in (CLIENT, SERVER):
        records = [record for datagram in pair.sent[name] for record in split_records(datagram)[0]]
        numbers = [record[5:11] for record in records if epoch(record) == 0]
        assert numbers == sorted(set(numbers))


def test_the_server_repeats_its_last_flight_a_bounded_number_of_times() -> None:
    pair = _pair(set(), DtlsConfiguration(final_flight_resends=3))
    pair.run()
    pair.run_idle()
    assert pair.transports[SERVER].retransmissions == 3
    assert pair.transports[CLIENT].retransmissions == 0
    assert all(transport.next_deadline() is None for transport in pair.transports.values())


def test_media_stops_the_repetition_of_the_last_flight() -> None:
    pair = _pair(set())
    pair.run()
    pair.transports[SERVER].media_arrived()
    pair.run_idle()
    assert pair.transports[SERVER].retransmissions == 0
    assert pair.transports[SERVER].next_deadline() is None


def test_pauses_double_up_to_the_longest() -> None:
    configuration = DtlsConfiguration(max_retransmission_ms=400, handshake_timeout_ms=2000)
    transport = make_transport("client", configuration=configuration)
    transport.start(0.0)
    sent: list[float] = []
    now = 0.0
    while (deadline := transport.next_deadline()) is not None:
        while transport.poll_transmit() is not None:
            sent.append(now)
        now = deadline
        transport.handle_timeout(now)
    # OpenSSL's own timer does not move here: it follows the real clock.
    assert [round(at * 1000) for at in sent] == [0, 50, 150, 350, 750, 1150, 1550, 1950]
    assert transport.poll_event() == DtlsFailed("no handshake within 2000 ms")


def test_a_silent_peer_fails_the_handshake_at_its_time_out() -> None:
    pair = DtlsPair(make_transport("client"), make_transport("server"), lost=lambda *_: True)
    pair.start()
    pair.run_idle(until_s=60)
    for name in (CLIENT, SERVER):
        assert pair.events[name] == [DtlsFailed("no handshake within 20000 ms")]
        assert pair.transports[name].next_deadline() is None


def test_copies_do_not_pile_up_where_nobody_polls() -> None:
    transport = make_transport("client")
    transport.start(0.0)
    while (deadline := transport.next_deadline()) is not None:
        transport.handle_timeout(deadline)
    datagrams = 0
    while transport.poll_transmit() is not None:
        datagrams += 1
    assert datagrams == 1
