# ruff: noqa: N802 - test names carry the numbers of docs/calls.md as they are written there
"""What is sent to each push service, header by header, and what its answers mean."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import jwt
import pytest
import trio
from cryptography.hazmat.primitives.asymmetric import ec
from trio.testing import MockClock

from support.push_fakes import (
    APNS,
    APNS_KEY,
    DEVICE_TOKEN,
    ENDPOINTS,
    FCM,
    FCM_KEY,
    SESSION,
    WALL_S,
    WEB_PUSH,
    Clock,
    ScriptedHttps,
    a_notice,
    a_ring,
    a_withdrawal,
    pem,
)
from triortc.engine.calls.actor import PushEndpoint
from triortc.engine.calls.push_values import Push
from triortc.errors import ConfigurationError
from triortc.signaling.https_client import HttpsAnswer, HttpsError, HttpsRequest
from triortc.signaling.push.apns import Apns, call_uuid
from triortc.signaling.push.configuration import PushConfiguration
from triortc.signaling.push.fcm import Fcm
from triortc.signaling.push.provider import Provider, UnusableEndpointError, Verdict
from triortc.signaling.push.web_push import WebPush, public_key

APNS_ENDPOINT, VOIP_ENDPOINT, FCM_ENDPOINT = ENDPOINTS["apns"], ENDPOINTS["apns_voip"], ENDPOINTS["fcm"]


async def apns_message(push: Push) -> tuple[dict[str, str], Any]:
    """The headers but for the token, and the payload."""
    request = await Apns(APNS, Clock()).request(push, 29.6)
    assert request.url == f"https://api.push.apple.com/3/device/{DEVICE_TOKEN}"
    headers = dict(request.headers)
    assert len(headers) == len(request.headers)
    assert headers.pop("authorization").startswith("bearer ")
    return headers, json.loads(request.body)


# --- APNs


async def test_S1_6b_an_ios_alert_has_the_headers_and_the_payload_of_the_schedule() -> None:
    headers, payload = await apns_message(a_ring())
    assert headers == {
        "apns-topic": "app.example",
        "apns-push-type": "alert",
        "apns-priority": "10",
        "apns-collapse-id": SESSION,
        "apns-expiration": "1800000029",
    }
    assert payload == {
        "aps": {
            "alert": {"loc-key": "INCOMING_VIDEO"},
            "sound": "ring.caf",
            "interruption-level": "time-sensitive",
            "mutable-content": 1,
        },
        "session": SESSION,
        "ring": "rg_1",
        "conversation": "cv_9",
        "kind": "call",
        "expires_at": 1_800_000_029_600,
    }


async def test_a_visitors_name_is_in_a_push_only_where_call_control_put_it_there() -> None:
    _, payload = await apns_message(a_ring(visitor_name="Léa"))
    assert payload["aps"]["alert"] == {"loc-key": "INCOMING_VIDEO_FROM", "loc-args": ["Léa"]}
    assert payload["visitor_name"] == "Léa"


async def test_A_9_a_voip_push_is_delivered_now_or_never() -> None:
    headers, payload = await apns_message(a_ring(VOIP_ENDPOINT, visitor_name=None))
    assert headers == {
        "apns-topic": "app.example.voip",
        "apns-push-type": "voip",
        "apns-priority": "10",
        "apns-expiration": "0",
    }
    assert payload["uuid"] == "018f3c5a-9b2d-0123-4567-89abcdef0123"
    assert (payload["has_video"], payload["handle"], payload["expires_at"]) == (True, "cv_9", 1_800_000_029_600)
    assert len(json.dumps(payload)) < 5 * 1024


def test_a_sessions_id_is_its_uuid_and_another_id_has_one_of_its_own() -> None:
    assert call_uuid(SESSION).hex == SESSION.removeprefix("vs_")
    assert call_uuid("vs_other") == call_uuid("vs_other") != call_uuid("vs_another")


async def test_S1_6d_an_ios_withdrawal_is_silent_and_collapses_with_its_ring() -> None:
    headers, payload = await apns_message(a_withdrawal())
    assert headers == {
        "apns-topic": "app.example",
        "apns-push-type": "background",
        "apns-priority": "5",
        "apns-collapse-id": SESSION,
        "apns-expiration": "1800000060",
    }
    assert payload["aps"] == {"content-available": 1}
    assert (payload["withdraw"], payload["outcome"]) == (SESSION, "timeout")


async def test_A_10_a_withdrawal_may_leave_a_silent_text_instead() -> None:
    headers, payload = await apns_message(a_withdrawal(replace_missed=True))
    assert (headers["apns-push-type"], headers["apns-collapse-id"]) == ("alert", SESSION)
    assert "sound" not in payload["aps"]
    assert payload["aps"]["interruption-level"] == "passive"
    answered, _ = await apns_message(a_withdrawal(replace_missed=True, log_missed=False))
    assert answered["apns-push-type"] == "background"


async def test_S1_4a_a_message_is_pushed_with_normal_priority_and_never_rings() -> None:
    headers, payload = await apns_message(a_notice())
    assert (headers["apns-push-type"], headers["apns-priority"]) == ("alert", "5")
    assert headers["apns-expiration"] == "1800003600"
    assert payload["aps"]["sound"] == "default"
    assert (payload["notice"], payload["conversation"], payload["message"]) == ("message", "cv_9", "msg_1")
    _, payload = await apns_message(a_notice(kind="availability_off", conversation=None, message=None))
    assert payload["aps"]["alert"] == {"loc-key": "AVAILABILITY_OFF"}


async def test_an_id_longer_than_a_collapse_id_may_be_is_shortened_to_one_that_is_its_own() -> None:
    ids = {(await apns_message(a_ring(session="x" * 70 + end)))[0]["apns-collapse-id"] for end in "ab"}
    assert [len(id) for id in ids] == [64, 64]


async def test_the_token_for_apns_is_signed_by_ES256_and_made_anew_before_an_hour_is_over() -> None:
    clock = Clock()
    apns = Apns(APNS, clock)

    async def token() -> str:
        request = await apns.request(a_ring(), 10)
        return dict(request.headers)["authorization"].removeprefix("bearer ")

    first = await token()
    assert jwt.get_unverified_header(first) == {"alg": "ES256", "kid": "KEY"}
    options: Any = {"verify_iat": False}
    assert jwt.decode(first, APNS_KEY.public_key(), ["ES256"], options=options) == {"iss": "TEAM", "iat": int(WALL_S)}
    clock.now += 2999
    assert await token() == first
    clock.now += 2
    assert await token() != first


def test_a_token_that_apns_calls_expired_is_made_anew_but_not_in_its_first_20_minutes() -> None:
    expired = HttpsAnswer(403, {}, b'{"reason": "ExpiredProviderToken"}')
    clock = Clock()
    apns = Apns(APNS, clock)
    apns._bearer()
    assert apns.judge(expired) is Verdict.REFUSED
    clock.now += 1201
    assert apns.judge(expired) is Verdict.RETRY
    assert jwt.decode(apns._bearer(), options={"verify_signature": False})["iat"] == int(clock.now)


@pytest.mark.parametrize(
    "endpoint",
    [
        PushEndpoint("apns"),
        PushEndpoint("apns", token="../../3/device/x"),
        PushEndpoint("apns", token="ab" * 31),
        PushEndpoint("apns", token=DEVICE_TOKEN, topic="app.of.somebody.else"),
        PushEndpoint("apns_voip", token=DEVICE_TOKEN, topic="app.of.somebody.else.voip"),
    ],
)
def test_what_is_no_device_token_or_no_topic_of_ours_is_not_sent_to_apns(endpoint: PushEndpoint) -> None:
    with pytest.raises(UnusableEndpointError):
        Apns(APNS, Clock()).origin(endpoint)


async def test_a_device_names_one_of_our_apps() -> None:
    voip = replace(VOIP_ENDPOINT, topic="other.example.voip")
    headers, _ = await apns_message(a_ring(voip))
    assert headers["apns-topic"] == "other.example.voip"
    headers, _ = await apns_message(a_ring(replace(APNS_ENDPOINT, topic="other.example")))
    assert headers["apns-topic"] == "other.example"


async def test_a_payload_larger_than_apns_takes_is_not_sent() -> None:
    with pytest.raises(UnusableEndpointError, match="4096"):
        await Apns(APNS, Clock()).request(a_ring(visitor_name="x" * 4096), 10)


# --- FCM


async def fcm_message(push: Push, remaining_s: float = 29.6) -> Any:
    request = await Fcm(FCM, ScriptedHttps(), Clock(), 5).request(push, remaining_s)
    assert request.url == "https://fcm.googleapis.com/v1/projects/a-project/messages:send"
    assert dict(request.headers) == {"authorization": "Bearer granted", "content-type": "application/json"}
    body = json.loads(request.body)
    assert list(body) == ["message"]
    assert all(isinstance(value, str) for value in body["message"]["data"].values()), "FCM takes texts only"
    return body["message"]


async def test_S1_6e_an_android_ring_is_one_data_message_of_high_priority_that_ends_with_the_ring() -> None:
    message = await fcm_message(a_ring(FCM_ENDPOINT))
    assert message["token"] == FCM_ENDPOINT.token
    assert message["android"] == {"priority": "HIGH", "ttl": "29s", "collapse_key": "ring"}
    assert message["data"] == {
        "type": "ring",
        "session": SESSION,
        "ring": "rg_1",
        "conversation": "cv_9",
        "kind": "call",
        "timeout_ms": "29600",
        "expires_at": "1800000029600",
        "video": "true",
    }
    assert "notification" not in message, "the app shows it, full screen"


async def test_S1_6g_an_android_withdrawal_waits_a_minute_for_the_device() -> None:
    message = await fcm_message(a_withdrawal(FCM_ENDPOINT))
    assert message["android"] == {"priority": "HIGH", "ttl": "60s", "collapse_key": "ring"}
    assert (message["data"]["withdraw"], message["data"]["outcome"]) == (SESSION, "timeout")


async def test_a_notice_for_android_has_normal_priority() -> None:
    message = await fcm_message(a_notice(FCM_ENDPOINT))
    assert message["android"] == {"priority": "NORMAL", "ttl": "3600s", "collapse_key": "notice"}
    assert message["data"] == {"type": "message", "conversation": "cv_9", "message": "msg_1"}


class TokenEndpoint(ScriptedHttps):
    """Counts and checks the grants (RFC 7523 §2.1)."""

    def __init__(self, body: bytes = b'{"access_token": "t", "token_type": "Bearer", "expires_in": 3599}') -> None:
        super().__init__()
        self.grants: list[dict[str, str]] = []
        self.body = body

    async def exchange(self, request: HttpsRequest, *, timeout_s: float) -> HttpsAnswer:
        fields = dict(pair.split("=", 1) for pair in request.body.decode().split("&"))
        assert fields["grant_type"] == "urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer"
        options: Any = {"verify_exp": False, "verify_iat": False}
        claims = jwt.decode(
            fields["assertion"], FCM_KEY.public_key(), ["RS256"], audience=FCM.token_uri, options=options
        )
        assert claims["exp"] - claims["iat"] == 3600
        self.grants.append(claims)
        return HttpsAnswer(200, {}, self.body)


async def test_an_access_token_is_fetched_once_and_again_in_its_last_minute() -> None:
    clock, endpoint = Clock(), TokenEndpoint()
    fcm = Fcm(FCM, endpoint, clock, 5)
    for seconds, grants in ((0, 1), (3500, 1), (40, 2)):
        clock.now += seconds
        await fcm.request(a_ring(FCM_ENDPOINT), 10)
        assert len(endpoint.grants) == grants
    assert endpoint.grants[0]["iss"] == "account@a-project.example"
    assert endpoint.grants[0]["scope"] == "https://www.googleapis.com/auth/firebase.messaging"


async def test_an_access_token_that_is_refused_is_fetched_anew() -> None:
    endpoint = TokenEndpoint()
    fcm = Fcm(FCM, endpoint, Clock(), 5)
    await fcm.request(a_ring(FCM_ENDPOINT), 10)
    assert fcm.judge(HttpsAnswer(401, {}, b"{}")) is Verdict.RETRY
    await fcm.request(a_ring(FCM_ENDPOINT), 10)
    assert len(endpoint.grants) == 2


async def test_a_token_endpoint_that_is_silent_is_waited_for_once_by_all_pushes_that_need_it(
    autojump_clock: MockClock,
) -> None:
    class Silent(TokenEndpoint):
        async def exchange(self, request: HttpsRequest, *, timeout_s: float) -> HttpsAnswer:
            await super().exchange(request, timeout_s=timeout_s)
            await trio.sleep(timeout_s)
            raise HttpsError("timeout", "no answer")

    endpoint = Silent()
    fcm = Fcm(FCM, endpoint, Clock(), 5)
    given_up: list[float] = []

    async def push() -> None:
        with pytest.raises(HttpsError, match="no answer"):
            await fcm.request(a_ring(FCM_ENDPOINT), 10)
        given_up.append(trio.current_time())

    async with trio.open_nursery() as nursery:
        for _ in range(50):
            nursery.start_soon(push)
    assert given_up == [5.0] * 50
    assert len(endpoint.grants) == 1
    await push()
    assert len(endpoint.grants) == 2


@pytest.mark.parametrize(
    "body", [b"<html>", b"{}", b'{"access_token": "a b\\r\\nx: y", "token_type": "Bearer"}', b"\xff"]
)
async def test_a_token_endpoint_that_lies_gives_no_token(body: bytes) -> None:
    with pytest.raises(HttpsError, match="no bearer token"):
        await Fcm(FCM, TokenEndpoint(body), Clock(), 5).request(a_ring(FCM_ENDPOINT), 10)


def test_what_is_no_registration_token_is_not_sent_to_fcm() -> None:
    for token in (None, "", "short", "with space in it", "x" * 4097):
        with pytest.raises(UnusableEndpointError):
            Fcm(FCM, ScriptedHttps(), Clock(), 5).origin(PushEndpoint("fcm", token=token))


# --- answers

JSON = {"content-type": "application/json"}
ANSWERS = [
    ("apns", 200, b"", Verdict.DELIVERED),
    ("apns", 410, b'{"reason": "Unregistered", "timestamp": 1}', Verdict.GONE),
    ("apns", 410, b"garbage", Verdict.GONE),
    ("apns", 400, b'{"reason": "BadDeviceToken"}', Verdict.REFUSED),
    ("apns", 400, b"<html>", Verdict.GARBAGE),
    ("apns", 302, b"", Verdict.GARBAGE),
    ("apns", 429, b'{"reason": "TooManyRequests"}', Verdict.RETRY),
    ("apns", 503, b"", Verdict.RETRY),
    ("fcm", 200, b'{"name": "projects/p/messages/1"}', Verdict.DELIVERED),
    ("fcm", 200, b"OK", Verdict.GARBAGE),
    ("fcm", 200, b"\xff\xfe", Verdict.GARBAGE),
    ("fcm", 404, b'{"error": {"details": [{"@type": "t", "errorCode": "UNREGISTERED"}]}}', Verdict.GONE),
    ("fcm", 404, b"not found", Verdict.GARBAGE),
    ("fcm", 400, b'{"error": {"status": "INVALID_ARGUMENT"}}', Verdict.REFUSED),
    ("fcm", 429, b"", Verdict.RETRY),
    ("fcm", 500, b"", Verdict.RETRY),
    ("webpush", 201, b"", Verdict.DELIVERED),
    ("webpush", 404, b"", Verdict.GONE),
    ("webpush", 410, b"", Verdict.GONE),
    ("webpush", 403, b"", Verdict.REFUSED),
    ("webpush", 307, b"", Verdict.REFUSED),
    ("webpush", 429, b"", Verdict.RETRY),
    ("webpush", 502, b"", Verdict.RETRY),
]


@pytest.mark.parametrize(("service", "status", "body", "verdict"), ANSWERS)
def test_an_answer_means(service: str, status: int, body: bytes, verdict: Verdict) -> None:
    providers: dict[str, Provider] = {
        "apns": Apns(APNS, Clock()),
        "fcm": Fcm(FCM, ScriptedHttps(), Clock(), 5),
        "webpush": WebPush(WEB_PUSH, Clock()),
    }
    assert providers[service].judge(HttpsAnswer(status, JSON, body)) is verdict


# --- configuration


def test_a_key_of_the_wrong_kind_is_said_to_be_one() -> None:
    wrong = pem(ec.generate_private_key(ec.SECP384R1()))
    with pytest.raises(ConfigurationError, match=r"apns\.private_key_pem"):
        Apns(replace(APNS, private_key_pem=wrong), Clock())
    with pytest.raises(ConfigurationError, match=r"fcm\.private_key_pem"):
        Fcm(replace(FCM, private_key_pem=wrong), ScriptedHttps(), Clock(), 5)
    for text in (wrong, "nothing", ""):
        with pytest.raises(ConfigurationError, match=r"web_push\.private_key_pem"):
            public_key(replace(WEB_PUSH, private_key_pem=text))


def test_keys_are_in_no_repr() -> None:
    shown = repr(PushConfiguration(apns=APNS, fcm=FCM, web_push=WEB_PUSH))
    assert "PRIVATE KEY" not in shown
    assert "a-project" in shown
    request = HttpsRequest("https://push.example/secret", (("authorization", "secret"),), b"secret")
    assert "secret" not in repr(request)
