# ruff: noqa: N802 - test names carry the numbers of docs/calls.md as they are written there
"""Clients of a server that died and was started anew: what they were told holds, and is told once."""

from __future__ import annotations

from copy import deepcopy

import pytest
import trio

from support.signaling_host import TRANSPORTS, Transport
from support.signaling_house import open_signaling_house
from triortc.engine.calls.memory_store import MemoryStore
from triortc.signaling.client import CommandError


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_I37_a_command_that_is_sent_again_to_the_next_process_has_its_reply_and_no_second_effect(
    transport: Transport,
) -> None:
    store = MemoryStore(durable=True)
    payload = {"conversation": "cv_9", "text": "once"}
    async with open_signaling_house(transport, store=store) as house, house.visitor() as visitor:
        id = visitor.new_id()
        first = await visitor.command_again(id, "conversation.message.send", **payload)
        died = deepcopy(store)
    async with open_signaling_house(transport, store=died) as house, house.visitor() as visitor:
        assert not visitor.welcome["resumed"]
        assert await visitor.command_again(id, "conversation.message.send", **payload) == first
        assert len(await died.rows("messages")) == 1
        with pytest.raises(CommandError, match=r"proto\.id_reused"):
            await visitor.command_again(id, "conversation.message.send", **{**payload, "text": "twice"})


async def test_I38_a_resume_token_of_the_process_before_gets_a_snapshot_of_what_goes_on() -> None:
    store = MemoryStore(durable=True)
    async with open_signaling_house(store=store) as house, house.agent() as agent, house.visitor() as visitor:
        await visitor.command("call.request", conversation="cv_9", media={"audio": True, "video": True})
        offer = await agent.event("ring.offer")
        kept = dict(agent.welcome)
        died = deepcopy(store)
    async with open_signaling_house(store=died) as house, house.agent(green=False) as agent:
        agent.drop()
        await agent.ended()
        agent.welcome = kept
        async with trio.open_nursery() as nursery:
            await agent.connect(nursery)
            assert agent.welcome["resumed"] is False
            (ring,) = agent.snapshot["rings"]
            assert ring["ring"] == offer.p["ring"]
            assert ring["ttl_ms"] <= offer.p["ttl_ms"]
            nursery.cancel_scope.cancel()


async def test_a_store_without_room_refuses_new_calls_in_words_and_lets_a_ring_be_answered() -> None:
    store = MemoryStore(durable=True)
    wanted = {"conversation": "cv_9", "media": {"audio": True, "video": True}}
    async with open_signaling_house(store=store) as house, house.agent() as agent, house.visitor() as visitor:
        session = (await visitor.command("call.request", **wanted))["session"]
        store.accepting = False
        async with house.visitor("tom", "tab", "cv_8") as other:
            with pytest.raises(CommandError) as refused:
                await other.command("call.request", **{**wanted, "conversation": "cv_8"})
            assert refused.value.code == "server.unavailable"
            assert refused.value.retryable
            with pytest.raises(CommandError, match=r"server\.unavailable"):
                await other.command("conversation.message.send", conversation="cv_8", text="hello?")
        assert "cv_8" not in {key[1] for key in house.server.calls.control.world.conversations}, "nothing has happened"
        await agent.command("call.accept", session=session)
        ended = await visitor.command("call.hangup", session=session)
        assert ended["outcome"] == "completed"
        health = house.server.calls.health()
        assert (health["state"], health["refused"]) == ("full", 2)
        store.accepting = True
        async with house.visitor("tom", "tab", "cv_8") as other:
            assert (await other.command("conversation.message.send", conversation="cv_8", text="hello?"))["message"]
