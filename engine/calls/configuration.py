"""Every timer and policy of call control, with its default and its unit in the name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from triortc.configuration_kinds import require_kinds
from triortc.engine.calls.actor import Platform
from triortc.errors import ConfigurationError

__all__ = ["CallConfiguration"]


@dataclass(slots=True, frozen=True)
class CallConfiguration:
    """Timers and policies of calls.

    Attributes:
        ring_timeout_s: from the commit of the ring to `no_answer`, permission dialogs included (5 to 120).
        connect_timeout_s: from "Go" to both legs up.
        leg_grace_s: how long a lost leg may come back, for each leg.
        visitor_ring_grace_s: how long the tab that asks may be without signaling while it waits or rings.
        visitor_absent_grace_s: how long a visitor may be without signaling while an invitation waits.
        visitor_return_s: how long a visitor may take to come back to a ring after the server died and was started anew.
        handoff_timeout_s: how long a new device may take to deliver media.
        device_grace_s: how long after its socket was lost a device still counts as reachable.
        sleeping_devices_kept: devices of one agent without a connection that pushes can wake.
        revoked_device_grace_s: how long a call goes on after its device was revoked.
        close_reminder_s, close_reminder_repeat_s, close_reminders: reminders to close a conversation after its video.
        queue_size: visitors of one group who may wait for an agent; 0: nobody waits.
        queue_timeout_s: how long one waits at most; None: as long as it takes.
        on_no_answer: what becomes of a call that an agent does not answer: `end`, and the conversation stays with the
            agent; `reroute` to the next agent, each at most once.
        auto_unavailable_after_missed: unanswered rings in a row after which an agent is declared unavailable on
            video; 0: never.
        push_fallback_s: how long after its offer a device that does not acknowledge it is pushed to.
        push_needs_s: with less left of a ring nothing is pushed.
        push_retry_needs_s: with more left than this a failed push of a ring may be tried again.
        ios_profile: how an iOS device that has both kinds of token is rung: by audible alerts, or by CallKit (A-9).
        ios_repeat_s: the period of audible alerts; the app's sound must not be longer.
        ios_withdraw: whether the alert of a ring that is over disappears, or becomes a silent note of a missed video.
        note_period_s: between two pushes about messages of one conversation.
        push_names: whether pushes, which go through others' servers, hold the visitor's name.
        require_permissions: what a device needs before it may accept: `camera+mic` or `mic`.
        hold_channels_until: how long an answered routed video keeps all channels busy.
        visitor_sees_decline: whether the visitor may tell a decline from no answer.
        fail_fast_when_unreachable: end the ring when the last ringing device is lost, not at the deadline.
        handoff_paths: allowed (from, to) pairs of platforms; None allows all.
        invite_requires_clear_desk: whether an agent with other conversations open may invite: `off` says nothing,
            `warn` warns, `enforce` refuses.
        visitor_escalation: what a visitor's request for video does in a chat that an agent has: `off` refuses it,
            `notify` refuses it and tells the agent, `ring_assignee` rings the agent.
        visitor_preview_to_agent: whether an agent who has opened a ring sees the visitor before "Go", if the visitor
            agreed to it in the request (A-24). The visitor sees nothing of the agent either way.
        max_chats: open chats at which an agent is busy on the chat channel.
        max_third_party: third-party conversations at which an agent is busy on that channel.
        background_available_s: how long an agent without anything to do stays available with the app in the background;
            None: for good.
        requests_per_minute: `call.request`s of one visitor that make a new session.
        warm_legs_per_ring: devices that may set up media before "Go".
        create_conversations: whether a visitor's conversation that does not exist is made on first use.
        default_group: the group of conversations and requests that name none.
        ended_sessions_kept: ended sessions that still get idempotent answers.
        ended_invitations_kept: ended invitations that still get telling answers.
        closed_conversations_kept: closed conversations that are still listed on request.
        history_kept: records of ended calls, and as many of invitations, that are at hand in memory for `history.get`.
        event_log_limit: records of one session's log after which events that change no state are not logged.
        backlog_messages: messages kept for the first assignee of a conversation.
        earlier_messages, earlier_message_bytes: messages of before that the next assignee of a conversation is shown,
            and how large they are together; 0: none.
        conversations_per_page: length of a page of the conversation list, and of the snapshot.
        unread_kept: unread messages that are counted one by one, for each side of a conversation.
        recording: `off`; `on_request`, by `recording.start`; `always`, from the moment that a call is active.
        visitor_camera: `allowed`; `off_default`, a visitor's camera is off until turned on; `not_allowed`.
        cleanup_timeout_s: bound of the shielded clean-up of one session.
    """

    ring_timeout_s: float = 30.0
    connect_timeout_s: float = 15.0
    leg_grace_s: float = 30.0
    visitor_ring_grace_s: float = 5.0
    visitor_absent_grace_s: float = 120.0
    visitor_return_s: float = 10.0
    handoff_timeout_s: float = 10.0
    device_grace_s: float = 35.0
    sleeping_devices_kept: int = 16
    revoked_device_grace_s: float = 5.0
    close_reminder_s: float = 30.0
    close_reminder_repeat_s: float = 300.0
    close_reminders: int = 3
    queue_size: int = 0
    queue_timeout_s: float | None = None
    on_no_answer: Literal["end", "reroute"] = "end"
    auto_unavailable_after_missed: int = 0
    push_fallback_s: float = 2.0
    push_needs_s: float = 2.0
    push_retry_needs_s: float = 3.0
    ios_profile: Literal["ios_alert_repeat", "ios_callkit"] = "ios_alert_repeat"
    ios_repeat_s: float = 5.0
    ios_withdraw: Literal["remove", "replace_missed"] = "remove"
    note_period_s: float = 5.0
    push_names: bool = False
    require_permissions: Literal["camera+mic", "mic"] = "camera+mic"
    hold_channels_until: Literal["conversation_closed", "video_ended"] = "conversation_closed"
    visitor_sees_decline: bool = False
    fail_fast_when_unreachable: bool = False
    handoff_paths: frozenset[tuple[str, str]] | None = None
    invite_requires_clear_desk: Literal["off", "warn", "enforce"] = "warn"
    visitor_escalation: Literal["off", "notify", "ring_assignee"] = "off"
    visitor_preview_to_agent: bool = False
    max_chats: int = 3
    max_third_party: int = 3
    background_available_s: float | None = 5 * 3600.0
    requests_per_minute: int = 5
    warm_legs_per_ring: int = 2
    create_conversations: bool = True
    default_group: str = "default"
    ended_sessions_kept: int = 1024
    ended_invitations_kept: int = 1024
    closed_conversations_kept: int = 1024
    history_kept: int = 10_000
    event_log_limit: int = 10_000
    backlog_messages: int = 100
    earlier_messages: int = 50
    earlier_message_bytes: int = 64 * 1024
    conversations_per_page: int = 50
    unread_kept: int = 1000
    recording: Literal["off", "on_request", "always"] = "off"
    visitor_camera: Literal["allowed", "off_default", "not_allowed"] = "allowed"
    cleanup_timeout_s: float = 2.0

    def __post_init__(self) -> None:
        require_kinds(self)
        if not 5.0 <= self.ring_timeout_s <= 120.0:
            raise ConfigurationError(f"ring_timeout_s is {self.ring_timeout_s}; choose 5 to 120 seconds")
        for name in (
            "connect_timeout_s",
            "leg_grace_s",
            "visitor_ring_grace_s",
            "visitor_absent_grace_s",
            "visitor_return_s",
            "push_fallback_s",
            "push_needs_s",
            "ios_repeat_s",
            "handoff_timeout_s",
            "cleanup_timeout_s",
        ):
            if getattr(self, name) <= 0:
                raise ConfigurationError(f"{name} is {getattr(self, name)}; choose a positive number of seconds")
        unknown = {name for path in self.handoff_paths or () for name in path} - set(get_args(Platform))
        if unknown:
            known = ", ".join(get_args(Platform))
            raise ConfigurationError(f"handoff_paths names {', '.join(sorted(unknown))}; platforms are {known}")
        for name in ("sleeping_devices_kept", "history_kept"):
            if getattr(self, name) < 1:
                raise ConfigurationError(f"{name} must be at least 1")
        if not 0 <= self.queue_size <= 1000:
            raise ConfigurationError(f"queue_size is {self.queue_size}; choose 0 to 1000 visitors")
        if self.queue_timeout_s is not None and self.queue_timeout_s <= 0:
            raise ConfigurationError(f"queue_timeout_s is {self.queue_timeout_s}; choose a positive number, or None")
        if self.max_chats < 1 or self.requests_per_minute < 1:
            raise ConfigurationError("max_chats and requests_per_minute must be at least 1")
