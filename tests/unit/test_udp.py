"""Batched UDP sockets over loopback: real datagrams, no timing."""

from __future__ import annotations

import errno
import time
from collections.abc import Iterator
from functools import partial

import pytest
import trio

from triortc.engine import udp
from triortc.engine.datagrams import BATCH_DATAGRAMS
from triortc.engine.interfaces import local_addresses
from triortc.engine.udp import SendWay, UdpSocket
from triortc.errors import ConfigurationError

NOW = 1000.0


@pytest.fixture(params=["127.0.0.1", "::1"])
def pair(request: pytest.FixtureRequest) -> Iterator[tuple[UdpSocket, UdpSocket]]:
    first = UdpSocket(request.param, 0, buffer_bytes=1 << 20)
    second = UdpSocket(request.param, 0, buffer_bytes=1 << 20)
    yield first, second
    first.close()
    second.close()


async def receive(socket: UdpSocket, count: int) -> list[bytes]:
    found: list[bytes] = []
    with trio.fail_after(5):
        while len(found) < count:
            await socket.wait_readable()
            found += [bytes(data) for data, *_ in socket.receive_batch(NOW)]
    return found


async def test_a_batch_keeps_datagram_boundaries_and_source_addresses(pair: tuple[UdpSocket, UdpSocket]) -> None:
    first, second = pair
    for size in (1, 1200, 0, 1500):
        assert first.send(bytes([size % 251]) * size, second.address)
    await second.wait_readable()
    batch = second.receive_batch(NOW)
    assert [len(view) for view, *_ in batch] == [1, 1200, 0, 1500]
    assert {source for _, source, _ in batch} == {first.address}
    assert second.receive(NOW) == 0


def test_datagrams_of_one_batch_tell_when_each_arrived(pair: tuple[UdpSocket, UdpSocket]) -> None:
    first, second = pair
    first.send(b"first", second.address)
    began = time.monotonic()
    while time.monotonic() < began + 0.002:
        pass
    first.send(b"second", second.address)
    (_, _, earlier), (_, _, later) = second.receive_batch(NOW)
    assert NOW - 1 <= earlier <= later - 0.002
    assert later <= NOW


def test_a_wall_clock_that_was_set_does_not_move_arrivals(
    pair: tuple[UdpSocket, UdpSocket], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = pair
    for step_ns in (-(10**12), 10**12):
        first.send(b"x", second.address)
        monkeypatch.setattr(time, "time_ns", partial(int, time.time_ns() + step_ns))
        assert [arrived_at for _, _, arrived_at in second.receive_batch(NOW)] == [NOW]
        monkeypatch.undo()


async def test_a_run_leaves_as_equal_datagrams_with_a_shorter_last_one(pair: tuple[UdpSocket, UdpSocket]) -> None:
    first, second = pair
    run = b"".join(bytes([n]) * 100 for n in range(7)) + b"tail"
    first.send_run(memoryview(run), 100, second.address)
    assert await receive(second, 8) == [bytes([n]) * 100 for n in range(7)] + [b"tail"]
    assert first.counters.sent == 8
    assert first.counters.send_calls == 1


async def test_a_run_longer_than_the_kernel_takes_is_split(pair: tuple[UdpSocket, UdpSocket]) -> None:
    first, second = pair
    packets = [n.to_bytes(2, "big") * 500 for n in range(BATCH_DATAGRAMS + 10)]
    first.send_run(memoryview(b"".join(packets)), 1000, second.address)
    assert await receive(second, len(packets)) == packets


async def test_without_segmentation_a_run_still_arrives(pair: tuple[UdpSocket, UdpSocket]) -> None:
    first, second = pair
    for way in SendWay:
        first.way = way
        first.send_run(memoryview(bytearray(b"a" * 10 + b"b" * 10 + b"c")), 10, second.address)
        assert await receive(second, 3) == [b"a" * 10, b"b" * 10, b"c"]


async def test_a_kernel_that_cannot_segment_is_found_out_by_its_first_run_and_said_once(
    pair: tuple[UdpSocket, UdpSocket], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = pair

    class Refuses:
        def sendmsg(self, *arguments: object) -> int:
            raise OSError(errno.EIO, "no checksum offload")

        def __getattr__(self, name: str) -> object:
            return getattr(real, name)

    real = first._socket
    monkeypatch.setattr(first, "_socket", Refuses())
    for _ in range(3):
        first.send_run(memoryview(bytearray(b"a" * 10 + b"b" * 10)), 10, second.address)
    assert len(await receive(second, 6)) == 6
    assert first.way is SendWay.MANY
    assert len(first.fallbacks) == len(caplog.records) == 1


async def test_without_sendmmsg_and_recvmmsg_datagrams_go_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(udp, "_recvmmsg", None)
    monkeypatch.setattr(udp, "_sendmmsg", None)
    monkeypatch.setattr(udp, "UDP_SEGMENT", 9999)
    first, second = (UdpSocket("127.0.0.1", 0, buffer_bytes=1 << 20) for _ in range(2))
    assert first.way is SendWay.SINGLE
    assert len(first.fallbacks) == 3
    first.send_run(memoryview(b"a" * 10 + b"b" * 10), 10, second.address)
    assert await receive(second, 2) == [b"a" * 10, b"b" * 10]
    first.close()
    second.close()


@pytest.mark.parametrize("error", [errno.ENOBUFS, errno.EAGAIN, errno.EMSGSIZE])
async def test_a_full_buffer_loses_datagrams_and_changes_nothing_else(
    pair: tuple[UdpSocket, UdpSocket], monkeypatch: pytest.MonkeyPatch, error: int
) -> None:
    first, second = pair
    run = memoryview(bytearray(b"a" * 10 + b"b" * 10))
    first.send_run(run, 10, second.address)  # segmentation works here

    class Full:
        def sendmsg(self, *arguments: object) -> int:
            raise OSError(error, "full")

        def sendto(self, *arguments: object) -> int:
            raise OSError(error, "full")

        def __getattr__(self, name: str) -> object:
            return getattr(real, name)

    real = first._socket
    monkeypatch.setattr(first, "_socket", Full())
    first.send_run(run, 10, second.address)
    assert first.counters.send_errors == 2
    monkeypatch.setattr(first, "_socket", real)
    first.send_run(run, 10, second.address)
    assert len(await receive(second, 4)) == 4
    assert first.way is SendWay.SEGMENTED
    assert not first.fallbacks


def test_a_datagram_longer_than_a_slot_is_dropped_and_counted(pair: tuple[UdpSocket, UdpSocket]) -> None:
    first, second = pair
    first.send(bytes(3000), second.address)
    first.send(b"next", second.address)
    assert [bytes(data) for data, *_ in second.receive_batch(NOW)] == [b"next"]
    assert second.counters.truncated == 1


def test_a_destination_that_refuses_is_counted_and_never_raises(pair: tuple[UdpSocket, UdpSocket]) -> None:
    first, _ = pair
    wrong_family = ("::1", 9) if ":" not in first.address[0] else ("127.0.0.1", 9)
    assert not first.send(b"x", wrong_family)
    assert first.counters.send_errors == 1


def test_a_name_instead_of_an_address_raises_at_once() -> None:
    with pytest.raises(ConfigurationError, match="no IP address"):
        UdpSocket("localhost", 0, buffer_bytes=1 << 16)


def test_local_addresses_name_loopback_only_when_asked() -> None:
    assert "127.0.0.1" in local_addresses(loopback=True)
    assert "127.0.0.1" not in local_addresses(loopback=False)


async def test_a_run_that_one_destination_refuses_does_not_end_segmentation_for_the_others(
    pair: tuple[UdpSocket, UdpSocket],
) -> None:
    first, second = pair
    run = memoryview(bytes(700))
    first.send_run(run, 100, second.address)
    first.send_run(run, 100, (second.address[0], 0))  # port 0: EINVAL, as for segments longer than the MTU
    calls = first.counters.send_calls
    first.send_run(run, 100, second.address)
    assert first.counters.send_calls == calls + 1
    assert len(await receive(second, 14)) == 14


async def test_datagrams_that_found_the_buffer_full_are_counted(pair: tuple[UdpSocket, UdpSocket]) -> None:
    first, _ = pair
    small = UdpSocket(first.address[0], 0, buffer_bytes=4096)
    try:
        assert small.take_overflow() == 0
        for _ in range(200):
            first.send(bytes(1200), small.address)
        lost = small.take_overflow()
        assert len(await receive(small, 200 - lost)) == 200 - lost
        assert (small.take_overflow(), small.counters.overflowed) == (0, lost)
        assert lost > 100
    finally:
        small.close()
