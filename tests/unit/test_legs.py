"""The media side of calls: what a device may signal wrongly, and what is in the way of the slate."""

from __future__ import annotations

from typing import Any

import pytest
import trio
import trio.testing

from support.sdp import make_offer
from triortc.codecs.registry import DEFAULT_CODECS, G722, VP8, VP9
from triortc.engine.calls import leg_counters, slate_player
from triortc.engine.calls.leg_configuration import MediaConfiguration
from triortc.engine.calls.leg_counters import LegCounters
from triortc.engine.calls.legs import open_leg_manager
from triortc.engine.endpoint_configuration import EndpointConfiguration
from triortc.engine.relay.gate import GateState
from triortc.engine.relay.python_plane import PythonPlane
from triortc.errors import CodecError, ConfigurationError, SdpError

CONFIGURATION = MediaConfiguration(endpoint=EndpointConfiguration(media_host=("127.0.0.1",)))
CANDIDATE = "candidate:1 1 udp 2130706431 192.0.2.9 40000 typ host"


@pytest.mark.parametrize(
    ("codecs", "sentence"),
    [
        ({"audio": (G722,)}, "no payload format for 'G722': use one of"),
        ({"audio": DEFAULT_CODECS["audio"], "video": (VP8, VP9)}, "no payload format for 'VP9': use one of"),
        ({"audio": (VP8,)}, "VP8 is no codec for audio"),
    ],
)
def test_codecs_whose_packets_cannot_be_read_are_refused_at_once_not_with_the_first_packet(
    codecs: Any, sentence: str
) -> None:
    with pytest.raises(ConfigurationError, match=sentence):
        MediaConfiguration(codecs=codecs)


async def test_rfc_8842_an_offer_with_another_certificate_begins_the_leg_anew() -> None:
    first = str(make_offer("audio", "video"))
    async with open_leg_manager(CONFIGURATION) as legs:
        legs.open_leg("s", "leg", "visitor")
        legs.answer("leg", 1, first)
        before = legs.transport("leg")
        answer = legs.answer("leg", 2, first.replace("AB:AB", "CD:CD"))
        after = legs.transport("leg")
        assert before is not None
        assert after is not None
        assert after is not before
        assert after.ice.local_ufrag != before.ice.local_ufrag
        assert after.ice.local_ufrag in answer
        assert legs.legs == 1


async def test_rfc_8842_an_offer_that_cannot_be_answered_leaves_the_leg_as_it_was() -> None:
    first = str(make_offer("audio", "video"))
    async with open_leg_manager(CONFIGURATION) as legs:
        legs.open_leg("s", "leg", "visitor")
        legs.answer("leg", 1, first)
        transport = legs.transport("leg")
        with pytest.raises(SdpError):
            legs.answer("leg", 2, first.replace("AB:AB", "CD:CD").replace("sha-256", "sha-1"))
        assert legs.transport("leg") is transport


async def test_a_visitor_that_offers_again_while_the_agent_is_shown_gets_no_slate() -> None:
    first = str(make_offer("audio", "video"))
    async with open_leg_manager(CONFIGURATION) as legs:
        legs.open_leg("s", "visitor", "visitor")
        legs.open_leg("s", "agent", "agent")
        legs.answer("visitor", 1, first)
        legs.answer("agent", 1, first.replace("AB:AB", "EF:EF").replace("abcd", "efgh"))
        for kind in ("audio", "video"):
            legs.set_gate("s", "agent", kind, GateState.OPEN, 1)
        await trio.testing.wait_all_tasks_blocked()
        quiet = trio.lowlevel.current_statistics().tasks_living
        legs.answer("visitor", 2, first.replace("AB:AB", "CD:CD"))
        await trio.testing.wait_all_tasks_blocked()
        assert trio.lowlevel.current_statistics().tasks_living == quiet


async def test_S1_3c_a_second_device_that_rings_holds_no_picture_from_before_go(  # noqa: N802
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Only a device that takes a running call over may begin with a keyframe that came before its gate opened."""
    holds: dict[str, bool] = {}
    add_leg = PythonPlane.add_leg

    def spy(plane: PythonPlane, leg: str, *arguments: Any, takes_over: bool = False, **hooks: Any) -> None:
        holds[leg] = takes_over
        add_leg(plane, leg, *arguments, takes_over=takes_over, **hooks)

    monkeypatch.setattr(PythonPlane, "add_leg", spy)
    offer = str(make_offer("audio", "video"))
    async with open_leg_manager(CONFIGURATION) as legs:
        for number, leg in enumerate(("desktop", "phone", "tablet")):
            legs.open_leg("s", leg, "agent")
            legs.answer(leg, 1, offer.replace("abcd", f"abc{number}"))
            if leg == "phone":
                legs.set_source("s", "agent", leg)
                legs.set_gate("s", leg, "audio", GateState.OPEN, 1)
    assert holds == {"desktop": False, "phone": False, "tablet": True}


async def test_r23_candidates_of_another_ufrag_are_counted_and_do_not_end_the_leg_s_own() -> None:
    async with open_leg_manager(CONFIGURATION) as legs:
        legs.open_leg("s", "leg", "visitor")
        legs.answer("leg", 1, str(make_offer("audio", "video")))
        transport = legs.transport("leg")
        assert transport is not None
        before = transport.ice.remote_candidates_ended
        legs.add_candidates("leg", 1, "older", [(CANDIDATE, "a")], True)
        legs.add_candidates("leg", 1, "abcd", [(CANDIDATE, "a")], False)
        assert transport.ice.remote_candidates_ended is before
        assert legs.counters()["candidates_dropped"] == 1


async def test_a_slate_that_cannot_be_encoded_leaves_the_visitor_without_and_the_server_up(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object) -> None:
        raise CodecError("no encoder")

    monkeypatch.setattr(slate_player, "encoded_slate", broken)
    monkeypatch.setattr(slate_player, "encoded_ringback", broken)
    async with open_leg_manager(CONFIGURATION) as legs:
        legs.open_leg("s", "leg", "visitor")
        legs.answer("leg", 1, str(make_offer("audio", "video")))
        await trio.testing.wait_all_tasks_blocked(0.05)
        assert legs.legs == 1
    assert "no slate" in caplog.text


async def test_S3_2b_what_feeds_a_thumbnail_is_asked_for_less_and_then_for_all_again() -> None:  # noqa: N802
    """The limit outlives a page that was loaded anew, and a sender is never asked to stop."""
    first = str(make_offer("audio", "video"))
    async with open_leg_manager(CONFIGURATION) as legs:
        for side, fingerprint in (("visitor", "AB:AB"), ("agent", "EF:EF")):
            legs.open_leg("s", side, side)  # type: ignore[arg-type]  # they are sides
            legs.answer(side, 1, first.replace("AB:AB", fingerprint))
        feeding = legs.transport("visitor")
        assert feeding is not None
        full_bps = feeding.media.control.limit_bps
        legs.set_view("agent", "thumbnail")
        assert feeding.media.control.limit_bps == CONFIGURATION.thumbnail_bps
        legs.answer("agent", 2, first.replace("AB:AB", "CD:CD"))
        assert feeding.media.control.limit_bps == CONFIGURATION.thumbnail_bps
        legs.set_view("agent", "full")
        assert feeding.media.control.limit_bps in (full_bps, CONFIGURATION.session.congestion.maximum_bps)
        legs.set_view("unknown", "thumbnail")


async def test_the_counters_of_many_legs_are_brought_up_to_date_in_turns_and_miss_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of 500 legs at once it took the loop 2.5 ms and more; a packet must not wait for that."""
    offer = str(make_offer("audio"))
    many = leg_counters.AT_ONCE + 9
    async with open_leg_manager(CONFIGURATION) as legs:
        for number in range(many):
            legs.open_leg(f"s{number}", f"leg{number}", "visitor")
            legs.answer(f"leg{number}", 1, offer.replace("abcd", f"ab{number:02}"))
        turns = [0]
        update = LegCounters._update

        def counted(counters: LegCounters, leg: Any) -> None:
            turns[-1] += 1
            update(counters, leg)

        monkeypatch.setattr(LegCounters, "_update", counted)
        for number in range(many):
            transport = legs.transport(f"leg{number}")
            assert transport is not None
            transport.counters.unknown_protocol += 1
        legs.counters()
        assert turns == [0], "nobody who reads waits for them"
        while sum(turns) < many:
            turns.append(0)
            await trio.lowlevel.checkpoint()
        assert max(turns) <= 16, "one turn of eight before ours of the loop, one behind it"
        assert legs.counters()["dropped.unknown_protocol"] == many
        for number in range(many - 1):
            legs.close_leg(f"leg{number}")
        assert legs.counters()["dropped.unknown_protocol"] == many
        last = legs.transport(f"leg{many - 1}")
        assert last is not None
        last.counters.unknown_protocol += 1
        assert legs.counters()["dropped.unknown_protocol"] == many + 1, "of few legs they are exact"
