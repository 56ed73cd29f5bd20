"""The engine in a server of one's own: its API, its events, listeners of one's own."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
import trio
import trio.testing

import triortc
from support.signaling_house import PretendedMedia
from triortc.engine.calls.call_events import CallEvent, Missed
from triortc.engine.calls.event_log_files import EventLogConfiguration
from triortc.engine.calls.observing import EventStream, Observers
from triortc.engine.calls.quality import QualityConfiguration
from triortc.signaling import engine as engine_module
from triortc.signaling.client import ClientDevice, SignalClient, connect_websocket, open_signal_client
from triortc.signaling.sqlite_store import SqliteStore
from triortc.signaling.webtransport.configuration import WebTransportConfiguration
from triortc.signaling.wire_values import Platform

NAMES = ("127.0.0.1",)


@asynccontextmanager
async def opened(
    monkeypatch: pytest.MonkeyPatch,
    *,
    port: int | None = 0,
    media: triortc.MediaConfiguration | None = None,
    **server: Any,
) -> AsyncGenerator[triortc.Engine]:
    """An engine whose media side only pretends."""

    @asynccontextmanager
    async def pretended(_: object) -> AsyncGenerator[PretendedMedia]:
        yield PretendedMedia()

    monkeypatch.setattr(engine_module, "open_leg_manager", pretended)
    configuration = triortc.EngineConfiguration(
        triortc.ServerConfiguration(port=port, development=True, host_names=NAMES, **server),
        media or triortc.MediaConfiguration(),
    )
    async with triortc.open_engine(configuration) as engine:
        yield engine


@asynccontextmanager
async def connected(
    engine: triortc.Engine, role: str, sub: str, device: str, url: str | None = None, **claims: Any
) -> AsyncGenerator[SignalClient]:
    assert engine.issuer is not None
    token = engine.issuer.issue(role=role, sub=sub, did=device, **claims)  # type: ignore[arg-type]  # roles are words

    @asynccontextmanager
    async def channel() -> AsyncGenerator[Any]:
        async with connect_websocket(url or engine.signal_url) as opened_channel:
            yield opened_channel

    platform: Platform = "web" if role == "visitor" else "desktop"
    async with open_signal_client(channel, token=token, device=ClientDevice(device, platform)) as client:
        if role == "agent":
            for name in ("chat", "video"):
                await client.command("presence.set", channel=name, declared="available")
        yield client


async def next_event(events: EventStream) -> CallEvent:
    with trio.fail_after(5):
        event = await anext(events)
    assert isinstance(event, CallEvent)
    return event


ORG = "dev"


async def test_3_3_a_welcome_names_the_scores_that_the_media_side_judges_by(monkeypatch: pytest.MonkeyPatch) -> None:
    media = triortc.MediaConfiguration(quality=QualityConfiguration(weak_score=20, good_score=90))
    async with opened(monkeypatch, media=media) as engine, connected(engine, "agent", "ana", "desk") as ana:
        assert ana.welcome["quality"] == {"weak_score": 20, "good_score": 90}


async def test_a_server_rings_an_agent_for_a_visitor_and_ends_the_call(monkeypatch: pytest.MonkeyPatch) -> None:
    async with (
        opened(monkeypatch) as engine,
        connected(engine, "agent", "ana", "desk") as ana,
        connected(engine, "visitor", "lea", "tab", cv=["cv_9"]) as lea,
    ):
        await engine.open_conversation(ORG, "cv_9", "lea")
        with engine.observe() as events:
            requested = await engine.request_call(ORG, "cv_9")
            assert requested.state == "ringing"
            offer = await ana.event("ring.offer")
            assert offer.p["session"] == requested.session
            ended = await engine.end(ORG, requested.session, note="the shop closes")
            assert (ended.outcome, ended.already_ended) == ("cancelled", None)
            await lea.event("call.ended")
            assert (await engine.end(ORG, requested.session)).already_ended
            told = [await next_event(events) for _ in range(3)]
            assert [event.name for event in told] == ["call.created", "call.ringing", "call.ended"]
            assert [event.n for event in told] == sorted({event.n for event in told})
            assert {event.session for event in told} == {requested.session}
            assert told[1].agent == "ana"
            assert told[2].outcome == "cancelled"
            assert told[2].id == f"{requested.session}:{told[2].n}"


async def test_a_server_invites_in_the_name_of_the_agent_who_has_the_conversation(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with (
        opened(monkeypatch) as engine,
        connected(engine, "agent", "ana", "desk") as ana,
        connected(engine, "visitor", "lea", "tab", cv=["cv_9"]) as lea,
    ):
        await engine.open_conversation(ORG, "cv_9", "lea")
        with pytest.raises(triortc.CallRefusedError) as refused:
            await engine.invite(ORG, "cv_9")
        assert refused.value.code == "auth.forbidden"
        assert "assign_conversation first" in str(refused.value)
        with pytest.raises(triortc.CallRefusedError, match="no such conversation"):
            await engine.invite(ORG, "cv_8")
        await engine.assign_conversation(ORG, "cv_9", "ana")
        invited = await engine.invite(ORG, "cv_9")
        for client in (ana, lea):
            assert (await client.event("invitation.changed")).p["invitation"] == invited.invitation
        with pytest.raises(triortc.CallRefusedError) as refused:
            await engine.invite(ORG, "cv_9")
        assert refused.value.code == "invitation.already_pending"
        assert refused.value.details["invitation"] == invited.invitation
        assert not refused.value.retryable


async def test_what_does_not_exist_is_refused_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    async with opened(monkeypatch) as engine:
        for ask in (
            engine.end("org", "vs_none"),
            engine.assign_conversation("org", "cv_none", "ana"),
            engine.request_call("org", "cv_none"),
        ):
            with pytest.raises(triortc.CallRefusedError) as refused:
                await ask
            assert refused.value.code == "state.not_found"
            assert "state.not_found: " in str(refused.value)


async def test_an_agent_who_is_on_the_telephone_gets_no_video(monkeypatch: pytest.MonkeyPatch) -> None:
    async with (
        opened(monkeypatch) as engine,
        connected(engine, "agent", "ana", "desk") as ana,
        connected(engine, "visitor", "lea", "tab", cv=["cv_9"]),
    ):
        await engine.open_conversation(ORG, "cv_9", "lea")
        await engine.occupy(ORG, "ana", "call", "telephone-1")
        assert (await engine.request_call(ORG, "cv_9")).outcome == "unavailable"
        await engine.vacate(ORG, "ana", "call", "telephone-1")
        assert (await engine.request_call(ORG, "cv_9")).state == "ringing"
        await ana.event("ring.offer")


async def test_an_engine_without_a_port_serves_listeners_of_ones_own(monkeypatch: pytest.MonkeyPatch) -> None:
    async with opened(monkeypatch, port=None) as engine, trio.open_nursery() as nursery:
        assert engine.addresses == ()
        with pytest.raises(triortc.InvalidStateError):
            assert engine.url
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        port = listeners[0].socket.getsockname()[1]
        nursery.start_soon(engine.serve, listeners)
        async with httpx.AsyncClient() as client:
            assert (await client.get(f"http://127.0.0.1:{port}/visitor")).status_code == 200
        async with connected(engine, "agent", "ana", "desk", f"ws://127.0.0.1:{port}/v1/signal"):
            # The listeners go, the connections stay until the engine is left.
            nursery.cancel_scope.cancel()
            assert engine.http.open_connections >= 1
    assert engine.http.open_connections == 0


async def test_pages_of_a_proxy_with_tls_are_of_the_same_origin(monkeypatch: pytest.MonkeyPatch) -> None:
    for scheme, status in (("https", 200), (None, 403)):
        async with opened(monkeypatch, scheme=scheme) as engine, httpx.AsyncClient() as client:
            host, port = engine.addresses[0]
            answer = await client.post(
                f"http://{host}:{port}/dev/token",
                headers={"origin": "https://127.0.0.1", "host": "127.0.0.1"},
                json={"role": "agent", "sub": "ana"},
            )
            assert answer.status_code == status


def test_a_server_that_does_not_listen_has_no_certificate() -> None:
    with pytest.raises(triortc.ConfigurationError, match="nothing listens"):
        triortc.ServerConfiguration(port=None, development=True, webtransport=WebTransportConfiguration())


# --- streams of events


def an_event(n: int) -> CallEvent:
    return CallEvent("call.active", "vs_1", n, 0, "org", "cv_9", "lea", "routed", "active")


async def test_a_slow_observer_is_told_how_many_events_it_missed_and_where() -> None:
    observers = Observers()
    with observers.observe(limit=2) as slow, observers.observe() as quick:
        for n in range(5):
            observers.publish(an_event(n))
        assert await anext(slow) == an_event(0)
        observers.publish(an_event(5))
        assert await anext(slow) == an_event(1)
        observers.publish(an_event(6))
        observers.end()
        assert [item async for item in slow] == [Missed(3), an_event(5), Missed(1)]
        assert [item async for item in quick] == [an_event(n) for n in range(7)]


async def test_an_observer_waits_for_the_next_event_and_is_forgotten_when_it_leaves() -> None:
    observers = Observers()
    with observers.observe() as events:
        async with trio.open_nursery() as nursery:

            async def publish_later() -> None:
                await trio.testing.wait_all_tasks_blocked()
                observers.publish(an_event(1))

            nursery.start_soon(publish_later)
            assert await anext(events) == an_event(1)
    assert not observers._streams
    observers.end()
    with observers.observe() as events:
        assert [item async for item in events] == []
    with pytest.raises(triortc.ConfigurationError, match="limit"), observers.observe(0):
        pass


class AsyncRouter:
    async def order(self, org: str, group: str, candidates: Any) -> list[str]:
        return []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"router": object()}, "router: object has no method 'order'"),
        ({"router": AsyncRouter()}, "router: order is async, and nobody waits for it"),
        ({"store": "state"}, "store: str has no method 'open'"),
        ({"history": []}, "history: list has no method 'append_invitation'"),
    ],
)
async def test_what_is_no_port_is_told_when_the_engine_is_opened(arguments: dict[str, Any], words: str) -> None:
    configuration = triortc.EngineConfiguration(triortc.ServerConfiguration(port=0, development=True))
    with pytest.raises(triortc.ConfigurationError, match=words):
        async with triortc.open_engine(configuration, **arguments):
            pass


@pytest.mark.parametrize("take", [SqliteStore, triortc.RecordingConfiguration, EventLogConfiguration])
def test_a_directory_that_is_text_is_told_before_it_is_used(take: Any) -> None:
    with pytest.raises(triortc.ConfigurationError, match=r"Path\('state'\)"):
        take("state")


async def test_what_is_no_configuration_is_told_in_words() -> None:
    server = triortc.ServerConfiguration(port=0, development=True)
    with pytest.raises(triortc.ConfigurationError, match="EngineConfiguration, not ServerConfiguration"):
        async with triortc.open_engine(server):  # type: ignore[arg-type]  # as those do who check no types
            pass
    for port in (-1, 99_999):
        with pytest.raises(triortc.ConfigurationError, match="choose 0 to 65535"):
            triortc.ServerConfiguration(port=port, development=True)
    with pytest.raises(triortc.ConfigurationError, match="media is a MediaConfiguration, not EndpointConfiguration"):
        triortc.EngineConfiguration(server, triortc.EndpointConfiguration())  # type: ignore[arg-type]  # the mistake
    with pytest.raises(triortc.ConfigurationError, match="endpoint is an EndpointConfiguration, not tuple"):
        triortc.MediaConfiguration(endpoint=("127.0.0.1",))  # type: ignore[arg-type]  # the mistake


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"calls": {"ring_timeout_s": 20}}, "calls is a CallConfiguration, not dict"),
        ({"host_names": "calls.example"}, r"write \('calls.example',\)"),
        ({"keys": {"kid": "key"}, "development": False}, "keys: dict has no method 'find': a KeySet has"),
    ],
)
def test_a_part_of_another_kind_is_told_when_it_is_given(wrong: dict[str, Any], words: str) -> None:
    with pytest.raises(triortc.ConfigurationError, match=words):
        triortc.ServerConfiguration(**{"development": True, **wrong})


async def test_mistakes_of_those_who_ask_are_told_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    async with opened(monkeypatch) as engine:
        with pytest.raises(triortc.ConfigurationError, match="call or third_party"):
            await engine.occupy("dev", "ana", "telephone", "line-3")  # type: ignore[arg-type]  # the mistake
        with pytest.raises(triortc.ConfigurationError, match="no id of a conversation"):
            await engine.open_conversation("dev", "with spaces", "lea")
        with pytest.raises(triortc.ConfigurationError, match="needs a listener"):
            await engine.serve([])
    for ask in (
        lambda: engine.invite("dev", "cv"),
        lambda: engine.open_conversation("dev", "cv", "lea"),
        lambda: engine.assign_conversation("dev", "cv", "ana"),
        lambda: engine.request_call("dev", "cv"),
        lambda: engine.end("dev", "vs"),
        lambda: engine.occupy("dev", "ana", "call", "line-3"),
        lambda: engine.vacate("dev", "ana", "call", "line-3"),
        lambda: engine.serve([]),
    ):
        with pytest.raises(triortc.InvalidStateError, match="block was left"):
            await ask()
