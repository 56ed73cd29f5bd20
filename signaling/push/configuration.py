"""Credentials and numbers of the push gateways. Keys come from here and from nowhere else, and are in no `repr`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import msgspec

from triortc.configuration_kinds import require_kinds
from triortc.errors import ConfigurationError
from triortc.signaling.dialing import DialingRules

__all__ = ["ApnsConfiguration", "FcmConfiguration", "PushConfiguration", "WebPushConfiguration"]

APNS_ORIGIN: Final = "https://api.push.apple.com"
FCM_ORIGIN: Final = "https://fcm.googleapis.com"
GOOGLE_TOKEN_URI: Final = "https://oauth2.googleapis.com/token"
#: The push services of the browsers there are.
WEB_PUSH_HOSTS: Final = (
    "fcm.googleapis.com",
    "updates.push.services.mozilla.com",
    "*.push.services.mozilla.com",
    "web.push.apple.com",
    "*.push.apple.com",
    "*.notify.windows.com",
)


@dataclass(frozen=True, slots=True)
class ApnsConfiguration:
    """Apple's push service, by a token that we sign (ES256).

    Attributes:
        team_id, key_id: of the signing key.
        private_key_pem: the key itself (the contents of the .p8 file).
        topics: bundle ids that may be pushed to. A device may name one of them; the first is for those that name none.
        origin: the service; `https://api.sandbox.push.apple.com` for development builds.
        token_lifetime_s: a new token is made after this time; the service takes none older than 60 minutes, and not
            more than one each 20 minutes.
        ring_sound: a sound file inside the app, not longer than the interval at which alerts repeat.
        notice_lifetime_s: how long a notice waits for a device that is off.
    """

    team_id: str
    key_id: str
    private_key_pem: str = field(repr=False)
    topics: tuple[str, ...]
    origin: str = APNS_ORIGIN
    token_lifetime_s: float = 3000.0
    ring_sound: str = "ring.caf"
    notice_lifetime_s: float = 3600.0

    def __post_init__(self) -> None:
        require_kinds(self)
        if not self.topics:
            raise ConfigurationError("apns.topics is empty: name the app's bundle id")
        if not 1200 <= self.token_lifetime_s <= 3600:
            raise ConfigurationError(f"apns.token_lifetime_s is {self.token_lifetime_s:g}; choose 1200 to 3600 seconds")


@dataclass(frozen=True, slots=True)
class FcmConfiguration:
    """Google's push service, HTTP v1, by a service account (RFC 7523).

    Attributes:
        project: the project's id.
        client_email: the service account.
        private_key_pem: its RSA key.
        token_uri: where access tokens are fetched.
        origin: the service.
        notice_lifetime_s: how long a notice waits for a device that is off.
    """

    project: str
    client_email: str
    private_key_pem: str = field(repr=False)
    token_uri: str = GOOGLE_TOKEN_URI
    origin: str = FCM_ORIGIN
    notice_lifetime_s: float = 3600.0

    def __post_init__(self) -> None:
        require_kinds(self)

    @classmethod
    def from_service_account(cls, path: Path) -> FcmConfiguration:
        """Read the JSON file that the console gives for a service account.

        Raises:
            ConfigurationError: it is not such a file.
            OSError: it cannot be read.
        """
        try:
            account = msgspec.json.decode(path.read_bytes(), type=_ServiceAccount)
        except msgspec.DecodeError as error:
            raise ConfigurationError(f"{path} is not the key of a service account: {error}") from None
        return cls(account.project_id, account.client_email, account.private_key, account.token_uri)


class _ServiceAccount(msgspec.Struct):
    project_id: str
    client_email: str
    private_key: str
    token_uri: str = GOOGLE_TOKEN_URI


@dataclass(frozen=True, slots=True)
class WebPushConfiguration:
    """Web Push (RFC 8030) with our own key pair (VAPID, RFC 8292).

    Attributes:
        private_key_pem: a P-256 key. Browsers bind subscriptions to it: keep it.
        subject: whom push services may write to, `mailto:…` or `https:…`.
        hosts: the push services that subscriptions may name, as in `DialingRules.hosts`.
        token_lifetime_s: of the tokens that identify us (24 hours at most).
        notice_lifetime_s: how long a notice waits for a device that is off.
        padded_bytes: payloads are padded to a multiple of this, so that their length tells nothing.
    """

    private_key_pem: str = field(repr=False)
    subject: str
    hosts: tuple[str, ...] = WEB_PUSH_HOSTS
    token_lifetime_s: float = 12 * 3600.0
    notice_lifetime_s: float = 3600.0
    padded_bytes: int = 512

    def __post_init__(self) -> None:
        require_kinds(self)
        if not self.subject.startswith(("mailto:", "https:")):
            raise ConfigurationError("web_push.subject must begin with mailto: or https:, RFC 8292 §2.1")
        if not 60 <= self.token_lifetime_s <= 86_400:
            raise ConfigurationError("web_push.token_lifetime_s: RFC 8292 allows 24 hours at most; choose 60 to 86400")
        if not 1 <= self.padded_bytes <= 3072:
            raise ConfigurationError(f"web_push.padded_bytes is {self.padded_bytes}; choose 1 to 3072")


@dataclass(frozen=True, slots=True)
class PushConfiguration:
    """Which push services there are, and what may be spent on them.

    Attributes:
        apns, fcm, web_push: each service's credentials; None: devices cannot be woken by it.
        queued_pushes: pushes that wait, all services together; one more is dropped and counted.
        parallel_requests: requests on their way to one host at a time.
        request_timeout_s: for one request.
        retry_after_ms: between a failure (429, 5xx, no answer) and the only other attempt.
        retry_needs_s: a ring must have more than this left for another attempt.
        flush_timeout_s: how long pushes may still go out when the gateways are closed.
        max_answer_bytes: the largest answer that is read.
        networks: addresses outside the public Internet that may be connected to, as `10.0.0.0/8`.
        authorities_file: certificates (PEM) that are trusted instead of the system's.
    """

    apns: ApnsConfiguration | None = None
    fcm: FcmConfiguration | None = None
    web_push: WebPushConfiguration | None = None
    queued_pushes: int = 10_000
    parallel_requests: int = 50
    request_timeout_s: float = 5.0
    retry_after_ms: int = 500
    retry_needs_s: float = 3.0
    flush_timeout_s: float = 2.0
    max_answer_bytes: int = 16 * 1024
    networks: tuple[str, ...] = ()
    authorities_file: Path | None = None

    def __post_init__(self) -> None:
        require_kinds(self)
        if self.apns is None and self.fcm is None and self.web_push is None:
            raise ConfigurationError("push: give the credentials of one service at least, or no PushConfiguration")
        if self.queued_pushes < 0 or self.parallel_requests < 1:
            raise ConfigurationError("push.queued_pushes starts at 0, push.parallel_requests at 1")
        if self.request_timeout_s <= 0 or self.flush_timeout_s < 0 or self.retry_after_ms < 0:
            raise ConfigurationError("push: timeouts must be positive")
        DialingRules(networks=self.networks)  # says what is wrong with them
