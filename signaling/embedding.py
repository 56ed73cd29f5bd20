"""What a server that embeds the engine asks of it: conversations, calls, events, listeners of its own.

It asks with its own authority: no token, no device, any tenant.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Final, Literal, TypeVar

import trio

from triortc.engine.calls.actor import Actor, Principal
from triortc.engine.calls.commands import CallEnd, CallRequest, Command, InvitationSend, MediaWanted
from triortc.engine.calls.observing import DEFAULT_LIMIT, EventStream
from triortc.engine.calls.replies import (
    CallFault,
    CallRequestedPayload,
    EndedPayload,
    InvitationSentPayload,
    Reply,
)
from triortc.engine.calls.running_calls import RunningCall, running_calls
from triortc.errors import CallRefusedError, ConfigurationError, InvalidStateError
from triortc.signaling.app import RunningServer
from triortc.signaling.wire_values import IDENTIFIER

__all__ = ["Engine"]

_SERVICE: Final = "embedder"
_CHANNELS: Final = ("call", "third_party")
PayloadT = TypeVar("PayloadT")


@dataclass(frozen=True, slots=True)
class Engine(RunningServer):
    """A running engine. Made by `open_engine`; every method belongs to the trio loop's thread.

    What is refused raises `CallRefusedError`, whose `code` is one of docs/protocol.md; what is asked after the block
    was left raises `InvalidStateError`. Its attributes are those of `RunningServer`.
    """

    # --- conversations

    async def open_conversation(self, org: str, conversation: str, visitor: str, *, group: str | None = None) -> None:
        """Make an open, unassigned conversation for a visitor. One that exists is left as it is.

        Args:
            org: the tenant.
            conversation: its id, `[A-Za-z0-9_-]{1,64}`; the visitor's token names it.
            visitor: the visitor's `sub`.
            group: who should answer; None: `calls.default_group`.

        Raises:
            ConfigurationError: clients could not name a conversation of this id.
        """
        self._require_open()
        if not re.fullmatch(IDENTIFIER, conversation):
            raise ConfigurationError(f"{conversation!r} is no id of a conversation: use {IDENTIFIER}")
        self.calls.open_conversation(Principal(org, "visitor", visitor), conversation, group)
        await self._told()

    async def assign_conversation(self, org: str, conversation: str, agent: str, *, even_if_busy: bool = False) -> None:
        """Give an unassigned conversation to an agent. One that is assigned is left as it is.

        Args:
            org: the tenant.
            conversation: which one.
            agent: the agent's `sub`.
            even_if_busy: give it whatever the agent does, and even if call control does not know the agent yet.

        Raises:
            CallRefusedError: `agent.busy`, `agent.unavailable`, `state.not_found`.
        """
        self._require_open()
        reply = self.calls.assign_conversation(org, conversation, agent, even_if_busy=even_if_busy)
        await self._told()
        _payload(reply, object)

    async def occupy(self, org: str, agent: str, kind: Literal["call", "third_party"], item: str) -> None:
        """An agent takes a phone call or a conversation elsewhere: that many fewer can be given by the engine.

        Args:
            org: the tenant.
            agent: the agent's `sub`.
            kind: the channel that it occupies.
            item: your name for it, for `vacate`.

        Raises:
            ConfigurationError: there is no such channel.
        """
        self._require_open(kind)
        self.calls.occupy(Principal(org, "agent", agent), kind, item)
        await self._told()

    async def vacate(self, org: str, agent: str, kind: Literal["call", "third_party"], item: str) -> None:
        """It is over. What was not occupied is ignored.

        Args:
            org: the tenant.
            agent: the agent's `sub`.
            kind: the channel that it occupied.
            item: what `occupy` was told.

        Raises:
            ConfigurationError: there is no such channel.
        """
        self._require_open(kind)
        self.calls.vacate(Principal(org, "agent", agent), kind, item)
        await self._told()

    # --- calls

    async def request_call(
        self, org: str, conversation: str, *, group: str | None = None, video: bool = True
    ) -> CallRequestedPayload:
        """Ring an agent for the visitor of a conversation, who must be connected.

        Args:
            org: the tenant.
            conversation: of which visitor.
            group: whom to ring; None: the conversation's group.
            video: whether the visitor is asked for a camera.

        Returns:
            `session` and `state`; with nobody to ring, `state` is `ended` and `outcome` and `reason` say why.

        Raises:
            CallRefusedError: `call.invalid_state`, `conversation.closed`, `rate.limited`, `state.not_found`, …
        """
        wanted = CallRequest(conversation, group, MediaWanted(video=video))
        return await self._ask(self._service(org), wanted, CallRequestedPayload)

    async def invite(self, org: str, conversation: str) -> InvitationSentPayload:
        """Invite the visitor of a conversation to a video, in the name of the agent who has the conversation.

        Args:
            org: the tenant.
            conversation: of which visitor, and which agent.

        Returns:
            `invitation`, and `warnings` for the agent.

        Raises:
            CallRefusedError: `invitation.already_pending`, `conversation.not_open`, `state.not_found`, `auth.forbidden`
                (nobody has it), …
        """
        self._require_open()
        found = self.calls.control.world.conversations.get((org, conversation))
        # Devices are told one thing for both and for another agent's (I40); whoever asks here may know.
        if found is None:
            raise CallRefusedError("state.not_found", "there is no such conversation", {}, retryable=False)
        if found.assignee is None:
            nobody = "no agent has the conversation: assign_conversation first"
            raise CallRefusedError("auth.forbidden", nobody, {}, retryable=False)
        actor = Actor(found.assignee, "agent", org, caps=frozenset({"video.invite"}))
        return await self._ask(actor, InvitationSend(conversation), InvitationSentPayload)

    async def end(self, org: str, session: str, *, note: str | None = None) -> EndedPayload:
        """End a call. One that has ended is left as it is, and its end is told again.

        Args:
            org: the tenant.
            session: which one, as `request_call` and events name it.
            note: for the history.

        Returns:
            `outcome` and `reason`.

        Raises:
            CallRefusedError: `state.not_found`.
        """
        return await self._ask(self._service(org), CallEnd(session, note), EndedPayload)

    def running_calls(self, org: str | None = None) -> tuple[RunningCall, ...]:
        """The calls that have not ended, the longest first: for rules of your own, and for dashboards.

        Args:
            org: the tenant; None: all.
        """
        self._require_open()
        return running_calls(self.calls.control.world, trio.current_time(), org)

    def observe(self, limit: int = DEFAULT_LIMIT) -> AbstractContextManager[EventStream]:
        """Watch what happens to calls: `with engine.observe() as events: async for event in events: …`.

        The engine waits for no observer. Where more than `limit` events were waiting, a `Missed` says how many are not
        there. The stream ends when the engine is left.
        """
        return self.calls.observers.observe(limit)

    # --- connections

    async def serve(self, listeners: Sequence[trio.abc.Listener[trio.abc.Stream]]) -> None:
        """Serve pages and WebSockets on listeners of your own, until cancelled; they are closed then.

        Connections live as long as the engine. For listeners with TLS say `ServerConfiguration(scheme="https")`.

        Raises:
            ConfigurationError: there is no listener among them.
        """
        self._require_open()
        if not listeners:
            raise ConfigurationError("serve needs a listener: await trio.open_tcp_listeners(port) gives some")
        await trio.serve_listeners(self.http.serve, list(listeners), handler_nursery=self.connections)

    # --- inside

    def _require_open(self, channel: str = "call") -> None:
        """An engine that was left knows nothing any more, and would refuse everything for some other reason."""
        if self.signaling.calls is None:
            raise InvalidStateError("the engine's block was left: ask inside `async with open_engine(…)`")
        if channel not in _CHANNELS:
            raise ConfigurationError(
                f"{channel!r} is no channel that is occupied from outside: use call or third_party"
            )

    @staticmethod
    def _service(org: str) -> Actor:
        return Actor(_SERVICE, "service", org, caps=frozenset({"call.end"}))

    async def _ask(self, actor: Actor, command: Command, payload: type[PayloadT]) -> PayloadT:
        self._require_open()
        reply = self.calls.command(actor, command)
        await self._told()
        return _payload(reply, payload)

    async def _told(self) -> None:
        """What the caller is told has happened for good, as far as the store promises it."""
        await trio.lowlevel.checkpoint()
        await self.calls.settle()


def _payload(reply: Reply, kind: type[PayloadT]) -> PayloadT:
    if isinstance(reply, CallFault):
        raise CallRefusedError(reply.code, reply.message, reply.details, retryable=reply.retryable)
    assert isinstance(reply.payload, kind)
    return reply.payload
