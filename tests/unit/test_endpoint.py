"""How the endpoint tells sessions apart: whose datagram is it, and who may take an address over."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from functools import partial
from math import inf
from typing import Any

import pytest

from support.session_host import SessionHost, negotiate
from triortc.engine.address import Address
from triortc.engine.backlog import Backlog, HandUps
from triortc.engine.datagrams import BATCH_DATAGRAMS, DatagramBatch
from triortc.engine.endpoint import Endpoint
from triortc.engine.endpoint_configuration import EndpointConfiguration
from triortc.engine.ice.transactions import CheckKind
from triortc.engine.sdp.negotiated import Negotiated
from triortc.engine.session.session import Session

LOCAL: Address = ("10.0.0.1", 4000)


class Wire:
    """A socket of the endpoint's that keeps what it is given."""

    def __init__(self) -> None:
        self.address = LOCAL
        self.batch = DatagramBatch()
        self.sent: list[tuple[bytes, Address]] = []

    def send(self, data: bytes, remote: Address) -> bool:
        self.sent.append((bytes(data), remote))
        return True

    def send_run(self, run: memoryview, segment_bytes: int, remote: Address) -> None:
        for start in range(0, len(run), segment_bytes):
            self.sent.append((bytes(run[start : start + segment_bytes]), remote))


class Bench:
    """An endpoint with devices that are connected to sessions on it, datagrams carried by hand."""

    def __init__(self, devices: int = 1, **numbers: Any) -> None:
        self.wire = Wire()
        self.now = 1000.0
        self.endpoint = Endpoint(
            [self.wire],  # type: ignore[list-item]  # no sockets
            EndpointConfiguration(**numbers),
            clock=lambda: self.now,
        )
        self.devices: list[SessionHost] = []
        self.legs: list[SessionHost] = []
        #: What each device and its leg have agreed on.
        self.agreed: list[tuple[Negotiated, Negotiated]] = []
        for number in range(devices):
            device = SessionHost(20 + 2 * number, (f"192.0.2.{number + 1}", 5000), controlling=True)
            leg = SessionHost(21 + 2 * number, LOCAL, controlling=False)
            self.devices.append(device)
            self.legs.append(leg)
            self.endpoint.add(leg.session, leg.events.append)
            self.agreed.append(negotiate(device.session, leg.session, self.now))
            self.endpoint.flush(self.now)
            self.exchange(device)
            assert device.session.media.secured
            assert leg.session.media.secured

    def deliver(self, data: bytes, source: Address) -> None:
        backlog = Backlog()
        backlog.batch.load([(data, source)], self.now)
        backlog.begin(1)
        self.endpoint._receive(self.endpoint._ports[0], backlog, lambda key: source, self.now, inf)

    def exchange(self, device: SessionHost, rounds: int = 200, seen_as: Address | None = None) -> None:
        """Carry datagrams both ways; `seen_as` is what a NAT makes of the device's address."""
        seen_as = seen_as or device.address
        for _ in range(rounds):
            self.now += 0.005
            device.handle_timeout(self.now)
            self.endpoint._run_due(inf)
            while (transmit := device.poll_transmit()) is not None:
                self.deliver(transmit[0], seen_as)
            sent, self.wire.sent[:] = list(self.wire.sent), []
            for data, remote in sent:
                if remote == seen_as:
                    device.receive(data, device.address, LOCAL, self.now)

    def video(self, device: SessionHost, number: int = 0) -> bytes:
        stream = device.session.media.outbound("video")
        assert stream is not None
        stream.send(True, 96, stream.first_sequence_number + number, 0, b"", b"\x10\x00" + bytes(50), self.now)
        packets = []
        while (transmit := device.poll_transmit()) is not None:
            packets.append(transmit[0])
        return packets[-1]

    def owner(self, address: Address) -> object:
        return self.endpoint._ports[0].routes.get(address)


def test_media_of_a_known_source_from_an_address_of_nobody_finds_its_session() -> None:
    bench = Bench()
    device, leg = bench.devices[0], bench.legs[0]
    bench.deliver(bench.video(device, 0), device.address)
    moved = ("192.0.2.1", 6000)
    [stream] = leg.session.media.inbound.values()
    bench.deliver(bench.video(device, 1), moved)
    assert stream.statistics.packets_received == 2
    assert bench.owner(moved) is leg.session
    assert any(remote == moved for _, remote in bench.wire.sent)


def test_forged_media_of_a_known_source_gets_no_route() -> None:
    bench = Bench()
    device = bench.devices[0]
    packet = bench.video(device, 0)
    bench.deliver(packet, device.address)
    bench.deliver(packet[:-1] + bytes((packet[-1] ^ 1,)), ("198.51.100.9", 9))
    assert bench.owner(("198.51.100.9", 9)) is None
    assert bench.legs[0].session.dropped()["srtp_replay"] + bench.legs[0].session.dropped()["srtp_authentication"] == 1


def test_media_from_another_sessions_address_does_not_take_it_over() -> None:
    bench = Bench(devices=2)
    one, two = bench.devices
    bench.deliver(bench.video(one, 0), one.address)
    bench.deliver(bench.video(one, 1), two.address)
    assert bench.owner(two.address) is bench.legs[1].session


def test_a_check_that_is_not_authentic_takes_no_address_over() -> None:
    bench = Bench(devices=2)
    one, two = bench.devices
    bench.now += 6.0
    one.handle_timeout(bench.now)
    checks = [t[0] for t in iter(one.poll_transmit, None) if t[0][0] < 4]
    assert checks
    bench.deliver(checks[0][:-5] + bytes(5), two.address)
    assert bench.owner(two.address) is bench.legs[1].session
    bench.deliver(checks[0], two.address)
    assert bench.owner(two.address) is bench.legs[0].session


@pytest.mark.parametrize(("silence_s", "is_taken"), [(0.5, False), (3.0, True)])
def test_an_authentic_check_from_another_sessions_address_takes_it_over_only_when_that_one_is_silent(
    silence_s: float, is_taken: bool
) -> None:
    """An address is easily forged by somebody who has a session himself: what is heard there stays where it is."""
    bench = Bench(devices=2)
    one, two = bench.devices
    bench.deliver(bench.video(one, 0), one.address)
    bench.now += silence_s
    two.session.ice._checks.send(two.session.ice._paths.pair, CheckKind.CONSENT, bench.now)  # type: ignore[arg-type]  # a pair is selected
    [check] = [data for data, _, _ in iter(two.poll_transmit, None) if data[0] < 4]
    bench.deliver(check, one.address)
    bench.deliver(bench.video(one, 1), one.address)
    [stream] = bench.legs[0].session.media.inbound.values()
    assert stream.statistics.packets_received == (1 if is_taken else 2)
    assert bench.owner(one.address) is bench.legs[1 if is_taken else 0].session


@pytest.mark.parametrize("limit", [4, 16])
def test_the_addresses_of_one_session_are_bounded_and_the_selected_one_stays(limit: int) -> None:
    bench = Bench(max_routes_per_session=limit)
    device, leg = bench.devices[0], bench.legs[0]
    for number in range(50):
        bench.deliver(bench.video(device, number), ("192.0.2.1", 7000 + number))
    routes = bench.endpoint._ports[0].routes
    assert len(routes) <= limit
    assert routes[device.address] is leg.session


def test_a_removed_session_leaves_no_route_even_when_it_is_removed_by_its_own_packet() -> None:
    bench = Bench()
    device, leg = bench.devices[0], bench.legs[0]
    leg.session.media.on_stream = lambda stream: bench.endpoint.remove(leg.session)
    bench.deliver(bench.video(device, 0), ("192.0.2.1", 6000))
    bench.deliver(bench.video(device, 1), device.address)
    endpoint, directory = bench.endpoint, bench.endpoint.directory
    assert endpoint.sessions == 0
    assert endpoint._ports[0].routes == {}
    assert [len(table) for table in (directory._by_ssrc, directory._routes_of, endpoint._scheduled)] == [0, 0, 0]


@pytest.mark.parametrize("overflows", [0, 1, 3])
def test_what_our_own_full_buffer_loses_again_and_again_is_not_asked_for(overflows: int) -> None:
    bench = Bench()
    device, session = bench.devices[0], bench.legs[0].session
    bench.deliver(bench.video(device), device.address)
    for _ in range(overflows):
        bench.now += 0.1001
        bench.endpoint._note_overflow(bench.now)
        bench.endpoint._note_overflow(bench.now)  # the same one, seen in the next batch
    for number in range(50, 450, 50):  # 98 % is lost
        bench.deliver(bench.video(device, number), device.address)
    [stream] = session.media.inbound.values()
    assert stream.nack is not None
    for _ in range(20):
        bench.now += 0.005
        bench.endpoint._run_due(inf)
    asked = any(waiting.requests for waiting in stream.nack._rounds)
    assert (asked, stream.nack.given_up) == ((False, 392) if overflows == 3 else (True, 0))


def test_rfc_8445_9_checks_of_an_ice_restart_find_their_session_from_an_address_that_nobody_knows() -> None:
    bench = Bench()
    [device], [leg] = bench.devices, bench.legs
    known = len(bench.endpoint.directory._by_ufrag)
    agreed = bench.agreed[0]
    for _ in range(5):
        agreed = negotiate(device.session, leg.session, bench.now, previous=agreed)
        assert len(bench.endpoint.directory._by_ufrag) <= known + 2, "generations that are over are forgotten"
    abroad: Address = ("198.51.100.7", 7000)
    bench.endpoint.flush(bench.now)
    bench.exchange(device, seen_as=abroad)
    assert leg.session.path == (LOCAL, abroad)
    assert leg.session.ice.nominated
    bench.endpoint.remove(leg.session)
    assert (bench.endpoint.sessions, bench.endpoint.directory._by_ufrag) == (0, {})


# -- turns: what has to be done is done a part at a time


class FullWire(Wire):
    """A socket that has so many datagrams more, each from a source of its own."""

    def __init__(self, waiting: int) -> None:
        super().__init__()
        self.waiting = waiting
        self.received = 0

    def receive(self, now: float) -> int:
        count = min(self.waiting, BATCH_DATAGRAMS)
        numbers = range(self.received, self.received + count)
        self.batch.load([(bytes((200, number & 0xFF)), number) for number in numbers], now)
        self.waiting -= count
        self.received += count
        return count

    def take_overflow(self) -> int:
        return 0

    def address_of(self, source: Hashable) -> Address:
        assert isinstance(source, int)
        return "198.51.100.9", source


class Slow:
    """An endpoint on which looking at a datagram, or giving a session its time, lasts `each_s`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, waiting: int = 0, each_s: float = 0.0003) -> None:
        self.now = 1000.0
        self.each_s = each_s
        self.wire = FullWire(waiting)
        #: Ports of the sources that were looked at, in order.
        self.seen: list[int] = []
        self.endpoint = Endpoint(
            [self.wire],  # type: ignore[list-item]  # no sockets
            EndpointConfiguration(),
            clock=lambda: self.now,
        )
        monkeypatch.setattr(self.endpoint, "_receive_each", self._receive_each)
        monkeypatch.setattr(self.endpoint, "_receive_rtcp", self._receive_rtcp)

    def _receive_each(
        self, port: object, batch: DatagramBatch, first: int, end: int, remote: Address, now: float
    ) -> None:
        assert bytes(batch.slots[first][:2]) == bytes((200, remote[1] & 0xFF)), "of this source"
        self._spend(remote, end - first)

    def _receive_rtcp(self, port: object, datagram: bytes, remote: Address, now: float) -> None:
        self._spend(remote, 1)

    def _spend(self, remote: Address, datagrams: int) -> None:
        self.seen.append(remote[1])
        self.now += datagrams * self.each_s

    def turn(self, work: Callable[[float], bool]) -> tuple[bool, float]:
        """Let it work for 0.7 ms: whether it has more, and how long it took."""
        began = self.now
        return work(began + 0.0007), self.now - began


def test_a_turn_ends_within_a_batch_and_the_next_one_goes_on_from_there(monkeypatch: pytest.MonkeyPatch) -> None:
    slow = Slow(monkeypatch, waiting=150)
    [port] = slow.endpoint._ports
    turns = 0
    while len(slow.seen) < 150:
        _, took_s = slow.turn(partial(slow.endpoint._drain, port))
        assert took_s < 0.001
        turns += 1
    assert slow.seen == list(range(150)), "each once, in order"
    assert turns == 50
    assert slow.turn(partial(slow.endpoint._drain, port)) == (False, 0)


def test_what_is_left_of_a_batch_is_told_because_its_socket_is_not_readable_any_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    slow = Slow(monkeypatch, waiting=4)
    [port] = slow.endpoint._ports
    assert [slow.turn(partial(slow.endpoint._drain, port))[0] for _ in range(3)] == [True, False, False]
    assert (slow.seen, slow.wire.received) == ([0, 1, 2, 3], 4)


def test_a_long_run_of_one_source_is_no_longer_than_others_can_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    slow = Slow(monkeypatch, waiting=60, each_s=0.00001)
    monkeypatch.setattr(slow.wire, "address_of", lambda source: ("198.51.100.9", 5))
    monkeypatch.setattr(slow.endpoint, "_receive_each", lambda port, batch, first, end, *_: lengths.append(end - first))
    lengths: list[int] = []
    slow.wire.receive(slow.now)
    slow.wire.batch.sources = [5] * 60
    slow.endpoint._ports[0].backlog.begin(60)
    slow.turn(partial(slow.endpoint._drain, slow.endpoint._ports[0]))
    assert lengths == [16, 16, 16, 12]


class Thread:
    """The plane's side of hand-ups: datagrams of feedback and others, and whether flows may be opened."""

    def __init__(self, datagrams: list[bytes]) -> None:
        self.waiting = [(number.to_bytes(2, "big"), datagram, 0.0) for number, datagram in enumerate(datagrams)]
        self.opened: list[int] = []
        #: Flows that are to be opened.
        self.wanted = 0
        self.seen: list[int] = []

    def take(self) -> list[tuple[bytes, bytes, float]]:
        taken, self.waiting = self.waiting[:BATCH_DATAGRAMS], self.waiting[BATCH_DATAGRAMS:]
        return taken

    def address_of(self, source: bytes) -> tuple[Address, Address]:
        return LOCAL, ("198.51.100.9", int.from_bytes(source, "big"))

    def open_flows(self, now: float, at_most: int) -> bool:
        self.opened.append(len(self.seen))
        self.wanted = max(0, self.wanted - at_most)
        return self.wanted > 0


def test_hand_ups_are_looked_at_a_part_at_a_time_in_order_and_flows_opened_only_behind_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    slow = Slow(monkeypatch)
    feedback = bytes((0x8F, 205, 0, 0))
    thread = Thread([bytes((200, n)) if n % 3 == 2 else feedback for n in range(100)])
    thread.seen = slow.seen
    look = partial(slow.endpoint._take_hand_ups, thread, HandUps(thread))  # type: ignore[arg-type]  # no media thread
    turns = 0
    while len(slow.seen) < 100:
        has_more, took_s = slow.turn(look)
        assert took_s < 0.001
        assert has_more == (len(slow.seen) not in (64, 100))
        turns += 1
    assert slow.seen == list(range(100)), "each once, in order"
    assert set(thread.opened) == {64, 100}, "nothing that was handed up is overtaken"
    assert turns == 34


def test_flows_are_opened_a_part_at_a_time_though_nothing_more_is_handed_up(monkeypatch: pytest.MonkeyPatch) -> None:
    slow, thread = Slow(monkeypatch), Thread([bytes((200, 0))])
    thread.wanted = 20
    look = partial(slow.endpoint._take_hand_ups, thread, HandUps(thread))  # type: ignore[arg-type]  # no media thread
    assert [slow.turn(look)[0] for _ in range(3)] == [True, True, False]


def test_what_ends_a_session_is_sent_and_told_within_the_time_of_the_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Told at its end, the ends of legs that came together were a turn of their own, in which nobody else had one."""
    slow = Slow(monkeypatch, waiting=8, each_s=0.0001)
    [port] = slow.endpoint._ports
    told: list[int] = []

    def receive(port: object, batch: DatagramBatch, first: int, end: int, remote: Address, now: float) -> None:
        slow.endpoint._dirty.append(remote)  # type: ignore[arg-type]  # stands for a session

    def flush(now: float) -> None:
        told.append(len(slow.endpoint._dirty))
        slow.now += 0.0002 * len(slow.endpoint._dirty)
        slow.endpoint._dirty.clear()

    monkeypatch.setattr(slow.endpoint, "_receive_each", receive)
    monkeypatch.setattr(slow.endpoint, "flush", flush)
    has_more, took_s = slow.turn(partial(slow.endpoint._drain, port))
    assert has_more
    assert took_s < 0.001
    assert max(told) == 1


def test_sessions_that_are_due_at_one_time_get_it_a_part_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(devices=4)
    took: list[Session] = []

    def spend(session: Session, now: float) -> None:
        took.append(session)
        bench.now += 0.0003

    monkeypatch.setattr(Session, "handle_timeout", spend)
    monkeypatch.setattr(Session, "next_deadline", lambda session: None)
    bench.now += 60
    endpoint = bench.endpoint
    assert endpoint._run_due(bench.now + 0.0007)
    assert len(took) == 3
    assert endpoint._next_due() <= bench.now, "the rest does not wait for another time"
    assert not endpoint._run_due(bench.now + 0.0007)
    assert set(took) == {leg.session for leg in bench.legs}
    assert len(took) == 4


def test_hand_ups_without_end_leave_time_to_sessions_that_are_due(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(devices=4)
    due: list[Session] = []
    monkeypatch.setattr(Session, "handle_timeout", lambda session, now: due.append(session))
    monkeypatch.setattr(Session, "next_deadline", lambda session: None)
    endpoint = bench.endpoint

    def take(until: float) -> bool:
        bench.now = until + 0.0001
        return True

    endpoint._take_waiting = take
    bench.now += 60
    assert endpoint._run_due(bench.now + 0.0007)
    assert len(due) == 4
