"""The garbage collector of a process that forwards packets."""

from __future__ import annotations

import gc

__all__ = ["settle_collector"]

#: Objects made between two collections of the youngest generation: a batch of packets makes hundreds, none in cycles.
YOUNGEST_THRESHOLD = 50_000


def settle_collector() -> None:
    """Take what lives now out of the collector's sight, and let it run seldom: it must not stop the loop in a burst.

    For servers, once, when they are set up. An embedder decides for itself, so nothing else calls it.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNGEST_THRESHOLD, 20, 20)
