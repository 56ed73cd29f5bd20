"""One remote endpoint: ICE, DTLS, SRTP and the RTP session composed, without I/O.

    session.add_host_candidate(("192.0.2.7", 40000))
    session.set_remote(negotiated, now)
    session.receive([(datagram, source, arrived_at), …], local, now)
    while (transmit := session.poll_transmit()) is not None: …      # checks and handshakes, with their addresses
    session.outbox.drain(send_run)                                   # media, along session.path
    while (event := session.poll_event()) is not None: …
    session.next_deadline()

Nothing that a peer sends raises: what is malformed or not authentic is counted in ``counters`` and dropped.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Final, Protocol

from triortc.engine.address import Address, Datagram
from triortc.engine.datagrams import DatagramBatch
from triortc.engine.dtls.certificate import Certificate
from triortc.engine.dtls.events import DtlsClosed, DtlsConnected, DtlsFailed
from triortc.engine.dtls.transport import DtlsTransport
from triortc.engine.ice.agent import IceAgent
from triortc.engine.ice.candidates import host_candidate
from triortc.engine.ice.events import IceState, IceStateChanged, SelectedPairChanged
from triortc.engine.sdp.candidate import Candidate
from triortc.engine.sdp.negotiated import Negotiated
from triortc.engine.session.configuration import SessionConfiguration
from triortc.engine.session.datagram_kinds import SHORTEST_RTCP_BYTES, is_rtcp
from triortc.engine.session.drops import SessionCounters, count_drops
from triortc.engine.session.events import (
    FINAL_STATES,
    ConnectionState,
    ConnectionStateChanged,
    PathChanged,
    SessionEvent,
    SessionResumed,
    SessionSilent,
)
from triortc.engine.session.ice_generations import IceGenerations
from triortc.engine.session.inbound import OpenFlow
from triortc.engine.session.media import MediaSession
from triortc.engine.session.outbox import Outbox
from triortc.engine.srtp.keying import create_srtp
from triortc.errors import ConfigurationError

__all__ = ["Session"]

_CLOSED: Final = ConnectionState.CLOSED  # an enumeration's member is found by a call each time
#: DTLS datagrams that came before ICE knew where to answer (RFC 8842: they may overtake the checks).
MAX_EARLY_DTLS: Final = 8


class SessionFlow(OpenFlow, Protocol):
    """A flow as the session's datagrams meet it."""

    source: Address

    def forward(self, batch: DatagramBatch, first: int, end: int, now: float) -> int:
        """Take what it can of the datagrams `first` to `end`, all from `source`; returns the first one not taken."""


class Session:
    """One remote endpoint, from the first connectivity check to the last media packet.

    Arguments:
        controlling: our ICE role to begin with (RFC 8445 section 6.1.1): the offerer controls. Beside a lite peer we
            do, whatever is given.
        certificate: ours, for DTLS; one for the process is enough.
        configuration: the numbers.
        random_bytes: the source of credentials, tie-breakers and SSRCs.
    """

    def __init__(
        self,
        *,
        controlling: bool,
        certificate: Certificate,
        configuration: SessionConfiguration,
        random_bytes: Callable[[int], bytes],
    ) -> None:
        self.configuration = configuration
        self.certificate = certificate
        self._generations = IceGenerations(
            controlling=controlling, configuration=configuration.ice, random_bytes=random_bytes
        )
        #: Our first ICE username fragment, which names the session for as long as it lives.
        self.local_ufrag = self.ice.local_ufrag
        self.dtls: DtlsTransport | None = None
        self.outbox = Outbox(configuration.outbox_bytes)
        self.media = MediaSession(
            configuration=configuration,
            outbox=self.outbox,
            random_bytes=random_bytes,
            wake=self._wake,
            wake_media=self._wake_media,
        )
        self.counters = SessionCounters()
        self.state = ConnectionState.NEW
        #: Where media goes: (local, remote); None before ICE has found a way.
        self.path: tuple[Address, Address] | None = None
        #: Set by the shell: called when something is to be sent although nothing was received.
        self.wake: Callable[[Session], None] | None = None
        #: Set by the shell: called when `local_ufrags` has changed.
        self.on_ufrags: Callable[[], None] | None = None
        self.woken = False
        #: The same, when it is media alone.
        self.wake_media: Callable[[Session], None] | None = None
        self.media_woken = False
        #: By SSRC, what takes the peer's ordinary packets past everything here.
        self.flows: dict[int, SessionFlow] = {}
        #: What the session can be reached at, in the order of preference.
        self.local_candidates: list[Candidate] = []
        self._negotiated: Negotiated | None = None
        self._events: deque[SessionEvent] = deque()
        self._early_dtls: list[bytes] = []
        self._handshake_started = False
        self._heard_at: float | None = None
        self._silent = False
        self._control_deadline: float | None = None

    @property
    def ice(self) -> IceAgent:
        """The ICE agent whose pair carries media; a restart puts another into its place."""
        return self._generations.current

    @property
    def local_ufrags(self) -> tuple[str, ...]:
        """Our ICE username fragments, by which checks of the peer find this session."""
        return tuple(agent.local_ufrag for agent in self._generations.agents)

    def _wake(self) -> None:
        if not self.woken and self.wake is not None:
            self.woken = True
            self.wake(self)

    def _wake_media(self) -> None:
        if not self.media_woken and self.wake_media is not None:
            self.media_woken = True
            self.wake_media(self)

    # -- description

    def add_host_candidate(self, base: Address, *, advertised: str | None = None) -> None:
        """Media can be received at `base`; `advertised` is the public address that a 1:1 NAT shows instead."""
        candidate = host_candidate(
            base,
            advertised=None if advertised is None else (advertised, base[1]),
            local_preference=65535 - len(self.local_candidates),
        )
        self._generations.add_local_candidate(candidate, base)
        self.local_candidates.append(candidate)

    def local_credentials(self, *, restart: bool = False) -> tuple[str, str]:
        """Our ICE username fragment and password for the next description.

        Arguments:
            restart: the description offers or answers an ICE restart (:meth:`prepare_ice_restart`).
        """
        agent = self._generations.prepare_restart() if restart else self._generations.agreed
        return agent.local_ufrag, agent.local_password

    def prepare_ice_restart(self) -> None:
        """The next description offers or answers an ICE restart (RFC 8839 section 4.4.1.1.1).

        Nothing is checked before :meth:`set_remote`; media goes on over its pair until a better one is nominated.

        Raises:
            ConfigurationError: there is nothing to restart: no descriptions were exchanged, or it has ended.
        """
        if self._negotiated is None or self.state in FINAL_STATES:
            raise ConfigurationError(f"ICE cannot restart while the connection is {self.state.value}: open a new one")
        self._generations.prepare_restart()
        if self.on_ufrags is not None:
            self.on_ufrags()

    def give_up_ice_restart(self) -> None:
        """The description that was prepared is not agreed on: nothing changes."""
        self._generations.give_up_restart()

    def set_remote(self, negotiated: Negotiated, now: float) -> None:
        """Offer and answer are exchanged: start checks, and DTLS as soon as a pair is valid.

        May be called again after a renegotiation; the transport stays, media sections are taken over. With an ICE
        restart a new pair is looked for beside the one in use.

        Raises:
            ConfigurationError: the peer's certificate changed, which takes a new session; its ICE credentials changed
                and no restart was prepared; or a codec has no payload format here.
            IceError: the peer's credentials break RFC 8839 section 5.4.
        """
        previous = self._negotiated
        if previous is not None and negotiated.dtls_restart:
            raise ConfigurationError("the peer restarts its transport: open a new session for its offer instead")
        if previous is not None and negotiated.ice_restart:
            self._generations.restart(negotiated.remote_ufrag, negotiated.remote_password, now)
        self._generations.give_up_restart()
        if previous is None:
            self.ice.set_remote_credentials(negotiated.remote_ufrag, negotiated.remote_password)
            if negotiated.remote_ice_lite:
                self.ice.take_control()
            self.dtls = DtlsTransport(
                certificate=self.certificate,
                role=negotiated.dtls_role,
                remote_fingerprints=negotiated.remote_fingerprints,
                configuration=self.configuration.dtls,
            )
            self._set_state(ConnectionState.CONNECTING)
        self._negotiated = negotiated
        self.media.configure(negotiated.media)
        ice = self._generations.agreed
        for candidate in negotiated.remote_candidates:
            ice.add_remote_candidate(candidate, now)
        if negotiated.end_of_candidates:
            ice.end_of_remote_candidates(now)
        if previous is None:
            ice.start(now)
        self._pump(now)

    def add_remote_candidate(self, candidate: Candidate | None, now: float) -> None:
        """A trickled candidate of the peer (RFC 8838); None: there are no more."""
        ice = self._generations.agreed
        if candidate is None:
            ice.end_of_remote_candidates(now)
        else:
            ice.add_remote_candidate(candidate, now)
        self._pump(now)

    def close(self, now: float) -> None:
        """Say good-bye (RTCP BYE, DTLS close_notify) and stop. What is to be sent is still polled afterwards."""
        if self.state is _CLOSED:
            return
        self.media.say_goodbye(now)
        if self.dtls is not None and self._handshake_started:
            self.dtls.close(now)
        self._generations.close()
        self._set_state(ConnectionState.CLOSED, "closed here")
        self._wake()

    # -- datagrams

    def receive(self, datagrams: Sequence[Datagram], local: Address, now: float) -> list[Address]:
        """Take a run of datagrams that came to `local`; none arrived later than `now`.

        Returns the sources that have proved to be this session's peer: their further datagrams belong here.
        """
        authenticated: list[Address] = []
        if self.state is _CLOSED:
            return authenticated
        self._wake()
        counters, media = self.counters, self.media
        control = False
        media_from: Address | None = None
        for packet, remote, arrived_at in datagrams:
            if not packet:
                counters.empty += 1
                continue
            first = packet[0]
            if 128 <= first <= 191:
                if not media.secured:
                    counters.media_before_keys += 1
                elif len(packet) > 1 and 192 <= packet[1] <= 223:
                    media.receive_rtcp(packet, now)
                else:
                    media.receive_rtp(packet, arrived_at, now)
                if media.heard_at is not None:
                    media.heard_at, media_from = None, remote
            elif first < 4:
                control = True
                media.settle_arrivals()
                if self._generations.receive(bytes(packet), local, remote, now):
                    authenticated.append(remote)
                    self._heard(now)
            elif 20 <= first <= 63:
                control = True
                self._receive_dtls(bytes(packet), now)
            else:
                counters.unknown_protocol += 1
        if media_from is not None:
            self._heard(now)
            control = self.ice.touch(local, media_from, now) or control
            if self.path is None or self.path[1] != media_from:
                authenticated.append(media_from)
        if control:
            self._pump(now)
        return authenticated

    def receive_batch(
        self, batch: DatagramBatch, first: int, end: int, local: Address, remote: Address, now: float
    ) -> list[Address]:
        """Take the datagrams `first` to `end` of a batch, all from `remote` to `local`: by flows as far as they go.

        Returns what :meth:`receive` does.
        """
        flows, heads, lengths, slots = self.flows, batch.heads, batch.lengths, batch.slots
        authenticated: list[Address] = []
        n = first
        while n < end:
            flow = flows.get(heads[4 * n + 3])
            if flow is not None and flow.source == remote:
                taken = flow.forward(batch, n, end, now)
                if taken > n:
                    n = taken
                    continue
            if lengths[n] >= SHORTEST_RTCP_BYTES and is_rtcp(heads[4 * n]):
                authenticated += self.receive_rtcp(slots[n][: lengths[n]], local, remote, now)
            elif not flows:
                rest = [(slots[i][: lengths[i]], remote, batch.arrived_at(i)) for i in range(n, end) if lengths[i] >= 0]
                return authenticated + self.receive(rest, local, now)
            elif lengths[n] >= 0:
                authenticated += self.receive([(slots[n][: lengths[n]], remote, batch.arrived_at(n))], local, now)
            n += 1
        return authenticated

    def receive_rtcp(
        self, packet: bytes | memoryview, local: Address, remote: Address, now: float
    ) -> Sequence[Address]:
        """Take a datagram that looks like RTCP. Nobody is woken by feedback after which there is nothing to do.

        Returns what :meth:`receive` does.
        """
        media = self.media
        if not media.secured:
            return self.receive([(memoryview(packet), remote, now)], local, now)
        media.receive_rtcp(packet, now)
        if media.heard_at is None:
            return ()
        media.heard_at = None
        self._heard(now)
        if self.ice.touch(local, remote, now):
            self._pump(now)
        return () if self.path is not None and self.path[1] == remote else (remote,)

    def note_media(self, now: float) -> None:
        """Authentic media came along the path then, told by a flow a little later."""
        if self.path is not None and (self._heard_at is None or now > self._heard_at):
            self._heard(now)
            self.ice.touch(*self.path, now)

    def _receive_dtls(self, datagram: bytes, now: float) -> None:
        if self.dtls is None or self.path is None:
            self.counters.dtls_before_ice += 1
            if len(self._early_dtls) < MAX_EARLY_DTLS:
                self._early_dtls.append(datagram)
            return
        self.dtls.receive(datagram, now)

    def _heard(self, now: float) -> None:
        self._heard_at = now
        if self._silent:
            self._silent = False
            self._events.append(SessionResumed())
            self._find_deadline()
            self._wake()

    def is_heard_at(self, local: Address, remote: Address, since: float) -> bool:
        """Whether media goes this way, and something authentic has come since then."""
        if self.state in FINAL_STATES or self.path != (local, remote):
            return False
        return self._heard_at is not None and self._heard_at >= since

    def poll_transmit(self) -> tuple[bytes, Address, Address] | None:
        """The next connectivity check or handshake datagram, as (data, local, remote)."""
        transmit = self._generations.poll_transmit()
        if transmit is not None:
            return transmit
        if self.dtls is not None and self.path is not None and self._handshake_started:
            datagram = self.dtls.poll_transmit()
            if datagram is not None:
                return datagram, *self.path
        return None

    def poll_event(self) -> SessionEvent | None:
        """The next thing that happened, None when there is no more."""
        return self._events.popleft() if self._events else None

    # -- time

    def next_deadline(self) -> float | None:
        """When :meth:`handle_timeout` wants to be called."""
        if self.state is _CLOSED:
            return None
        control, media = self._control_deadline, self.media.deadline
        if control is None or (media is not None and media < control):
            return media
        return control

    def handle_timeout(self, now: float) -> None:
        """A deadline has passed; the next one is to be asked for."""
        if self.state is _CLOSED:
            return
        if self._control_deadline is None or now < self._control_deadline:
            self.media.handle_timeout(now)  # reports and feedback are most of what is ever due
            return
        self.media.settle_arrivals()
        self._generations.handle_timeout(now)
        if self.dtls is not None and self._handshake_started:
            self.dtls.handle_timeout(now)
        self.media.handle_timeout(now)
        silence = self._silence_deadline()
        if silence is not None and now >= silence:
            self._silent = True
            self._events.append(SessionSilent())
        self._pump(now)

    def _silence_deadline(self) -> float | None:
        if self._silent or self._heard_at is None or self.state is ConnectionState.CLOSED:
            return None
        return self._heard_at + self.configuration.silence_timeout_s

    def dropped(self) -> dict[str, int]:
        """What was not taken, by reason, from every part of the session."""
        return count_drops(self.counters, self.media)

    # -- inside

    def _pump(self, now: float) -> None:
        """Carry the parts' events to each other until nothing moves, then find the next deadline."""
        while self._pump_ice(now) or self._pump_dtls(now):
            pass
        self._find_deadline()
        self._wake()

    def _find_deadline(self) -> None:
        deadlines = [self._generations.next_deadline(), self._silence_deadline()]
        if self.dtls is not None and self._handshake_started:
            deadlines.append(self.dtls.next_deadline())
        self._control_deadline = min((deadline for deadline in deadlines if deadline is not None), default=None)

    def _pump_ice(self, now: float) -> bool:
        event = self._generations.poll_event()
        if isinstance(event, SelectedPairChanged):
            self.media.close_flows()
            self.path = (event.local, event.remote)
            self._events.append(PathChanged(event.local, event.remote))
            self._start_handshake(now)
        elif isinstance(event, IceStateChanged):
            if event.state is IceState.FAILED:
                # RFC 7675 section 5.1: without consent nothing more may be sent.
                self.media.close_flows()
                self.path = None
                self._set_state(ConnectionState.FAILED, self.ice.statistics.why_no_path())
            elif event.state is IceState.DISCONNECTED:
                if self.ice.selected is None:  # no consent any more, while a restart looks for another way
                    self.media.close_flows()
                    self.path = None
                if self.state is ConnectionState.CONNECTED:
                    self._set_state(ConnectionState.DISCONNECTED, "the peer does not answer connectivity checks")
            elif event.state in (IceState.CONNECTED, IceState.COMPLETED) and self.media.secured:
                self._set_state(ConnectionState.CONNECTED)
        return event is not None

    def _start_handshake(self, now: float) -> None:
        # A ClientHello into a path that is not valid yet would be a lost flight: ICE first.
        if self._handshake_started or self.dtls is None:
            return
        self._handshake_started = True
        self.dtls.start(now)
        early, self._early_dtls = self._early_dtls, []
        for datagram in early:
            self.dtls.receive(datagram, now)

    def _pump_dtls(self, now: float) -> bool:
        if self.dtls is None or not self._handshake_started:
            return False
        event = self.dtls.poll_event()
        if isinstance(event, DtlsConnected):
            outbound, inbound = create_srtp(event, self.configuration.srtp)
            self.media.secure(inbound, outbound, on_first_packet=self.dtls.media_arrived, now=now)
            self._set_state(ConnectionState.CONNECTED)
        elif isinstance(event, DtlsFailed):
            self._set_state(ConnectionState.FAILED, event.reason)
        elif isinstance(event, DtlsClosed):
            self._set_state(ConnectionState.CLOSED, "closed by the peer")
        return event is not None

    def _set_state(self, state: ConnectionState, reason: str = "") -> None:
        if state is self.state or (self.state in FINAL_STATES and state is not ConnectionState.CLOSED):
            return
        self.state = state
        self.media.close_flows()
        if state in FINAL_STATES:
            self.media.stop()
        self._events.append(ConnectionStateChanged(state, reason))
