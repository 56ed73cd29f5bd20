"""Presence of agents inside call control: collecting the facts, telling what changed."""

from __future__ import annotations

from collections.abc import Iterator
from operator import attrgetter
from typing import Final, Literal

from triortc.engine.calls.actor import Principal
from triortc.engine.calls.effects import Order, SendPush
from triortc.engine.calls.notifications import PresenceChanged
from triortc.engine.calls.ports import Candidate
from triortc.engine.calls.presence import CHANNELS, Channel, Declared, PresenceFacts, effective_status
from triortc.engine.calls.push_planner import notice_endpoint
from triortc.engine.calls.push_values import NoticePush
from triortc.engine.calls.view_values import ChannelStatus
from triortc.engine.calls.world import Agent, World

__all__ = [
    "agents_of_group",
    "candidate",
    "count_missed",
    "declare",
    "fire_background",
    "open_chats",
    "presence_facts",
    "recompute_presence",
]


_status_fields: Final = attrgetter(*ChannelStatus.__struct_fields__)
_NO_VIDEO: Final[frozenset[Channel]] = frozenset({"video"})


def open_chats(world: World, agent: Agent) -> int:
    """Open chats, but for the conversation of a video that a visitor asked for: that one has a reason of its own.

    A chat that an agent has taken to video goes on as a chat (A-2); so does one whose visitor still waits for a video
    that is not this agent's (I31).
    """
    if not agent.chats:
        return 0
    sessions = (world.live_session(world.conversations[key]) for key in agent.chats)
    return sum(
        session is None or session.origin == "invited" or session.agent != agent.principal.sub for session in sessions
    )


def presence_facts(world: World, agent: Agent) -> PresenceFacts:
    """Everything that this agent's availability depends on, now."""
    claim = world.claims.get(agent.principal)
    rules = world.push_rules
    reachable = [device for device in world.rung_devices(agent.principal) if device.reachable or device.wakeable(rules)]
    return PresenceFacts(
        declared=agent.declared,
        reachable=bool(reachable),
        claim_origin=None if claim is None else claim.origin,
        claim_phase=None if claim is None else claim.phase,
        open_chats=open_chats(world, agent),
        open_calls=len(agent.occupied["call"]),
        third_party=len(agent.occupied["third_party"]),
        max_chats=world.configuration.max_chats,
        max_third_party=world.configuration.max_third_party,
        disabled=_NO_VIDEO if "video.receive" not in agent.caps else frozenset(),
        wrap_up=any(world.conversations[key].held_by_video for key in agent.chats),
        off_by_system=agent.off_by_system,
        live_invitation=agent.principal in world.invitation_of_agent,
        no_permission=bool(reachable)
        and all("restricted" in (device.information.camera, device.information.mic) for device in reachable),
    )


def declare(agent: Agent, channel: Channel, declared: Declared, now: float, *, why: str | None = None) -> bool:
    """P1: change what an agent declares, by the agent's command or by a policy (`why`). False: it is so already."""
    if agent.declared[channel] == declared:
        return False
    agent.declared[channel] = declared
    agent.off_by_system.pop(channel, None)
    if declared == "available":
        agent.idle_since = now
    elif why is not None:
        agent.off_by_system[channel] = why
    if channel == "video":
        agent.missed_in_a_row = 0
    return True


def count_missed(world: World, principal: Principal) -> None:
    """A-8: an agent who misses one call after the other is declared unavailable on video, if the policy says so."""
    agent, limit = world.agent(principal), world.configuration.auto_unavailable_after_missed
    agent.missed_in_a_row += 1
    if 0 < limit <= agent.missed_in_a_row and declare(agent, "video", "unavailable", world.now, why="missed_calls"):
        world.touch(principal)


def _watch_background(world: World, agent: Agent, facts: PresenceFacts) -> None:
    """T_bg_available runs while an agent who is declared available has nothing to do and no app on the screen."""
    limit_s = world.configuration.background_available_s
    timer = ("T_bg_available", *agent.principal)
    occupied = facts.claim_origin is not None or facts.live_invitation or agent.chats or any(agent.occupied.values())
    declared = "available" in agent.declared.values()
    at_hand = any(device.at_hand for device in world.devices_of(agent.principal))
    if limit_s is None or at_hand or occupied or not declared or not facts.reachable:
        if timer in world.timers:
            world.drop_timer(timer)
    elif timer not in world.timers:
        world.set_timer(timer, world.now + limit_s)


def fire_background(world: World, principal: Principal) -> None:
    """T_bg_available: the agent is taken for absent, on every channel, and told so."""
    agent = world.agent(principal)
    for channel in CHANNELS:
        declare(agent, channel, "unavailable", world.now, why="background")
    world.touch(principal)
    for device in world.rung_devices(principal):
        endpoint = notice_endpoint(device.information, world.push_rules)
        if endpoint is not None:
            world.emit(Order.PRESENCE, SendPush(NoticePush(device.address, endpoint, "availability_off")))


def _update(agent: Agent, channel: Channel, facts: PresenceFacts) -> bool:
    effective, color, api, reasons = effective_status(channel, facts)
    old = agent.statuses.get(channel)
    declared = agent.declared[channel]
    if old is not None and (old.declared, old.effective, old.reasons) == (declared, effective, reasons):
        return False
    version = 1 if old is None else old.version + 1
    by: Literal["system"] | None = "system" if channel in agent.off_by_system else None
    agent.statuses[channel] = ChannelStatus(
        agent.principal.sub, channel, declared, effective, color, api, reasons, version, by
    )
    return True


def recompute_presence(world: World, principal: Principal) -> None:
    """Recompute one agent's channels and tell the agent's devices and the supervisors what changed."""
    agent = world.agents.get(principal)
    if agent is None:
        return
    facts = presence_facts(world, agent)
    _watch_background(world, agent, facts)
    changed = [channel for channel in CHANNELS if _update(agent, channel, facts)]
    _keep_candidate(world, agent, facts)
    if not changed:
        return
    watchers = (*world.devices_of(principal), *world.supervisors(principal.org))
    for channel in changed:
        status = agent.statuses[channel]
        event = PresenceChanged(*_status_fields(status))
        for device in watchers:
            world.notify(Order.PRESENCE, device.address, event)


def _keep_candidate(world: World, agent: Agent, facts: PresenceFacts) -> None:
    """A router gets what is here: whatever a `Candidate` tells changes only together with the agent's availability."""
    principal = agent.principal
    able = agent.statuses["video"].effective == "available"
    known = Candidate(principal.sub, agent.idle_since, facts.open_chats) if able else None
    for group in agent.groups:
        members = world.candidates.setdefault((principal.org, group), {})
        if known is None:
            members.pop(principal, None)
        else:
            members[principal] = known


def agents_of_group(world: World, org: str, group: str) -> Iterator[Agent]:
    """The tenant's agents of a routing group."""
    return iter(world.agents_of_group.get((org, group), {}).values())


def candidate(world: World, agent: Agent) -> Candidate:
    """The agent as a router sees it."""
    return Candidate(agent.principal.sub, agent.idle_since, open_chats(world, agent))
