"""A peer connection in the shape of the W3C's RTCPeerConnection, on trio.

    async with open_peer_connection(PeerConfiguration()) as connection:
        audio = connection.add_transceiver("audio")
        video = connection.add_transceiver("video", direction="sendonly")
        offer = connection.create_offer()
        connection.set_local_description(offer)
        ...                                        # signaling: send offer.sdp, get the answer
        connection.set_remote_description(answer)
        with trio.fail_after(10):
            await connection.connected()
        video.sender.send_frame(frame)
        async for received in audio.receiver.frames():
            ...

Descriptions contain all candidates, so nothing of ours needs to be trickled; the peer may trickle its own.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta

import trio

from triortc.codecs.registry import DEFAULT_CODECS, Codec, MediaKind, media_kind
from triortc.engine.dtls.certificate import Certificate
from triortc.engine.endpoint import Endpoint, open_endpoint
from triortc.engine.ice.events import IceState
from triortc.engine.peer.configuration import PeerConfiguration
from triortc.engine.peer.description import RtcSessionDescription
from triortc.engine.peer.negotiation import Negotiation, SignalingState
from triortc.engine.peer.receiver import RtpReceiver
from triortc.engine.peer.sender import RtpSender
from triortc.engine.peer.states import StateHistory
from triortc.engine.peer.statistics import collect_statistics
from triortc.engine.peer.statistics_values import Statistics
from triortc.engine.peer.transceiver import RtpTransceiver
from triortc.engine.sdp.candidate import Candidate
from triortc.engine.sdp.local import LocalMedia
from triortc.engine.sdp.negotiated import Direction, Negotiated, SdpUnsupportedError
from triortc.engine.sdp.trickle import parse_trickled
from triortc.engine.session.description import describe_media, describe_transport
from triortc.engine.session.events import FINAL_STATES, ConnectionState, ConnectionStateChanged, SessionEvent
from triortc.engine.session.inbound import InboundStream
from triortc.engine.session.outbound import OutboundStream
from triortc.engine.session.session import Session
from triortc.errors import ConfigurationError, ConnectionClosedError, DtlsError, IceError, InvalidStateError
from triortc.lone_errors import raises_lone_errors

__all__ = ["PeerConnection", "open_peer_connection"]


class PeerConnection:
    """One remote endpoint. Made by :func:`open_peer_connection`; all methods belong to the trio thread.

    Arguments:
        endpoint: whose sockets it uses.
        configuration: its numbers.
    """

    def __init__(self, endpoint: Endpoint, configuration: PeerConfiguration) -> None:
        self._endpoint = endpoint
        self._configuration = configuration
        self._transceivers: dict[MediaKind, RtpTransceiver] = {}
        self._negotiation = Negotiation(secrets.randbits(62), configuration.sdp)
        # Made with the first description, which decides on the ICE role (RFC 8445 section 6.1.1).
        self._session: Session | None = None
        self._early_candidates: list[Candidate | None] = []
        #: Transceivers that the peer's pending offer has added.
        self._added_by_offer: list[RtpTransceiver] = []
        self._states = StateHistory()
        self._timer: trio.CancelScope | None = None
        self._closed = False
        self._wants_restart = False
        #: Candidates of the peer that came too early and found no room.
        self.candidates_dropped = 0

    # -- state

    @property
    def connection_state(self) -> ConnectionState:
        """ICE and DTLS together."""
        return self._states.state

    @property
    def signaling_state(self) -> SignalingState:
        """Which description may come next."""
        return self._negotiation.state

    @property
    def ice_connection_state(self) -> IceState:
        """Of ICE alone."""
        if self.connection_state is ConnectionState.CLOSED:
            return IceState.CLOSED
        return IceState.NEW if self._session is None else self._session.ice.state

    @property
    def local_description(self) -> RtcSessionDescription | None:
        """Our pending offer, or our description in force."""
        return self._negotiation.local_description

    @property
    def remote_description(self) -> RtcSessionDescription | None:
        """The peer's pending offer, or its description in force."""
        return self._negotiation.remote_description

    @property
    def transceivers(self) -> tuple[RtpTransceiver, ...]:
        """At most one of each kind, in the order they were added."""
        return tuple(self._transceivers.values())

    def transceiver(self, kind: MediaKind) -> RtpTransceiver | None:
        """The transceiver of a kind; an offer of the peer adds those that are missing, to receive only."""
        return self._transceivers.get(kind)

    async def connected(self) -> None:
        """Wait until media can go both ways; at once if it already can.

        Raises:
            IceError: no path to the peer was found, or it was lost for good.
            DtlsError: the handshake failed.
            ConnectionClosedError: the connection was closed, here or by the peer.
        """
        await trio.lowlevel.checkpoint()
        while (state := self.connection_state) is not ConnectionState.CONNECTED:
            reason = self._states.reason
            if state is ConnectionState.CLOSED:
                raise ConnectionClosedError(reason or "the connection is closed")
            if state is ConnectionState.FAILED:
                if self.ice_connection_state is IceState.FAILED:
                    raise IceError(reason)
                raise DtlsError(reason)
            await self._states.changed()

    def connection_states(self) -> AsyncIterator[ConnectionState]:
        """The present state, then every change. Ends behind ``CLOSED``."""
        return self._states.follow()

    # -- negotiation

    def add_transceiver(
        self, kind: MediaKind, *, direction: Direction = "sendrecv", codecs: Sequence[Codec] | None = None
    ) -> RtpTransceiver:
        """Take part in media of a kind; the next description says so.

        Args:
            kind: ``"audio"`` or ``"video"``; one transceiver of each is possible.
            direction: what we would like.
            codecs: the most preferred first; ``None``: the usual ones.

        Raises:
            InvalidStateError: there is one of this kind, or the connection is closed.
            ConfigurationError: the arguments make no sense.
        """
        if self._negotiation.state is SignalingState.CLOSED:
            raise InvalidStateError("add_transceiver is not possible on a closed connection: open another one")
        if kind not in ("audio", "video"):
            raise ConfigurationError(f"{kind!r} is no kind of media: use audio or video")
        if kind in self._transceivers:
            raise InvalidStateError(f"there is a transceiver for {kind} already: a connection has one of each kind")
        return self._add(kind, direction, codecs)

    def create_offer(self) -> RtcSessionDescription:
        """Describe what we would like. Nothing is sent or changed before `set_local_description`.

        Raises:
            InvalidStateError: there is no transceiver, an offer of the peer is to be answered, or the connection is
                closed.
        """
        self._negotiation.require("create_offer", SignalingState.STABLE, SignalingState.HAVE_LOCAL_OFFER)
        if not self._transceivers:
            raise InvalidStateError("there is nothing to offer: call add_transceiver first")
        session = self._session or self._open_session(controlling=True)
        if self._wants_restart:
            session.prepare_ice_restart()
        transport = describe_transport(session, restart=self._wants_restart)
        return self._negotiation.create_offer(transport, self._describe(session))

    def create_answer(self) -> RtcSessionDescription:
        """Answer the offer of the peer. Nothing is sent or changed before `set_local_description`.

        Raises:
            InvalidStateError: there is no offer of the peer to answer.
            SdpError: the offer contradicts itself, or asks for what cannot be done (SdpUnsupportedError).
        """
        self._negotiation.require("create_answer", SignalingState.HAVE_REMOTE_OFFER)
        session = self._session or self._open_session(controlling=False)
        restart = self._negotiation.peer_restarts_ice
        if restart:
            if self.connection_state in FINAL_STATES:
                raise SdpUnsupportedError("the peer restarts ICE of a connection that has failed: open another one")
            session.prepare_ice_restart()
        transport = describe_transport(session, restart=restart)
        return self._negotiation.create_answer(transport, self._describe(session))

    def restart_ice(self) -> None:
        """Let the next offer look for a new path (RFC 8445 section 9), as after a change of the network.

        Media goes on over the path it has until another is nominated; a restart that finds none changes nothing. An
        answer to the peer's restart takes part by itself.

        Raises:
            InvalidStateError: there is nothing to restart: nothing was agreed on yet, or the connection has failed or
                is closed.
        """
        if self._negotiation.negotiated is None or self.connection_state in FINAL_STATES:
            raise InvalidStateError("restart_ice needs a connection that lives: open another one")
        self._wants_restart = True

    def set_local_description(self, description: RtcSessionDescription | None = None) -> RtcSessionDescription:
        """Take over what `create_offer` or `create_answer` gave last; with an answer, the connection is established.

        Args:
            description: ``None``: create the one whose turn it is.

        Returns:
            The description, to be sent to the peer.

        Raises:
            ConfigurationError: it is no description.
            InvalidStateError: it is not the turn of this description, or it was changed.
        """
        if description is None:
            answers = self._negotiation.state is SignalingState.HAVE_REMOTE_OFFER
            description = self.create_answer() if answers else self.create_offer()
        self._agree(self._negotiation.set_local(description))
        return description

    def set_remote_description(self, description: RtcSessionDescription) -> None:
        """Take over the peer's offer or answer; with an answer, the connection is established.

        An offer adds the transceivers that it has and we have not, to receive only; set their ``direction`` before
        `create_answer` to send as well. They go with the offer when it is rolled back. An offer that comes while ours
        is pending takes its place: ours is rolled back. Whoever is to insist on its own does not set the peer's.

        Raises:
            ConfigurationError: it is no description, but a dict or text.
            InvalidStateError: it is not the turn of this description.
            SdpError: it is malformed, does not fit our offer, or asks for what cannot be done (SdpUnsupportedError).
        """
        negotiated = self._negotiation.set_remote(description)
        offer = self._negotiation.pending
        if description.type != "answer":
            self._forget_added()
            self._early_candidates.clear()
        if description.type == "offer" and offer is not None:
            for section in offer.media:
                kind = media_kind(section.kind)
                if kind is not None and kind not in self._transceivers and not section.refused:
                    self._added_by_offer.append(self._add(kind, "recvonly", None))
            if self._session is None:
                self._open_session(controlling=False)
        self._agree(negotiated)

    def add_ice_candidate(self, line: str | None) -> None:
        """A candidate that the peer has trickled (RFC 8838).

        Args:
            line: ``candidate:…`` with or without ``a=``; empty or ``None``: there are no more.

        Raises:
            ConfigurationError: it is no line: of a browser's candidate give its ``candidate``.
            InvalidStateError: there is no description of the peer yet, or the connection is closed.
            SdpError: the line is malformed.
        """
        if not isinstance(line, str | None):
            raise ConfigurationError(
                f"a candidate is a line of text, not {type(line).__name__}: "
                "of a browser's candidate give its `candidate`"
            )
        if self.remote_description is None or self._negotiation.state is SignalingState.CLOSED:
            raise InvalidStateError("add_ice_candidate needs the peer's description: call set_remote_description first")
        candidate = parse_trickled(line or "", None).candidate
        if self._session is not None and self._is_of_what_was_agreed_on(candidate):
            now = trio.current_time()
            self._session.add_remote_candidate(candidate, now)
            self._endpoint.flush(now)
        elif len(self._early_candidates) < self._configuration.max_early_candidates:
            self._early_candidates.append(candidate)
        else:
            self.candidates_dropped += 1

    def _is_of_what_was_agreed_on(self, candidate: Candidate | None) -> bool:
        """Whether a candidate is none of an offer that is still to be answered (RFC 8838 section 11)."""
        agreed = self._negotiation.negotiated
        if agreed is None or not self._negotiation.peer_restarts_ice:
            return agreed is not None
        return candidate is not None and candidate.extension("ufrag") == agreed.remote_ufrag

    def get_stats(self) -> Statistics:
        """What is known of the connection and its streams, by the names of the W3C's statistics in snake_case."""
        return collect_statistics(self._session, self.connection_state, self.transceivers, trio.current_time())

    def close(self) -> None:
        """Say good-bye to the peer and stop; leaving the ``async with`` does it too. Safe to call twice."""
        if self._closed:
            return
        self._closed = True
        if self._session is not None:
            self._session.close(trio.current_time())
            self._endpoint.remove(self._session)
        self._change_state(ConnectionState.CLOSED, "the connection was closed here")

    # -- inside

    async def run_timer(self) -> None:
        """Let frames come out of the jitter buffers in time; runs until cancelled."""
        while True:
            deadline = self._playout_deadline()
            with trio.CancelScope(deadline=float("inf") if deadline is None else deadline) as self._timer:
                await trio.sleep_forever()
            now = trio.current_time()
            for transceiver in self._transceivers.values():
                transceiver.receiver.handle_timeout(now)
            self._endpoint.flush(now)

    def _playout_deadline(self) -> float | None:
        deadlines = [transceiver.receiver.next_deadline() for transceiver in self._transceivers.values()]
        return min((deadline for deadline in deadlines if deadline is not None), default=None)

    def _rearm(self) -> None:
        deadline = self._playout_deadline()
        if self._timer is not None and deadline is not None and deadline < self._timer.deadline:
            self._timer.deadline = deadline

    def _add(self, kind: MediaKind, direction: Direction, codecs: Sequence[Codec] | None) -> RtpTransceiver:
        configuration = self._configuration
        sender = RtpSender(kind, max_payload_bytes=configuration.max_payload_bytes, flush=self._endpoint.flush)
        receiver = RtpReceiver(
            kind,
            configuration,
            ask_keyframe=self._ask_keyframe,
            flush=self._endpoint.flush,
            rearm=self._rearm,
        )
        chosen = DEFAULT_CODECS[kind] if codecs is None else codecs
        added = self._transceivers[kind] = RtpTransceiver(kind, direction, chosen, sender, receiver)
        self._acquaint()
        if self._session is not None:
            sender.attach(self._session)
        return added

    def _forget_added(self) -> None:
        """The peer's offer is taken back or replaced, and with it what it added and nobody has put to use."""
        for added in self._added_by_offer:
            if added.direction == "recvonly":
                del self._transceivers[added.kind]
        self._added_by_offer.clear()
        self._acquaint()

    def _acquaint(self) -> None:
        for each in self._transceivers.values():
            each.sender.share_with(*(other.sender for other in self._transceivers.values() if other is not each))

    def _describe(self, session: Session) -> list[LocalMedia]:
        return [
            describe_media(session, each.kind, direction=each.direction, codecs=each.codecs)
            for each in self._transceivers.values()
        ]

    def _open_session(self, *, controlling: bool) -> Session:
        certificate = self._configuration.certificate
        if certificate is None:
            certificate = Certificate.generate(valid_from=datetime.now(UTC) - timedelta(days=1))
        session = self._session = Session(
            controlling=controlling,
            certificate=certificate,
            configuration=self._configuration.session,
            random_bytes=secrets.token_bytes,
        )
        session.media.on_stream = self._on_stream
        session.media.on_keyframe_request = self._on_keyframe_request
        for each in self._transceivers.values():
            each.sender.attach(session)
        self._endpoint.add(session, self._on_session_event)
        return session

    def _agree(self, negotiated: Negotiated | None) -> None:
        session = self._session
        if negotiated is None or session is None:
            return
        self._added_by_offer.clear()
        now = trio.current_time()
        session.set_remote(negotiated, now)
        for each in self._transceivers.values():
            reasons = (section.reason for section in negotiated.rejected if section.kind == each.kind)
            each.refusal = next(reasons, None) if negotiated.media_of(each.kind) is None else None
        if negotiated.ice_restart:
            self._wants_restart = False
        early, self._early_candidates = self._early_candidates, []
        for candidate in early:
            session.add_remote_candidate(candidate, now)
        self._endpoint.flush(now)

    def _on_stream(self, stream: InboundStream) -> None:
        transceiver = self._transceivers.get(stream.kind)
        if transceiver is not None:
            transceiver.receiver.take(stream)

    def _on_keyframe_request(self, stream: OutboundStream, now: float) -> None:
        transceiver = self._transceivers.get(stream.kind)
        if transceiver is not None:
            transceiver.sender.note_keyframe_request()

    def _ask_keyframe(self, now: float) -> None:
        if self._session is not None:
            self._session.media.request_keyframe(now)

    def _on_session_event(self, event: SessionEvent) -> None:
        if isinstance(event, ConnectionStateChanged):
            self._change_state(event.state, event.reason)

    def _change_state(self, state: ConnectionState, reason: str) -> None:
        if not self._states.change(state, reason):
            return
        if state is ConnectionState.CLOSED:
            self._negotiation.close()
        for each in self._transceivers.values():
            if state is ConnectionState.CONNECTED:
                each.sender.want_keyframe()
            elif state in FINAL_STATES:
                each.sender.close()
                each.receiver.close()


@raises_lone_errors
@asynccontextmanager
async def open_peer_connection(
    configuration: PeerConfiguration | None = None, endpoint: Endpoint | None = None
) -> AsyncGenerator[PeerConnection]:
    """Open a peer connection; leaving the block closes it and leaves nothing behind.

    With an endpoint on loopback (its ``media_host`` or ``loopback``), peers on this machine are accepted as well.

    Args:
        configuration: the numbers; ``None``: the defaults.
        endpoint: the sockets to share with other connections, though not with both ends of one: datagrams are told
            apart by where they come from. ``None``: own ones, by ``configuration.endpoint``.

    Raises:
        ConfigurationError, OSError: the media address cannot be used.
    """
    if not isinstance(configuration, PeerConfiguration | None):
        raise ConfigurationError(
            f"open_peer_connection takes a PeerConfiguration, not {type(configuration).__name__}: "
            "PeerConfiguration(endpoint=EndpointConfiguration(…))"
        )
    if not isinstance(endpoint, Endpoint | None):
        raise ConfigurationError(f"endpoint is what open_endpoint gives, not {type(endpoint).__name__}")
    # The engine's own clock is trio's; sender reports carry Unix time, so the difference is taken once, here.
    chosen = (configuration or PeerConfiguration()).with_wall_clock_offset(time.time() - trio.current_time())
    if (chosen.endpoint if endpoint is None else endpoint.configuration).on_loopback:
        chosen = chosen.with_loopback()
    async with AsyncExitStack() as stack:
        if endpoint is None:
            endpoint = await stack.enter_async_context(open_endpoint(chosen.endpoint))
        nursery = await stack.enter_async_context(trio.open_nursery())
        connection = PeerConnection(endpoint, chosen)
        nursery.start_soon(connection.run_timer)
        try:
            yield connection
        finally:
            connection.close()
            nursery.cancel_scope.cancel()
