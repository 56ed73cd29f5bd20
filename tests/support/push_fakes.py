"""What stands at the other end of pushes in tests: keys, a browser that subscribes and decrypts, scripted services."""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec
import trio
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from triortc.engine.calls.actor import DeviceAddress, PushEndpoint
from triortc.engine.calls.push_values import NoticePush, RingPush, WithdrawPush
from triortc.signaling.https_client import HttpsAnswer, HttpsRequest
from triortc.signaling.push.configuration import (
    ApnsConfiguration,
    FcmConfiguration,
    PushConfiguration,
    WebPushConfiguration,
)
from triortc.signaling.push.encryption import base64url

WALL_S = 1_800_000_000.0
DEVICE_TOKEN = "ab" * 32
PHONE = DeviceAddress("org", "agent", "ana", "phone")
SESSION = "vs_018f3c5a9b2d0123456789abcdef0123"


class Clock:
    """A wall clock that a test sets; unix seconds."""

    def __init__(self) -> None:
        self.now = WALL_S

    def __call__(self) -> float:
        return self.now


def pem(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> str:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


APNS_KEY = ec.generate_private_key(ec.SECP256R1())
VAPID_KEY = ec.generate_private_key(ec.SECP256R1())
FCM_KEY = rsa.generate_private_key(65537, 2048)

APNS = ApnsConfiguration("TEAM", "KEY", pem(APNS_KEY), ("app.example", "other.example"))
FCM = FcmConfiguration("a-project", "account@a-project.example", pem(FCM_KEY))
WEB_PUSH = WebPushConfiguration(pem(VAPID_KEY), "mailto:calls@example.org", ("push.example", "*.push.example"))
ALL_SERVICES = PushConfiguration(apns=APNS, fcm=FCM, web_push=WEB_PUSH)


def wall_s() -> float:
    """A wall clock that follows trio's."""
    return WALL_S + trio.current_time()


class Browser:
    """A browser's half of a subscription; it decrypts as RFC 8291 §3.4 says, with HMAC and AES-GCM only."""

    def __init__(self, url: str = "https://push.example/send/one") -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._auth = secrets.token_bytes(16)
        self._public = self._key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
        self.endpoint = PushEndpoint(
            "webpush", endpoint=url, p256dh=base64url(self._public), auth=base64url(self._auth)
        )

    def decrypt(self, body: bytes) -> Any:
        salt, record_bytes, id_length = body[:16], int.from_bytes(body[16:20], "big"), body[20]
        sender, record = body[21 : 21 + id_length], body[21 + id_length :]
        assert len(body) <= 4096
        assert len(record) <= record_bytes == 4096
        theirs = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), sender)
        secret = _mac(self._auth, self._key.exchange(ec.ECDH(), theirs))
        secret = _mac(salt, _mac(secret, b"WebPush: info\x00" + self._public + sender + b"\x01"))
        content_key = _mac(secret, b"Content-Encoding: aes128gcm\x00\x01")[:16]
        nonce = _mac(secret, b"Content-Encoding: nonce\x00\x01")[:12]
        padded = AESGCM(content_key).decrypt(nonce, record, None).rstrip(b"\x00")
        assert padded.endswith(b"\x02"), "the only record is the last one, RFC 8188 §2"
        return msgspec.json.decode(padded[:-1])


def _mac(key: bytes, data: bytes) -> bytes:
    return hmac.digest(key, data, "sha256")


ENDPOINTS = {
    "apns": PushEndpoint("apns", token=DEVICE_TOKEN),
    "apns_voip": PushEndpoint("apns_voip", token=DEVICE_TOKEN),
    "fcm": PushEndpoint("fcm", token="a-registration:token_of-fcm"),
}


def a_ring(endpoint: PushEndpoint = ENDPOINTS["apns"], **changes: Any) -> RingPush:
    profile = {"apns": "ios_alert_repeat", "apns_voip": "ios_callkit", "fcm": "android", "webpush": "web"}
    push = RingPush(
        address=PHONE,
        endpoint=endpoint,
        profile=profile[endpoint.kind],  # type: ignore[arg-type]  # the table holds profiles only
        session=SESSION,
        ring="rg_1",
        conversation="cv_9",
        kind="call",
        number=0,
        remaining_ms=29_600,
        expires_at=1_800_000_029_600,
        may_retry=True,
    )
    return replace(push, **changes)


def a_withdrawal(endpoint: PushEndpoint = ENDPOINTS["apns"], **changes: Any) -> WithdrawPush:
    ring = a_ring(endpoint)
    push = WithdrawPush(PHONE, endpoint, ring.profile, SESSION, "rg_1", "cv_9", outcome="timeout", log_missed=True)
    return replace(push, **changes)


def a_notice(endpoint: PushEndpoint = ENDPOINTS["apns"], **changes: Any) -> NoticePush:
    return replace(NoticePush(PHONE, endpoint, "message", conversation="cv_9", message="msg_1"), **changes)


Script = Callable[[HttpsRequest], Awaitable[HttpsAnswer]]


@dataclass
class ScriptedHttps:
    """An `HttpsPort` without a network: every request is written down with its time, and answered by a script.

    `answers` are used up one after the other; then everything succeeds. What is no answer is raised or awaited.
    """

    answers: list[HttpsAnswer | Exception | Script] = field(default_factory=list)
    requests: list[tuple[float, HttpsRequest]] = field(default_factory=list)
    timeouts_s: list[float] = field(default_factory=list)
    in_flight: int = 0
    most_in_flight: int = 0

    async def exchange(self, request: HttpsRequest, *, timeout_s: float) -> HttpsAnswer:
        if "/token" in request.url:
            return HttpsAnswer(200, {}, b'{"access_token": "granted", "token_type": "Bearer", "expires_in": 3599}')
        self.requests.append((trio.current_time(), request))
        self.timeouts_s.append(timeout_s)
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            await trio.lowlevel.checkpoint()
            answer = self.answers.pop(0) if self.answers else succeeds(request)
            if isinstance(answer, Exception):
                raise answer
            return answer if isinstance(answer, HttpsAnswer) else await answer(request)
        finally:
            self.in_flight -= 1

    @property
    def times(self) -> list[float]:
        return [at for at, _ in self.requests]


def succeeds(request: HttpsRequest) -> HttpsAnswer:
    """What each service says to a push that it takes."""
    if "messages:send" in request.url:
        return HttpsAnswer(200, {}, b'{"name": "projects/a-project/messages/1"}')
    return HttpsAnswer(200 if "/3/device/" in request.url else 201, {})
