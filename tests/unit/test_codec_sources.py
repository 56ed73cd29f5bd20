"""The test card, the slate, the ringback, files and loops: what they show and when."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

from support.avsync import card_frames
from triortc.codecs.configuration import SlateConfiguration
from triortc.codecs.decoders import AudioDecoder, VideoDecoder
from triortc.codecs.encoders import video_encoder_for
from triortc.codecs.frames import EncodedFrame
from triortc.codecs.glyphs import GLYPH_HEIGHT, GLYPH_WIDTH, text_mask
from triortc.codecs.looping import LoopPlayer
from triortc.codecs.recorder import Recorder, RecorderTrack
from triortc.codecs.slate import encoded_ringback, encoded_slate, slate_picture
from triortc.codecs.sources import MediaFileSource, SourceFrame, TestCardSource
from triortc.codecs.testcard import TestCard, Tone, read_flash, read_frame_number
from triortc.errors import CodecError, ConfigurationError

SLATE = SlateConfiguration(width=320, height=240, loop_s=1.0, ringback_on_s=0.2, ringback_off_s=0.3)


@pytest.mark.parametrize("number", [0, 1, 29, 30, 12345, (1 << 24) - 1])
def test_a_test_card_tells_its_number_and_its_flash(number: int) -> None:
    card = TestCard(640, 480, 30)
    picture = card.picture(number)
    assert read_frame_number(picture) == number
    assert read_flash(picture) == card.is_flash(number) == (number % 30 < 2)


@pytest.mark.parametrize("name", ["VP8", "H264"])
def test_the_number_survives_strong_compression_and_scaling(name: str) -> None:
    card = TestCard(640, 480, 30)
    encoder, decoder = video_encoder_for(name), VideoDecoder(name)
    encoder.set_bitrate(80_000)
    for number in range(35):
        (frame,) = encoder.encode(card.picture(number), number * 3000)
        (picture,) = decoder.decode(frame.data, 0)
        assert read_frame_number(picture) == number
        assert read_frame_number(picture.reformat(width=214, height=160)) == number
        assert read_flash(picture) == card.is_flash(number)


def test_neither_slate_nor_plain_pictures_are_taken_for_a_test_card() -> None:
    assert read_frame_number(slate_picture(SLATE, 0)) is None
    for value in (0, 16, 128, 235, 255):
        plain = av.VideoFrame.from_ndarray(np.full((360, 320), value, np.uint8), format="yuv420p")
        assert read_frame_number(plain) is None


def test_slate_and_test_card_have_clearly_different_colours() -> None:
    def saturation(picture: av.VideoFrame) -> float:
        chroma = picture.to_ndarray()[picture.height :].astype(int) - 128
        return float(np.abs(chroma).mean())

    assert saturation(TestCard(320, 240).picture(0)) > 2 * saturation(slate_picture(SLATE, 0))


def test_the_beep_begins_with_the_second_and_ends_with_the_flash() -> None:
    tone = Tone(sample_rate=48_000, beep_s=2 / 30)
    loud = np.flatnonzero(np.abs(tone.samples(48_000, 48_000)) > 0.2 * 32768)
    assert loud[0] < 48
    assert 3_150 < loud[-1] < 3_200
    assert np.array_equal(tone.samples(0, 500)[100:], tone.samples(100, 400))


def test_the_test_card_source_gives_both_in_order_of_time() -> None:
    source = TestCardSource(TestCard(320, 240, 25))
    assert source.next_deadline() is None
    source.start(100.0)
    assert source.poll_frame(99.9) is None
    items: list[SourceFrame] = []
    while (item := source.poll_frame(101.0)) is not None:
        items.append(item)
    times = [item.time_s for item in items]
    assert times == sorted(times)
    assert sum(isinstance(item.frame, av.VideoFrame) for item in items) == 26
    assert sum(isinstance(item.frame, av.AudioFrame) for item in items) == 51
    assert source.next_deadline() == pytest.approx(101.02)
    assert items[-1].timestamp(90_000, first=(1 << 32) - 1) == 89_999
    source.close()
    assert source.next_deadline() is None


@pytest.mark.parametrize("size", [(100, 240), (320, 90), (136, 240)])
def test_a_test_card_of_an_unfit_size_is_refused(size: tuple[int, int]) -> None:
    with pytest.raises(ConfigurationError):
        TestCard(*size)


def test_text_is_drawn_without_a_font_file() -> None:
    assert text_mask("").shape == (GLYPH_HEIGHT, 0)
    assert text_mask("Il", 3).shape == (GLYPH_HEIGHT * 3, (2 * GLYPH_WIDTH + 1) * 3)
    assert not np.array_equal(text_mask("a"), text_mask("b"))
    assert text_mask("\u4e2d").any(), "an unknown letter is a box"


@pytest.mark.parametrize("name", ["VP8", "H264"])
def test_the_slate_is_encoded_once_and_begins_with_its_only_keyframe(name: str) -> None:
    frames = encoded_slate(name, SLATE)
    assert encoded_slate(name, SLATE) is frames
    assert [frame.keyframe for frame in frames] == [True] + [False] * 9
    assert {frame.duration for frame in frames} == {9000}
    decoder = VideoDecoder(name)
    first, *_, last = [picture for frame in frames for picture in decoder.decode(frame.data, 0)]
    expected = slate_picture(SLATE, 0).to_ndarray().astype(int)
    assert np.abs(first.to_ndarray() - expected).mean() < 4
    assert np.abs(last.to_ndarray() - first.to_ndarray().astype(int)).max() > 20, "the dots pulse"


@pytest.mark.parametrize(("name", "clock_rate"), [("opus", 48_000), ("PCMU", 8_000), ("PCMA", 8_000)])
def test_the_ringback_is_a_tone_and_then_silence(name: str, clock_rate: int) -> None:
    packets = encoded_ringback(name, SLATE)
    assert [packet.timestamp for packet in packets] == [index * clock_rate // 50 for index in range(25)]
    decoder = AudioDecoder(name)
    sound = np.concatenate(
        [part.to_ndarray().reshape(-1) for packet in packets for part in decoder.decode(packet.data, 0)]
    ).astype(np.float64)
    on, off = sound[clock_rate // 20 : clock_rate * 3 // 20], sound[clock_rate // 4 :]
    assert 0.05 < np.abs(on).max() / 32768 < 0.25
    assert np.abs(off).max() / 32768 < 0.01
    crossings = np.count_nonzero(np.diff(np.signbit(on)))
    assert crossings / 2 / 0.1 == pytest.approx(425, abs=15)


def test_the_standard_ringback_is_one_second_on_and_four_off() -> None:
    frames = encoded_ringback("PCMU", SlateConfiguration())
    assert sum(frame.duration for frame in frames) == 5 * 8_000


LOOP = [EncodedFrame(bytes((index,)), index * 9000, 9000, index == 0) for index in range(3)]


def test_a_loop_keeps_its_pace_and_its_timestamps_go_on() -> None:
    player = LoopPlayer(LOOP, 90_000, timestamp=(1 << 32) - 9000)
    assert player.next_deadline() is None
    assert player.poll_frame(5.0) is None
    player.start(10.0)
    sent = []
    now = 10.0
    for _ in range(5):
        frame = player.poll_frame(now)
        assert frame is not None
        sent.append((frame.data[0], frame.timestamp))
        assert player.poll_frame(now) is None
        deadline = player.next_deadline()
        assert deadline == pytest.approx(now + 0.1)
        now = deadline or 0.0
    assert sent == [(0, (1 << 32) - 9000), (1, 0), (2, 9000), (0, 18000), (1, 27000)]
    player.stop()
    assert player.next_deadline() is None
    assert player.next_timestamp == 36000
    player.start(20.0)
    frame = player.poll_frame(20.0)
    assert frame is not None
    assert (frame.data[0], frame.timestamp) == (0, 36000)


def test_a_keyframe_is_the_next_frame_when_it_is_asked_for() -> None:
    player = LoopPlayer(LOOP, 90_000)
    player.start(0.0)
    player.poll_frame(0.0)
    player.request_keyframe()
    frame = player.poll_frame(0.1)
    assert frame is not None
    assert (frame.keyframe, frame.timestamp) == (True, 9000)


def test_a_late_loop_skips_and_goes_on_with_a_keyframe_instead_of_a_burst() -> None:
    player = LoopPlayer(LOOP, 90_000, max_lateness_s=0.5)
    player.start(0.0)
    player.poll_frame(0.0)
    frame = player.poll_frame(10.05)
    assert frame is not None
    assert (frame.keyframe, frame.timestamp) == (True, 100 * 9000)
    assert player.poll_frame(10.05) is None


def test_a_loop_without_frames_or_durations_is_refused() -> None:
    with pytest.raises(ConfigurationError):
        LoopPlayer([], 90_000)
    with pytest.raises(ConfigurationError):
        LoopPlayer([EncodedFrame(b"x", 0)], 90_000)


@pytest.fixture(scope="module")
def movie(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("movie") / "card.webm"
    recorder = Recorder(path, [RecorderTrack("v", "VP8"), RecorderTrack("a", "opus")], started_at_s=0.0)
    for sent in card_frames("VP8", "opus", 1.0):
        recorder.write(sent.kind[0], sent.frame, sent.time_s)
    assert recorder.finish(1.0).path == path
    return path


def test_a_file_plays_its_pictures_and_sound_in_order_at_their_times(movie: Path) -> None:
    source = MediaFileSource(movie)
    source.start(50.0)
    times, numbers, samples = [], [], 0
    while (deadline := source.next_deadline()) is not None:
        item = source.poll_frame(deadline)
        assert item is not None
        times.append(item.time_s)
        if isinstance(item.frame, av.VideoFrame):
            numbers.append((read_frame_number(item.frame), round(item.time_s * 30)))
        else:
            samples += item.frame.samples
    assert times == sorted(times)
    assert times[0] == 0
    assert numbers == [(number, number) for number in range(30)]
    assert samples / 48_000 == pytest.approx(1.0, abs=0.03)
    assert source.decode_errors == 0
    source.close()


def test_a_looping_file_begins_again_with_times_that_go_on(movie: Path) -> None:
    source = MediaFileSource(movie, loop=True)
    source.start(0.0)
    pictures: list[tuple[int | None, float]] = []
    previous = 0.0
    while len(pictures) < 75:
        item = source.poll_frame(1e9)
        assert item is not None
        assert item.time_s >= previous - 0.01
        previous = item.time_s
        if isinstance(item.frame, av.VideoFrame):
            pictures.append((read_frame_number(item.frame), item.time_s))
    assert [number for number, _ in pictures] == [index % 30 for index in range(75)]
    assert pictures[60][1] == pytest.approx(2.0, abs=0.1)
    source.close()
    assert source.poll_frame(1e9) is None


@pytest.mark.parametrize(("codec", "layout"), [("pcm_s16le", "mono"), ("flac", "stereo")])
def test_sound_of_long_frames_comes_in_pieces_that_can_be_paced(codec: str, layout: str, tmp_path: Path) -> None:
    path = tmp_path / ("sound.flac" if codec == "flac" else "sound.wav")
    channels = 2 if layout == "stereo" else 1
    heard = np.arange(44_100 * channels, dtype=np.int16).reshape(1, -1)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=44_100)
        assert isinstance(stream, av.AudioStream)
        stream.layout, stream.format = layout, "s16"
        frame = av.AudioFrame.from_ndarray(heard, format="s16", layout=layout)
        frame.sample_rate = 44_100
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            container.mux(packet)
    source = MediaFileSource(path)
    source.start(0.0)
    pieces: list[SourceFrame] = []
    while (due := source.next_deadline()) is not None:
        piece = source.poll_frame(due)
        assert piece is not None
        pieces.append(piece)
    sounds = [piece.frame for piece in pieces if isinstance(piece.frame, av.AudioFrame)]
    assert max(sound.samples for sound in sounds) <= 44_100 // 50
    assert np.array_equal(np.concatenate([sound.to_ndarray() for sound in sounds], axis=1), heard)
    ends = np.cumsum([sound.samples for sound in sounds]) / 44_100
    assert np.allclose([piece.time_s for piece in pieces[1:]], ends[:-1], atol=1e-3)


def test_a_source_is_started_once(movie: Path) -> None:
    source = MediaFileSource(movie)
    source.start(0.0)
    with pytest.raises(ConfigurationError, match="started before"):
        source.start(1.0)
    source.close()


def test_files_that_cannot_be_played_raise_with_a_sentence(tmp_path: Path, movie: Path) -> None:
    with pytest.raises(CodecError, match="cannot read"):
        MediaFileSource(tmp_path / "missing.webm")
    garbage = tmp_path / "garbage.webm"
    garbage.write_bytes(bytes(1000))
    with pytest.raises(CodecError, match="cannot read"):
        MediaFileSource(garbage)
    with pytest.raises(CodecError, match="pixels"):
        MediaFileSource(movie, max_pixels=1000)


def test_a_damaged_file_plays_what_can_be_decoded(movie: Path, tmp_path: Path) -> None:
    data = bytearray(movie.read_bytes()[: movie.stat().st_size * 2 // 3])
    for offset in range(len(data) // 2, len(data), 997):
        data[offset] ^= 0xFF
    damaged = tmp_path / "damaged.webm"
    damaged.write_bytes(data)
    source = MediaFileSource(damaged)
    source.start(0.0)
    frames = 0
    while source.poll_frame(1e9) is not None:
        frames += 1
    assert frames > 10
    source.close()
