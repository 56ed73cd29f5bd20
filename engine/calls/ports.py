"""What call control needs from outside, as Protocols: media, connected clients, routing, history.

Every method is synchronous and returns at once; an implementation that has to wait queues the work in its own nursery.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple, Protocol

from triortc.engine.calls.actor import DeviceAddress, PushKind
from triortc.engine.calls.history_records import InvitationRecord, SessionRecord
from triortc.engine.calls.notifications import Notification
from triortc.engine.calls.push_values import Push
from triortc.engine.relay.gate import GateState, GateStatistics

__all__ = [
    "Candidate",
    "ClientPort",
    "HistoryPort",
    "Kind",
    "MediaPort",
    "NoPush",
    "PushPort",
    "RecordingPolicyPort",
    "RouterPort",
    "Side",
    "View",
]

Side = Literal["agent", "visitor"]
Kind = Literal["audio", "video"]
View = Literal["full", "thumbnail"]


class MediaPort(Protocol):
    """The media side: legs over ICE and DTLS-SRTP, gates between them.

    Values go in, and `media_events` come back: it may be in this process or in another (`engine.workers`).
    """

    def open_leg(self, session: str, leg: str, side: Side) -> None:
        """Make a leg. Its gates start closed."""

    def answer(self, leg: str, neg: int, offer_sdp: str) -> str | None:
        """Apply the client's offer number `neg` of this leg and return the answer. Raises SdpError.

        None: who answers is in another process. `OfferAnswered` or `OfferRefused` follows in bounded time, always.
        """

    def add_candidates(self, leg: str, neg: int, ufrag: str, candidates: Sequence[tuple[str, str]], end: bool) -> None:
        """Candidates of the client as (candidate line, mid). Out-of-date generations are dropped and counted."""

    def set_gate(self, session: str, leg: str, kind: Kind, state: GateState, epoch: int) -> None:
        """Set the valve from this leg to the other side. Only `GateState.OPEN` lets packets through.

        A leg that takes over gets `MUTED` for kinds that its device need not deliver before `LegReady`.
        """

    def set_source(self, session: str, side: Side, leg: str) -> None:
        """From now on this leg, and no other of its side, feeds the other side. Atomic."""

    def set_view(self, leg: str, view: View) -> None:
        """The leg's device shows the other side as large as it can, or small: less may be sent to it, never nothing."""

    def request_keyframe(self, leg: str) -> None:
        """Ask the leg's device for a keyframe."""

    def close_leg(self, leg: str) -> None:
        """End a leg. Unknown or closed legs are ignored."""

    def close_session(self, session: str) -> None:
        """End every leg of a session and forget its gates. Unknown or closed sessions are ignored."""

    def start_recording(self, session: str, recording: str) -> None:
        """Record both sides from now on, named by the id. What is in the way is told by RecordingStopped."""

    def stop_recording(self, session: str) -> None:
        """End the session's recording, if there is one; what has come until now is kept."""

    def gate_statistics(self, session: str) -> Mapping[tuple[str, Kind], GateStatistics]:
        """Counters by (source leg, kind)."""


class ClientPort(Protocol):
    """The connected devices, as the signaling layer knows them."""

    def notify(self, address: DeviceAddress, notification: Notification) -> None:
        """Queue an event for a device. Never blocks, never raises; a device that is gone is ignored."""

    def remove(self, address: DeviceAddress) -> None:
        """End the connection of a device that was revoked; it may not resume. A device that is gone is ignored."""

    def drain(self, until: float) -> None:
        """Hand over (by `CallSupervisor.command`) every command already read with `rx_time` <= until.

        Called before a deadline takes effect, so that an accept that arrived in time and waits in a queue wins.
        An implementation that hands every command over as soon as it is read has nothing to do.
        """


class Candidate(NamedTuple):
    """An agent that a router may pick, with what it may want to know."""

    sub: str
    idle_since: float
    open_chats: int


class RouterPort(Protocol):
    """Picks candidates. It only sorts: call control verifies and claims."""

    def order(self, org: str, group: str, candidates: Sequence[Candidate]) -> Sequence[str]:
        """The subs of `candidates` in the order in which they should be tried; some may be left out."""


class RecordingPolicyPort(Protocol):
    """Whether a call may be recorded: consent is the embedder's to ask for."""

    def may_record(self, org: str, conversation: str, session: str, by: str) -> bool:
        """Asked before every recording. `by`: who wants it, `system` where every call is recorded."""


class PushPort(Protocol):
    """Sends pushes to devices that may be asleep.

    An endpoint that its provider says is gone is reported by `CallSupervisor.push_endpoint_gone`.
    """

    @property
    def kinds(self) -> frozenset[PushKind]:
        """The providers that this port has credentials for. A device with no other endpoint cannot be woken."""

    def send(self, push: Push) -> None:
        """Queue a push, to be sent now. Never blocks, never raises. A failure changes nothing in a call.

        What is queued for a ring and not sent yet is dropped by that ring's `WithdrawPush` for the same device.
        """


class NoPush:
    """Without gateways nothing can be pushed."""

    kinds: frozenset[PushKind] = frozenset()

    def send(self, push: Push) -> None:
        """Nothing asks for it, since no kind can be sent."""


class HistoryPort(Protocol):
    """Where ended sessions are recorded."""

    def append(self, record: SessionRecord) -> bool:
        """Keep a record. False, and no second record, if the session was recorded before."""

    def find(
        self, org: str, *, session: str | None = None, conversation: str | None = None, agent: str | None = None
    ) -> Sequence[SessionRecord]:
        """Records of a tenant, oldest first, that match every argument which is not None."""

    def append_invitation(self, record: InvitationRecord) -> bool:
        """Keep the record of an invitation. False, and no second record, if it was recorded before."""

    def find_invitations(
        self, org: str, *, conversation: str | None = None, agent: str | None = None
    ) -> Sequence[InvitationRecord]:
        """A tenant's invitations that are over, oldest first, that match every argument which is not None."""
