"""One ICE agent for one component, without I/O (RFC 8445, RFC 8838, RFC 7675)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from triortc.engine.ice.addresses import refusal
from triortc.engine.ice.answers import AnswerHandler
from triortc.engine.ice.binding import BindingMessages
from triortc.engine.ice.candidates import candidate_priority
from triortc.engine.ice.checks import CheckSender
from triortc.engine.ice.consent import ConsentTimer
from triortc.engine.ice.directory import CandidateDirectory
from triortc.engine.ice.events import IceEvent, IceState
from triortc.engine.ice.inbound import InboundChecks, PeerCheck
from triortc.engine.ice.nomination import Nomination
from triortc.engine.ice.pair import CandidatePair, PairState
from triortc.engine.ice.paths import PathSelection
from triortc.engine.ice.statistics import IceStatistics
from triortc.engine.ice.transactions import CheckKind
from triortc.engine.stun.constants import MessageClass, Method
from triortc.engine.stun.message import StunMessage, parse_message
from triortc.errors import IceError, StunError

if TYPE_CHECKING:
    from collections.abc import Callable

    from triortc.engine.address import Address
    from triortc.engine.ice.configuration import IceConfiguration
    from triortc.engine.sdp.candidate import Candidate

__all__ = ["IceAgent"]

_UFRAG: Final = re.compile(r"[A-Za-z0-9+/]{4,256}", re.ASCII)
_PASSWORD: Final = re.compile(r"[A-Za-z0-9+/]{22,256}", re.ASCII)
_DISCONNECTED: Final = IceState.DISCONNECTED  # an enumeration's member is found by a call each time
_ENDED: Final = (IceState.FAILED, IceState.CLOSED)


class IceAgent:
    """Finds a path to the peer, keeps it, and follows the peer when it moves.

    The order of calls: add local candidates, ``set_remote_credentials``, ``start``; remote candidates at any time. A
    restart (RFC 8445 section 9) is a second agent beside the first: each has its credentials, so a datagram belongs to
    the one whose ``receive`` returns ``True``. A relayed candidate is a local candidate whose base is the relayed
    address: the owner of the TURN allocation sends what ``poll_transmit`` gives with this base.

    Args:
        controlling: the role at the start; a conflict with the peer's may flip it (RFC 8445 section 7.3.1.1).
        configuration: timers, limits and address policy.
        random_bytes: gives ``n`` unpredictable bytes.
    """

    def __init__(
        self, *, controlling: bool, configuration: IceConfiguration, random_bytes: Callable[[int], bytes]
    ) -> None:
        self.configuration = configuration
        self.statistics = IceStatistics()
        self._binding = BindingMessages(controlling=controlling, random_bytes=random_bytes)
        #: Our credentials, for the session description.
        self.local_ufrag = self._binding.local_ufrag
        self.local_password = self._binding.local_password
        self._directory = CandidateDirectory(configuration)
        self._checks = CheckSender(
            binding=self._binding,
            configuration=configuration,
            random_bytes=random_bytes,
            statistics=self.statistics,
        )
        self._paths = PathSelection(
            configuration=configuration,
            consent=ConsentTimer(interval_s=configuration.consent_interval_s, random_bytes=random_bytes),
            statistics=self.statistics,
        )
        self._inbound = InboundChecks(
            binding=self._binding, checks=self._checks, configuration=configuration, statistics=self.statistics
        )
        self._nomination = Nomination(
            binding=self._binding, checks=self._checks, paths=self._paths, configuration=configuration
        )
        self._answers = AnswerHandler(
            binding=self._binding,
            checks=self._checks,
            directory=self._directory,
            nomination=self._nomination,
            paths=self._paths,
            statistics=self.statistics,
        )
        self._pairs = self._checks.checklist.pairs
        self._early: list[PeerCheck] = []
        self._started = self._active = False
        self.remote_candidates_ended = False
        self._patience_until = float("-inf")
        self._deadline: float | None = None
        self._deadline_is_known = True

    # What an owner reads.

    @property
    def controlling(self) -> bool:
        """The present role."""
        return self._binding.controlling

    @property
    def state(self) -> IceState:
        """The present state; every change comes as an event as well."""
        return self._paths.state

    @property
    def selected(self) -> tuple[Address, Address] | None:
        """Base and remote address of the pair that media uses now, or ``None``: then nothing may be sent."""
        pair = self._paths.pair
        return None if pair is None else (pair.base, pair.remote_address)

    @property
    def nominated(self) -> bool:
        """Whether the selected pair is nominated, so that the peer uses it too."""
        return self._paths.pair is not None and self._paths.pair.nominated

    @property
    def rtt_s(self) -> float | None:
        """The smoothed round-trip time of the selected pair in seconds, from checks and consent checks."""
        return None if self._paths.pair is None else self._paths.pair.rtt_s

    # What an owner does.

    def add_local_candidate(self, candidate: Candidate, base: Address | None = None) -> None:
        """Add one of our candidates.

        Args:
            candidate: as it is told to the peer; its address may be a public one that a NAT maps one-to-one.
            base: where datagrams leave from and arrive at; the candidate's own address if left out.

        Raises:
            ConfigurationError: the candidate is not of component 1 over UDP, or the base is not an address.
        """
        base = base or (candidate.address, candidate.port)
        is_new = not self._directory.knows_base(base)
        self._directory.add_local(candidate, base)
        if is_new:
            for remote in self._directory.remote.values():
                self._add_pair(base, remote)
        self._deadline_is_known = False

    def set_remote_credentials(self, ufrag: str, password: str) -> None:
        """Take the peer's credentials; checks begin when ``start`` has been called as well.

        Raises:
            IceError: they break RFC 8839 section 5.4, or the agent has others already.
        """
        if not _UFRAG.fullmatch(ufrag) or not _PASSWORD.fullmatch(password):
            raise IceError("ICE credentials must be 4 to 256 and 22 to 256 characters out of A-Z a-z 0-9 + /")
        if self._binding.remote_ufrag is not None:
            if self._binding.remote_ufrag == ufrag and self._binding.is_remote_password(password):
                return
            raise IceError("this agent has other remote credentials: a restart takes a new agent beside it")
        self._binding.set_remote(ufrag, password)
        self._deadline_is_known = False

    def take_control(self) -> None:
        """Be the controlling agent: a peer with a lite implementation never is (RFC 8445 section 6.1.1)."""
        if not self.controlling:
            self._checks.switch_role(True)
            self._deadline_is_known = False

    def add_remote_candidate(self, candidate: Candidate, now: float) -> None:
        """Take a candidate of the peer; one that is not wanted is counted in ``statistics.dropped``."""
        if self.state in _ENDED:
            return
        ufrag = candidate.extension("ufrag")
        remote_ufrag = self._binding.remote_ufrag
        if ufrag is not None and remote_ufrag is not None and ufrag != remote_ufrag:
            # RFC 8839 section 5.1: it belongs to another generation.
            self._drop("ufrag")
            return
        taken = self._directory.add_remote(candidate)
        if isinstance(taken, str):
            self._drop(taken)
            return
        self._patience_until = now + self.configuration.patience_s
        for base in self._directory.bases:
            self._add_pair(base, taken)
        self._proceed(now)

    def end_of_remote_candidates(self, now: float) -> None:
        """The peer has no further candidates (RFC 8838 section 14). Its checks may still come from new addresses."""
        self.remote_candidates_ended = True
        if self.state not in _ENDED:
            self._proceed(now)

    def start(self, now: float) -> None:
        """Begin to check, as soon as the peer's credentials are known. Checks of the peer are answered before, too."""
        if self.state not in _ENDED:
            self._started = True
            self._proceed(now)

    def close(self) -> None:
        """Stop: nothing is sent or answered any more."""
        if self.state is not IceState.CLOSED:
            self._end(IceState.CLOSED)

    def poll_transmit(self) -> tuple[bytes, Address, Address] | None:
        """Return the next datagram with its base and remote address, or ``None``."""
        return self._checks.poll_transmit()

    def poll_event(self) -> IceEvent | None:
        """Return the next event, or ``None``."""
        return self._paths.poll_event()

    def touch(self, local: Address, remote: Address, now: float) -> bool:
        """Note that an authentic DTLS or SRTP packet came this way.

        It is a sign of life, not of consent (RFC 7675 section 5.1). From an address that is not known it starts a check
        of that path, since the peer has moved.

        Returns:
            Whether there may be something to send or an event, or the deadline has changed.
        """
        pair = self._pairs.get((local, remote))
        if pair is None:
            if not self._active or not self._directory.knows_base(local) or refusal(remote, self.configuration):
                return False
            pair = self._learn_pair(local, remote, candidate_priority("prflx"))
            if pair is None:
                return False
            self._checks.trigger(pair, now)
            self._deadline_is_known = False
        if self._nomination.media(pair, now):
            self._deadline_is_known = False
        if self.state is _DISCONNECTED:
            self._proceed(now)
        return not self._deadline_is_known

    def receive(self, data: bytes | memoryview, local: Address, remote: Address, now: float) -> bool:
        """Take a datagram that looks like STUN.

        Args:
            data: the datagram.
            local: the base it arrived at.
            remote: where it came from.
            now: seconds, monotonic.

        Returns:
            Whether it is authentic and for this agent; if not, it was counted and dropped.
        """
        if self.state in _ENDED:
            return self._drop("ended")
        if not self._directory.knows_base(local):
            return self._drop("base")
        try:
            message = parse_message(data)
            if message.method != Method.BINDING:
                return self._drop("method")
            if message.message_class is MessageClass.REQUEST:
                accepted = self._receive_request(message, local, remote, now)
            elif message.message_class is MessageClass.INDICATION:
                self.statistics.indications_received += 1
                return False
            else:
                accepted = self._answers.receive(message, local, remote, now)
        except StunError:
            return self._drop("malformed")
        if accepted:
            self._proceed(now)
        return accepted

    def handle_timeout(self, now: float) -> None:
        """Do what is due: begin, retransmit, check, nominate, ask for consent, give up."""
        if self.state in _ENDED:
            return
        for transaction in self._checks.expire(now):
            self._answers.failed(transaction, now)
        consent = self._paths.consent
        if self._paths.pair is not None and consent.deadline is not None and now >= consent.deadline:
            self._checks.send(self._paths.pair, CheckKind.CONSENT, now)
            consent.restart(now)
        if self._paths.pair is not None and self._paths.wants_probe(now):
            self._checks.send(self._paths.pair, CheckKind.PROBE, now)
        self._proceed(now)

    def next_deadline(self) -> float | None:
        """When ``handle_timeout`` wants to be called; 0.0 means at once."""
        if not self._deadline_is_known:
            self._deadline = self._find_deadline()
            self._deadline_is_known = True
        return self._deadline

    # The peer's checks (RFC 8445 section 7.3).

    def _receive_request(self, request: StunMessage, base: Address, remote: Address, now: float) -> bool:
        accepted, check = self._inbound.receive(request, base, remote)
        if check is not None:
            if self._active:
                self._peer_checked(check, now)
            elif len(self._early) < self.configuration.max_early_checks:
                self._early.append(check)
            else:
                self._drop("early_checks")
        return accepted

    def _peer_checked(self, check: PeerCheck, now: float) -> None:
        pair = self._pairs.get((check.base, check.remote)) or self._learn_pair(check.base, check.remote, check.priority)
        if pair is None:
            self._drop("pairs")
            return
        if not check.use_candidate:
            pair.plain_check_received = True
        is_stale = now - pair.consent_at > self.configuration.consent_expiry_s / 2
        is_valid = pair.state is PairState.SUCCEEDED and (pair is self._paths.pair or not is_stale)
        if check.use_candidate and not self.controlling:
            pair.nominate_on_success = True
            if is_valid:
                self._nomination.nominated_by_peer(pair, now)
        if not is_valid:
            self._checks.trigger(pair, now)
        elif not self.controlling and not pair.nominated and not check.use_candidate:
            # A controlling peer may nominate only when it hears a check of ours after its own has succeeded; ours may
            # have come too early for that, and the peer's next tick can be 200 ms away.
            self._checks.send(pair, CheckKind.CONSENT, now)
        self._nomination.heard(pair, now)

    def _learn_pair(self, base: Address, remote: Address, priority: int) -> CandidatePair | None:
        """Pair a base with an address the peer was heard from; the oldest of too many such addresses is forgotten."""
        if remote not in self._directory.remote:
            selected = self._paths.pair
            surplus = self._directory.surplus(None if selected is None else selected.remote_address)
            for pair in [pair for pair in self._pairs.values() if pair.remote_address == surplus]:
                self._checks.forget(pair)
        candidate = self._directory.learn_remote(remote, priority)
        local = self._directory.best_local(base)
        return self._checks.checklist.add(base, local, candidate, controlling=self.controlling, triggered=True)

    # Going on.

    def _add_pair(self, base: Address, remote: Candidate) -> None:
        """Pair a base with a candidate from signaling, unless a nominated pair makes it needless."""
        address = (remote.address, remote.port)
        if not self._directory.may_pair(base, address):
            return
        known = self._pairs.get((base, address))
        if known is not None:
            # It was peer-reflexive until now; signaling tells its true type and priority (RFC 8838 section 11.4).
            known.remote = remote
            known.rank(self.controlling)
            return
        local = self._directory.best_local(base)
        pair = self._checks.checklist.add(base, local, remote, controlling=self.controlling)
        selected = self._paths.pair
        if pair is None:
            self._drop("pairs")
            return
        if selected is None or not selected.nominated or self.state is IceState.DISCONNECTED:
            return
        if self.controlling or pair.priority < selected.priority:
            self._checks.forget(pair)

    def _proceed(self, now: float) -> None:
        """Do what the last event made possible. Ends every entry point, so that nothing waits for a tick needlessly."""
        self._deadline_is_known = False
        if not self._active:
            if not self._started or self._binding.remote_ufrag is None:
                return
            self._begin(now)
        self._checks.send_paced(now)
        if (
            self._paths.pair is not None
            and not self._paths.has_consent(now)
            and not self._nomination.consent_expired(now)
        ):
            self._end(IceState.FAILED)
            return
        self._nomination.proceed(now)
        pending = self._is_pending()
        self._paths.update_state(now, pending=pending)
        if self._paths.pair is None and not pending and now >= self._patience_until:
            self._end(IceState.FAILED)

    def _is_pending(self) -> bool:
        return any(pair.pending for pair in self._pairs.values())

    def _begin(self, now: float) -> None:
        self._active = True
        self._patience_until = now + self.configuration.patience_s
        self._paths.change_state(IceState.CHECKING)
        early, self._early = self._early, []
        for check in early:
            if check.remote_ufrag == self._binding.remote_ufrag:
                self._peer_checked(check, now)
            else:
                self._drop("username")

    def _find_deadline(self) -> float | None:
        if self.state in _ENDED:
            return None
        if not self._active:
            return 0.0 if self._started and self._binding.remote_ufrag is not None else None
        deadlines = [
            self._checks.next_deadline(),
            self._paths.next_deadline(),
            self._nomination.next_deadline(),
            self._patience_until if self._paths.pair is None and not self._is_pending() else None,
        ]
        return min((deadline for deadline in deadlines if deadline is not None), default=None)

    def _end(self, state: IceState) -> None:
        self._active = False
        self._checks.clear()
        self._early.clear()
        self._paths.end(state)
        self._deadline_is_known = False

    def _drop(self, reason: str) -> bool:
        self.statistics.dropped[reason] += 1
        return False
