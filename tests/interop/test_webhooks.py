"""Webhooks of a running engine, over TLS, to a receiver on loopback."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
import trustme

import triortc
from support.http2_service import Answer, Misbehaviour, Received, authority_file, open_http2_service
from support.served_file import served, write_certificate
from support.signaling_house import PretendedMedia
from triortc.signaling import engine as engine_module
from triortc.signaling.client import ClientDevice, connect_websocket, open_signal_client
from triortc.signaling.webhooks import Webhook, WebhookConfiguration, verify_webhook

SECRET = "a-secret-of-the-tenant"


async def test_a_receiver_hears_of_a_call_to_its_end_even_as_the_engine_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = trustme.CA()
    answers: list[Answer | Misbehaviour] = ["close", Answer(503)]

    def answer(received: Received) -> Answer | Misbehaviour:
        verify_webhook(SECRET, received.headers, received.body)
        return answers.pop(0) if answers else Answer(204)

    @asynccontextmanager
    async def pretended(_: object) -> Any:
        yield PretendedMedia()

    monkeypatch.setattr(engine_module, "open_leg_manager", pretended)
    async with open_http2_service(answer, authority) as receiver:
        webhooks = WebhookConfiguration(
            (Webhook(f"{receiver.origin}/calls", SECRET),),
            first_retry_s=0.01,
            networks=("127.0.0.0/8",),
            authorities_file=authority_file(authority, tmp_path),
        )
        server = triortc.ServerConfiguration(port=0, development=True, host_names=("127.0.0.1",))
        with trio.fail_after(20):
            async with triortc.open_engine(triortc.EngineConfiguration(server, webhooks=webhooks)) as engine:
                assert engine.issuer is not None
                tokens = {
                    "ana": engine.issuer.issue(role="agent", sub="ana", did="desk"),
                    "lea": engine.issuer.issue(role="visitor", sub="lea", did="tab", cv=["cv_9"]),
                }

                @asynccontextmanager
                async def channel() -> Any:
                    async with connect_websocket(engine.signal_url) as opened:
                        yield opened

                async with (
                    open_signal_client(channel, token=tokens["ana"], device=ClientDevice("desk", "desktop")) as ana,
                    open_signal_client(channel, token=tokens["lea"], device=ClientDevice("tab", "web")),
                ):
                    await ana.command("presence.set", channel="video", declared="available")
                    await engine.open_conversation("dev", "cv_9", "lea")
                    session = (await engine.request_call("dev", "cv_9")).session
                    await ana.event("ring.offer")
                    # The call is on when the engine is left: its end is told all the same.
        told = [json.loads(received.body) for received in receiver.requests]
        assert {event["session"] for event in told} == {session}
        distinct = {event["event_id"]: event for event in told}
        assert len(told) == len(distinct) + 2, "an attempt that failed is made again with the same id"
        assert [event["name"] for event in distinct.values()] == ["call.created", "call.ringing", "call.ended"]
        last = told[-1]
        assert (last["outcome"], last["reason"]) == ("failed", "server_shutdown")
        assert {received.path for received in receiver.requests} == {"/calls"}


async def test_what_was_not_delivered_before_kill_9_is_posted_by_the_next_process_with_the_same_ids(
    tmp_path: Path,
) -> None:
    authority = trustme.CA()
    certificate = write_certificate(tmp_path)
    (tmp_path / "secret").write_text(SECRET + "\n")
    broken, ended = True, trio.Event()

    def answer(received: Received) -> Answer | Misbehaviour:
        verify_webhook(SECRET, received.headers, received.body)
        if json.loads(received.body)["name"] == "call.ended":
            ended.set()
        return Answer(503 if broken else 204)

    async with open_http2_service(answer, authority) as receiver:
        table = f"""
        [webhooks]
        first_retry_s = 0.05
        longest_retry_s = 0.2
        networks = ["127.0.0.0/8"]
        authorities_file = "{authority_file(authority, tmp_path)}"
        [[webhooks.receivers]]
        name = "crm"
        url = "{receiver.origin}/calls"
        secret_file = "secret"
        organizations = ["acme"]
        """
        with trio.fail_after(30):
            async with served(tmp_path, more=table) as server:
                answers = {"cap": ["presence", "video.receive"], "grp": ["default"]}
                visits = {"role": "visitor", "cv": ["cv_9"], "grp": ["default"]}
                async with (
                    server.client("ana", "desk", certificate, **answers) as ana,
                    server.client("lea", "tab", certificate, **visits) as lea,
                ):
                    await ana.command("presence.set", channel="video", declared="available")
                    media = {"audio": True, "video": True}
                    asked = await lea.command("call.request", conversation="cv_9", media=media)
                    await ana.event("ring.offer")
                    await ana.command("call.decline", session=asked["session"])
                    await lea.event("call.ended")
                    await server.kill()
            tried = {json.loads(received.body)["event_id"] for received in receiver.requests}
            assert len(tried) <= 1, "in order: the first one has not been taken"
            receiver.requests.clear()
            broken = False
            async with served(tmp_path, more=table):
                await ended.wait()
        told = [json.loads(received.body) for received in receiver.requests]
        assert [event["name"] for event in told] == ["call.created", "call.ringing", "call.ended"]
        assert {event["session"] for event in told} == {asked["session"]}
        assert tried <= {event["event_id"] for event in told}
