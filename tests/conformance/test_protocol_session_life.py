"""The life of a signaling session over every transport. Numbers: call-control spec, 3.1 framing to 3.6 errors."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import suppress
from typing import Any

import pytest
import trio

from support.signaling_host import (
    TRANSPORTS,
    SignalingHost,
    address,
    hello,
    open_signaling_host,
    receive,
    ring_offer,
)
from triortc.engine.calls.notifications import CallActive, CallEnded, ConversationReminder
from triortc.engine.calls.replies import AcceptedPayload, CallFault, Ok
from triortc.signaling.channel import ChannelClosedError, MessageChannel
from triortc.signaling.client import ClientDevice, CommandError, connect_websocket, open_signal_client
from triortc.signaling.configuration import SignalingConfiguration
from triortc.signaling.tokens import Claims
from triortc.signaling.wire import encode_message


@pytest.fixture(params=TRANSPORTS)
async def host(request: pytest.FixtureRequest) -> AsyncGenerator[SignalingHost]:
    async with open_signaling_host(request.param) as running:
        yield running


async def closed_with(channel: MessageChannel) -> tuple[int, list[Any]]:
    """Read to the end: the close code, and the messages before it."""
    messages = []
    with trio.fail_after(5):
        while True:
            try:
                messages.append(await receive(channel))
            except ChannelClosedError as closed:
                return closed.code, messages


def ended(session: str = "vs_1") -> CallEnded:
    return CallEnded(session, "completed", "agent_hangup", "agent", 5, "cv_9", "open", "conversation")


async def test_3_3_hello_is_welcomed_with_a_session_limits_and_a_snapshot(host: SignalingHost) -> None:
    async with host.open_channel() as channel:
        welcome = await hello(host, channel)
    assert welcome.t == "welcome"
    p = welcome.p
    assert (p["p"], p["resumed"], p["hb_ms"]) == ("triortc.v1", False, 15_000)
    assert p["limits"]["max_message"] == 65_536
    assert p["limits"]["max_inflight"] == 32
    assert p["limits"]["rate"] == {"burst": 100, "per_s": 50.0}
    assert p["quality"] == {"weak_score": 40, "good_score": 55}
    assert {"video.receive", "video.invite", "handoff"} <= set(p["caps"])
    parts = ("presence", "rings", "sessions", "invitations", "conversations", "notices", "devices")
    assert p["snapshot"] == {part: [] for part in parts}
    assert len(p["resume_token"]) == 43
    assert isinstance(welcome.at, int)


@pytest.mark.parametrize("platform", ["ios", "android", "desktop", "web"])
async def test_3_3_the_device_reaches_call_control_as_it_described_itself(host: SignalingHost, platform: Any) -> None:
    device = ClientDevice("d1", platform, "Ana's", perms={"camera": "prompt", "mic": "denied"}, app_state="locked")
    async with open_signal_client(host.open_channel, token=host.token(), device=device):
        seen = host.calls.devices[0]
    assert (seen.id, seen.platform, seen.name) == ("d1", platform, "Ana's")
    assert (seen.camera, seen.mic, seen.app_state) == ("prompt", "denied", "locked")


async def test_3_6_a_first_message_that_is_not_hello_is_refused_with_4402(host: SignalingHost) -> None:
    async with host.open_channel() as channel:
        await channel.send(encode_message("call.hangup", {"session": "vs_1"}, id="q1"))
        code, messages = await closed_with(channel)
    assert code == 4402
    assert messages[0].p["code"] == "proto.hello_required"
    assert messages[0].re == "q1"
    assert messages[-1].t == "bye"


async def test_3_6_a_token_that_is_not_right_is_refused_with_4403(host: SignalingHost) -> None:
    async with host.open_channel() as channel:
        await channel.send(host.hello(token="e30.e30.x"))
        code, messages = await closed_with(channel)
    assert code == 4403
    assert (messages[0].t, messages[0].re, messages[0].p["code"]) == ("err", "hello", "auth.invalid")


async def test_3_6_a_token_for_another_device_is_a_device_mismatch(host: SignalingHost) -> None:
    async with host.open_channel() as channel:
        await channel.send(host.hello(token=host.token(did="d2"), did="d1"))
        code, messages = await closed_with(channel)
    assert (code, messages[0].p["code"]) == (4403, "auth.device_mismatch")


async def test_3_6_three_malformed_messages_close_with_4400(host: SignalingHost) -> None:
    async with host.open_channel() as channel:
        await hello(host, channel)
        for bad in (b"{", b'{"t":"ring.ack","id":"a","p":{"ring":5}}', b'{"t":"ring.ack","id":"b","p":{"ring":NaN}}'):
            await channel.send(bad)
        code, messages = await closed_with(channel)
    assert code == 4400
    assert [m.p["code"] for m in messages if m.t == "err"] == ["proto.malformed"] * 3
    assert messages[1].re == "a"


async def test_3_6_an_unknown_command_is_answered_and_the_connection_goes_on(host: SignalingHost) -> None:
    async with host.client() as client:
        with pytest.raises(CommandError) as error:
            await client.command("teleport.now")
        assert error.value.code == "proto.unknown_type"
        assert await client.command("presence.get") == {}


async def test_3_2_unknown_fields_are_ignored(host: SignalingHost) -> None:
    async with host.client() as client:
        await client.command("call.hangup", session="vs_1", colour="blue", nested={"a": [1]})
    assert host.calls.commands[0][1].session == "vs_1"  # type: ignore[union-attr]  # a CallHangup


async def test_3_6_a_message_over_65536_bytes_closes_with_4409(host: SignalingHost) -> None:
    async with host.open_channel() as channel:
        await hello(host, channel)
        await channel.send(encode_message("ping", {"n": 1, "x": "y" * 65_536}))
        code, messages = await closed_with(channel)
    assert code == 4409
    assert messages[0].p["code"] == "proto.too_large"


async def test_3_1_a_message_of_exactly_65536_bytes_is_taken(host: SignalingHost) -> None:
    async with host.open_channel() as channel:
        await hello(host, channel)
        empty = encode_message("ping", {"n": 1, "x": ""})
        await channel.send(encode_message("ping", {"n": 1, "x": "y" * (65_536 - len(empty))}))
        assert (await receive(channel)).t == "pong"


async def test_3_6_a_field_over_its_limit_is_too_large_but_closes_nothing(host: SignalingHost) -> None:
    async with host.client() as client:
        with pytest.raises(CommandError) as error:
            await client.command("sdp.offer", leg="leg_1", neg=1, sdp="v" * 32_769)
        assert error.value.code == "proto.too_large"
        assert await client.command("presence.get") == {}


async def test_3_4_ping_is_answered_with_pong_and_its_number(host: SignalingHost) -> None:
    async with host.open_channel() as channel:
        await hello(host, channel)
        await channel.send(encode_message("ping", {"n": 77}))
        pong = await receive(channel)
    assert (pong.t, pong.p) == ("pong", {"n": 77})


async def test_3_2_events_are_numbered_from_one_without_a_gap(host: SignalingHost) -> None:
    """R20: what a client misses it can tell by the numbers."""
    async with host.client() as client:
        for number in range(30):
            host.server.notify(address(), ConversationReminder("cv_9", "close_after_video", number))
        events = [await client.event() for _ in range(30)]
    assert [event.seq for event in events] == list(range(1, 31))
    assert [event.p["n"] for event in events] == list(range(30))


async def test_i40_an_event_reaches_its_device_only(host: SignalingHost) -> None:
    async with host.client(did="d1") as first, host.client(did="d2") as second, host.client("ben", "d1") as other:
        host.server.notify(address(did="d2"), ring_offer())
        assert (await second.event()).t == "session.heartbeat"
        assert (await second.event()).t == "ring.offer"
        assert first.waiting_events() == other.waiting_events() == []


async def test_2_the_reply_comes_before_the_events_its_command_causes(host: SignalingHost) -> None:
    host.calls.answer = lambda actor, command: Ok(AcceptedPayload("leg_1", "connecting"))
    host.calls.afterwards = lambda actor: host.server.notify(actor.address, CallActive("vs_1", 5))
    async with host.open_channel() as channel:
        await hello(host, channel)
        await channel.send(encode_message("call.accept", {"session": "vs_1"}, id="i3"))
        messages = [await receive(channel) for _ in range(3)]
    assert [message.t for message in messages] == ["ok", "session.heartbeat", "call.active"]


async def test_r18_a_repeated_command_gets_the_same_reply_and_no_second_effect(host: SignalingHost) -> None:
    count = iter(range(100))
    host.calls.answer = lambda actor, command: Ok(AcceptedPayload(f"leg_{next(count)}", "connecting"))
    async with host.open_channel() as channel:
        await hello(host, channel)
        replies = []
        for data in (
            b'{"t":"call.accept","id":"i3","p":{"session":"vs_1"}}',
            b'{"id":"i3","p":{"session":"vs_1","offer":null},"t":"call.accept"}',
        ):
            await channel.send(data)
            replies.append(await receive(channel))
            if replies[-1].seq is not None:
                replies[-1] = await receive(channel)
    replies = [reply for reply in replies if reply.t == "ok"]
    assert [reply.p for reply in replies] == [{"leg": "leg_0", "state": "connecting"}] * 2
    assert len(host.calls.commands) == 1


async def test_r18_an_id_with_other_content_is_refused(host: SignalingHost) -> None:
    async with host.open_channel() as channel:
        await hello(host, channel)
        await channel.send(encode_message("presence.get", {}, id="x"))
        await channel.send(encode_message("presence.get", {"agent": "ben"}, id="x"))
        first, second = await receive(channel), await receive(channel)
    assert first.t == "ok"
    assert second.p["code"] == "proto.id_reused"


async def test_r18_the_memory_of_replies_outlives_the_session(host: SignalingHost) -> None:
    for _ in range(2):
        async with host.open_channel() as channel:
            await hello(host, channel)
            await channel.send(encode_message("ring.silence", {"ring": "rg_1"}, id="s1"))
            assert (await receive(channel)).t == "ok"
    assert len(host.calls.commands) == 1


async def test_3_6_a_refusal_carries_code_details_and_retry(host: SignalingHost) -> None:
    host.calls.answer = lambda actor, command: CallFault(
        "permission.required", "camera", {"missing": ["camera"], "action": "prompt"}, retryable=True
    )
    async with host.client() as client:
        with pytest.raises(CommandError) as error:
            await client.command("call.accept", session="vs_1")
    assert error.value.details == {"missing": ["camera"], "action": "prompt"}
    assert error.value.retryable


async def test_3_6_recording_is_answered_by_call_control_like_every_other_command(host: SignalingHost) -> None:
    host.calls.answer = lambda actor, command: CallFault("proto.not_implemented", "no recorder here")
    async with host.client() as client:
        with pytest.raises(CommandError) as error:
            await client.command("recording.start", session="vs_1")
    assert error.value.code == "proto.not_implemented"


async def test_3_6_a_newer_connection_of_the_device_supersedes_the_older_with_4010(host: SignalingHost) -> None:
    """R25: the newest connection of a device has it."""
    async with host.open_channel() as first:
        await hello(host, first)
        async with host.open_channel() as second:
            assert (await hello(host, second)).t == "welcome"
            code, messages = await closed_with(first)
            assert code == 4010
            assert messages[0].p["code"] == "session.superseded"
            await second.send(encode_message("ping", {"n": 1}))
            assert (await receive(second)).t == "pong"
    assert host.server.counters.superseded == 1
    assert ("gone", "d1") not in host.calls.happened


async def test_3_10_8_a_lost_socket_is_lost_and_not_left_and_resumes_with_what_was_missed(host: SignalingHost) -> None:
    client = host.new_client()
    async with trio.open_nursery() as nursery:
        await client.connect(nursery)
        host.server.notify(address(), ConversationReminder("cv_9", "close_after_video", 1))
        await client.event()
        client.drop()
        await host.calls.wait_for("lost")
        for number in (2, 3):
            host.server.notify(address(), ConversationReminder("cv_9", "close_after_video", number))
        before = client.welcome
        await client.connect(nursery)
        assert client.welcome["resumed"] is True
        assert client.welcome["session"] == before["session"]
        assert client.welcome["resume_token"] != before["resume_token"]
        assert "snapshot" not in client.welcome
        assert [(await client.event()).p["n"] for _ in range(2)] == [2, 3]
        nursery.cancel_scope.cancel()
    assert host.calls.happened[:3] == [("connected", "d1"), ("lost", "d1"), ("resumed", "d1")]


async def test_3_4_a_session_is_resumed_with_what_the_newer_token_allows(host: SignalingHost) -> None:
    """D2: less than before, and call control hears of it before the device is there again."""
    async with host.open_channel() as channel:
        welcome = (await hello(host, channel)).p
    await host.calls.wait_for("lost")
    resume = {"session": welcome["session"], "token": welcome["resume_token"], "last_seq": 0}
    async with host.open_channel() as channel:
        less = host.token(cap=["presence"], grp=["night"])
        assert (await hello(host, channel, token=less, resume=resume)).p["resumed"] is True
    told = [what for what, _ in host.calls.happened]
    assert told[told.index("lost") :][:3] == ["lost", "changed", "resumed"]


async def test_3_6_a_token_that_was_being_checked_when_a_newer_connection_took_over_counts_for_nothing() -> None:
    checking, checked = trio.Event(), trio.Event()

    class SlowRevocations:
        """The refreshed token is looked up until the newer connection's is."""

        async def revoked(self, claims: Claims) -> bool:
            if claims.name == "refreshed":
                checking.set()
                await checked.wait()
            elif claims.name == "newer":
                checked.set()
            return False

    async with (
        open_signaling_host("memory", revocations=SlowRevocations()) as host,
        host.open_channel() as first,
        host.open_channel() as second,
    ):
        await hello(host, first)
        await first.send(encode_message("auth.refresh", {"token": host.token(name="refreshed")}, id="r"))
        await checking.wait()
        assert (await hello(host, second, token=host.token(name="newer"))).t == "welcome"
        assert (await closed_with(first))[0] == 4010
        assert ("changed", "d1") not in host.calls.happened


async def test_r19_commands_without_a_reply_are_sent_again_in_order_and_done_once(host: SignalingHost) -> None:
    async with host.open_channel() as channel:
        welcome = (await hello(host, channel)).p
        await channel.send(encode_message("ring.ack", {"ring": "rg_1"}, id="c1"))
        await receive(channel)
    resume = {"session": welcome["session"], "token": welcome["resume_token"], "last_seq": 0}
    async with host.open_channel() as channel:
        assert (await hello(host, channel, resume=resume)).p["resumed"] is True
        await channel.send(encode_message("ring.ack", {"ring": "rg_1"}, id="c1"))
        await channel.send(encode_message("ring.opened", {"ring": "rg_1"}, id="c2"))
        assert [(await receive(channel)).re for _ in range(2)] == ["c1", "c2"]
    assert len(host.calls.commands) == 2


async def test_3_3_a_resume_token_works_once(host: SignalingHost) -> None:
    async with host.open_channel() as channel:
        welcome = (await hello(host, channel)).p
    resume = {"session": welcome["session"], "token": welcome["resume_token"], "last_seq": 0}
    for expected in (True, False):
        async with host.open_channel() as channel:
            again = (await hello(host, channel, resume=resume)).p
            assert again["resumed"] is expected
            assert ("snapshot" in again) is not expected
    assert again["session"] != welcome["session"]


async def test_3_3_a_resume_token_is_bound_to_principal_and_device(host: SignalingHost) -> None:
    async with host.open_channel() as channel:
        welcome = (await hello(host, channel)).p
    resume = {"session": welcome["session"], "token": welcome["resume_token"], "last_seq": 0}
    async with host.open_channel() as channel:
        assert (await hello(host, channel, did="d2", resume=resume)).p["resumed"] is False
    async with host.open_channel() as channel:
        other = await hello(host, channel, token=host.token("ben"), resume=resume)
        assert other.p["resumed"] is False


async def test_3_3_an_event_number_from_the_future_is_not_resumed(host: SignalingHost) -> None:
    async with host.open_channel() as channel:
        welcome = (await hello(host, channel)).p
    resume = {"session": welcome["session"], "token": welcome["resume_token"], "last_seq": 9}
    async with host.open_channel() as channel:
        assert (await hello(host, channel, resume=resume)).p["resumed"] is False


async def test_3_3_events_beyond_the_buffer_lead_to_a_snapshot(host: SignalingHost) -> None:
    client = host.new_client()
    async with trio.open_nursery() as nursery:
        await client.connect(nursery)
        client.drop()
        await host.calls.wait_for("lost")
        for number in range(300):
            host.server.notify(address(), ConversationReminder("cv_9", "close_after_video", number))
        await client.connect(nursery)
        assert client.welcome["resumed"] is False
        host.server.notify(address(), ConversationReminder("cv_9", "close_after_video", 7))
        assert (await client.event()).seq == 1
        nursery.cancel_scope.cancel()


async def test_3_4_bye_4000_gives_the_session_up_at_once(host: SignalingHost) -> None:
    async with host.client() as client:
        welcome = client.welcome
        await client.leave()
        await host.calls.wait_for("gone")
    resume = {"session": welcome["session"], "token": welcome["resume_token"], "last_seq": 0}
    async with host.open_channel() as channel:
        assert (await hello(host, channel, resume=resume)).p["resumed"] is False


async def test_3_3_heartbeats_quicken_while_it_rings_and_slow_down_after(host: SignalingHost) -> None:
    async with host.client() as client:
        host.server.notify(address(), ring_offer())
        assert (await client.event()).p == {"hb_ms": 5_000}
        assert (await client.event()).t == "ring.offer"
        host.server.notify(address(), ended())
        assert (await client.event()).t == "call.ended"
        assert (await client.event()).p == {"hb_ms": 15_000}


async def test_3_4_auth_refresh_takes_a_token_of_the_same_person_and_device_only(host: SignalingHost) -> None:
    async with host.client() as client:
        reply = await client.command("auth.refresh", token=host.token(cap=["video.receive"]))
        assert reply["exp_at"] > 0
        await client.command("presence.get")
        assert host.calls.commands[-1][0].caps == frozenset({"video.receive"})
        with pytest.raises(CommandError) as error:
            await client.command("auth.refresh", token=host.token("ben"))
        assert error.value.code == "auth.device_mismatch"
    async with host.open_channel() as channel:
        await hello(host, channel)
        await channel.send(encode_message("auth.refresh", {"token": host.token(did="d2")}, id="r"))
        assert (await closed_with(channel))[0] == 4403


async def test_3_8_revoking_closes_with_4403_and_forgets_the_session(host: SignalingHost) -> None:
    async with host.open_channel() as channel:
        await hello(host, channel)
        assert host.server.revoke(lambda claims: claims.sub == "ana") == 1
        assert (await closed_with(channel))[0] == 4403
    assert ("revoked", "d1") in host.calls.happened


async def test_3_4_draining_is_announced_and_new_devices_are_sent_elsewhere(host: SignalingHost) -> None:
    async with host.client() as client:
        await host.server.announce_draining(60_000, "wss://other.example/v1/signal")
        event = await client.event()
        assert (event.t, event.p["deadline_ms"]) == ("server.draining", 60_000)
        async with host.open_channel() as channel:
            await channel.send(host.hello(did="d2"))
            code, messages = await closed_with(channel)
        assert (code, messages[0].p["code"], messages[0].p["retryable"]) == (1012, "server.draining", True)


async def test_r24_a_device_in_a_call_comes_back_to_a_draining_server(host: SignalingHost) -> None:
    client = host.new_client()
    async with trio.open_nursery() as nursery:
        await client.connect(nursery)
        host.server.notify(address(), ring_offer())
        await client.event("ring.offer")
        await host.server.announce_draining(60_000)
        client.drop()
        await host.calls.wait_for("lost")
        await client.connect(nursery)
        assert client.welcome["resumed"] is True
        await client.close()


async def test_a_second_hello_is_refused_without_closing(host: SignalingHost) -> None:
    async with host.open_channel() as channel:
        await hello(host, channel)
        again = await hello(host, channel)
        assert (again.t, again.re, again.p["code"]) == ("err", "hello", "proto.malformed")


async def test_one_user_has_a_bounded_number_of_devices() -> None:
    configuration = SignalingConfiguration(max_devices=2)
    async with (
        open_signaling_host(configuration=configuration) as host,
        host.client(did="a"),
        host.client(did="b"),
        host.client(did="c"),
    ):
        assert [device for what, device in host.calls.happened if what == "gone"] == ["a"]


async def test_3_1_a_binary_frame_closes_with_4400() -> None:
    async with open_signaling_host("websocket") as host, connect_websocket(host.url) as channel:
        await hello(host, channel)
        await channel._connection.send_message(b"{}")  # type: ignore[attr-defined]  # below the channel on purpose
        assert (await closed_with(channel))[0] == 4400


async def test_3_1_a_frame_far_over_the_limit_ends_the_connection() -> None:
    async with open_signaling_host("websocket") as host, connect_websocket(host.url) as channel:
        await hello(host, channel)
        with suppress(ChannelClosedError):  # it may be said before all is sent
            await channel.send(b"x" * 200_000)
        assert (await closed_with(channel))[0] == 1009


@pytest.mark.parametrize("greeted", [True, False])
async def test_3_1_a_length_over_the_limit_closes_with_4409_before_the_body_is_read(greeted: bool) -> None:
    async with open_signaling_host("webtransport") as host, host.open_channel() as channel:
        if greeted:
            await hello(host, channel)
        session = channel._session  # type: ignore[attr-defined]  # below the channel on purpose
        session._quic.send_stream_data(session._message_stream, b"\x00\x01\x00\x01{")
        channel._owner.wake()  # type: ignore[attr-defined]  # a WebTransport channel
        code, messages = await closed_with(channel)
        assert code == 4409
        assert [m.p["code"] for m in messages if m.t == "err"] == ["proto.too_large"]


async def test_i39_one_script_gives_the_same_messages_on_every_transport() -> None:
    async def script(host: SignalingHost) -> list[Any]:
        async with host.open_channel() as channel:
            messages = [await hello(host, channel)]
            host.server.notify(address(), ring_offer())
            messages += [await receive(channel), await receive(channel)]
            for data in (
                encode_message("ack", {"seq": 2}),
                encode_message("ring.ack", {"ring": "rg_1"}, id="d1"),
                encode_message("call.accept", {"session": "vs_1"}, id="d2"),
                b'{"t":"nonsense","id":"d3","p":{}}',
                b"[]",
                encode_message("ping", {"n": 3}),
            ):
                await channel.send(data)
            messages += [await receive(channel) for _ in range(5)]
            return [(m.t, m.seq, m.re, {k: v for k, v in m.p.items() if k not in RANDOM}) for m in messages]

    seen = []
    for transport in TRANSPORTS:
        async with open_signaling_host(transport) as host:
            seen.append(await script(host))
    assert seen[0] == seen[1] == seen[2]


RANDOM = {"session", "resume_token"}


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_nothing_is_left_when_the_server_is_cancelled_under_connections(transport: Any) -> None:
    with trio.CancelScope() as scope:
        async with open_signaling_host(transport) as host, trio.open_nursery() as nursery:
            client = host.new_client()
            await client.connect(nursery)
            await client.command("presence.get")
            scope.cancel()
    assert host.server.counters.open_connections == 0
    assert host.http.open_connections == 0
    assert scope.cancelled_caught


async def test_a_client_that_is_refused_is_told_why(host: SignalingHost) -> None:
    device = ClientDevice("d1")
    with pytest.raises(CommandError) as error:
        async with open_signal_client(host.open_channel, token=host.token(did="d2"), device=device):
            pass
    assert error.value.code == "auth.device_mismatch"
