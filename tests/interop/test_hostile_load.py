"""Hostile datagrams beside a load, on both planes: each is refused, and no packet of the load is lost or doubled."""

from __future__ import annotations

import pytest

from triortc.bench.measure import measure_relay
from triortc.engine.relay.plane_choice import PlaneChoice


@pytest.mark.parametrize("plane", ["python", "accelerated"])
async def test_hostile_datagrams_cost_nobody_a_packet_and_are_counted_by_their_kind(plane: PlaneChoice) -> None:
    figures = await measure_relay(1, seconds=0.5, plane=plane, hostile_percent=50)
    assert figures["forwarded"] == figures["sent_in_all"] > 300
    assert figures["hostile"] > 200
    # Checks and handshakes that mean nothing are not counted one by one, nor are datagrams of no bytes.
    assert 0.75 * figures["hostile"] < figures["refused"] <= figures["hostile"]
    for reason in ("dropped.srtp_replay", "dropped.srtp_authentication", "endpoint.unknown_address"):
        assert figures["refused_as"][reason] > 0
