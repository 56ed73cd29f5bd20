"""A peer connection's state machine and what it says to those who use it wrongly."""

from __future__ import annotations

import re
import socket
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from support.media_ports import until
from support.peers import LOOPBACK, exchange
from triortc import (
    ConfigurationError,
    ConnectionClosedError,
    EndpointConfiguration,
    IceError,
    InvalidStateError,
    PeerConfiguration,
    PeerConnection,
    RtcSessionDescription,
    SdpError,
    open_peer_connection,
)
from triortc.codecs.frames import EncodedFrame
from triortc.codecs.registry import AV1, H264, OPUS, VP8
from triortc.engine.ice.events import IceState
from triortc.engine.peer.statistics_values import TransportStatistics
from triortc.engine.session.events import ConnectionState


def ufrag_of(connection: PeerConnection) -> str:
    """What its description says."""
    assert connection.local_description is not None
    found = re.search(r"a=ice-ufrag:(\S+)", connection.local_description.sdp)
    assert found is not None
    return found[1]


def uses_what_it_describes(connection: PeerConnection) -> bool:
    """Whether media takes a pair of the generation in its description."""
    return connection.get_stats()["transport"]["ice_local_username_fragment"] == ufrag_of(connection)


def signaling(connection: PeerConnection) -> str:
    return connection.signaling_state.value


async def test_rfc_9429_3_2_an_exchange_goes_through_the_signaling_states() -> None:
    async with open_peer_connection(LOOPBACK) as offerer, open_peer_connection(LOOPBACK) as answerer:
        offerer.add_transceiver("audio")
        assert signaling(offerer) == "stable"
        offer = offerer.create_offer()
        assert signaling(offerer) == "stable"
        assert offerer.local_description is None
        offerer.set_local_description(offer)
        assert signaling(offerer) == "have-local-offer"
        assert offerer.local_description == offer
        answerer.set_remote_description(offer)
        assert signaling(answerer) == "have-remote-offer"
        assert answerer.remote_description == offer
        answer = answerer.create_answer()
        assert answerer.connection_state is ConnectionState.NEW
        answerer.set_local_description(answer)
        offerer.set_remote_description(answer)
        for connection in (offerer, answerer):
            assert signaling(connection) == "stable"
            assert connection.connection_state is ConnectionState.CONNECTING
            assert connection.ice_connection_state is IceState.CHECKING
        assert (offerer.local_description, offerer.remote_description) == (offer, answer)
        assert (answerer.local_description, answerer.remote_description) == (answer, offer)


def answer_first(connection: PeerConnection) -> None:
    connection.create_answer()


def candidate_first(connection: PeerConnection) -> None:
    connection.add_ice_candidate(None)


def offer_nothing(connection: PeerConnection) -> None:
    connection.create_offer()


def set_an_answer_that_nobody_asked_for(connection: PeerConnection) -> None:
    connection.set_remote_description(RtcSessionDescription("answer", "v=0"))


def roll_nothing_back(connection: PeerConnection) -> None:
    connection.set_local_description(RtcSessionDescription("rollback"))


def set_an_offer_that_was_not_created(connection: PeerConnection) -> None:
    connection.set_local_description(RtcSessionDescription("offer", "v=0"))


def add_two_of_a_kind(connection: PeerConnection) -> None:
    connection.add_transceiver("audio")
    connection.add_transceiver("audio")


def change_the_offer(connection: PeerConnection) -> None:
    connection.add_transceiver("audio")
    offer = connection.create_offer()
    connection.set_local_description(RtcSessionDescription("offer", offer.sdp.replace("opus", "supo")))


def answer_our_own_offer(connection: PeerConnection) -> None:
    connection.add_transceiver("audio")
    connection.set_local_description()
    connection.create_answer()


def use_it_closed(connection: PeerConnection) -> None:
    connection.add_transceiver("audio")
    connection.close()
    connection.create_offer()


def add_to_it_closed(connection: PeerConnection) -> None:
    connection.close()
    connection.add_transceiver("audio")


@pytest.mark.parametrize(
    ("misuse", "words"),
    [
        (answer_first, "begin with an offer"),
        (candidate_first, "set_remote_description first"),
        (offer_nothing, "add_transceiver first"),
        (set_an_answer_that_nobody_asked_for, "stable"),
        (roll_nothing_back, "rollback"),
        (set_an_offer_that_was_not_created, "create_offer gave last"),
        (add_two_of_a_kind, "one of each kind"),
        (change_the_offer, "as it is"),
        (answer_our_own_offer, "have-local-offer"),
        (use_it_closed, "open another"),
        (add_to_it_closed, "open another"),
    ],
)
async def test_the_wrong_order_of_calls_is_said_at_once_in_words(
    misuse: Callable[[PeerConnection], None], words: str
) -> None:
    async with open_peer_connection(LOOPBACK) as connection:
        with pytest.raises(InvalidStateError, match=words):
            misuse(connection)


async def test_arguments_that_make_no_sense_are_refused() -> None:
    async with open_peer_connection(LOOPBACK) as connection:
        with pytest.raises(ConfigurationError, match="audio or video"):
            connection.add_transceiver("data")  # type: ignore[arg-type]  # the mistake that is tested
        with pytest.raises(ConfigurationError, match="no direction"):
            connection.add_transceiver("audio", direction="both")  # type: ignore[arg-type]  # likewise
        with pytest.raises(ConfigurationError, match="no payload format"):
            connection.add_transceiver("video", codecs=[AV1])
        with pytest.raises(ConfigurationError, match="no codec for video"):
            connection.add_transceiver("video", codecs=[OPUS])
        with pytest.raises(ConfigurationError, match="at least one codec"):
            connection.add_transceiver("video", codecs=[])
        assert connection.transceivers == ()
    with pytest.raises(ConfigurationError, match="rollback"):
        RtcSessionDescription("pranswer")  # type: ignore[arg-type]  # likewise
    with pytest.raises(ConfigurationError, match="MTU"):
        PeerConfiguration(max_payload_bytes=9000)


async def test_bad_descriptions_of_the_peer_change_nothing() -> None:
    async with open_peer_connection(LOOPBACK) as connection, open_peer_connection(LOOPBACK) as peer:
        with pytest.raises(SdpError):
            connection.set_remote_description(RtcSessionDescription("offer", "garbage"))
        assert signaling(connection) == "stable"
        connection.add_transceiver("video", codecs=[VP8])
        offer = connection.set_local_description()
        with pytest.raises(SdpError):
            connection.set_remote_description(RtcSessionDescription("answer", "v=0\r\n"))
        assert signaling(connection) == "have-local-offer"
        peer.set_remote_description(offer)
        connection.set_remote_description(peer.set_local_description())
        assert signaling(connection) == "stable"
        with pytest.raises(SdpError):
            connection.add_ice_candidate("candidate:nonsense")


async def test_rfc_9143_an_answer_without_bundle_is_refused_in_words_and_the_offer_still_waits_for_another() -> None:
    async with open_peer_connection(LOOPBACK) as offerer, open_peer_connection(LOOPBACK) as answerer:
        offerer.add_transceiver("audio")
        offerer.add_transceiver("video")
        answerer.set_remote_description(offerer.set_local_description())
        bundled = answerer.set_local_description()
        unbundled = replace(bundled, sdp=re.sub(r"a=group:BUNDLE.*\r\n", "", bundled.sdp))
        with pytest.raises(SdpError, match="bundle its sections, or refuse all but one"):
            offerer.set_remote_description(unbundled)
        assert signaling(offerer) == "have-local-offer"
        assert offerer.connection_state is ConnectionState.NEW
        first, *others = unbundled.sdp.split("m=video")
        assert len(others) == 1
        offerer.set_remote_description(replace(bundled, sdp=f"{first}m=video 0{others[0][others[0].index(' UDP') :]}"))
        await offerer.connected()
        await answerer.connected()


async def test_rfc_8445_9_either_side_restarts_ice_and_media_goes_on_with_its_keys() -> None:
    async with open_peer_connection(LOOPBACK) as ours, open_peer_connection(LOOPBACK) as peer:
        video = ours.add_transceiver("video").sender
        exchange(ours, peer)
        with trio.fail_after(10):
            await ours.connected()
            await peer.connected()
        for restarting, other in ((ours, peer), (peer, ours)):
            before = [ufrag_of(connection) for connection in (ours, peer)]
            restarting.restart_ice()
            exchange(restarting, other)
            after = [ufrag_of(connection) for connection in (ours, peer)]
            assert not set(before) & set(after)
            for each in (ours, peer):
                await until(partial(uses_what_it_describes, each), "media takes new pairs")
            assert ours.connection_state is peer.connection_state is ConnectionState.CONNECTED
            exchange(restarting, other)
            assert [ufrag_of(connection) for connection in (ours, peer)] == after, "one restart restarts once"
        taken = peer.transceiver("video")
        assert taken is not None
        video.send_frame(EncodedFrame(b"\x10\x00\x00\x9d\x01\x2a\x80\x02\xe0\x01" + bytes(400), 0, 3000, True))
        with trio.fail_after(10):
            async for received in taken.receiver.frames():
                assert received.frame.keyframe
                break


async def test_a_restart_needs_a_connection_and_its_answer_new_credentials() -> None:
    async with open_peer_connection(LOOPBACK) as ours, open_peer_connection(LOOPBACK) as peer:
        ours.add_transceiver("audio")
        with pytest.raises(InvalidStateError, match="restart_ice"):
            ours.restart_ice()
        exchange(ours, peer)
        with trio.fail_after(10):
            await ours.connected()
        old = peer.local_description
        assert old is not None
        ours.restart_ice()
        ours.set_local_description()
        with pytest.raises(SdpError, match="new ICE credentials"):
            ours.set_remote_description(old)
        assert signaling(ours) == "have-local-offer"
        ours.set_local_description(RtcSessionDescription("rollback", ""))
        assert ours.connection_state is ConnectionState.CONNECTED
        ours.close()
        with pytest.raises(InvalidStateError, match="open another"):
            ours.restart_ice()


async def test_why_a_section_was_refused_is_said_on_either_side_until_it_is_agreed_on() -> None:
    async with open_peer_connection(LOOPBACK) as ours, open_peer_connection(LOOPBACK) as peer:
        for connection, codec in ((ours, H264), (peer, VP8)):
            connection.add_transceiver("audio")
            connection.add_transceiver("video", codecs=[codec])
        exchange(peer, ours)
        words = "the video section has no common codec: offered are VP8; taken here: H264 (packetization-mode=1"
        audio, video = ours.transceivers
        assert audio.refusal is None
        assert video.refusal is not None
        assert video.refusal.startswith(words)
        assert [each.refusal for each in peer.transceivers] == [None, "the peer has refused it"]
        video.codecs = (VP8,)
        exchange(peer, ours)
        assert [each.refusal for each in (*ours.transceivers, *peer.transceivers)] == [None] * 4


async def test_an_offer_adds_the_missing_transceivers_to_receive_only() -> None:
    async with open_peer_connection(LOOPBACK) as ours, open_peer_connection(LOOPBACK) as peer:
        own = ours.add_transceiver("audio")
        peer.add_transceiver("audio")
        peer.add_transceiver("video")
        exchange(peer, ours)
        assert [each.kind for each in ours.transceivers] == ["audio", "video"]
        assert ours.transceiver("audio") is own
        added = ours.transceiver("video")
        assert added is not None
        assert added.direction == "recvonly"


async def test_rfc_9429_5_7_what_an_offer_added_goes_with_it_unless_it_was_put_to_use() -> None:
    async with open_peer_connection(LOOPBACK) as offerer, open_peer_connection(LOOPBACK) as answerer:
        for kind in ("audio", "video"):
            offerer.add_transceiver(kind)
        answerer.add_transceiver("audio")
        offer = offerer.set_local_description()
        answerer.set_remote_description(offer)
        answerer.set_remote_description(RtcSessionDescription("rollback", ""))
        assert [transceiver.kind for transceiver in answerer.transceivers] == ["audio"]
        assert "m=video" not in answerer.create_offer().sdp
        answerer.set_remote_description(offer)
        answerer.transceivers[1].direction = "sendrecv"
        answerer.set_remote_description(RtcSessionDescription("rollback", ""))
        assert [transceiver.kind for transceiver in answerer.transceivers] == ["audio", "video"]
        answerer.set_remote_description(offer)
        offerer.set_remote_description(answerer.set_local_description())
        with trio.fail_after(5):
            await answerer.connected()


async def test_frames_before_the_connection_are_dropped_and_counted() -> None:
    async with open_peer_connection(LOOPBACK) as connection:
        video = connection.add_transceiver("video").sender
        assert (video.codec, video.ssrc, video.ready, video.target_bitrate_bps) == (None, None, False, None)
        assert video.send_frame(EncodedFrame(b"\0" * 10, 0)) == 0
        assert video.frames_dropped == 1
        assert connection.get_stats()["transport"]["dtls_state"] == "new"
        assert [(each.mid, each.current_direction) for each in connection.transceivers] == [(None, None)]


async def test_statistics_have_all_their_names_from_the_beginning() -> None:
    async with open_peer_connection(LOOPBACK) as offerer, open_peer_connection(LOOPBACK) as answerer:
        offerer.add_transceiver("audio")
        before = offerer.get_stats()["transport"]
        assert (before["ice_role"], before["packets_sent"], before["timestamp"]) == ("unknown", 0, None)
        exchange(offerer, answerer)
        with trio.fail_after(5):
            await offerer.connected()
        after = offerer.get_stats()["transport"]
        assert set(before) == set(after) == TransportStatistics.__required_keys__
        assert offerer._session is not None
        assert {name for name in after if name.startswith("dropped_")} == {
            f"dropped_{reason}" for reason in offerer._session.dropped()
        }


async def test_candidates_that_come_too_early_are_kept_up_to_the_limit() -> None:
    configuration = PeerConfiguration(endpoint=LOOPBACK.endpoint, session=LOOPBACK.session, max_early_candidates=1)
    async with open_peer_connection(configuration) as ours, open_peer_connection(LOOPBACK) as peer:
        peer.add_transceiver("audio")
        ours.set_remote_description(peer.set_local_description())
        for _ in range(3):
            ours.add_ice_candidate("candidate:1 1 udp 2130706431 127.0.0.1 9999 typ host")
        assert ours.candidates_dropped == 2


def without_candidates(description: RtcSessionDescription) -> tuple[RtcSessionDescription, list[str]]:
    """What a peer sends that trickles, and what it sends behind it."""
    lines = description.sdp.split("\r\n")
    candidates = [line for line in lines if line.startswith("a=candidate:")]
    sdp = "\r\n".join(line for line in lines if line not in candidates and line != "a=end-of-candidates")
    return RtcSessionDescription(description.type, sdp), candidates


async def test_rfc_8838_candidates_of_an_offered_restart_are_for_the_restart() -> None:
    async with open_peer_connection(LOOPBACK) as ours, open_peer_connection(LOOPBACK) as peer:
        peer.add_transceiver("audio")
        exchange(peer, ours)
        with trio.fail_after(10):
            await ours.connected()
        peer.restart_ice()
        offer, candidates = without_candidates(peer.set_local_description())
        ours.set_remote_description(offer)
        for candidate in (*candidates, None):
            ours.add_ice_candidate(candidate)
        answer, _ = without_candidates(ours.set_local_description())
        peer.set_remote_description(answer)  # only we know where to look
        with trio.fail_after(10):
            await until(lambda: uses_what_it_describes(ours), "the pair of the restart carries media")


async def test_candidates_of_an_offer_go_with_it_when_it_is_rolled_back() -> None:
    configuration = PeerConfiguration(endpoint=LOOPBACK.endpoint, session=LOOPBACK.session, max_early_candidates=1)
    async with open_peer_connection(configuration) as ours, open_peer_connection(LOOPBACK) as peer:
        peer.add_transceiver("audio")
        offer, candidates = without_candidates(peer.set_local_description())
        ours.set_remote_description(offer)
        ours.add_ice_candidate("candidate:1 1 udp 2130706431 127.0.0.1 9999 typ host")
        ours.set_remote_description(RtcSessionDescription("rollback"))
        ours.set_remote_description(offer)
        ours.add_ice_candidate(candidates[0])
        assert ours.candidates_dropped == 0


async def test_a_closed_connection_says_so_to_everybody_who_waits() -> None:
    async with open_peer_connection(LOOPBACK) as connection, trio.open_nursery() as nursery:
        audio = connection.add_transceiver("audio")
        ended: list[str] = []

        async def read() -> None:
            assert [frame async for frame in audio.receiver.frames()] == []
            ended.append("frames")

        async def watch() -> None:
            assert not await audio.sender.wait_keyframe_request()
            ended.append("requests")

        async def wait() -> None:
            with pytest.raises(ConnectionClosedError, match="closed here"):
                await connection.connected()
            ended.append("connected")

        async def follow() -> None:
            states = [state async for state in connection.connection_states()]
            assert states == [ConnectionState.NEW, ConnectionState.CLOSED]
            ended.append("states")

        for task in (read, watch, wait, follow):
            nursery.start_soon(task)
        await trio.testing.wait_all_tasks_blocked()
        connection.close()
        connection.close()
        with trio.fail_after(5):
            await trio.testing.wait_all_tasks_blocked()
        assert sorted(ended) == ["connected", "frames", "requests", "states"]


async def test_what_is_no_configuration_or_endpoint_is_told_in_words() -> None:
    with pytest.raises(ConfigurationError, match="takes a PeerConfiguration, not EndpointConfiguration"):
        async with open_peer_connection(EndpointConfiguration()):  # type: ignore[arg-type]  # the mistake
            pass
    with pytest.raises(ConfigurationError, match="endpoint is what open_endpoint gives, not EndpointConfiguration"):
        async with open_peer_connection(endpoint=EndpointConfiguration()):  # type: ignore[arg-type]  # the mistake
            pass


async def test_what_is_no_description_candidate_codec_or_frame_is_told_in_words() -> None:
    async with open_peer_connection(LOOPBACK) as connection:
        for wrong in ({"type": "offer", "sdp": ""}, "v=0", None):
            with pytest.raises(ConfigurationError, match="RtcSessionDescription"):
                connection.set_remote_description(wrong)  # type: ignore[arg-type]  # as those do who check no types
        with pytest.raises(ConfigurationError, match="RtcSessionDescription"):
            connection.set_local_description("v=0")  # type: ignore[arg-type]  # the mistake
        with pytest.raises(ConfigurationError, match="decode it"):
            RtcSessionDescription("offer", b"v=0")  # type: ignore[arg-type]  # the mistake
        with pytest.raises(ConfigurationError, match="of a browser's candidate"):
            connection.add_ice_candidate({"candidate": ""})  # type: ignore[arg-type]  # the mistake
        for codecs in ("vp8", ["vp8"]):
            with pytest.raises(ConfigurationError, match="DEFAULT_CODECS"):
                connection.add_transceiver("video", codecs=codecs)  # type: ignore[arg-type]  # the mistake
        video = connection.add_transceiver("video")
        with pytest.raises(ConfigurationError, match="send_source"):
            video.sender.send_frame(b"picture")  # type: ignore[arg-type]  # the mistake


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"media_host": "127.0.0.1"}, r"write \('127.0.0.1',\)"),
        ({"media_host": ("localhost",)}, "'localhost' is no IP address"),
        ({"media_host": ("0.0.0.0",)}, "0.0.0.0 is no address that peers could be told: leave media_host empty"),
        ({"media_host": ("::",), "media_advertise": "192.0.2.1"}, ":: is no address that peers could be told"),
        ({"media_advertise": "calls.example"}, "media_advertise: 'calls.example' is no IP address"),
        ({"media_port": 70_000}, "choose 0 to 65535"),
        ({"media_port": -1}, "choose 0 to 65535"),
        ({"max_routes_per_session": 0}, "1 or more"),
    ],
)
def test_where_media_is_received_is_checked_at_once(wrong: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        EndpointConfiguration(**wrong)


def test_every_address_may_be_bound_where_it_is_said_what_it_is_reached_by() -> None:
    assert EndpointConfiguration(media_host=("0.0.0.0",), media_advertise="192.0.2.1").media_advertise == "192.0.2.1"


async def test_a_media_port_that_is_taken_is_named() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        endpoint = EndpointConfiguration(media_host=("127.0.0.1",), media_port=port)
        with pytest.raises(OSError, match=f"UDP port {port}: Address already in use"):
            async with open_peer_connection(PeerConfiguration(endpoint=endpoint)):
                pass


@pytest.mark.parametrize("endpoint", [{"media_host": ("127.0.0.1",)}, {"loopback": True}])
async def test_where_loopback_is_bound_peers_on_this_machine_are_taken(endpoint: dict[str, Any]) -> None:
    here = PeerConfiguration(endpoint=EndpointConfiguration(**endpoint))
    only = PeerConfiguration(endpoint=EndpointConfiguration(media_host=("127.0.0.1",)))
    async with open_peer_connection(here) as offerer, open_peer_connection(only) as answerer:
        offerer.add_transceiver("audio")
        exchange(offerer, answerer)
        with trio.fail_after(10):
            await offerer.connected()


def unreachable(description: RtcSessionDescription) -> RtcSessionDescription:
    """The same with candidates that nothing is sent to."""
    return replace(description, sdp=re.sub(r"127\.0\.0\.1 (\d+) typ", r"224.0.0.1 \1 typ", description.sdp))


async def test_a_connection_without_a_path_says_what_became_of_the_candidates(autojump_clock: MockClock) -> None:
    async with open_peer_connection(LOOPBACK) as offerer, open_peer_connection(LOOPBACK) as answerer:
        offerer.add_transceiver("audio")
        answerer.set_remote_description(unreachable(offerer.set_local_description()))
        offerer.set_remote_description(unreachable(answerer.set_local_description()))
        with pytest.raises(IceError, match=r"no candidate of the peer to check \(.*multicast: 1"):
            await offerer.connected()
