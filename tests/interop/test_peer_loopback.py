"""Two of our own peer connections over real UDP on loopback: what is sent is what is received."""

from __future__ import annotations

import time
from dataclasses import replace
from itertools import pairwise

import av
import pytest
import trio

from support.peers import LOOPBACK, Leftovers, connected_pair, exchange
from triortc import ConnectionClosedError, DtlsError, IceError, PeerConnection, RtcSessionDescription, SdpError
from triortc import open_peer_connection as open_peer
from triortc.codecs.configuration import VideoEncoderConfiguration
from triortc.codecs.encoders import OpusEncoder, video_encoder_for
from triortc.codecs.frames import EncodedFrame
from triortc.codecs.payload.h264 import split_annex_b
from triortc.codecs.registry import H264, PCMU, VP8
from triortc.codecs.sources import TestCardSource
from triortc.codecs.testcard import TestCard, Tone, read_frame_number
from triortc.codecs.threads import CodecThreads
from triortc.engine.endpoint import open_endpoint
from triortc.engine.peer.playout import ReceivedFrame
from triortc.engine.peer.receiver import RtpReceiver
from triortc.engine.peer.sender import RtpSender
from triortc.engine.peer.tracks import SendStatistics, decode_frames, send_source
from triortc.engine.session.events import ConnectionState
from triortc.engine.streams.configuration import ReportConfiguration

SMALL = VideoEncoderConfiguration(bitrate_bps=300_000)


def sender(connection: PeerConnection, kind: str) -> RtpSender:
    return next(each.sender for each in connection.transceivers if each.kind == kind)


def receiver(connection: PeerConnection, kind: str) -> RtpReceiver:
    return next(each.receiver for each in connection.transceivers if each.kind == kind)


async def take(source: RtpReceiver, count: int) -> list[ReceivedFrame]:
    taken: list[ReceivedFrame] = []
    with trio.fail_after(10):
        async for received in source.frames():
            taken.append(received)
            if len(taken) == count:
                break
    return taken


def pictures(codec_name: str, count: int) -> list[EncodedFrame]:
    encoder, card = video_encoder_for(codec_name, SMALL), TestCard(320, 240)
    return [frame for n in range(count) for frame in encoder.encode(card.picture(n), 3000 * n)]


@pytest.mark.parametrize("codec", [VP8, H264], ids=["VP8", "H264"])
async def test_pictures_arrive_byte_for_byte_in_order(codec: object) -> None:
    async with open_peer(LOOPBACK) as offerer, open_peer(LOOPBACK) as answerer:
        assert codec is VP8 or codec is H264
        offerer.add_transceiver("video", direction="sendonly", codecs=[codec])
        exchange(offerer, answerer)
        with trio.fail_after(10):
            await offerer.connected()
            await answerer.connected()
        out = sender(offerer, "video")
        assert out.codec is not None
        assert out.codec.name == codec.name
        sent = pictures(codec.name, 20)
        received: list[ReceivedFrame] = []
        for frame in sent:
            assert out.send_frame(frame) >= 1
            received += await take(receiver(answerer, "video"), 1)
        # H.264's start codes have three or four bytes; they do not travel (RFC 6184 section 5.6).
        units = split_annex_b if codec is H264 else (lambda data: data)
        assert [units(item.frame.data) for item in received] == [units(frame.data) for frame in sent]
        assert [item.frame.keyframe for item in received] == [frame.keyframe for frame in sent]
        steps = {b.frame.timestamp - a.frame.timestamp for a, b in pairwise(received)}
        assert steps <= {3000, 3000 - (1 << 32)}
        assert {(item.ssrc, item.codec_name, item.clock_rate) for item in received} == {
            (out.ssrc, codec.name.lower(), 90_000)
        }


async def test_sound_arrives_byte_for_byte_at_its_pace() -> None:
    async with connected_pair() as (offerer, answerer):
        encoder, tone = OpusEncoder(), Tone()
        sent = [frame for n in range(15) for frame in encoder.encode(tone.sound(960 * n, 960), 960 * n)]
        out = sender(offerer, "audio")
        for frame in sent:
            assert out.send_frame(frame) == 1
            await trio.sleep(0.005)  # four times as fast as it is played: the buffer paces it
        received = [item for item in await take(receiver(answerer, "audio"), len(sent)) if not item.lost]
        assert [item.frame.data for item in received] == [frame.data for frame in sent][: len(received)]
        assert {item.frame.duration for item in received} == {960}
        assert len(received) >= len(sent) - 1


async def test_a_test_card_is_encoded_sent_received_and_decoded() -> None:
    threads = CodecThreads(2)
    async with connected_pair() as (offerer, answerer), trio.open_nursery() as nursery:
        statistics = SendStatistics()
        nursery.start_soon(
            lambda: send_source(
                TestCardSource(TestCard(320, 240, 15)),
                sender(offerer, "audio"),
                sender(offerer, "video"),
                threads=threads,
                video=SMALL,
                statistics=statistics,
            )
        )
        numbers: list[int | None] = []
        with trio.fail_after(15):
            async for decoded in decode_frames(receiver(answerer, "video"), threads=threads):
                assert isinstance(decoded.frame, av.VideoFrame)
                numbers.append(read_frame_number(decoded.frame))
                if len(numbers) == 8:
                    receiver(answerer, "video").request_keyframe()
                if len(numbers) > 8 and decoded.received.frame.keyframe:
                    break
        assert None not in numbers
        assert numbers == sorted(set(numbers), key=lambda number: number or 0)
        assert sender(offerer, "video").keyframe_requests >= 1
        assert sender(offerer, "video").keyframes_sent >= 2
        loud = 0.0
        with trio.fail_after(10):
            async for decoded in decode_frames(receiver(answerer, "audio"), threads=threads):
                loud = max(loud, float(abs(decoded.frame.to_ndarray().astype(float)).max()))
                if loud > 0.4 * 32767 or 0.4 < loud <= 1:
                    break
        assert statistics.sounds > 0
        assert statistics.pictures >= len(numbers)
        nursery.cancel_scope.cancel()


async def test_a_reader_that_sleeps_loses_the_oldest_frames_and_goes_on_with_a_keyframe() -> None:
    async with connected_pair(replace(LOOPBACK, receive_queue_frames=4)) as (offerer, answerer):
        frames = pictures("VP8", 12)
        out, into = sender(offerer, "video"), receiver(answerer, "video")
        out.take_keyframe_request()
        for frame in frames:
            out.send_frame(frame)
        while into.frames_received < len(frames):
            await trio.lowlevel.checkpoint()
        assert into.frames_dropped == len(frames)
        async with trio.open_nursery() as nursery:
            taken: list[ReceivedFrame] = []

            async def read() -> None:
                taken.extend(await take(into, 1))

            nursery.start_soon(read)
            with trio.fail_after(5):
                assert await out.wait_keyframe_request()
            out.send_frame(replace(frames[1], timestamp=99_000))
            out.send_frame(replace(frames[0], timestamp=102_000))
        assert taken[0].frame.keyframe


async def test_statistics_tell_of_both_directions_and_the_path() -> None:
    async with connected_pair() as (offerer, answerer):
        for frame in pictures("VP8", 3):
            sender(offerer, "video").send_frame(frame)
        await take(receiver(answerer, "video"), 3)
        sent, received = offerer.get_stats(), answerer.get_stats()
        assert sent["outbound_rtp_video"]["frames_sent"] == 3
        assert received["inbound_rtp_video"]["frames_received"] == 3
        assert received["inbound_rtp_video"]["packets_received"] == sent["outbound_rtp_video"]["packets_sent"]
        assert sent["transport"]["ice_role"] == "controlling"
        assert received["transport"]["dtls_state"] == "connected"
        assert sent["candidate_pair"]["remote_port"] == received["candidate_pair"]["local_port"]
        # Numbers are numbers to a type checker, too: no cast is needed to count with them.
        assert received["inbound_rtp_video"]["packets_lost"] + received["inbound_rtp_video"]["packets_discarded"] == 0


async def test_statistics_tell_what_the_peer_reports_of_each_stream() -> None:
    often = ReportConfiguration(video_interval_ms=100, grid_ms=10)
    session = replace(LOOPBACK.session, streams=replace(LOOPBACK.session.streams, reports=often))
    async with connected_pair(replace(LOOPBACK, session=session)) as (offerer, answerer):
        before = offerer.get_stats()["remote_inbound_rtp_video"]
        assert (before["packets_lost"], before["fraction_lost"], before["jitter"]) == (None, None, None)
        for frame in pictures("VP8", 3):
            sender(offerer, "video").send_frame(frame)
        await take(receiver(answerer, "video"), 3)
        with trio.fail_after(10):
            while offerer.get_stats()["remote_inbound_rtp_video"]["packets_lost"] is None:
                await trio.lowlevel.checkpoint()
            while "remote_outbound_rtp_video" not in answerer.get_stats():
                await trio.lowlevel.checkpoint()
        sent, received = offerer.get_stats(), answerer.get_stats()
        ours, theirs = sent["outbound_rtp_video"], received["remote_outbound_rtp_video"]
        assert sent["remote_inbound_rtp_video"]["fraction_lost"] == 0.0
        jitter = sent["remote_inbound_rtp_video"]["jitter"]
        assert jitter is not None
        assert 0 <= jitter < 1
        assert (theirs["packets_sent"], theirs["bytes_sent"]) == (ours["packets_sent"], ours["bytes_sent"])
        assert theirs["ssrc"] == ours["ssrc"]
        assert theirs["remote_timestamp"] is not None
        assert abs(theirs["remote_timestamp"] - time.time()) < 60
        assert "remote_outbound_rtp_audio" not in received  # none was sent


async def test_a_renegotiation_changes_the_direction_and_keeps_the_transport() -> None:
    async with connected_pair() as (offerer, answerer):
        pair = offerer.get_stats()["candidate_pair"]
        for each in answerer.transceivers:
            each.direction = "sendonly"
        assert [each.current_direction for each in offerer.transceivers] == ["sendrecv", "sendrecv"]
        exchange(answerer, offerer)
        assert [each.direction for each in offerer.transceivers] == ["sendrecv", "sendrecv"]
        assert [each.current_direction for each in offerer.transceivers] == ["recvonly", "recvonly"]
        assert [each.mid for each in offerer.transceivers] == [each.mid for each in answerer.transceivers] == ["0", "1"]
        assert not sender(offerer, "video").ready
        assert sender(answerer, "video").ready
        assert sender(offerer, "video").send_frame(pictures("VP8", 1)[0]) == 0
        assert sender(answerer, "video").send_frame(pictures("VP8", 1)[0]) > 0
        assert (await take(receiver(offerer, "video"), 1))[0].frame.keyframe
        assert offerer.get_stats()["candidate_pair"]["local_port"] == pair["local_port"]
        assert offerer.connection_state is ConnectionState.CONNECTED


async def test_candidates_may_trickle_before_and_after_the_answer() -> None:
    async with open_peer(LOOPBACK) as offerer, open_peer(LOOPBACK) as answerer:
        offerer.add_transceiver("audio", codecs=[PCMU])
        offer = offerer.set_local_description().sdp
        lines = [line for line in offer.split("\r\n") if line.startswith("a=candidate")]
        bare = "\r\n".join(line for line in offer.split("\r\n") if not line.startswith(("a=candidate", "a=end-of")))
        answerer.set_remote_description(RtcSessionDescription("offer", bare))
        answerer.add_ice_candidate(lines[0])
        answer = answerer.set_local_description()
        answerer.add_ice_candidate(None)
        offerer.set_remote_description(answer)
        with trio.fail_after(10):
            await answerer.connected()


@pytest.mark.parametrize("in_words", [True, False], ids=["rollback", "rolled_back_by_the_offer"])
async def test_rfc_9429_5_7_of_two_offers_at_once_one_is_rolled_back(in_words: bool) -> None:
    async with open_peer(LOOPBACK) as polite, open_peer(LOOPBACK) as other:
        for connection in (polite, other):
            connection.add_transceiver("audio")
            connection.set_local_description()
        offer = other.local_description
        assert offer is not None
        if in_words:
            polite.set_local_description(RtcSessionDescription("rollback"))
        with pytest.raises(SdpError):
            polite.set_remote_description(RtcSessionDescription("offer", "v=0"))
        if not in_words:
            assert polite.signaling_state.value == "have-local-offer", "what cannot be read takes nobody's place"
        polite.set_remote_description(offer)
        other.set_remote_description(polite.set_local_description())
        with trio.fail_after(10):
            await polite.connected()
            await other.connected()


async def test_the_states_are_told_in_order_and_the_peers_good_bye_ends_everything() -> None:
    states: list[ConnectionState] = []
    async with trio.open_nursery() as nursery, connected_pair() as (offerer, answerer):

        async def watch() -> None:
            states.extend([state async for state in answerer.connection_states()])

        nursery.start_soon(watch)
        await trio.testing.wait_all_tasks_blocked()
        offerer.close()
        with trio.fail_after(5):
            assert await take(receiver(answerer, "audio"), 1) == []
            assert not await sender(answerer, "video").wait_keyframe_request()
            with pytest.raises(ConnectionClosedError, match="peer"):
                await answerer.connected()
        offerer.close()
    assert states == [ConnectionState.CONNECTED, ConnectionState.CLOSED]


async def test_connected_says_in_words_that_the_certificate_is_not_the_signalled_one() -> None:
    async with open_peer(LOOPBACK) as offerer, open_peer(LOOPBACK) as answerer, open_peer(LOOPBACK) as other:
        offerer.add_transceiver("audio")
        other.add_transceiver("audio")
        fingerprint = next(line for line in other.create_offer().sdp.split("\r\n") if "fingerprint" in line)
        answerer.set_remote_description(offerer.set_local_description())
        answer = answerer.set_local_description().sdp
        own = next(line for line in answer.split("\r\n") if "fingerprint" in line)
        offerer.set_remote_description(RtcSessionDescription("answer", answer.replace(own, fingerprint)))
        with trio.fail_after(10), pytest.raises(DtlsError, match="fingerprint"):
            await offerer.connected()


async def test_connected_says_in_words_that_there_is_no_path(autojump_clock: trio.testing.MockClock) -> None:
    async with open_peer(LOOPBACK) as offerer, open_peer(LOOPBACK) as answerer:
        offerer.add_transceiver("audio")
        answerer.set_remote_description(offerer.set_local_description())
        answer = answerer.set_local_description()
        answerer.close()
        offerer.set_remote_description(answer)
        with pytest.raises(IceError, match="no path"):
            await offerer.connected()


async def test_connections_can_share_the_sockets_of_one_endpoint() -> None:
    async with open_endpoint(LOOPBACK.endpoint) as endpoint:
        async with (
            open_peer(LOOPBACK, endpoint) as first,
            open_peer(LOOPBACK, endpoint) as second,
            open_peer(LOOPBACK) as far_first,
            open_peer(LOOPBACK) as far_second,
        ):
            for near, far in ((first, far_first), (second, far_second)):
                near.add_transceiver("audio")
                exchange(near, far)
            with trio.fail_after(10):
                await first.connected()
                await second.connected()
            assert endpoint.sessions == 2
        assert endpoint.sessions == 0


async def test_nothing_is_left_behind() -> None:
    await trio.to_thread.run_sync(lambda: None)
    before = Leftovers.now()
    async with connected_pair() as (offerer, answerer), trio.open_nursery() as nursery:
        source = TestCardSource(TestCard(320, 240, 15))
        nursery.start_soon(lambda: send_source(source, sender(offerer, "video"), sender(offerer, "audio"), video=SMALL))
        await take(receiver(answerer, "video"), 3)
        assert Leftovers.now() != before
        nursery.cancel_scope.cancel()
    assert Leftovers.now() == before
