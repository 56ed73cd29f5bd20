"""The benchmark of strangers runs, and its strangers stay out."""

from __future__ import annotations

from triortc.bench.strangers import measure_strangers


async def test_strangers_are_counted_and_a_known_device_is_served_beside_them() -> None:
    found = await measure_strangers(40)
    assert found["websocket"]["let_in"] == 40
    assert found["quic"]["connections"] + found["quic"]["retries"] >= 36
    assert found["websocket"]["known_device_ms"] > 0
