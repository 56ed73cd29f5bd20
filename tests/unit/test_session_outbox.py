"""Packets on their way out: runs of equal length, in order, within bounds."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from triortc.engine.address import Address
from triortc.engine.session.outbox import CHUNK_BYTES, Outbox


def put(outbox: Outbox, packet: bytes) -> bool:
    room = outbox.reserve(len(packet) + 100)
    if room is None:
        return False
    room[: len(packet)] = packet
    outbox.commit(len(packet))
    return True


def drain(outbox: Outbox) -> list[list[bytes]]:
    runs: list[list[bytes]] = []

    def send(run: memoryview, segment: int, remote: Address) -> None:
        runs.append([bytes(run[i : i + segment]) for i in range(0, len(run), segment)])

    outbox.drain(send, ("192.0.2.1", 9))
    return runs


def test_equal_packets_make_one_run_and_a_shorter_one_may_end_it() -> None:
    outbox = Outbox(1 << 20)
    for size in (100, 100, 60, 60, 100):
        assert put(outbox, bytes([size]) * size)
    assert [[len(packet) for packet in run] for run in drain(outbox)] == [[100, 100, 60], [60], [100]]
    assert not outbox


def test_a_sender_that_outruns_the_socket_loses_packets_and_they_are_counted() -> None:
    outbox = Outbox(CHUNK_BYTES)
    taken = sum(put(outbox, bytes(1200)) for _ in range(200))
    assert taken == (CHUNK_BYTES - 1300) // 1200 + 1
    assert outbox.overflows == 200 - taken
    assert sum(len(run) for run in drain(outbox)) == taken
    assert put(outbox, bytes(1200))


@given(sizes=st.lists(st.integers(1, 1400), max_size=300))
def test_packets_leave_unchanged_and_in_order(sizes: list[int]) -> None:
    outbox = Outbox(1 << 20)
    packets = [bytes([n & 0xFF]) * size for n, size in enumerate(sizes)]
    for packet in packets:
        assert put(outbox, packet)
    assert [packet for run in drain(outbox) for packet in run] == packets
    for packet in packets[:3]:
        assert put(outbox, packet)
    assert [packet for run in drain(outbox) for packet in run] == packets[:3]
