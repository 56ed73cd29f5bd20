"""A server that goes away in order, and limits of tenants and addresses (call-control spec 3.4, R24, V43, 3.7)."""

from __future__ import annotations

from contextlib import ExitStack

import pytest
import trio
from trio.testing import MockClock

from support.signaling_host import open_signaling_host
from support.signaling_house import SignalingHouse, open_signaling_house
from triortc.engine.calls.call_events import CallEvent
from triortc.signaling.client import CommandError, SignalClient
from triortc.signaling.configuration import HttpConfiguration, SignalingConfiguration
from triortc.signaling.http import HttpServer
from triortc.signaling.site import Request, Site

MEDIA = {"audio": True, "video": True}


async def call(house: SignalingHouse, agent: SignalClient, visitor: SignalClient) -> str:
    asked = await visitor.command("call.request", conversation="cv_9", media=MEDIA, offer="v=0")
    ring = (await agent.event("ring.offer")).p["ring"]
    leg = (await agent.command("ring.opened", ring=ring))["leg"]
    await agent.command("sdp.offer", leg=leg, neg=1, sdp="v=0")
    await agent.command("call.accept", session=asked["session"])
    await visitor.event("call.active")
    return str(asked["session"])


async def test_r24_a_draining_server_tells_everybody_refuses_new_calls_and_waits_for_those_that_run(
    autojump_clock: MockClock,
) -> None:
    async with open_signaling_house() as house, house.agent() as agent, house.visitor() as visitor:
        session = await call(house, agent, visitor)
        async with house.agent(sub="ben") as other, house.visitor("max", "tab2", "cv_8") as newcomer:
            outcome: list[bool] = []

            async def drain() -> None:
                outcome.append(await house.server.drain(60, reconnect="wss://elsewhere.example/v1/signal"))

            async with trio.open_nursery() as nursery:
                nursery.start_soon(drain)
                for client in (agent, visitor, other, newcomer):
                    told = await client.event("server.draining")
                    assert told.p == {"deadline_ms": 60_000, "reconnect": "wss://elsewhere.example/v1/signal"}
                with pytest.raises(CommandError) as error:
                    await newcomer.command("call.request", conversation="cv_8", media=MEDIA)
                assert error.value.code == "server.draining"
                with pytest.raises(CommandError) as error:
                    async with house.agent(sub="eve"):
                        pass
                assert error.value.code == "server.draining"
                visitor.drop()
                await visitor.ended()
                await visitor.connect(nursery)  # a device of a running call comes back
                assert visitor.welcome["resumed"]
                await trio.sleep(30)
                assert outcome == []
                await visitor.command("call.hangup", session=session)
                ended = await agent.event("call.ended")
                assert (ended.p["outcome"], ended.p["reason"]) == ("completed", "visitor_hangup")
            assert outcome == [True]


async def test_v43_calls_that_outlast_the_draining_end_as_server_shutdown(autojump_clock: MockClock) -> None:
    with ExitStack() as watching:
        async with open_signaling_house() as house, house.agent() as agent, house.visitor() as visitor:
            stream = watching.enter_context(house.server.calls.observers.observe())
            session = await call(house, agent, visitor)
            began = trio.current_time()
            assert await house.server.drain(60) is False
            assert trio.current_time() - began == pytest.approx(60)
            assert house.server.calls.running_sessions == 1
        last = [event async for event in stream][-1]
    assert isinstance(last, CallEvent)
    assert (last.name, last.session, last.outcome, last.reason) == ("call.ended", session, "failed", "server_shutdown")


async def test_a_server_without_calls_is_drained_at_once(autojump_clock: MockClock) -> None:
    async with open_signaling_house() as house, house.agent():
        began = trio.current_time()
        assert await house.server.drain(60)
        assert trio.current_time() == began


async def test_one_tenant_has_a_bounded_number_of_sessions_and_takes_no_other_place() -> None:
    limits = SignalingConfiguration(max_sessions_per_organization=2)
    async with (
        open_signaling_host(configuration=limits) as host,
        host.client("ana", "d1"),
        host.client("ben", "d2") as second,
    ):
        with pytest.raises(CommandError) as error:
            async with host.client("eve", "d3"):
                pass
        assert error.value.code == "server.overloaded"
        async with host.client("zoe", "d4", org="acme"):
            pass
        async with host.client("ana", "d1"):
            pass  # a device that is known comes back
        await second.leave()
        await second.ended()
        async with host.client("eve", "d3"):
            pass


def test_one_address_has_a_bounded_number_of_connections_and_this_machine_any() -> None:
    async def upgraded(channel: object, context: object) -> None: ...

    server = HttpServer(
        site=Site(health=dict, pages={}),
        upgraded=upgraded,
        may_upgrade=lambda upgrading, peer: True,
        configuration=HttpConfiguration(max_connections=4, max_connections_per_address=2),
    )
    server._per_host = {"192.0.2.1": 2, "192.0.2.2": 1, "127.0.0.1": 3}
    assert not server._has_room("192.0.2.1")
    assert all(map(server._has_room, ("192.0.2.2", "192.0.2.3", "127.0.0.1", "::1", "")))
    server.open_connections = 4
    assert not server._has_room("192.0.2.3")


@pytest.mark.parametrize("path", ["/v1/transports", "/v1/push-key"])
def test_pages_of_listed_origins_may_read_what_a_client_needs_and_nothing_else(path: str) -> None:
    site = Site(health=dict, pages={}, push_key="k", allowed_origins=["https://shop.example"])

    def headers(origin: str | None, path: str = path, scheme: str = "https") -> dict[str, str]:
        asked = {"host": "calls.example", **({} if origin is None else {"origin": origin})}
        return dict(site.respond(Request("GET", path, asked, scheme=scheme)).headers)

    assert headers("https://shop.example")["access-control-allow-origin"] == "https://shop.example"
    assert headers("https://shop.example")["vary"] == "origin"
    assert "access-control-allow-origin" not in headers("https://evil.example")
    assert "access-control-allow-origin" not in headers(None)
    assert "access-control-allow-origin" not in headers("https://shop.example", "/health")
    assert headers(None)["strict-transport-security"] == "max-age=31536000"
    assert "strict-transport-security" not in headers(None, scheme="http")
