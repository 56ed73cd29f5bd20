"""The accelerated plane's core in C against the RFCs' vectors and against our own SRTP in Python."""

from __future__ import annotations

import gc
import json
import os
import random
import select
import socket
from array import array
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from triortc.engine.congestion.sent_history import SENT, SentHistory
from triortc.engine.protection_profile import PROFILES, SrtpProfile
from triortc.engine.relay.acceleration import acceleration
from triortc.engine.relay.core import Direction, Forwarder, History
from triortc.engine.relay.core_cipher import Cipher
from triortc.engine.relay.core_layout import (
    CLOSE,
    COUNTERS,
    GAP_BEHIND,
    NUMBERS,
    QUIET,
    RECEIVED,
    SENT_BYTES,
    STATE,
    pack_address,
    unpack_address,
)
from triortc.engine.rtp.header import build_header, parse_header
from triortc.engine.srtp import PROFILES_BY_NAME, SrtpInbound, SrtpOutbound
from triortc.engine.srtp.key_derivation import SessionKeys, derive_session_keys

VECTORS = Path(__file__).parent.parent / "vectors"
SOURCE = pack_address(0, ("192.0.2.1", 5000))
DESTINATION = pack_address(0, ("2001:db8::7", 6000))
#: Places in STATE.
PACKETS, REPLAYED, FORGED = 10, 13, 14
IN_SSRC, OUT_SSRC = 0x11223344, 0x55667788
NONE = (1 << 64) - 1
NAMES = {f"AES_CM_128_HMAC_SHA1_{bits}": f"AES128_CM_HMAC_SHA1_{bits}" for bits in (80, 32)}


def test_the_extension_is_built_where_the_tests_run() -> None:
    assert acceleration().core is not None, acceleration().reason


def by_threes(values: tuple[Any, ...]) -> list[tuple[Any, ...]]:
    return list(zip(values[::3], values[1::3], values[2::3], strict=True))


def make_forwarder(hand_ups: int = 8) -> Forwarder:
    core = acceleration().core
    assert core is not None
    return Forwarder(core, hand_ups)


def make_cipher(profile: SrtpProfile, keys: SessionKeys, *, sending: bool) -> Cipher:
    core = acceleration().core
    assert core is not None
    return Cipher(core.crypto, profile, keys, sending=sending)


def derived(profile: SrtpProfile, number: int) -> tuple[bytes, bytes, SessionKeys]:
    key, salt = bytes([number]) * profile.key_bytes, bytes([number + 1]) * profile.salt_bytes
    return key, salt, derive_session_keys(profile, key, salt)


@dataclass
class Way:
    """A flow through the core from a sender to a receiver, both of them our own SRTP in Python."""

    profile: SrtpProfile
    first: int = 100
    sequence_shift: int = 1000
    timestamp_shift: int = 5_000_000
    vp8: bool = False
    arrival_id: int = 0
    number_id: int = 0
    send_time_id: int = 0
    passed: tuple[tuple[int, int], ...] = ()
    keep_sealed: bool = False
    asks: bool = False
    core: Forwarder = field(init=False)

    def __post_init__(self) -> None:
        key, salt, keys = derived(self.profile, 1)
        self.sender = SrtpOutbound(self.profile, key, salt)
        key_out, salt_out, keys_out = derived(self.profile, 7)
        self.receiver = SrtpInbound(self.profile, key_out, salt_out)
        self.core = make_forwarder()
        self.history = History(self.core, 64, 1 << 20, 1.0)
        ciphers = make_cipher(self.profile, keys, sending=False), make_cipher(self.profile, keys_out, sending=True)
        self.sent = SentHistory(64)
        self.direction = Direction(self.core, SOURCE, DESTINATION, *ciphers, sent=self.sent.ring)
        self.seen_in, self.seen_out = array("Q", [NONE]) * 128, array("Q", [NONE]) * 1024
        # The stream's first packet went the slow way: it made the state of both sides.
        self.protect(self.first, b"first")
        self.flow = self.open()

    def open(self, in_index: int | None = None, out_index: int | None = None) -> Any:
        types = bytearray(b"\xff" * 128)
        types[96], types[111] = 100, 9
        passed = [*self.passed, (0, 0), (0, 0)][:2]
        numbers = NUMBERS.pack(
            *(IN_SSRC, OUT_SSRC, 128, 90000, self.timestamp_shift, self.sequence_shift),
            *(self.arrival_id, self.number_id, self.send_time_id, *passed[0], *passed[1]),
            *(self.vp8, self.keep_sealed, self.asks, bytes(types)),
        )
        newest = self.first if in_index is None else in_index
        out = (newest + self.sequence_shift) & 0xFFFF if out_index is None else out_index
        state = STATE.pack(newest, out, 0, 0, -1, -1, -1, -1, 0.0, 10.0, 0, 0, 0, 0, 0)
        return self.direction.open(numbers, state, self.seen_in, self.seen_out, self.history, 65535, 10.0)

    def protect(self, number: int, payload: bytes, *, extension: bytes = b"", **header: Any) -> bytes:
        built = build_header(
            payload_type=header.get("payload_type", 96),
            sequence_number=number & 0xFFFF,
            timestamp=header.get("timestamp", number * 10),
            ssrc=IN_SSRC,
            marker=header.get("marker", False),
            extension=extension,
            padding=header.get("padding", False),
            csrcs=header.get("csrcs", ()),
        )
        out = memoryview(bytearray(2048))
        length = self.sender.protect_rtp(built, number & 0xFFFF, IN_SSRC, payload, out)
        return bytes(out[:length])

    def pass_on(self, packet: bytes, now: float = 10.0) -> bytes | None:
        """What leaves; None when the packet was handed up; empty when it was dropped."""
        sent = self.core.process(SOURCE, packet, now)
        if sent is None:
            return None
        assert all(address == DESTINATION for address, _ in sent)
        return b"".join(data for _, data in sent)

    def receive(self, packet: bytes) -> tuple[bytes, bytes]:
        """(header, payload) as the receiver reads them."""
        header = parse_header(packet)
        assert header is not None
        out = memoryview(bytearray(2048))
        length = self.receiver.unprotect_rtp(memoryview(packet), header[5], header[2], header[4], out)
        assert length >= 0
        return packet[: header[5]], bytes(out[:length])


@pytest.mark.parametrize("profile", PROFILES, ids=lambda profile: profile.name)
def test_rfc3711_rfc7714_a_stream_is_carried_over_the_wrap_of_its_sequence_number(profile: SrtpProfile) -> None:
    way = Way(profile, first=65500, sequence_shift=65530)
    random_payload = random.Random(4).randbytes
    for number in range(65501, 65700):
        payload = random_payload(number % 1187)
        sent = way.pass_on(way.protect(number, payload, marker=number % 3 == 0, timestamp=number * 3000))
        assert sent
        header, got = way.receive(sent)
        assert got == payload
        expected = build_header(
            payload_type=100,
            sequence_number=(number + 65530) & 0xFFFF,
            timestamp=(number * 3000 + 5_000_000) & 0xFFFFFFFF,
            ssrc=OUT_SSRC,
            marker=number % 3 == 0,
        )
        assert header == expected
    state, *_ = way.direction.settle(way.flow)
    assert state[0] == 65699
    assert state[PACKETS] == 199
    assert way.seen_in[65699 & 127] == 65699


def _vectors() -> list[Any]:
    """(profile, session keys, roll-over counter, packet): those without CSRCs and extensions."""
    found = []
    for vector in json.loads((VECTORS / "srtp_rfc7714.json").read_text())["vectors"]:
        keys = SessionKeys(bytes.fromhex(vector["session_key"]), bytes.fromhex(vector["session_salt"]), b"", b"")
        packet = bytes.fromhex(vector["srtp"]["protected"])
        found.append(pytest.param(vector["profile"], keys, vector["srtp"]["roc"], packet, id=vector["srtp"]["section"]))
    for vector in json.loads((VECTORS / "srtp_packets.json").read_text())["vectors"]:
        profile = PROFILES_BY_NAME[NAMES.get(vector["profile"], vector["profile"])]
        keys = derive_session_keys(profile, bytes.fromhex(vector["master_key"]), bytes.fromhex(vector["master_salt"]))
        for entry in vector["rtp"]:
            packet = bytes.fromhex(entry["protected"])
            if packet[0] == 0x80:
                name = f"{vector['profile']}-{entry['roc']}-{entry['seq']}"
                found.append(pytest.param(vector["profile"], keys, entry["roc"], packet, id=name))
    return found


@pytest.mark.parametrize(("name", "keys", "roll_over", "packet"), _vectors())
def test_a_vectors_packet_is_opened_and_sealed_to_the_same_bytes_again(
    name: str, keys: SessionKeys, roll_over: int, packet: bytes
) -> None:
    profile = PROFILES_BY_NAME[NAMES.get(name, name)]
    core = make_forwarder()
    opening, sealing = (make_cipher(profile, keys, sending=sending) for sending in (False, True))
    direction = Direction(core, SOURCE, DESTINATION, opening, sealing, sent=None)
    ssrc = int.from_bytes(packet[8:12], "big")
    newest = (roll_over << 16) + int.from_bytes(packet[2:4], "big") - 1
    types = bytes(range(128))
    numbers = NUMBERS.pack(ssrc, ssrc, 128, 8000, 0, 0, *bytes(10), types)
    state = STATE.pack(newest, newest, 0, 0, -1, -1, -1, -1, 0.0, 0.0, 0, 0, 0, 0, 0)
    seen_in, seen_out = array("Q", [NONE]) * 128, array("Q", [NONE]) * 1024
    assert direction.open(numbers, state, seen_in, seen_out, None, 0, 0.0) == 0
    assert core.process(SOURCE, packet, 0.0) == [(DESTINATION, packet)]


def test_a_repeated_packet_is_dropped_and_counted_and_a_late_one_handed_up_rfc3711_3_3_2() -> None:
    way = Way(PROFILES[0])
    first, lost, third, fourth = (way.protect(way.first + n, b"payload") for n in range(1, 5))
    assert way.pass_on(first)
    assert way.pass_on(first) == b""
    assert way.direction.settle(way.flow)[0][REPLAYED] == 1
    assert way.pass_on(third)
    assert way.pass_on(lost) is None
    # Everything behind it goes up too, until the flow is opened anew.
    assert way.pass_on(fourth) is None
    assert way.pass_on(first) is None


def test_a_gap_is_passed_on_and_told_of_with_every_packet_since_until_python_has_asked_rfc4585_6_2_1() -> None:
    way = Way(PROFILES[0], asks=True)
    for number in (1, 2, 5, 6):
        sent = way.pass_on(way.protect(way.first + number, b"payload"))
        assert sent
        header, _ = way.receive(sent)
        assert int.from_bytes(header[2:4], "big") == way.first + number + way.sequence_shift
    handed_up, sources = way.core.take()
    assert (handed_up, sources) == ([], [SOURCE])
    state, _, _, notes = way.direction.settle(way.flow)
    assert state[PACKETS : PACKETS + 2] == (4, 6)
    told = [(number - way.first, kind) for number, kind, _ in by_threes(notes) if kind != SENT_BYTES]
    assert told == [(2, GAP_BEHIND), (5, RECEIVED), (6, RECEIVED)]
    assert way.direction.settle(way.flow, QUIET)[3] == ()
    assert way.pass_on(way.protect(way.first + 7, b"payload"))
    assert way.core.take() == ([], [])
    assert set(way.direction.settle(way.flow)[3][1::3]) == {SENT_BYTES}
    # A jump wider than RFC 3550's dropout may be a sender that began anew: Python knows.
    assert way.pass_on(way.protect(way.first + 4000, b"payload")) is None


@pytest.mark.parametrize("profile", PROFILES, ids=lambda profile: profile.name)
def test_a_forged_packet_is_dropped_and_counted_and_changes_nothing(profile: SrtpProfile) -> None:
    way = Way(profile)
    packet = way.protect(way.first + 1, b"payload")
    for position in (1, 2, 5, 13, len(packet) - 1):
        forged = bytearray(packet)
        forged[position] ^= 4
        assert way.pass_on(bytes(forged)) == b""
    assert way.direction.settle(way.flow)[0][FORGED] == 5
    assert way.pass_on(packet)


@pytest.mark.parametrize(
    "unusual",
    [{"padding": True}, {"csrcs": (1,)}, {"payload_type": 97}, {"extension": bytes.fromhex("10000001") + bytes(4)}],
    ids=lambda unusual: next(iter(unusual)),
)
def test_what_is_not_ordinary_is_handed_up_as_it_came(unusual: dict[str, Any]) -> None:
    way = Way(PROFILES[0])
    assert way.pass_on(way.protect(way.first + 1, b"payload" + b"\1", **unusual)) is None
    before, *_ = way.direction.settle(way.flow, CLOSE)
    assert before[0] == way.first
    assert before[PACKETS] == 0
    # Python has it now: without a flow everything is handed up.
    assert way.pass_on(way.protect(way.first + 2, b"payload")) is None


def test_extensions_are_made_and_passed_on_under_their_new_numbers_rfc8285() -> None:
    way = Way(PROFILES[0], arrival_id=3, number_id=5, passed=((1, 7), (4, 2)))
    extension = bytes.fromhex("bede0003") + bytes.fromhex("31abcd") + bytes.fromhex("10ee") + bytes.fromhex("41a1a2")
    sent = way.pass_on(way.protect(way.first + 1, b"x", extension=extension + bytes(4)), 10.5)
    assert sent
    header, _ = way.receive(sent)
    assert header[12:] == bytes.fromhex("bede0002") + bytes.fromhex("51ffff70ee21a1a2")
    _, number, arrivals, notes = way.direction.settle(way.flow)
    assert number == 0
    assert arrivals == (0xABCD, 42000, 10.5)
    assert notes == (len(sent), SENT_BYTES, 10.5)
    assert SENT.unpack_from(way.sent.ring, 63 * SENT.size) == (65535, len(sent), 10.5)
    assert way.direction.settle(way.flow)[1:] == (0, (), ())


def test_rfc_8285_4_2_an_element_of_id_0_with_a_length_ends_what_is_read_of_a_block() -> None:
    way = Way(PROFILES[0], arrival_id=3, passed=((1, 7), (4, 2)))
    extension = bytes.fromhex("bede0003") + bytes.fromhex("0010ee01ffff41a1a231abcd")
    sent = way.pass_on(way.protect(way.first + 1, b"x", extension=extension), 10.5)
    assert sent
    header, _ = way.receive(sent)
    assert header[12:] == bytes.fromhex("bede000170ee0000")
    assert way.direction.settle(way.flow)[2] == (), "no number of what came was read"


def test_the_journal_is_told_without_what_the_flow_has_counted() -> None:
    way = Way(PROFILES[0], arrival_id=3)
    extension = bytes.fromhex("bede0001") + bytes.fromhex("31abcd00")
    assert way.pass_on(way.protect(way.first + 1, b"x", extension=extension), 10.5)
    number, arrivals, notes = way.direction.tell(way.flow)
    assert (number, len(arrivals), len(notes)) == (65535, 3, 3)
    assert way.direction.tell(way.flow) == (65535, (), ())
    assert way.pass_on(way.protect(way.first + 2, b"x"), 10.6)
    state, _, arrivals, notes = way.direction.settle(way.flow)
    assert state[PACKETS : PACKETS + 2] == (2, 2)
    assert (len(arrivals), len(notes)) == (0, 3)


def test_bytes_that_leave_within_five_milliseconds_are_told_of_together_and_each_packet_is_written_down() -> None:
    way = Way(PROFILES[0], number_id=5)
    times = (10.5, 10.501, 10.504, 10.505, 10.6)
    lengths = []
    for number, at in enumerate(times, 1):
        sent = way.pass_on(way.protect(way.first + number, b"x" * number), at)
        assert sent
        lengths.append(len(sent))
    _, _, _, notes = way.direction.settle(way.flow)
    assert by_threes(notes) == [
        (sum(lengths[:3]), SENT_BYTES, 10.5),
        (lengths[3], SENT_BYTES, 10.505),
        (lengths[4], SENT_BYTES, 10.6),
    ]
    written = [SENT.unpack_from(way.sent.ring, ((65535 + n) & 63) * SENT.size) for n in range(5)]
    assert written == [((65535 + n) & 0xFFFF, lengths[n], times[n]) for n in range(5)]
    assert way.sent.pending(0, 5) == 4


def test_a_direction_whose_arrivals_nobody_takes_is_handed_up_and_writes_behind_nothing() -> None:
    way = Way(PROFILES[0], arrival_id=3)
    extension = bytes.fromhex("bede0001") + bytes.fromhex("31abcd00")
    passed = [
        way.pass_on(way.protect(way.first + n, b"x", extension=extension), 10.5) is not None for n in range(1, 300)
    ]
    assert passed == [True] * 256 + [False] * 43
    _, _, arrivals, _ = way.direction.settle(way.flow, CLOSE)
    assert len(arrivals) == 3 * 256


def test_the_time_of_sending_is_written_where_no_transport_number_is() -> None:
    way = Way(PROFILES[0], send_time_id=2)
    sent = way.pass_on(way.protect(way.first + 1, b"x"), 70.25)
    assert sent
    header, _ = way.receive(sent)
    assert header[12:16] == bytes.fromhex("bede0001")
    assert header[16:] == bytes([0x22]) + (int(70.25 * 262144) & 0xFFFFFF).to_bytes(3, "big")


def test_extensions_cut_short_end_the_search_and_nothing_is_read_behind_them() -> None:
    way = Way(PROFILES[0], arrival_id=3, passed=((1, 7),))
    for number, body in enumerate(("3f000000", "f1310000", "00003f00", "1f311111"), way.first + 1):
        assert way.pass_on(way.protect(number, b"x", extension=bytes.fromhex("bede0001" + body)))
    assert way.direction.settle(way.flow)[2] == ()


def test_vp8_pictures_go_on_from_the_last_number_rfc7741_4_2() -> None:
    way = Way(PROFILES[0], vp8=True)
    payloads = (
        bytes.fromhex("90e0 9234 05 40") + b"a",
        bytes.fromhex("80e0 9235 06 40") + b"b",
        bytes.fromhex("9080 12") + b"c",
        b"\x90",
        b"\x90\xff",
        b"",
    )
    seen = []
    for number, payload in enumerate(payloads, way.first + 1):
        sent = way.pass_on(way.protect(number, payload))
        assert sent
        seen.append(way.receive(sent)[1])
    assert seen[0] == bytes.fromhex("90e0 8000 00 40") + b"a"
    assert seen[1] == bytes.fromhex("80e0 8001 01 40") + b"b"
    assert seen[2][2] < 0x80
    assert seen[3:] == list(payloads[3:])


@pytest.mark.parametrize("sealed", [False, True])
def test_what_was_sent_is_found_again_until_its_number_comes_back(sealed: bool) -> None:
    way = Way(PROFILES[0], keep_sealed=sealed)
    sent = {}
    for number in range(way.first + 1, way.first + 101):
        packet = way.pass_on(way.protect(number, bytes([number & 0xFF]) * 1100), 10.0 + number / 1000)
        assert packet
        sent[number + 1000] = packet
    assert way.history.find(way.first + 1001) is None
    for number in range(way.first + 1040, way.first + 1101):
        found = way.history.find(number)
        assert found is not None
        at, header, payload = found
        assert at == pytest.approx(10.0 + (number - 1000) / 1000)
        if sealed:
            assert (header, payload) == (b"", sent[number])
        else:
            assert (header, payload) == way.receive(sent[number])
    way.history.clear()
    assert way.history.find(way.first + 1100) is None


def test_a_history_keeps_to_its_bytes_and_uses_chunks_again_that_have_outlived_their_age() -> None:
    core = make_forwarder(1)
    history = History(core, 1024, 3 * 32768, 1.0)
    for number in range(1000):
        history.store(number, b"h" * 12, b"p" * 1000, 5.0)
    kept = [number for number in range(1000) if history.find(number) is not None]
    assert 60 <= len(kept) <= 97
    assert kept[-1] == 999
    history.store(5, b"", b"x" * 5000, 5.0)
    assert history.find(5) is None


def test_mistakes_of_the_binding_are_refused_in_words() -> None:
    way = Way(PROFILES[0])
    with pytest.raises(ValueError, match="layout"):
        way.direction.open(b"", b"", way.seen_in, way.seen_out, None, 0, 0.0)
    with pytest.raises(ValueError, match="not open"):
        way.direction.settle(3)
    with pytest.raises(ValueError, match="power of two"):
        History(way.core, 3, 1, 1.0)
    ciphers = (make_cipher(PROFILES[0], derived(PROFILES[0], 1)[2], sending=sending) for sending in (False, True))
    with pytest.raises(ValueError, match="SENT"):
        Direction(way.core, SOURCE, DESTINATION, *ciphers, sent=bytearray(48))
    with pytest.raises(ValueError, match="hand_ups"):
        make_forwarder(0)
    with pytest.raises(ValueError, match="cipher"):
        make_cipher(PROFILES[0], SessionKeys(b"short", bytes(12), b"", b""), sending=True)
    with pytest.raises(ValueError, match="2048"):
        way.core.process(SOURCE, bytes(3000), 0.0)
    assert way.open() is not None
    assert way.open() is not None
    assert way.open() is not None
    assert way.open() is None


def test_addresses_keep_their_socket_host_and_port() -> None:
    for address in (("192.0.2.9", 65535), ("2001:db8::1", 1)):
        assert unpack_address(pack_address(7, address)) == (7, address)


def test_every_length_of_datagram_from_a_known_source_is_taken_or_handed_up() -> None:
    way = Way(PROFILES[0], arrival_id=3, passed=((1, 7),), vp8=True)
    noise = random.Random(1)
    head = bytes.fromhex("9060") + bytes(6) + IN_SSRC.to_bytes(4, "big")
    for length in range(2049):
        data = (head + noise.randbytes(2048))[:length]
        assert way.pass_on(data) in (None, b"")
    assert way.pass_on(way.protect(way.first + 1, b"still"))


def test_the_thread_ends_and_no_file_stays_open() -> None:
    gc.collect()  # what other tests have left
    files = len(os.listdir("/proc/self/fd"))
    threads = set(os.listdir("/proc/self/task"))
    for _ in range(20):
        core = make_forwarder(4)
        core.start([], 0.0)
        core.stop()
        core.stop()
    del core
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) == files
    # By their ids: one that another test's work has left idle may end meanwhile, but none of ours may stay.
    assert set(os.listdir("/proc/self/task")) <= threads
    assert len(COUNTERS) * 8 == 8 * len(make_forwarder(1).counters())


def test_transport_feedback_may_wait_in_the_ring_but_not_for_ever_and_nothing_waits_behind_it() -> None:
    feedback = bytes((0x8F, 205)) + bytes(30)  # what SRTCP leaves readable
    with socket.socket(type=socket.SOCK_DGRAM) as ours, socket.socket(type=socket.SOCK_DGRAM) as peer:
        ours.bind(("127.0.0.1", 0))
        core = make_forwarder()
        core.start([ours.fileno()], 0.0)
        try:
            for datagrams in ([feedback], [feedback, b"\x00check"]):
                for datagram in datagrams:
                    peer.sendto(datagram, ours.getsockname())
                taken: list[bytes] = []
                while len(taken) < len(datagrams):
                    assert select.select([core.fileno()], [], [], 10)[0]
                    taken += [datagram for _, datagram, _ in core.take()[0]]
                assert taken == datagrams
        finally:
            core.stop()
