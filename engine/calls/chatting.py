"""The commands of conversations, and of history."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from triortc.engine.calls import threads, views
from triortc.engine.calls.actor import Actor, Principal
from triortc.engine.calls.availability import agents_of_group
from triortc.engine.calls.commands import (
    ConversationClose,
    ConversationFilter,
    ConversationFocus,
    ConversationList,
    ConversationMessageSend,
    ConversationRead,
    ConversationSnooze,
    ConversationTag,
    ConversationTransfer,
    HistoryGet,
)
from triortc.engine.calls.conversation_table import Conversation, ConversationFacts
from triortc.engine.calls.history_records import SessionRecord
from triortc.engine.calls.lifecycle import Lifecycle
from triortc.engine.calls.ports import HistoryPort, RouterPort
from triortc.engine.calls.replies import ConversationListPayload, HistoryPayload, MessagePayload, Ok
from triortc.engine.calls.world import RefusedError, World

__all__ = ["Chatting"]

_MAX_TAGS: Final = 50


def _behind(found: Sequence[SessionRecord], cursor: str | None) -> int:
    """Where a page begins: behind the record that its cursor names, which the page before ended with.

    The oldest records are forgotten first, so where that one is gone, so is all before it.
    """
    if cursor is None:
        return 0
    if not cursor.startswith("vs_"):
        raise RefusedError("proto.malformed", "this cursor was not made by the server")
    return next((place for place, record in enumerate(found, 1) if record.session == cursor), 0)


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
        conversation = self._managed(actor, command.conversation, "tag conversations")
        conversation.tags = self._checked(command.tags)
        threads.tell_changed(self._world, conversation)
        return Ok()

    def close(self, actor: Actor, command: ConversationClose) -> Ok:
        """`conversation.close`: refused while a video runs, unless it is to end it (A-22)."""
        world = self._world
        conversation = self._managed(actor, command.conversation, "close conversations")
        if conversation.state == "closed":
            return Ok()
        tags = None if command.tags is None else self._checked(command.tags)
        self._lifecycle.leave_video(conversation, "conversation.close", actor.sub, end_video=command.end_video)
        threads.close_conversation(world, conversation, tags)
        return Ok()

    def snooze(self, actor: Actor, command: ConversationSnooze) -> Ok:
        """`conversation.snooze`: it occupies nobody until then, or until the visitor writes. A time past wakes it."""
        world = self._world
        conversation = self._managed(actor, command.conversation, "put conversations off")
        if conversation.state == "open" and conversation.assignee is None:
            raise RefusedError("conversation.not_open", "nobody has this conversation, so nobody can put it off")
        until = None if command.until_at is None else world.monotonic(command.until_at)
        self._lifecycle.leave_video(conversation, "conversation.snooze", actor.sub, end_video=command.end_video)
        threads.snooze_conversation(world, conversation, until)
        if until is not None and until <= world.now:
            threads.fire_snooze(world, conversation.key)
        return Ok()

    def transfer(self, actor: Actor, command: ConversationTransfer) -> Ok:
        """`conversation.transfer`: to an agent who can take a chat now, or to a group."""
        world = self._world
        conversation = self._managed(actor, command.conversation, "give conversations away")
        sub, group = command.to.agent, command.to.group
        if (sub is None) == (group is None):
            raise RefusedError("proto.malformed", "a conversation is given either to an agent or to a group")
        if sub is not None and sub == conversation.assignee and conversation.state == "open":
            return Ok()
        if sub is not None:
            threads.refuse_unassignable(world, Principal(actor.org, "agent", sub))
        elif group is not None:
            members = {agent.principal.sub for agent in agents_of_group(world, actor.org, group)}
            if not members - {conversation.assignee}:
                raise RefusedError("state.not_found", "there is no such group, or nobody else in it")
        if conversation.state == "open":
            self._lifecycle.leave_video(conversation, "conversation.transfer", actor.sub, end_video=command.end_video)
        threads.transfer_conversation(world, self._router, conversation, group or conversation.group, sub, command.note)
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
        if command.cursor is not None:
            last = self._place(command.cursor)
            found = [conversation for conversation in found if views.place_in_list(conversation) > last]
        page, cursor = views.first_page(world, found)
        return Ok(ConversationListPayload(tuple(views.conversation_view(world, item, device) for item in page), cursor))

    def _place(self, cursor: str) -> tuple[int, str]:
        """The place of the last conversation of the page before, wherever others have gone since."""
        created, separator, conversation = cursor.partition(".")
        digits = created.removeprefix("-")  # from before this process, on its clock
        if not separator or not digits.isascii() or not digits.isdigit() or len(digits) > 20:
            raise RefusedError("proto.malformed", "this cursor was not made by the server")
        return (-int(created), conversation)

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
        start, size = _behind(found, command.cursor), self._world.configuration.conversations_per_page
        page = tuple(found[start : start + size])
        more = page[-1].session if start + size < len(found) else None
        invitations = None
        if command.conversation is not None:
            agent = actor.sub if actor.role == "agent" else None
            over = self._history.find_invitations(actor.org, conversation=command.conversation, agent=agent)
            invitations = tuple(over[-size:])
        return Ok(HistoryPayload(page, more, invitations))

    def _managed(self, actor: Actor, conversation_id: str, what: str) -> Conversation:
        """The conversation, for what only the agents' side does with it."""
        if actor.role == "visitor":
            raise RefusedError("auth.forbidden", f"a visitor does not {what}")
        return threads.conversation_for(self._world, actor, conversation_id)

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
