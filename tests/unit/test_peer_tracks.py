"""Sources that are encoded and sent, received frames that are decoded: what holds without a network."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import numpy as np
import pytest
import trio

from support.peers import LOOPBACK, connected_pair, exchange
from triortc import ConfigurationError, open_peer_connection
from triortc.codecs.configuration import AudioEncoderConfiguration, VideoEncoderConfiguration
from triortc.codecs.encoders import AudioEncoder, OpusEncoder, audio_encoder_for
from triortc.codecs.frames import EncodedFrame
from triortc.codecs.registry import OPUS, PCMU, with_parameters
from triortc.codecs.sources import SourceFrame
from triortc.codecs.testcard import TestCard, Tone
from triortc.engine.peer import tracks
from triortc.engine.peer.receiver import RtpReceiver
from triortc.engine.peer.tracks import SendStatistics, decode_frames, send_frames, send_source
from triortc.engine.rtp.header import build_header, parse_header
from triortc.engine.sdp.negotiated import NegotiatedCodec, NegotiatedMedia
from triortc.engine.session.inbound import InboundStream
from triortc.engine.streams.configuration import KeyframeConfiguration, NackConfiguration


class ShortSource:
    """A few pictures, all due at the start."""

    def __init__(self, count: int) -> None:
        self._pictures = [SourceFrame(TestCard(128, 96).picture(n), 0.0) for n in range(count)]
        self._started_at: float | None = None
        self.closed = False

    def start(self, now: float) -> None:
        self._started_at = now

    def next_deadline(self) -> float | None:
        return self._started_at if self._pictures else None

    def poll_frame(self, now: float) -> SourceFrame | None:
        return self._pictures.pop(0) if self._pictures else None

    def close(self) -> None:
        self.closed = True


async def test_a_source_ends_by_itself_and_is_closed_though_nobody_can_receive_it() -> None:
    source, statistics = ShortSource(3), SendStatistics()
    async with open_peer_connection(LOOPBACK) as connection:
        video = connection.add_transceiver("video").sender
        await send_source(source, video, statistics=statistics)
        assert source.closed
        assert (statistics.skipped, statistics.pictures, video.frames_dropped) == (3, 0, 0)


async def test_frames_that_come_by_themselves_are_left_out_while_nobody_can_receive_and_end_with_the_connection() -> (
    None
):
    given = []

    async def frames() -> AsyncIterator[SourceFrame]:
        for number in range(5):
            given.append(number)
            yield SourceFrame(TestCard(128, 96).picture(number), number / 30)
            if number == 2:
                connection.close()

    statistics = SendStatistics()
    async with open_peer_connection(LOOPBACK) as connection:
        video = connection.add_transceiver("video").sender
        await send_frames(frames(), video, statistics=statistics)
        assert (given, statistics.skipped, statistics.pictures) == ([0, 1, 2, 3], 3, 0)


async def test_rfc_3550_5_1_a_source_in_the_place_of_another_goes_on_with_the_clock() -> None:
    async def sounds_and_pictures() -> AsyncIterator[SourceFrame]:
        for number in range(10):
            yield SourceFrame(TestCard(128, 96).picture(number), number / 50)
            yield SourceFrame(Tone().sound(960 * number, 960), number / 50)

    timestamps: dict[str, list[int]] = {"audio": [], "video": []}
    async with connected_pair() as (offerer, _):
        senders = [each.sender for each in offerer.transceivers]
        for kind, sender in zip(timestamps, senders, strict=True):
            send = sender.send_frame

            def noted(frame: EncodedFrame, kind: str = kind, send: Callable[[EncodedFrame], int] = send) -> int:
                timestamps[kind].append(frame.timestamp)
                return send(frame)

            sender.send_frame = noted  # type: ignore[method-assign]  # looks over its shoulder
        for _ in range(2):
            await send_frames(sounds_and_pictures(), *senders)
    for kind, least in (("audio", 18), ("video", 20)):
        assert len(timestamps[kind]) >= least
        assert timestamps[kind] == sorted(set(timestamps[kind])), kind


@pytest.mark.parametrize(("interval_s", "keyframes"), [(0.0, 8), (1000.0, 1)])
async def test_rfc_5104_a_storm_of_keyframe_requests_does_not_make_every_picture_a_keyframe(
    interval_s: float, keyframes: int
) -> None:
    async with connected_pair() as (offerer, _):
        [video] = [each.sender for each in offerer.transceivers if each.kind == "video"]
        video.take_keyframe_request()

        async def pictures() -> AsyncIterator[SourceFrame]:
            for number in range(8):
                video.note_keyframe_request()
                yield SourceFrame(TestCard(128, 96).picture(number), number / 30)

        sent: list[bool] = []
        send = video.send_frame

        def noted(frame: EncodedFrame) -> int:
            sent.append(frame.keyframe)
            return send(frame)

        video.send_frame = noted  # type: ignore[method-assign]  # looks over its shoulder
        configuration = VideoEncoderConfiguration(keyframe_request_interval_s=interval_s)
        await send_frames(pictures(), video, video=configuration)
        assert (len(sent), sum(sent)) == (8, keyframes)
        assert video.keyframe_requests == 8
        assert video.keyframe_requested is (keyframes == 1)  # who was not answered yet is not forgotten


@pytest.mark.parametrize(
    ("declared", "bitrate_bps", "loss_percent"),
    [
        ({"maxaveragebitrate": "8000", "useinbandfec": "1"}, 8_000, 5),
        ({"maxaveragebitrate": "64000", "useinbandfec": "0"}, 32_000, 0),
        ({"maxaveragebitrate": "5999"}, 32_000, 0),
        ({"maxaveragebitrate": "9" * 30}, 32_000, 0),
        ({"maxaveragebitrate": "-1"}, 32_000, 0),
        ({}, 32_000, 0),
    ],
)
async def test_rfc_7587_6_1_sound_is_encoded_within_what_the_peer_has_declared(
    declared: dict[str, str], bitrate_bps: int, loss_percent: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[AudioEncoderConfiguration | None] = []

    def note(codec_name: str, configuration: AudioEncoderConfiguration | None = None) -> AudioEncoder:
        made.append(configuration)
        return audio_encoder_for(codec_name, configuration)

    monkeypatch.setattr(tracks, "audio_encoder_for", note)

    async def sound() -> AsyncIterator[SourceFrame]:
        yield SourceFrame(Tone().sound(0, 960), 0.0)

    async with open_peer_connection(LOOPBACK) as ours, open_peer_connection(LOOPBACK) as peer:
        sender = ours.add_transceiver("audio").sender
        peer.add_transceiver("audio", codecs=[with_parameters(OPUS, declared)])
        exchange(ours, peer)
        await send_frames(sound(), sender)
    expected = AudioEncoderConfiguration(bitrate_bps=bitrate_bps, expected_loss_percent=loss_percent)
    assert made == [expected]


async def test_frames_that_are_none_are_told_what_they_must_be() -> None:
    async def arrays() -> AsyncIterator[SourceFrame]:
        yield np.zeros((2, 2, 3), np.uint8)  # type: ignore[misc]  # the mistake

    async with open_peer_connection(LOOPBACK) as connection:
        video = connection.add_transceiver("video").sender
        with pytest.raises(ConfigurationError, match=r"SourceFrames, not ndarray: .*from_ndarray"):
            await send_frames(arrays(), video)
        with pytest.raises(ConfigurationError, match="send_frames needs one sender of a kind"):
            await send_frames(arrays())


async def test_what_was_encoded_while_another_codec_was_agreed_on_is_not_sent_as_one_of_that() -> None:
    async with connected_pair() as (offerer, answerer):
        audio, _ = offerer.transceivers

        def agree_on_pcmu() -> None:
            audio.codecs = (PCMU,)
            exchange(offerer, answerer)

        class Renegotiating(ShortSource):
            """20 ms of sound; the codec changes while a thread takes it to encode it."""

            def poll_frame(self, now: float) -> SourceFrame | None:
                if super().poll_frame(now) is None:
                    return None
                if self._pictures:
                    trio.from_thread.run_sync(agree_on_pcmu)
                return SourceFrame(Tone().sound(0, 1920), 0.0)

        assert audio.sender.codec is not None
        assert audio.sender.codec.name == "opus"
        await send_source(Renegotiating(2), audio.sender)
        assert audio.sender.codec.name == "PCMU"
        assert audio.sender.frames_sent == 0


async def test_a_source_ends_with_the_connection() -> None:
    source = ShortSource(1000)
    async with open_peer_connection(LOOPBACK) as connection:
        video = connection.add_transceiver("video").sender
        connection.close()
        await send_source(source, video)
    assert source.closed


async def test_a_source_needs_one_sender_of_a_kind() -> None:
    async with open_peer_connection(LOOPBACK) as connection:
        video = connection.add_transceiver("video").sender
        for senders in ((), (video, video)):
            with pytest.raises(ConfigurationError, match="one sender of a kind"):
                await send_source(ShortSource(1), *senders)


async def test_what_is_no_source_sender_or_receiver_is_told_in_words() -> None:
    async with open_peer_connection(LOOPBACK) as connection:
        video = connection.add_transceiver("video")
        with pytest.raises(ConfigurationError, match="a transceiver's `sender`"):
            await send_source(ShortSource(1), video)  # type: ignore[arg-type]  # as those do who check no types
        with pytest.raises(ConfigurationError, match="MediaFileSource"):
            await send_source("film.mp4", video.sender)  # type: ignore[arg-type]  # the mistake
        with pytest.raises(ConfigurationError, match="a transceiver's `receiver`"):
            decode_frames(video)  # type: ignore[arg-type]  # the mistake


def nothing(now: float) -> None:
    """In place of a network."""


async def test_lost_sound_is_bridged_by_the_last_one_fading_out() -> None:
    section = NegotiatedMedia("audio", "0", 0, "sendrecv", (NegotiatedCodec(OPUS, OPUS, 111),))
    stream = InboundStream(1, section, 111, NackConfiguration(), KeyframeConfiguration())
    receiver = RtpReceiver("audio", LOOPBACK, ask_keyframe=nothing, flush=nothing, rearm=lambda: None)
    receiver.take(stream)
    encoder, tone = OpusEncoder(), Tone(tone_level=0.4)
    frames = [frame for n in range(8) for frame in encoder.encode(tone.sound(960 * n, 960), 960 * n)]
    now = 0.0
    for number, frame in enumerate(frames):
        now = 0.02 * number
        if number not in (4, 5):
            packet = build_header(payload_type=111, sequence_number=number, timestamp=frame.timestamp, ssrc=1)
            header = parse_header(packet)
            assert header is not None
            stream.deliver(stream, header, memoryview(packet), memoryview(bytearray(frame.data)), now)
        while (deadline := receiver.next_deadline()) is not None and deadline <= now:
            receiver.handle_timeout(deadline)
    receiver.handle_timeout(now + 0.05)
    receiver.close()
    loudness: list[float] = []
    lost: list[bool] = []
    async for decoded in decode_frames(receiver):
        loudness.append(float(np.abs(decoded.sound.to_ndarray().astype(float)).mean()))
        with pytest.raises(ConfigurationError, match="this frame is sound: take its `sound`"):
            decoded.picture  # noqa: B018  # a property that raises
        lost.append(decoded.received.lost)
        assert decoded.frame.pts == decoded.received.frame.timestamp
    assert lost[4:6] == [True, True]
    assert not any(lost[:4])
    assert loudness[4] == pytest.approx(loudness[3] / 2, rel=0.05)
    assert loudness[5] == pytest.approx(loudness[3] / 4, rel=0.05)
