"""From packets to frames in their turn, in virtual time, and the queue before the reader."""

from __future__ import annotations

from triortc.codecs.payload.vp8 import Vp8Packetizer
from triortc.codecs.registry import OPUS, PCMU, VP8, Codec, MediaKind
from triortc.engine.jitter.configuration import AudioJitterConfiguration, VideoJitterConfiguration
from triortc.engine.peer.playout import AudioPlayout, Playout, ReceivedFrame, VideoPlayout
from triortc.engine.rtcp.ntp import unix_to_ntp
from triortc.engine.rtp.header import RtpHeader, build_header, parse_header
from triortc.engine.sdp.negotiated import NegotiatedCodec, NegotiatedMedia
from triortc.engine.session.inbound import InboundStream
from triortc.engine.streams.configuration import KeyframeConfiguration, NackConfiguration

SSRC = 0x1234
#: One CELT frame of 20 ms (RFC 6716 section 3.1: configuration 31).
OPUS_20_MS = b"\xf8\x01\x02"
KEYFRAME = b"\x10\x00\x00\x9d\x01\x2a\x40\x01\xf0\x00" + bytes(20)
DELTA = b"\x11\x00\x00" + bytes(30)


def stream(kind: MediaKind, *codecs: tuple[Codec, int]) -> InboundStream:
    section = NegotiatedMedia(
        kind, "0", 0, "sendrecv", tuple(NegotiatedCodec(codec, codec, number) for codec, number in codecs)
    )
    return InboundStream(SSRC, section, codecs[0][1], NackConfiguration(), KeyframeConfiguration())


def header(payload_type: int, number: int, timestamp: int, *, marker: bool = False) -> RtpHeader:
    parsed = parse_header(
        build_header(payload_type=payload_type, sequence_number=number, timestamp=timestamp, ssrc=SSRC, marker=marker)
    )
    assert parsed is not None
    return parsed


def play(playout: Playout, until: float) -> list[tuple[float, ReceivedFrame]]:
    """Everything that comes out by then, with the time it came out at."""
    out: list[tuple[float, ReceivedFrame]] = []
    while (deadline := playout.next_deadline()) is not None and deadline <= until:
        playout.handle_timeout(deadline)
        while (frame := playout.poll_frame()) is not None:
            out.append((deadline, frame))
    return out


def test_sound_comes_out_evenly_in_order_and_a_lost_packet_leaves_a_mark() -> None:
    playout = AudioPlayout(stream("audio", (OPUS, 111)), AudioJitterConfiguration(minimum_delay_ms=60))
    out: list[tuple[float, ReceivedFrame]] = []
    for number in (0, 1, 2, 4, 3, 5, 7, 8):
        at = 100 + max(number, 4 if number == 3 else 0) * 0.02
        out += play(playout, at)
        playout.insert(header(111, number, number * 960), memoryview(OPUS_20_MS), at)
    out += play(playout, 100.225)
    frames = [frame for _, frame in out]
    assert [frame.frame.timestamp // 960 for frame in frames[:9]] == list(range(9))
    assert [n for n, frame in enumerate(frames[:9]) if frame.lost] == [6]
    assert frames[6].frame.data == b""
    assert {frame.frame.duration for frame in frames[:9]} == {960}
    assert frames[0].arrived_at == 100.0
    assert playout.concealed >= 1


def test_sound_of_any_packet_length_has_no_marks_of_loss_where_nothing_was_lost() -> None:
    playout = AudioPlayout(stream("audio", (OPUS, 111)), AudioJitterConfiguration())
    out: list[tuple[float, ReceivedFrame]] = []
    at, timestamp = 100.0, 0
    for number in range(60):  # RFC 6716 table 2: 20, 40 and 60 ms, as a sender that adapts them to the way has it
        toc, samples = ((0x08, 960), (0x10, 1920), (0x18, 2880))[number // 5 % 3]
        out += play(playout, at)
        playout.insert(header(111, number, timestamp), memoryview(bytes((toc, 1))), at)
        at, timestamp = at + samples / 48_000, timestamp + samples
    out += play(playout, at)
    assert [frame.lost for _, frame in out[:60]] == [False] * 60
    assert [frame.frame.duration for _, frame in out[:15]] == [960] * 5 + [1920] * 5 + [2880] * 5


def test_another_codec_starts_a_new_buffer_and_late_packets_of_the_old_one_are_dropped() -> None:
    playout = AudioPlayout(stream("audio", (OPUS, 111), (PCMU, 0)), AudioJitterConfiguration())
    playout.insert(header(111, 10, 0), memoryview(OPUS_20_MS), 100.0)
    playout.insert(header(0, 12, 160), memoryview(bytes(160)), 100.04)
    playout.insert(header(111, 11, 960), memoryview(OPUS_20_MS), 100.05)
    playout.insert(header(99, 13, 0), memoryview(b"x"), 100.05)
    assert playout.unusable == 2
    (_, frame), *_ = play(playout, 100.09)
    assert (frame.codec_name, frame.clock_rate, frame.frame.duration) == ("pcmu", 8000, 160)


def test_a_late_packet_of_the_format_before_does_not_bring_its_clock_back() -> None:
    source = stream("audio", (OPUS, 111), (PCMU, 0))
    whole = memoryview(bytearray(172))
    for payload_type, number in ((111, 10), (0, 12), (111, 11), (99, 13)):
        source.receive(header(payload_type, number, 0), whole, whole[12:], 1.0)
    assert (source.clock.clock_rate, source.statistics.clock_rate) == (8_000, 8_000)


def test_bytes_that_are_no_packet_of_the_codec_count_as_lost_sound() -> None:
    playout = AudioPlayout(stream("audio", (OPUS, 111)), AudioJitterConfiguration())
    playout.insert(header(111, 1, 0), memoryview(b"\x03\x00"), 100.0)
    ((_, frame), *_) = play(playout, 100.05)
    assert frame.lost


def test_pictures_come_out_whole_with_the_senders_clock() -> None:
    source = stream("video", (VP8, 96))
    playout = VideoPlayout(source, VideoJitterConfiguration())
    source.clock.note_sender_report(unix_to_ntp(1_000_000.0), 90_000)
    payloads = Vp8Packetizer(picture_id=1).packetize(KEYFRAME, 20)
    assert len(payloads) > 1
    for number, payload in enumerate(payloads):
        assert playout.poll_frame() is None
        marker = number == len(payloads) - 1
        playout.insert(header(96, number, 180_000, marker=marker), memoryview(payload), 50.0 + number)
    frame = playout.poll_frame()
    assert frame is not None
    assert frame.frame.data == KEYFRAME
    assert frame.frame.keyframe
    assert frame.arrived_at == 50.0 + len(payloads) - 1
    assert frame.captured_at is not None
    assert abs(frame.captured_at - 1_000_001.0) < 1e-6
    assert playout.keyframes == 1


def test_a_gap_that_is_given_up_asks_for_a_keyframe_once() -> None:
    playout = VideoPlayout(stream("video", (VP8, 96)), VideoJitterConfiguration(maximum_wait_ms=200))
    packetizer = Vp8Packetizer(picture_id=1)
    for number, data in ((0, KEYFRAME), (2, DELTA)):
        (payload,) = packetizer.packetize(data, 1000)
        playout.insert(header(96, number, 3000 * number, marker=True), memoryview(payload), 10.0)
    assert playout.poll_frame() is not None
    assert playout.poll_frame() is None
    assert not playout.poll_keyframe_needed()
    assert play(playout, 10.3) == []
    assert playout.poll_keyframe_needed()
    assert not playout.poll_keyframe_needed()
