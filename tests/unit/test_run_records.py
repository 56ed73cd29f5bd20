"""The records of what tests do: answered errors, where what a test has scripted counts for nothing, and numbers."""

from __future__ import annotations

import re
from pathlib import Path

from support.calls_numbers import SEVERAL_NODES, documented_numbers
from support.error_codes import AnsweredErrors, documented_codes
from support.signaling_host import ScriptedCalls, hello, open_signaling_host, receive
from triortc.engine.calls.replies import CallFault
from triortc.signaling import link, session
from triortc.signaling.server import SignalServer
from triortc.signaling.wire import encode_message

COVERAGE = Path(__file__).parents[2] / "docs" / "calls-coverage.md"


def _watched() -> list[object]:
    encoders: list[object] = [vars(module)["encode_error"] for module in (link, session)]
    return [*encoders, SignalServer._replied, link.Link.close]


async def _recorded(record: AnsweredErrors) -> None:
    """A server answers one error of its own, and one of scripted call control, and closes."""
    record._test = "tests/example.py::test_it"
    record.watch()
    try:
        async with open_signaling_host() as host, host.open_channel() as channel:
            assert isinstance(host.calls, ScriptedCalls)
            host.calls.answer = lambda actor, command: CallFault("agent.busy", "as the test says")
            await hello(host, channel)
            for id, t in (("c1", "presence.get"), ("c2", "no.such")):
                await channel.send(encode_message(t, {}, id=id))
                assert (await receive(channel)).t == "err"
            host.server.revoke(lambda claims: True)
            assert (await receive(channel)).p["code"] == "auth.invalid"
    finally:
        record.unwatch()


async def test_what_a_server_answers_of_itself_is_recorded_and_what_a_test_has_scripted_is_not() -> None:
    before = _watched()
    record = AnsweredErrors()
    await _recorded(record)
    assert {code for code, tests in record.taken.items() if tests} == {
        "proto.unknown_type",
        "auth.invalid",
        "close 4403",
    }
    assert _watched() == before


async def test_a_code_without_an_answer_and_a_reserved_one_with_one_are_faults() -> None:
    record = AnsweredErrors()
    await _recorded(record)
    record.taken["ice.invalid"]["tests/example.py::test_it"] = None
    faults = record.judge()
    assert "no test makes a server answer agent.busy" in faults
    assert "no test makes a server answer close 4408" in faults
    assert "ice.invalid is answered, and docs/protocol.md calls it reserved" in faults
    assert not [fault for fault in faults if "auth.invalid" in fault]


def test_reserved_are_only_codes_that_the_documentation_says_why_of() -> None:
    reserved = {code for code, is_reserved in documented_codes().items() if is_reserved}
    assert reserved == {"proto.not_implemented", "sdp.glare", "ice.invalid", "close 4401"}


def test_the_list_of_numbers_names_each_with_tests_that_exist() -> None:
    """docs/calls-coverage.md is written by `make coverage-calls`; a test that went or was renamed shows here."""
    listed = dict(re.findall(r"^\| (\S+) \| \d+ \| (.*) \|$", COVERAGE.read_text(encoding="utf-8"), re.MULTILINE))
    assert {*listed} - {"number", "---"} == documented_numbers()
    for number, tests in listed.items():
        for file, name in re.findall(r"`([\w/.]+)::(\w+)`", tests):
            text = (COVERAGE.parents[1] / "tests" / file).read_text(encoding="utf-8")
            assert f"def {name}(" in text, f"{number}: {name} is gone: make coverage-calls"
        assert "`" in tests or number in {*SEVERAL_NODES, "number", "---"}, f"{number} has no test"
