"""What an operator sees of calls and agents: a picture of call control's state, as plain values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from triortc.engine.calls.session import LogRecord, Session
from triortc.engine.calls.supervisor import CallSupervisor
from triortc.engine.calls.world import Agent, World

__all__ = ["MAX_ROWS", "operations_view", "timeline_view"]

#: More rows than anybody reads; the numbers above them count all.
MAX_ROWS = 500


def operations_view(calls: CallSupervisor, *, now: float, unix_ms_now: int) -> dict[str, Any]:
    """Calls that are on, and agents with the reasons of their colours.

    Args:
        calls: call control.
        now: seconds, monotonic, on call control's clock.
        unix_ms_now: the same moment on the wall.
    """
    world = calls.control.world
    live = [session for session in world.sessions.values() if not session.ended]
    agents = sorted(world.agents.values(), key=lambda agent: (agent.principal.org, agent.principal.sub))
    shown = [agent for agent in agents if any(d.live for d in world.of_principal.get(agent.principal, {}).values())]
    return {
        "at": unix_ms_now,
        "draining": world.draining,
        "totals": {
            "calls": len(live),
            "agents": len(shown),
            "conversations": sum(1 for item in world.conversations.values() if item.state != "closed"),
        },
        "calls": [_call(session, now) for session in sorted(live, key=_age)[:MAX_ROWS]],
        "agents": [_agent(agent, world) for agent in shown[:MAX_ROWS]],
    }


def _age(session: Session) -> float:
    return session.requested_at


def _call(session: Session, now: float) -> dict[str, Any]:
    return {
        "session": session.id,
        "org": session.org,
        "conversation": session.conversation,
        "origin": session.origin,
        "state": session.state,
        "agent": session.agent,
        "device": session.agent_device,
        "visitor": session.visitor,
        "age_s": round(max(0.0, now - session.requested_at), 1),
        "left_s": round(session.deadline - now, 1) if session.state == "ringing" else None,
        "recording": session.recording is not None,
    }


def _agent(agent: Agent, world: World) -> dict[str, Any]:
    devices = world.of_principal.get(agent.principal, {}).values()
    return {
        "org": agent.principal.org,
        "agent": agent.principal.sub,
        "name": agent.name,
        "groups": sorted(agent.groups),
        "chats": len(agent.chats),
        "devices": sorted(device.information.platform for device in devices if device.live),
        "channels": {
            channel: {"declared": status.declared, "color": status.color, "reasons": list(status.reasons)}
            for channel, status in agent.statuses.items()
        },
    }


def timeline_view(records: list[LogRecord], unix_ms_at_zero: int) -> list[dict[str, Any]]:
    """A call's steps, in their order."""
    return [
        {
            "at": unix_ms_at_zero + round(record.at * 1000),
            "row": record.row,
            "from": record.state_from,
            "event": record.event,
            "to": record.state_to,
            "actor": record.actor,
            "data": _brief(record.data),
        }
        for record in records
    ]


def _brief(data: Mapping[str, Any]) -> dict[str, Any]:
    """Ids and words; nothing that somebody said."""
    return {key: value for key, value in data.items() if isinstance(value, (int, float, bool)) or _short(value)}


def _short(value: object) -> bool:
    return isinstance(value, str) and len(value) <= 64 and "\n" not in value
