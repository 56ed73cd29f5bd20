"""Effects performed: what call control has decided becomes calls of the ports, in order, each failure contained."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, Literal

from triortc.engine.calls.actor import DeviceAddress
from triortc.engine.calls.crash_boundary import OnCrash
from triortc.engine.calls.effects import (
    AddCandidates,
    AnswerOffer,
    AppendHistory,
    AppendInvitation,
    CloseLeg,
    Effect,
    KeepMessage,
    Notify,
    OpenLeg,
    RemoveDevice,
    ReplyTo,
    Report,
    RequestKeyframe,
    SendPush,
    SessionEnded,
    SessionStarted,
    SetGate,
    SetSource,
    SetView,
    StartRecording,
    StopRecording,
)
from triortc.engine.calls.held_replies import HeldReplies, with_answer
from triortc.engine.calls.keeping import Keeper
from triortc.engine.calls.media_events import OfferAnswered, OfferRefused
from triortc.engine.calls.notifications import Notification
from triortc.engine.calls.observing import Observers, OutboxPort
from triortc.engine.calls.ports import ClientPort, HistoryPort, MediaPort, PushPort
from triortc.engine.calls.replies import CallFault, Ok, Reply, SdpAnswerPayload
from triortc.engine.calls.session_lives import SessionLives
from triortc.engine.sdp.negotiated import SdpUnsupportedError
from triortc.errors import SdpError

__all__ = ["OnReply", "Performer", "internal_fault", "reply_to_offer"]

OnReply = Callable[[Reply], None]


def internal_fault(incident: str) -> CallFault:
    """The reply to a command that failed inside the server; `incident` is what the log calls it."""
    return CallFault("server.internal", "the command failed inside the server", {"incident": incident}, retryable=True)


class Performer:
    """Performs effects over the ports.

    Arguments:
        media: the media side.
        history: keeps records of ended sessions.
        push: wakes devices.
        keeper: gathers what is kept.
        lives: the lives of sessions.
        on_crash: is told what failed; the effects that come behind go on, but for those of the session to blame.

    Attributes:
        clients: the connected devices.
        observers: those who are told what happens to calls.
        outbox: delivers what happens to others.
        held: replies that wait for the media side.
    """

    def __init__(
        self,
        media: MediaPort,
        history: HistoryPort,
        push: PushPort,
        keeper: Keeper,
        lives: SessionLives,
        on_crash: OnCrash,
    ) -> None:
        self.clients: ClientPort | None = None
        self.observers = Observers()
        self.outbox: OutboxPort | None = None
        self.held = HeldReplies(self._tell)
        self._media = media
        self._history = history
        self._keeper = keeper
        self._lives = lives
        self._on_crash = on_crash
        #: What is for the world outside; whoever fails there harms nobody here.
        self._outside: Final[Mapping[type, Callable[[Any], object]]] = {
            SendPush: lambda effect: push.send(effect.push),
            Report: self._report,
            AppendHistory: self._append_history,
            AppendInvitation: self._append_invitation,
            KeepMessage: keeper.message,
        }
        #: What is done for a session; a failure is the session's end.
        self._inside: Final[Mapping[type, Callable[[Any], object]]] = {
            SessionStarted: lambda effect: lives.begin(effect.session),
            SessionEnded: self._session_ended,
            OpenLeg: lambda effect: media.open_leg(effect.session, effect.leg, effect.side),
            CloseLeg: lambda effect: media.close_leg(effect.leg),
            SetGate: lambda effect: media.set_gate(effect.session, effect.leg, effect.kind, effect.state, effect.epoch),
            SetSource: lambda effect: media.set_source(effect.session, effect.side, effect.leg),
            SetView: lambda effect: media.set_view(effect.leg, effect.view),
            RequestKeyframe: lambda effect: media.request_keyframe(effect.leg),
            StartRecording: lambda effect: media.start_recording(effect.session, effect.recording),
            StopRecording: lambda effect: media.stop_recording(effect.session),
            AddCandidates: lambda effect: media.add_candidates(
                effect.leg, effect.neg, effect.ufrag, effect.candidates, effect.end
            ),
        }

    def perform(
        self, effects: list[Effect], on_reply: OnReply | None, address: DeviceAddress | None = None
    ) -> Reply | None:
        """Perform the effects of one step.

        Arguments:
            effects: in their order.
            on_reply: gets the reply, at its place among them, or once the media side has answered the offer.
            address: the device that gets the reply.

        Returns:
            the reply, without an answer that comes later.
        """
        reply: Reply | None = None
        answer: Reply | None = None
        awaited: AnswerOffer | None = None
        crashed: set[str] = set()
        incident = ""
        outside, inside, notify = self._outside, self._inside, self.held.notify
        for effect in effects:
            kind = type(effect)
            if isinstance(effect, Notify):
                notify(effect.address, effect.notification)
            elif isinstance(effect, ReplyTo):
                if awaited is not None and not crashed:
                    reply = effect.reply
                    self.held.hold(address, awaited.leg, awaited.neg, reply, on_reply)
                    continue
                reply = internal_fault(incident) if crashed else with_answer(effect.reply, answer)
                if on_reply is not None:
                    on_reply(reply)
            elif kind in outside:
                try:
                    outside[kind](effect)
                except Exception as error:  # noqa: BLE001 - V44: a port may throw anything; it harms nobody here
                    self._on_crash(None, error)
            elif isinstance(effect, RemoveDevice):
                if self.clients is not None:
                    self.clients.remove(effect.address)
            else:
                session: str = effect.session  # type: ignore[union-attr]  # what is left is done for a session
                if session in crashed:
                    continue
                try:
                    if isinstance(effect, AnswerOffer):
                        answer = self._answer(effect)
                        awaited = effect if answer is None else None
                    else:
                        inside[kind](effect)
                except Exception as error:  # noqa: BLE001 - V44: a port may throw anything; it ends this session
                    crashed.add(session)
                    incident = self._on_crash(session, error)
        return reply

    def _tell(self, address: DeviceAddress, notification: Notification) -> None:
        if self.clients is not None:
            self.clients.notify(address, notification)

    def _report(self, effect: Report) -> None:
        if self.outbox is not None:
            for row in self.outbox.tell(effect.event):
                self._keeper.outbox(row)
        self.observers.publish(effect.event)

    def _append_history(self, effect: AppendHistory) -> None:
        self._keeper.history(effect.record)
        self._history.append(effect.record)

    def _append_invitation(self, effect: AppendInvitation) -> None:
        self._keeper.invitation(effect.record)
        self._history.append_invitation(effect.record)

    def _session_ended(self, effect: SessionEnded) -> None:
        self._lives.end(effect.session)
        self._media.close_session(effect.session)

    def _answer(self, effect: AnswerOffer) -> Reply | None:
        try:
            answer = self._media.answer(effect.leg, effect.neg, effect.sdp)
        except SdpError as error:
            unsupported = isinstance(error, SdpUnsupportedError)
            why: Literal["unsupported", "invalid"] = "unsupported" if unsupported else "invalid"
            return reply_to_offer(OfferRefused(effect.leg, effect.neg, why, str(error)))
        return None if answer is None else Ok(SdpAnswerPayload(answer))


def reply_to_offer(event: OfferAnswered | OfferRefused) -> Reply:
    """What the media side says to an offer, as the reply to the command that brought it."""
    if isinstance(event, OfferAnswered):
        return Ok(SdpAnswerPayload(event.sdp))
    details = {"leg": event.leg, "neg": event.neg}
    if event.why == "failed":
        return CallFault("server.internal", event.message, details, retryable=True)
    return CallFault(f"sdp.{event.why}", event.message, details)
