# ruff: noqa: N802 - test names carry the numbers of docs/calls.md as they are written there
"""Endpoints of pushes: how long a device that is asleep can be reached, and by what."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from support.calls import House, agent_actor, information
from support.sleeping_phone import ALL, APNS, FCM, WEB, Pocket
from triortc.engine.calls.configuration import CallConfiguration
from triortc.engine.calls.events import PushEndpointGone
from triortc.errors import ConfigurationError


def test_an_endpoint_that_gives_access_is_not_in_its_repr() -> None:
    for secret in ("a-token-of-apns", "push.example", "public-key", "a-secret"):
        assert secret not in repr(APNS) + repr(WEB)


def test_an_endpoint_that_its_provider_gave_up_is_forgotten_and_the_others_are_kept() -> None:
    house = House()
    ana = agent_actor("ana", "phone")
    house.connect(ana, replace(information("phone", "ios"), push=(APNS, FCM)))
    assert ana.address is not None
    house.handle(PushEndpointGone(ana.address, APNS))
    house.handle(PushEndpointGone(ana.address, APNS))
    assert house.world.devices[ana.address].information.push == (FCM,)


def test_a_sleeping_device_whose_last_endpoint_is_gone_is_unreachable_and_the_ring_goes_on_elsewhere() -> None:
    pocket = Pocket("android")
    session = pocket.request(pocket.vic).session
    assert pocket.phone.address is not None
    pocket.handle(PushEndpointGone(pocket.phone.address, FCM))
    assert pocket.phone.address not in pocket.world.devices
    assert pocket.world.agent(pocket.phone.principal).statuses["video"].effective == "unavailable"
    pocket.advance(30.0)
    assert pocket.session(session).outcome == "no_answer"


def test_an_alert_to_an_endpoint_that_is_gone_meanwhile_is_not_sent() -> None:
    pocket = Pocket()
    pocket.request(pocket.vic)
    assert pocket.phone.address is not None
    pocket.handle(PushEndpointGone(pocket.phone.address, APNS))
    pocket.advance(20.0)
    assert pocket.at == [0.0]


def test_P4_a_device_without_a_token_counts_for_35_seconds_and_one_with_a_token_for_good() -> None:
    for endpoints, effective in (((), "unavailable"), ((APNS,), "available")):
        house = House(push_kinds=ALL)
        ana = house.agent("ana", "phone", "ios")
        house.connect(ana, replace(information("phone", "ios"), push=endpoints))
        house.lose(ana)
        house.advance(34.9)
        statuses = house.world.agent(ana.principal).statuses
        assert statuses["video"].effective == "available"
        house.advance(0.2)
        assert statuses["video"].effective == effective
        house.leave(ana)
        assert statuses["video"].effective == effective


def test_sleeping_devices_are_bounded_in_number() -> None:
    house = House(CallConfiguration(sleeping_devices_kept=2), ALL)
    for number in range(4):
        actor = agent_actor("ana", f"phone{number}")
        house.connect(actor, replace(information(f"phone{number}", "ios"), push=(APNS,)))
        house.now += 1.0
        house.leave(actor)
    assert [address.device for address in house.world.devices] == ["phone2", "phone3"]
    vic = house.visitor()
    house.leave(vic)
    assert len(house.world.devices) == 2, "visitors are not rung, so none is kept"


def test_the_numbers_of_pushes_are_checked() -> None:
    for name in ("ios_repeat_s", "push_fallback_s", "push_needs_s", "sleeping_devices_kept"):
        wrong: dict[str, Any] = {name: 0}
        with pytest.raises(ConfigurationError, match=name):
            CallConfiguration(**wrong)
