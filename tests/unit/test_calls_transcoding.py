"""Streams between legs that share no codec: what is dropped on a busy machine, what is refused, when it ends."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any, cast

import pytest
import trio
import trio.testing

from support.avsync import card_frames
from triortc.codecs.frames import EncodedFrame
from triortc.codecs.payload.formats import packetizer_for
from triortc.codecs.registry import MediaKind
from triortc.codecs.transcoder import VideoTranscoder
from triortc.engine.calls import transcoding
from triortc.engine.calls.leg_configuration import MediaConfiguration
from triortc.engine.calls.transcoding import MAX_WAITING, Transcodings
from triortc.engine.relay.converter import Converter
from triortc.engine.rtp.header import RtpHeader
from triortc.errors import CodecError

CODEC_OF = {96: "vp8", 111: "opus"}


class FakePlane:
    """The seam to the data plane: which kinds have no common format, who converts them, what was sent."""

    def __init__(self) -> None:
        self.kinds: tuple[MediaKind, ...] = ("audio", "video")
        self.converters: dict[MediaKind, Converter | None] = {}
        self.sent: list[tuple[MediaKind, int]] = []

    def kinds_without_common_format(self, leg: str) -> tuple[MediaKind, ...]:
        return self.kinds

    def convert(self, leg: str, kind: MediaKind, converter: Converter | None, now: float) -> None:
        self.converters[kind] = converter

    def send_converted(
        self, leg: str, kind: MediaKind, codec_name: str, payloads: list[Any], timestamp: int, now: float, **_: object
    ) -> bool:
        self.sent.append((kind, timestamp))
        return True


class FakeStream:
    """A stream of the source."""

    def __init__(self) -> None:
        self.run = object()
        self.asked = 0
        self.keyframes = SimpleNamespace(request=self._request)

    def _request(self, now: float) -> None:
        self.asked += 1

    def codec_name(self, payload_type: int) -> str:
        return CODEC_OF[payload_type]


class House:
    """Transcodings over a fake plane, and a source that sends to them."""

    def __init__(self, transcodings: Transcodings, plane: FakePlane) -> None:
        self.transcodings, self.plane, self.stream = transcodings, plane, FakeStream()
        self._number = 0
        self._packetize = packetizer_for("vp8")
        self._session = SimpleNamespace(
            media=SimpleNamespace(
                sections=[
                    SimpleNamespace(kind=kind, codecs=(SimpleNamespace(codec=SimpleNamespace(name=name)),))
                    for kind, name in (("audio", "PCMU"), ("video", "H264"))
                ]
            )
        )

    def update(self) -> None:
        self.transcodings.update("leg", cast(Any, self._session))

    def picture(self, frame: EncodedFrame) -> None:
        payloads = self._packetize.packetize(frame.data, 1100)
        for at, payload in enumerate(payloads):
            self._give("video", 96, at == len(payloads) - 1, frame.timestamp, payload)

    def sound(self, frame: EncodedFrame) -> None:
        self._give("audio", 111, False, frame.timestamp, frame.data)

    def _give(self, kind: MediaKind, payload_type: int, marker: bool, timestamp: int, payload: bytes) -> None:
        converter = self.plane.converters[kind]
        assert converter is not None
        header: RtpHeader = (marker, payload_type, self._number & 0xFFFF, timestamp, 7, 12, 0, 0, False)
        self._number += 1
        converter.receive(cast(Any, self.stream), header, memoryview(payload), trio.current_time())

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait for codec threads."""
        with trio.fail_after(20):
            while not condition():
                await trio.testing.wait_all_tasks_blocked(0.01)


@asynccontextmanager
async def open_house() -> AsyncGenerator[House]:
    plane = FakePlane()
    async with trio.open_nursery() as nursery:
        endpoint = SimpleNamespace(flush=lambda now: None)
        house = House(
            Transcodings(cast(Any, plane), cast(Any, endpoint), nursery, MediaConfiguration(max_transcodings=2)), plane
        )
        house.update()
        yield house
        nursery.cancel_scope.cancel()


def card(kind: str, seconds: float) -> list[EncodedFrame]:
    return [item.frame for item in card_frames("VP8", "opus", seconds) if item.kind == kind]


async def test_pictures_that_the_machine_cannot_do_are_dropped_up_to_a_keyframe_that_is_asked_for() -> None:
    frames = card("video", 1.0)
    async with open_house() as house:
        for frame in frames[: MAX_WAITING["video"] + 3]:  # no thread has had a chance yet
            house.picture(frame)
        assert house.stream.asked > 0
        assert house.transcodings.dropped == MAX_WAITING["video"] + 3
        house.picture(frames[0])
        await house.until(lambda: bool(house.plane.sent))
        assert house.plane.sent == [("video", frames[0].timestamp)]


async def test_sound_is_never_older_than_what_went_before_it_and_old_sound_gives_way_to_new() -> None:
    frames = card("audio", 1.0)
    async with open_house() as house:
        for frame in (*frames[0:3], frames[4], frames[3], frames[4], *frames[5:9]):
            house.sound(frame)
        await house.until(lambda: len(house.plane.sent) >= 6)
        sent = [timestamp for _, timestamp in house.plane.sent]
        assert sent == sorted(set(sent))
        assert house.transcodings.dropped == 0
        for frame in frames[10 : 10 + MAX_WAITING["audio"] + 2]:
            house.sound(frame)
        assert house.transcodings.dropped == 2


async def test_a_codec_that_fails_ends_its_stream_in_words_and_no_other(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(VideoTranscoder):
        def __init__(self, *_: object, **__: object) -> None:
            raise CodecError("no encoder")

    monkeypatch.setattr(transcoding, "VideoTranscoder", Broken)
    async with open_house() as house:
        house.picture(card("video", 0.1)[0])
        await house.until(lambda: house.plane.converters["video"] is None)
        assert house.transcodings.running == 1
        for frame in card("audio", 0.2):
            house.sound(frame)
        await house.until(lambda: bool(house.plane.sent))
    assert "it cannot be transcoded" in caplog.text


async def test_a_source_that_shares_a_format_after_all_is_not_transcoded_any_more() -> None:
    async with open_house() as house:
        assert house.transcodings.running == 2
        house.update()
        assert house.transcodings.running == 2
        house.plane.kinds = ("audio",)
        house.update()
        assert house.plane.converters["video"] is None
        assert house.transcodings.running == 1
        house.transcodings.close("leg")
        assert house.transcodings.running == 0
        await trio.testing.wait_all_tasks_blocked()


async def test_more_streams_than_allowed_are_not_begun() -> None:
    async with open_house() as house:
        assert not house.transcodings.room
        house.transcodings.update("another", cast(Any, house._session))
        assert house.transcodings.running == 2
