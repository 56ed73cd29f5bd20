"""S1.3f, S1.3g once by the clock on the wall: everything else about time is tested in virtual time."""

from __future__ import annotations

import trio

from support.real_calls import agent, ask, open_house, visitor


async def test_s1_3g_a_ring_that_nobody_answers_ends_thirty_seconds_later_and_the_agent_is_free_again() -> None:
    with trio.fail_after(40):
        async with open_house() as house, agent(house) as callee, visitor(house, "cv_1") as caller:
            began = trio.current_time()
            asked = await ask(caller, "cv_1")
            offer = await callee.signal.event("ring.offer")
            assert 29_000 <= offer.p["ttl_ms"] <= 30_000
            ended = await caller.signal.event("call.ended", session=asked["session"])
            lasted_s = trio.current_time() - began
            assert (ended.p["outcome"], ended.p["reason"]) == ("no_answer", "ring_timeout")
            # The deadline is exact on the server's clock; what is added is the way there and the machine's mood.
            assert 29.9 <= lasted_s <= 31.0
            over = await callee.signal.event("ring.ended")
            assert over.p["reason"] == "timeout"
            listed = await callee.signal.command("conversation.list")
            assert [(item["video_icon"], item["state"]) for item in listed["items"]] == [(True, "open")]
            assert listed["items"][0]["last_video"]["outcome"] == "no_answer"
