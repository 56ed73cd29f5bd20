"""A contact centre's day in virtual time breaks no rule; with a bug planted into the rules it is noticed."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from triortc.bench.contact_centre import ContactCentre, DayConfiguration
from triortc.bench.plants import PLANTS, planted
from triortc.bench.simulation import simulate
from triortc.engine.calls.configuration import CallConfiguration

DAY = DayConfiguration(agents=12, visitors=160, hours=3.0)


def live(seed: int, day: DayConfiguration = DAY, plant: str | None = None) -> ContactCentre:
    with planted(plant):
        centre = ContactCentre(seed, day)
        centre.run()
    return centre


@pytest.mark.parametrize("seed", [1, 2])
def test_a_day_breaks_no_rule(seed: int) -> None:
    centre = live(seed)
    assert not centre.referee.violations, centre.referee.examples
    outcomes = {record.outcome for record in centre.referee.records}
    assert {"completed", "declined", "no_answer", "cancelled"} <= outcomes
    assert {record.origin for record in centre.referee.records} == {"routed", "invited"}
    assert max(centre.referee.lateness_s) <= 0.001


def test_a_crowded_day_with_other_policies_breaks_no_rule() -> None:
    calls = CallConfiguration(queue_size=20, on_no_answer="reroute", hold_channels_until="video_ended")
    day = DayConfiguration(agents=4, visitors=160, hours=1.0, drop_share=0.3, lost_share=0.3, calls=calls)
    centre = live(3, day)
    assert not centre.referee.violations, centre.referee.examples


@pytest.mark.parametrize("plant", PLANTS)
def test_a_planted_bug_is_noticed_by_the_rule_that_it_breaks(plant: str) -> None:
    assert live(1, plant=plant).referee.violations[PLANTS[plant][1]] > 0
    assert not live(1, DayConfiguration(agents=3, visitors=5, hours=0.5)).referee.violations, "it was taken out again"


def test_the_same_seed_is_the_same_day() -> None:
    day = DayConfiguration(agents=5, visitors=40, hours=1.0)
    assert live(9, day).referee.records == live(9, day).referee.records
    assert live(9, day).referee.records != live(10, day).referee.records


def test_the_command_prints_how_calls_ended_and_fails_if_a_rule_was_broken() -> None:
    arguments = ["--agents", "5", "--visitors", "60", "--hours", "1"]
    fine = CliRunner().invoke(simulate, arguments)
    assert fine.exit_code == 0, fine.output
    assert "violations: 0" in fine.output
    assert "routed: completed, visitor_hangup" in fine.output
    broken = CliRunner().invoke(simulate, [*arguments, "--plant", "told-twice"])
    assert broken.exit_code == 1
    assert "I23 was broken" in broken.output
