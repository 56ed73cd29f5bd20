"""Candidates that come one by one, outside descriptions (RFC 8838, RFC 8840)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from triortc.engine.sdp.attributes import check_mid
from triortc.engine.sdp.candidate import Candidate, format_candidate, parse_candidate

__all__ = ["TrickledCandidate", "format_trickled", "parse_trickled"]

_END: Final = frozenset({"", "end-of-candidates"})


@dataclass(frozen=True, slots=True)
class TrickledCandidate:
    """A candidate and the section that it is for.

    Attributes:
        mid: of the section; empty if the sender did not say.
        candidate: ``None`` is the end of candidates.
    """

    mid: str
    candidate: Candidate | None


def parse_trickled(line: str, mid: str | None) -> TrickledCandidate:
    """Parse an entry of ``ice.candidates``, or what a browser's ``icecandidate`` event gives.

    Args:
        line: ``candidate:…``, with or without ``a=``; empty or ``end-of-candidates`` is the end.
        mid: of the section, if known.

    Raises:
        SdpError: the line or the mid is malformed.
    """
    name = check_mid(mid) if mid else ""
    text = line.strip().removeprefix("a=")
    return TrickledCandidate(name, None if text in _END else parse_candidate(text))


def format_trickled(candidate: Candidate | None) -> str:
    """Return the line of a candidate, empty for the end of candidates."""
    return "" if candidate is None else format_candidate(candidate)
