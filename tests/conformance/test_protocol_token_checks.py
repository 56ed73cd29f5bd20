"""The check of a token takes its time where keys have to be fetched, and holds nothing up that needs none (3.8)."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import jwt
import pytest
import trio
import trio.testing
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from support.signaling_host import TRANSPORTS, SignalingHost, hello, open_signaling_host, receive, wall_s
from triortc.signaling.channel import ChannelClosedError, MessageChannel
from triortc.signaling.configuration import SignalingConfiguration
from triortc.signaling.jwks import CachedKeys, JwksUrl
from triortc.signaling.tokens import Claims, VerificationKey
from triortc.signaling.wire import Message, encode_message

ISSUER = "https://login.example"
KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))


def foreign_token(**more: Any) -> str:
    """A token of an issuer whose keys are fetched."""
    now = wall_s()
    who = {"iss": ISSUER, "aud": "triortc", "sub": "ana", "org": "dev", "role": "agent", "did": "d1", "jti": "j1"}
    claims = {**who, "iat": now, "exp": now + 600, "cap": ["video.receive"], **more}
    return jwt.encode(claims, KEY, algorithm="EdDSA", headers={"kid": "k"})


class KeyServer:
    """Answers a request for its key set when it is told to."""

    def __init__(self) -> None:
        self.asked, self.answer = trio.Event(), trio.Event()
        self.url = ""

    async def serve(self, stream: trio.SocketStream) -> None:
        async with stream:
            await stream.receive_some(65_536)
            self.asked.set()
            await self.answer.wait()
            entry = json.loads(jwt.algorithms.OKPAlgorithm.to_jwk(KEY.public_key()))
            body = json.dumps({"keys": [{**entry, "kid": "k", "use": "sig"}]}).encode()
            head = f"HTTP/1.1 200 OK\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n"
            await stream.send_all(head.encode() + body)


@asynccontextmanager
async def key_server() -> AsyncGenerator[KeyServer]:
    server = KeyServer()
    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, server.serve, listeners)
        server.url = f"http://127.0.0.1:{listeners[0].socket.getsockname()[1]}/keys"
        yield server
        nursery.cancel_scope.cancel()


class NoAnswer:
    """Keys that never come, and how often somebody asked."""

    def __init__(self) -> None:
        self.asked = 0

    async def find(self, kid: str, issuer: str) -> VerificationKey | None:
        self.asked += 1
        await trio.sleep_forever()


async def say(channel: MessageChannel, t: str, id: str, **p: Any) -> None:
    await channel.send(encode_message(t, p, id=id))


async def replies(channel: MessageChannel, count: int) -> list[Message]:
    return [await receive(channel) for _ in range(count)]


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_3_8_a_key_server_that_hangs_holds_up_neither_heartbeats_nor_what_needs_no_token(transport: Any) -> None:
    async with key_server() as keys:
        further = CachedKeys([JwksUrl(keys.url, ISSUER, ("dev",))])
        async with (
            open_signaling_host(transport, further_keys=further) as host,
            host.open_channel() as channel,
        ):
            await hello(host, channel)
            await say(channel, "auth.refresh", "refresh", token=foreign_token())
            await keys.asked.wait()
            await channel.send(encode_message("ping", {"n": 7}))
            assert (await receive(channel)).p == {"n": 7}
            await say(channel, "call.hangup", "hangup", session="vs_1")
            assert (await receive(channel)).re == "hangup"
            await say(channel, "presence.get", "presence")
            await say(channel, "call.hangup", "later", session="vs_2")  # it does not overtake what came before it
            await channel.send(encode_message("ping", {"n": 8}))
            assert (await receive(channel)).p == {"n": 8}
            keys.answer.set()
            assert [message.re for message in await replies(channel, 3)] == ["refresh", "presence", "later"]
            caps = [(type(command).__name__, actor.caps) for actor, command, _ in host.calls.commands]
            assert caps[0] == ("CallHangup", frozenset(host_caps(host)))
            assert {own for _, own in caps[1:]} == {frozenset({"video.receive"})}


def host_caps(host: SignalingHost) -> list[str]:
    claims: dict[str, Any] = jwt.decode(host.token(), options={"verify_signature": False})
    return list(claims["cap"])


async def test_3_8_a_check_that_takes_too_long_is_answered_and_what_waited_goes_on(autojump_clock: object) -> None:
    keys = NoAnswer()
    async with open_signaling_host("memory", further_keys=keys) as host, host.open_channel() as channel:
        await hello(host, channel)
        await say(channel, "auth.refresh", "refresh", token=foreign_token())
        await say(channel, "presence.get", "presence")
        begun = trio.current_time()
        late, waited = await replies(channel, 2)
        assert (late.re, late.p["code"], late.p["retryable"]) == ("refresh", "server.unavailable", True)
        assert trio.current_time() - begun == pytest.approx(4.0)  # a command is answered within 5 s (3.2)
        assert (waited.t, waited.re) == ("ok", "presence")
        await say(channel, "auth.refresh", "refresh", token=host.token())  # the same id may be tried again
        assert (await receive(channel)).t == "ok"


async def test_3_3_a_hello_whose_token_cannot_be_checked_in_time_may_come_again(autojump_clock: object) -> None:
    async with open_signaling_host("memory", further_keys=NoAnswer()) as host, host.open_channel() as channel:
        begun = trio.current_time()
        refused = await hello(host, channel, token=foreign_token())
        assert (refused.re, refused.p["code"], refused.p["retryable"]) == ("hello", "server.unavailable", True)
        assert trio.current_time() - begun == pytest.approx(4.0)
        assert (await receive(channel)).t == "bye"
        with pytest.raises(ChannelClosedError) as closed:
            await receive(channel)
        assert closed.value.code == 1012  # elsewhere, or again: not one of those after which a client gives up


async def test_3_8_a_token_whose_issuer_cannot_be_reached_may_come_again_in_a_hello_and_in_a_refresh() -> None:
    further = CachedKeys([JwksUrl("http://127.0.0.1:9/nobody-listens", ISSUER, ("dev",))])
    async with open_signaling_host("memory", further_keys=further) as host:
        async with host.open_channel() as channel:
            refused = await hello(host, channel, token=foreign_token())
            assert (refused.re, refused.p["code"], refused.p["retryable"]) == ("hello", "server.unavailable", True)
            assert (await receive(channel)).t == "bye"
            with pytest.raises(ChannelClosedError) as closed:
                await receive(channel)
            assert closed.value.code == 1012
        async with host.open_channel() as channel:
            await hello(host, channel)
            await say(channel, "auth.refresh", "refresh", token=foreign_token())
            refused = await receive(channel)
            assert (refused.re, refused.p["code"], refused.p["retryable"]) == ("refresh", "server.unavailable", True)
            await say(channel, "presence.get", "presence")  # the connection goes on
            assert (await receive(channel)).t == "ok"


async def test_3_7_what_waits_for_a_check_counts_as_unanswered_and_more_is_not_read(autojump_clock: object) -> None:
    keys = NoAnswer()
    configuration = SignalingConfiguration(max_inflight=4)
    async with (
        open_signaling_host("memory", configuration=configuration, further_keys=keys) as host,
        host.open_channel() as channel,
        trio.open_nursery() as nursery,
    ):
        await hello(host, channel)
        await say(channel, "auth.refresh", "refresh", token=foreign_token())

        async def flood() -> None:
            for number in range(12):
                await say(channel, "presence.get", f"c{number}")

        nursery.start_soon(flood)
        with trio.fail_after(3.9):  # no clock moves before everybody waits, and nothing was answered
            await trio.testing.wait_all_tasks_blocked()
        assert host.calls.commands == []
        answered = await replies(channel, 13)
        assert [message.re for message in answered] == ["refresh", *(f"c{number}" for number in range(12))]


async def test_3_4_two_refreshes_behind_each_other_are_checked_one_after_the_other(autojump_clock: object) -> None:
    keys = NoAnswer()
    async with open_signaling_host("memory", further_keys=keys) as host, host.open_channel() as channel:
        await hello(host, channel)
        await say(channel, "auth.refresh", "first", token=foreign_token())
        await say(channel, "auth.refresh", "second", token=host.token(cap=["handoff"]))
        await say(channel, "presence.get", "presence")
        assert [message.re for message in await replies(channel, 3)] == ["first", "second", "presence"]
        assert host.calls.commands[-1][0].caps == frozenset({"handoff"})


@pytest.mark.parametrize("outcome", ["good", "refused"])
async def test_3_6_a_check_that_outlives_its_connection_changes_nothing_for_the_one_that_resumed(outcome: str) -> None:
    checking, checked = trio.Event(), trio.Event()

    class SlowRevocations:
        async def revoked(self, claims: Claims) -> bool:
            if claims.name == "refreshed":
                checking.set()
                await checked.wait()
                return outcome == "refused"
            return False

    async with (
        open_signaling_host("memory", revocations=SlowRevocations()) as host,
        host.open_channel() as first,
        host.open_channel() as second,
    ):
        welcome = (await hello(host, first)).p
        await say(first, "auth.refresh", "refresh", token=host.token(name="refreshed", cap=["record"]))
        await checking.wait()
        resume = {"session": welcome["session"], "token": welcome["resume_token"], "last_seq": 0}
        token = host.token(cap=["handoff"])
        await second.send(host.hello(token, resume=resume))
        checked.set()
        assert (await receive(second)).p["resumed"] is True
        await say(second, "presence.get", "presence")
        assert (await receive(second)).re == "presence"
        assert host.calls.commands[-1][0].caps == frozenset({"handoff"})
