# ruff: noqa: N802 - test names carry the numbers of docs/calls.md as they are written there
"""Conversations given away (K3): to an agent or a group, with what was said before, and never into two hands."""

from __future__ import annotations

import pytest

from support.calls import House
from support.conversations import SUPERVISOR, TO_BEN, ben_of, chat, status, thread
from triortc.engine.calls import threads
from triortc.engine.calls.actor import Actor
from triortc.engine.calls.commands import (
    ConversationClose,
    ConversationList,
    ConversationMessageSend,
    ConversationSnooze,
    ConversationTag,
    ConversationTransfer,
    PresenceSet,
    TransferTarget,
)
from triortc.engine.calls.configuration import CallConfiguration
from triortc.engine.calls.notifications import ConversationChanged, ConversationMessage, ConversationRemoved


@pytest.fixture
def house() -> House:
    return House()


def test_K3_transfer_to_an_agent_takes_every_right_from_the_old_one(house: House) -> None:
    """I40: an agent never receives an object of a conversation that it has left."""
    ana, vic, ben = house.agent(), house.visitor(), ben_of(house)
    chat(house, vic)
    house.ok(ana, ConversationTag("cv_1", ("shoes",)))
    house.forget_told()
    house.ok(ana, ConversationTransfer("cv_1", TO_BEN, note="wants to see the red ones"))
    assert [item.why for item in house.told(ana, ConversationRemoved)] == ["transferred"]
    seen = house.told(ben, ConversationChanged)[-1]
    assert (seen.assignee, seen.tags, seen.state) == ("ben", ("shoes",), "open")
    note = house.told(ben, ConversationMessage)[-1]
    assert (note.from_, note.name, note.text) == ("system", "Ana", "wants to see the red ones")
    assert not house.told(vic, ConversationMessage), "the note is not for the visitor"
    assert house.told(vic, ConversationChanged)[-1].assignee == "ben"
    house.forget_told()
    house.ok(vic, ConversationMessageSend("cv_1", "and now?"))
    assert house.told(ben, ConversationMessage)
    assert ana.address not in house.inbox
    for command in (ConversationMessageSend("cv_1", "?"), ConversationClose("cv_1"), ConversationTag("cv_1")):
        assert house.fault(ana, command).code == "state.not_found"
    assert house.ok(ana, ConversationList()).items == ()
    assert status(house, ana, "video") == ("available", ())
    assert status(house, ben, "video") == ("busy", ("ongoing_chat",))


def earlier(house: House, actor: Actor) -> list[tuple[str, str | None, str | None, bool]]:
    return [(item.from_, item.name, item.text, item.notify) for item in house.told(actor, ConversationMessage)]


def test_K3_whoever_gets_a_conversation_is_shown_quietly_what_was_said_before(house: House) -> None:
    ana, vic, ben = house.agent(), house.visitor(), ben_of(house)
    chat(house, vic)
    house.advance(60)
    house.ok(ana, ConversationMessageSend("cv_1", "which ones?"))
    sent_at = house.told(vic, ConversationMessage)[-1].sent_at
    house.advance(60)
    house.ok(ana, ConversationTransfer("cv_1", TO_BEN, note="the red ones"))
    vics, anas = house.told(ana, ConversationMessage)[0].name, "Ana"
    said = [("visitor", vics, "hello", False), ("agent", anas, "which ones?", False)]
    assert earlier(house, ben) == [*said, ("system", "Ana", "the red ones", True)]
    assert house.told(ben, ConversationMessage)[1].sent_at == sent_at
    assert len(thread(house).unread_by_agent) == 2  # hello, which Ana has not marked as read, and the note
    house.forget_told()
    house.ok(vic, ConversationMessageSend("cv_1", "those"))
    threads.deliver_backlog(house.world, thread(house))  # as every ring does
    assert [text for _, _, text, _ in earlier(house, ben)] == ["those"]


def test_K3_what_is_shown_of_before_is_bounded_and_ends_with_the_conversation() -> None:
    house = House(configuration=CallConfiguration(earlier_messages=3, earlier_message_bytes=1000))
    ana, vic, ben = house.agent(), house.visitor(), ben_of(house)
    for text in ("one", "two", "three", "four"):
        house.ok(vic, ConversationMessageSend("cv_1", text))
    house.ok(ana, ConversationTransfer("cv_1", TO_BEN))
    assert [text for _, _, text, _ in earlier(house, ben)] == ["two", "three", "four"]
    house.ok(vic, ConversationMessageSend("cv_1", "x" * 990))
    house.ok(vic, ConversationMessageSend("cv_1", "ten bytes."))
    house.forget_told()
    house.ok(ben, ConversationTransfer("cv_1", TransferTarget(agent="ana")))
    assert [len(text or "") for _, _, text, _ in earlier(house, ana)] == [990, 10]
    house.ok(ana, ConversationClose("cv_1"))
    assert house.world.earlier_messages == {}


def test_S3_7b_transfer_to_a_group_gives_it_to_the_one_idle_longest_there(house: House) -> None:
    ana, vic, ben = house.agent(), house.visitor(), ben_of(house, "video")
    chat(house, vic)
    house.ok(ana, ConversationTransfer("cv_1", TransferTarget(group="video")))
    assert (thread(house).assignee, thread(house).group) == ("ben", "video")
    assert house.told(ben, ConversationChanged)[-1].group == "video"


def test_K3_a_group_in_which_nobody_is_free_keeps_it_for_the_first_who_is(house: House) -> None:
    ana, vic, ben = house.agent(), house.visitor(), ben_of(house, "default", available=False)
    chat(house, vic)
    house.ok(ana, ConversationTransfer("cv_1", TransferTarget(group="default"), note="urgent"))
    assert thread(house).assignee is None, "not back to who has just given it away"
    house.ok(vic, ConversationMessageSend("cv_1", "still here"))
    assert thread(house).assignee is None
    house.ok(ben, PresenceSet("chat", "available"))
    assert thread(house).assignee == "ben"
    told = [(item.text, item.notify) for item in house.told(ben, ConversationMessage)]
    assert told == [("hello", False), ("urgent", True), ("still here", True)]


def test_K3_refusals_change_nothing(house: House) -> None:
    ana, vic, ben = house.agent(), house.visitor(), ben_of(house, "video", available=False)
    chat(house, vic)
    house.connect(SUPERVISOR)

    def refused(target: TransferTarget, actor: Actor = ana) -> str:
        before = (thread(house).assignee, thread(house).group, thread(house).version)
        code = house.fault(actor, ConversationTransfer("cv_1", target)).code
        assert (thread(house).assignee, thread(house).group, thread(house).version) == before
        return code

    assert refused(TO_BEN) == "agent.unavailable"
    assert refused(TransferTarget(agent="nobody")) == "state.not_found"
    assert refused(TransferTarget(group="nowhere")) == "state.not_found"
    assert refused(TransferTarget(group="default")) == "state.not_found"
    assert refused(TransferTarget()) == "proto.malformed"
    assert refused(TransferTarget("ben", "video")) == "proto.malformed"
    assert refused(TO_BEN, ben) == "state.not_found"
    assert refused(TransferTarget(group="video"), vic) == "auth.forbidden"
    house.ok(ana, ConversationTransfer("cv_1", TransferTarget(agent="ana")))
    assert thread(house).version == house.told(ana, ConversationChanged)[-1].version
    house.ok(ana, ConversationSnooze("cv_1"))
    house.ok(ben, PresenceSet("chat", "available"))
    assert refused(TO_BEN) == "conversation.not_open"
    house.ok(SUPERVISOR, ConversationClose("cv_1"))
    assert refused(TO_BEN) == "conversation.closed"
    assert house.fault(ana, ConversationSnooze("cv_1")).code == "conversation.closed"


@pytest.mark.parametrize("ring_first", [True, False])
def test_R11_a_routed_ring_and_a_transfer_to_the_same_agent(house: House, ring_first: bool) -> None:
    """I30: while a routed video has the agent, no chat can be assigned to them."""
    ana, vic, ben = house.agent(), house.visitor(), ben_of(house, "default")
    chat(house, vic)
    house.world.agents[ben.principal].idle_since = 0.0
    house.world.agents[ana.principal].idle_since = house.now
    assert thread(house).assignee in ("ana", "ben")
    giver, taker = (ana, ben) if thread(house).assignee == "ana" else (ben, ana)
    wim = house.visitor("wim", conversation="cv_2")
    transfer = ConversationTransfer("cv_1", TransferTarget(agent=taker.sub))
    if ring_first:
        assert house.request(wim, "cv_2").state == "ringing"
        assert house.fault(giver, transfer).code == "agent.busy"
        assert thread(house).assignee == giver.sub
    else:
        house.ok(giver, transfer)
        requested = house.request(wim, "cv_2")
        assert house.session(requested.session).agent == giver.sub
