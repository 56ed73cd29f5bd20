"""The commands of conversations, and of history."""

from __future__ import annotations

from typing import Final

from triortc.engine.calls import threads, views
from triortc.engine.calls.actor import Actor
from triortc.engine.calls.commands import (
    ConversationClose,
    ConversationFilter,
    ConversationFocus,
    ConversationList,
    ConversationMessageSend,
    ConversationRead,
    ConversationTag,
    HistoryGet,
)
from triortc.engine.calls.conversation_table import Conversation, ConversationFacts
from triortc.engine.calls.lifecycle import Lifecycle
from triortc.engine.calls.ports import HistoryPort, RouterPort
from triortc.engine.calls.replies import ConversationListPayload, HistoryPayload, MessagePayload, Ok
from triortc.engine.calls.world import RefusedError, World

__all__ = ["Chatting"]

_MAX_TAGS: Final = 50


def _offset(cursor: str | None) -> int:
    """The cursor of a page is the number of entries before it."""
    if cursor is None:
        return 0
    if not cursor.isascii() or not cursor.isdigit() or len(cursor) > 9:
        raise RefusedError("proto.malformed", "this cursor was not made by the server")
    return int(cursor)


class Chatting:
    """Handlers for the `conversation.*` commands and `history.get`."""

    def __init__(self, world: World, lifecycle: Lifecycle, router: RouterPort, history: HistoryPort) -> None:
        self._world = world
        self._lifecycle = lifecycle
        self._router = router
        self._history = history

    def message(self, actor: Actor, command: ConversationMessageSend) -> Ok:
        """`conversation.message.send`"""
        if not command.text and not command.attachment_ref:
            raise RefusedError("proto.malformed", "a message needs a text or an attachment")
        if actor.role not in ("agent", "visitor"):
            raise RefusedError("auth.forbidden", "only the parties of a conversation write in it")
        conversation = threads.conversation_for(self._world, actor, command.conversation)
        message, waits = threads.deliver_message(self._world, conversation, actor, command.text, command.attachment_ref)
        if waits:
            threads.route_chat(self._world, self._router, conversation)
        return Ok(MessagePayload(message))

    def read(self, actor: Actor, command: ConversationRead) -> Ok:
        """`conversation.read`: everything up to this message is read."""
        conversation = self._writable(actor, command.conversation, command.wire_type)
        unread = conversation.unread_by_visitor if actor.role == "visitor" else conversation.unread_by_agent
        if command.message in unread:
            while unread.popleft() != command.message:
                pass
            threads.tell_changed(self._world, conversation)
        return Ok()

    def focus(self, actor: Actor, command: ConversationFocus) -> Ok:
        """`conversation.focus`: looking at another conversation has no effect on a call."""
        if command.conversation is not None:
            threads.conversation_for(self._world, actor, command.conversation)
        return Ok()

    def tag(self, actor: Actor, command: ConversationTag) -> Ok:
        """`conversation.tag`: replace the tags; also after the close, whose tags may be late."""
        if actor.role == "visitor":
            raise RefusedError("auth.forbidden", "a visitor does not tag conversations")
        conversation = threads.conversation_for(self._world, actor, command.conversation)
        conversation.tags = self._checked(command.tags)
        threads.tell_changed(self._world, conversation)
        return Ok()

    def close(self, actor: Actor, command: ConversationClose) -> Ok:
        """`conversation.close`: refused while a video runs, unless it is to end it (A-22)."""
        world = self._world
        if actor.role == "visitor":
            raise RefusedError("auth.forbidden", "a visitor does not close conversations")
        conversation = threads.conversation_for(world, actor, command.conversation)
        if conversation.state == "closed":
            return Ok()
        tags = None if command.tags is None else self._checked(command.tags)
        self._lifecycle.leave_video(conversation, "conversation.close", actor.sub, end_video=command.end_video)
        threads.close_conversation(world, conversation, tags)
        return Ok()

    def list(self, actor: Actor, command: ConversationList) -> Ok:
        """`conversation.list`: open and snoozed ones, unless the filter asks for others."""
        world = self._world
        device = world.device_of(actor)
        wanted = command.filter or ConversationFilter()
        states = wanted.state or ("open", "snoozed")
        found = [
            conversation
            for conversation in views.listed_conversations(world, actor)
            if conversation.state in states
            and wanted.video_icon in (None, conversation.video_icon)
            and _matches(conversation, wanted.text)
        ]
        start, size = _offset(command.cursor), world.configuration.conversations_per_page
        page = tuple(views.conversation_view(world, item, device) for item in found[start : start + size])
        return Ok(ConversationListPayload(page, str(start + size) if start + size < len(found) else None))

    def history(self, actor: Actor, command: HistoryGet) -> Ok:
        """`history.get`: an agent's own sessions; a supervisor's tenant."""
        if actor.role == "visitor" or "history" not in actor.caps:
            raise RefusedError("auth.forbidden", "reading history needs the capability history")
        found = self._history.find(
            actor.org,
            session=command.session,
            conversation=command.conversation,
            agent=actor.sub if actor.role == "agent" else None,
        )
        start, size = _offset(command.cursor), self._world.configuration.conversations_per_page
        more = str(start + size) if start + size < len(found) else None
        return Ok(HistoryPayload(tuple(found[start : start + size]), more))

    def _writable(self, actor: Actor, conversation_id: str, event: str) -> Conversation:
        conversation = threads.conversation_for(self._world, actor, conversation_id)
        if self._world.conversation_step(conversation, event, ConversationFacts()) is not None:
            raise RefusedError("conversation.closed", "the conversation is closed")
        return conversation

    def _checked(self, tags: tuple[str, ...]) -> tuple[str, ...]:
        if len(tags) > _MAX_TAGS:
            raise RefusedError("proto.too_large", f"at most {_MAX_TAGS} tags")
        return tuple(dict.fromkeys(tags))


def _matches(conversation: Conversation, text: str | None) -> bool:
    if not text:
        return True
    needle = text.casefold()
    return any(needle in part.casefold() for part in (*conversation.tags, conversation.visitor_name or ""))
