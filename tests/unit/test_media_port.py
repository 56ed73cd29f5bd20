"""What call control may expect of the media port, whether it is here, behind a stream or in another process."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from math import inf

import pytest
import trio

from support.media_ports import Form, Port, open_port, until
from support.sdp import make_offer
from triortc.codecs.frames import EncodedFrame
from triortc.engine.calls.media_events import LegFailed, LegLost, LegReady, LegUp, RecordingStopped
from triortc.engine.endpoint_configuration import EndpointConfiguration
from triortc.engine.ice.configuration import IceConfiguration
from triortc.engine.peer.configuration import PeerConfiguration
from triortc.engine.peer.connection import PeerConnection, open_peer_connection
from triortc.engine.peer.description import RtcSessionDescription
from triortc.engine.relay.gate import GateState
from triortc.engine.sdp.negotiated import SdpUnsupportedError
from triortc.engine.session.configuration import SessionConfiguration
from triortc.errors import CallError, SdpError

OFFER = str(make_offer("audio", "video"))
KEYFRAME = b"\x10\x00\x00\x9d\x01\x2a\x80\x02\xe0\x01" + bytes(400)
PEER = PeerConfiguration(
    endpoint=EndpointConfiguration(media_host=("127.0.0.1",)),
    session=SessionConfiguration(ice=IceConfiguration(allow_loopback=True)),
)


async def an_offer_is_answered_and_a_later_one_too(port: Port) -> None:
    port.legs.open_leg("s1", "l1", "visitor")
    assert "m=video" in await port.answer("l1", 1, OFFER)
    assert "m=video" in await port.answer("l1", 2, OFFER)
    port.legs.close_session("s1")


async def a_malformed_offer_is_refused_and_the_leg_can_be_offered_again(port: Port) -> None:
    port.legs.open_leg("s2", "l2", "visitor")
    with pytest.raises(SdpError, match="line 2"):
        await port.answer("l2", 1, "v=0\r\nnonsense")
    assert "m=audio" in await port.answer("l2", 2, OFFER)
    port.legs.close_leg("l2")


async def an_old_offer_is_refused_and_an_ice_restart_is_answered_with_new_credentials(port: Port) -> None:
    port.legs.open_leg("s3", "l3", "visitor")
    first = _transport_of(await port.answer("l3", 5, OFFER))
    with pytest.raises(SdpError, match="out of date"):
        await port.answer("l3", 5, OFFER)
    assert _transport_of(await port.answer("l3", 6, OFFER)) == first
    restarted = _transport_of(await port.answer("l3", 7, OFFER.replace("abcd", "wxyz")))
    assert not {line for line in restarted if line.startswith("a=ice-")} & first
    assert {line for line in restarted if line.startswith("a=fingerprint")} <= first
    assert _transport_of(await port.answer("l3", 8, OFFER.replace("abcd", "wxyz"))) == restarted
    port.legs.close_session("s3")


async def a_leg_whose_ice_restarts_stays_up_and_one_that_has_failed_is_offered_anew(port: Port) -> None:
    port.legs.open_leg("s8", "l8", "visitor")
    async with open_peer_connection(PEER) as device:
        device.add_transceiver("audio")
        await _connect(port, "l8", device)
        await port.event(LegUp, lambda event: event.leg == "l8")
        device.restart_ice()
        await _connect(port, "l8", device, neg=2)
        assert device.local_description is not None
        offer = device.local_description.sdp
    await port.event(LegFailed, lambda event: event.leg == "l8")
    with pytest.raises(SdpUnsupportedError, match="new connection"):
        await port.answer("l8", 3, re.sub(r"a=ice-ufrag:\S+", "a=ice-ufrag:wxyz", offer))
    port.legs.close_session("s8")


async def names_are_used_once_and_unknown_ones_are_an_embedder_s_mistake_or_nothing(port: Port) -> None:
    port.legs.open_leg("s4", "l4", "agent")
    with pytest.raises(CallError, match="never used again"):
        port.legs.open_leg("s4", "l4", "agent")
    with pytest.raises(CallError, match="no leg"):
        port.legs.answer("unknown", 1, OFFER)
    port.legs.add_candidates("unknown", 1, "abcd", [("candidate:1 1 udp 1 192.0.2.1 9 typ host", "0")], True)
    port.legs.set_gate("s4", "unknown", "video", GateState.OPEN, 1)
    port.legs.set_source("unknown", "agent", "unknown")
    port.legs.set_view("unknown", "thumbnail")
    port.legs.request_keyframe("unknown")
    port.legs.stop_recording("unknown")
    port.legs.close_leg("unknown")
    port.legs.close_session("unknown")
    assert port.legs.gate_statistics("unknown") == {}
    port.legs.close_session("s4")
    port.legs.close_session("s4")


async def a_recording_that_cannot_be_made_is_told_and_not_raised(port: Port) -> None:
    port.legs.start_recording("s5", "rec_none")
    assert (await port.event(RecordingStopped, lambda event: event.recording == "rec_none")).session == "s5"
    port.legs.open_leg("s5", "l5", "agent")
    await port.answer("l5", 1, OFFER)
    port.legs.start_recording("s5", "rec_nowhere")
    stopped = await port.event(RecordingStopped, lambda event: event.recording == "rec_nowhere")
    assert "directory" in stopped.reason
    port.legs.close_session("s5")


async def a_still_needs_a_session_and_a_picture(port: Port) -> None:
    with pytest.raises(CallError, match="no session"):
        await port.legs.snapshot("unknown", "agent")
    port.legs.open_leg("s6", "l6", "agent")
    await port.answer("l6", 1, OFFER)
    assert await port.legs.snapshot("s6", "agent") is None
    port.legs.close_session("s6")


async def two_devices_see_each_other_once_the_gate_is_open_and_not_before(port: Port) -> None:
    latencies_s: list[float] = []
    port.legs.measure_relay_latency(latencies_s.append, every_s=0.01)
    async with trio.open_nursery() as nursery, open_peer_connection(PEER) as visitor:
        agent_scope = trio.CancelScope()
        visitor.add_transceiver("audio")
        video = visitor.add_transceiver("video")
        port.legs.open_leg("s7", "v7", "visitor")
        port.legs.open_leg("s7", "a7", "agent")
        agent: PeerConnection = await nursery.start(_agent, agent_scope)
        await _connect(port, "v7", visitor)
        await _connect(port, "a7", agent)
        await port.event(LegUp, lambda event: event.leg == "v7")
        await port.event(LegUp, lambda event: event.leg == "a7")
        await port.event(LegReady, lambda event: event.leg == "a7")
        await _counted_some(port, "dropped")
        assert _counted(port, "forwarded") == 0
        for kind in ("audio", "video"):
            port.legs.set_gate("s7", "a7", kind, GateState.OPEN, 1)
        port.legs.request_keyframe("a7")
        with trio.fail_after(10.0):
            async for received in video.receiver.frames():
                assert received.frame.keyframe, "an open gate begins with a whole picture"
                break
        await _counted_some(port, "forwarded")
        await until(lambda: latencies_s, "latency is measured")
        assert 0 <= min(latencies_s) < 10
        port.legs.measure_relay_latency(latencies_s.append, every_s=inf)
        agent_scope.cancel()
        await port.event(LegFailed, lambda event: event.leg == "a7")
        assert any(isinstance(event, LegLost) and event.leg == "a7" for event in port.events)
        port.legs.close_session("s7")


SCENES: list[Callable[[Port], Awaitable[None]]] = [
    an_offer_is_answered_and_a_later_one_too,
    a_malformed_offer_is_refused_and_the_leg_can_be_offered_again,
    an_old_offer_is_refused_and_an_ice_restart_is_answered_with_new_credentials,
    a_leg_whose_ice_restarts_stays_up_and_one_that_has_failed_is_offered_anew,
    names_are_used_once_and_unknown_ones_are_an_embedder_s_mistake_or_nothing,
    a_recording_that_cannot_be_made_is_told_and_not_raised,
    a_still_needs_a_session_and_a_picture,
    two_devices_see_each_other_once_the_gate_is_open_and_not_before,
]


@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.__name__)
@pytest.mark.parametrize("form", ["in_process", "stream"])
async def test_the_media_port_holds(form: Form, scene: Callable[[Port], Awaitable[None]]) -> None:
    async with open_port(form) as port:
        await scene(port)
        assert port.legs.legs == 0, "nothing is left behind"


async def test_the_media_port_in_another_process_holds_all_of_it() -> None:
    async with open_port("worker") as port:
        for scene in SCENES:
            await scene(port)
        assert port.legs.legs == 0, "nothing is left behind"


def _counted(port: Port, name: str) -> int:
    return sum(getattr(one, name) for one in port.legs.gate_statistics("s7").values())


async def _counted_some(port: Port, name: str) -> None:
    """Statistics come every now and then."""
    await until(lambda: _counted(port, name), f"a packet is {name}")


def _transport_of(description: str) -> set[str]:
    return set(re.findall(r"^a=(?:ice-ufrag|ice-pwd|fingerprint):\S+", description, re.MULTILINE))


async def _connect(port: Port, leg: str, connection: PeerConnection, neg: int = 1) -> None:
    connection.set_local_description(connection.create_offer())
    assert connection.local_description is not None
    answer = await port.answer(leg, neg, connection.local_description.sdp)
    connection.set_remote_description(RtcSessionDescription("answer", answer))
    await connection.connected()


async def _agent(scope: trio.CancelScope, task_status: trio.TaskStatus[PeerConnection]) -> None:
    """A device that sends made-up sound and pictures until it leaves."""
    with scope:
        async with open_peer_connection(PEER) as connection:
            audio, video = connection.add_transceiver("audio"), connection.add_transceiver("video")
            task_status.started(connection)
            number = 0
            while True:
                video.sender.send_frame(EncodedFrame(KEYFRAME, number * 1800, 1800, True))
                audio.sender.send_frame(EncodedFrame(b"\xfc" + bytes(40), number * 960, 960))
                number += 1
                await trio.sleep(0.02)
