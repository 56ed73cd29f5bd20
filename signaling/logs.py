"""Logs for people and for machines: what a record is about (`session`, `org`, `device` …) has fields of its own."""

from __future__ import annotations

import logging
import re
from datetime import UTC, datetime
from typing import Any, Final, Literal

import msgspec

__all__ = ["FIELDS", "JsonFormatter", "TextFormatter", "configure_logs"]

#: What a record may say of its subject, by `extra={…}`.
FIELDS: Final = (
    "event",
    "session",
    "signaling_session",
    "org",
    "role",
    "sub",
    "device",
    "conversation",
    "agent",
    "state",
    "outcome",
    "reason",
    "talk_ms",
    "code",
)
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_SPOILT: Final = "\N{REPLACEMENT CHARACTER}"


def _subject(record: logging.LogRecord) -> dict[str, Any]:
    return {name: value for name in FIELDS if (value := getattr(record, name, None)) is not None}


class JsonFormatter(logging.Formatter):
    """One JSON object a line: `at`, `level`, `logger`, `message`, the subject, and `error` with a traceback."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        line: dict[str, Any] = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **_subject(record),
        }
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return msgspec.json.encode(line, enc_hook=str).decode()


class TextFormatter(logging.Formatter):
    """A line for people, the subject last."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        """The line without its subject and traceback; a message of several lines has all but its first indented."""
        return "\n    ".join(_CONTROL.sub(_SPOILT, line) for line in super().formatMessage(record).split("\n"))

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        # What others name may be anything: no line of the log is forged by it, and no terminal obeys it.
        subject = " ".join(f"{name}={_CONTROL.sub(_SPOILT, str(value))}" for name, value in _subject(record).items())
        first, newline, rest = super().format(record).partition("\n")
        return f"{first}{f' [{subject}]' if subject else ''}{newline}{rest}"


def configure_logs(form: Literal["text", "json"], level: str) -> None:
    """Send what is logged to the standard error stream.

    Args:
        form: for people or for machines.
        level: the least that is logged: `debug`, `info`, `warning`, `error`.
    """
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter() if form == "json" else TextFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for noisy in ("httpx", "httpcore", "quic", "http3"):
        logging.getLogger(noisy).setLevel(max(logging.WARNING, root.level))
