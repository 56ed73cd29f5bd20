"""The candidates that an agent knows, its own and the peer's, within limits (RFC 8445 sections 5.1 and 6.1.2.2)."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from triortc.engine.ice.addresses import canonical_ip, ip_version, refusal
from triortc.engine.ice.candidates import TYPE_PREFERENCES, peer_reflexive_candidate
from triortc.errors import ConfigurationError

if TYPE_CHECKING:
    from triortc.engine.address import Address
    from triortc.engine.ice.configuration import IceConfiguration
    from triortc.engine.sdp.candidate import Candidate

__all__ = ["CandidateDirectory"]

_RTP_COMPONENT: Final = 1
# The one place that says which transports are spoken; a TCP candidate would need its pairs to carry the connection.
_TRANSPORTS: Final = frozenset({"udp"})


class CandidateDirectory:
    """Local candidates by base, remote candidates by address.

    Args:
        configuration: limits and address policy.
    """

    def __init__(self, configuration: IceConfiguration) -> None:
        self._configuration = configuration
        self._local: dict[Address, list[Candidate]] = {}
        self.remote: dict[Address, Candidate] = {}
        self._learned: dict[Address, None] = {}

    def add_local(self, candidate: Candidate, base: Address) -> None:
        """Add one of our candidates.

        Raises:
            ConfigurationError: not of component 1 over UDP, or the base is not an IP address as the interface knows it.
        """
        if candidate.component != _RTP_COMPONENT or candidate.transport not in _TRANSPORTS:
            raise ConfigurationError(
                "an ICE agent has one component over UDP: give candidates with component 1 and udp"
            )
        try:
            canonical = canonical_ip(base[0])
        except ValueError as error:
            raise ConfigurationError(f"the base {base[0]!r} is not an IP address: give the socket's own") from error
        if canonical != base[0]:
            raise ConfigurationError(
                f"the base is written {base[0]!r}: write {canonical!r}, as packets will be matched"
            )
        self._local.setdefault(base, []).append(candidate)

    @property
    def bases(self) -> list[Address]:
        """Where checks can leave from."""
        return list(self._local)

    def knows_base(self, base: Address) -> bool:
        """Whether this is one of ours."""
        return base in self._local

    def best_local(self, base: Address) -> Candidate:
        """Return the candidate that stands for a base: of several with one base only the best is paired (6.1.2.4)."""
        return max(self._local[base], key=lambda candidate: candidate.priority)

    def local_at(self, base: Address, address: Address) -> Candidate | None:
        """Return our candidate with this base and (mapped) address."""
        for candidate in self._local[base]:
            if (candidate.address, candidate.port) == address:
                return candidate
        return None

    def may_pair(self, base: Address, remote: Address) -> bool:
        """Whether both addresses are of one family (RFC 8445 section 6.1.2.2)."""
        return ip_version(base[0]) == ip_version(remote[0])

    def add_remote(self, candidate: Candidate) -> Candidate | str:
        """Take a candidate from signaling; return it with its address in canonical form, or why it was refused."""
        candidate = _canonical(candidate)
        address = (candidate.address, candidate.port)
        if candidate.component != _RTP_COMPONENT:
            return "component"
        if candidate.transport not in _TRANSPORTS or candidate.kind not in TYPE_PREFERENCES:
            return "transport"
        reason = refusal(address, self._configuration)
        if reason is not None:
            return reason
        if address in self.remote and address not in self._learned:
            return "duplicate"
        if len(self.remote) - len(self._learned) >= self._configuration.max_remote_candidates:
            return "remote_candidates"
        self._learned.pop(address, None)
        self.remote[address] = candidate
        return candidate

    def learn_remote(self, address: Address, priority: int) -> Candidate:
        """Return the candidate at an address a check came from, a peer-reflexive one if it is new (7.3.1.3)."""
        candidate = self.remote.get(address)
        if candidate is None:
            candidate = peer_reflexive_candidate(address, priority=priority)
            self.remote[address] = candidate
            self._learned[address] = None
        return candidate

    def surplus(self, keep: Address | None) -> Address | None:
        """Forget the oldest learned address if there are too many, but not ``keep``; return it."""
        if len(self._learned) < self._configuration.max_peer_reflexive:
            return None
        for address in self._learned:
            if address != keep:
                del self._learned[address]
                del self.remote[address]
                return address
        return None


def _canonical(candidate: Candidate) -> Candidate:
    """Write an IP address as packets will show it; names stay as they are, to be refused."""
    try:
        address = canonical_ip(candidate.address)
    except ValueError:
        return candidate
    return candidate if address == candidate.address else replace(candidate, address=address)
