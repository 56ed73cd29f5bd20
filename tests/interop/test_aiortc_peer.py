"""aiortc at the other end of our peer connection, over real UDP on loopback, in both roles."""

from __future__ import annotations

import pytest
import trio

from support.aiortc_process import AiortcClient, open_aiortc_client
from support.peers import LOOPBACK
from triortc import PeerConnection, RtcSessionDescription, open_peer_connection
from triortc.codecs.configuration import VideoEncoderConfiguration
from triortc.codecs.registry import H264, VP8, Codec
from triortc.codecs.sources import TestCardSource
from triortc.codecs.testcard import TestCard
from triortc.codecs.threads import CodecThreads
from triortc.engine.peer.tracks import decode_frames, send_source

pytest.importorskip("aiortc")


async def offer_to(client: AiortcClient, connection: PeerConnection, codec: Codec) -> None:
    connection.add_transceiver("audio")
    connection.add_transceiver("video", codecs=[codec])
    await client.write(sdp=connection.set_local_description().sdp)
    connection.set_remote_description(RtcSessionDescription("answer", (await client.read())["sdp"]))


async def answer_to(client: AiortcClient, connection: PeerConnection, codec: Codec) -> None:
    connection.add_transceiver("video", codecs=[codec])
    connection.set_remote_description(RtcSessionDescription("offer", (await client.read())["sdp"]))
    for transceiver in connection.transceivers:
        transceiver.direction = "sendrecv"
    await client.write(sdp=connection.set_local_description().sdp)


async def see_and_hear(connection: PeerConnection, luminance: int) -> None:
    """Decode until the other side's picture and its tone have come."""
    audio, video = connection.transceiver("audio"), connection.transceiver("video")
    assert audio is not None
    assert video is not None
    threads = CodecThreads(2)
    seen = 0
    async for decoded in decode_frames(video.receiver, threads=threads):
        picture = decoded.frame.to_ndarray()[:400]
        seen += abs(int(picture[200, 300]) - luminance) < 12
        if seen >= 20:
            break
    heard = 0
    async for decoded in decode_frames(audio.receiver, threads=threads):
        heard += float(abs(decoded.frame.to_ndarray().astype(float)).mean()) > 1000
        if heard >= 20:
            break


@pytest.mark.parametrize(
    ("we_offer", "codec", "further"),
    [
        (True, VP8, ""),
        (False, VP8, ""),
        (True, H264, ""),
        (False, H264, ""),
        (False, VP8, "channel"),
        (False, VP8, "video"),
    ],
    ids=[
        "we offer VP8",
        "aiortc offers VP8",
        "we offer H264",
        "aiortc offers H264",
        "aiortc offers a data channel, too",
        "aiortc offers a second picture, too",
    ],
)
async def test_media_goes_both_ways(we_offer: bool, codec: Codec, further: str) -> None:
    async with (
        open_aiortc_client(200, answers=we_offer, further=further) as client,
        open_peer_connection(LOOPBACK) as connection,
        trio.open_nursery() as nursery,
    ):
        with trio.fail_after(30):
            await (offer_to if we_offer else answer_to)(client, connection, codec)
            await connection.connected()
            senders = [transceiver.sender for transceiver in connection.transceivers]
            source = TestCardSource(TestCard(320, 240, 15))
            small = VideoEncoderConfiguration(bitrate_bps=300_000)
            nursery.start_soon(lambda: send_source(source, *senders, video=small))
            await see_and_hear(connection, 200)
            figures = await client.until("our test card is seen and heard", pictures=20, sounds=20, loudness=100)
            # It counts the transport of the channel, which we have refused, for as long as it waits for it.
            assert figures["state"] == ("connecting" if further == "channel" else "connected")
            assert {sender.codec.name for sender in senders if sender.codec} == {"opus", codec.name}
        nursery.cancel_scope.cancel()
