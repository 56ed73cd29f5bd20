"""A day of a contact centre in virtual time: agents and visitors with habits, phones that drop, media that fails.

Everything comes from one seed, so a day can be lived again. The rules are the real
ones; only people and network are made up.
"""

from __future__ import annotations

import heapq
import itertools
import math
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from triortc.bench.referee import Referee
from triortc.engine.calls.actor import Actor, DeviceAddress, DeviceInformation, Platform, Principal
from triortc.engine.calls.commands import (
    CallAccept,
    CallCancel,
    CallDecline,
    CallHangup,
    CallRequest,
    Command,
    ConversationClose,
    ConversationMessageSend,
    ConversationSnooze,
    HandoffRequest,
    InvitationAccept,
    InvitationDecline,
    InvitationJoin,
    InvitationSend,
    MediaSet,
    PresenceSet,
    RingAck,
)
from triortc.engine.calls.configuration import CallConfiguration
from triortc.engine.calls.control import CallControl
from triortc.engine.calls.effects import Effect, Notify, OpenLeg, ReplyTo
from triortc.engine.calls.events import CommandReceived, DeviceConnected, DeviceGone, DeviceLost, DeviceResumed, Event
from triortc.engine.calls.media_events import LegLost, LegReady, LegRecovered, LegUp
from triortc.engine.calls.notifications import (
    CallActive,
    CallEnded,
    ConversationChanged,
    ConversationReminder,
    InvitationChanged,
    Notification,
    RingOffer,
)
from triortc.engine.calls.presence import CHANNELS
from triortc.engine.calls.replies import CallFault, CallRequestedPayload, InvitationSentPayload, Ok, Reply

__all__ = ["ContactCentre", "DayConfiguration"]

_ORG = "centre"
_HOUR_S = 3600.0
_CAPS = frozenset({"video.receive", "video.invite", "handoff", "presence", "history"})


@dataclass(slots=True, frozen=True)
class DayConfiguration:
    """Who comes, and what they are like. Shares are 0 to 1.

    Attributes:
        agents, visitors: how many.
        hours: how long visitors arrive.
        phone_share: agents who have a phone beside the desktop.
        answer_median_s: until an agent presses "Go".
        ignore_share, decline_share: rings that are neither answered nor declined; that are declined.
        talk_median_s: length of a call.
        chat_share: visitors who write instead of asking for a video; half of them are invited.
        patience_mean_s: until a visitor who is not answered gives up.
        drop_share: visitors whose connection is lost for a while.
        broken_share, lost_share: legs that never come up; calls in which a leg is lost.
        handoff_share: calls that the agent carries to the phone.
        forget_share: agents who close a conversation only when they are reminded.
        calls: the rules' configuration.
    """

    agents: int = 200
    visitors: int = 3000
    hours: float = 8.0
    phone_share: float = 0.6
    answer_median_s: float = 6.0
    ignore_share: float = 0.08
    decline_share: float = 0.05
    talk_median_s: float = 240.0
    chat_share: float = 0.3
    patience_mean_s: float = 60.0
    drop_share: float = 0.05
    broken_share: float = 0.01
    lost_share: float = 0.04
    handoff_share: float = 0.06
    forget_share: float = 0.1
    calls: CallConfiguration = field(default_factory=lambda: CallConfiguration(queue_size=5, queue_timeout_s=120.0))


class _Person:
    """Somebody with devices; what they hear is decided on in `hear`."""

    def __init__(self, centre: ContactCentre, actor: Actor) -> None:
        self.centre = centre
        self.actor = actor

    def say(self, command: Command, actor: Actor | None = None) -> Reply:
        return self.centre.command(actor or self.actor, command)

    def hear(self, address: DeviceAddress, notification: Notification) -> None:
        raise NotImplementedError


class _Agent(_Person):
    def __init__(self, centre: ContactCentre, number: int) -> None:
        chance = centre.chance
        sub = f"agent{number:04d}"
        super().__init__(centre, Actor(sub, "agent", _ORG, "desk", _CAPS, frozenset({"default"}), name=sub))
        self.phone = None
        if chance.random() < centre.day.phone_share:
            self.phone = Actor(sub, "agent", _ORG, "phone", _CAPS, frozenset({"default"}), name=sub)
        self._decided: set[str] = set()
        self._chats: set[str] = set()
        self._muted = 0

    def begin(self) -> None:
        self.centre.happen(DeviceConnected(self.actor, DeviceInformation("desk", "desktop")))
        if self.phone is not None:
            platforms: tuple[Platform, ...] = ("ios", "android")
            platform = self.centre.chance.choice(platforms)
            self.centre.happen(DeviceConnected(self.phone, DeviceInformation("phone", platform)))
        for channel in CHANNELS:
            self.say(PresenceSet(channel, "available"))

    def hear(self, address: DeviceAddress, notification: Notification) -> None:
        centre, day, chance = self.centre, self.centre.day, self.centre.chance
        match notification:
            case RingOffer(ring=ring, session=session):
                actor = self.actor if address.device == "desk" else self.phone or self.actor
                centre.after(chance.uniform(0.02, 0.3), partial(self.say, RingAck(ring), actor))
                if ring in self._decided:
                    return
                self._decided.add(ring)
                wait_s, fate = chance.lognormvariate(0, 0.6) * day.answer_median_s, chance.random()
                if fate < day.decline_share:
                    centre.after(wait_s, partial(self.say, CallDecline(session), actor))
                elif fate > day.ignore_share + day.decline_share:
                    centre.after(wait_s, partial(self._go, session, actor))
            case CallActive(session=session):
                self._in_call(address, session)
            case CallEnded(conversation=conversation):
                if chance.random() > day.forget_share:
                    centre.after(chance.expovariate(1 / 45), partial(self._close, conversation))
                else:
                    centre.after(1200.0, partial(self._close, conversation))
            case ConversationReminder(conversation=conversation):
                centre.after(chance.uniform(2, 30), partial(self._close, conversation))
            case ConversationChanged(conversation=conversation, state="open", live_session=None, video_icon=False):
                if notification.assignee == self.actor.sub and conversation not in self._chats:
                    self._chats.add(conversation)
                    self._chat(conversation)
            case _:
                pass

    def _go(self, session: str, actor: Actor) -> None:
        if isinstance(self.say(CallAccept(session), actor), Ok):
            self.centre.referee.accepted(session)

    def _close(self, conversation: str) -> None:
        reply = self.say(ConversationClose(conversation))
        if isinstance(reply, CallFault) and reply.code == "conversation.video_active":
            self.centre.after(120.0, partial(self._close, conversation))

    def _in_call(self, address: DeviceAddress, session: str) -> None:
        centre, chance = self.centre, self.centre.chance
        actor = self.actor if address.device == "desk" else self.phone or self.actor
        if chance.random() < 0.4:
            at_s = chance.uniform(1, 60)
            centre.after(at_s, partial(self._mute, session, actor, True))
            centre.after(at_s + chance.uniform(1, 30), partial(self._mute, session, actor, False))
        if actor is self.actor and self.phone is not None and chance.random() < centre.day.handoff_share:
            centre.after(chance.uniform(5, 90), partial(self.say, HandoffRequest(session), self.phone))
        talk_s = chance.lognormvariate(0, 0.7) * centre.day.talk_median_s
        centre.after(talk_s * chance.uniform(1.0, 1.6), partial(self._hang_up, session))

    def _mute(self, session: str, actor: Actor, muted: bool) -> None:
        self._muted += 1
        leg, referee = self.centre.leg_of(session, actor), self.centre.referee
        if leg is not None and not muted:
            referee.muted(leg, "video", False, self.centre.now)
        done = isinstance(self.say(MediaSet(session, self._muted, camera=not muted), actor), Ok)
        if leg is not None and muted and done:
            referee.muted(leg, "video", True, self.centre.now)

    def _hang_up(self, session: str) -> None:
        for actor in filter(None, (self.actor, self.phone)):
            self.say(CallHangup(session), actor)

    def _chat(self, conversation: str) -> None:
        centre, chance = self.centre, self.centre.chance
        centre.after(chance.uniform(2, 20), partial(self.say, ConversationMessageSend(conversation, "good day")))
        fate = chance.random()
        if fate < 0.5:
            centre.after(chance.uniform(20, 120), partial(self._invite, conversation))
        elif fate < 0.6:
            centre.after(chance.uniform(20, 120), partial(self.say, ConversationSnooze(conversation)))
        centre.after(chance.lognormvariate(0, 0.5) * 400, partial(self._close, conversation))

    def _invite(self, conversation: str) -> None:
        reply = self.say(InvitationSend(conversation))
        if isinstance(reply, Ok) and isinstance(reply.payload, InvitationSentPayload):
            self.centre.after(self.centre.chance.uniform(1, 15), partial(self._join, reply.payload.invitation))

    def _join(self, invitation: str) -> None:
        reply = self.say(InvitationJoin(invitation))
        if isinstance(reply, Ok):
            self.centre.referee.accepted(getattr(reply.payload, "session", ""))


class _Visitor(_Person):
    def __init__(self, centre: ContactCentre, number: int) -> None:
        sub, self.conversation = f"visitor{number:06d}", f"cv_{number:06d}"
        actor = Actor(sub, "visitor", _ORG, "tab", conversations=frozenset({self.conversation}), name=sub)
        super().__init__(centre, actor)
        self._answered = False

    def begin(self) -> None:
        centre, chance = self.centre, self.centre.chance
        centre.happen(DeviceConnected(self.actor, DeviceInformation("tab", "web")))
        if chance.random() < centre.day.drop_share:
            centre.after(chance.uniform(1, 200), self._drop)
        if chance.random() < centre.day.chat_share:
            self.say(ConversationMessageSend(self.conversation, "hello"))
            centre.after(chance.uniform(600, 1800), self._leave)
            return
        reply = self.say(CallRequest(self.conversation))
        payload = reply.payload if isinstance(reply, Ok) else None
        if not isinstance(payload, CallRequestedPayload) or payload.state == "ended":
            centre.after(chance.uniform(1, 30), self._leave)
            return
        centre.after(chance.expovariate(1 / centre.day.patience_mean_s), partial(self._give_up, payload.session))

    def hear(self, address: DeviceAddress, notification: Notification) -> None:
        centre, chance = self.centre, self.centre.chance
        match notification:
            case CallActive(session=session):
                self._answered = True
                talk_s = chance.lognormvariate(0, 0.7) * centre.day.talk_median_s
                centre.after(talk_s, partial(self.say, CallHangup(session)))
            case InvitationChanged(state="pending", invitation=invitation):
                accepts = chance.random() < 0.7
                command = InvitationAccept(invitation) if accepts else InvitationDecline(invitation)
                centre.after(chance.expovariate(1 / 20), partial(self.say, command))
            case CallEnded():
                centre.after(chance.uniform(5, 120), self._leave)
            case _:
                pass

    def _give_up(self, session: str) -> None:
        if not self._answered:
            self.say(CallCancel(session))

    def _drop(self) -> None:
        if self.actor.address is not None:
            self.centre.happen(DeviceLost(self.actor.address))
            self.centre.after(self.centre.chance.uniform(0.5, 20), self._back)

    def _back(self) -> None:
        if self.actor.address is not None:
            self.centre.happen(DeviceResumed(self.actor.address))

    def _leave(self) -> None:
        if self.actor.address is not None:
            self.centre.happen(DeviceGone(self.actor.address))


class ContactCentre:
    """One day.

    Arguments:
        seed: of everything that chance decides.
        day: who comes.

    Attributes:
        now: seconds since the day began.
        referee: what was seen.
        steps: events, commands and deadlines so far.
    """

    def __init__(self, seed: int, day: DayConfiguration | None = None) -> None:
        self.day = day or DayConfiguration()
        self.chance = random.Random(seed)
        self.now = 0.0
        self.steps = 0
        self.referee = Referee(self.day.calls)
        self.control = CallControl(self.day.calls, self.chance.randbytes, unix_ms_at_zero=1_800_000_000_000)
        self._people: dict[Principal, _Person] = {}
        self._order = itertools.count()
        self._due: list[tuple[float, str]] = []
        self._coming: list[tuple[float, int, Callable[[], object]]] = []

    # --- for people

    def after(self, seconds: float, action: Callable[[], object]) -> None:
        """Something that somebody will do."""
        heapq.heappush(self._coming, (self.now + seconds, next(self._order), action))

    def command(self, actor: Actor, command: Command) -> Reply:
        """Ask call control for something."""
        reply = self.happen(CommandReceived(actor, command, self.now))
        assert reply is not None
        return reply

    def happen(self, event: Event) -> Reply | None:
        """Let something happen now."""
        return self._perform(self.control.handle(event, self.now))

    def leg_of(self, session: str, actor: Actor) -> str | None:
        """The leg of a device in a session."""
        legs = self.control.world.legs_in(session)
        return next((leg.id for leg in legs if leg.address == actor.address), None)

    # --- the day

    def run(self) -> None:
        """Live the day to its end, and let the referee look at what is left."""
        agents = [_Agent(self, number) for number in range(self.day.agents)]
        for agent in agents:
            self._people[agent.actor.principal] = agent
            self.after(self.chance.uniform(0, 600), agent.begin)
        for number in range(self.day.visitors):
            # Most come in the middle of the day.
            visitor = _Visitor(self, number)
            self._people[visitor.actor.principal] = visitor
            self.after(self.chance.triangular(600, self.day.hours * _HOUR_S), visitor.begin)
        while self._coming:
            at, _, action = self._coming[0]
            self._deadlines(at)
            if self._coming[0][2] is action:
                heapq.heappop(self._coming)
                self.now = at
                action()
        self._deadlines(self.now + 2 * _HOUR_S)
        world = self.control.world
        free = {agent.actor.principal: not world.agent(agent.actor.principal).chats for agent in agents}
        self.referee.close(self.now, len(world.claims), free)

    def _deadlines(self, until: float) -> None:
        """Let every deadline up to then happen, earliest first."""
        while True:
            while self._due and self.control.next_deadline(self._due[0][1]) != self._due[0][0]:
                heapq.heappop(self._due)  # it has moved since, and was put in again then
            house, session = self.control.next_deadline(), None
            at = math.inf if house is None else house
            if self._due and self._due[0][0] <= at:
                at, session = self._due[0]
            if at > until or (self._coming and at > self._coming[0][0]):
                return
            self.now = max(self.now, at)
            self._perform(self.control.handle_timeout(self.now, session))

    def _perform(self, effects: list[Effect]) -> Reply | None:
        self.steps += 1
        for session in self.control.world.take_rescheduled():
            deadline = self.control.next_deadline(session)
            if deadline is not None:
                heapq.heappush(self._due, (deadline, session))
        self.referee.watch(effects, self.now)
        reply: Reply | None = None
        for effect in effects:
            match effect:
                case ReplyTo(said):
                    reply = said
                case Notify(address, notification):
                    person = self._people.get(address.principal)
                    if person is not None:
                        person.hear(address, notification)
                    if isinstance(notification, CallActive) and address.role == "agent":
                        self._trouble(notification.session)
                case OpenLeg(_, leg, _):
                    if self.chance.random() >= self.day.broken_share:
                        up_s = self.chance.uniform(0.1, 1.5)
                        self.after(up_s, partial(self.happen, LegUp(leg)))
                        self.after(up_s + 0.2, partial(self.happen, LegReady(leg)))
                case _:
                    pass
        return reply

    def _trouble(self, session: str) -> None:
        """Now and then the network fails somebody in a call."""
        if self.chance.random() >= self.day.lost_share:
            return
        legs = self.control.world.legs_in(session)
        leg = self.chance.choice(legs).id
        at_s = self.chance.uniform(5, 120)
        self.after(at_s, partial(self.happen, LegLost(leg)))
        if self.chance.random() < 0.75:
            self.after(at_s + self.chance.expovariate(1 / 6), partial(self.happen, LegRecovered(leg)))
