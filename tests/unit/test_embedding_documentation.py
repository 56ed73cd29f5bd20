"""docs/embedding.md: what it shows runs, what it names exists."""

from __future__ import annotations

import importlib
import inspect
import json
import re
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock

import triortc
from support.signaling_house import PretendedMedia, open_signaling_house
from triortc.engine.calls.call_events import CallEvent
from triortc.engine.calls.media_events import LegQuality
from triortc.engine.calls.running_calls import WayQuality
from triortc.signaling import engine as engine_module
from triortc.signaling.channel import MessageChannel, memory_channel_pair
from triortc.signaling.client import ClientDevice, SignalClient, open_signal_client
from triortc.signaling.embedding import Engine
from triortc.signaling.webhooks import signature

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "embedding.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)


@pytest.fixture
def shown() -> dict[str, Any]:
    """Everything that the page defines."""
    names: dict[str, Any] = {}
    for block in BLOCKS:
        exec(compile(block, "embedding.md", "exec"), names)
    return names


def test_every_port_is_where_it_is_said_to_be() -> None:
    parameters = set(inspect.signature(triortc.open_engine).parameters) - {"configuration"}
    named = set(re.findall(r"\| `([a-z_]+)` \| `", TEXT))
    assert named == parameters
    for path in re.findall(r"`((?:engine|signaling)\.[a-z_.]+\.[A-Z]\w+)`", TEXT):
        module, _, name = path.rpartition(".")
        assert getattr(importlib.import_module(f"triortc.{module}"), name)._is_protocol


def test_every_method_that_is_shown_exists() -> None:
    used = set(re.findall(r"engine\.([a-z_]+)\(", "\n".join(BLOCKS)))
    assert used
    assert all(hasattr(Engine, name) for name in used)
    public = {name for name, _ in inspect.getmembers(Engine, inspect.isfunction) if not name.startswith("_")}
    missing = {name for name in public if name in vars(Engine)} - set(re.findall(r"engine\.([a-z_]+)", TEXT))
    assert not missing, "a method of the engine is not in the documentation"


async def test_the_questions_that_are_shown_are_answered(shown: dict[str, Any]) -> None:
    async with open_signaling_house() as house:
        fields = {name: getattr(house.server, name) for name in Engine.__dataclass_fields__}
        engine = Engine(**fields)
        async with house.agent() as ana, house.visitor() as lea:
            await engine.open_conversation("dev", "cv_9", "lea")
            assert await shown["call_now"](engine, "dev") is None
            await ana.event("ring.offer")
            await lea.event("call.ended")
            await shown["telephone"](engine, "dev")
            assert "channel_available:chat" in await shown["from_chat_to_video"](engine, "dev")
            await lea.event("invitation.changed")
        assert await shown["from_chat_to_video"](engine, "another") == "state.not_found"


async def test_the_rule_that_is_shown_ends_a_call_after_ten_minutes_of_talk(
    shown: dict[str, Any],
    autojump_clock: MockClock,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    media = PretendedMedia()

    @asynccontextmanager
    async def pretended(_: object) -> AsyncGenerator[PretendedMedia]:
        yield media

    monkeypatch.setattr(engine_module, "open_leg_manager", pretended)
    server = triortc.ServerConfiguration(port=None, development=True)
    async with (
        triortc.open_engine(triortc.EngineConfiguration(server)) as engine,
        shown["device"](engine, "agent", "ana") as ana,
        shown["device"](engine, "visitor", "lea", cv=["cv_1"]) as lea,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(shown["ten_minutes_and_no_longer"], engine)
        wanted = {"audio": True, "video": True}
        asked = await lea.command("call.request", conversation="cv_1", media=wanted, offer="v=0 lea")
        await ana.command("call.accept", session=asked["session"], offer="v=0 ana")
        began = trio.current_time()
        media.on_event(LegQuality(asked["leg"], 20, 700.0, 0.2, 90.0))
        [call] = engine.running_calls("dev")
        assert (call.session, call.agent, call.state) == (asked["session"], "ana", "active")
        assert call.visitor_way == WayQuality(20, 700.0, 0.2, 90.0)
        assert call.agent_way is None
        assert engine.running_calls("another") == ()
        assert (await lea.event("call.ended")).p["reason"] == "supervisor_ended"
        assert 600 < trio.current_time() - began < 610
        assert engine.running_calls() == ()
        assert "the visitor's network is weak, 700.0 ms, 20% lost" in capsys.readouterr().out
        nursery.cancel_scope.cancel()


async def test_the_test_that_is_shown_passes(shown: dict[str, Any], autojump_clock: MockClock) -> None:
    await shown["test_only_the_first_floor_is_rung_and_for_twenty_seconds"](autojump_clock)


async def test_an_agent_with_the_token_that_is_shown_is_rung_for_the_visitor_with_the_other(
    shown: dict[str, Any],
) -> None:
    agent, visitor = shown["tokens_of_a_call"]()
    configuration = triortc.EngineConfiguration(replace(shown["server"], port=None))
    async with (
        triortc.open_engine(configuration) as engine,
        connected(engine, agent, "ana-desktop") as ana,
        connected(engine, visitor, "lea-tab"),
    ):
        for channel in ("chat", "video"):
            await ana.command("presence.set", channel=channel, declared="available")
        await engine.open_conversation("shop", "cv_9", "lea")
        requested = await engine.request_call("shop", "cv_9")
        with trio.fail_after(5):
            assert (await ana.event("ring.offer")).p["session"] == requested.session


@asynccontextmanager
async def connected(engine: triortc.Engine, token: str, device: str) -> AsyncGenerator[SignalClient]:
    """A device with a token, on a memory channel."""

    @asynccontextmanager
    async def channel() -> AsyncGenerator[MessageChannel]:
        ours, theirs = memory_channel_pair()
        engine.connections.start_soon(engine.signaling.serve, theirs)
        yield ours
        ours.drop()

    async with open_signal_client(channel, token=token, device=ClientDevice(device)) as client:
        yield client


def test_the_receiver_that_is_shown_knows_ours_from_others(shown: dict[str, Any]) -> None:
    body, now = b"{}", int(time.time())
    headers = {"triortc-timestamp": str(now), "triortc-signature": signature("the-secret-of-this-receiver", now, body)}
    assert shown["receive"](headers, body) == 204
    assert shown["receive"](headers, b"{ }") == 401
    assert shown["configuration"].webhooks.receivers[0].events == ("call.active", "call.ended")


def test_the_event_that_is_shown_has_the_fields_of_one() -> None:
    (example,) = re.findall(r"```json\n(.*?)```", TEXT, re.DOTALL)
    assert set(json.loads(example)) == {"event_id", *CallEvent.__dataclass_fields__}


def test_every_file_that_is_linked_exists() -> None:
    for link in re.findall(r"\]\((?!http)([^)#]+)", TEXT):
        assert (ROOT / "docs" / link).resolve().exists(), link
