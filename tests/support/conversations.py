"""What tests of conversations do and look at again and again."""

from __future__ import annotations

from support.calls import ALL_CAPS, House
from triortc.engine.calls.actor import Actor
from triortc.engine.calls.commands import ConversationMessageSend, PresenceSet, TransferTarget
from triortc.engine.calls.conversation_table import Conversation
from triortc.engine.calls.presence import CHANNELS

SUPERVISOR = Actor("boss", "supervisor", "org", "console")
TO_BEN = TransferTarget(agent="ben")


def thread(house: House, conversation: str = "cv_1") -> Conversation:
    return house.world.conversations[("org", conversation)]


def status(house: House, actor: Actor, channel: str) -> tuple[str, tuple[str, ...]]:
    found = house.world.agents[actor.principal].statuses[channel]  # type: ignore[index]  # a channel's name
    return found.effective, found.reasons


def chat(house: House, vic: Actor, conversation: str = "cv_1") -> None:
    house.ok(vic, ConversationMessageSend(conversation, "hello"))


def ben_of(house: House, *groups: str, available: bool = True) -> Actor:
    ben = Actor("ben", "agent", "org", "tablet", ALL_CAPS, frozenset(groups or {"video"}), name="Ben")
    house.connect(ben)
    for channel in CHANNELS if available else ():
        house.ok(ben, PresenceSet(channel, "available"))
    return ben
