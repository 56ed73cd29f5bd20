"""Devices and the engine's legs over a simulated network: gates, sources, numbering, repair on each side."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest

from support.planes import PLANES
from support.relay_call import Call, Device, continuous
from support.virtual_network import Conditions
from triortc.engine.relay.gate import GateState
from triortc.engine.relay.python_plane import PythonPlane
from triortc.engine.rtp.extensions import AUDIO_LEVEL_URI, elements
from triortc.engine.rtp.header import RtpHeader
from triortc.engine.session.inbound import InboundStream
from triortc.errors import CallError

OPEN, CLOSED, MUTED = GateState.OPEN, GateState.CLOSED, GateState.MUTED


@pytest.fixture(autouse=True, params=PLANES)
def _plane(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Call, "plane_name", request.param)


def test_i13_nothing_of_the_agent_passes_a_closed_gate_and_all_of_it_is_counted() -> None:
    call = Call()
    call.join()
    call.talk(30)
    assert call.visitor.received == []
    statistics = call.plane.statistics("agent1")
    assert statistics["video"].dropped == 90
    assert statistics["audio"].dropped == 30
    assert statistics["video"].forwarded == statistics["audio"].forwarded == 0


def test_g2_an_open_gate_begins_with_a_keyframe_asked_for_after_go() -> None:
    call = Call()
    call.join()
    call.talk(10)
    call.agents[0].keyframe_asked = 0
    call.gates("agent1", OPEN)
    call.talk(10)
    assert call.agents[0].keyframe_asked == 1
    first = call.seen()[0]
    assert first.payload[0] == 0x90
    assert first.payload[5] & 1 == 0
    continuous(call.seen())
    continuous(call.seen("audio"))


def test_both_directions_pass_at_the_same_time() -> None:
    call = Call()
    call.join()
    call.gates("agent1", OPEN)
    call.gates("visitor", OPEN)
    call.talk(10)
    assert {packet.source for packet in call.seen()} == {1}
    assert {packet.source for packet in call.agents[0].received} == {0}


def test_i15_a_muted_kind_stops_and_the_other_goes_on() -> None:
    call = Call()
    call.join()
    call.gates("agent1", OPEN)
    call.talk(10)
    call.gates("agent1", MUTED, "video")
    call.network.run_for(0.05)
    call.visitor.received.clear()
    call.talk(10)
    assert call.seen() == []
    assert len(call.seen("audio")) == 10


@pytest.mark.parametrize("may", [True, False])
def test_rfc_8285_6_a_leg_that_may_not_be_sent_header_extensions_gets_none(may: bool) -> None:
    """Neither those that are made for each leg nor those that a relay passes on."""
    call = Call()
    call.join()
    visitor = call.visitor
    agreed = visitor.leg.session.media.sections
    assert all(section.sendable_extensions for section in agreed)
    if not may:
        visitor.leg.session.media.configure(tuple(replace(one, sendable_extensions=frozenset()) for one in agreed))
        call.plane.negotiated("visitor", call.network.now)
    found: set[tuple[int, ...]] = set()

    def note(stream: InboundStream, header: RtpHeader, packet: memoryview, *_lent: object) -> None:
        found.add(tuple(element_id for element_id, *_ in elements(packet, header)))

    visitor.host.session.media.on_stream = lambda stream: setattr(stream, "deliver", note)
    call.gates("agent1", OPEN)
    sound = call.agents[0].host.session.media.outbound("audio")
    assert sound is not None
    level = bytes((sound.section.extensions[AUDIO_LEVEL_URI] << 4, 40))
    for n in range(20):
        sound.send(False, 111, sound.first_sequence_number + n, 960 * n, level, bytes(60), call.network.now)
        call.network.run_for(0.02)
    assert found == ({(3, 4)} if may else {()})


def test_rfc_3264_nothing_is_sent_in_a_section_that_the_peer_has_refused_since() -> None:
    """RFC 3264 section 8.2, by an answer or offer with port 0."""
    call = Call()
    call.join()
    call.gates("agent1", OPEN)
    call.talk(10)
    assert call.seen() != []
    media = call.visitor.leg.session.media
    before = media.sections
    media.configure(tuple(section for section in before if section.kind == "audio"))
    call.plane.negotiated("visitor", call.network.now)
    call.network.run_for(0.05)
    call.visitor.received.clear()
    call.talk(10)
    assert call.seen() == []
    assert len(call.seen("audio")) == 10
    media.configure(before)
    call.plane.negotiated("visitor", call.network.now)
    call.talk(20)
    assert call.seen() != []


def test_i18_i19_after_a_mute_the_picture_goes_on_with_a_keyframe_and_without_a_seam() -> None:
    call = Call()
    call.join()
    call.gates("agent1", OPEN)
    call.talk(10)
    for _ in range(3):
        call.gates("agent1", MUTED, "video")
        call.talk(7)
        before = len(call.seen())
        call.gates("agent1", OPEN, "video")
        call.talk(10)
        assert call.seen()[before].payload[5] & 1 == 0
    continuous(call.seen())


def test_i5_i19_a_handoff_switches_at_once_and_leaves_no_seam() -> None:
    call = Call(agents=2)
    call.join("agent1")
    call.gates("agent1", OPEN)
    call.talk(20)
    assert call.ready == ["visitor", "agent1", "agent2"]
    call.gates("agent2", OPEN)
    call.join("agent2")
    call.gates("agent1", CLOSED)
    call.talk(20)
    sources = [packet.source for packet in call.seen()]
    assert sources == sorted(sources)
    assert set(sources) == {1, 2}
    continuous(call.seen())
    continuous(call.seen("audio"))
    pictures = list(dict.fromkeys(packet.picture_id for packet in call.seen()))
    assert [(b - a) & 0x7FFF for a, b in itertools.pairwise(pictures)] == [1] * (len(pictures) - 1)


def test_rfc_7160_4_the_time_between_two_sources_is_told_by_the_clock_of_their_format() -> None:
    call = Call(agents=2)
    for number, agent in enumerate(call.agents):
        call.join(f"agent{number + 1}")
        call.gates(f"agent{number + 1}", OPEN, "audio")
        sent = agent.host.session.media.outbound("audio")
        assert sent is not None
        for n in range(10):
            sent.send(False, 0, (sent.first_sequence_number + n) & 0xFFFF, 160 * n, b"", bytes(160), call.network.now)
            call.network.run_for(0.02)
        call.network.run_for(2.0)
    first, second = call.seen("audio")[9:11]
    assert (second.timestamp - first.timestamp) & 0xFFFFFFFF == pytest.approx(2.02 * 8000, rel=0.01)


def test_v36_the_device_that_took_over_sees_the_visitor_from_a_keyframe_that_is_asked_for_at_once() -> None:
    call = Call(agents=2)
    call.join("agent1")
    call.gates("agent1", OPEN)
    call.gates("visitor", OPEN)
    call.talk(20)
    call.visitor.keyframe_asked = 0
    call.join("agent2")
    call.talk(10)
    assert call.visitor.keyframe_asked == 1
    pictures = [packet for packet in call.agents[1].received if packet.kind == "video"]
    assert pictures[0].payload[5] & 1 == 0
    assert len(pictures) > 15


def test_i17_the_old_device_is_never_forwarded_after_the_switch() -> None:
    call = Call(agents=2)
    call.join("agent1")
    call.gates("agent1", OPEN)
    call.gates("agent2", OPEN)
    call.talk(5)
    call.join("agent2")
    call.network.run_for(0.1)
    call.visitor.received.clear()
    call.talk(10)
    assert {packet.source for packet in call.visitor.received} == {2}


def test_a_leg_is_ready_when_sound_has_come_and_a_keyframe_begins() -> None:
    call = Call()
    agent = call.agents[0]
    agent.send(call.network.now, "video")
    agent.send(call.network.now, "audio")
    call.network.run_for(0.05)
    assert call.ready == []
    agent.wants_keyframe = False
    agent.send(call.network.now, "video")
    call.network.run_for(0.05)
    assert call.ready == []
    agent.wants_keyframe = True
    agent.send(call.network.now, "video")
    call.network.run_for(0.05)
    assert call.ready == ["agent1"]


def test_v36_a_handoff_at_readiness_lets_the_very_keyframe_pass_so_that_the_visitor_sees_no_gap() -> None:
    call = Call(agents=2)
    call.join("agent1")
    call.gates("agent1", OPEN)
    call.talk(20, call.agents[0])

    def take_over(leg: str) -> None:
        call.join(leg)
        call.gates(leg, OPEN)
        call.plane.remove_leg("agent1")

    call.plane._legs["agent2"].on_ready = take_over
    call.visitor.received.clear()
    call.talk(20, *call.agents)
    timestamps = list(dict.fromkeys(packet.timestamp for packet in call.seen()))
    assert len(timestamps) >= 20
    assert max((b - a) & 0xFFFFFFFF for a, b in itertools.pairwise(timestamps)) <= 3100
    assert [packet.source for packet in call.seen()].count(1) <= 3 * 3
    continuous(call.seen())


def test_v36_a_keyframe_that_takes_its_time_is_passed_on_whole_and_the_old_device_is_seen_until_then() -> None:
    call = Call(agents=2, takes_over=True)
    old, new = call.agents
    call.join("agent1")
    call.gates("agent1", OPEN)
    call.talk(20, old)
    call.visitor.received.clear()
    new.send(call.network.now, "audio")
    for part in range(3):  # a sender paces a keyframe out over several frames' time
        new.wants_keyframe = True
        new.send(call.network.now, "video", parts=(part,))
        call.talk(2, old)
        assert call.ready == ["agent1"] if part < 2 else ["agent1", "agent2"]
        assert {packet.source for packet in call.seen()} == {1}
    new.send(call.network.now)  # while call control makes up its mind
    call.network.run_for(0.01)
    call.join("agent2")
    call.gates("agent2", OPEN)
    call.plane.remove_leg("agent1")
    call.talk(10, new)
    sources = [packet.source for packet in call.seen()]
    assert sources == [1] * 3 * 6 + [2] * 3 * 12
    assert call.seen()[18].payload[5] & 1 == 0
    continuous(call.seen())
    pictures = list(dict.fromkeys(packet.picture_id for packet in call.seen()))
    assert [(b - a) & 0x7FFF for a, b in itertools.pairwise(pictures)] == [1] * (len(pictures) - 1)
    assert new.keyframe_asked <= 1, "the keyframe was there: nobody needed another"


def test_nothing_is_held_of_a_muted_camera_nor_of_a_leg_that_takes_nothing_over() -> None:
    call = Call(agents=2, takes_over=True)
    first, new = call.agents
    call.gates("agent2", MUTED, "video")
    call.talk(3, first, new)
    call.join("agent1")
    call.gates("agent1", OPEN)
    call.network.run_for(0.05)
    assert call.seen() == []
    call.plane.remove_leg("agent1")
    call.join("agent2")
    call.gates("agent2", OPEN)
    call.network.run_for(0.05)
    assert call.seen() == []
    call.talk(5, new)
    assert call.seen()[0].payload[5] & 1 == 0


def test_a_kind_that_is_muted_is_not_waited_for() -> None:
    call = Call()
    call.plane.expect("agent1", "video", False)
    call.agents[0].send(call.network.now, "audio")
    call.network.run_for(0.05)
    assert call.ready == ["agent1"]


def test_a_kind_that_was_muted_before_the_offer_is_not_waited_for_either() -> None:
    call = Call()
    call.plane.expect("agent1", "video", False)
    call.plane.negotiated("agent1", call.network.now)
    call.agents[0].send(call.network.now, "audio")
    call.network.run_for(0.05)
    assert call.ready == ["agent1"]


def test_i16_a_sealed_gate_never_opens_again() -> None:
    call = Call()
    call.join()
    call.gates("agent1", GateState.SEALED)
    call.gates("agent1", OPEN)
    call.talk(5)
    assert call.visitor.received == []


def test_a_visitors_keyframe_request_is_passed_to_the_agent() -> None:
    call = Call()
    call.join()
    call.gates("agent1", OPEN)
    call.talk(10)
    call.agents[0].keyframe_asked = 0
    call.network.run_for(1.0)
    call.visitor.host.session.media.request_keyframe(call.network.now)
    call.network.run_for(0.1)
    assert call.agents[0].keyframe_asked == 1


def test_a_keyframe_request_behind_a_closed_gate_goes_to_the_slate_not_to_the_agent() -> None:
    call = Call()
    call.join()
    call.plane.send_own("visitor", "video", "vp8", [(b"\x10\x00" + bytes(50), True)], 0, call.network.now)
    call.network.run_for(0.1)
    call.agents[0].keyframe_asked = 0
    call.visitor.host.session.media.request_keyframe(call.network.now)
    call.network.run_for(0.1)
    assert call.own_keyframes == ["visitor"]
    assert call.agents[0].keyframe_asked == 0


def test_the_slate_shares_the_visitors_numbering_and_gives_way_to_the_agent() -> None:
    call = Call()
    call.join()
    for n in range(10):
        payload = b"\x90\xc0\x80" + bytes((n, n)) + bytes((0 if n == 0 else 1, 0, 9)) + bytes(60)
        assert call.plane.send_own("visitor", "video", "vp8", [(payload, True)], 9000 * n, call.network.now)
        call.network.run_for(0.1)
    call.gates("agent1", OPEN)
    call.talk(10)
    assert not call.plane.send_own("visitor", "video", "vp8", [(b"\x10\x00", True)], 0, call.network.now)
    assert [packet.source for packet in call.seen()][:10] == [9] * 10
    assert {packet.source for packet in call.seen()[10:]} == {1}
    continuous(call.seen())


@pytest.mark.parametrize("seed", range(8))
def test_losses_on_both_ways_are_repaired_on_each_side_by_itself(seed: int) -> None:
    call = Call(seed=seed, conditions=Conditions(delay_s=0.015, jitter_s=0.008, loss=0.05))
    call.join()
    call.gates("agent1", OPEN)
    call.talk(100)
    call.network.run_for(1.0)
    numbers = sorted({(p.sequence_number - call.seen()[0].sequence_number) & 0xFFFF for p in call.seen()})
    span = [n for n in numbers if n < 0x8000]
    assert len(span) >= 0.99 * (span[-1] + 1)
    assert len(span) > 200


def test_removing_a_leg_stops_what_it_feeds_and_the_other_leg_goes_on() -> None:
    call = Call(agents=2)
    call.join("agent1")
    call.gates("agent1", OPEN)
    call.talk(5)
    call.plane.remove_leg("agent1")
    call.plane.remove_leg("agent1")
    call.talk(5, call.visitor)
    call.join("agent2")
    call.gates("agent2", OPEN)
    call.talk(10, call.visitor, call.agents[1])
    assert {packet.source for packet in call.seen()} == {1, 2}
    continuous(call.seen())


def test_an_unknown_leg_is_the_callers_mistake() -> None:
    with pytest.raises(CallError, match="no leg"):
        PythonPlane().connect("a", "b", 0.0)


def test_after_a_handoff_the_visitor_still_reaches_the_new_device_when_the_old_leg_is_removed() -> None:
    call = Call(agents=2)
    call.join("agent1")
    call.gates("agent1", OPEN)
    call.gates("visitor", OPEN)
    call.talk(5)
    call.join("agent2")
    call.gates("agent2", OPEN)
    call.plane.remove_leg("agent1")
    call.talk(10, call.visitor, call.agents[1])
    assert {packet.source for packet in call.agents[1].received} == {0}
    assert {packet.kind for packet in call.agents[1].received} == {"audio", "video"}


def restart_sender(device: Device, *, ssrc: int | None = None, jump: int = 0) -> None:
    """What a device does that begins its video anew: with another SSRC, or with other sequence numbers."""
    stream = device.host.session.media.outbound("video")
    assert stream is not None
    stream.ssrc = stream.ssrc if ssrc is None else ssrc
    device.packet += jump
    device.wants_keyframe = True


def test_a_source_with_a_new_ssrc_goes_on_as_the_old_one() -> None:
    call = Call()
    call.join()
    call.gates("agent1", OPEN)
    call.talk(10)
    before = len(call.seen())
    restart_sender(call.agents[0], ssrc=0x12345678)
    call.talk(10)
    assert len(call.seen()) == before + 30
    continuous(call.seen())


def test_late_packets_of_the_source_before_do_not_disturb_the_new_one() -> None:
    call = Call()
    call.join()
    call.gates("agent1", OPEN)
    call.talk(10)
    old = next(stream for stream in call.agents[0].leg.session.media.inbound.values() if stream.kind == "video")
    restart_sender(call.agents[0], ssrc=0x12345678)
    call.talk(5)
    before, late = len(call.seen()), call.plane.statistics("agent1")["video"].late
    number = (old.newest - 3) & 0xFFFF
    header: RtpHeader = (True, 96, number, 3000 * 9, old.ssrc, 12, 0, 0, False)
    payload = memoryview(bytearray(b"\x90\xc0\x80\x01\x01\x00\x00\x01" + bytes(100)))
    old.deliver(old, header, payload, payload, call.network.now)
    call.talk(5)
    assert call.plane.statistics("agent1")["video"].late == late + 1
    assert len(call.seen()) == before + 15
    continuous(call.seen())


@pytest.mark.parametrize("jump", [3_500, 20_000, 30_000])
def test_a_source_that_begins_its_sequence_numbers_anew_goes_on_without_a_seam(jump: int) -> None:
    call = Call()
    call.join()
    call.gates("agent1", OPEN)
    call.talk(10)
    before = len(call.seen())
    restart_sender(call.agents[0], jump=jump)
    call.talk(20)
    assert len(call.seen()) >= before + 45
    continuous(call.seen())


def test_a_retransmission_does_not_begin_what_an_opened_gate_lets_through() -> None:
    call = Call()
    call.join()
    call.talk(10)
    stream = next(s for s in call.agents[0].leg.session.media.inbound.values() if s.kind == "video")
    call.gates("agent1", OPEN, "video")
    number = (stream.newest - 6) & 0xFFFF
    header: RtpHeader = (False, 96, number, 3000 * 8, stream.ssrc, 12, 0, 0, False)
    payload = memoryview(bytearray(b"\x90\xc0\x80\x01\x01\x00\x00\x07" + bytes(100)))
    stream.deliver(stream, header, payload, payload, call.network.now)
    call.talk(10)
    assert {packet.source for packet in call.seen()} == {1}
    continuous(call.seen())


def test_a_lost_first_keyframe_is_asked_for_before_the_leg_can_be_ready() -> None:
    call = Call()
    agent = call.agents[0]
    agent.wants_keyframe = False
    call.talk(10, agent)
    assert agent.keyframe_asked == 1
    assert call.ready == ["agent1"]
