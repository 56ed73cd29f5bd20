"""Credentials for a TURN server that shares a secret with us, made for one device and for an hour at most.

The form that TURN servers know as "REST API": the user name is the time at which it expires (unix seconds), a colon and
a word of ours; the password is the HMAC-SHA1 of the user name, in base64. TURN itself (RFC 8656 §9.2) sees an ordinary
long-term credential.
"""

from __future__ import annotations

import base64
import hmac
from dataclasses import dataclass, field
from typing import Any, Final

from triortc.configuration_kinds import require_kinds
from triortc.engine.calls.actor import DeviceAddress
from triortc.errors import ConfigurationError

__all__ = ["TurnConfiguration", "turn_server"]

_MINIMUM_SECRET_CHARACTERS: Final = 16
_SCHEMES: Final = ("turn:", "turns:")
_NAME_CHARACTERS: Final = 16


@dataclass(frozen=True, slots=True)
class TurnConfiguration:
    """A TURN server for clients that reach us in no other way.

    Attributes:
        urls: as RFC 7065 writes them: `turn:turn.example:3478?transport=udp`, `turns:…`.
        secret: what the TURN server has as its shared secret, 16 characters or more.
        lifetime_s: how long a device's credentials are good, an hour at most.
        renew_before_s: how long before their end a connected device is given new ones.
    """

    urls: tuple[str, ...]
    secret: str = field(repr=False)
    lifetime_s: float = 3600.0
    renew_before_s: float = 300.0

    def __post_init__(self) -> None:
        require_kinds(self)
        if not self.urls or not all(url.startswith(_SCHEMES) for url in self.urls):
            raise ConfigurationError("turn.urls: name the server as turn:HOST:PORT or turns:HOST:PORT, RFC 7065")
        if len(self.secret) < _MINIMUM_SECRET_CHARACTERS:
            raise ConfigurationError(f"turn.secret needs {_MINIMUM_SECRET_CHARACTERS} characters or more")
        if not 60 <= self.lifetime_s <= 3600:
            raise ConfigurationError(f"turn.lifetime_s is {self.lifetime_s:g}; choose 60 to 3600 seconds")
        if not 0 < self.renew_before_s < self.lifetime_s:
            raise ConfigurationError("turn.renew_before_s must be positive, and shorter than turn.lifetime_s")

    @property
    def renew_after_s(self) -> float:
        """How old credentials are when they are renewed."""
        return self.lifetime_s - self.renew_before_s


def turn_server(configuration: TurnConfiguration, address: DeviceAddress, now_s: float) -> dict[str, Any]:
    """An `RTCIceServer` for one device.

    Args:
        configuration: the server.
        address: the device. Its name in the credentials is a hash: the TURN server's log need not know who calls.
        now_s: unix seconds.
    """
    key = configuration.secret.encode()
    word = hmac.digest(key, "\0".join(address).encode(), "sha256").hex()[:_NAME_CHARACTERS]
    username = f"{int(now_s + configuration.lifetime_s)}:{word}"
    credential = base64.b64encode(hmac.digest(key, username.encode(), "sha1")).decode()
    return {"urls": list(configuration.urls), "username": username, "credential": credential}
