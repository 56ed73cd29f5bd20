"""Flows: what takes the short way through the relay is what the slow path would have sent, byte by byte."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from support.relay_story import KEYFRAME, OTHER, Relay, Way, play, video
from triortc.engine.datagrams import DatagramBatch
from triortc.engine.protection_profile import PROFILES_BY_NAME, SrtpProfile
from triortc.engine.relay import flow
from triortc.engine.relay.flow import Flow
from triortc.engine.rtp.extensions import build_extensions


@contextmanager
def counting() -> Iterator[dict[str, int]]:
    """How many packets went through flows."""
    taken = {"packets": 0}
    whole = Flow.forward

    def forward(self: Flow, batch: DatagramBatch, first: int, end: int, now: float) -> int:
        last = whole(self, batch, first, end, now)
        taken["packets"] += last - first
        return last

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Flow, "forward", forward)
        yield taken


def test_after_the_keyframe_packets_take_the_short_way_and_arrive_renumbered() -> None:
    relay = Relay()
    with counting() as taken:
        relay.receive([video(relay, 0, key=True)])
        relay.receive([video(relay, number) for number in range(1, 20)])
    assert taken["packets"] == 19
    assert len(relay.sent) == 20
    assert relay.plane.statistics("0")["video"].forwarded == 20


ACTIONS = st.lists(
    st.one_of(
        st.tuples(st.just("video"), st.integers(1, 12), st.integers(1, 1100)),
        st.tuples(st.just("audio"), st.integers(1, 4), st.integers(1, 200)),
        st.tuples(st.just("gap"), st.integers(1, 40), st.just(0)),
        st.tuples(st.just("late"), st.integers(1, 30), st.just(0)),
        st.tuples(st.just("again"), st.integers(0, 5), st.just(0)),
        st.tuples(st.just("forged"), st.integers(0, 1), st.just(0)),
        st.tuples(st.just("mute"), st.just(0), st.just(0)),
        st.tuples(st.just("open"), st.just(0), st.just(0)),
        st.tuples(st.just("keyframe"), st.just(0), st.just(0)),
        st.tuples(st.just("wait"), st.integers(1, 1500), st.just(0)),
        st.tuples(st.just("padded"), st.just(0), st.just(0)),
        st.tuples(st.just("jump"), st.integers(2000, 60000), st.just(0)),
    ),
    max_size=30,
)


@pytest.mark.parametrize("way", ["flows", "core"])
@given(
    actions=ACTIONS,
    profile=st.sampled_from([PROFILES_BY_NAME["AEAD_AES_128_GCM"], PROFILES_BY_NAME["AES128_CM_HMAC_SHA1_80"]]),
    plain=st.booleans(),
)
@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
def test_the_short_way_and_the_slow_path_send_the_same_bytes_and_count_the_same(
    way: Way, actions: list[tuple[str, int, int]], profile: SrtpProfile, plain: bool
) -> None:
    story = [("keyframe", 1, 50), ("audio", 3, 60), ("video", 5, 900), *actions, ("video", 3, 900)]
    fast, slow = Relay(profile, way=way, plain=plain), Relay(profile, way="slow", plain=plain)
    play(fast, story)
    play(slow, story)
    assert fast.sent == slow.sent
    assert fast.state() == slow.state()


def test_state_written_back_in_the_middle_of_gaps_is_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flow, "_SETTLE_PACKETS", 3)
    story = [("keyframe", 1, 50), *[("video", 2, 300), ("gap", 3, 0), ("video", 1, 300)] * 8]
    fast, slow = Relay(), Relay(way="slow")
    with counting() as taken:
        play(fast, story)
    play(slow, story)
    assert taken["packets"] > 10
    assert fast.sent == slow.sent
    assert fast.state() == slow.state()


@pytest.mark.parametrize("plain", [False, True])
def test_a_gap_within_a_batch_is_one_in_what_is_kept(plain: bool) -> None:
    fast, slow = Relay(plain=plain), Relay(way="slow", plain=plain)
    for relay in (fast, slow):
        relay.receive([video(relay, 0, key=True)])
        relay.receive([video(relay, number) for number in (1, 2, 3, 7, 8)])
        relay.receive([video(relay, number, size=300 if number == 10 else 900) for number in (9, 10, 11)])
    assert fast.sent == slow.sent
    assert fast.state() == slow.state()
    assert None not in fast.state()["kept"]


def test_gaps_do_not_close_a_flow() -> None:
    """A starved or lossy way must not cost more than a whole one: that would starve it further."""
    relay = Relay()
    relay.receive([video(relay, 0, key=True)])
    with counting() as taken:
        for number in range(1, 200, 3):
            relay.now += 0.003
            relay.receive([video(relay, number)])
    assert taken["packets"] == 67
    stream = next(stream for stream in relay.legs[0].session.media.inbound.values() if stream.kind == "video")
    assert stream.nack is not None
    assert stream.nack.missing_packets > 100


def test_sound_and_picture_that_share_a_numbering_both_stay_in_the_core() -> None:
    relay = Relay(way="core")
    assert relay.core is not None
    for number in range(11):
        relay.receive([video(relay, number, key=not number)])
        relay.receive([relay.packet("audio", number, 960 * number, b"\xfcsound")])
    assert relay.core.taken == 20
    assert len(relay.sent) == 22


@pytest.mark.parametrize("way", ["flows", "core"])
def test_arrivals_are_told_every_interval_although_the_receiver_says_nothing(way: Way) -> None:
    relay = Relay(way=way)
    recorder = relay.legs[0].session.media.feedback_recorder
    assert recorder is not None
    began, told = relay.now, recorder._feedback_count
    for number in range(100):
        relay.now = began + 0.005 * number
        extension = build_extensions([(3, number.to_bytes(2, "big"))])
        payload = (OTHER if number else KEYFRAME) + bytes(900)
        relay.receive([relay.packet("video", number, 3000 * number, payload, extension=extension)])
        relay.legs[0].session.media.handle_timeout(relay.now)
    assert recorder._feedback_count - told == 4, "in half a second, every 100 ms"


def test_what_the_core_has_counted_is_fetched_every_interval_however_late_and_whatever_flows_do() -> None:
    relay = Relay(way="core")
    media = relay.legs[0].session.media
    relay.receive([relay.packet("video", 0, 0, KEYFRAME + bytes(900))])
    due = media.settle_at
    assert 0.1 <= due - relay.now <= 0.15
    number = 1
    for late_s in (0.003, 0.0, 0.049, 0.02):
        relay.now = due - 0.01
        media.close_flows()
        relay.receive([relay.packet("video", number, 0, OTHER + bytes(900))])
        assert media.settle_at == due, "a flow that is opened again does not put it off"
        number += 1
        relay.now = due + late_s
        media.handle_timeout(relay.now)
        assert media.settle_at == pytest.approx(due + 0.1)
        due = media.settle_at
    relay.now = due + 5
    media.handle_timeout(relay.now)
    assert 0.05 <= media.settle_at - relay.now <= 0.15
