"""Webhooks: signed, at least once, in order within a session, bounded. Virtual time."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
import trio

from support.push_fakes import WALL_S, ScriptedHttps, wall_s
from triortc.engine.calls.call_events import CallEvent
from triortc.engine.calls.memory_store import MemoryStore
from triortc.engine.calls.store import StateStore, put
from triortc.errors import ConfigurationError
from triortc.signaling.https_client import HttpsAnswer, HttpsError, HttpsRequest
from triortc.signaling.webhooks import (
    Webhook,
    WebhookConfiguration,
    WebhookSender,
    WebhookSignatureError,
    open_webhook_sender,
    signature,
    verify_webhook,
)

SECRET = "a-secret-of-the-tenant"
HOOK = Webhook("https://crm.example/calls", SECRET)
BUSY = HttpsAnswer(503, {})


def an_event(n: int, session: str = "vs_1", **changes: Any) -> CallEvent:
    event = CallEvent("call.active", session, n, 1_800_000_000_000, "org", "cv_9", "lea", "routed", "active", "ana")
    return replace(event, **changes)


@asynccontextmanager
async def opened(https: ScriptedHttps, *hooks: Webhook, **changes: Any) -> AsyncGenerator[WebhookSender]:
    configuration = WebhookConfiguration(hooks or (HOOK,), **changes)
    before = trio.lowlevel.current_statistics().tasks_living
    async with open_webhook_sender(configuration, client=https, wall_s=wall_s, jitter=lambda: 1.0) as sender:
        yield sender
    assert trio.lowlevel.current_statistics().tasks_living == before
    assert sender.health()["queued"] == 0


def posted(https: ScriptedHttps) -> list[tuple[str, int]]:
    bodies = [json.loads(request.body) for _, request in https.requests]
    return [(body["session"], body["n"]) for body in bodies]


async def test_an_event_is_posted_signed_over_its_timestamp_and_body(autojump_clock: object) -> None:
    https = ScriptedHttps()
    async with opened(https) as sender:
        sender.tell(an_event(3, outcome="completed", reason="agent_hangup", name="call.ended", talk_ms=4200))
        await sender.flush()
    ((_, request),) = https.requests
    headers = dict(request.headers)
    assert request.url == "https://crm.example/calls"
    assert headers["content-type"] == "application/json"
    assert headers["triortc-event-id"] == "vs_1:3"
    verify_webhook(SECRET, headers, request.body, now_s=WALL_S)
    assert json.loads(request.body) == {
        "event_id": "vs_1:3",
        "name": "call.ended",
        "session": "vs_1",
        "n": 3,
        "at_ms": 1_800_000_000_000,
        "org": "org",
        "conversation": "cv_9",
        "visitor": "lea",
        "origin": "routed",
        "state": "active",
        "agent": "ana",
        "outcome": "completed",
        "reason": "agent_hangup",
        "talk_ms": 4200,
        "recording": None,
    }


def test_a_request_that_is_not_ours_or_an_old_one_is_noticed() -> None:
    body = b"{}"
    good = {"triortc-timestamp": "1000", "triortc-signature": signature(SECRET, 1000, body)}
    verify_webhook(SECRET, good, body, now_s=1299)
    for headers, sent, secret, now in (
        ({}, body, SECRET, 1000),
        ({**good, "triortc-signature": ""}, body, SECRET, 1000),
        ({**good, "triortc-signature": "v1=é"}, body, SECRET, 1000),
        ({**good, "triortc-timestamp": "1001"}, body, SECRET, 1001),
        ({**good, "triortc-timestamp": "x"}, body, SECRET, 1000),
        (good, b"{} ", SECRET, 1000),
        (good, body, SECRET + "x", 1000),
        (good, body, SECRET, 1301),
        (good, body, SECRET, 699),
    ):
        with pytest.raises(WebhookSignatureError):
            verify_webhook(secret, headers, sent, now_s=now)


async def test_a_session_s_events_come_in_order_whatever_fails_in_between(autojump_clock: object) -> None:
    https = ScriptedHttps([BUSY, HttpsError("timeout", "no"), HttpsError("refused", "a private address")])
    async with opened(https) as sender:
        start = trio.current_time()
        for n in range(3):
            sender.tell(an_event(n))
        await sender.flush()
        assert posted(https) == [("vs_1", 0)] * 4 + [("vs_1", 1), ("vs_1", 2)]
        assert [at - start for at in https.times] == [0, 1, 3, 7, 7, 7]
        assert sender.health() == {
            "asked": 3,
            "delivered": 3,
            "retried": 3,
            "given_up": 0,
            "dropped": 0,
            "found": 0,
            "queued": 0,
        }


async def test_a_session_that_fails_holds_up_no_other(autojump_clock: object) -> None:
    async def fails_for_one(request: HttpsRequest) -> HttpsAnswer:
        return BUSY if b'"vs_bad"' in request.body else HttpsAnswer(204, {})

    https = ScriptedHttps([fails_for_one] * 100)
    async with opened(https, give_up_after_s=10.0) as sender:
        start = trio.current_time()
        sender.tell(an_event(1, "vs_bad"))
        sender.tell(an_event(1, "vs_good"))
        sender.tell(an_event(2, "vs_good"))
        await sender.flush()
        good = [at - start for at, request in https.requests if b'"vs_good"' in request.body]
        assert good == [0, 0]


async def test_the_waits_double_up_to_a_limit_and_an_event_is_given_up_at_last(autojump_clock: object) -> None:
    https = ScriptedHttps([BUSY] * 6)
    async with opened(https, longest_retry_s=4.0, give_up_after_s=15.0) as sender:
        start = trio.current_time()
        sender.tell(an_event(1))
        sender.tell(an_event(2))
        await sender.flush()
        assert [at - start for at in https.times] == [0, 1, 3, 7, 11, 15, 15]
        assert posted(https)[-1] == ("vs_1", 2)
        assert (sender.counters.given_up, sender.counters.delivered) == (1, 1)


async def test_a_receiver_that_is_gone_is_not_asked_for_that_event_again(autojump_clock: object) -> None:
    https = ScriptedHttps([HttpsAnswer(410, {})])
    async with opened(https) as sender:
        sender.tell(an_event(1))
        await sender.flush()
        assert len(https.requests) == 1
        assert sender.counters.given_up == 1


async def test_a_redirect_is_not_followed(autojump_clock: object) -> None:
    https = ScriptedHttps([HttpsAnswer(302, {"location": "https://10.0.0.1/"})])
    async with opened(https) as sender:
        sender.tell(an_event(1))
        await sender.flush()
        assert {request.url for _, request in https.requests} == {HOOK.url}


async def test_a_receiver_is_told_of_its_tenants_and_events_only(autojump_clock: object) -> None:
    https = ScriptedHttps()
    ends = Webhook("https://ends.example/", SECRET, organizations=("org",), events=("call.ended",))
    nobody = Webhook("https://nobody.example/", SECRET, organizations=())
    async with opened(https, ends, nobody) as sender:
        sender.tell(an_event(1))
        sender.tell(an_event(2, name="call.ended"))
        sender.tell(an_event(2, name="call.ended", org="another"))
        await sender.flush()
        assert posted(https) == [("vs_1", 2)]


async def test_what_waits_and_what_is_on_its_way_is_bounded(autojump_clock: object) -> None:
    async def slow(request: HttpsRequest) -> HttpsAnswer:
        await trio.sleep(1)
        return HttpsAnswer(200, {})

    https = ScriptedHttps([slow] * 100)
    async with opened(https, queued_events=10, parallel_requests=3) as sender:
        for n in range(15):
            sender.tell(an_event(n, f"vs_{n}"))
        assert sender.health()["queued"] == 10
        await sender.flush()
        assert https.most_in_flight == 3
        assert (sender.counters.delivered, sender.counters.dropped) == (10, 5)


async def test_a_fault_of_ours_ends_one_event_only(autojump_clock: object) -> None:
    https = ScriptedHttps([RuntimeError("a fault")])
    async with opened(https) as sender:
        sender.tell(an_event(1))
        sender.tell(an_event(2))
        await sender.flush()
        assert (sender.counters.given_up, sender.counters.delivered) == (1, 1)


async def test_leaving_posts_what_it_can_and_gives_up_what_fails(autojump_clock: object) -> None:
    https = ScriptedHttps([BUSY, HttpsAnswer(200, {}), BUSY, BUSY])
    async with opened(https) as sender:
        sender.tell(an_event(1))
        await sender.flush()
        start = trio.current_time()
        sender.tell(an_event(2))
    assert trio.current_time() - start == 2.0
    assert sender.counters.delivered == 1


def test_a_webhook_that_makes_no_sense_is_refused_when_it_is_made() -> None:
    with pytest.raises(ConfigurationError, match="16 characters"):
        Webhook("https://crm.example/", "short")
    for url in ("http://crm.example/", "https://user:password@crm.example/", "crm.example"):
        with pytest.raises(ConfigurationError, match="url"):
            Webhook(url, SECRET)
    with pytest.raises(ConfigurationError, match="queued_events"):
        WebhookConfiguration((HOOK,), queued_events=0)
    with pytest.raises(ConfigurationError, match="networks"):
        WebhookConfiguration((HOOK,), networks=("10/33",))
    assert SECRET not in repr(WebhookConfiguration((HOOK,)))


# --- what outlives the process


@asynccontextmanager
async def opened_over(store: StateStore, https: ScriptedHttps, *hooks: Webhook) -> AsyncGenerator[WebhookSender]:
    configuration = WebhookConfiguration(hooks or (HOOK,), give_up_after_s=100.0)
    async with open_webhook_sender(
        configuration, client=https, store=store, wall_s=wall_s, jitter=lambda: 1.0
    ) as sender:
        yield sender


def tell(sender: WebhookSender, store: StateStore, *events: CallEvent) -> None:
    """As call control does: the rows are written with the step that made the event."""
    for event in events:
        store.write([put("outbox", row) for row in sender.tell(event)])


async def test_what_a_process_could_not_deliver_the_next_one_posts_in_order_with_the_same_ids(
    autojump_clock: object,
) -> None:
    store = MemoryStore(durable=True)
    async with opened_over(store, ScriptedHttps([BUSY] * 10)) as sender:
        tell(sender, store, an_event(2), an_event(10), an_event(1, "vs_2"))
    assert [row.event.n for row in await store.rows("outbox")] == [2, 10, 1]
    https = ScriptedHttps()
    async with opened_over(store, https) as sender:
        tell(sender, store, an_event(11))
        await sender.flush()
        assert sender.health()["found"] == 3
        assert [entry for entry in posted(https) if entry[0] == "vs_1"] == [("vs_1", 2), ("vs_1", 10), ("vs_1", 11)]
        assert ("vs_2", 1) in posted(https)
        assert await store.rows("outbox") == []


async def test_what_is_taken_or_given_up_is_not_posted_by_the_next_process(autojump_clock: object) -> None:
    store = MemoryStore(durable=True)
    async with opened_over(store, ScriptedHttps([HttpsAnswer(204, {}), HttpsAnswer(410, {})])) as sender:
        tell(sender, store, an_event(1), an_event(2))
        await sender.flush()
    https = ScriptedHttps()
    async with opened_over(store, https):
        assert https.requests == []


async def test_an_event_waits_in_the_store_for_each_receiver_by_its_name(autojump_clock: object) -> None:
    store = MemoryStore(durable=True)
    old, other = replace(HOOK, name="crm"), Webhook("https://other.example/", SECRET)
    async with opened_over(store, ScriptedHttps([BUSY] * 10), old, other) as sender:
        tell(sender, store, an_event(1))
    assert len(await store.rows("outbox")) == 2
    https = ScriptedHttps()
    async with opened_over(store, https, replace(old, url="https://moved.example/")) as sender:
        await sender.flush()
        assert [request.url for _, request in https.requests] == ["https://moved.example/"]
        assert await store.rows("outbox") == [], "the other receiver is not configured any more"


async def test_a_store_that_does_not_outlive_the_process_is_not_filled(autojump_clock: object) -> None:
    store = MemoryStore()
    async with opened_over(store, ScriptedHttps([BUSY] * 10)) as sender:
        assert sender.tell(an_event(1)) == []
    assert await store.rows("outbox") == []


def test_two_receivers_of_one_name_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="a name of its own"):
        WebhookConfiguration((HOOK, HOOK))
    with pytest.raises(ConfigurationError, match="a name of its own"):
        WebhookConfiguration((HOOK, Webhook("https://other.example/", SECRET, name=HOOK.receiver)))
    assert "crm.example" not in HOOK.receiver
