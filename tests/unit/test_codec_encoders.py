"""Encoders and decoders: keyframes on demand, bitrates that move, sizes that change, input that is broken."""

from __future__ import annotations

import random

import av
import numpy as np
import pytest

from triortc.codecs.configuration import AudioEncoderConfiguration, DecoderConfiguration, VideoEncoderConfiguration
from triortc.codecs.decoders import AudioDecoder, VideoDecoder
from triortc.codecs.encoders import (
    H264Encoder,
    OpusEncoder,
    VideoEncoder,
    Vp8Encoder,
    audio_encoder_for,
    video_encoder_for,
)
from triortc.codecs.frames import EncodedFrame
from triortc.codecs.payload import h264, opus, vp8
from triortc.codecs.testcard import TestCard, Tone, read_frame_number
from triortc.errors import CodecError, ConfigurationError

CARD = TestCard(320, 240, 30)
TICKS = 3000


NOISE = np.random.default_rng(1).integers(0, 40, (240, 320), np.uint8)


def noisy_picture(number: int) -> av.VideoFrame:
    """The test card under moving noise: it takes as many bits as it is given."""
    canvas = CARD.picture(number).to_ndarray()
    canvas[:240] = np.clip(canvas[:240].astype(int) + np.roll(NOISE, number * 7), 0, 255)
    return av.VideoFrame.from_ndarray(canvas, format="yuv420p")


def one(frames: list[EncodedFrame]) -> EncodedFrame:
    (frame,) = frames
    return frame


@pytest.mark.parametrize("name", ["VP8", "H264"])
def test_pictures_come_through_with_their_timestamps_across_the_wrap(name: str) -> None:
    encoder, decoder = video_encoder_for(name), VideoDecoder(name)
    first = (1 << 32) - 5 * TICKS
    for number in range(10):
        timestamp = (first + number * TICKS) % (1 << 32)
        frame = one(encoder.encode(CARD.picture(number), timestamp))
        assert frame.timestamp == timestamp
        assert frame.keyframe == (number == 0)
        (picture,) = decoder.decode(frame.data, timestamp)
        assert picture.pts == timestamp
        assert read_frame_number(picture) == number
    assert (decoder.decoded, decoder.errors, encoder.reopened) == (10, 0, 0)


@pytest.mark.parametrize("name", ["VP8", "H264"])
def test_a_keyframe_is_made_exactly_where_it_is_asked_for(name: str) -> None:
    encoder = video_encoder_for(name)
    keyframes = []
    for number in range(12):
        if number == 8:
            encoder.request_keyframe()
        frame = one(encoder.encode(CARD.picture(number), number * TICKS, force_keyframe=number == 4))
        if frame.keyframe:
            keyframes.append(number)
            assert vp8.is_keyframe_data(frame.data) if name == "VP8" else h264.is_keyframe_data(frame.data)
    assert keyframes == [0, 4, 8]


def test_every_h264_keyframe_brings_its_parameter_sets() -> None:
    encoder = H264Encoder()
    for number in range(6):
        frame = one(encoder.encode(CARD.picture(number), number * TICKS, force_keyframe=number % 3 == 0))
        assert (h264.parameter_sets(frame.data) is not None) == frame.keyframe


@pytest.mark.parametrize("name", ["VP8", "H264"])
def test_a_decoded_keyframe_is_not_encoded_as_a_keyframe_again(name: str) -> None:
    encoder, decoder, again = video_encoder_for(name), VideoDecoder(name), video_encoder_for(name)
    kinds = []
    for number in range(6):
        frame = one(encoder.encode(CARD.picture(number), number * TICKS, force_keyframe=True))
        (picture,) = decoder.decode(frame.data, 0)
        kinds.append(one(again.encode(picture, number * TICKS)).keyframe)
    assert kinds == [True, False, False, False, False, False]


@pytest.mark.parametrize("name", ["VP8", "H264"])
def test_another_size_begins_with_a_keyframe_of_that_size(name: str) -> None:
    encoder, decoder = video_encoder_for(name), VideoDecoder(name)
    sizes = [(320, 240), (320, 240), (160, 120), (160, 120), (320, 240)]
    keyframes = []
    for number, (width, height) in enumerate(sizes):
        frame = one(encoder.encode(TestCard(width, height).picture(number), number * TICKS))
        keyframes.append(frame.keyframe)
        (picture,) = decoder.decode(frame.data, 0)
        assert (picture.width, picture.height) == (width, height)
        assert read_frame_number(picture) == number
    assert keyframes == [True, False, True, False, True]
    assert encoder.reopened == 2


@pytest.mark.parametrize("name", ["VP8", "H264"])
def test_a_source_that_jumps_in_time_does_not_disturb_the_encoder(name: str) -> None:
    encoder = video_encoder_for(name)
    for number, timestamp in enumerate([0, 3000, 900_000_000, 900_003_000, 100, 100, 3100]):
        assert one(encoder.encode(CARD.picture(number), timestamp)).timestamp == timestamp
    assert encoder.reopened == 0


def bits_per_second(encoder: VideoEncoder, first: int, last: int) -> float:
    sizes = [len(one(encoder.encode(noisy_picture(n), n * TICKS)).data) for n in range(first, last)]
    settled = sizes[len(sizes) // 2 :]
    return sum(settled) * 8 * 30 / len(settled)


def test_h264_follows_its_bitrate_down_and_up_without_a_keyframe() -> None:
    encoder = H264Encoder(VideoEncoderConfiguration(bitrate_bps=600_000))
    assert bits_per_second(encoder, 0, 60) == pytest.approx(600_000, rel=0.25)
    encoder.set_bitrate(200_000)
    assert bits_per_second(encoder, 60, 150) == pytest.approx(200_000, rel=0.25)
    encoder.set_bitrate(600_000)
    assert bits_per_second(encoder, 150, 270) == pytest.approx(600_000, rel=0.25)
    assert encoder.reopened == 0


def test_h264_reopens_only_beyond_its_ceiling_and_rarely() -> None:
    encoder = H264Encoder(VideoEncoderConfiguration(bitrate_bps=300_000, reopen_interval_s=1.0))
    keyframes = []
    for number in range(90):
        if number == 10:
            encoder.set_bitrate(2_000_000)
        if one(encoder.encode(CARD.picture(number), number * TICKS)).keyframe:
            keyframes.append(number)
    assert keyframes == [0, 30]


def test_h264_takes_a_lower_ceiling_with_a_keyframe_somebody_asked_for() -> None:
    encoder = H264Encoder(VideoEncoderConfiguration(bitrate_bps=2_000_000))
    sizes = {}
    for number in range(100):
        if number == 30:
            encoder.set_bitrate(200_000)
        frame = one(encoder.encode(noisy_picture(number), number * TICKS, force_keyframe=number == 80))
        if frame.keyframe:
            sizes[number] = len(frame.data)
    assert list(sizes) == [0, 80]
    assert encoder.reopened == 1
    assert sizes[80] < sizes[0] / 2


def test_vp8_reopens_for_a_new_bitrate_at_most_every_two_seconds() -> None:
    encoder = Vp8Encoder(VideoEncoderConfiguration(bitrate_bps=1_500_000, reopen_interval_s=2.0))
    keyframes = []
    for number in range(151):
        encoder.set_bitrate(1_500_000 - 8_000 * number)  # a rate that never rests
        if one(encoder.encode(CARD.picture(number), number * TICKS)).keyframe:
            keyframes.append(number)
    assert keyframes == [0, 60, 120]
    assert encoder.reopened == 2


def test_vp8_merges_a_small_change_of_bitrate_with_a_keyframe_somebody_asked_for() -> None:
    encoder = Vp8Encoder(VideoEncoderConfiguration(bitrate_bps=1_000_000))
    keyframes = []
    for number in range(120):
        if number == 10:
            encoder.set_bitrate(950_000)
        if one(encoder.encode(CARD.picture(number), number * TICKS, force_keyframe=number in (20, 100))).keyframe:
            keyframes.append(number)
        if number == 99:
            assert encoder.reopened == 0
    assert keyframes == [0, 20, 100]
    assert encoder.reopened == 1


def test_bitrates_stay_within_their_bounds() -> None:
    encoder = Vp8Encoder(VideoEncoderConfiguration(min_bitrate_bps=100_000, max_bitrate_bps=900_000, bitrate_bps=50))
    assert encoder.bitrate_bps == 100_000
    encoder.set_bitrate(10**9)
    assert encoder.bitrate_bps == 900_000


def test_other_pixel_formats_are_converted() -> None:
    picture = av.VideoFrame.from_ndarray(np.zeros((240, 320, 3), np.uint8), format="rgb24")
    assert one(H264Encoder().encode(picture, 0)).keyframe


def test_an_odd_size_is_refused_with_a_sentence() -> None:
    with pytest.raises(CodecError, match="even sides"):
        Vp8Encoder().encode(av.VideoFrame(321, 240, "yuv420p"), 0)


@pytest.mark.parametrize("name", ["VP8", "H264"])
def test_a_decoder_survives_broken_input_and_recovers_with_a_keyframe(name: str) -> None:
    encoder, decoder = video_encoder_for(name), VideoDecoder(name)
    generator = random.Random(7)
    for number in range(40):
        data = bytearray(one(encoder.encode(CARD.picture(number), number * TICKS, force_keyframe=number == 39)).data)
        if number < 39:
            for _ in range(8):
                data[generator.randrange(len(data))] ^= 1 << generator.randrange(8)
        pictures = decoder.decode(bytes(data[: generator.randrange(1, len(data))] if number % 3 == 0 else data), 0)
        if number == 39:
            pictures = decoder.decode(bytes(data), 0)
            assert [read_frame_number(picture) for picture in pictures][-1:] == [39]
    assert decoder.decode(b"", 0) == []
    assert decoder.errors > 0


def test_a_picture_that_claims_to_be_huge_is_refused_before_memory_is_taken() -> None:
    decoder = VideoDecoder("VP8")
    assert decoder.decode(bytes.fromhex("d002009d012aff3fff3f") + bytes(1000), 0) == []
    assert decoder.errors == 1
    (large,) = H264Encoder().encode(av.VideoFrame(640, 480, "yuv420p"), 0)
    small_only = VideoDecoder("H264", DecoderConfiguration(max_pixels=320 * 240))
    assert small_only.decode(large.data, 0) == []
    assert small_only.errors == 1
    assert VideoDecoder("H264", DecoderConfiguration(max_frame_bytes=10)).decode(large.data, 0) == []


def loudness(decoder: AudioDecoder, packets: list[EncodedFrame]) -> float:
    sound = np.concatenate(
        [part.to_ndarray().reshape(-1) for packet in packets for part in decoder.decode(packet.data, packet.timestamp)]
    )
    return float(np.sqrt(np.mean((sound[len(sound) // 2 :].astype(np.float64) / 32768) ** 2)))


@pytest.mark.parametrize(("name", "clock_rate"), [("opus", 48_000), ("PCMU", 8_000), ("PCMA", 8_000)])
def test_sound_of_another_rate_becomes_packets_of_20_ms_in_a_row(name: str, clock_rate: int) -> None:
    encoder, decoder = audio_encoder_for(name), AudioDecoder(name)
    tone = Tone(sample_rate=44_100, tone_hz=400, tone_level=0.5, beep_level=0.0)
    packets: list[EncodedFrame] = []
    first = (1 << 32) - clock_rate // 10
    for start in range(0, 44_100, 1_000):
        timestamp = (first + start * clock_rate // 44_100) % (1 << 32)
        packets += encoder.encode(tone.sound(start, 1_000), timestamp)
    step = clock_rate // 50
    assert [packet.timestamp for packet in packets] == [(first + i * step) % (1 << 32) for i in range(len(packets))]
    assert {packet.duration for packet in packets} == {step}
    assert len(packets) in (50, 51), "45 times 1000 samples are 1.02 s"
    assert loudness(decoder, packets) == pytest.approx(0.5 / 2**0.5, rel=0.15)
    assert decoder.errors == 0


def test_long_sound_of_another_rate_has_no_holes() -> None:
    encoder, tone = audio_encoder_for("PCMU"), Tone(sample_rate=44_100)
    packets: list[EncodedFrame] = []
    for start in range(0, 6 * 44_100, 1_024):  # what MP3 and AAC have: 185.76 ticks of 8000 Hz
        packets += encoder.encode(tone.sound(start, 1_024), round(start * 8_000 / 44_100))
    assert [packet.timestamp for packet in packets] == [160 * i for i in range(len(packets))]
    assert len(packets) > 295


def test_an_audio_encoder_follows_a_timestamp_that_jumps() -> None:
    encoder = OpusEncoder()
    tone = Tone()
    assert [packet.timestamp for packet in encoder.encode(tone.sound(0, 1_000), 0)] == [0]
    assert [packet.timestamp for packet in encoder.encode(tone.sound(0, 960), 1_005)] == [960]
    assert [packet.timestamp for packet in encoder.encode(tone.sound(0, 960), 500_000)] == [500_000]


def test_opus_changes_its_bitrate_between_two_packets() -> None:
    encoder = OpusEncoder(AudioEncoderConfiguration(bitrate_bps=16_000))
    tone = Tone(tone_level=0.5)
    sizes = []
    for index in range(100):
        if index == 50:
            encoder.set_bitrate(96_000)
        packet = one(encoder.encode(tone.sound(index * 960, 960), index * 960))
        assert packet.timestamp == index * 960
        assert opus.duration_samples(packet.data) == 960
        sizes.append(len(packet.data))
    assert sum(sizes[50:]) > 3 * sum(sizes[:50])
    with pytest.raises(ConfigurationError):
        encoder.set_bitrate(100)


def test_opus_in_stereo() -> None:
    encoder = OpusEncoder(AudioEncoderConfiguration(channels=2))
    packet = one(encoder.encode(Tone().sound(0, 960), 0))
    parsed = opus.parse_packet(packet.data)
    assert parsed is not None
    assert parsed.stereo
    (sound,) = AudioDecoder("opus", channels=2).decode(packet.data, 0)
    assert sound.layout.name == "stereo"


def test_broken_opus_is_counted() -> None:
    decoder = AudioDecoder("opus")
    assert decoder.decode(b"\x7b\x00", 0) == []
    assert decoder.decode(b"", 0) == []
    assert decoder.errors == 2


@pytest.mark.parametrize("make", [video_encoder_for, audio_encoder_for, VideoDecoder, AudioDecoder])
def test_an_unknown_codec_raises_with_the_known_ones(make: type[VideoDecoder]) -> None:
    with pytest.raises(ConfigurationError, match="use"):
        make("theora")


@pytest.mark.parametrize(
    "mistake",
    [
        lambda: VideoEncoderConfiguration(frame_rate=0),
        lambda: VideoEncoderConfiguration(min_bitrate_bps=10, max_bitrate_bps=5),
        lambda: VideoEncoderConfiguration(vp8_speed=17),
        lambda: AudioEncoderConfiguration(bitrate_bps=1),
        lambda: AudioEncoderConfiguration(channels=3),
        lambda: AudioEncoderConfiguration(frame_ms=25),
        lambda: AudioEncoderConfiguration(expected_loss_percent=101),
        lambda: AudioDecoder("PCMU", channels=2),
    ],
)
def test_numbers_that_make_no_sense_raise_at_once(mistake: object) -> None:
    assert callable(mistake)
    with pytest.raises(ConfigurationError):
        mistake()


@pytest.mark.parametrize("codec", ["opus", "PCMU", "PCMA"])
def test_sound_of_an_array_that_does_not_say_its_rate_is_told_to(codec: str) -> None:
    sound = av.AudioFrame.from_ndarray(np.zeros((1, 960), np.int16), format="s16", layout="mono")
    with pytest.raises(CodecError, match="set the frame's sample_rate"):
        audio_encoder_for(codec).encode(sound, 0)
