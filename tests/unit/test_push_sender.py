# ruff: noqa: N802 - test names carry the numbers of docs/calls.md as they are written there
"""The service that sends pushes: retries, limits, withdrawals that overtake, and nothing left behind. Virtual time."""

from __future__ import annotations

import json
import math
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
import trio

from support.push_fakes import (
    ALL_SERVICES,
    DEVICE_TOKEN,
    ENDPOINTS,
    Browser,
    ScriptedHttps,
    a_notice,
    a_ring,
    a_withdrawal,
    succeeds,
    wall_s,
)
from triortc.engine.calls.actor import DeviceAddress, PushEndpoint
from triortc.engine.calls.ports import PushPort
from triortc.errors import ConfigurationError
from triortc.signaling.https_client import HttpsAnswer, HttpsError, HttpsRequest
from triortc.signaling.push.configuration import PushConfiguration
from triortc.signaling.push.sender import PushSender, open_push_sender

OTHER_DEVICE = PushEndpoint("apns", token="cd" * 32)


@asynccontextmanager
async def opened(https: ScriptedHttps, **changes: Any) -> AsyncGenerator[PushSender]:
    configuration = replace(ALL_SERVICES, **changes)
    before = trio.lowlevel.current_statistics().tasks_living
    async with open_push_sender(configuration, client=https, wall_s=wall_s) as sender:
        yield sender
    assert sender.queued == 0
    assert trio.lowlevel.current_statistics().tasks_living == before
    assert not sender._rings, "what is remembered of rings goes with their pushes"


async def hangs(request: HttpsRequest) -> HttpsAnswer:
    await trio.sleep(5)
    raise HttpsError("timeout", "no answer within 5 s")


def apns_counters(sender: PushSender) -> dict[str, int]:
    return {name: count for name, count in sender.counters()["apns"].items() if count}


async def test_a_push_goes_out_at_once_and_its_task_ends_with_it(autojump_clock: object) -> None:
    https = ScriptedHttps()
    async with opened(https) as sender:
        port: PushPort = sender
        assert port.kinds == {"apns", "apns_voip", "fcm", "webpush"}
        for endpoint in (*ENDPOINTS.values(), Browser().endpoint):
            port.send(a_ring(endpoint))
        await sender.flush()
        assert https.times == [trio.current_time()] * 4
        assert all(counters["delivered"] for counters in sender.counters().values())


async def test_a_service_without_credentials_is_not_one_of_our_kinds(autojump_clock: object) -> None:
    https = ScriptedHttps()
    async with opened(https, apns=None, fcm=None) as sender:
        assert sender.kinds == {"webpush"}
        sender.send(a_ring())
        await sender.flush()
    assert not https.requests
    with pytest.raises(ConfigurationError, match="credentials"):
        PushConfiguration()


FAILURES = [
    *(HttpsAnswer(status, {}) for status in (429, 500, 503)),
    HttpsError("timeout", "no answer"),
    HttpsError("unreachable", "nobody is there"),
]


@pytest.mark.parametrize("answer", FAILURES)
async def test_a_failed_push_is_tried_once_more_after_500_ms(
    answer: HttpsAnswer | HttpsError, autojump_clock: object
) -> None:
    https = ScriptedHttps([answer, answer])
    async with opened(https) as sender:
        start = trio.current_time()
        sender.send(a_ring())
        await sender.flush()
        assert [at - start for at in https.times] == [0.0, 0.5]
        assert apns_counters(sender) == {"asked": 1, "retried": 1, "failed": 1}


async def test_the_other_attempt_may_succeed(autojump_clock: object) -> None:
    https = ScriptedHttps([HttpsAnswer(503, {})])
    async with opened(https) as sender:
        sender.send(a_ring())
        await sender.flush()
        assert apns_counters(sender) == {"asked": 1, "retried": 1, "delivered": 1}


@pytest.mark.parametrize(("remaining_ms", "attempts"), [(3_000, 1), (3_001, 2)])
async def test_a_ring_with_3_s_left_or_less_is_not_tried_again(
    remaining_ms: int, attempts: int, autojump_clock: object
) -> None:
    https = ScriptedHttps([HttpsAnswer(503, {})])
    async with opened(https) as sender:
        sender.send(a_ring(remaining_ms=remaining_ms))
        await sender.flush()
        assert len(https.requests) == attempts


async def test_call_control_may_forbid_the_other_attempt(autojump_clock: object) -> None:
    https = ScriptedHttps([HttpsAnswer(503, {})])
    async with opened(https) as sender:
        sender.send(a_ring(may_retry=False))
        await sender.flush()
        assert len(https.requests) == 1


async def test_an_endpoint_that_is_gone_is_told_once_and_not_tried_again(autojump_clock: object) -> None:
    https = ScriptedHttps([HttpsAnswer(410, {}, b'{"reason": "Unregistered"}')])
    told: list[tuple[DeviceAddress, PushEndpoint]] = []
    async with opened(https) as sender:
        sender.on_gone = lambda address, endpoint: told.append((address, endpoint))
        push = a_ring()
        sender.send(push)
        await sender.flush()
        assert told == [(push.address, push.endpoint)]
        assert apns_counters(sender) == {"asked": 1, "gone": 1}


@pytest.mark.parametrize(
    ("answer", "counter"),
    [
        (HttpsAnswer(400, {}, b"<html>"), "garbage"),
        (HttpsError("garbage", "no HTTP"), "garbage"),
        (HttpsError("too_large", "1 GB"), "garbage"),
        (HttpsError("refused", "a private address"), "refused"),
        (HttpsAnswer(400, {}, b'{"reason": "BadTopic"}'), "refused"),
        (RuntimeError("a fault of ours"), "failed"),
    ],
)
async def test_what_does_not_help_to_try_again_is_counted(answer: Any, counter: str, autojump_clock: object) -> None:
    https = ScriptedHttps([answer])
    async with opened(https) as sender:
        sender.send(a_ring())
        await sender.flush()
        sender.send(a_ring())
        await sender.flush()
        assert apns_counters(sender) == {"asked": 2, counter: 1, "delivered": 1}


async def test_an_endpoint_that_cannot_be_pushed_to_is_counted_and_costs_no_request(autojump_clock: object) -> None:
    https = ScriptedHttps()
    async with opened(https) as sender:
        sender.send(a_ring(PushEndpoint("apns", token="../x")))
        sender.send(a_ring(Browser("https://127.0.0.1/").endpoint))
        await sender.flush()
        assert sender.counters()["apns"]["refused"] == sender.counters()["webpush"]["refused"] == 1
    assert not https.requests


async def test_requests_to_one_host_are_limited_and_the_rest_waits_in_order(autojump_clock: object) -> None:
    async def slow(request: HttpsRequest) -> HttpsAnswer:
        await trio.sleep(1)
        return succeeds(request)

    https = ScriptedHttps([slow] * 7)
    async with opened(https, parallel_requests=2, queued_pushes=5) as sender:
        start = trio.current_time()
        for number in range(8):
            sender.send(a_ring(ring=f"rg_{number}"))
        assert sender.queued == 5
        await sender.flush()
        assert https.most_in_flight == 2
        assert [at - start for at in https.times] == [0, 0, 1, 1, 2, 2, 3]
        order = [json.loads(request.body)["ring"] for _, request in https.requests]
        assert order[2:] == ["rg_2", "rg_3", "rg_4", "rg_5", "rg_6"]
        assert apns_counters(sender) == {"asked": 8, "delivered": 7, "dropped": 1}


async def test_a_service_that_hangs_holds_up_no_other(autojump_clock: object) -> None:
    async def only_apns_hangs(request: HttpsRequest) -> HttpsAnswer:
        return await hangs(request) if "/3/device/" in request.url else succeeds(request)

    https = ScriptedHttps([only_apns_hangs] * 4)
    async with opened(https, parallel_requests=1) as sender:
        sender.send(a_ring())
        sender.send(a_ring(ENDPOINTS["fcm"]))
        sender.send(a_ring(Browser("https://a.push.example/1").endpoint))
        with trio.fail_after(0.1):
            while https.in_flight > 1 or len(https.requests) < 3:
                await trio.lowlevel.checkpoint()
        assert sender.counters()["fcm"]["delivered"] == sender.counters()["webpush"]["delivered"] == 1


async def test_a_push_of_a_ring_that_is_over_is_not_sent(autojump_clock: object) -> None:
    https = ScriptedHttps([hangs])
    async with opened(https, parallel_requests=1) as sender:
        sender.send(a_ring(may_retry=False))
        sender.send(a_ring(OTHER_DEVICE, remaining_ms=4_000))
        await sender.flush()
        assert len(https.requests) == 1
        assert apns_counters(sender) == {"asked": 2, "failed": 1, "expired": 1}


async def test_a_request_of_a_ring_may_not_take_longer_than_the_ring(autojump_clock: object) -> None:
    https = ScriptedHttps()
    async with opened(https) as sender:
        sender.send(a_ring(remaining_ms=2_500))
        sender.send(a_withdrawal(OTHER_DEVICE))
        await sender.flush()
        assert sorted(https.timeouts_s) == [2.5, 5.0]


async def test_S1_6d_a_withdrawal_comes_after_what_is_on_its_way_and_overtakes_the_rest(autojump_clock: object) -> None:
    async def slow_failure(request: HttpsRequest) -> HttpsAnswer:
        await trio.sleep(1)
        return HttpsAnswer(503, {})

    https = ScriptedHttps([slow_failure])
    async with opened(https) as sender:
        start = trio.current_time()
        sender.send(a_ring())
        await trio.sleep(0.2)
        sender.send(a_withdrawal())
        sender.send(a_withdrawal(OTHER_DEVICE))
        await sender.flush()
        kinds = [dict(request.headers)["apns-push-type"] for _, request in https.requests]
        # The other device's is not held up; the ring is not tried again after its withdrawal.
        assert kinds == ["alert", "background", "background"]
        assert [at - start for at in https.times] == [0, pytest.approx(0.2), 1]
        assert apns_counters(sender) == {"asked": 3, "withdrawn": 1, "delivered": 2}


async def test_a_queued_ring_is_dropped_by_its_withdrawal_and_another_ring_is_not(autojump_clock: object) -> None:
    https = ScriptedHttps([hangs])
    async with opened(https, parallel_requests=1) as sender:
        sender.send(a_notice(OTHER_DEVICE))
        sender.send(a_ring())
        sender.send(a_ring(session="vs_2", ring="rg_2"))
        sender.send(a_withdrawal())
        await sender.flush()
        sent = [json.loads(request.body) for _, request in https.requests]
        assert [body.get("withdraw") or body.get("session") or "notice" for body in sent] == [
            "notice",
            "notice",
            "vs_2",
            a_ring().session,
        ]
        assert apns_counters(sender)["withdrawn"] == 1


async def test_a_ring_may_be_pushed_again_after_its_earlier_pushes(autojump_clock: object) -> None:
    https = ScriptedHttps()
    async with opened(https) as sender:
        for number in range(3):
            sender.send(a_ring(number=number))
            await trio.sleep(5)
        assert [round(at) for at in https.times] == [0, 5, 10]


async def test_leaving_sends_what_waits_and_gives_up_what_hangs(autojump_clock: object) -> None:
    async def hangs_for_ever(request: HttpsRequest) -> HttpsAnswer:
        await trio.sleep(math.inf)
        raise AssertionError

    https = ScriptedHttps([hangs_for_ever])
    start = trio.current_time()
    async with opened(https) as sender:
        sender.send(a_ring(OTHER_DEVICE))
        sender.send(a_withdrawal())
    assert len(https.requests) == 2
    assert trio.current_time() - start == 2.0, "flush_timeout_s"


async def test_nothing_that_gives_access_is_logged(caplog: pytest.LogCaptureFixture, autojump_clock: object) -> None:
    caplog.set_level("DEBUG")
    browser = Browser()
    https = ScriptedHttps(
        [HttpsAnswer(410, {}), HttpsAnswer(400, {}, b"<"), HttpsError("garbage", "x"), RuntimeError("x")]
    )
    async with opened(https) as sender:
        for endpoint in (ENDPOINTS["apns"], browser.endpoint, ENDPOINTS["fcm"], OTHER_DEVICE):
            sender.send(a_ring(endpoint))
            await sender.flush()
    assert caplog.records
    for secret in (DEVICE_TOKEN, OTHER_DEVICE.token, browser.endpoint.auth, "send/one", "bearer", "PRIVATE"):
        assert secret is not None
        assert secret not in caplog.text
