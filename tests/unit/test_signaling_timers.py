"""Signaling in virtual time: hello, heartbeats, resume, tokens, slow consumers, rate limits. Memory channels only."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from support.signaling_host import (
    WALL_S,
    SignalingHost,
    address,
    hello,
    open_signaling_host,
    ring_offer,
)
from triortc.engine.calls.notifications import CallEnded, ConversationReminder, PresenceChanged
from triortc.signaling.channel import ChannelClosedError, MessageChannel
from triortc.signaling.client import CommandError
from triortc.signaling.configuration import SignalingConfiguration
from triortc.signaling.turn_credentials import TurnConfiguration
from triortc.signaling.wire import Message, decode_message, encode_message


async def all_messages(channel: MessageChannel) -> tuple[int, list[Message]]:
    """Read to the end without answering anything."""
    messages = []
    while True:
        try:
            messages.append(decode_message(await channel.receive()))
        except ChannelClosedError as closed:
            return closed.code, messages


async def ask_all(channel: MessageChannel, commands: Iterable[bytes]) -> None:
    for command in commands:
        await channel.send(command)
        await channel.receive()


def reminder(n: int) -> ConversationReminder:
    return ConversationReminder("cv_9", "close_after_video", n)


async def test_3_3_a_connection_without_hello_is_closed_after_5_s(autojump_clock: MockClock) -> None:
    async with open_signaling_host() as host, host.open_channel() as channel:
        code, messages = await all_messages(channel)
        assert trio.current_time() == pytest.approx(5.0)
    assert code == 4402
    assert messages[0].p["code"] == "proto.hello_timeout"


TURN = TurnConfiguration(("turn:turn.example:3478",), "a-secret-of-the-turn-server", lifetime_s=600.0)


async def test_3_8b_each_device_gets_turn_credentials_of_its_own_that_are_renewed_before_they_end(
    autojump_clock: MockClock,
) -> None:
    stun = {"urls": ["stun:stun.example"]}
    configuration = SignalingConfiguration(turn=TURN, ice_servers=(stun,), dead_after_s=10_000.0)
    async with open_signaling_host(configuration=configuration) as host, host.open_channel() as channel:
        welcome = await hello(host, channel)
        assert welcome.p["ice_servers"][0] == stun
        given = [welcome.p["ice_servers"][1]]
        start = trio.current_time()
        while len(given) < 3:
            message = decode_message(await channel.receive())
            if message.t != "ping":
                assert message.t == "session.ice_servers"
                assert message.p["ice_servers"][0] == stun
                given.append(message.p["ice_servers"][1])
        assert trio.current_time() - start == pytest.approx(2 * (600 - 300))
        until = [int(server["username"].partition(":")[0]) - WALL_S - start for server in given]
        assert until == pytest.approx([600, 900, 1200], abs=1)
        assert len({server["credential"] for server in given}) == 3


async def test_3_3_a_silent_connection_is_pinged_each_15_s_and_given_up_after_35_s(autojump_clock: MockClock) -> None:
    async with open_signaling_host() as host, host.open_channel() as channel:
        await hello(host, channel)
        code, messages = await all_messages(channel)
        assert trio.current_time() == pytest.approx(35.0)
        assert [message.t for message in messages] == ["ping", "ping"]
        assert code == 4408
        await host.calls.wait_for("lost")


async def test_3_3_in_a_call_silence_is_noticed_after_12_s(autojump_clock: MockClock) -> None:
    async with open_signaling_host() as host, host.open_channel() as channel:
        await hello(host, channel)
        host.server.notify(address(), ring_offer())
        _, messages = await all_messages(channel)
        assert trio.current_time() == pytest.approx(12.0)
        assert [message.t for message in messages] == ["session.heartbeat", "ring.offer", "ping", "ping"]


async def test_3_3_every_message_counts_as_a_sign_of_life(autojump_clock: MockClock) -> None:
    async with open_signaling_host() as host, host.client() as client:
        for _ in range(6):
            await trio.sleep(14)
            await client.command("presence.get")
        assert client.closed is None


async def test_3_3_a_lost_session_can_be_resumed_for_120_s_and_then_is_gone(autojump_clock: MockClock) -> None:
    async with open_signaling_host() as host, trio.open_nursery() as nursery:
        client = host.new_client()
        await client.connect(nursery)
        client.drop()
        await trio.sleep(119.9)
        assert ("gone", "d1") not in host.calls.happened
        await client.connect(nursery)
        assert client.welcome["resumed"] is True
        client.drop()
        await trio.sleep(120.1)
        assert host.calls.happened[-1] == ("gone", "d1")
        await client.connect(nursery)
        assert client.welcome["resumed"] is False
        nursery.cancel_scope.cancel()


async def test_3_8_the_end_of_a_token_is_announced_60_s_before(autojump_clock: MockClock) -> None:
    async with open_signaling_host() as host, host.client() as client:
        event = await client.event("auth.expiring")
        assert event.p == {"exp_at": int((WALL_S + 3600) * 1000)}
        assert trio.current_time() == pytest.approx(3540.0)


async def test_3_8_an_idle_connection_is_closed_when_its_token_is_over(autojump_clock: MockClock) -> None:
    async with open_signaling_host() as host, host.client() as client:
        await trio.sleep(3600 + 301)
        assert client.closed == (4403, "the token has run out")


async def test_3_8_a_running_video_outlives_its_token_and_may_still_hang_up(autojump_clock: MockClock) -> None:
    async with open_signaling_host() as host, host.client() as client:
        host.server.notify(address(), ring_offer())
        await trio.sleep(3600 + 301)
        assert client.closed is None
        await client.command("call.hangup", session="vs_1")
        await client.command("media.set", session="vs_1", n=1, camera=False)
        await client.command("ice.restart", leg="leg_1")
        await client.send_raw(encode_message("presence.get", {}, id="p1"))
        await wait_all_tasks_blocked()
        assert [type(command).__name__ for _, command, _ in host.calls.commands] == [
            "CallHangup",
            "MediaSet",
            "IceRestart",
        ]
        await client.command("auth.refresh", token=host.token())
        await client.command("presence.get")
        assert len(host.calls.commands) == 4


async def test_3_8_a_refresh_that_fails_does_not_cut_a_running_video(autojump_clock: MockClock) -> None:
    async with open_signaling_host() as host, host.client() as client:
        host.server.notify(address(), ring_offer())
        with pytest.raises(CommandError) as error:
            await client.command("auth.refresh", token=host.token("ben"))
        assert error.value.code == "auth.device_mismatch"
        await client.command("call.hangup", session="vs_1")
        assert client.closed is None


async def test_3_8_the_connection_of_an_expired_token_closes_when_its_video_ends(autojump_clock: MockClock) -> None:
    async with open_signaling_host() as host, host.client() as client:
        host.server.notify(address(), ring_offer())
        await trio.sleep(3600 + 301)
        over = CallEnded("vs_1", "completed", "agent_hangup", "agent", 5, "cv_9", "open", "conversation")
        host.server.notify(address(), over)
        await trio.sleep(0.1)
        assert client.closed == (4403, "the token has run out")


async def test_3_7_a_connection_that_does_not_read_is_closed_with_4008_and_its_session_resumes(
    autojump_clock: MockClock,
) -> None:
    async with open_signaling_host() as host, host.open_channel() as channel:
        welcome = (await hello(host, channel)).p
        for number in range(300):
            host.server.notify(address(), reminder(number))
        await host.calls.wait_for("lost")
        assert trio.current_time() <= 2.0
        code, seen = await all_messages(channel)
        assert code == 4008
        assert len(seen) < 300
        resume = {"session": welcome["session"], "token": welcome["resume_token"], "last_seq": 60}
        async with host.open_channel() as again:
            assert (await hello(host, again, resume=resume)).p["resumed"] is True
            missed = [decode_message(await again.receive()) for _ in range(240)]
            assert [message.seq for message in missed] == list(range(61, 301))


async def test_3_7_a_newer_presence_replaces_the_one_that_waits(autojump_clock: MockClock) -> None:
    def presence(version: int, channel: str = "chat") -> PresenceChanged:
        return PresenceChanged("ana", channel, "available", "busy", "orange", "BUSY", ("ringing",), version)

    async with open_signaling_host() as host, trio.open_nursery() as nursery:
        client = host.new_client()
        await client.connect(nursery)
        client.drop()
        await host.calls.wait_for("lost")
        for version in range(1000):
            host.server.notify(address(), presence(version))
        host.server.notify(address(), reminder(1))
        host.server.notify(address(), presence(1, "video"))
        await client.connect(nursery)
        assert client.welcome["resumed"] is True
        events = [await client.event() for _ in range(3)]
        assert [(event.t, event.seq, event.p.get("version")) for event in events] == [
            ("presence.changed", 1, 999),
            ("conversation.reminder", 2, None),
            ("presence.changed", 3, 1),
        ]
        nursery.cancel_scope.cancel()


async def test_3_6_the_101st_command_at_once_is_rate_limited_and_told_when_to_come_back(
    autojump_clock: MockClock,
) -> None:
    async with open_signaling_host() as host, host.open_channel() as channel:
        await hello(host, channel)
        replies = []
        for number in range(102):
            await channel.send(encode_message("presence.get", {}, id=f"c{number}"))
            replies.append(decode_message(await channel.receive()))
        assert [reply.t for reply in replies] == ["ok"] * 100 + ["err"] * 2
        assert replies[100].p["code"] == "rate.limited"
        assert replies[100].p["retryable"] is True
        assert replies[100].p["retry_after_ms"] == 20
        await trio.sleep(0.03)
        await channel.send(encode_message("presence.get", {}, id="c100"))
        assert decode_message(await channel.receive()).t == "ok"


async def test_i41_hang_up_is_not_refused_when_the_bucket_is_empty(autojump_clock: MockClock) -> None:
    async with open_signaling_host() as host, host.open_channel() as channel:
        await hello(host, channel)
        for number in range(110):
            await channel.send(encode_message("presence.get", {}, id=f"c{number}"))
            await channel.receive()
        await channel.send(encode_message("call.hangup", {"session": "vs_1"}, id="bye"))
        assert decode_message(await channel.receive()).t == "ok"


async def test_3_6_offers_have_a_limit_of_their_own_and_other_commands_go_on(autojump_clock: MockClock) -> None:
    async with open_signaling_host() as host, host.open_channel() as channel:
        await hello(host, channel)

        async def ask(t: str, id: str, **payload: object) -> tuple[str, object]:
            await channel.send(encode_message(t, payload, id=id))
            answer = decode_message(await channel.receive())
            return answer.p.get("code", answer.t), answer.p.get("retry_after_ms")

        first = [await ask("sdp.offer", f"o{neg}", leg="leg_1", neg=neg, sdp="v=0\r\n") for neg in range(1, 22)]
        assert first == [("ok", None)] * 20 + [("rate.limited", 500)]
        assert await ask("call.accept", "a1", session="vs_1", offer="v=0\r\n") == ("rate.limited", 500)
        assert await ask("presence.get", "p1") == ("ok", None)
        await trio.sleep(0.5)
        again = [await ask("sdp.offer", f"o{neg}", leg="leg_1", neg=neg, sdp="v=0\r\n") for neg in (21, 22)]
        assert again == [("ok", None), ("rate.limited", 500)]
        assert await ask("call.accept", "a2", session="vs_1") == ("ok", None)


async def test_3_6_who_ignores_the_rate_limit_is_closed_with_4029(autojump_clock: MockClock) -> None:
    async with open_signaling_host() as host, host.open_channel() as channel:
        await hello(host, channel)
        commands = (encode_message("presence.get", {}, id=f"c{number}") for number in range(400))
        with pytest.raises(ChannelClosedError) as closed:
            await ask_all(channel, commands)
        assert closed.value.code == 4029
        assert host.server.counters.commands == 100


async def test_3_7_at_most_32_commands_without_a_written_reply_are_read(autojump_clock: MockClock) -> None:
    async with open_signaling_host() as host, host.open_channel() as channel:
        await hello(host, channel)
        sent = 0
        with trio.move_on_after(1):
            for number in range(90):
                await channel.send(encode_message("presence.get", {}, id=f"c{number}"))
                sent += 1
        # What the channel holds has been written; of the rest no more than 32 have been read.
        assert 32 < len(host.calls.commands) <= 16 + 32
        assert sent == len(host.calls.commands) + 16
        for _ in range(sent):
            await channel.receive()


async def test_3_7_handshakes_are_bounded(autojump_clock: MockClock) -> None:
    configuration = SignalingConfiguration(max_handshakes=2)
    async with open_signaling_host(configuration=configuration) as host, host.open_channel(), host.open_channel():
        await wait_all_tasks_blocked()
        assert not host.server.may_greet()
        await trio.sleep(6)
        assert host.server.may_greet()


async def test_r18_replies_are_remembered_for_5_minutes(autojump_clock: MockClock) -> None:
    async def silence(channel: MessageChannel, seconds: float) -> None:
        end = trio.current_time() + seconds
        while trio.current_time() < end:
            await trio.sleep(min(10.0, end - trio.current_time()))
            await channel.send(encode_message("ping", {"n": 1}))
            await channel.receive()

    async with open_signaling_host() as host, host.open_channel() as channel:
        await hello(host, channel)
        for wait_s, effects in ((0, 1), (299, 1), (2, 2)):
            await silence(channel, wait_s)
            await channel.send(encode_message("ring.ack", {"ring": "rg_1"}, id="same"))
            assert decode_message(await channel.receive()).t == "ok"
            assert len(host.calls.commands) == effects


async def test_the_messages_of_the_server_carry_its_wall_clock(autojump_clock: MockClock) -> None:
    async with open_signaling_host() as host:
        await trio.sleep(2)
        async with host.open_channel() as channel:
            assert (await hello(host, channel)).at == int((WALL_S + 2) * 1000)


async def test_i38_what_a_client_sees_over_many_losses_has_no_gap_and_no_repeat(autojump_clock: MockClock) -> None:
    async def lose_and_resume(host: SignalingHost) -> list[int]:
        client = host.new_client()
        seen: list[int] = []
        async with trio.open_nursery() as nursery:
            for round_number in range(20):
                await client.connect(nursery)
                for step in range(7):
                    host.server.notify(address(), reminder(round_number * 10 + step))
                    if step % 3 == 1:
                        await wait_all_tasks_blocked()
                seen += [event.p["n"] for event in client.waiting_events()]
                client.drop()
                await wait_all_tasks_blocked()
                for step in range(7, 10):
                    host.server.notify(address(), reminder(round_number * 10 + step))
            await client.connect(nursery)
            await wait_all_tasks_blocked()
            seen += [event.p["n"] for event in client.waiting_events()]
            nursery.cancel_scope.cancel()
        return seen

    async with open_signaling_host() as host:
        assert await lose_and_resume(host) == list(range(200))
