"""Calls over the wire, with the real call control: the example of 3.5 and what else crosses signaling and calls."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncGenerator, Mapping
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from support.signaling_host import TRANSPORTS
from support.signaling_house import SignalingHouse, open_signaling_house
from triortc.signaling.client import ClientDevice, CommandError, SignalClient, open_signal_client


@pytest.fixture(params=TRANSPORTS)
async def house(request: pytest.FixtureRequest) -> AsyncGenerator[SignalingHouse]:
    async with open_signaling_house(request.param) as running:
        yield running


async def test_3_5_the_example_of_the_happy_path(house: SignalingHouse) -> None:
    async with house.agent("desk") as desktop, house.visitor() as visitor:
        asked = await visitor.command(
            "call.request", conversation="cv_9", media={"audio": True, "video": True}, offer="v=0 visitor"
        )
        assert asked["state"] == "ringing"
        assert asked["answer"] == "answer to v=0 visitor"
        session = asked["session"]
        offer = await desktop.event("ring.offer")
        assert offer.p["session"] == session
        assert offer.p["kind"] == "call"
        assert 29_000 < offer.p["ttl_ms"] <= 30_000
        assert offer.p["visitor"]["name"] == "Lea"
        await desktop.command("ring.ack", ring=offer.p["ring"])
        await visitor.event("call.state", alerting=True)

        async with house.agent("phone", "ios", green=False) as phone:
            ring = phone.snapshot["rings"][0]
            assert ring["ring"] == offer.p["ring"]
            opened = await phone.command("ring.opened", ring=ring["ring"])
            answer = await phone.command("sdp.offer", leg=opened["leg"], neg=1, sdp="v=0 phone")
            assert answer["answer"] == "answer to v=0 phone"
            accepted = await phone.command("call.accept", session=session)
            assert accepted["leg"] == opened["leg"]

            lost = await desktop.event("ring.ended")
            assert lost.p["reason"] == "answered_elsewhere"
            assert lost.p["by"]["platform"] == "ios"
            assert lost.p["log_missed"] is False
            named = await visitor.event("call.accepted")
            assert named.p["agent"]["display_name"] == "Ana"
            await visitor.event("call.active", session=session)
            await phone.event("call.active", session=session)
            candidates = [{"candidate": "candidate:1 1 udp 1 127.0.0.1 9 typ host", "mid": "0"}]
            trickled = await phone.command(
                "ice.candidates", leg=opened["leg"], neg=1, ufrag="u", candidates=candidates, end=True
            )
            assert trickled == {}
            ended = await visitor.command("call.hangup", session=session)
            assert (ended["outcome"], ended["reason"], ended["next"]) == (
                "completed",
                "visitor_hangup",
                "conversation",
            )
            over = await phone.event("call.ended")
            assert (over.p["outcome"], over.p["by"]) == ("completed", "visitor")
            again = await visitor.command("call.hangup", session=session)
            assert again["already_ended"] is True


async def test_s1_3i_after_a_decline_the_chat_goes_on(house: SignalingHouse) -> None:
    async with house.agent() as agent, house.visitor() as visitor:
        session = (await visitor.command("call.request", conversation="cv_9", media={"video": True}))["session"]
        await agent.event("ring.offer")
        declined = await agent.command("call.decline", session=session)
        assert declined == {"next": "conversation_list", "conversation": "cv_9"}
        over = await visitor.event("call.ended")
        assert (over.p["outcome"], over.p["reason"], over.p["by"]) == ("no_answer", "ring_timeout", "system")
        await visitor.command("conversation.message.send", conversation="cv_9", text="Are you there?")
        message = await agent.event("conversation.message")
        assert (message.p["from"], message.p["text"]) == ("visitor", "Are you there?")
        await agent.command("conversation.message.send", conversation="cv_9", text="Yes.")
        assert (await visitor.event("conversation.message", from_="agent")).p["text"] == "Yes."


async def test_s1_5b_nobody_to_ring_is_an_ok_and_not_an_error(house: SignalingHouse) -> None:
    async with house.visitor() as visitor:
        asked = await visitor.command("call.request", conversation="cv_9", media={"video": True})
        assert (asked["state"], asked["outcome"], asked["reason"]) == ("ended", "unavailable", "no_agent_available")
        assert (await visitor.event("call.ended")).p["outcome"] == "unavailable"


async def test_s2_1b_a_phone_pulls_the_call_from_the_desktop(house: SignalingHouse) -> None:
    async with house.agent("desk") as desktop, house.visitor() as visitor:
        asked = await visitor.command("call.request", conversation="cv_9", media={"video": True}, offer="v=0 visitor")
        await desktop.event("ring.offer")
        await desktop.command("call.accept", session=asked["session"], offer="v=0 desk")
        await desktop.event("call.active")
        async with house.agent("phone", "ios", green=False) as phone:
            live = phone.snapshot["conversations"][0]["live_session"]
            assert (live["session"], live["can_pull"]) == (asked["session"], True)
            pulled = await phone.command("handoff.request", session=asked["session"], offer="v=0 phone")
            assert pulled["answer"] == "answer to v=0 phone"
            moved = await desktop.event("handoff.moved")
            assert (moved.p["notice"], moved.p["to"]["platform"], moved.p["can_pull_back"]) == (
                "session_moved",
                "ios",
                True,
            )
            await visitor.event("call.peer", what="device_changed")
            assert (await phone.command("call.hangup", session=asked["session"]))["reason"] == "agent_hangup"


async def test_s3_1_a_chat_goes_on_by_video_when_both_have_joined(house: SignalingHouse) -> None:
    async with house.agent("desk") as agent, house.visitor() as visitor:
        await visitor.command("conversation.message.send", conversation="cv_9", text="Can you show me?")
        await agent.event("conversation.message")
        sent = await agent.command("invitation.send", conversation="cv_9")
        assert sent["warnings"] == ["channel_available:chat"]
        pending = await visitor.event("invitation.changed")
        assert (pending.p["invitation"], pending.p["state"]) == (sent["invitation"], "pending")
        joined = await agent.command("invitation.join", invitation=sent["invitation"], offer="v=0 desk")
        assert (joined["state"], joined["answer"]) == ("waiting", "answer to v=0 desk")
        async with house.visitor(did="tab2") as reloaded:
            assert [item["state"] for item in reloaded.snapshot["invitations"]] == ["agent_joined"]
        accepted = await visitor.command("invitation.accept", invitation=sent["invitation"], offer="v=0 visitor")
        assert (accepted["session"], accepted["answer"]) == (joined["session"], "answer to v=0 visitor")
        for client in (agent, visitor):
            await client.event("invitation.changed", state="in_session")
            await client.event("call.active", session=joined["session"])
        await visitor.command("call.hangup", session=joined["session"])
        assert (await agent.event("invitation.changed", state="completed")).p["reason"] == "visitor_hangup"
        history = await agent.command("history.get", conversation="cv_9")
        assert [item["session"] for item in history["invitations"]] == [joined["session"]]


async def test_d2_a_revoked_device_is_let_go_with_4403(house: SignalingHouse) -> None:
    async with house.agent("desk") as desktop, house.agent("phone", "ios", green=False) as phone:
        await desktop.event("device.changed")
        await desktop.command("device.revoke", device="phone")
        await phone.ended()
        assert phone.closed is not None
        assert phone.closed[0] == 4403
        left = await desktop.event("device.changed")
        assert [device["device"] for device in left.p["devices"]] == ["desk"]


async def test_i40_another_tenant_cannot_tell_what_exists(house: SignalingHouse) -> None:
    async with house.agent() as agent, house.visitor() as visitor:
        session = (await visitor.command("call.request", conversation="cv_9", media={"video": True}))["session"]
        await agent.event("ring.offer")
        assert house.server.issuer is not None
        stranger = house.server.issuer.issue(role="agent", sub="ana", did="desk", org="acme")
        agent.token = stranger
        async with trio.open_nursery() as nursery:
            await agent.close()
            await agent.connect(nursery)
            assert agent.welcome["resumed"] is False
            for unknown in (session, "vs_nothing"):
                with pytest.raises(CommandError) as error:
                    await agent.command("call.accept", session=unknown)
                assert error.value.code == "state.not_found"
            await agent.close()


@pytest.mark.parametrize(
    ("t", "payload", "code"),
    [
        ("call.accept", {"session": "vs_none"}, "state.not_found"),
        ("ring.opened", {"ring": "rg_none"}, "state.not_found"),
        ("sdp.offer", {"leg": "leg_none", "neg": 1, "sdp": "v=0"}, "state.not_found"),
        ("call.end", {"session": "vs_none"}, "auth.forbidden"),
        ("recording.start", {"session": "vs_none"}, "state.not_found"),
    ],
)
async def test_3_6_refusals_have_their_stable_codes(
    house: SignalingHouse, t: str, payload: dict[str, object], code: str
) -> None:
    async with house.agent() as agent:
        with pytest.raises(CommandError) as error:
            await agent.command(t, **payload)
        assert error.value.code == code
        assert error.value.retryable is False


async def test_s1_2b_a_phone_that_comes_late_gets_the_ring_with_what_is_left_of_it(autojump_clock: MockClock) -> None:
    async with open_signaling_house() as house, house.agent("desk") as desktop, house.visitor() as visitor:
        asked = await visitor.command("call.request", conversation="cv_9", media={"video": True})
        await desktop.event("ring.offer")
        await trio.sleep(12)
        async with house.agent("phone", "ios", green=False) as phone:
            assert phone.snapshot["rings"][0]["ttl_ms"] == pytest.approx(18_000, abs=250)
            assert phone.welcome["hb_ms"] == 5_000
            await phone.event("ring.ended", reason="timeout")
            assert trio.current_time() == pytest.approx(30.0, abs=0.25)
            with pytest.raises(CommandError) as late:
                await phone.command("call.accept", session=asked["session"])
            assert late.value.code == "call.expired"
            assert late.value.details["outcome"] == "no_answer"


async def test_s1_1d_a_ring_is_resumed_with_the_same_deadline(autojump_clock: MockClock) -> None:
    async with open_signaling_house() as house, house.agent("phone", "ios") as phone, house.visitor() as visitor:
        asked = await visitor.command("call.request", conversation="cv_9", media={"video": True})
        await phone.event("ring.offer")
        await phone.command("device.update", perms={"camera": "denied_permanent"})
        with pytest.raises(CommandError) as missing:
            await phone.command("call.accept", session=asked["session"])
        assert missing.value.code == "permission.required"
        assert missing.value.details["action"] == "open_settings"
        await trio.sleep(4)
        phone.drop()
        await trio.sleep(10)
        async with trio.open_nursery() as nursery:
            await phone.connect(nursery)
            assert phone.welcome["resumed"] is True
            await phone.command("device.update", perms={"camera": "granted"})
            assert (await phone.command("call.accept", session=asked["session"]))["state"] == "connecting"
            await phone.close()


async def test_devices_hear_the_end_of_their_call_before_the_server_is_gone() -> None:
    async with trio.open_nursery() as nursery:
        async with open_signaling_house("websocket") as house:
            agent = SignalClient(
                house.open_channel, house.token("agent", "ana", "desk"), ClientDevice("desk"), os.urandom
            )
            visitor = SignalClient(
                house.open_channel, house.token("visitor", "lea", "tab", cv=["cv_9"]), ClientDevice("tab"), os.urandom
            )
            for client in (agent, visitor):
                await client.connect(nursery)
            await agent.command("presence.set", channel="video", declared="available")
            await visitor.command("call.request", conversation="cv_9", media={"video": True}, offer="v=0")
            await agent.event("ring.offer")
        over = await visitor.event("call.ended")
        assert (over.p["outcome"], over.p["reason"]) == ("failed", "server_shutdown")
        await agent.event("ring.ended")
        for client in (agent, visitor):
            await client.ended()
            assert client.closed is not None
            assert client.closed[0] == 1012


async def _answers(agent: SignalClient, ids: Mapping[str, str]) -> dict[str, tuple[str, str, str]]:
    """What the server says to every command about things of these ids: code, message (without the ids) and details."""
    answers: dict[str, tuple[str, str, str]] = {}
    offer = {"leg": ids["leg"], "neg": 1}
    candidate = {"candidate": "candidate:1 1 udp 1 192.0.2.1 9 typ host", "mid": "0"}
    session, conversation = {"session": ids["session"]}, {"conversation": ids["conversation"]}
    invitation = {"invitation": ids["invitation"]}
    asked: dict[str, dict[str, Any]] = {
        "ring.ack": {"ring": ids["ring"]},
        "ring.opened": {"ring": ids["ring"]},
        "ring.silence": {"ring": ids["ring"]},
        "call.accept": session,
        "call.decline": session,
        "call.hangup": session,
        "call.end": session,
        "handoff.request": session,
        "handoff.offer": {**session, "to_device": "desk"},
        "handoff.cancel": session,
        "invitation.send": conversation,
        "invitation.join": invitation,
        "invitation.cancel": invitation,
        "sdp.offer": {**offer, "sdp": "v=0"},
        "sdp.answer": {**offer, "sdp": "v=0"},
        "ice.candidates": {**offer, "ufrag": "u", "candidates": [candidate], "end": False},
        "ice.restart": {"leg": ids["leg"]},
        "media.set": {**session, "n": 1, "mic": False},
        "recording.start": session,
        "recording.stop": session,
        "conversation.message.send": {**conversation, "text": "hello"},
        "conversation.read": {**conversation, "message": "m_1"},
        "conversation.tag": {**conversation, "tags": ["a"]},
        "conversation.close": conversation,
        "conversation.snooze": conversation,
        "conversation.transfer": {**conversation, "to": {"agent": "ana"}},
        "history.get": session,
        "presence.get": {"agent": ids["agent"]},
        "device.revoke": {"device": ids["device"]},
    }
    for t, payload in asked.items():
        try:
            answers[t] = ("ok", "", json.dumps(await agent.command(t, **payload)))
        except CommandError as error:
            said = str(error)
            for id in ids.values():
                said = said.replace(id, "ID")
            answers[t] = (error.code, said, json.dumps(dict(error.details)))
    return answers


async def test_i40_no_command_tells_what_exists_in_another_tenant_or_for_another_agent(house: SignalingHouse) -> None:
    """Every command about somebody else's call is answered as if there were no such thing, word for word."""
    async with house.agent() as agent, house.visitor() as visitor:
        asked = await visitor.command("call.request", conversation="cv_9", media={"video": True}, offer="v=0")
        ring = (await agent.event("ring.offer")).p["ring"]
        leg = (await agent.command("ring.opened", ring=ring))["leg"]
        real = {
            "session": asked["session"], "conversation": "cv_9", "ring": ring, "leg": leg, "invitation": "iv_none",
            "agent": "ana", "device": "desk",
        }  # fmt: skip
        made_up = {
            "session": "vs_none", "conversation": "cv_none", "ring": "rg_none", "leg": "leg_none",
            "invitation": "iv_nil", "agent": "nobody", "device": "nothing",
        }  # fmt: skip
        for org in ("acme", "dev"):
            token = house.token("agent", "eve", "lair", org=org)
            device = ClientDevice("lair")
            async with open_signal_client(house.open_channel, token=token, device=device) as stranger:
                seen = await _answers(stranger, real)
                assert seen == await _answers(stranger, made_up), org
                assert "ok" not in {code for t, (code, _, _) in seen.items() if t.startswith(("ring", "call", "sdp"))}
                assert [event for event in stranger.waiting_events() if "session" in event.p] == []


async def test_i40_a_visitor_of_one_conversation_cannot_tell_of_another(house: SignalingHouse) -> None:
    async with house.agent() as agent, house.visitor() as visitor:
        asked = await visitor.command("call.request", conversation="cv_9", media={"video": True})
        await agent.event("ring.offer")
        async with house.visitor("eve", "other-tab", "cv_8") as stranger:
            for t, real, made_up in (
                ("call.hangup", {"session": asked["session"]}, {"session": "vs_none"}),
                ("call.cancel", {"session": asked["session"]}, {"session": "vs_none"}),
                ("call.request", {"conversation": "cv_9", "media": {}}, {"conversation": "cv_none", "media": {}}),
                (
                    "conversation.message.send",
                    {"conversation": "cv_9", "text": "a"},
                    {"conversation": "x", "text": "a"},
                ),
            ):
                said = []
                for payload in (real, made_up):
                    with pytest.raises(CommandError) as error:
                        await stranger.command(t, **payload)
                    said.append((error.value.code, str(error.value), dict(error.value.details)))
                assert said[0] == said[1], t


async def test_i40_tokens_of_others_are_refused_in_the_same_words(house: SignalingHouse) -> None:
    """Expired, of a key that is not ours, for another tenant: who shows it learns no more than that it does not do."""
    said = set()
    good = house.token("agent", "ana", "desk")
    head, body, signature = good.split(".")
    for token in (f"{head}.{body}.{signature[::-1]}", f"{head}.{body[:-4]}AAAA.{signature}", "e30.e30.e30"):
        with pytest.raises(CommandError) as error:
            async with open_signal_client(house.open_channel, token=token, device=ClientDevice("desk")):
                pass
        said.add(error.value.code)
    assert said == {"auth.invalid"}
