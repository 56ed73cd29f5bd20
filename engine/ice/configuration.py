"""The numbers of ICE that an embedder may change."""

from __future__ import annotations

from dataclasses import dataclass

from triortc.configuration_kinds import require_kinds
from triortc.errors import ConfigurationError

__all__ = ["IceConfiguration"]


@dataclass(frozen=True, slots=True, kw_only=True)
class IceConfiguration:
    """Timers, limits and address policy of an agent.

    Attributes:
        check_interval_ms: Ta, the pace of connectivity checks (RFC 8445 section 14.2).
        rto_ms: the first retransmission interval of a check on a path whose round trip is not known (RFC 8445 14.3).
        min_rto_ms: the least interval on a path whose round trip is known.
        check_transmissions: Rc, how often a check is sent in all (RFC 8489 section 6.2.1).
        nomination_delay_ms: how long the controlling agent waits for a better pair after the first valid one.
        consent_interval_s: basic period of consent checks, randomised by 0.8 to 1.2 (RFC 7675 section 5.1); at least 5.
        consent_expiry_s: without an answer for this long, nothing more is sent to the peer (RFC 7675 section 5.1).
        disconnected_after_s: silence of the selected path after which the state is DISCONNECTED.
        quiet_path_ms: silence of the selected path after which, when the peer is heard on another one, it is probed.
        patience_s: how long the agent goes on waiting for the peer's checks when all of its own have failed (RFC 8863).
        max_remote_candidates: candidates taken from signaling.
        max_peer_reflexive: remote addresses learned from checks and kept.
        max_pairs: size of the checklist (RFC 8445 section 6.1.2.5).
        max_transactions: requests waiting for an answer.
        max_early_checks: checks of the peer kept until its credentials are known.
        max_queued_datagrams: datagrams waiting for ``poll_transmit``.
        allow_loopback: take candidates on 127.0.0.0/8 and ::1; for tests on one host.
        allow_link_local: take candidates on 169.254.0.0/16; IPv6 link-local needs a scope and is never taken.
        answer_unauthenticated: answer requests with wrong credentials by error 400 or 401 (RFC 8489 section 9.1.3),
            where that answer is no longer than the request, instead of dropping them in silence.
    """

    check_interval_ms: float = 50
    rto_ms: float = 500
    min_rto_ms: float = 100
    check_transmissions: int = 7
    nomination_delay_ms: float = 100
    consent_interval_s: float = 5
    consent_expiry_s: float = 30
    disconnected_after_s: float = 7
    quiet_path_ms: float = 500
    patience_s: float = 39.5
    max_remote_candidates: int = 20
    max_peer_reflexive: int = 20
    max_pairs: int = 100
    max_transactions: int = 128
    max_early_checks: int = 8
    max_queued_datagrams: int = 256
    allow_loopback: bool = False
    allow_link_local: bool = False
    answer_unauthenticated: bool = False

    def __post_init__(self) -> None:
        require_kinds(self)
        for name in self.__slots__:
            value = getattr(self, name)
            if not isinstance(value, bool) and value <= 0:
                raise ConfigurationError(f"IceConfiguration.{name} is {value}: give a number above 0")
        if self.consent_interval_s < 5:
            raise ConfigurationError(
                "IceConfiguration.consent_interval_s is below 5: give 5 or more; RFC 7675 forbids less than 4 s between"
            )
        if self.consent_expiry_s <= self.consent_interval_s * 1.2:
            raise ConfigurationError(
                "IceConfiguration.consent_expiry_s leaves no room for one check: give more than 1.2 consent_interval_s"
            )
