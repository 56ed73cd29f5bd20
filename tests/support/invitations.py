"""An agent with a desk, a visitor in an open chat with her, and what may be done about an invitation there."""

from __future__ import annotations

from typing import Any

from support.calls import House
from triortc.engine.calls.actor import Actor
from triortc.engine.calls.commands import ConversationMessageSend, InvitationAccept, InvitationJoin, InvitationSend
from triortc.engine.calls.configuration import CallConfiguration
from triortc.engine.calls.media_events import LegUp
from triortc.engine.calls.session_table import ConversationOperation


class Chat(House):
    """An agent with a desk, and a visitor in an open chat with her."""

    def __init__(self, configuration: CallConfiguration | None = None, platform: Any = "desktop") -> None:
        super().__init__(configuration)
        self.ana = self.agent(platform=platform)
        self.vic = self.visitor()
        self.chat(self.vic)

    def chat(self, visitor: Actor, conversation: str = "cv_1") -> None:
        self.ok(visitor, ConversationMessageSend(conversation, "hello"))
        assert self.world.conversations[("org", conversation)].assignee is not None

    def invite(self, conversation: str = "cv_1") -> str:
        invitation = self.ok(self.ana, InvitationSend(conversation)).invitation
        assert isinstance(invitation, str)
        return invitation

    def call_outside(self) -> None:
        """A call outside of the engine begins for the agent."""
        self.perform(self.control.occupy(self.ana.principal, "call", "call_1", self.now))

    def state(self, invitation: str) -> tuple[str, str | None]:
        found = self.world.invitations[invitation]
        return found.state, found.reason

    def session_of(self, invitation: str) -> str:
        session = self.world.invitations[invitation].session
        assert session is not None
        return session

    def up(self, session: str) -> None:
        for leg in (self.session(session).visitor_leg, self.session(session).agent_leg):
            assert leg is not None
            self.media(LegUp(leg))

    def talking(self) -> tuple[str, str]:
        """Both joined and both legs up: the invitation and the session."""
        invitation = self.invite()
        session = self.ok(self.ana, InvitationJoin(invitation)).session
        self.ok(self.vic, InvitationAccept(invitation))
        self.up(session)
        return invitation, session


def colleague(house: House, sub: str = "ben") -> Actor:
    return house.agent(sub, f"{sub}-desk")


def second_visitor(house: House, sub: str = "wim", conversation: str = "cv_2") -> Actor:
    return house.visitor(sub, f"{sub}-tab", conversation)


OPERATIONS: list[tuple[ConversationOperation, str]] = [
    ("conversation.transfer", "conversation_transferred"),
    ("conversation.snooze", "conversation_snoozed"),
    ("conversation.close", "conversation_closed"),
]


def leave(chat: Chat, operation: ConversationOperation, *, end_video: bool = False) -> None:
    """What every operation on the conversation does first."""
    conversation = chat.world.conversations[("org", "cv_1")]
    chat.control._lifecycle.leave_video(conversation, operation, "ana", end_video=end_video)
    chat.perform(chat.control._settle())
