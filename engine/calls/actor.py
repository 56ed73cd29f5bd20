"""Who asks, and on which device: made by the signaling layer from a verified token, believed by call control."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, NamedTuple

__all__ = [
    "Actor",
    "AppState",
    "DeviceAddress",
    "DeviceInformation",
    "Permission",
    "Platform",
    "Principal",
    "PushEndpoint",
    "PushKind",
    "Role",
]

Role = Literal["agent", "visitor", "supervisor", "service"]
Platform = Literal["ios", "android", "desktop", "web"]
AppState = Literal["foreground", "background", "locked", "terminated"]
Permission = Literal["prompt", "granted", "denied", "denied_permanent", "restricted"]
PushKind = Literal["apns", "apns_voip", "fcm", "webpush"]


class Principal(NamedTuple):
    """A person or a service inside one tenant. Ids are only ever compared inside their tenant and role."""

    org: str
    role: Role
    sub: str


class DeviceAddress(NamedTuple):
    """One device of one principal. A device id alone is not unique: a visitor's page chooses its own."""

    org: str
    role: Role
    sub: str
    device: str

    @property
    def principal(self) -> Principal:
        return Principal(self.org, self.role, self.sub)


@dataclass(slots=True, frozen=True)
class Actor:
    """The verified author of a command.

    Attributes:
        sub: the principal's id (JWT `sub`).
        role: `agent`, `visitor`, `supervisor` or `service`.
        org: the tenant; every id in a command is looked up inside it.
        device: the device's id; None for a service token without a device.
        caps: capabilities (JWT `cap`), for example `video.receive`, `handoff`, `call.end`.
        groups: routing groups of an agent (JWT `grp`).
        name, avatar: the identity that the server asserts to the other side.
        conversations: the conversations a visitor may touch (JWT `cv`).
    """

    sub: str
    role: Role
    org: str
    device: str | None = None
    caps: frozenset[str] = frozenset()
    groups: frozenset[str] = frozenset()
    name: str | None = None
    avatar: str | None = None
    conversations: frozenset[str] = frozenset()

    @property
    def principal(self) -> Principal:
        return Principal(self.org, self.role, self.sub)

    @property
    def address(self) -> DeviceAddress | None:
        return None if self.device is None else DeviceAddress(self.org, self.role, self.sub, self.device)


@dataclass(slots=True, frozen=True)
class PushEndpoint:
    """Where a device can be pushed to. What gives access is left out of its `repr`, which may be logged.

    Attributes:
        kind: the provider.
        token: of APNs and FCM.
        endpoint, p256dh, auth: the URL and the keys of a Web Push subscription (RFC 8030, 8291), in base64url.
        topic: the app's bundle id, where the provider asks for one.
    """

    kind: PushKind
    token: str | None = field(default=None, repr=False)
    endpoint: str | None = field(default=None, repr=False)
    p256dh: str | None = field(default=None, repr=False)
    auth: str | None = field(default=None, repr=False)
    topic: str | None = None


@dataclass(slots=True, frozen=True)
class DeviceInformation:
    """What a device says of itself in `hello`."""

    id: str
    platform: Platform
    app_version: str = ""
    name: str | None = None
    app_state: AppState = "foreground"
    camera: Permission = "granted"
    mic: Permission = "granted"
    push: tuple[PushEndpoint, ...] = ()
    caps: tuple[str, ...] = ()
