"""Google's push service: HTTP v1 messages, and the access token of a service account (RFC 7523)."""

from __future__ import annotations

import re
from collections.abc import Callable
from math import floor
from typing import Any, Final
from urllib.parse import quote, urlencode

import jwt
import msgspec
import trio
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from triortc.engine.calls.actor import PushEndpoint
from triortc.engine.calls.push_values import NoticePush, Push, RingPush, WithdrawPush
from triortc.errors import ConfigurationError
from triortc.signaling.https_client import HttpsAnswer, HttpsError, HttpsPort, HttpsRequest
from triortc.signaling.push.configuration import FcmConfiguration
from triortc.signaling.push.provider import WITHDRAW_LIFETIME_S, UnusableEndpointError, Verdict, decoded

__all__ = ["Fcm", "notice", "ring", "withdrawal"]

_SCOPE: Final = "https://www.googleapis.com/auth/firebase.messaging"
_GRANT: Final = "urn:ietf:params:oauth:grant-type:jwt-bearer"
_ASSERTION_LIFETIME_S: Final = 3600
#: A token is not used in its last minute.
_MARGIN_S: Final = 60
_TOKEN: Final = re.compile(r"[A-Za-z0-9_:=-]{8,4096}")


class Fcm:
    """Implements `Provider`.

    Args:
        configuration: the service account.
        client: fetches access tokens.
        wall_s: unix seconds.
        timeout_s: for fetching one.

    Raises:
        ConfigurationError: the key is not an RSA key.
    """

    def __init__(
        self, configuration: FcmConfiguration, client: HttpsPort, wall_s: Callable[[], float], timeout_s: float
    ) -> None:
        self._configuration = configuration
        self._client = client
        self._wall_s = wall_s
        self._timeout_s = timeout_s
        self._key = _signing_key(configuration.private_key_pem)
        self._token = ""
        self._token_until_s = 0.0
        self._fetching = trio.Lock()
        self._failures = 0
        self._failure: HttpsError | None = None
        self._url = f"{configuration.origin}/v1/projects/{quote(configuration.project, safe='')}/messages:send"

    def origin(self, endpoint: PushEndpoint) -> str:
        """The service itself, whatever the device is."""
        if endpoint.token is None or not _TOKEN.fullmatch(endpoint.token):
            raise UnusableEndpointError("a registration token of FCM is 8 to 4096 letters, digits and -_:=")
        return self._configuration.origin

    async def request(self, push: Push, remaining_s: float) -> HttpsRequest:
        """Encode a push, after fetching an access token where there is none that is still good."""
        if isinstance(push, RingPush):
            message = ring(push, remaining_s)
        elif isinstance(push, WithdrawPush):
            message = withdrawal(push)
        else:
            message = notice(push, self._configuration.notice_lifetime_s)
        token = await self._access_token()
        headers = (("authorization", f"Bearer {token}"), ("content-type", "application/json"))
        return HttpsRequest(self._url, headers, msgspec.json.encode({"message": message}))

    def judge(self, answer: HttpsAnswer) -> Verdict:
        """200 names the message; UNREGISTERED is gone for good; a refused access token is fetched anew."""
        if answer.status == 200:
            named = decoded(answer, _Sent, otherwise=lambda: _Sent(""))
            return Verdict.DELIVERED if named.name else Verdict.GARBAGE
        if answer.status == 401:
            self._token = ""
            return Verdict.RETRY
        if answer.status == 429 or answer.status >= 500:
            return Verdict.RETRY
        error = decoded(answer, _Failed, otherwise=_Failed).error
        if error is None:
            return Verdict.GARBAGE
        unregistered = any(detail.get("errorCode") == "UNREGISTERED" for detail in error.details)
        return Verdict.GONE if unregistered else Verdict.REFUSED

    async def _access_token(self) -> str:
        failures = self._failures
        async with self._fetching:  # one fetch for everybody who waits, whatever comes of it
            if self._failure is not None and self._failures != failures:
                raise HttpsError(self._failure.failure, str(self._failure))
            now = self._wall_s()
            if not self._token or now >= self._token_until_s:
                try:
                    self._token, lifetime_s = await self._fetch(now)
                except HttpsError as error:
                    self._failures, self._failure = self._failures + 1, error
                    raise
                self._token_until_s = now + max(0.0, lifetime_s - _MARGIN_S)
            return self._token

    async def _fetch(self, now: float) -> tuple[str, float]:
        c = self._configuration
        claims = {
            "iss": c.client_email,
            "scope": _SCOPE,
            "aud": c.token_uri,
            "iat": int(now),
            "exp": int(now) + _ASSERTION_LIFETIME_S,
        }
        assertion = jwt.encode(claims, self._key, "RS256")
        body = urlencode({"grant_type": _GRANT, "assertion": assertion}).encode()
        request = HttpsRequest(c.token_uri, (("content-type", "application/x-www-form-urlencoded"),), body)
        answer = await self._client.exchange(request, timeout_s=self._timeout_s)
        if answer.status != 200:
            raise HttpsError("unreachable", f"the token endpoint answers {answer.status}")
        granted = decoded(answer, _Granted, otherwise=_Granted)
        if granted.token_type.lower() != "bearer" or not re.fullmatch(r"[!-~]{1,8192}", granted.access_token):
            raise HttpsError("garbage", "the token endpoint's answer holds no bearer token")
        return granted.access_token, granted.expires_in


class _Sent(msgspec.Struct):
    name: str


class _Error(msgspec.Struct):
    details: list[dict[str, Any]] = []


class _Failed(msgspec.Struct):
    error: _Error | None = None


class _Granted(msgspec.Struct):
    access_token: str = ""
    token_type: str = ""
    expires_in: float = 0.0


def _signing_key(pem: str) -> RSAPrivateKey:
    try:
        key = load_pem_private_key(pem.encode(), None)
    except (ValueError, TypeError):
        key = None
    if not isinstance(key, RSAPrivateKey):
        raise ConfigurationError("fcm.private_key_pem must be the RSA key of a service account, in PEM")
    return key


def ring(push: RingPush, remaining_s: float) -> dict[str, Any]:
    """The one data message of a ring: the app makes it visible, and silent again after `timeout_ms`."""
    data = {
        "type": "ring",
        "session": push.session,
        "ring": push.ring,
        "conversation": push.conversation,
        "kind": push.kind,
        "timeout_ms": str(floor(remaining_s * 1000)),
        "expires_at": str(push.expires_at),
        "video": "true" if push.video else "false",
    }
    if push.visitor_name is not None:
        data["visitor_name"] = push.visitor_name
    return _message(push, data, "HIGH", floor(remaining_s), "ring")


def withdrawal(push: WithdrawPush) -> dict[str, Any]:
    """Ends the ring's notification; it takes the place of the ring's message where that is not delivered yet."""
    data = {
        "type": "withdraw",
        "withdraw": push.session,
        "ring": push.ring,
        "conversation": push.conversation,
        "outcome": push.outcome,
        "log_missed": "true" if push.log_missed else "false",
    }
    return _message(push, data, "HIGH", WITHDRAW_LIFETIME_S, "ring")


def notice(push: NoticePush, lifetime_s: float) -> dict[str, Any]:
    """Something to read, of normal priority."""
    named = {"conversation": push.conversation, "message": push.message, "visitor_name": push.visitor_name}
    data = {"type": push.kind, **{name: value for name, value in named.items() if value is not None}}
    return _message(push, data, "NORMAL", floor(lifetime_s), "notice")


def _message(push: Push, data: dict[str, str], priority: str, ttl_s: int, collapse_key: str) -> dict[str, Any]:
    android = {"priority": priority, "ttl": f"{ttl_s}s", "collapse_key": collapse_key}
    return {"token": push.endpoint.token, "data": data, "android": android}
