# ruff: noqa: N802 - test names carry the numbers of docs/calls.md as they are written there
"""Pushes over real TLS and HTTP/2 to services on loopback that check what they get, and misbehave."""

from __future__ import annotations

import json
import socket
import ssl
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import httpx
import jwt
import pytest
import trio
import trustme

from support.http2_service import Answer, Http2Service, Misbehaviour, Received, authority_file, open_http2_service
from support.push_fakes import (
    APNS,
    APNS_KEY,
    DEVICE_TOKEN,
    ENDPOINTS,
    FCM,
    FCM_KEY,
    SESSION,
    VAPID_KEY,
    WEB_PUSH,
    Browser,
    a_notice,
    a_ring,
    a_withdrawal,
)
from support.signaling_host import NAMES
from support.signaling_house import open_signaling_house
from triortc.engine.calls.actor import DeviceAddress, PushEndpoint
from triortc.signaling.app import ServerConfiguration
from triortc.signaling.dialing import DialingRules
from triortc.signaling.https_client import HttpsClient, HttpsError, HttpsRequest, open_https_client
from triortc.signaling.push.configuration import PushConfiguration
from triortc.signaling.push.encryption import base64url, public_bytes
from triortc.signaling.push.sender import PushSender, open_push_sender

MEDIA = {"audio": True, "video": True}
LOOPBACK = ("127.0.0.0/8",)


def by_path(received: Received) -> Answer | Misbehaviour:
    """All three services in one: what a browser maker, Apple and Google answer to a good push."""
    if received.path == "/token":
        return Answer(200, b'{"access_token": "granted", "token_type": "Bearer", "expires_in": 3599}')
    if received.path.endswith("messages:send"):
        return Answer(200, b'{"name": "projects/a-project/messages/1"}')
    return Answer(200 if received.path.startswith("/3/device/") else 201)


@dataclass
class Bench:
    sender: PushSender
    service: Http2Service
    browser: Browser
    gone: list[tuple[DeviceAddress, PushEndpoint]]

    def counters(self, kind: str) -> dict[str, int]:
        return {name: count for name, count in self.sender.counters()[kind].items() if count}


@asynccontextmanager
async def opened(
    folder: Path, answer: Callable[[Received], Answer | Misbehaviour] = by_path, **changes: Any
) -> AsyncGenerator[Bench]:
    authority = trustme.CA()
    async with open_http2_service(answer, authority) as service:
        configuration = PushConfiguration(
            apns=replace(APNS, origin=service.origin),
            fcm=replace(FCM, origin=service.origin, token_uri=f"{service.origin}/token"),
            web_push=replace(WEB_PUSH, hosts=(f"localhost:{service.port}",)),
            networks=LOOPBACK,
            authorities_file=authority_file(authority, folder),
        )
        gone: list[tuple[DeviceAddress, PushEndpoint]] = []
        with trio.fail_after(20):
            async with open_push_sender(replace(configuration, **changes)) as sender:
                sender.on_gone = lambda address, endpoint: gone.append((address, endpoint))
                yield Bench(sender, service, Browser(f"{service.origin}/send/one"), gone)
            while service.open_connections:
                await trio.testing.wait_all_tasks_blocked()


async def test_apns_gets_what_its_documentation_asks_for(tmp_path: Path) -> None:
    async with opened(tmp_path) as bench:
        for push in (a_ring(), a_ring(ENDPOINTS["apns_voip"]), a_withdrawal(), a_notice()):
            bench.sender.send(push)
            await bench.sender.flush()
        alert, voip, withdrawal, notice = bench.service.requests
        for received in bench.service.requests:
            headers = received.headers
            assert headers[":method"] == "POST"
            assert headers[":path"] == f"/3/device/{DEVICE_TOKEN}"
            assert headers[":authority"] == f"localhost:{bench.service.port}"
            assert int(headers["content-length"]) == len(received.body)
            scheme, token = headers["authorization"].split()
            assert scheme == "bearer"
            assert jwt.get_unverified_header(token) == {"alg": "ES256", "kid": "KEY"}
            claims = jwt.decode(token, APNS_KEY.public_key(), ["ES256"])
            assert set(claims) == {"iss", "iat"}
        kinds = [received.headers["apns-push-type"] for received in bench.service.requests]
        assert kinds == ["alert", "voip", "background", "alert"]
        priorities = [received.headers["apns-priority"] for received in bench.service.requests]
        assert priorities == ["10", "10", "5", "5"]
        assert alert.headers["apns-collapse-id"] == withdrawal.headers["apns-collapse-id"] == SESSION
        assert "apns-collapse-id" not in voip.headers
        assert alert.headers["apns-expiration"] == "1800000029"
        assert voip.headers["apns-expiration"] == "0"
        assert json.loads(alert.body)["aps"]["sound"] == "ring.caf"
        assert json.loads(notice.body)["notice"] == "message"
        assert bench.service.connections == 1, "one connection carries them all"
        assert bench.counters("apns") == {"asked": 3, "delivered": 3}


async def test_fcm_gets_a_message_and_the_grant_of_a_service_account(tmp_path: Path) -> None:
    async with opened(tmp_path) as bench:
        for push in (a_ring(ENDPOINTS["fcm"]), a_withdrawal(ENDPOINTS["fcm"])):
            bench.sender.send(push)
            await bench.sender.flush()
        grant, ring, withdrawal = bench.service.requests
        assert grant.headers["content-type"] == "application/x-www-form-urlencoded"
        form = parse_qs(grant.body.decode(), strict_parsing=True)
        assert form["grant_type"] == ["urn:ietf:params:oauth:grant-type:jwt-bearer"]
        audience = f"{bench.service.origin}/token"
        claims = jwt.decode(form["assertion"][0], FCM_KEY.public_key(), ["RS256"], audience=audience)
        assert claims["iss"] == FCM.client_email
        for received in (ring, withdrawal):
            assert received.path == "/v1/projects/a-project/messages:send"
            assert received.headers["authorization"] == "Bearer granted"
            assert received.headers["content-type"] == "application/json"
        message = json.loads(ring.body)["message"]
        assert message["android"]["priority"] == "HIGH"
        assert message["android"]["ttl"] == f"{int(message['data']['timeout_ms']) // 1000}s"
        assert json.loads(withdrawal.body)["message"]["data"]["withdraw"] == SESSION
        assert bench.counters("fcm") == {"asked": 2, "delivered": 2}


async def test_a_push_service_gets_what_it_cannot_read_and_the_browser_can(tmp_path: Path) -> None:
    async with opened(tmp_path) as bench:
        bench.sender.send(a_ring(bench.browser.endpoint))
        await bench.sender.flush()
        (received,) = bench.service.requests
        headers = received.headers
        assert received.path == "/send/one"
        assert headers["content-encoding"] == "aes128gcm"
        assert headers["urgency"] == "high"
        assert headers["ttl"] == "29"
        assert len(headers["topic"]) == 32
        scheme, _, parameters = headers["authorization"].partition(" ")
        assert scheme == "vapid"
        t, k = (part.split("=", 1)[1] for part in parameters.split(", "))
        assert k == base64url(public_bytes(VAPID_KEY.public_key())) == bench.sender.web_push_key
        claims = jwt.decode(t, VAPID_KEY.public_key(), ["ES256"], audience=bench.service.origin)
        assert set(claims) == {"aud", "exp", "sub"}
        assert SESSION.encode() not in received.body
        assert bench.browser.decrypt(received.body)["session"] == SESSION
        assert bench.counters("webpush") == {"asked": 1, "delivered": 1}


@pytest.mark.parametrize(
    ("kind", "answer"),
    [
        ("apns", Answer(410, b'{"reason": "Unregistered", "timestamp": 1800000000000}')),
        ("fcm", Answer(404, b'{"error": {"details": [{"errorCode": "UNREGISTERED"}]}}')),
        ("webpush", Answer(410)),
    ],
)
async def test_an_endpoint_that_the_service_gave_up_is_reported(kind: str, answer: Answer, tmp_path: Path) -> None:
    def decide(received: Received) -> Answer | Misbehaviour:
        return by_path(received) if received.path == "/token" else answer

    async with opened(tmp_path, decide) as bench:
        push = a_ring(bench.browser.endpoint if kind == "webpush" else ENDPOINTS[kind])
        bench.sender.send(push)
        await bench.sender.flush()
        assert bench.gone == [(push.address, push.endpoint)]
        assert bench.counters(kind) == {"asked": 1, "gone": 1}


MISBEHAVIOURS: list[tuple[Answer | Misbehaviour, str]] = [
    (Answer(429), "failed"),
    (Answer(503, b"<html>"), "failed"),
    ("close", "failed"),
    ("hang", "failed"),
    ("hang_after_headers", "failed"),
    ("reset", "failed"),
    ("not_http", "failed"),
    ("flood", "failed"),
    ("bad_frame", "garbage"),
    ("huge", "garbage"),
    (Answer(400, b"\xff\xfe not JSON"), "garbage"),
    (Answer(307, b"", (("location", "https://localhost/elsewhere"),)), "garbage"),
]


#: What is told by the time it takes; "not_http" looks like the beginning of a frame that never ends.
SILENT: tuple[Answer | Misbehaviour, ...] = ("hang", "hang_after_headers", "not_http")


@pytest.mark.parametrize(("answer", "counter"), MISBEHAVIOURS)
async def test_a_service_that_misbehaves_is_counted_and_the_next_push_goes_out(
    answer: Answer | Misbehaviour, counter: str, tmp_path: Path
) -> None:
    misbehaves = True

    def decide(received: Received) -> Answer | Misbehaviour:
        return answer if misbehaves else by_path(received)

    timeout_s = 0.3 if answer in SILENT else 10.0
    async with opened(tmp_path, decide, request_timeout_s=timeout_s, retry_after_ms=10) as bench:
        bench.sender.send(a_ring())
        await bench.sender.flush()
        attempts = 2 if counter == "failed" else 1
        assert answer in SILENT or len(bench.service.requests) >= attempts
        retried = {"retried": 1} if attempts == 2 else {}
        assert bench.counters("apns") == {"asked": 1, counter: 1, **retried}
        misbehaves = False
        while not bench.sender.counters()["apns"]["delivered"]:  # a busy machine may need more than the short time
            bench.sender.send(a_ring())
            await bench.sender.flush()
        assert {received.path for received in bench.service.requests} == {f"/3/device/{DEVICE_TOKEN}"}


async def test_a_connection_that_was_closed_while_it_idled_costs_no_push_its_attempt(tmp_path: Path) -> None:
    async with opened(tmp_path) as bench:
        for _ in range(2):
            bench.sender.send(a_ring())
            await bench.sender.flush()
            await bench.service.close_connections()
        assert bench.counters("apns") == {"asked": 2, "delivered": 2}
        assert bench.service.connections == 2


async def test_a_service_that_says_go_away_is_asked_on_a_new_connection(tmp_path: Path) -> None:
    answers: list[Answer | Misbehaviour] = [Answer(), "go_away"]
    async with opened(tmp_path, lambda received: answers.pop(0) if answers else Answer()) as bench:
        for _ in range(2):
            bench.sender.send(a_ring())
            await bench.sender.flush()
        assert bench.counters("apns")["delivered"] == 2
        assert bench.service.connections == 2


async def test_many_pushes_share_a_connection(tmp_path: Path) -> None:
    async with opened(tmp_path) as bench:
        for number in range(200):
            bench.sender.send(a_ring(ring=f"rg_{number}"))
        await bench.sender.flush()
        assert bench.counters("apns") == {"asked": 200, "delivered": 200}
        assert bench.service.connections <= 4
        rings = {json.loads(received.body)["ring"] for received in bench.service.requests}
        assert rings == {f"rg_{number}" for number in range(200)}


async def test_S1_6a_a_server_with_credentials_rings_a_closed_page_and_forgets_it_when_it_is_gone(
    tmp_path: Path,
) -> None:
    authority = trustme.CA()
    arrived, arrivals = trio.open_memory_channel[Received](10)
    answers = [Answer(201), Answer(201), Answer(410)]

    def answer(received: Received) -> Answer:
        arrived.send_nowait(received)
        return answers.pop(0) if answers else Answer(410)

    async with open_http2_service(answer, authority) as service:
        browser = Browser(f"{service.origin}/send/one")
        web_push = replace(WEB_PUSH, hosts=(f"localhost:{service.port}",))
        authorities = authority_file(authority, tmp_path)
        push = PushConfiguration(web_push=web_push, networks=LOOPBACK, authorities_file=authorities)
        configuration = ServerConfiguration(port=0, development=True, host_names=NAMES, push=push)
        async with open_signaling_house("websocket", configuration) as house, house.visitor() as visitor:
            async with house.agent("desk", "web") as page:
                assert "push.web" in page.welcome["caps"]
                endpoint = {name: value for name, value in asdict(browser.endpoint).items() if value is not None}
                await page.command("device.update", push=[endpoint])
                await page.leave()
                await page.ended()
            world = house.server.calls.control.world
            with trio.fail_after(20):
                asked = await visitor.command("call.request", conversation="cv_9", media=MEDIA)
                rang = browser.decrypt((await arrivals.receive()).body)
                assert (rang["type"], rang["session"]) == ("ring", asked["session"])
                await visitor.command("call.cancel", session=asked["session"])
                withdrawn = browser.decrypt((await arrivals.receive()).body)
                assert withdrawn["withdraw"] == asked["session"]
                await visitor.command("call.request", conversation="cv_9", media=MEDIA)
                await arrivals.receive()
                while any(address.role == "agent" for address in world.devices):
                    await trio.testing.wait_all_tasks_blocked()
                async with httpx.AsyncClient() as client:
                    counted = (await client.get(house.server.url + "health")).json()["push"]["webpush"]
                assert (counted["asked"], counted["delivered"], counted["gone"]) == (3, 2, 1)


# --- the rules of dialing, on the client itself


@asynccontextmanager
async def opened_client(
    rules: Callable[[Http2Service], DialingRules], *, names: tuple[str, ...] = ("localhost",)
) -> AsyncGenerator[tuple[HttpsClient, Http2Service]]:
    authority = trustme.CA()
    async with open_http2_service(lambda received: Answer(), authority, names=names) as service:
        tls = ssl.create_default_context()
        authority.configure_trust(tls)
        async with open_https_client(rules(service), tls=tls) as client:
            yield client, service


def a_request(url: str) -> HttpsRequest:
    return HttpsRequest(url, (), b"{}")


class Resolver(trio.abc.HostnameResolver):
    """A name server in somebody else's hands: it gives one answer after the other."""

    def __init__(self, *answers: list[str]) -> None:
        self.answers = list(answers)
        self.asked = 0

    async def getaddrinfo(self, host: Any, port: Any, *_: Any, **__: Any) -> Any:
        self.asked += 1
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in answer]

    async def getnameinfo(self, sockaddr: Any, flags: int) -> Any:
        raise NotImplementedError


PRIVATE = ["127.0.0.1", "10.1.2.3", "169.254.169.254", "192.168.0.1", "100.64.0.1", "0.0.0.0"]


@pytest.mark.parametrize("address", PRIVATE)
async def test_a_name_that_resolves_to_a_private_address_is_not_connected_to(address: str) -> None:
    previous = trio.socket.set_custom_hostname_resolver(Resolver([address]))
    try:
        async with opened_client(lambda service: DialingRules()) as (client, service):
            with pytest.raises(HttpsError, match="public Internet") as caught:
                await client.exchange(a_request(f"https://push.example:{service.port}/"), timeout_s=2)
            assert caught.value.failure == "refused"
            assert address not in str(caught.value)
            assert service.connections == 0
    finally:
        trio.socket.set_custom_hostname_resolver(previous)


async def test_the_checked_address_is_the_one_that_is_connected_to() -> None:
    """DNS rebinding: a second answer is never asked for, and a private one next to a good one is passed over."""
    names = Resolver(["10.255.255.1", "127.0.0.1"], ["10.255.255.1"])
    previous = trio.socket.set_custom_hostname_resolver(names)
    try:
        rules = DialingRules(networks=LOOPBACK)
        async with opened_client(lambda service: rules, names=("push.example",)) as (client, service):
            for _ in range(3):
                answer = await client.exchange(a_request(f"https://push.example:{service.port}/x?y=1"), timeout_s=2)
                assert answer.status == 200
            assert names.asked == 1
            assert service.server_names == ["push.example"], "TLS asks for the name, and checks it"
            assert [received.path for received in service.requests] == ["/x?y=1"] * 3
            assert service.requests[0].headers[":authority"] == f"push.example:{service.port}"
    finally:
        trio.socket.set_custom_hostname_resolver(previous)


async def test_a_certificate_for_another_name_is_not_accepted() -> None:
    previous = trio.socket.set_custom_hostname_resolver(Resolver(["127.0.0.1"]))
    try:
        rules = DialingRules(networks=LOOPBACK)
        async with opened_client(lambda service: rules, names=("push.example",)) as (client, service):
            with pytest.raises(HttpsError):
                await client.exchange(a_request(f"https://other.example:{service.port}/"), timeout_s=2)
            assert not service.requests
    finally:
        trio.socket.set_custom_hostname_resolver(previous)


async def test_an_address_that_nobody_listens_on_is_unreachable() -> None:
    async with open_https_client(DialingRules(networks=LOOPBACK)) as client:
        with socket.socket() as bound:
            bound.bind(("127.0.0.1", 0))
            with pytest.raises(HttpsError) as caught:
                await client.exchange(a_request(f"https://127.0.0.1:{bound.getsockname()[1]}/"), timeout_s=2)
    assert caught.value.failure == "unreachable"
