"""Frame assembly: completeness, order, patience and what happens after loss."""

from __future__ import annotations

import pytest

from support.toy_codec import ToyDepacketizer, toy_frame
from triortc.codecs.payload.h264 import H264Depacketizer
from triortc.codecs.payload.vp8 import Vp8Depacketizer, Vp8Packetizer
from triortc.engine.jitter.configuration import VideoJitterConfiguration
from triortc.engine.jitter.video import VideoFrame, VideoJitterBuffer
from triortc.errors import ConfigurationError


class Stream:
    """Numbers packets of frames and puts them into a buffer."""

    def __init__(self, first: int = 65533, timestamp: int = 0xFFFFF000, **numbers: int) -> None:
        self.buffer = VideoJitterBuffer(ToyDepacketizer(), VideoJitterConfiguration(**numbers))
        self.number = first
        self.timestamp = timestamp

    def packets(self, kind: str, count: int = 3) -> list[tuple[int, int, bool, bytes]]:
        payloads = toy_frame(kind == "K", f"{kind}{self.number}".encode(), count)
        made = []
        for index, payload in enumerate(payloads):
            made.append((self.number & 0xFFFF, self.timestamp & 0xFFFFFFFF, index == count - 1, payload))
            self.number += 1
        self.timestamp += 3000
        return made

    def insert(self, *packets: tuple[int, int, bool, bytes], now: float = 1.0) -> None:
        for packet in packets:
            self.buffer.insert(*packet, now)

    def frames(self) -> list[VideoFrame]:
        found = []
        while (frame := self.buffer.poll_frame()) is not None:
            found.append(frame)
        return found

    def kinds(self) -> str:
        return "".join("K" if frame.keyframe else "D" for frame in self.frames())

    def reasons(self) -> list[str]:
        found = []
        while (event := self.buffer.poll_event()) is not None:
            found.append(event.reason)
        return found


def test_frames_come_out_complete_and_in_order_across_both_wraps() -> None:
    stream = Stream()
    stream.insert(*stream.packets("K"), now=1.0)
    [first] = stream.frames()
    assert (first.data, first.keyframe, first.timestamp, first.arrived_at) == (b"K65533", True, 0xFFFFF000, 1.0)
    stream.insert(*stream.packets("D"), *stream.packets("D", 1), now=1.1)
    assert [(frame.data, frame.timestamp) for frame in stream.frames()] == [(b"D65536", 0xFFFFFBB8), (b"D65539", 0x770)]
    assert stream.buffer.next_deadline() is None
    assert stream.buffer.buffered_packets == 0


def test_any_order_of_arrival_gives_the_same_frames() -> None:
    stream = Stream()
    packets = [*stream.packets("K"), *stream.packets("D"), *stream.packets("D")]
    stream.insert(*reversed(packets))
    assert stream.kinds() == "KDD"


def test_nothing_is_delivered_before_the_first_keyframe() -> None:
    stream = Stream()
    stream.insert(*stream.packets("D"), *stream.packets("D"))
    assert stream.kinds() == ""
    assert stream.buffer.waits_for_keyframe
    stream.insert(*stream.packets("K"), *stream.packets("D"))
    assert stream.kinds() == "KD"
    assert not stream.buffer.waits_for_keyframe


def test_a_stream_that_is_joined_in_the_middle_asks_for_a_keyframe_once() -> None:
    stream = Stream()
    stream.insert(*stream.packets("D"), now=1.0)
    stream.insert(*stream.packets("D"), now=1.05)
    assert stream.reasons() == []
    for index in range(60):
        stream.insert(*stream.packets("D"), now=1.1 + index * 0.03)
    assert stream.reasons() == ["no keyframe has come"]
    stream.insert(*stream.packets("K"), now=3.0)
    assert stream.kinds() == "K"


def test_a_gap_holds_delivery_until_the_retransmission_fills_it() -> None:
    stream = Stream()
    stream.insert(*stream.packets("K"))
    lost, *rest = stream.packets("D")
    stream.insert(*rest, *stream.packets("D"), now=2.0)
    assert stream.kinds() == "K"
    assert stream.buffer.next_deadline() == 2.5
    stream.buffer.handle_timeout(2.4)
    stream.insert(lost, now=2.45)
    assert stream.kinds() == "DD"
    assert stream.buffer.next_deadline() is None
    assert stream.reasons() == []


def test_a_frame_that_is_still_coming_is_no_gap() -> None:
    stream = Stream()
    stream.insert(*stream.packets("K"))
    stream.insert(*stream.packets("D")[:2])
    assert stream.buffer.next_deadline() is None


def test_a_gap_given_up_asks_for_a_keyframe_and_discards_until_it_comes() -> None:
    stream = Stream()
    stream.insert(*stream.packets("K"))
    late = stream.packets("D")
    stream.insert(*late[1:], *stream.packets("D"), now=2.0)
    stream.buffer.handle_timeout(2.5)
    assert stream.reasons() == ["packets were lost"]
    assert stream.buffer.waits_for_keyframe
    stream.insert(*stream.packets("D"), late[0], now=2.6)
    assert stream.kinds() == "K"
    stream.insert(*stream.packets("K"), *stream.packets("D"), now=2.7)
    assert stream.kinds() == "KD"
    assert stream.buffer.statistics.given_up == 1
    assert stream.buffer.buffered_packets == 0


def test_a_complete_keyframe_ends_the_wait_for_what_came_before() -> None:
    stream = Stream()
    stream.insert(*stream.packets("K"))
    late = stream.packets("D")
    stream.insert(*late[1:], *stream.packets("K"), *stream.packets("D"))
    assert stream.kinds() == "KKD"
    assert stream.reasons() == []
    stream.insert(late[0])
    assert stream.buffer.statistics.late == 1


def test_a_keyframe_that_loses_a_packet_waits_for_it_and_then_for_the_next_keyframe() -> None:
    stream = Stream()
    broken = stream.packets("K", 4)
    stream.insert(broken[0], *broken[2:], now=1.0)
    assert stream.buffer.next_deadline() == 1.5
    stream.buffer.handle_timeout(1.5)
    assert stream.reasons() == ["packets were lost"]
    stream.insert(*stream.packets("K"), now=1.6)
    assert stream.kinds() == "K"


def test_after_a_loss_an_incomplete_later_keyframe_is_where_to_go_on() -> None:
    stream = Stream()
    stream.insert(*stream.packets("K"))
    gone = stream.packets("D")
    later = stream.packets("K", 4)
    stream.insert(*gone[1:], *later[:2], later[3], now=2.0)
    stream.buffer.handle_timeout(2.5)
    stream.insert(later[2], now=2.6)
    assert stream.kinds() == "KK"


def test_the_first_keyframe_may_arrive_out_of_order() -> None:
    stream = Stream()
    packets = stream.packets("K", 4)
    stream.insert(packets[2], packets[1], packets[0], packets[3])
    assert stream.kinds() == "K"


def test_without_markers_the_next_frame_ends_the_one_before() -> None:
    stream = Stream()
    for kind in "KDD":
        stream.insert(*[(number, timestamp, False, payload) for number, timestamp, _, payload in stream.packets(kind)])
    assert stream.kinds() == "KD"


def test_padding_fills_its_place_in_the_order() -> None:
    stream = Stream()
    stream.insert(*stream.packets("K"))
    for _ in range(3):
        stream.insert((stream.number & 0xFFFF, stream.timestamp - 3000, False, b""))
        stream.number += 1
    stream.insert(*stream.packets("D"))
    assert stream.kinds() == "KD"
    assert stream.buffer.buffered_packets == 0


def test_a_malformed_frame_asks_for_a_keyframe() -> None:
    stream = Stream()
    stream.insert(*stream.packets("K"))
    bad = stream.packets("D")
    stream.insert(bad[0], (*bad[1][:3], b"X"), bad[2], *stream.packets("D"))
    assert stream.kinds() == "K"
    assert stream.reasons() == ["a frame is malformed"]
    stream.insert(*stream.packets("K"))
    assert stream.kinds() == "K"


def test_duplicates_are_counted_and_dropped() -> None:
    stream = Stream()
    stream.insert(*stream.packets("K"))
    packet = stream.packets("D")[0]
    stream.insert(packet, packet)
    assert stream.buffer.statistics.duplicates == 1


@pytest.mark.parametrize("numbers", [{"maximum_packets": 50}, {"maximum_bytes": 300}], ids=["packets", "bytes"])
def test_a_full_buffer_is_emptied_and_asks_for_a_keyframe(numbers: dict[str, int]) -> None:
    stream = Stream(**numbers)
    stream.insert(*stream.packets("K"))
    stream.packets("D")
    for _ in range(40):
        stream.insert(*stream.packets("D"))
    assert stream.buffer.buffered_packets <= 150
    assert stream.buffer.statistics.overflows >= 1
    assert stream.reasons()[0] == "the buffer is full"
    stream.insert(*stream.packets("K"))
    assert stream.kinds() == "KK"


def test_waiting_for_a_keyframe_holds_no_more_than_the_patience_allows() -> None:
    stream = Stream()
    for index in range(300):
        stream.insert(*stream.packets("D"), now=1 + index / 30)
    assert stream.buffer.buffered_packets <= 3 * 16
    assert stream.buffer.statistics.overflows == 0


@pytest.mark.parametrize("jump", [20_000, -20_000, 40_000])
def test_a_sender_that_starts_over_goes_on_with_its_keyframe(jump: int) -> None:
    """RFC 3550 A.1: two packets in sequence; the first of them is not lost."""
    stream = Stream(first=30_000)
    stream.insert(*stream.packets("K"), *stream.packets("D"))
    stream.number += jump
    stream.timestamp += 123_456_789
    stream.insert(*stream.packets("K"), *stream.packets("D"))
    assert stream.kinds() == "KDKD"
    assert stream.reasons() == ["the sender started over"]


def test_reset_waits_for_the_keyframe_of_another_source() -> None:
    stream = Stream()
    stream.insert(*stream.packets("K"), *stream.packets("D"))
    stream.buffer.reset()
    assert stream.buffer.poll_frame() is None
    stream.number = 5
    stream.insert(*stream.packets("D"), *stream.packets("K"))
    assert stream.kinds() == "K"


def test_a_long_pause_changes_nothing() -> None:
    stream = Stream()
    stream.insert(*stream.packets("K"))
    stream.timestamp += 90000 * 3600
    stream.insert(*stream.packets("D"), now=3600.0)
    assert stream.kinds() == "KD"


def test_events_nobody_polls_do_not_pile_up() -> None:
    stream = Stream()
    for _ in range(20):
        stream.insert(*stream.packets("K"), (stream.number & 0xFFFF, stream.timestamp, True, b"X"))
        stream.number += 1
        stream.timestamp += 3000
    assert len(stream.reasons()) <= 4


def test_configuration_of_zero_is_refused() -> None:
    with pytest.raises(ConfigurationError):
        VideoJitterConfiguration(maximum_wait_ms=0)


def h264_packets(units: list[bytes], first: int, timestamp: int) -> list[tuple[int, int, bool, bytes]]:
    return [(first + at, timestamp, at == len(units) - 1, unit) for at, unit in enumerate(units)]


def test_an_h264_keyframe_may_begin_with_a_delimiter_and_have_several_slices() -> None:
    """RFC 6184: neither the delimiter nor the parameter sets need share a packet with the slices."""
    delimiter, sps, pps = b"\x09\x10", b"\x67\x42\xe0\x1f", b"\x68\xce\x3c\x80"
    slices = [b"\x65\x88first", b"\x65\x40second"]
    picture = [b"\x09\x30", b"\x41\x9aonly"]
    for order in ([0, 1, 2, 3, 4], [0, 2, 1, 4, 3], [0, 4, 3, 2, 1]):
        buffer = VideoJitterBuffer(H264Depacketizer())
        keyframe = h264_packets([delimiter, sps, pps, *slices], 100, 3000)
        for index in order:
            buffer.insert(*keyframe[index], 1.0)
        for packet in h264_packets(picture, 105, 6000):
            buffer.insert(*packet, 1.03)
        first, second = buffer.poll_frame(), buffer.poll_frame()
        assert first is not None
        assert second is not None
        assert (first.keyframe, second.keyframe) == (True, False)
        assert first.data.startswith(b"\x00\x00\x00\x01\x09\x10\x00\x00\x00\x01\x67")
        assert first.data.count(b"\x00\x00\x00\x01") == 5


class Looked(bytes):
    """A payload that counts how often the buffer comes by it."""

    looks = 0

    def __bool__(self) -> bool:
        Looked.looks += 1
        return True


@pytest.mark.parametrize("first", [0, 2])  # behind no gap, behind one
def test_a_keyframe_of_many_slices_costs_no_more_than_a_look_at_each_for_every_packet(first: int) -> None:
    """RFC 6184 section 5.6: an encoder may put every slice of a keyframe into a packet of its own."""
    count = 120
    buffer = VideoJitterBuffer(H264Depacketizer())
    buffer.insert(0, 0, True, b"\x65\x88", 1.0)
    Looked.looks = 0
    for number in range(1 + first, 1 + first + count):
        buffer.insert(number, 3000, False, Looked(b"\x65\x88slice"), 1.0)
    assert buffer.buffered_packets == count
    assert Looked.looks <= (10 + count if first else 10) * count


def test_a_keyframe_behind_a_gap_waits_a_moment_for_what_may_be_its_beginning() -> None:
    stream = Stream()
    stream.insert(*stream.packets("K"))
    before = stream.packets("D")
    keyframe = stream.packets("K")
    stream.insert(*before[:2], *keyframe, now=2.0)
    assert stream.kinds() == "K"
    stream.insert(*stream.packets("D"), now=2.05)
    assert stream.kinds() == ""
    stream.insert(*stream.packets("D"), now=2.11)
    assert stream.kinds() == "KDD"


def test_vp8_frames_go_through_packets_and_come_back() -> None:
    """RFC 7741 4.2; the first bit of a VP8 frame tells whether it is no keyframe (RFC 6386 9.1)."""
    buffer = VideoJitterBuffer(Vp8Depacketizer())
    packetizer = Vp8Packetizer()
    frames = [b"\x10\x02\x00\x9d\x01\x2a\x40\x01\xf0\x00" + bytes(500), b"\x11\x02\x00" + bytes(300), b"\x31\x02\x00x"]
    number = 65534
    for index, frame in enumerate(frames):
        payloads = packetizer.packetize(frame, 120)
        for at, payload in enumerate(payloads):
            buffer.insert(number & 0xFFFF, index * 3000, at == len(payloads) - 1, payload, 1.0)
            number += 1
    for index, frame in enumerate(frames):
        delivered = buffer.poll_frame()
        assert delivered is not None
        assert (delivered.data, delivered.keyframe) == (frame, index == 0)
