"""Pushes: what is sent to a device that may be asleep, and when."""

from __future__ import annotations

from dataclasses import replace

from support.calls import House, agent_actor, information
from triortc.engine.calls.actor import PushEndpoint
from triortc.engine.calls.events import PushEndpointGone

APNS = PushEndpoint("apns", token="a-token-of-apns", topic="app.example")
FCM = PushEndpoint("fcm", token="a-token-of-fcm")


def test_an_endpoint_that_gives_access_is_not_in_its_repr() -> None:
    subscription = PushEndpoint("webpush", endpoint="https://push.example/one", p256dh="public-key", auth="a-secret")
    for secret in ("a-token-of-apns", "push.example", "public-key", "a-secret"):
        assert secret not in repr(APNS) + repr(subscription)


def test_an_endpoint_that_its_provider_gave_up_is_forgotten_and_the_others_are_kept() -> None:
    house = House()
    ana = agent_actor("ana", "phone")
    house.connect(ana, replace(information("phone", "ios"), push=(APNS, FCM)))
    assert ana.address is not None
    house.handle(PushEndpointGone(ana.address, APNS))
    house.handle(PushEndpointGone(ana.address, APNS))
    assert house.world.devices[ana.address].information.push == (FCM,)
