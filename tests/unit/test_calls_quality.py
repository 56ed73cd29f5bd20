"""`media.quality`: what the way to a device is worth, when that is told, and to whom."""

from __future__ import annotations

import gc
import itertools
import weakref
from dataclasses import replace

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from support.calls import House
from support.sdp import make_offer
from triortc.engine.calls import quality_watch
from triortc.engine.calls.commands import CallHangup
from triortc.engine.calls.leg_configuration import MediaConfiguration
from triortc.engine.calls.legs import open_leg_manager
from triortc.engine.calls.media_events import LegQuality, MediaEvent
from triortc.engine.calls.notifications import MediaQuality
from triortc.engine.calls.quality import Observation, Quality, QualityConfiguration, QualityMeter, observe, score_of
from triortc.engine.endpoint_configuration import EndpointConfiguration
from triortc.engine.relay.gate import GateState
from triortc.engine.session.media import MediaSession
from triortc.errors import ConfigurationError

QUIET = Observation(0, 0, 0, 0, 0, 0.0, 0.02, 2_000_000)


class Way:
    """A device's way: what happens on it in each interval, and what is told of it."""

    def __init__(self, configuration: QualityConfiguration | None = None) -> None:
        self.meter = QualityMeter(configuration or QualityConfiguration())
        self.counted = QUIET
        self.now = 0.0
        assert self.meter.take(QUIET, 0.0) is None, "nothing is known from one look"

    def after(
        self, *, lost: int = 0, of: int = 200, loss: float = 0.0, sent: int = 200, **more: object
    ) -> Quality | None:
        c = self.counted
        self.now += 2.0
        self.counted = replace_fields(
            c,
            received=c.received + of - lost,
            lost=c.lost + lost,
            sent=c.sent + sent,
            sent_bytes=c.sent_bytes + 1000 * sent,
            sent_video=c.sent_video + sent,
            loss=loss,
            **more,
        )
        return self.meter.take(self.counted, self.now)


def replace_fields(observation: Observation, **fields: object) -> Observation:
    return observation._replace(**fields)  # type: ignore[arg-type]  # what a test names is what the tuple has


def test_a_good_way_is_told_once_and_then_no_more() -> None:
    way = Way()
    assert way.after() == Quality(100, 20.0, 0.0, 2000.0)
    assert [way.after() for _ in range(20)] == [None] * 20


@pytest.mark.parametrize("direction", ["up", "down"])
def test_loss_in_either_direction_falls_at_once_and_recovers_by_half(direction: str) -> None:
    way = Way()
    way.after()
    weak = way.after(lost=40) if direction == "up" else way.after(loss=0.2)
    assert weak == Quality(0, 20.0, 0.2, 2000.0)
    told = [quality and quality.score for quality in (way.after() for _ in range(6))]
    assert told == [50, 75, 88, None, None, 98]


def test_a_long_round_trip_and_a_way_that_carries_no_picture_cost_points() -> None:
    assert score_of(0.0, 0.15, None, 150_000) == 100
    assert score_of(0.0, 0.35, None, 150_000) == 70
    assert score_of(0.0, 0.0, 75_000, 150_000) == 50
    assert score_of(0.0, 0.0, 50_000, 150_000) == 33, "the least that an estimate can be is weak"
    assert score_of(0.0, 5.0, 75_000, 150_000) == 0


def test_an_estimate_counts_only_while_pictures_are_sent() -> None:
    way = Way()
    counted = replace_fields(QUIET, received=200, sent=100, sent_bytes=8000, estimate_bps=60_000)
    assert way.meter.take(counted, 2.0) == Quality(100, 20.0, 0.0, 60.0)


def test_where_nobody_estimates_the_rate_that_is_sent_is_told() -> None:
    way = Way()
    assert way.after(estimate_bps=None) == Quality(100, 20.0, 0.0, 800.0)


def test_a_few_packets_say_nothing_about_loss_and_a_stream_that_begins_anew_is_no_loss() -> None:
    way = Way()
    assert way.after(lost=9, of=10, loss=0.5, sent=10) == Quality(100, 20.0, 0.0, 2000.0)
    assert way.after(lost=-9) is None


def test_between_the_thresholds_a_weak_way_stays_weak() -> None:
    way = Way(QualityConfiguration(step=100))
    way.after()
    scores = [told and told.score for told in (way.after(lost=lost) for lost in (28, 20, 20, 20, 20, 0))]
    assert scores == [30, None, None, None, None, 74], "40, 45, 48, 49 are above the lower threshold only"


@given(st.lists(st.integers(0, 60), min_size=1, max_size=60))
def test_whoever_hears_only_what_is_told_knows_on_which_side_of_the_thresholds_the_way_is(losses: list[int]) -> None:
    c = QualityConfiguration()
    way, everything = Way(c), Way(replace(c, step=1))
    heard = exact = 100
    weak = shown = False
    for lost in losses:
        if (told := way.after(lost=lost)) is not None:
            heard = told.score
        if (each := everything.after(lost=lost)) is not None:
            exact = each.score
        weak = exact < (c.good_score if weak else c.weak_score)
        shown = heard < (c.good_score if shown else c.weak_score)
        assert shown == weak
        assert abs(heard - exact) < c.step


@pytest.mark.parametrize(
    "wrong", [{"interval_s": 0.0}, {"weak_score": 55}, {"good_score": 101}, {"step": 0}, {"poor_bps": 0}]
)
def test_numbers_that_make_no_sense_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigurationError, match="quality:"):
        QualityConfiguration(**wrong)  # type: ignore[arg-type]  # numbers, all of them


def test_each_device_hears_of_its_own_way_and_nobody_after_the_end() -> None:
    house = House()
    ana, vic = house.agent(), house.visitor()
    session, visitor_leg, agent_leg = house.active(vic, ana)
    house.media(LegQuality(agent_leg, 35, 240.0, 0.11, 310.5))
    assert house.told(ana, MediaQuality) == [MediaQuality(session, 35, 240.0, 0.11, 310.5)]
    assert not house.told(vic, MediaQuality)
    house.ok(vic, CallHangup(session))
    before = house.world.stale_events_total
    house.media(LegQuality(visitor_leg, 35, 240.0, 0.11, 310.5))
    assert not house.told(vic, MediaQuality)
    assert house.world.stale_events_total == before + 1


def test_a_newer_word_about_a_call_takes_the_place_of_an_older_one_in_a_full_queue() -> None:
    first, second, other = (MediaQuality(session, 1, 1.0, 0.0, 1.0) for session in ("vs_1", "vs_1", "vs_2"))
    assert first.coalesce_key == second.coalesce_key != other.coalesce_key


async def test_a_leg_is_looked_at_from_its_open_gate_to_its_end(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    configuration = MediaConfiguration(
        endpoint=EndpointConfiguration(media_host=("127.0.0.1",)), quality=QualityConfiguration(interval_s=2.0)
    )
    told: list[tuple[float, MediaEvent]] = []
    looks = 0

    def count_looks(media: MediaSession, rtt_s: float | None) -> Observation:
        nonlocal looks
        looks += 1
        return observe(media, rtt_s)

    monkeypatch.setattr(quality_watch, "observe", count_looks)
    async with open_leg_manager(configuration) as legs:
        legs.on_event = lambda event: told.append((trio.current_time(), event))
        legs.open_leg("s", "leg", "agent")
        legs.answer("leg", 1, str(make_offer("audio", "video")))
        await trio.sleep(10)
        assert told == [], "nobody sees it yet"
        for _ in range(2):  # muted and opened again
            legs.set_gate("s", "leg", "video", GateState.OPEN, 1)
        opened = trio.current_time()
        await trio.sleep(11)
        assert [(at - opened, event) for at, event in told] == [(2.0, LegQuality("leg", 100, 0.0, 0.0, 0.0))]
        assert looks == 6, "at once, and every two seconds"
        session = weakref.ref(legs.transport("leg"))
        legs.close_leg("leg")
        legs.endpoint.flush(trio.current_time())
        gc.collect()
        assert session() is None, "nobody keeps a session that is over, not even until its next look"
        await trio.sleep(10)
        assert looks == 6
        names = [task.name for task in itertools.chain(*all_tasks())]
        assert len([name for name in names if "quality" in name]) == 1, "one task for however many legs"
    await trio.testing.wait_all_tasks_blocked()
    names = [task.name for task in itertools.chain(*all_tasks())]
    assert not [name for name in names if "quality" in name]


async def test_a_look_that_fails_is_logged_with_its_leg_and_ends_no_other_leg_s(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    looks: list[tuple[str, float]] = []
    sick = []

    def look(media: MediaSession, rtt_s: float | None) -> Observation:
        leg = next(name for name in ("sick", "well") if legs.transport(name).media is media)  # type: ignore[union-attr]  # both are open
        if leg in sick:
            raise RuntimeError("no such thing")
        looks.append((leg, trio.current_time()))
        return observe(media, rtt_s)

    monkeypatch.setattr(quality_watch, "observe", look)
    configuration = MediaConfiguration(
        endpoint=EndpointConfiguration(media_host=("127.0.0.1",)), quality=QualityConfiguration(interval_s=2.0)
    )
    async with open_leg_manager(configuration) as legs:
        for session, leg in enumerate(("sick", "well")):
            legs.open_leg(str(session), leg, "agent")
            legs.answer(leg, 1, str(make_offer("audio", "video")))
            legs.set_gate(str(session), leg, "video", GateState.OPEN, 1)
        sick.append("sick")
        looks.clear()
        await trio.sleep(7)
    assert [leg for leg, _ in looks] == ["well"] * 3
    [record] = [record for record in caplog.records if record.name == quality_watch.__name__]
    assert (record.levelname, record.getMessage()) == ("ERROR", "the way to leg sick is not looked at any more")
    assert record.exc_info is not None
    assert str(record.exc_info[1]) == "no such thing"


def all_tasks() -> list[list[trio.lowlevel.Task]]:
    root = trio.lowlevel.current_root_task()
    found, level = [], [] if root is None else [root]
    while level:
        found.append(level)
        level = [child for task in level for nursery in task.child_nurseries for child in nursery.child_tasks]
    return found
