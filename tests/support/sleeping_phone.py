"""An agent whose phone is asleep in a pocket, and the endpoints by which a push can wake it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from support.calls import House, agent_actor, information
from triortc.engine.calls.actor import AppState, DeviceInformation, Platform, PushEndpoint, PushKind
from triortc.engine.calls.configuration import CallConfiguration
from triortc.engine.calls.push_values import RingPush, WithdrawPush

APNS = PushEndpoint("apns", token="a-token-of-apns", topic="app.example")
VOIP = PushEndpoint("apns_voip", token="a-voip-token", topic="app.example")
FCM = PushEndpoint("fcm", token="a-token-of-fcm")
WEB = PushEndpoint("webpush", endpoint="https://push.example/one", p256dh="public-key", auth="a-secret")
ALL: frozenset[PushKind] = frozenset({"apns", "apns_voip", "fcm", "webpush"})
ENDPOINTS: dict[Platform, tuple[PushEndpoint, ...]] = {
    "ios": (APNS, VOIP),
    "android": (FCM,),
    "desktop": (WEB,),
    "web": (WEB,),
}


def device(platform: Platform, app_state: AppState = "background") -> DeviceInformation:
    return replace(information("phone", platform), push=ENDPOINTS[platform], app_state=app_state)


class Pocket(House):
    """An agent whose phone is asleep in a pocket, and a visitor."""

    def __init__(
        self,
        platform: Platform = "ios",
        *,
        app_state: AppState = "background",
        connected: bool = False,
        configuration: CallConfiguration | None = None,
    ) -> None:
        super().__init__(configuration, ALL)
        self.platform = platform
        self.phone = agent_actor("ana", "phone")
        self.connect(self.phone, device(platform, app_state))
        for channel in ("video", "chat"):
            self.world.agent(self.phone.principal).declared[channel] = "available"
        self.world.touch(self.phone.principal)
        self.perform(self.control._settle())
        if not connected:
            self.leave(self.phone)
        self.vic = self.visitor()
        self.started = self.now

    def hello(self, app_state: AppState = "foreground") -> Any:
        return self.connect(self.phone, device(self.platform, app_state))

    @property
    def rings(self) -> list[tuple[float, RingPush]]:
        """Seconds since the start of the test, and the push."""
        return [(at - self.started, push) for at, push in self.pushes if isinstance(push, RingPush)]

    @property
    def at(self) -> list[float]:
        return [at for at, _ in self.rings]

    @property
    def withdrawals(self) -> list[tuple[float, WithdrawPush]]:
        return [(at - self.started, push) for at, push in self.pushes if isinstance(push, WithdrawPush)]

    def leg_state(self, session: str) -> str:
        assert self.phone.address is not None
        return self.world.rings[session].legs[self.phone.address].state
