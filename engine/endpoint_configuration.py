"""Where media is received, and how much of the kernel is asked for that."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

from triortc.configuration_kinds import require_kinds
from triortc.errors import ConfigurationError

__all__ = ["EndpointConfiguration"]


@dataclass(frozen=True, slots=True)
class EndpointConfiguration:
    """Where media is received.

    Attributes:
        media_host: addresses to bind; empty: every address of the machine.
        media_port: the UDP port, the same on every address; 0: one that the system picks for each address.
        media_advertise: a public address that a 1:1 NAT maps onto this machine; offered instead of the bound ones of
            its IP version.
        loopback: whether 127.0.0.1 and ::1 are bound and offered when `media_host` is empty. A server of a
            configuration file then takes devices' candidates there, too.
        socket_buffer_bytes: the kernel's buffer of each socket, each way.
        media_first: wait for media inside trio's own wait (:mod:`triortc.engine.media_loop`), which halves what a
            wake-up costs. For a process made for media; not under a guest run or a test clock.
        repair_pause_ms: when datagrams are lost again and again because nobody takes them in time, missing packets are
            not asked for again for so long: what comes on top of a full buffer makes it overflow once more.
        max_routes_per_session: addresses that one session is reached from; the oldest of more are forgotten.
    """

    media_host: tuple[str, ...] = ()
    media_port: int = 0
    media_advertise: str | None = None
    loopback: bool = False
    socket_buffer_bytes: int = 4 << 20
    media_first: bool = False
    repair_pause_ms: int = 1000
    max_routes_per_session: int = 64

    def __post_init__(self) -> None:
        require_kinds(self)
        if isinstance(self.media_host, str):
            raise ConfigurationError(f"media_host is several addresses: write ({self.media_host!r},)")
        if not 0 <= self.media_port <= 65535:
            raise ConfigurationError(f"media_port is {self.media_port}; choose 0 to 65535")
        advertised = () if self.media_advertise is None else (self.media_advertise,)
        for name, addresses in (("media_host", self.media_host), ("media_advertise", advertised)):
            for address in addresses:
                if not _is_ip_address(address):
                    raise ConfigurationError(
                        f"{name}: {address!r} is no IP address; peers are told addresses, no names"
                    )
        versions = {ipaddress.ip_address(address).version for address in advertised}
        for host in map(ipaddress.ip_address, self.media_host):
            if host.is_unspecified and host.version not in versions:
                raise ConfigurationError(
                    f"media_host: {host} is no address that peers could be told: leave media_host empty for every "
                    "address of this machine, or say with media_advertise what it is reached by"
                )
        if self.socket_buffer_bytes < 1 or self.max_routes_per_session < 1 or self.repair_pause_ms < 0:
            raise ConfigurationError(
                "socket_buffer_bytes and max_routes_per_session are 1 or more, repair_pause_ms is 0 or more"
            )

    @property
    def on_loopback(self) -> bool:
        """Whether a loopback address is asked for, so that peers on this machine are meant."""
        return self.loopback or any(ipaddress.ip_address(host).is_loopback for host in self.media_host)


def _is_ip_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
