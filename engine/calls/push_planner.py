"""When a device that may be asleep is pushed to for a ring: a pure function of the device, the ring and the time left.

| profile | pushes with r seconds left | withdrawal |
|---|---|---|
| `ios_alert_repeat` | audible alerts every T = `ios_repeat_s`, the last not after r - T unless it is the first | yes |
| `ios_callkit` | one: the system rings until the app says otherwise | none: the app opens signaling, hears it there |
| `android`, `web` | one: the app rings, and stops by itself after the time that the push names | yes |

Nothing is pushed with less than `push_needs_s` left. Nothing can be heard after the deadline even if every withdrawal
is lost: no sound is longer than T (A-10).
"""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

from triortc.engine.calls.actor import DeviceInformation, Platform, PushEndpoint, PushKind
from triortc.engine.calls.push_values import PushProfile

__all__ = ["PushPlan", "PushRules", "notice_endpoint", "plan_ring_pushes", "ring_route"]

_ROUTES: Final[dict[Platform, tuple[tuple[PushKind, PushProfile], ...]]] = {
    "ios": (("apns", "ios_alert_repeat"), ("apns_voip", "ios_callkit"), ("webpush", "web")),
    "android": (("fcm", "android"), ("webpush", "web")),
    "desktop": (("webpush", "web"), ("fcm", "android")),
    "web": (("webpush", "web"),),
}
"""How a platform can be rung, the best way first; the two ways of iOS in the order of `ios_profile`."""


class PushRules(NamedTuple):
    """What the plan depends on besides the ring.

    Attributes:
        kinds: the providers that there are gateways for.
        ios_profile: which of its two ways an iOS device is rung by, if it has both (A-9).
        ios_repeat_s: the period of audible alerts; the app's sound is not longer.
        push_needs_s: less than this is not worth a push.
    """

    kinds: frozenset[PushKind] = frozenset()
    ios_profile: Literal["ios_alert_repeat", "ios_callkit"] = "ios_alert_repeat"
    ios_repeat_s: float = 5.0
    push_needs_s: float = 2.0


class PushPlan(NamedTuple):
    """The pushes of one ring to one device: when (monotonic seconds, in order), where to, and how."""

    endpoint: PushEndpoint
    profile: PushProfile
    at: tuple[float, ...]

    @property
    def withdraws(self) -> bool:
        """Whether the end of the ring is pushed as well."""
        return self.profile != "ios_callkit"


def ring_route(device: DeviceInformation, rules: PushRules) -> tuple[PushEndpoint, PushProfile] | None:
    """The endpoint and the way by which a device is rung; None: it cannot be woken."""
    routes = _ROUTES[device.platform]
    if device.platform == "ios" and rules.ios_profile == "ios_callkit":
        routes = (routes[1], routes[0], *routes[2:])
    for kind, profile in routes:
        if kind in rules.kinds:
            for endpoint in device.push:
                if endpoint.kind == kind:
                    return endpoint, profile
    return None


def plan_ring_pushes(device: DeviceInformation, now: float, deadline: float, rules: PushRules) -> PushPlan | None:
    """The pushes for what is left of a ring; None: the device cannot be woken.

    Arguments:
        device: what it says of itself.
        now: monotonic seconds.
        deadline: when the ring ends, monotonic seconds.
        rules: the policy.
    """
    route = ring_route(device, rules)
    if route is None:
        return None
    endpoint, profile = route
    left = deadline - now
    if left < rules.push_needs_s:
        return PushPlan(endpoint, profile, ())
    if profile != "ios_alert_repeat":
        return PushPlan(endpoint, profile, (now,))
    # A little more than nothing forgives what binary fractions lose: 25 of 30 is the last of 6.
    repeats = max(0, int((left - rules.ios_repeat_s) / rules.ios_repeat_s + 1e-9))
    return PushPlan(endpoint, profile, tuple(now + n * rules.ios_repeat_s for n in range(repeats + 1)))


def notice_endpoint(device: DeviceInformation, rules: PushRules) -> PushEndpoint | None:
    """Where something to read is pushed to; VoIP pushes are for rings alone."""
    kinds = rules.kinds - {"apns_voip"}
    return next((endpoint for endpoint in device.push if endpoint.kind in kinds), None)
