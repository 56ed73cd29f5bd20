"""Web Push: requests of RFC 8030 with the encryption of RFC 8291, and VAPID (RFC 8292), which says who we are."""

from __future__ import annotations

import hashlib
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
from triortc.signaling.dialing import DialingRefusedError, DialingRules
from triortc.signaling.https_client import HttpsAnswer, HttpsRequest
from triortc.signaling.push.configuration import WebPushConfiguration
from triortc.signaling.push.encryption import base64url, base64url_decoded, encrypt, public_bytes
from triortc.signaling.push.provider import WITHDRAW_LIFETIME_S, UnusableEndpointError, Verdict

__all__ = ["WebPush", "notice", "public_key", "ring", "topic", "withdrawal"]

_TOPIC_CHARACTERS: Final = 32
#: A token is replaced when less than this share of its life is left.
_RENEW_AT: Final = 0.25
_MAX_TOKENS: Final = 256


class WebPush:
    """Implements `Provider`.

    Args:
        configuration: our key pair and the services that subscriptions may name.
        wall_s: unix seconds.

    Raises:
        ConfigurationError: the key is not a P-256 key.
    """

    def __init__(self, configuration: WebPushConfiguration, wall_s: Callable[[], float]) -> None:
        self._configuration = configuration
        self._wall_s = wall_s
        self._key = _private_key(configuration.private_key_pem)
        self._public_key = base64url(public_bytes(self._key.public_key()))
        self._rules = DialingRules(hosts=configuration.hosts)
        self._tokens: dict[str, tuple[str, float]] = {}

    def origin(self, endpoint: PushEndpoint) -> str:
        """The push service that the subscription names, if it is one of ours."""
        if endpoint.endpoint is None or endpoint.p256dh is None or endpoint.auth is None:
            raise UnusableEndpointError("a Web Push subscription has an endpoint, p256dh and auth")
        try:
            return self._rules.target(endpoint.endpoint).origin
        except DialingRefusedError as error:
            raise UnusableEndpointError(str(error)) from None

    async def request(self, push: Push, remaining_s: float) -> HttpsRequest:
        """Encode and encrypt a push."""
        if isinstance(push, RingPush):
            message, ttl_s, urgency = ring(push, remaining_s), floor(remaining_s), "high"
        elif isinstance(push, WithdrawPush):
            message, ttl_s, urgency = withdrawal(push), WITHDRAW_LIFETIME_S, "high"
        else:
            message, ttl_s, urgency = notice(push), floor(self._configuration.notice_lifetime_s), "normal"
        subject = push.conversation or push.kind if isinstance(push, NoticePush) else push.session
        endpoint = push.endpoint
        origin = self.origin(endpoint)
        assert endpoint.endpoint is not None
        assert endpoint.p256dh is not None
        assert endpoint.auth is not None
        try:
            body = encrypt(
                msgspec.json.encode(message),
                base64url_decoded(endpoint.p256dh),
                base64url_decoded(endpoint.auth),
                padded_bytes=self._configuration.padded_bytes,
            )
        except ValueError as error:
            raise UnusableEndpointError(f"the subscription's keys cannot be used: {error}") from None
        headers = (
            ("ttl", str(ttl_s)),
            ("urgency", urgency),
            ("topic", topic(subject)),
            ("content-encoding", "aes128gcm"),
            ("content-type", "application/octet-stream"),
            ("authorization", f"vapid t={self._token(origin)}, k={self._public_key}"),
        )
        return HttpsRequest(endpoint.endpoint, headers, body)

    def judge(self, answer: HttpsAnswer) -> Verdict:
        """2xx is delivered; 404 and 410 say that the subscription is no more (RFC 8030 §7.3)."""
        if 200 <= answer.status < 300:
            return Verdict.DELIVERED
        if answer.status in (404, 410):
            return Verdict.GONE
        if answer.status == 429 or answer.status >= 500:
            return Verdict.RETRY
        return Verdict.REFUSED

    def _token(self, origin: str) -> str:
        """RFC 8292 §2: a token for one push service, used until it is nearly over."""
        lifetime_s = self._configuration.token_lifetime_s
        now = self._wall_s()
        token, until = self._tokens.get(origin, ("", 0.0))
        if not lifetime_s * _RENEW_AT < until - now <= lifetime_s:
            until = now + lifetime_s
            claims = {"aud": origin, "exp": int(until), "sub": self._configuration.subject}
            token = jwt.encode(claims, self._key, "ES256")
            while len(self._tokens) >= _MAX_TOKENS:
                del self._tokens[next(iter(self._tokens))]
            self._tokens[origin] = (token, until)
        return token


def public_key(configuration: WebPushConfiguration) -> str:
    """Our public key in base64url: what a page gives to `PushManager.subscribe` as `applicationServerKey`.

    Raises:
        ConfigurationError: the key is not a P-256 key.
    """
    return base64url(public_bytes(_private_key(configuration.private_key_pem).public_key()))


def _private_key(pem: str) -> EllipticCurvePrivateKey:
    try:
        key = load_pem_private_key(pem.encode(), None)
    except (ValueError, TypeError):
        key = None
    if not isinstance(key, EllipticCurvePrivateKey) or key.curve.name != "secp256r1":
        raise ConfigurationError("web_push.private_key_pem must be an unencrypted P-256 key in PEM")
    return key


def topic(id: str) -> str:
    """The name under which an undelivered message is replaced by the next (RFC 8030 §5.4): it tells nothing."""
    return base64url(hashlib.sha256(id.encode()).digest())[:_TOPIC_CHARACTERS]


def ring(push: RingPush, remaining_s: float) -> dict[str, Any]:
    """What a page's service worker gets to ring."""
    message: dict[str, Any] = {
        "type": "ring",
        "session": push.session,
        "ring": push.ring,
        "conversation": push.conversation,
        "kind": push.kind,
        "timeout_ms": floor(remaining_s * 1000),
        "expires_at": push.expires_at,
        "video": push.video,
    }
    if push.visitor_name is not None:
        message["visitor_name"] = push.visitor_name
    return message


def withdrawal(push: WithdrawPush) -> dict[str, Any]:
    """What it gets when the ring is over."""
    return {
        "type": "withdraw",
        "withdraw": push.session,
        "ring": push.ring,
        "conversation": push.conversation,
        "outcome": push.outcome,
        "log_missed": push.log_missed,
    }


def notice(push: NoticePush) -> dict[str, Any]:
    """What it gets to show as an ordinary notification."""
    named = {"conversation": push.conversation, "message": push.message, "visitor_name": push.visitor_name}
    return {"type": push.kind, **{name: value for name, value in named.items() if value is not None}}
