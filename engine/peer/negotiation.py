"""The signaling state machine of a peer connection (RFC 9429 section 3.2): which description may come when."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Final, Literal, TypeAlias

from triortc.engine.peer.description import DescriptionType, RtcSessionDescription, require_description
from triortc.engine.sdp.configuration import SdpConfiguration
from triortc.engine.sdp.grammar import SessionDescription, parse
from triortc.engine.sdp.local import LocalMedia, LocalTransport
from triortc.engine.sdp.negotiated import Negotiated, SdpUnsupportedError
from triortc.engine.sdp.negotiation import apply_answer, create_answer, create_offer, restarts_ice
from triortc.errors import InvalidStateError, SdpError

__all__ = ["Negotiation", "SignalingState"]


class SignalingState(Enum):
    """The W3C's RTCSignalingState, without provisional answers."""

    STABLE = "stable"
    HAVE_LOCAL_OFFER = "have-local-offer"
    HAVE_REMOTE_OFFER = "have-remote-offer"
    CLOSED = "closed"


_Side: TypeAlias = Literal["local", "remote"]
_STABLE, _LOCAL, _REMOTE = SignalingState.STABLE, SignalingState.HAVE_LOCAL_OFFER, SignalingState.HAVE_REMOTE_OFFER

#: RFC 9429 section 3.2, figure 2: everything that is not here is a mistake. An offer of the peer in the place of ours
#: rolls ours back by itself (W3C webrtc-pc, "set a session description").
_STEPS: Final[Mapping[tuple[SignalingState, _Side, DescriptionType], SignalingState]] = {
    (_STABLE, "local", "offer"): _LOCAL,
    (_STABLE, "remote", "offer"): _REMOTE,
    (_LOCAL, "local", "offer"): _LOCAL,
    (_LOCAL, "remote", "answer"): _STABLE,
    (_LOCAL, "remote", "offer"): _REMOTE,
    (_LOCAL, "local", "rollback"): _STABLE,
    (_REMOTE, "remote", "offer"): _REMOTE,
    (_REMOTE, "local", "answer"): _STABLE,
    (_REMOTE, "remote", "rollback"): _STABLE,
}

_ADVICE: Final[Mapping[SignalingState, str]] = {
    SignalingState.STABLE: "begin with an offer, set locally or remotely",
    SignalingState.HAVE_LOCAL_OFFER: "set the peer's answer or its offer, or roll ours back",
    SignalingState.HAVE_REMOTE_OFFER: "create and set our answer, or roll the peer's offer back",
    SignalingState.CLOSED: "open another connection",
}


@dataclass(slots=True)
class _Created:
    """What :meth:`Negotiation.create_offer` and :meth:`Negotiation.create_answer` gave last."""

    description: SessionDescription
    text: str
    media: Sequence[LocalMedia]
    negotiated: Negotiated | None = None


@dataclass(slots=True)
class Negotiation:
    """Offers and answers of one connection. Nothing changes when a method raises.

    Attributes:
        session_id: our number in ``o=``, below 2**63.
        configuration: limits on the peer's descriptions.
        state: what may come next.
        local, remote: the descriptions in force, ``None`` before the first exchange.
        local_type: whether ours of these is the offer or the answer.
        pending: the offer that waits for its answer, ours or the peer's.
        negotiated: what is agreed on, ``None`` before the first exchange.
    """

    session_id: int
    configuration: SdpConfiguration
    state: SignalingState = SignalingState.STABLE
    local: SessionDescription | None = None
    remote: SessionDescription | None = None
    local_type: Literal["offer", "answer"] = "offer"
    pending: SessionDescription | None = None
    negotiated: Negotiated | None = None
    _version: int = 1
    _created: dict[str, _Created] = field(default_factory=dict)
    _offered_media: Sequence[LocalMedia] = ()

    @property
    def local_description(self) -> RtcSessionDescription | None:
        """Our pending offer, or our description in force."""
        if self.state is SignalingState.HAVE_LOCAL_OFFER:
            return RtcSessionDescription("offer", str(self.pending))
        return None if self.local is None else RtcSessionDescription(self.local_type, str(self.local))

    @property
    def remote_description(self) -> RtcSessionDescription | None:
        """The peer's pending offer, or its description in force."""
        if self.state is SignalingState.HAVE_REMOTE_OFFER:
            return RtcSessionDescription("offer", str(self.pending))
        if self.remote is None:
            return None
        return RtcSessionDescription("answer" if self.local_type == "offer" else "offer", str(self.remote))

    def require(self, call: str, *states: SignalingState) -> None:
        """Raise InvalidStateError, in words, unless the state is one of these."""
        if self.state not in states:
            raise InvalidStateError(
                f"{call} is not possible while the signaling state is {self.state.value}: {_ADVICE[self.state]}"
            )

    def create_offer(self, transport: LocalTransport, media: Sequence[LocalMedia]) -> RtcSessionDescription:
        """Describe what we would like; nothing changes until it is set.

        Raises:
            InvalidStateError: there is an offer of the peer to answer, or the connection is closed.
        """
        self.require("create_offer", SignalingState.STABLE, SignalingState.HAVE_LOCAL_OFFER)
        offer = create_offer(
            transport,
            media,
            self.session_id,
            self._version,
            previous_local=self.local,
            previous_remote=self.remote,
        )
        return self._keep("offer", _Created(offer, str(offer), media))

    def create_answer(self, transport: LocalTransport, media: Sequence[LocalMedia]) -> RtcSessionDescription:
        """Answer the peer's offer; nothing changes until it is set.

        Raises:
            InvalidStateError: there is no offer of the peer.
            SdpError: the offer contradicts itself, or asks for what cannot be done (SdpUnsupportedError).
        """
        self.require("create_answer", SignalingState.HAVE_REMOTE_OFFER)
        assert self.pending is not None
        answer, negotiated = create_answer(
            self.pending,
            transport,
            media,
            session_id=self.session_id,
            session_version=self._version,
            previous=self.negotiated,
            configuration=self.configuration,
        )
        _refuse_other_certificate(negotiated)
        return self._keep("answer", _Created(answer, str(answer), media, negotiated))

    def _keep(self, kind: Literal["offer", "answer"], created: _Created) -> RtcSessionDescription:
        self._created[kind] = created
        return RtcSessionDescription(kind, created.text)

    def set_local(self, description: RtcSessionDescription) -> Negotiated | None:
        """Take over an offer or answer that was created here; with an answer, what is agreed on now.

        Raises:
            ConfigurationError: it is no description.
            InvalidStateError: it is not the turn of this description, or it is not the one that was created last.
        """
        require_description(description)
        after = self._step("local", description.type)
        if description.type == "rollback":
            self._roll_back(after)
            return None
        created = self._created.get(description.type)
        if created is None or created.text != description.sdp:
            raise InvalidStateError(
                f"set_local_description takes the {description.type} that create_{description.type} gave last,"
                " as it is: create a new one"
            )
        self._version += 1
        self._created.clear()
        if description.type == "offer":
            self.pending, self._offered_media = created.description, created.media
            self.state = after
            return None
        self._conclude(created.description, self.pending, created.negotiated, after)
        return self.negotiated

    def set_remote(self, description: RtcSessionDescription) -> Negotiated | None:
        """Take over an offer or answer of the peer; with an answer, what is agreed on now.

        Raises:
            ConfigurationError: it is no description.
            InvalidStateError: it is not the turn of this description.
            SdpError: it is malformed, does not fit our offer, or asks for what cannot be done (SdpUnsupportedError).
        """
        require_description(description)
        after = self._step("remote", description.type)
        if description.type == "rollback":
            self._roll_back(after)
            return None
        parsed = parse(description.sdp, self.configuration)
        if description.type == "offer":
            if self.negotiated is not None:
                restarts_ice(parsed, self.negotiated)  # raises where it has no credentials
            self._created.clear()
            self.pending, self.state = parsed, after
            return None
        assert self.pending is not None
        negotiated = apply_answer(
            self.pending,
            parsed,
            media=self._offered_media,
            previous=self.negotiated,
            configuration=self.configuration,
        )
        _refuse_other_certificate(negotiated)
        if self.local is not None and negotiated.ice_restart is not (_ufrag(self.local) != _ufrag(self.pending)):
            raise SdpError(
                "an answer has new ICE credentials when the offer restarts ICE, and only then (RFC 8839 4.4.3)"
            )
        self._conclude(self.pending, parsed, negotiated, after)
        return negotiated

    @property
    def peer_restarts_ice(self) -> bool:
        """Whether the offer of the peer that is to be answered restarts ICE."""
        if self.state is not SignalingState.HAVE_REMOTE_OFFER or self.negotiated is None or self.pending is None:
            return False
        return restarts_ice(self.pending, self.negotiated)

    def close(self) -> None:
        """Nothing may come any more."""
        self.state = SignalingState.CLOSED

    def _step(self, side: _Side, kind: DescriptionType) -> SignalingState:
        after = _STEPS.get((self.state, side, kind))
        if after is None:
            what = "a rollback" if kind == "rollback" else f"an {kind}"
            raise InvalidStateError(
                f"set_{side}_description does not take {what} while the signaling state is {self.state.value}:"
                f" {_ADVICE[self.state]}"
            )
        return after

    def _roll_back(self, after: SignalingState) -> None:
        self.pending = None
        self._created.clear()
        self.state = after

    def _conclude(
        self,
        local: SessionDescription,
        remote: SessionDescription | None,
        negotiated: Negotiated | None,
        after: SignalingState,
    ) -> None:
        self.local, self.remote, self.negotiated = local, remote, negotiated
        self.local_type = "answer" if self.state is SignalingState.HAVE_REMOTE_OFFER else "offer"
        self.pending = None
        self.state = after


def _ufrag(description: SessionDescription) -> str | None:
    """The ICE username fragment of a description of ours: every section has the same."""
    return next(filter(None, (description.inherited(section, "ice-ufrag") for section in description.media)), None)


def _refuse_other_certificate(negotiated: Negotiated) -> None:
    if negotiated.dtls_restart:
        raise SdpUnsupportedError("the peer restarts its transport: open another connection for it")
