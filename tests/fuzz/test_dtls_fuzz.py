"""Hostile bytes into DTLS: nothing raises, and what is no valid record does no harm."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from support.dtls_pair import CLIENT, SERVER, DtlsPair, make_transport
from triortc.engine.dtls import DtlsState
from triortc.engine.dtls.records import RECORD_HEADER_BYTES, pack_records, split_records


def _record(kind: int, version: int, epoch: int, number: int, body: bytes) -> bytes:
    head = bytes([kind]) + version.to_bytes(2, "big") + epoch.to_bytes(2, "big") + number.to_bytes(6, "big")
    return head + len(body).to_bytes(2, "big") + body


records = st.builds(
    _record,
    st.sampled_from([20, 21, 22, 23, 24, 25]),
    st.sampled_from([0xFEFF, 0xFEFD, 0xFEFC, 0x0303]),
    st.integers(0, 2),
    st.integers(0, 40),
    st.binary(max_size=80),
)
datagrams = st.one_of(st.binary(max_size=200), st.lists(records, max_size=3).map(b"".join))


@settings(max_examples=200, deadline=None)
@given(data=st.lists(datagrams, min_size=1, max_size=6), role=st.sampled_from(["client", "server"]))
def test_random_datagrams_never_raise_during_a_handshake(data: list[bytes], role: str) -> None:
    transport = make_transport("client" if role == CLIENT else "server")
    transport.start(0.0)
    for datagram in data:
        transport.receive(datagram, 0.0)
    assert transport.state in (DtlsState.CONNECTING, DtlsState.FAILED)
    deadline = transport.next_deadline()
    assert (deadline is None) == (transport.state is DtlsState.FAILED)


@settings(max_examples=100, deadline=None)
@given(
    which=st.integers(0, 3),
    bit=st.integers(0, 8 * 1200),
    cut=st.integers(0, 1200) | st.none(),
)
def test_a_damaged_datagram_never_raises(which: int, bit: int, cut: int | None) -> None:
    pair = DtlsPair(make_transport("client"), make_transport("server"))
    pair.start()
    end = pair.now + 0.01 * which
    while pair.step(end):
        pass
    for sender, receiver in ((CLIENT, SERVER), (SERVER, CLIENT)):
        if pair.sent[sender]:
            damaged = bytearray(pair.sent[sender][-1])
            damaged[bit // 8 % len(damaged)] ^= 1 << bit % 8
            pair.transports[receiver].receive(bytes(damaged[:cut]), pair.now)
            pair.collect(receiver)
    pair.run(until_s=1.0)


@settings(max_examples=100, deadline=None)
@given(data=st.lists(st.binary(max_size=200) | records, max_size=5))
def test_an_open_connection_stays_open(data: list[bytes]) -> None:
    for datagram in data:
        for transport in CONNECTED.transports.values():
            transport.receive(datagram, CONNECTED.now)
            assert transport.state is DtlsState.CONNECTED
            assert transport.poll_event() is None


def _connected() -> DtlsPair:
    pair = DtlsPair(make_transport("client"), make_transport("server"))
    pair.start()
    pair.run()
    return pair


CONNECTED = _connected()


@settings(max_examples=300, deadline=None)
@given(data=datagrams)
def test_cutting_loses_and_invents_no_byte(data: bytes) -> None:
    found, rest = split_records(data)
    assert b"".join(found) == data[: len(data) - rest]
    assert all(len(record) >= RECORD_HEADER_BYTES for record in found)
    assert b"".join(pack_records(found, 100)) == b"".join(found)
