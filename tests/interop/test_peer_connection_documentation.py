"""docs/peer-connection.md: what it shows runs over real UDP, what it names exists."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import trio

import triortc
from support.peers import LOOPBACK, connected_pair
from triortc.codecs.configuration import VideoEncoderConfiguration
from triortc.codecs.encoders import video_encoder_for
from triortc.codecs.registry import VP8
from triortc.codecs.testcard import TestCard
from triortc.engine.endpoint import Endpoint

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "peer-connection.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)


@pytest.fixture(scope="module")
def shown() -> dict[str, Any]:
    """Everything that the page defines."""
    names: dict[str, Any] = {}
    for block in BLOCKS:
        exec(compile(block, "peer-connection.md", "exec"), names)
    return names


async def test_the_caller_that_is_shown_agrees_on_codecs_with_whoever_answers(
    shown: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(triortc, "open_peer_connection", partial(triortc.open_peer_connection, LOOPBACK))
    async with triortc.open_peer_connection() as answerer:
        for kind in ("audio", "video"):
            answerer.add_transceiver(kind)

        async def signaling(sdp: str) -> str:
            answerer.set_remote_description(triortc.RtcSessionDescription("offer", sdp))
            return answerer.set_local_description().sdp

        audio, video = await shown["call"](signaling)
        assert (audio.name, video.name) == ("opus", "VP8")


async def test_what_is_shown_of_sending_receiving_recording_and_statistics(
    shown: dict[str, Any], tmp_path: Path
) -> None:
    async with connected_pair() as (offerer, answerer), trio.open_nursery() as nursery:
        sound, pictures = answerer.transceivers
        nursery.start_soon(shown["play"], offerer)
        with trio.fail_after(20):
            assert await shown["count"](sound.receiver, 10) == 10
            assert await shown["count"](pictures.receiver, 10) >= 1
            pictures.receiver.request_keyframe()
            assert 0 < await shown["brightness"](pictures.receiver) < 255
            pictures.receiver.request_keyframe()
            result = await shown["record"](pictures, tmp_path / "pictures.mkv", 40)
            assert result.error is None
            assert result.path is not None
            while answerer.get_stats()["candidate_pair"]["current_round_trip_time"] is None:
                await shown["count"](sound.receiver, 1)
            rtt_s, lost, jitter_s, _ = shown["quality"](answerer)
        assert 0 < rtt_s < 1
        assert lost == 0
        assert 0 <= jitter_s < 1
        nursery.cancel_scope.cancel()


async def test_pictures_go_back_changed_as_it_is_shown(shown: dict[str, Any]) -> None:
    async with connected_pair() as (offerer, answerer), trio.open_nursery() as nursery:
        ours, theirs = offerer.transceivers[1], answerer.transceivers[1]
        nursery.start_soon(shown["mirror"], theirs)

        async def show() -> None:
            """A picture that is white above and black below."""
            pixels = np.zeros((240, 320, 3), np.uint8)
            pixels[:120] = 255
            for number in range(1000):
                picture = av.VideoFrame.from_ndarray(pixels, format="rgb24")
                encoder.request_keyframe()
                for frame in encoder.encode(picture, 3000 * number):
                    ours.sender.send_frame(frame)
                await trio.sleep(1 / 30)

        encoder = video_encoder_for("VP8", VideoEncoderConfiguration(bitrate_bps=300_000))
        nursery.start_soon(show)
        with trio.fail_after(20):
            async for decoded in triortc.decode_frames(ours.receiver):
                pixels = decoded.picture.to_ndarray(format="gray")
                assert pixels[:100].mean() < 50 < 200 < pixels[140:].mean()
                break
        nursery.cancel_scope.cancel()


async def test_a_camera_is_shown_and_goes_on_to_a_third_peer_undecoded(shown: dict[str, Any]) -> None:
    async with (
        connected_pair() as (filmed, middle),
        connected_pair() as (onward, viewer),
        trio.open_nursery() as nursery,
    ):
        pictures = shown["camera"]("testsrc=size=320x240:rate=30,realtime", "lavfi")  # FFmpeg's own, at its own pace
        nursery.start_soon(triortc.send_frames, pictures, filmed.transceivers[1].sender)
        nursery.start_soon(shown["forward"], middle.transceivers[1].receiver, onward.transceivers[1].sender)
        seen = 0
        with trio.fail_after(20):
            async for decoded in triortc.decode_frames(viewer.transceivers[1].receiver):
                assert decoded.picture.width == 320
                seen += 1
                if seen == 10:
                    viewer.transceivers[1].receiver.request_keyframe()
                if seen > 10 and decoded.received.frame.keyframe:
                    break
        assert filmed.get_stats()["outbound_rtp_video"]["key_frames_sent"] >= 2  # asked for through both
        nursery.cancel_scope.cancel()


async def test_one_camera_is_shown_to_two_peers(shown: dict[str, Any]) -> None:
    async with connected_pair() as (first, one), connected_pair() as (second, other), trio.open_nursery() as nursery:
        pictures = shown["camera"]("testsrc=size=320x240:rate=30,realtime", "lavfi")
        senders = [connection.transceivers[1].sender for connection in (first, second)]
        nursery.start_soon(shown["broadcast"], pictures, senders)
        for viewer in (one, other):
            with trio.fail_after(20):
                assert 0 < await shown["brightness"](viewer.transceivers[1].receiver) < 255
        nursery.cancel_scope.cancel()


async def test_an_encoder_of_ones_own_feeds_a_sender_as_it_is_shown(shown: dict[str, Any]) -> None:
    async with connected_pair() as (offerer, answerer):
        sender, card = offerer.transceivers[1].sender, TestCard(320, 240)
        encoder = video_encoder_for("VP8", VideoEncoderConfiguration(bitrate_bps=300_000))
        for number in range(5):
            for frame in encoder.encode(card.picture(number), 3000 * number):
                assert shown["send_picture"](sender, encoder, frame.data, frame.timestamp, frame.keyframe) > 0
        with trio.fail_after(10):
            assert await shown["count"](answerer.transceivers[1].receiver, 5) >= 1


async def test_connections_share_the_endpoint_that_is_shown(shown: dict[str, Any]) -> None:
    ports = set()

    async def serve_one(number: int, endpoint: Endpoint) -> None:
        async with (
            triortc.open_peer_connection(endpoint=endpoint) as shared,
            triortc.open_peer_connection(LOOPBACK) as peer,
        ):
            peer.add_transceiver("video", codecs=[VP8])
            shared.set_remote_description(peer.set_local_description())
            peer.set_remote_description(shared.set_local_description())
            with trio.fail_after(20):
                await peer.connected()
            ports.add(peer.get_stats()["candidate_pair"]["remote_port"])

    await shown["gateway"](serve_one, 5)
    assert len(ports) == 1


def test_every_file_that_is_linked_exists() -> None:
    for link in re.findall(r"\]\((?!http)([^)#]+)", TEXT):
        assert (ROOT / "docs" / link).resolve().exists(), link
