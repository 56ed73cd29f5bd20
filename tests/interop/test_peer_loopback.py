"""Two of our peer connections over UDP on loopback."""

from __future__ import annotations

import pytest
import trio

import triortc

async def test_smoke() -> None:
    from support.peers import pair
    async with pair() as (a, b):
        print(a.get_stats()); print(b.get_stats())
