"""What clients were told, held against what a server finds after a `kill -9`: nothing acknowledged may be missing."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Final

from triortc.engine.calls.presence import Channel
from triortc.engine.calls.store import Stored

__all__ = ["RING_MS", "Ledger", "Promises"]

RING_MS: Final = 30_000
"""The server's time to answer: its default."""
_LATE_MS: Final = 1000
"""How late a ring may end on a machine that runs clients, server and judge at the same time."""


@dataclass
class Promises:
    """One thing that is set again and again: what was acknowledged last, and what has been asked for since."""

    acknowledged: Any = None
    asked: list[Any] = field(default_factory=list)

    def ask(self, value: Any) -> None:
        self.asked.append(value)

    def keep(self, value: Any) -> None:
        self.acknowledged, self.asked = value, []

    def allows(self, value: Any) -> bool:
        """Whether a server may say this: the last acknowledged value, or one that was on its way."""
        return value == self.acknowledged or value in self.asked


@dataclass
class Ledger:
    """Every `ok` of every client.

    Attributes:
        messages: text by (conversation, message).
        tags: by conversation.
        closed: conversations whose close was acknowledged.
        welcomed: agents of whom a device was welcomed; a server knows them from then on.
        declared: by (agent, channel).
        sessions: calls that were acknowledged: the conversation.
        answered: calls whose "Go" was acknowledged: the device.
        ended: calls whose end was acknowledged: outcome and reason.
        invitations: sent ones.
        up: when the server came up, and was killed, in unix milliseconds.
    """

    messages: dict[tuple[str, str], str] = field(default_factory=dict)
    tags: dict[str, Promises] = field(default_factory=dict)
    closed: set[str] = field(default_factory=set)
    welcomed: set[str] = field(default_factory=set)
    declared: dict[tuple[str, Channel], Promises] = field(default_factory=dict)
    sessions: dict[str, str] = field(default_factory=dict)
    answered: dict[str, str] = field(default_factory=dict)
    ended: dict[str, tuple[str, str]] = field(default_factory=dict)
    invitations: dict[str, str] = field(default_factory=dict)
    acknowledged: int = 0
    up: list[int] = field(default_factory=list)

    def compare(self, stored: Stored, messages: list[Any], history: list[Any]) -> list[str]:
        """What is wrong with what a killed server left.

        Arguments:
            stored: what the next one loads.
            messages: every row of messages.
            history: every row of history.
        """
        faults = [f"history has {session} {count} times" for session, count in _repeated(history).items()]
        kept = {(row.message.conversation, row.message.message): row.message.text for row in messages}
        faults += [
            f"message {message} of {conversation} is missing or another one"
            for (conversation, message), text in self.messages.items()
            if kept.get((conversation, message)) != text
        ]
        texts = Counter(kept.values())
        faults += [f"{text!r} was kept {count} times" for text, count in texts.items() if count > 1]
        faults += self._compare_conversations(stored)
        faults += self._compare_agents(stored)
        faults += self._compare_calls(stored, {row.record.session: row.record for row in history})
        return faults

    def _compare_conversations(self, stored: Stored) -> list[str]:
        known = {row.conversation.id: row.conversation for row in stored.conversations}
        faults = [f"conversation {name} is not closed" for name in self.closed if known[name].state != "closed"]
        for name, promises in self.tags.items():
            if not promises.allows(known[name].tags):
                faults.append(f"tags of {name} are {known[name].tags}, not {promises.acknowledged}")
        return faults

    def _compare_agents(self, stored: Stored) -> list[str]:
        agents = {row.agent.principal.sub: row.agent for row in stored.agents}
        faults = [f"agent {agent} was welcomed, and is not known" for agent in self.welcomed - set(agents)]
        return faults + [
            f"{agent} declared {promises.acknowledged} for {channel}, and it is {agents[agent].declared[channel]}"
            for (agent, channel), promises in self.declared.items()
            if agent in agents and not promises.allows(agents[agent].declared[channel])
        ]

    def _compare_calls(self, stored: Stored, history: dict[str, Any]) -> list[str]:
        known = {row.session.id: row.session for row in stored.sessions}
        invitations = {row.invitation.id for row in stored.invitations}
        faults = [f"invitation {name} is missing" for name in self.invitations if name not in invitations]
        for session in self.sessions:
            if session not in history and session not in known:
                faults.append(f"call {session} is missing")
            elif session in known and known[session].ended != (session in history):
                faults.append(f"call {session} is {known[session].state}, and history does not agree")
        for session, device in self.answered.items():
            kept = known.get(session)
            if kept is not None and kept.answered_at is None:
                faults.append(f"{device} answered {session}, and it is {kept.state}")
        for session, (outcome, reason) in self.ended.items():
            record = history.get(session)
            if record is None or (record.outcome, record.reason) != (outcome, reason):
                faults.append(f"call {session} was ended as {outcome}/{reason}, and is {record}")
        return faults

    def compare_rings(self, history: list[Any]) -> list[str]:
        """No ring outlives its deadline, but for the time in which there was no server."""
        faults = []
        for row in history:
            record = row.record
            if record.ring_at is None or record.answered_at is not None:
                continue
            deadline = record.ring_at + RING_MS
            due = min((at for at in self.up if at >= deadline), default=deadline)
            running = any(start <= deadline < end for start, end in zip(self.up[::2], self.up[1::2], strict=False))
            if record.ended_at > (deadline if running else due) + _LATE_MS:
                faults.append(f"{record.session} rang {record.ended_at - record.ring_at} ms")
        return faults


def _repeated(history: list[Any]) -> dict[str, int]:
    counts = Counter(row.record.session for row in history)
    return {session: count for session, count in counts.items() if count > 1}
