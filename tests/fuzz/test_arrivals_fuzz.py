"""The estimate's arithmetic in C against the one in Python: equal to the last bit."""

from __future__ import annotations

import os

import pytest

from support.arrivals_fuzz import ArrivalsFuzz

#: Feedback packets a seed; CI tells more.
FEEDBACK = int(os.environ.get("FUZZ_FEEDBACK", "1500"))


@pytest.mark.parametrize("seed", range(6))
def test_the_core_works_out_of_feedback_what_python_does(seed: int) -> None:
    fuzz = ArrivalsFuzz(seed)
    fuzz.run(FEEDBACK)
    assert fuzz.known > FEEDBACK
    assert fuzz.judged == {"NORMAL", "OVERUSED", "UNDERUSED"}
