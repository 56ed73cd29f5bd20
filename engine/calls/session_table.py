"""The life of a video session: table V of docs/calls.md.

`active`, `reconnecting` and `handoff` are one phase seen from outside; a `next` of `active` means "in the call": what
is shown then follows from the legs (see `Session.state`). Effects of the form `end:outcome/reason` end the session.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal, NamedTuple, TypeAlias, get_args

from triortc.engine.calls.machine import SAME, Row

__all__ = [
    "CONVERSATION_OPERATIONS",
    "GUARDS",
    "IN_CALL",
    "OUTCOMES",
    "PRE_ANSWER",
    "ROWS",
    "ConversationOperation",
    "Facts",
    "Outcome",
    "Value",
]

Outcome = Literal["completed", "declined", "no_answer", "cancelled", "unavailable", "failed"]
Value: TypeAlias = str | int | float | bool | None
"""What an event's data may hold: it is written to the event log as JSON."""

OUTCOMES: Final[Mapping[str, frozenset[str]]] = {
    "completed": frozenset({"agent_hangup", "visitor_hangup", "supervisor_ended"}),
    "declined": frozenset({"agent_declined", "visitor_declined"}),
    "no_answer": frozenset({"ring_timeout"}),
    "cancelled": frozenset(
        {
            "visitor_cancelled",
            "visitor_left",
            "agent_cancelled",
            "supervisor_ended",
            "conversation_transferred",
            "conversation_snoozed",
            "conversation_closed",
        }
    ),
    "unavailable": frozenset(
        {"no_agent_available", "agent_busy", "no_reachable_device", "queue_full", "queue_timeout"}
    ),
    "failed": frozenset(
        {
            "media_setup_failed",
            "media_capture_failed",
            "agent_connection_lost",
            "visitor_connection_lost",
            "server_shutdown",
            "node_lost",
            "internal_error",
        }
    ),
}
"""Every pair of outcome and reason that a session can end with."""

ConversationOperation = Literal["conversation.transfer", "conversation.snooze", "conversation.close"]
CONVERSATION_OPERATIONS: Final[tuple[ConversationOperation, ...]] = get_args(ConversationOperation)
"""What an agent does with a whole conversation, and its video cannot outlive (V21, V40, V41)."""

PRE_ANSWER: Final = ("new", "queued", "ringing", "waiting")
IN_CALL: Final = ("connecting", "active", "reconnecting", "handoff")
_TALKING: Final = ("active", "reconnecting", "handoff")
_UNANSWERED: Final = ("queued", "ringing", "waiting")
_LIVE: Final = (*_UNANSWERED, *IN_CALL)
_ANSWERS: Final = ("call.accept", "invitation.join")
_RING: Final = ("start_ring", "open", "offer_ring", "tell_ringing")
_HANGUPS: Final = ("call.hangup", "call.cancel")


class Facts(NamedTuple):
    """What guards look at: the event's data and what they need to know of the session."""

    data: Mapping[str, Value]
    deadline: float
    in_grace: frozenset[str]
    pending_leg: str | None
    pending_side: str | None
    recording: str | None = None


def _on_time(facts: Facts) -> bool:
    rx_time = facts.data.get("rx_time")
    return isinstance(rx_time, int | float) and rx_time <= facts.deadline


def _ends_call(facts: Facts) -> bool:
    return facts.data["leg"] in facts.in_grace and facts.pending_side != facts.data["side"]


GUARDS: Final = {
    "ring_possible": lambda facts: facts.data.get("agent") is not None,
    "queue_possible": lambda facts: facts.data.get("agent") is None and bool(facts.data.get("queue")),
    "reroute": lambda facts: bool(facts.data.get("reroute")),
    "nobody": lambda facts: facts.data.get("agent") is None,
    "late": lambda facts: not _on_time(facts),
    "permission_missing": lambda facts: bool(facts.data.get("missing")),
    "fail_fast": lambda facts: bool(facts.data.get("fail_fast")),
    "in_grace": lambda facts: facts.data["leg"] in facts.in_grace,
    "ends_call": _ends_call,
    "pending_covers": lambda facts: facts.data["leg"] in facts.in_grace and not _ends_call(facts),
    "is_pending": lambda facts: facts.pending_leg is not None and facts.data["leg"] == facts.pending_leg,
    "has_pending": lambda facts: facts.pending_leg is not None,
    "recorded": lambda facts: facts.recording is not None,
    "is_recording": lambda facts: facts.recording is not None and facts.data["recording"] == facts.recording,
    "by_agent": lambda facts: facts.data.get("side") == "agent",
    "by_visitor": lambda facts: facts.data.get("side") == "visitor",
    "end_video": lambda facts: bool(facts.data.get("end_video")),
}

ROWS: Final[tuple[Row, ...]] = (
    Row("V1", ("new",), "call.request", "ring_possible", "ringing", _RING),
    Row("V2", ("new",), "call.request", "queue_possible", "queued", ("enqueue", "open", "tell_queued")),
    Row("V3", ("new",), "call.request", "nobody", "ended", ("end:unavailable/{reason}",)),
    Row("V4", ("new",), "int.candidate_lost", "", "new"),
    Row("V7", ("queued",), "int.agent_available", "", "ringing", ("start_ring", "offer_ring", "tell_ringing")),
    *(Row("V8", ("queued",), hangup, "", "ended", ("end:cancelled/visitor_cancelled",)) for hangup in _HANGUPS),
    Row("V9", ("queued",), "T_queue", "", "ended", ("end:unavailable/queue_timeout",)),
    Row("V10", ("queued",), "int.visitor_gone", "", "ended", ("end:cancelled/visitor_left",)),
    Row("V16", ("queued",), "int.no_agent_left", "", "ended", ("end:no_answer/ring_timeout",)),
    Row("V5", ("new",), "invitation.join", "", "waiting", ("wait", "open", "open_waiting", "tell_waiting")),
    Row("V6", ("new",), "invitation.accept", "", "ringing", _RING),
    *(
        row
        for answer in _ANSWERS
        for row in (
            Row("V13", ("ringing",), answer, "late", SAME),
            Row("V12", ("ringing",), answer, "permission_missing", SAME),
            Row(
                "V11",
                ("ringing",),
                answer,
                "",
                "connecting",
                ("commit", "arm_gates", "end_other_rings", "tell_accepted"),
            ),
        )
    ),
    Row("V14", ("ringing",), "call.decline", "", "ended", ("end:declined/agent_declined",)),
    Row("V14", ("ringing",), "invitation.cancel", "", "ended", ("end:declined/agent_declined",)),
    *(Row("V15", ("ringing",), hangup, "", "ended", ("end:cancelled/visitor_cancelled",)) for hangup in _HANGUPS),
    Row("V16", ("ringing",), "T_ring", "reroute", "queued", ("leave_agent", "end_missed_ring")),
    Row("V16", ("ringing",), "T_ring", "", "ended", ("end:no_answer/ring_timeout",)),
    Row("V17", ("ringing",), "int.visitor_gone", "", "ended", ("end:cancelled/visitor_left",)),
    Row("V18", ("ringing",), "int.device_lost", "", SAME),
    Row("V19", ("ringing",), "int.all_devices_lost", "fail_fast", "ended", ("end:unavailable/no_reachable_device",)),
    Row("V19", ("ringing",), "int.all_devices_lost", "", SAME, ("tell_ringing",)),
    Row("V20", ("ringing",), "ring.silence", "", SAME),
    Row("V21", _UNANSWERED, "conversation.transfer", "", "ended", ("end:cancelled/conversation_transferred",)),
    Row("V21", _UNANSWERED, "conversation.snooze", "", "ended", ("end:cancelled/conversation_snoozed",)),
    Row("V21", _UNANSWERED, "conversation.close", "", "ended", ("end:cancelled/conversation_closed",)),
    Row("V22", ("waiting",), "invitation.accept", "", "connecting", ("join_visitor", "arm_gates", "tell_accepted")),
    Row("V23", ("waiting",), "invitation.cancel", "", "ended", ("end:cancelled/agent_cancelled",)),
    Row("V23", ("waiting",), "call.hangup", "by_agent", "ended", ("end:cancelled/agent_cancelled",)),
    Row("V24", ("waiting",), "invitation.decline", "", "ended", ("end:declined/visitor_declined",)),
    *(Row("V24", ("waiting",), end, "by_visitor", "ended", ("end:declined/visitor_declined",)) for end in _HANGUPS),
    Row("V25", ("waiting",), "int.agent_gone", "", "ended", ("end:failed/agent_connection_lost",)),
    Row("V26", ("waiting",), "int.visitor_gone", "", "ended", ("end:cancelled/visitor_left",)),
    Row("V27", ("connecting",), "int.legs_ready", "", "active", ("start_call", "tell_active", "open_gates")),
    Row("V28", ("connecting",), "T_connect", "", "ended", ("end:failed/media_setup_failed",)),
    *(Row("V29", IN_CALL, hangup, "", "ended", ("end:completed/{side}_hangup",)) for hangup in _HANGUPS),
    Row("V30", ("waiting", *IN_CALL), "int.capture_failed", "", "ended", ("end:failed/media_capture_failed",)),
    Row("V31", ("connecting",), "int.device_lost", "", SAME),
    Row("V32", _TALKING, "int.leg_lost", "", "active", ("lose_leg", "freeze_gates", "tell_reconnecting")),
    Row("V33", ("reconnecting",), "int.leg_up", "in_grace", "active", ("recover_leg", "tell_resumed", "thaw_gates")),
    Row("V34", ("reconnecting",), "T_grace", "ends_call", "ended", ("end:failed/{side}_connection_lost",)),
    Row("V34", ("reconnecting",), "T_grace", "pending_covers", SAME),
    Row("V38", ("handoff", "reconnecting"), "handoff.request", "has_pending", SAME),
    Row("V35", ("active", "reconnecting"), "handoff.request", "", "active", ("add_pending", "tell_handoff_started")),
    Row(
        "V36",
        ("handoff", "reconnecting"),
        "int.pending_leg_ready",
        "is_pending",
        "active",
        ("switch_source", "move_source", "tell_moved"),
    ),
    Row("V37", ("handoff", "reconnecting"), "T_handoff", "has_pending", "active", ("drop_pending", "close_pending")),
    Row(
        "V37", ("handoff", "reconnecting"), "handoff.cancel", "has_pending", "active", ("drop_pending", "close_pending")
    ),
    Row(
        "V37",
        ("handoff", "reconnecting"),
        "int.pending_leg_failed",
        "is_pending",
        "active",
        ("drop_pending", "close_pending"),
    ),
    Row("V39", IN_CALL, "media.set", "", SAME, ("set_media",)),
    *(
        row
        for operation in CONVERSATION_OPERATIONS
        for row in (
            Row("V41", IN_CALL, operation, "end_video", "ended", ("end:completed/agent_hangup",)),
            Row("V40", IN_CALL, operation, "", SAME),
        )
    ),
    Row("V42", IN_CALL, "call.end", "", "ended", ("end:completed/supervisor_ended",)),
    Row("V42", _UNANSWERED, "call.end", "", "ended", ("end:cancelled/supervisor_ended",)),
    Row("V43", _LIVE, "int.shutdown", "", "ended", ("end:failed/server_shutdown",)),
    Row("V45", _LIVE, "int.fenced", "", "gone"),
    Row("V44", ("new", *_LIVE), "int.crash", "", "ended", ("end:failed/internal_error",)),
    Row("V46", ("queued", "ringing"), "int.adopted", "", SAME, ("adopt", "reopen_legs", "await_visitor")),
    Row("V46", ("waiting",), "int.adopted", "", SAME, ("adopt", "reopen_legs", "await_agent")),
    Row("V47", ("connecting",), "int.adopted", "", SAME, ("adopt", "reopen_legs")),
    Row("V47", _TALKING, "int.adopted", "", "active", ("adopt", "reopen_legs")),
    Row("V49", ("connecting", "reconnecting"), "int.reaped", "", "ended", ("end:failed/node_lost",)),
    Row("V50", _TALKING, "recording.start", "recorded", SAME),
    Row("V50", _TALKING, "recording.start", "", SAME, ("start_recording", "tell_recording", "record")),
    Row("V51", _TALKING, "recording.stop", "recorded", SAME, ("stop_recording", "end_record", "tell_recording")),
    Row("V51", _TALKING, "recording.stop", "", SAME),
    Row("V52", _TALKING, "int.recording_stopped", "is_recording", SAME, ("stop_recording", "tell_recording")),
)
"""V48 (ended, any event) is answered by the commands themselves: an idempotent `ok`, or why it is over."""
