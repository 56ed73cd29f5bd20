"""Apple's push service: requests of its HTTP/2 interface, with a token signed by ES256."""

from __future__ import annotations

import hashlib
import re
import uuid
from collections.abc import Callable
from math import floor
from typing import Any, Final

import jwt
import msgspec
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from triortc.engine.calls.actor import PushEndpoint
from triortc.engine.calls.push_values import NoticePush, Push, RingPush, WithdrawPush
from triortc.errors import ConfigurationError
from triortc.signaling.https_client import HttpsAnswer, HttpsRequest
from triortc.signaling.push.configuration import ApnsConfiguration
from triortc.signaling.push.provider import WITHDRAW_LIFETIME_S, UnusableEndpointError, Verdict, decoded

__all__ = ["Apns", "alert_ring", "call_uuid", "notice", "voip_ring", "withdrawal"]

_TOKEN: Final = re.compile(r"[0-9a-fA-F]{64,200}")
_COLLAPSE_ID_BYTES: Final = 64
_VOIP_BYTES: Final = 5 * 1024
_ALERT_BYTES: Final = 4 * 1024
#: The service answers 429 to whoever changes the token more often.
_MINIMUM_TOKEN_AGE_S: Final = 1200

Message = tuple[dict[str, str], dict[str, Any]]
"""Headers and payload."""


class Apns:
    """Implements `Provider`.

    Args:
        configuration: credentials and texts.
        wall_s: unix seconds.

    Raises:
        ConfigurationError: the key is not a P-256 key.
    """

    def __init__(self, configuration: ApnsConfiguration, wall_s: Callable[[], float]) -> None:
        self._configuration = configuration
        self._wall_s = wall_s
        self._key = _signing_key(configuration.private_key_pem)
        self._token = ""
        self._token_made_s = float("-inf")

    def origin(self, endpoint: PushEndpoint) -> str:
        """The service itself, whatever the device is."""
        if endpoint.token is None or not _TOKEN.fullmatch(endpoint.token):
            raise UnusableEndpointError("a device token of APNs is 64 to 200 hexadecimal digits")
        self._topic(endpoint)
        return self._configuration.origin

    async def request(self, push: Push, remaining_s: float) -> HttpsRequest:
        """Encode a push; `remaining_s` is not needed, since everything expires by the wall clock."""
        c = self._configuration
        topic = self._topic(push.endpoint)
        if isinstance(push, RingPush) and push.profile == "ios_callkit":
            headers, payload = voip_ring(push)
            topic, limit = f"{topic}.voip", _VOIP_BYTES
        else:
            limit = _ALERT_BYTES
            if isinstance(push, RingPush):
                headers, payload = alert_ring(push, c.ring_sound)
            elif isinstance(push, WithdrawPush):
                headers, payload = withdrawal(push, self._wall_s())
            else:
                headers, payload = notice(push, self._wall_s() + c.notice_lifetime_s)
        body = msgspec.json.encode(payload)
        if len(body) > limit:
            raise UnusableEndpointError(f"the push is larger than the {limit} bytes that APNs takes")
        assert push.endpoint.token is not None  # `origin` has seen to it
        return HttpsRequest(
            f"{c.origin}/3/device/{push.endpoint.token.lower()}",
            (("authorization", f"bearer {self._bearer()}"), ("apns-topic", topic), *headers.items()),
            body,
        )

    def judge(self, answer: HttpsAnswer) -> Verdict:
        """200 is delivered, 410 is gone for good; the reasons are Apple's."""
        if answer.status == 200:
            return Verdict.DELIVERED
        if answer.status == 410:
            return Verdict.GONE
        if answer.status == 429 or answer.status >= 500:
            return Verdict.RETRY
        reason = decoded(answer, _Refusal, otherwise=lambda: _Refusal(None)).reason
        if reason is None:
            return Verdict.GARBAGE
        if reason == "ExpiredProviderToken" and self._wall_s() - self._token_made_s > _MINIMUM_TOKEN_AGE_S:
            self._token_made_s = float("-inf")
            return Verdict.RETRY
        return Verdict.REFUSED

    def _topic(self, endpoint: PushEndpoint) -> str:
        topics = self._configuration.topics
        if endpoint.topic is None:
            return topics[0]
        topic = endpoint.topic.removesuffix(".voip") if endpoint.kind == "apns_voip" else endpoint.topic
        if topic not in topics:
            raise UnusableEndpointError("the endpoint's topic is none of apns.topics")
        return topic

    def _bearer(self) -> str:
        now = self._wall_s()
        if not 0 <= now - self._token_made_s < self._configuration.token_lifetime_s:
            claims = {"iss": self._configuration.team_id, "iat": int(now)}
            self._token = jwt.encode(claims, self._key, "ES256", {"kid": self._configuration.key_id, "typ": None})
            self._token_made_s = now
        return self._token


class _Refusal(msgspec.Struct):
    reason: str | None


def _signing_key(pem: str) -> EllipticCurvePrivateKey:
    try:
        key = load_pem_private_key(pem.encode(), None)
    except (ValueError, TypeError):
        key = None
    if not isinstance(key, EllipticCurvePrivateKey) or key.curve.name != "secp256r1":
        raise ConfigurationError("apns.private_key_pem must be a P-256 key in PEM, as the .p8 file holds it")
    return key


def alert_ring(push: RingPush, sound: str) -> Message:
    """One of the repeated alerts: audible for one interval at most, replaced by the next, void after the deadline."""
    headers = {
        "apns-push-type": "alert",
        "apns-priority": "10",
        "apns-collapse-id": _collapse_id(push.session),
        "apns-expiration": str(push.expires_at // 1000),
    }
    aps: dict[str, Any] = {
        "alert": _alert("INCOMING_VIDEO", push.visitor_name),
        "sound": sound,
        "interruption-level": "time-sensitive",
        "mutable-content": 1,
    }
    return headers, {"aps": aps, **_ring_fields(push)}


def voip_ring(push: RingPush) -> Message:
    """The one push of a call that CallKit shows: delivered now or never, and reported by the app whatever happens."""
    headers = {"apns-push-type": "voip", "apns-priority": "10", "apns-expiration": "0"}
    fields = {
        **_ring_fields(push),
        "uuid": str(call_uuid(push.session)),
        "has_video": push.video,
        "handle": push.visitor_name or push.conversation,
    }
    return headers, {"aps": {}, **fields}


def withdrawal(push: WithdrawPush, now_s: float) -> Message:
    """Takes the alert away without a sound; or, where the app wants it, leaves a silent text in its place."""
    fields = {"withdraw": push.session, "ring": push.ring, "conversation": push.conversation, "outcome": push.outcome}
    expires_s = floor(now_s) + WITHDRAW_LIFETIME_S
    headers = {"apns-collapse-id": _collapse_id(push.session), "apns-expiration": str(expires_s)}
    if push.replace_missed and push.log_missed:
        aps = {"alert": _alert("MISSED_VIDEO", None), "interruption-level": "passive", "mutable-content": 1}
        return {"apns-push-type": "alert", "apns-priority": "5", **headers}, {"aps": aps, **fields}
    headers = {"apns-push-type": "background", "apns-priority": "5", **headers}
    return headers, {"aps": {"content-available": 1}, **fields}


def notice(push: NoticePush, expires_s: float) -> Message:
    """Something to read: of normal priority and with the system's ordinary sound, never a ring."""
    headers = {
        "apns-push-type": "alert",
        "apns-priority": "5",
        "apns-collapse-id": _collapse_id(push.conversation or push.kind),
        "apns-expiration": str(floor(expires_s)),
    }
    text = {"message": "NEW_MESSAGE", "availability_off": "AVAILABILITY_OFF"}[push.kind]
    aps = {"alert": _alert(text, push.visitor_name), "sound": "default"}
    named = {"conversation": push.conversation, "message": push.message, "visitor_name": push.visitor_name}
    ids = {name: value for name, value in named.items() if value is not None}
    return headers, {"aps": aps, "notice": push.kind, **ids}


def call_uuid(session: str) -> uuid.UUID:
    """The UUID of a call for CallKit: the 128 bits of the session's id, or a hash where an id is not made of them."""
    digits = session.partition("_")[2]
    if re.fullmatch(r"[0-9a-f]{32}", digits):
        return uuid.UUID(hex=digits)
    return uuid.uuid5(uuid.NAMESPACE_URL, f"triortc:{session}")


def _ring_fields(push: RingPush) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "session": push.session,
        "ring": push.ring,
        "conversation": push.conversation,
        "kind": push.kind,
        "expires_at": push.expires_at,
    }
    if push.visitor_name is not None:
        fields["visitor_name"] = push.visitor_name
    return fields


def _alert(text: str, name: str | None) -> dict[str, Any]:
    """A text of the app's own, in the language of its user."""
    return {"loc-key": text} if name is None else {"loc-key": f"{text}_FROM", "loc-args": [name]}


def _collapse_id(id: str) -> str:
    if len(id.encode()) <= _COLLAPSE_ID_BYTES:
        return id
    return hashlib.sha256(id.encode()).hexdigest()
