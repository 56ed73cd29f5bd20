"""The accelerated plane's core is held to the Python plane: the same datagrams, the same bytes, the same counters."""

from __future__ import annotations

import itertools

import pytest

from support.plane_fuzz import PlaneFuzz
from triortc.engine.protection_profile import PROFILES, SrtpProfile

CASES = list(itertools.product(PROFILES[:3], ("number", "time", "none")))


@pytest.mark.parametrize(("profile", "extensions"), CASES, ids=lambda value: getattr(value, "name", value))
def test_ordinary_and_hostile_datagrams_do_the_same_in_both_planes(profile: SrtpProfile, extensions: str) -> None:
    fuzz = PlaneFuzz(seed=len(extensions) * 100 + profile.identifier, profile=profile, extensions=extensions)
    fuzz.run(1200)
    # A fuzz that never reaches the core would prove nothing.
    assert fuzz.taken > 20
