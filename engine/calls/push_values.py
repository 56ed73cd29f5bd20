"""Pushes as values: what call control wants sent to a device that may be asleep. What becomes of them is the gateways'.

A push is to be sent at the instant at which it comes out of call control. A gateway may repeat a failed one once
(`RingPush.may_retry`), and sends none of a ring after that ring's `WithdrawPush`.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

from triortc.engine.calls.actor import DeviceAddress, PushEndpoint
from triortc.engine.calls.value import value

__all__ = ["NoticePush", "Push", "PushProfile", "RingPush", "WithdrawPush"]

PushProfile = Literal["ios_alert_repeat", "ios_callkit", "android", "web"]
"""How a platform is rung: audible alerts one after the other, one VoIP push, one data message, one Web Push."""


@value(slots=True, frozen=True)
class RingPush:
    """Ring a device.

    Attributes:
        address: the device.
        endpoint: where it is pushed to.
        profile: how.
        session, ring, conversation: what rings; `session` is what repeats and withdrawals collapse by.
        kind: `call`, or `join` for an invitation that the visitor accepted.
        number: its place in the schedule: 0, and more only where a profile repeats.
        remaining_ms: what is left of the ring; a push that is not delivered by then must not be.
        expires_at: the deadline on the wall clock, in unix milliseconds.
        video: whether the visitor asks for video.
        visitor_name: only where `push_names` allows it.
        may_retry: whether one more attempt after a failure of the provider still makes sense.
    """

    address: DeviceAddress
    endpoint: PushEndpoint
    profile: PushProfile
    session: str
    ring: str
    conversation: str
    kind: Literal["call", "join"]
    number: int
    remaining_ms: int
    expires_at: int
    video: bool = True
    visitor_name: str | None = None
    may_retry: bool = False


@value(slots=True, frozen=True)
class WithdrawPush:
    """The ring is over: take away what earlier pushes put on the screen, without a sound.

    Attributes:
        address, endpoint, profile, session, ring, conversation: as of the pushes that it takes back.
        outcome: how the ring ended for this device: a ring leg's reason, for example `timeout`, `answered_elsewhere`.
        log_missed: whether the device may count it as a missed call.
        replace_missed: leave a silent text about a missed call instead (iOS).
    """

    address: DeviceAddress
    endpoint: PushEndpoint
    profile: PushProfile
    session: str
    ring: str
    conversation: str
    outcome: str
    log_missed: bool = False
    replace_missed: bool = False


@value(slots=True, frozen=True)
class NoticePush:
    """Something to read, of normal priority and never a ring.

    Attributes:
        address: the device.
        endpoint: where it is pushed to.
        kind: `message`: the visitor wrote; `availability_off`: the app was too long in the background, and the agent
            is declared unavailable.
        conversation, message: the ids, for `message`.
        visitor_name: only where `push_names` allows it.
    """

    address: DeviceAddress
    endpoint: PushEndpoint
    kind: Literal["message", "availability_off"]
    conversation: str | None = None
    message: str | None = None
    visitor_name: str | None = None


Push: TypeAlias = RingPush | WithdrawPush | NoticePush
