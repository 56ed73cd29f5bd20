"""The server's half of connectivity checks: authenticate, settle the roles, answer (RFC 8445 section 7.3)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from triortc.engine.ice.addresses import refusal
from triortc.engine.stun.constants import ErrorCode

if TYPE_CHECKING:
    from collections.abc import Sequence

    from triortc.engine.address import Address
    from triortc.engine.ice.binding import BindingMessages
    from triortc.engine.ice.checks import CheckSender
    from triortc.engine.ice.configuration import IceConfiguration
    from triortc.engine.ice.statistics import IceStatistics
    from triortc.engine.stun.message import StunMessage

__all__ = ["InboundChecks", "PeerCheck"]

_MAX_PRIORITY: Final = 2**31 - 1


class PeerCheck(NamedTuple):
    """A check of the peer that was answered with success; ``remote_ufrag`` is what its sender calls itself."""

    base: Address
    remote: Address
    remote_ufrag: str
    priority: int
    use_candidate: bool


class InboundChecks:
    """Answers Binding requests.

    Args:
        binding: credentials and role.
        checks: takes the answers for sending, and a change of role.
        configuration: address policy.
        statistics: where drops and answers are counted.
    """

    def __init__(
        self,
        *,
        binding: BindingMessages,
        checks: CheckSender,
        configuration: IceConfiguration,
        statistics: IceStatistics,
    ) -> None:
        self._binding = binding
        self._checks = checks
        self._configuration = configuration
        self._statistics = statistics

    def receive(self, request: StunMessage, base: Address, remote: Address) -> tuple[bool, PeerCheck | None]:
        """Answer a request, or drop it.

        Returns:
            Whether it is authentic, and the check if the answer was a success.

        Raises:
            StunError: an attribute of the request is malformed; nothing was answered.
        """
        reason = refusal(remote, self._configuration)
        if reason is not None:
            self._statistics.dropped[reason] += 1
            return False, None
        refused = self._binding.request_refusal(request)
        if refused is not None:
            self._refuse(request, refused[0], base, remote)
            self._statistics.dropped[refused[1]] += 1
            return False, None
        self._statistics.requests_received += 1
        unknown = self._binding.unknown_required(request)
        priority = request.priority
        if unknown:
            self._answer_error(request, ErrorCode.UNKNOWN_ATTRIBUTE, base, remote, unknown)
        elif priority is None:
            self._answer_error(request, ErrorCode.BAD_REQUEST, base, remote)
        elif self._loses_role_conflict(request):
            self._answer_error(request, ErrorCode.ROLE_CONFLICT, base, remote)
        else:
            self._statistics.responses_sent += 1
            self._checks.transmit(self._binding.success(request, remote), base, remote)
            remote_ufrag = (request.username or "").partition(":")[2]
            priority = min(max(priority, 1), _MAX_PRIORITY)
            return True, PeerCheck(base, remote, remote_ufrag, priority, request.use_candidate)
        return True, None

    def _refuse(self, request: StunMessage, code: ErrorCode, base: Address, remote: Address) -> None:
        if not self._configuration.answer_unauthenticated:
            return
        answer = self._binding.error(request, code, authenticated=False)
        # Never more bytes to an address that has proved nothing than came from it: no use as an amplifier.
        if len(answer) <= len(request.raw):
            self._statistics.error_responses_sent += 1
            self._checks.transmit(answer, base, remote)

    def _answer_error(
        self, request: StunMessage, code: ErrorCode, base: Address, remote: Address, unknown: Sequence[int] = ()
    ) -> None:
        self._statistics.error_responses_sent += 1
        self._checks.transmit(self._binding.error(request, code, unknown=unknown), base, remote)

    def _loses_role_conflict(self, request: StunMessage) -> bool:
        """Settle a conflict of roles (RFC 8445 section 7.3.1.1): switch ours, or tell that the peer has to (487)."""
        binding = self._binding
        theirs = request.ice_controlling if binding.controlling else request.ice_controlled
        if theirs is None:
            return False
        # The greater tie-breaker is controlling in the end, whoever of the two has noticed first.
        we_control = binding.tie_breaker >= theirs
        if we_control is binding.controlling:
            return True
        self._checks.switch_role(we_control)
        return False
