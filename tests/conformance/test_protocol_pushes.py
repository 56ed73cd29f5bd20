# ruff: noqa: N802 - test names carry the numbers of docs/calls.md as they are written there
"""Pushes through the whole server: from `hello` and `device.update` to what the push services get, in virtual time."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from support.push_fakes import ALL_SERVICES, DEVICE_TOKEN, ENDPOINTS, Browser, ScriptedHttps, wall_s
from support.signaling_host import NAMES
from support.signaling_house import SignalingHouse, open_signaling_house
from triortc.engine.calls.configuration import CallConfiguration
from triortc.signaling.app import ServerConfiguration
from triortc.signaling.client import ClientDevice, CommandError, SignalClient, open_signal_client
from triortc.signaling.https_client import HttpsAnswer
from triortc.signaling.push.sender import PushSender, open_push_sender
from triortc.signaling.wire_values import Platform

MEDIA = {"audio": True, "video": True}
PUSH: Mapping[Platform, dict[str, str]] = {
    "ios": {"kind": "apns", "token": DEVICE_TOKEN, "topic": "app.example"},
    "android": {"kind": "fcm", "token": str(ENDPOINTS["fcm"].token)},
}
PHONES: tuple[Platform, ...] = ("ios", "android")


@dataclass
class Pushes:
    """The server, and the push services as they are seen from outside."""

    house: SignalingHouse
    https: ScriptedHttps
    sender: PushSender

    async def sleeping_phone(self, platform: Platform, *endpoints: Mapping[str, str]) -> None:
        """Ana has said that she is available and closed the app; nothing but her phone's endpoint is left."""
        push = endpoints or (PUSH[platform],)
        async with self.phone(platform, app_state="foreground", push=tuple(push)) as phone:
            for channel in ("chat", "video"):
                await phone.command("presence.set", channel=channel, declared="available")
            await phone.command("device.update", app_state="background")
            await phone.leave()
            await phone.ended()

    @asynccontextmanager
    async def phone(self, platform: Platform, **more: Any) -> AsyncGenerator[SignalClient]:
        token = self.house.token("agent", "ana", "phone")
        device = ClientDevice("phone", platform, **more)
        async with open_signal_client(self.house.open_channel, token=token, device=device) as client:
            yield client

    def sent(self, since: float) -> list[tuple[float, str, Any]]:
        """Each push: when, ring or withdrawal, and what is in it."""
        found = []
        for at, request in self.https.requests:
            body = json.loads(request.body)
            if "messages:send" in request.url:
                body = body["message"]["data"]
            found.append((round(at - since, 3), "withdraw" if "withdraw" in body else "ring", body))
        return found


@asynccontextmanager
async def opened(**calls: Any) -> AsyncGenerator[Pushes]:
    https = ScriptedHttps()
    configuration = ServerConfiguration(port=0, development=True, host_names=NAMES, calls=CallConfiguration(**calls))
    async with (
        open_push_sender(ALL_SERVICES, client=https, wall_s=wall_s) as sender,
        open_signaling_house("memory", configuration, push=sender) as house,
    ):
        sender.on_gone = house.server.calls.push_endpoint_gone
        yield Pushes(house, https, sender)
    # Leaving ends the ring, if there is one, and the withdrawal still goes out.
    assert sender.queued == 0


@pytest.mark.parametrize("platform", PHONES)
async def test_S1_2a_and_S1_6a_a_phone_that_only_a_push_reaches_is_rung(
    platform: Platform, autojump_clock: MockClock
) -> None:
    async with opened() as pushes, pushes.house.visitor() as visitor:
        await pushes.sleeping_phone(platform)
        start = trio.current_time()
        asked = await visitor.command("call.request", conversation="cv_9", media=MEDIA)
        assert asked["state"] == "ringing"
        await trio.sleep(0.1)
        ((at, kind, body),) = pushes.sent(start)
        assert at <= 0.1
        assert kind == "ring"
        assert body["session"] == asked["session"]
        assert body["conversation"] == "cv_9"
        assert body["ring"]
        assert int(body["expires_at"]) == pytest.approx((wall_s() - 0.1 + 30) * 1000, abs=200)
        assert "visitor_name" not in body, "names do not go through others' servers unless they may"


@pytest.mark.parametrize("platform", PHONES)
async def test_3_8b_the_visitors_name_is_in_a_push_where_push_names_is_on(
    platform: Platform, autojump_clock: MockClock
) -> None:
    async with opened(push_names=True) as pushes, pushes.house.visitor() as visitor:
        await pushes.sleeping_phone(platform)
        await visitor.command("call.request", conversation="cv_9", media=MEDIA)
        await trio.sleep(0.1)
        assert pushes.sent(0)[0][2]["visitor_name"] == "Lea"


async def test_S1_6b_and_S1_6d_an_ios_phone_is_alerted_each_5_s_and_the_end_is_silent(
    autojump_clock: MockClock,
) -> None:
    async with opened() as pushes, pushes.house.visitor() as visitor:
        await pushes.sleeping_phone("ios")
        start = trio.current_time()
        asked = await visitor.command("call.request", conversation="cv_9", media=MEDIA)
        await visitor.event("call.ended", session=asked["session"])
        await trio.sleep(10)
        sent = pushes.sent(start)
        assert [kind for _, kind, _ in sent] == ["ring"] * 6 + ["withdraw"]
        assert [at for at, _, _ in sent[:-1]] == pytest.approx([0, 5, 10, 15, 20, 25], abs=0.01)
        assert 30 <= sent[-1][0] <= 30.5
        headers = [dict(request.headers) for _, request in pushes.https.requests]
        assert {one["apns-collapse-id"] for one in headers} == {asked["session"]}
        assert all(body["aps"]["sound"] == "ring.caf" for _, kind, body in sent if kind == "ring")
        assert "sound" not in sent[-1][2]["aps"]
        deadline_s = int((wall_s() - trio.current_time()) + start + 30)
        assert all(int(one["apns-expiration"]) <= deadline_s for one in headers[:-1])


@pytest.mark.parametrize("platform", PHONES)
async def test_S1_2b_and_S1_6c_a_tap_ends_the_pushes_and_shows_what_is_left_of_the_ring(
    platform: Platform, autojump_clock: MockClock
) -> None:
    async with opened() as pushes, pushes.house.visitor() as visitor:
        await pushes.sleeping_phone(platform)
        start = trio.current_time()
        asked = await visitor.command("call.request", conversation="cv_9", media=MEDIA)
        await trio.sleep(7)
        async with pushes.phone(platform, push=(PUSH[platform],)) as phone:
            (ring,) = phone.snapshot["rings"]
            assert ring["ttl_ms"] == pytest.approx(23_000, abs=250)
            assert (await phone.command("ring.opened", ring=ring["ring"]))["ttl_ms"] == pytest.approx(23_000, abs=250)
            await trio.sleep(15)
            times = [at for at, kind, _ in pushes.sent(start) if kind == "ring"]
            assert max(times) < 7
            accepted = await phone.command("call.accept", session=asked["session"])
            assert accepted["state"] == "connecting"


async def test_S1_6e_and_S1_6g_an_android_phone_gets_one_ring_and_one_withdrawal(autojump_clock: MockClock) -> None:
    async with opened() as pushes, pushes.house.visitor() as visitor:
        await pushes.sleeping_phone("android")
        start = trio.current_time()
        asked = await visitor.command("call.request", conversation="cv_9", media=MEDIA)
        await visitor.event("call.ended", session=asked["session"])
        await trio.sleep(1)
        (ring_at, ring, body), (withdrawn_at, withdrawal, last) = pushes.sent(start)
        assert (ring, withdrawal) == ("ring", "withdraw")
        assert ring_at <= 0.1
        assert 30 <= withdrawn_at <= 30.5
        assert int(body["timeout_ms"]) <= 30_000
        message = json.loads(pushes.https.requests[0][1].body)["message"]
        assert int(message["android"]["ttl"].removesuffix("s")) <= 30
        assert (last["withdraw"], last["outcome"], last["log_missed"]) == (asked["session"], "timeout", "true")


async def test_S1_6b_an_answer_elsewhere_ends_the_alerts(autojump_clock: MockClock) -> None:
    async with opened() as pushes, pushes.house.agent("desk") as desk, pushes.house.visitor() as visitor:
        await pushes.sleeping_phone("ios")
        start = trio.current_time()
        asked = await visitor.command("call.request", conversation="cv_9", media=MEDIA)
        offer = await desk.event("ring.offer")
        await desk.command("ring.ack", ring=offer.p["ring"])
        await trio.sleep(12)
        await desk.command("call.accept", session=asked["session"])
        await trio.sleep(15)
        assert [(round(at), kind) for at, kind, _ in pushes.sent(start)] == [
            (0, "ring"),
            (5, "ring"),
            (10, "ring"),
            (12, "withdraw"),
        ]
        assert pushes.sent(start)[-1][2]["outcome"] == "answered_elsewhere"


async def test_A_7_a_tap_on_a_push_that_came_too_late_finds_no_ring(autojump_clock: MockClock) -> None:
    async with opened() as pushes, pushes.house.visitor() as visitor:
        await pushes.sleeping_phone("ios")
        await visitor.command("call.request", conversation="cv_9", media=MEDIA)
        await visitor.event("call.ended")
        ring = pushes.sent(0)[0][2]["ring"]
        async with pushes.phone("ios") as phone:
            assert phone.snapshot["rings"] == []
            with pytest.raises(CommandError) as refused:
                await phone.command("ring.opened", ring=ring)
            assert refused.value.code == "call.expired"


async def test_2_3_1_a_closed_page_is_rung_by_web_push_and_the_withdrawal_has_its_topic(
    autojump_clock: MockClock,
) -> None:
    browser = Browser()
    endpoint = browser.endpoint
    subscription = {"kind": "webpush", "endpoint": endpoint.endpoint, "p256dh": endpoint.p256dh, "auth": endpoint.auth}
    async with opened() as pushes, pushes.house.visitor() as visitor:
        await pushes.sleeping_phone("web", {name: str(value) for name, value in subscription.items()})
        asked = await visitor.command("call.request", conversation="cv_9", media=MEDIA)
        await trio.sleep(3)
        await visitor.command("call.cancel", session=asked["session"])
        await trio.sleep(1)
        ring, withdrawal = (browser.decrypt(request.body) for _, request in pushes.https.requests)
        headers = [dict(request.headers) for _, request in pushes.https.requests]
        assert (ring["type"], ring["session"]) == ("ring", asked["session"])
        assert ring["timeout_ms"] == pytest.approx(30_000, abs=100)
        assert (withdrawal["type"], withdrawal["outcome"]) == ("withdraw", "cancelled")
        assert headers[0]["topic"] == headers[1]["topic"]
        assert 28 <= int(headers[0]["ttl"]) <= 30


async def test_2_3_1_an_endpoint_that_is_gone_reaches_nobody_any_more(autojump_clock: MockClock) -> None:
    async with opened() as pushes, pushes.house.visitor() as visitor:
        await pushes.sleeping_phone("ios")
        pushes.https.answers.append(HttpsAnswer(410, {}, b'{"reason": "Unregistered"}'))
        asked = await visitor.command("call.request", conversation="cv_9", media=MEDIA)
        await trio.sleep(12)
        await visitor.command("call.cancel", session=asked["session"])
        await trio.sleep(1)
        assert [kind for _, kind, _ in pushes.sent(0)] == ["ring", "withdraw"], "no alert goes where nobody is"
        again = await visitor.command("call.request", conversation="cv_9", media=MEDIA)
        assert again["outcome"] == "unavailable"


async def test_a_push_service_that_is_down_changes_nothing_in_a_call(autojump_clock: MockClock) -> None:
    async with opened() as pushes, pushes.house.agent("desk") as desk, pushes.house.visitor() as visitor:
        await pushes.sleeping_phone("ios")
        pushes.https.answers.extend([HttpsAnswer(503, {})] * 40)
        asked = await visitor.command("call.request", conversation="cv_9", media=MEDIA)
        await desk.event("ring.offer")
        await trio.sleep(20)
        accepted = await desk.command("call.accept", session=asked["session"])
        assert accepted["state"] == "connecting"
        await visitor.event("call.accepted")
        assert pushes.sender.counters()["apns"]["failed"] > 0


async def test_an_empty_list_means_do_not_push(autojump_clock: MockClock) -> None:
    async with opened() as pushes, pushes.house.visitor() as visitor:
        async with pushes.phone("ios", push=(PUSH["ios"],)) as phone:
            await phone.command("presence.set", channel="video", declared="available")
            await phone.command("device.update", push=[])
            await phone.leave()
            await phone.ended()
        asked = await visitor.command("call.request", conversation="cv_9", media=MEDIA)
        assert asked["outcome"] == "unavailable"
        assert not pushes.https.requests
