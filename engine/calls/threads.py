"""What happens inside conversations: assignment, messages, video icon, reminders, closing."""

from __future__ import annotations

from dataclasses import replace

from triortc.engine.calls import invitations, pushing
from triortc.engine.calls.actor import Actor, Principal
from triortc.engine.calls.availability import agents_of_group, candidate, recompute_presence
from triortc.engine.calls.conversation_table import Conversation, ConversationFacts
from triortc.engine.calls.earlier_messages import EarlierMessages
from triortc.engine.calls.effects import KeepMessage, Order
from triortc.engine.calls.notifications import (
    ConversationChanged,
    ConversationMessage,
    ConversationReminder,
    ConversationRemoved,
)
from triortc.engine.calls.ports import RouterPort
from triortc.engine.calls.session import Session
from triortc.engine.calls.view_values import LastVideo
from triortc.engine.calls.views import conversation_changed, live_session_view
from triortc.engine.calls.world import RefusedError, World

__all__ = [
    "assign",
    "claim_conversation",
    "close_conversation",
    "conversation_for",
    "deliver_backlog",
    "deliver_message",
    "fire_reminder",
    "fire_snooze",
    "open_conversation",
    "refuse_unassignable",
    "route_chat",
    "snooze_conversation",
    "tell_changed",
    "transfer_conversation",
    "unclaim_conversation",
    "video_ended",
    "visitor_presence",
]


def conversation_for(world: World, actor: Actor, conversation_id: str) -> Conversation:
    """The conversation that this actor may act on; made now if it is a visitor's first use of it.

    Refuses with `state.not_found`, whether it does not exist or is somebody else's.
    """
    found = world.conversations.get((actor.org, conversation_id))
    if actor.role == "visitor":
        if conversation_id in actor.conversations:
            if found is None and world.configuration.create_conversations:
                found = open_conversation(world, actor.principal, conversation_id)
            if found is not None and found.visitor == actor.sub:
                if actor.name is not None:
                    found.visitor_name, found.visitor_avatar = actor.name, actor.avatar
                return found
    elif found is not None and (actor.role in ("supervisor", "service") or found.assignee == actor.sub):
        return found
    raise RefusedError("state.not_found", "there is no such conversation for you")


def open_conversation(world: World, visitor: Principal, conversation_id: str, group: str | None = None) -> Conversation:
    """Make an open, unassigned conversation."""
    conversation = Conversation(
        conversation_id,
        visitor.org,
        visitor.sub,
        group or world.configuration.default_group,
        world.now,
        world.configuration.unread_kept,
    )
    conversation.visitor_online = any(device.live for device in world.devices_of(visitor))
    world.conversations[conversation.key] = conversation
    world.conversations_of_visitor.setdefault(visitor, {})[conversation.key] = None
    return conversation


def tell_changed(world: World, conversation: Conversation) -> None:
    """A new version of the conversation for the assignee's devices and the visitor's.

    One value for all devices of one side that see the same, so that it is encoded once.
    """
    conversation.version += 1
    for principal in (conversation.visitor_principal, conversation.assignee_principal):
        shown: ConversationChanged | None = None
        for device in world.devices_of(principal):
            live = live_session_view(world, conversation, device)
            if shown is None or shown.live_session != live:
                shown = conversation_changed(world, conversation, device, live)
            world.notify(Order.CONVERSATION, device.address, shown)


def _set_assignee(world: World, conversation: Conversation, sub: str | None) -> None:
    old = conversation.assignee_principal
    if old is not None:
        world.agent(old).chats.discard(conversation.key)
        world.conversations_of_agent.get(old, {}).pop(conversation.key, None)
        world.touch(old)
    conversation.assignee = sub
    new = conversation.assignee_principal
    if new is not None:
        agent = world.agent(new)
        agent.chats.add(conversation.key)
        world.conversations_of_agent.setdefault(new, {})[conversation.key] = None
        agent.idle_since = world.now
        conversation.given_away_by = None
        world.waiting_chats.pop(conversation.key, None)
        world.touch(new)


def assign(world: World, conversation: Conversation, sub: str) -> None:
    """Give an unassigned conversation to an agent, with what the visitor has written so far."""
    _set_assignee(world, conversation, sub)
    tell_changed(world, conversation)
    deliver_backlog(world, conversation)


def deliver_backlog(world: World, conversation: Conversation) -> None:
    """Give a new assignee what was said before, quietly, and what the visitor wrote since nobody had it."""
    earlier = _earlier_messages(world, conversation)
    backlog, conversation.backlog = conversation.backlog, []
    devices = world.devices_of(conversation.assignee_principal)
    for message in (*earlier.for_reader(conversation.assignee), *backlog):
        for device in devices:
            world.notify(Order.CONVERSATION, device.address, message)
    for message in backlog:
        conversation.unread_by_agent.append(message.message)
        earlier.add(replace(message, notify=False))
    if backlog:
        pushing.note_message(world, conversation, backlog[-1].message)


def _earlier_messages(world: World, conversation: Conversation) -> EarlierMessages:
    kept = world.earlier_messages.get(conversation.key)
    if kept is None:
        c = world.configuration
        kept = EarlierMessages(c.earlier_messages, c.earlier_message_bytes, conversation.assignee)
        world.earlier_messages[conversation.key] = kept
    return kept


def claim_conversation(world: World, conversation: Conversation, sub: str) -> None:
    """K0: the agent whom a routed video claims becomes the assignee of an unassigned conversation. Told by the ring."""
    facts = ConversationFacts(unassigned=conversation.assignee is None)
    row = world.conversation_step(conversation, "int.claimed", facts)
    if row is not None:
        _set_assignee(world, conversation, sub)


def unclaim_conversation(world: World, conversation: Conversation, *, rang: bool) -> None:
    """K0: the claim did not come to an answer; the conversation is nobody's again.

    Arguments:
        world: what call control knows.
        conversation: the one that was claimed.
        rang: whether the agent heard of it.
    """
    if world.conversation_step(conversation, "int.claim_undone", ConversationFacts()) is not None:
        former = world.devices_of(conversation.assignee_principal) if rang else []
        _set_assignee(world, conversation, None)
        removed = ConversationRemoved(conversation.id, "unassigned")
        for device in former:
            world.notify(Order.CONVERSATION, device.address, removed)


def refuse_unassignable(world: World, agent: Principal) -> None:
    """Refuses with `agent.unavailable` or `agent.busy` if this agent cannot be given a chat now (R11)."""
    if agent not in world.agents:
        raise RefusedError("state.not_found", "there is no such agent")
    recompute_presence(world, agent)
    status = world.agents[agent].statuses["chat"]
    if status.effective == "unavailable":
        raise RefusedError("agent.unavailable", "this agent takes no chats now")
    if status.effective == "busy":
        raise RefusedError("agent.busy", "this agent cannot take another chat now", {"reasons": list(status.reasons)})


def route_chat(world: World, router: RouterPort, conversation: Conversation) -> bool:
    """K0b: give a waiting conversation to the first available agent; False: nobody is available on chat.

    Who has just given it away does not get it back.
    """
    able = {
        agent.principal.sub: agent
        for agent in agents_of_group(world, conversation.org, conversation.group)
        if agent.statuses
        and agent.statuses["chat"].effective == "available"
        and agent.principal.sub != conversation.given_away_by
    }
    order = router.order(conversation.org, conversation.group, [candidate(world, agent) for agent in able.values()])
    chosen = next((sub for sub in order if sub in able), None)
    if chosen is None:
        world.waiting_chats[conversation.key] = None
        return False
    assign(world, conversation, chosen)
    return True


def deliver_message(
    world: World, conversation: Conversation, actor: Actor, text: str | None, attachment_ref: str | None
) -> tuple[str, bool]:
    """K1, K0b: relay a message. Returns its id, and whether the conversation now waits for an agent."""
    by_visitor = actor.role == "visitor"
    facts = ConversationFacts(unassigned=conversation.assignee is None, by_visitor=by_visitor)
    row = world.conversation_step(conversation, "int.message", facts)
    if row is None or row.number == "K9":
        raise RefusedError("conversation.closed", "the conversation is closed")
    if "wake" in row.effects:
        _wake(world, conversation)
    message = world.new_id("m")
    sides = [(conversation.visitor_principal, not by_visitor), (conversation.assignee_principal, by_visitor)]
    for principal, notify in sides:
        event = ConversationMessage(
            conversation=conversation.id,
            message=message,
            from_="visitor" if by_visitor else "agent",
            notify=notify,
            sent_at=world.unix_ms(world.now),
            text=text,
            attachment_ref=attachment_ref,
            name=actor.name,
        )
        if notify:
            world.emit(Order.HISTORY, KeepMessage(conversation.org, event))
        if principal is None and len(conversation.backlog) < world.configuration.backlog_messages:
            conversation.backlog.append(event)
        elif not notify and conversation.assignee is not None:
            _earlier_messages(world, conversation).add(event)
        for device in world.devices_of(principal):
            if device.address != actor.address:
                world.notify(Order.OTHER_SIDE, device.address, event)
    if by_visitor and conversation.assignee is not None:
        conversation.unread_by_agent.append(message)
        pushing.note_message(world, conversation, message)
    elif not by_visitor:
        conversation.unread_by_visitor.append(message)
        _stop_reminders(world, conversation)
    return message, "route" in row.effects


# --- snoozed, given to somebody else, closed


def snooze_conversation(world: World, conversation: Conversation, until: float | None) -> None:
    """K2: the conversation occupies nobody until `until` (monotonic seconds) or until the visitor writes."""
    row = world.conversation_step(conversation, "conversation.snooze", ConversationFacts())
    if row is None or row.number == "K9":
        raise RefusedError("conversation.closed", "the conversation is closed")
    _stop_occupying(world, conversation)
    conversation.snoozed_until = until
    world.drop_timer(_snooze_key(conversation))
    if until is not None:
        world.set_timer(_snooze_key(conversation), until)
    tell_changed(world, conversation)


def fire_snooze(world: World, key: tuple[str, str]) -> None:
    """K5: the time until which the conversation was put off is over."""
    conversation = world.conversations.get(key)
    if conversation is None or world.conversation_step(conversation, "T_snooze", ConversationFacts()) is None:
        world.stale_events_total += 1
        return
    _wake(world, conversation)


def _snooze_key(conversation: Conversation) -> tuple[str, ...]:
    return ("T_snooze", *conversation.key)


def _wake(world: World, conversation: Conversation) -> None:
    """The conversation is open again and occupies its assignee, who may be busy by it."""
    conversation.snoozed_until = None
    world.drop_timer(_snooze_key(conversation))
    assignee = conversation.assignee_principal
    if assignee is not None:
        world.agent(assignee).chats.add(conversation.key)
        world.touch(assignee)
    tell_changed(world, conversation)


def _stop_occupying(world: World, conversation: Conversation) -> None:
    """What K2, K3 and K4 have in common: no reminders, no channels held, one chat less for the assignee."""
    conversation.held_by_video = False
    _stop_reminders(world, conversation)
    assignee = conversation.assignee_principal
    if assignee is not None:
        agent = world.agent(assignee)
        agent.chats.discard(conversation.key)
        agent.idle_since = world.now
        world.touch(assignee)


def transfer_conversation(
    world: World, router: RouterPort, conversation: Conversation, group: str, agent: str | None, note: str | None
) -> None:
    """K3: another agent gets the conversation, with its tags, icon and history; the old one loses every right to it.

    Arguments:
        world: what call control knows.
        router: picks an agent of the group if none is named.
        conversation: the one to give away.
        group: its group from now on.
        agent: who gets it; None: the first available of the group, or the next who is.
        note: what the new agent is told; the visitor never sees it.
    """
    row = world.conversation_step(conversation, "conversation.transfer", ConversationFacts())
    if row is None:
        raise RefusedError("conversation.not_open", "the conversation is put off; it has to be open")
    if row.number == "K9":
        raise RefusedError("conversation.closed", "the conversation is closed")
    _stop_occupying(world, conversation)
    former, name = conversation.assignee_principal, None
    if former is not None:
        name = world.agent(former).name
        for device in world.devices_of(former):
            world.notify(Order.CONVERSATION, device.address, ConversationRemoved(conversation.id, "transferred"))
    conversation.group = group
    conversation.given_away_by = conversation.assignee
    _set_assignee(world, conversation, None)
    if note and len(conversation.backlog) < world.configuration.backlog_messages:
        said = ConversationMessage(
            conversation.id, world.new_id("m"), "system", True, world.unix_ms(world.now), text=note, name=name
        )
        conversation.backlog.append(said)
    if agent is not None:
        assign(world, conversation, agent)
    elif not route_chat(world, router, conversation):
        tell_changed(world, conversation)


def close_conversation(world: World, conversation: Conversation, tags: tuple[str, ...] | None) -> None:
    """K4: the only way in which a conversation gets closed."""
    if world.conversation_step(conversation, "conversation.close", ConversationFacts()) is None:
        return
    if tags is not None:
        conversation.tags = tags
    conversation.backlog = []
    world.earlier_messages.pop(conversation.key, None)
    conversation.snoozed_until = None
    world.drop_timer(_snooze_key(conversation))
    _stop_occupying(world, conversation)
    world.waiting_chats.pop(conversation.key, None)
    tell_changed(world, conversation)
    world.closed_conversations.append(conversation.key)
    if len(world.closed_conversations) > world.configuration.closed_conversations_kept:
        _forget(world, world.closed_conversations.popleft())


def _forget(world: World, key: tuple[str, str]) -> None:
    conversation = world.conversations.pop(key)
    if conversation.assignee_principal is not None:
        world.conversations_of_agent.get(conversation.assignee_principal, {}).pop(key, None)
    of_visitor = world.conversations_of_visitor[conversation.visitor_principal]
    del of_visitor[key]
    if not of_visitor:
        del world.conversations_of_visitor[conversation.visitor_principal]


def visitor_presence(world: World, visitor: Principal) -> None:
    """K8: the visitor came or went; this never closes anything."""
    online = any(device.live for device in world.devices_of(visitor))
    for key in world.conversations_of_visitor.get(visitor, ()):
        conversation = world.conversations[key]
        if conversation.visitor_online != online:
            invitations.visitor_presence(world, conversation)
            conversation.visitor_online = online
            if world.conversation_step(conversation, "int.visitor_presence", ConversationFacts()) is not None:
                tell_changed(world, conversation)


def video_ended(world: World, conversation: Conversation, session: Session) -> None:
    """K7: remember how the video ended, and remind the agent to close if it was one to close."""
    assert session.outcome is not None
    routed = session.origin == "routed" and session.ring_at is not None
    due = conversation.assignee is not None and (routed or session.talk_ms > 0)
    row = world.conversation_step(conversation, "int.video_ended", ConversationFacts(reminder_due=due))
    if row is None:
        return
    conversation.last_video = LastVideo(session.id, session.outcome)
    if "start_reminders" in row.effects:
        conversation.reminders_sent = 0
        conversation.reminder_device = session.agent_device
        world.set_timer(_reminder_key(conversation), world.now + world.configuration.close_reminder_s)


def _reminder_key(conversation: Conversation) -> tuple[str, ...]:
    return ("T_close_reminder", *conversation.key)


def _stop_reminders(world: World, conversation: Conversation) -> None:
    world.drop_timer(_reminder_key(conversation))


def fire_reminder(world: World, key: tuple[str, str]) -> None:
    """T_close_reminder: remind the device that was in the call, or all of the agent's."""
    conversation = world.conversations.get(key)
    if conversation is None or conversation.state != "open":
        return
    if conversation.live_session is not None:  # another video: nobody has forgotten to close
        world.set_timer(_reminder_key(conversation), world.now + world.configuration.close_reminder_s)
        return
    conversation.reminders_sent += 1
    if conversation.reminders_sent < world.configuration.close_reminders:
        world.set_timer(_reminder_key(conversation), world.now + world.configuration.close_reminder_repeat_s)
    devices = world.devices_of(conversation.assignee_principal)
    active = [device for device in devices if device.live and device.address.device == conversation.reminder_device]
    for device in active or devices:
        reminder = ConversationReminder(conversation.id, "close_after_video", conversation.reminders_sent)
        world.notify(Order.CONVERSATION, device.address, reminder)
