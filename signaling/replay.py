"""`triortc replay`: an event log folded through the reducer again, and told as a story."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from triortc.engine.calls.event_log import EventLog, EventLogError, read_event_log
from triortc.engine.calls.session import LogRecord, Session
from triortc.engine.calls.session_table import Value

__all__ = ["mermaid", "replay", "timeline"]

_STORY: Final[Mapping[str, str]] = {
    "int.created": "the session is made for {visitor} in {conversation}",
    "call.request": "asks for a video",
    "int.candidate_lost": "{agent} cannot be rung; the next one is tried",
    "int.agent_available": "an agent is free",
    "call.accept": "Go, on {device}",
    "call.decline": "declines, on {device}",
    "call.cancel": "cancels",
    "call.hangup": "hangs up",
    "call.end": "is ended from outside",
    "ring.silence": "silences the ring on {device}",
    "invitation.join": "joins the invitation",
    "invitation.accept": "accepts the invitation",
    "invitation.decline": "declines the invitation",
    "invitation.cancel": "takes the invitation back",
    "int.device_lost": "a device loses its connection",
    "int.all_devices_lost": "every ringing device has lost its connection",
    "int.visitor_gone": "the visitor has gone",
    "int.legs_ready": "both legs are up: the gates open",
    "int.leg_lost": "nothing comes from the {side}'s leg any more",
    "int.leg_up": "the {side}'s leg is back",
    "handoff.request": "pulls the call to {device}",
    "handoff.cancel": "the change of device is cancelled",
    "int.pending_leg_ready": "the new device delivers: the call is on it",
    "int.pending_leg_failed": "the new device's leg failed",
    "int.capture_failed": "camera or microphone failed for good",
    "media.set": "changes camera or microphone",
    "recording.start": "starts recording {recording}",
    "recording.stop": "stops recording",
    "int.recording_stopped": "the recording stopped: {why}",
    "conversation.close": "closes the conversation",
    "conversation.snooze": "puts the conversation off",
    "conversation.transfer": "gives the conversation away",
    "int.shutdown": "the server shuts down",
    "int.crash": "the session's code failed",
    "T_ring": "the time to answer is over",
    "T_connect": "the time to connect is over",
    "T_handoff": "the new device took too long",
    "T_grace": "the lost leg did not come back",
    "T_queue": "the time to wait is over",
}
_COLORS: Final[Mapping[str, str]] = {
    "queued": "yellow",
    "ringing": "yellow",
    "waiting": "yellow",
    "connecting": "cyan",
    "active": "green",
    "handoff": "cyan",
    "reconnecting": "magenta",
    "ended": "red",
}


class _Facts(dict[str, Value]):
    """The data of a record, for sentences: what is not there reads as a question mark."""

    def __missing__(self, key: str) -> str:
        return "?"


@click.command()
@click.argument("log", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--until", default=None, metavar="N", help="Stop after this record's number, or the first such row (V11)."
)
@click.option("--diagram", is_flag=True, help="Print a Mermaid sequence diagram instead of the timeline.")
def replay(log: Path, until: str | None, diagram: bool) -> None:
    """Replay the event LOG of a session, and print its story.

    The log is folded through this build's reducer. Should it lead anywhere else than it did, that is said, and the
    exit status is 1.
    """
    try:
        with log.open(encoding="utf-8", errors="replace") as lines:
            told = read_event_log(lines)
    except EventLogError as error:
        raise click.ClickException(f"{log}: {error}") from None
    count = _count(told, until)
    if diagram:
        click.echo(mermaid(told, count))
        return
    timeline(told, count, Console())


def _count(told: EventLog, until: str | None) -> int:
    """How many records are shown."""
    if until is None:
        return len(told.records)
    for place, record in enumerate(told.records, 1):
        if until in (str(record.n), record.row):
            return place
    raise click.BadParameter(f"the log has neither a record nor a row {until}", param_hint="--until")


def _words(record: LogRecord) -> str:
    said = _STORY.get(record.event, record.event).format_map(_Facts(record.data))
    missing, reason = record.data.get("missing"), record.data.get("reason")
    if record.row == "V12" and missing:
        return f"{said}: but {str(missing).replace('+', ' and ')} must be allowed first"
    if record.row == "V13":
        return f"{said}: too late"
    if record.event == "call.request" and record.state_to == "ended" and reason:
        return f"{said}: {reason}"
    return said


def _who(record: LogRecord, session: Session) -> str:
    if record.actor == "system":
        return ""
    if record.actor == session.visitor:
        return f"visitor {record.actor}"
    return f"agent {record.actor}" if record.actor == session.agent else record.actor


def timeline(told: EventLog, count: int, console: Console) -> None:
    """Print the first `count` records of a story, and how things stand then."""
    if not told.records:
        console.print(Text(f"{told.session}: nothing is recorded"))
        return
    begun = datetime.fromtimestamp(told.stamps[0] / 1000, UTC)
    title = f"{told.session} · {begun:%Y-%m-%d %H:%M:%S} UTC"
    table = Table("", "#", "who", "what", "state", "row", title=title, title_justify="left")
    table.columns[0].justify = "right"
    before = ""
    for record, stamp, session in zip(told.records[:count], told.stamps, told.states, strict=False):
        changed = record.state_to != before
        state = Text(record.state_to if changed else "", style=_COLORS.get(record.state_to, "") if changed else "")
        before = record.state_to
        # Ids and names come from outside: they are text, never markup.
        what = Text(_clean(_words(record)))
        who = Text(_clean(_who(record, session)))
        table.add_row(f"+{(stamp - told.stamps[0]) / 1000:.3f} s", str(record.n), who, what, state, record.row)
    console.print(table)
    console.print(Text(_standing(told.states[count - 1])))
    if told.cut_off:
        console.print(Text("The last line was cut off: the server that wrote it died there.", style="yellow"))


def _standing(session: Session) -> str:
    if session.ended:
        talk = f", {session.talk_ms / 1000:.1f} s of talk" if session.talk_ms else ""
        return f"ended: {session.outcome}/{session.reason}{talk}. It replays to the same states."
    parts = [f"now {session.state}"]
    if session.agent_device:
        parts.append(f"agent on {session.agent_device}")
    if session.pending is not None:
        parts.append(f"{session.pending.device} is taking over")
    parts += [f"{leg} has been lost" for leg in session.grace]
    if session.recording:
        parts.append(f"recorded as {session.recording}")
    return _clean(", ".join(parts)) + ". It replays to the same states."


def _clean(text: str) -> str:
    """Without control characters: a log may come from anywhere, and a terminal obeys them."""
    return re.sub(r"[\x00-\x1f\x7f-\x9f]", "\N{REPLACEMENT CHARACTER}", text)


def mermaid(told: EventLog, count: int) -> str:
    """The first `count` records as a Mermaid sequence diagram."""
    lines = ["sequenceDiagram", "    participant V as visitor", "    participant S as server"]
    devices: dict[str, str] = {}
    body: list[str] = []
    before = ""
    for record, session in zip(told.records[:count], told.states, strict=False):
        source = "S"
        if record.actor == session.visitor:
            source = "V"
        elif record.actor != "system":
            device = str(record.data.get("device") or session.agent_device or record.actor)
            source = devices.setdefault(device, f"D{len(devices) + 1}")
        arrow = "S->>S" if source == "S" else f"{source}->>S"
        body.append(f"    {arrow}: {_label(_words(record))}")
        if record.state_to != before:
            before = record.state_to
            body.append(f"    Note over S: {_label(before)}")
    lines += [f"    participant {name} as {_label(device)}" for device, name in devices.items()]
    return "\n".join(lines + body)


def _label(text: str) -> str:
    """Text that Mermaid does not take for syntax."""
    return re.sub(r"[;#\n\r<>]", " ", _clean(text))
