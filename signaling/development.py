"""What a development server is configured as: tokens for whoever asks, so loopback only unless it is forced."""

from __future__ import annotations

import ipaddress
from datetime import UTC, datetime
from typing import Final

from triortc.engine.calls.configuration import CallConfiguration
from triortc.engine.interfaces import local_addresses
from triortc.errors import ConfigurationError
from triortc.signaling.app import ServerConfiguration
from triortc.signaling.certificates import self_signed_certificate
from triortc.signaling.webtransport.configuration import WebTransportConfiguration

__all__ = ["development_configuration"]

_LOOPBACK_NAMES: Final = ("localhost", "127.0.0.1", "::1")


def development_configuration(
    host: str,
    port: int,
    *,
    public_host: str | None = None,
    force: bool = False,
    record: bool = False,
    webtransport: bool = True,
) -> ServerConfiguration:
    """The configuration of a development server.

    Args:
        host: the address to bind; loopback, unless forced.
        port: the TCP port.
        public_host: a further name of this machine.
        force: serve the network, over TLS with a self-signed certificate.
        record: let agents record calls.
        webtransport: serve WebTransport, too, on the UDP port of the same number.

    Raises:
        ConfigurationError: the host is not loopback and `force` is not set.
    """
    loopback = _is_loopback(host)
    if not loopback and not force:
        raise ConfigurationError(
            f"a development server gives tokens to whoever asks, and {host} can be reached by others: "
            "leave --host at 127.0.0.1, or add --force"
        )
    names = _names_of(host, public_host)
    certificate = None if loopback else self_signed_certificate(names, now=datetime.now(UTC))
    calls = CallConfiguration(recording="on_request" if record else "off")
    return ServerConfiguration(
        host=host,
        port=port,
        development=True,
        certificate=certificate,
        webtransport=WebTransportConfiguration() if webtransport else None,
        host_names=names,
        calls=calls,
    )


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _names_of(host: str, public_host: str | None) -> tuple[str, ...]:
    """The names a request may use: what is bound, what reaches it, and nothing that a stranger's DNS can make up."""
    names = {host} if host not in ("0.0.0.0", "::") else set(local_addresses(loopback=True))
    if _is_loopback(host) or host in ("0.0.0.0", "::"):
        names.update(_LOOPBACK_NAMES)
    if public_host is not None:
        names.add(public_host)
    return tuple(sorted(names))
