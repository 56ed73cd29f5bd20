"""Hold the accelerated plane's core to the Python plane with as many datagrams as one has time for.

    python tools/fuzz_planes.py --datagrams 10000000

Every 20,000 datagrams a new pair of relays begins, with the next seed, and a new pair of estimates, told of 2,000
feedback packets; a difference ends the run and names its seed.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from support.arrivals_fuzz import ArrivalsFuzz
from support.plane_fuzz import PlaneFuzz
from triortc.engine.protection_profile import PROFILES

PART = 20_000
FEEDBACK = 2_000


def main() -> None:
    """Run, and print a line now and then."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--datagrams", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    told = taken = 0
    began = time.monotonic()
    cases = itertools.cycle(itertools.product(PROFILES, ("number", "time", "none")))
    for seed, (profile, extensions) in enumerate(cases, chosen.seed):
        if told >= chosen.datagrams:
            break
        fuzz = PlaneFuzz(seed=seed, profile=profile, extensions=extensions)
        fuzz.run(PART)
        ArrivalsFuzz(seed).run(FEEDBACK)
        told, taken = told + fuzz.datagrams, taken + fuzz.taken
        if seed % 12 == 0:
            print(f"{told} datagrams, {taken} in the core, {time.monotonic() - began:.0f} s", flush=True)
    print(f"equal: {told} datagrams, {taken} of them in the core, {time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()
