"""Candidates outside descriptions (RFC 8838, RFC 8840)."""

from __future__ import annotations

import pytest

from support.sdp import vectors
from triortc.engine.sdp.trickle import format_trickled, parse_trickled
from triortc.errors import SdpError

EXAMPLES = [vector for vector in vectors("sdp_jsep_examples.json")["vectors"] if "-candidate-" in vector["name"]]
HOST = "candidate:1 1 udp 2130706431 192.0.2.1 40000 typ host"


@pytest.mark.parametrize("vector", EXAMPLES, ids=lambda vector: str(vector["name"]))
def test_rfc9429_7_trickled_candidates_of_the_examples(vector: dict[str, list[str]]) -> None:
    fields = dict(line.split(maxsplit=1) for line in vector["lines"])
    trickled = parse_trickled(fields["attr"], fields["mid"])
    assert trickled.mid == "a1"
    assert trickled.candidate is not None
    assert format_trickled(trickled.candidate) == fields["attr"]


@pytest.mark.parametrize("line", [HOST, f"a={HOST}", f" {HOST}\r\n"])
def test_a_line_may_have_its_prefix_and_blanks_around(line: str) -> None:
    trickled = parse_trickled(line, None)
    assert trickled.mid == ""
    assert trickled.candidate is not None
    assert trickled.candidate.port == 40000


@pytest.mark.parametrize("line", ["", "end-of-candidates", "a=end-of-candidates", " "])
def test_rfc8840_8_2_an_empty_line_is_the_end(line: str) -> None:
    trickled = parse_trickled(line, "0")
    assert (trickled.mid, trickled.candidate) == ("0", None)
    assert format_trickled(None) == ""


@pytest.mark.parametrize(("line", "mid"), [("candidate:", "0"), ("hello", "0"), (HOST, "a b"), (HOST, "é")])
def test_malformed_lines_and_mids_are_refused(line: str, mid: str) -> None:
    with pytest.raises(SdpError):
        parse_trickled(line, mid)
