"""Availability of an agent on a channel: a pure function of facts, with the reasons named.

What an agent *declares* is theirs alone. What they *effectively* are follows from it and from what they are doing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal, NamedTuple

import msgspec

from triortc.engine.calls.value import ValueStruct

__all__ = ["CHANNELS", "Channel", "Declared", "EffectiveStatus", "PresenceFacts", "effective_status"]

Channel = Literal["chat", "call", "video", "third_party"]
Declared = Literal["available", "unavailable"]
CHANNELS: Final[tuple[Channel, ...]] = ("chat", "call", "video", "third_party")


class PresenceFacts(ValueStruct, frozen=True):
    """Everything that availability depends on.

    Attributes:
        declared: what the agent set, for each channel.
        reachable: some device is connected, or was a moment ago.
        claim_origin, claim_phase: of the session that has the agent, if one has.
        open_chats, open_calls, third_party: how many of each are going on (snoozed ones do not count).
        max_chats: how many chats fill the agent's slots.
        max_third_party: the same of third-party conversations.
        disabled: channels that the agent does not have at all.
        wrap_up: an answered routed video whose conversation is still open.
        live_invitation: an invitation of the agent's is not over.
        off_by_system: channels that a policy has declared unavailable, and the reason.
        no_permission: no reachable device may ever use camera and microphone (they are restricted).
    """

    declared: dict[Channel, Declared]
    reachable: bool
    claim_origin: Literal["routed", "invited"] | None = None
    claim_phase: str | None = None
    open_chats: int = 0
    open_calls: int = 0
    third_party: int = 0
    max_chats: int = 3
    max_third_party: int = 3
    disabled: frozenset[Channel] = frozenset()
    wrap_up: bool = False
    live_invitation: bool = False
    no_permission: bool = False
    off_by_system: Mapping[Channel, str] = msgspec.field(default_factory=dict)


class EffectiveStatus(NamedTuple):
    """`color` and `api` follow from `effective` (and the channel); `reasons` say why it is not what the agent set."""

    effective: Literal["available", "busy", "unavailable"]
    color: Literal["green", "orange", "red"]
    api: Literal["AVAILABLE", "BUSY", "UNAVAILABLE", "UNAVAILABLE_FORCED"]
    reasons: tuple[str, ...]


def _reasons(channel: Channel, facts: PresenceFacts) -> tuple[str, ...]:
    in_video = "ringing" if facts.claim_phase == "ringing" else "in_video"
    found: list[str] = []
    if channel in ("video", "call"):
        if facts.claim_origin is not None:
            found.append(in_video)
        if facts.open_chats:
            found.append("ongoing_chat")
        if facts.open_calls:
            found.append("ongoing_call")
        if facts.live_invitation and channel == "video":
            found.append("invitation_live")
        if facts.wrap_up:
            found.append("wrap_up")
        if facts.no_permission:
            found.append("no_permission")
        return tuple(found)
    if facts.claim_origin == "routed":
        found.append(in_video)
    slots_full = facts.open_chats >= facts.max_chats
    if channel == "third_party":
        slots_full = facts.third_party >= facts.max_third_party
    if slots_full:
        found.append("slots_full")
    if facts.wrap_up:
        found.append("wrap_up")
    return tuple(found)


def effective_status(channel: Channel, facts: PresenceFacts) -> EffectiveStatus:
    """What the agent effectively is on this channel, and why."""
    if channel in facts.disabled or facts.declared[channel] == "unavailable" or not facts.reachable:
        reason = facts.off_by_system.get(channel)
        return EffectiveStatus("unavailable", "red", "UNAVAILABLE", () if reason is None else (reason,))
    reasons = _reasons(channel, facts)
    if reasons:
        forced = channel in ("call", "video")
        return EffectiveStatus("busy", "orange", "UNAVAILABLE_FORCED" if forced else "BUSY", reasons)
    return EffectiveStatus("available", "green", "AVAILABLE", ())
