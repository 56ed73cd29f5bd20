"""What operators see: metrics, readiness, the page's data, logs and spans, on a listener of its own (3.8b)."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import h11
import pytest
import trio
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client.parser import text_string_to_metric_families

from support.signaling_house import SignalingHouse, open_signaling_house
from triortc.engine.calls.call_events import CallEvent
from triortc.signaling.app import ServerConfiguration
from triortc.signaling.client import SignalClient
from triortc.signaling.logs import JsonFormatter, TextFormatter
from triortc.signaling.operations.listener import RunningOperations, open_operations
from triortc.signaling.operations.metrics import Metrics
from triortc.signaling.operations.tracing import CallSpans
from triortc.signaling.operations.watching import CallTimes
from triortc.signaling.tokens import KeySet

MEDIA = {"audio": True, "video": True}


async def ask(address: tuple[str, int], path: str, *, host: str = "localhost", method: str = "GET") -> tuple[int, str]:
    """One request: status and body, headers before the body's first line."""
    async with await trio.open_tcp_stream(*address) as stream:
        connection = h11.Connection(h11.CLIENT)
        request = h11.Request(method=method, target=path, headers=[("host", host), ("connection", "close")])
        await stream.send_all((connection.send(request) or b"") + (connection.send(h11.EndOfMessage()) or b""))
        status, body = 0, b""
        with trio.fail_after(5):
            while True:
                event = connection.next_event()
                if event is h11.NEED_DATA:
                    connection.receive_data(bytes(await stream.receive_some()))
                elif isinstance(event, h11.Response):
                    status = event.status_code
                elif isinstance(event, h11.Data):
                    body += event.data
                else:
                    return status, body.decode()


@asynccontextmanager
async def operated() -> AsyncGenerator[tuple[SignalingHouse, RunningOperations]]:
    async with (
        open_signaling_house("websocket") as house,
        open_operations(house.server, port=0) as operations,
    ):
        yield house, operations


async def ring(house: SignalingHouse, agent: SignalClient, visitor: SignalClient) -> str:
    asked = await visitor.command("call.request", conversation="cv_9", media=MEDIA, offer="v=0")
    offered = (await agent.event("ring.offer")).p["ring"]
    leg = (await agent.command("ring.opened", ring=offered))["leg"]
    await agent.command("sdp.offer", leg=leg, neg=1, sdp="v=0")
    return str(asked["session"])


def samples(text: str) -> dict[str, float]:
    """Every sample by its name and labels; raises where the text is not what Prometheus reads."""
    return {
        sample.name + ("".join(f"/{value}" for value in sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


async def test_metrics_count_calls_by_outcome_and_time_them() -> None:
    async with operated() as (house, operations), house.agent() as agent, house.visitor() as visitor:
        session = await ring(house, agent, visitor)
        status, text = await ask(operations.addresses[0], "/metrics")
        assert status == 200
        assert samples(text)["triortc_calls/ringing"] == 1
        await agent.command("call.accept", session=session)
        await agent.event("call.active")
        await visitor.command("call.hangup", session=session)
        await agent.event("call.ended")
        seen = samples((await ask(operations.addresses[0], "/metrics"))[1])
        assert seen["triortc_calls_ended_total/completed/visitor_hangup"] == 1
        assert seen["triortc_go_to_active_seconds_count"] == 1
        assert seen["triortc_welcomed_total"] == 2
        assert seen["triortc_open_connections"] == 2
        assert seen["triortc_gate_dropped_total"] == 0
        assert seen["triortc_http_upgrades_total"] == 2
        assert "triortc_calls/ringing" not in seen


async def test_a_listener_that_was_left_is_told_nothing_more() -> None:
    told: list[str] = []
    async with open_signaling_house("websocket") as house, house.agent() as agent, house.visitor() as visitor:

        def sink(event: CallEvent) -> None:
            told.append(event.name)

        async with open_operations(house.server, port=0, sinks=(sink,)):
            session = await ring(house, agent, visitor)
        seen = list(told)
        assert seen[-1] == "call.ringing"
        await visitor.command("call.cancel", session=session)
        await visitor.event("call.ended")
        assert told == seen


class Recorded:
    def __init__(self) -> None:
        self.seen: list[float] = []

    def observe(self, amount: float) -> None:
        self.seen.append(amount)


def step(name: str, at_ms: int, **more: Any) -> CallEvent:
    state = name.removeprefix("call.")
    return CallEvent(name, "vs_1", 1, at_ms, "acme", "cv_1", "lea", "routed", state, **more)


def test_go_to_active_handoff_talk_and_the_lateness_of_rings_are_measured() -> None:
    go, late, handoff, talk = (Recorded() for _ in range(4))
    ended: list[tuple[str, str]] = []
    times = CallTimes(
        ring_timeout_s=30,
        go_to_active=go,
        ring_lateness=late,
        handoff=handoff,
        talk=talk,
        on_ended=lambda outcome, reason: ended.append((outcome, reason)),
    )
    for event in (
        step("call.created", 0),
        step("call.ringing", 1000),
        step("call.connecting", 5000),
        step("call.active", 5012),
        step("call.handoff", 9000),
        step("call.moved", 9250),
        step("call.active", 9251),
        step("call.ended", 20_000, outcome="completed", reason="agent_hangup", talk_ms=14_000),
    ):
        times.take(event)
    assert (go.seen, handoff.seen, talk.seen, late.seen) == ([0.012], [0.25], [14.0], [])
    for event in (
        step("call.created", 0),
        step("call.ringing", 1000),
        step("call.ended", 31_020, outcome="no_answer", reason="ring_timeout"),
    ):
        times.take(event)
    assert late.seen == [pytest.approx(0.02)]
    assert ended == [("completed", "agent_hangup"), ("no_answer", "ring_timeout")]
    assert times.by_state() == {}


def test_everything_that_health_counts_is_a_metric_of_a_valid_name() -> None:
    health = {
        "sessions": 3,
        "draining": True,
        "store": {"a-b": 1.5, "words": "fine"},
        "push": {"web push": {"sent": 2}},
    }
    text = Metrics(lambda: health, ring_timeout_s=30).render().decode()
    seen = samples(text)
    assert seen["triortc_sessions"] == 3
    assert seen["triortc_store_a_b_total"] == 1.5
    assert seen["triortc_push_web_push_sent_total"] == 2
    assert not any("words" in name or "draining" in name for name in seen)


def test_the_latency_of_packets_that_the_accelerated_plane_has_timed_is_in_the_histogram() -> None:
    health = {"forwarder": {"handed_up": 4, "latency_us_100": 5, "latency_us_200": 2, "latency_us_more": 1}}
    health["forwarder"]["latency_sum_ns"] = 1_500_000_000
    metrics = Metrics(lambda: health, ring_timeout_s=30)
    metrics.relay_latency.observe(0.00015)
    metrics.relay_latency.observe(0.5)
    seen = samples(metrics.render().decode())
    name = "triortc_relay_latency_seconds"
    buckets = [seen[f"{name}_bucket/{bound}"] for bound in ("0.0001", "0.0002", "0.05", "0.1", "+Inf")]
    assert buckets == [5, 8, 8, 8, 10]
    assert seen[f"{name}_count"] == 10
    assert seen[f"{name}_sum"] == pytest.approx(2.00015)
    assert seen["triortc_forwarder_handed_up_total"] == 4
    assert not any("latency_us" in key or "latency_sum" in key for key in seen)


async def test_the_page_shows_calls_agents_and_why_their_colours_are_what_they_are() -> None:
    async with operated() as (house, operations), house.agent() as agent, house.visitor() as visitor:
        address = operations.addresses[0]
        session = await ring(house, agent, visitor)
        status, text = await ask(address, "/calls")
        view = json.loads(text)
        assert status == 200
        assert view["totals"] == {"calls": 1, "agents": 1, "conversations": 1}
        (call,) = view["calls"]
        assert (call["session"], call["state"], call["agent"], call["visitor"]) == (session, "ringing", "ana", "lea")
        assert 0 < call["left_s"] <= 30
        (shown,) = view["agents"]
        assert shown["channels"]["video"]["color"] == "orange"
        assert shown["channels"]["video"]["reasons"]
        assert shown["devices"] == ["desktop"]
        steps = json.loads((await ask(address, f"/calls/{session}"))[1])
        assert [one["to"] for one in steps][-1] == "ringing"
        assert "v=0" not in json.dumps(steps)
        assert (await ask(address, "/calls/vs_none"))[0] == 404
        await visitor.command("call.cancel", session=session)
        assert json.loads((await ask(address, "/calls"))[1])["calls"] == []


async def test_3_8b_the_listener_is_its_own_takes_its_own_names_and_reads_only() -> None:
    async with operated() as (house, operations):
        address = operations.addresses[0]
        assert address[0] == "127.0.0.1"
        assert address != house.server.addresses[0]
        for path in ("/metrics", "/calls", "/operations.js"):
            assert (await ask(house.server.addresses[0], path))[0] == 404
            assert (await ask(address, path))[0] == 200
            assert (await ask(address, path, method="POST"))[0] == 405
        assert (await ask(address, "/metrics", host="evil.example"))[0] == 421
        for path in ("/visitor", "/v1/signal", "/dev/token", "/../app.py"):
            assert (await ask(address, path))[0] in (404, 426)
        page = (await ask(address, "/"))[1]
        assert "<h1>Calls and agents</h1>" in page
        assert json.loads((await ask(address, "/health"))[1])["status"] == "ok"


async def test_a_draining_server_is_alive_and_not_ready() -> None:
    async with operated() as (house, operations), house.agent():
        for address in (operations.addresses[0], house.server.addresses[0]):
            assert await ask(address, "/ready") == (200, '{"ready":true}\n')
        await house.server.drain(0)
        for address in (operations.addresses[0], house.server.addresses[0]):
            assert await ask(address, "/ready") == (503, '{"ready":false}\n')
            assert (await ask(address, "/health"))[0] == 200
        assert json.loads((await ask(operations.addresses[0], "/calls"))[1])["draining"] is True


async def test_outside_of_development_the_public_port_tells_no_counters() -> None:
    configuration = ServerConfiguration(port=0, keys=KeySet(), host_names=("localhost",))
    async with open_signaling_house(configuration=configuration) as house:
        assert await ask(house.server.addresses[0], "/health") == (200, '{"status":"ok"}\n')


def test_the_operators_page_has_nothing_inline_or_from_elsewhere_and_builds_no_markup_from_text() -> None:
    folder = Path(__file__).parents[2] / "signaling" / "operations" / "web"
    for path in (*folder.glob("*.html"), *folder.glob("*.js"), *folder.glob("*.css")):
        text = path.read_text(encoding="utf-8")
        assert "://" not in text
        assert not any(word in text for word in ("innerHTML", "insertAdjacentHTML", "eval(", 'onclick="', 'style="'))


# --- logs and spans


async def test_logs_say_of_which_session_and_hold_no_token_and_no_description(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    async with operated() as (house, _), house.agent() as agent, house.visitor() as visitor:
        session = await ring(house, agent, visitor)
        await visitor.command("call.cancel", session=session)
        secrets = (agent.token, visitor.token, agent.welcome["resume_token"], "v=0")
    lines = [json.loads(JsonFormatter().format(record)) for record in caplog.records]
    of_the_call = [line for line in lines if line.get("session") == session]
    assert next(line["event"] for line in of_the_call) == "call.created"
    assert of_the_call[-1]["event"] == "call.ended"
    assert (of_the_call[-1]["outcome"], of_the_call[-1]["org"]) == ("cancelled", "dev")
    connected = [line for line in lines if line["message"] == "device connected"]
    assert {(line["sub"], line["device"]) for line in connected} == {("ana", "desk"), ("lea", "tab")}
    assert all(line["signaling_session"].startswith("sg_") for line in connected)
    text = "\n".join(TextFormatter().format(record) for record in caplog.records)
    assert f"session={session}" in text
    assert not any(secret in text or secret in json.dumps(lines) for secret in secrets)


def test_nobodys_id_forges_a_line_of_the_log_or_speaks_to_the_terminal() -> None:
    record = logging.LogRecord("triortc", logging.INFO, "x.py", 1, "device connected", (), None)
    record.sub = "eve\n2026-11-28 00:00:00 ERROR forged\x1b[2J\u2028"
    for line in (TextFormatter().format(record), JsonFormatter().format(record)):
        assert "eve" in line
        assert not set("\n\x1b") & set(line)


def test_no_message_forges_a_line_of_the_log_or_speaks_to_the_terminal() -> None:
    """What another server says is in some of them, and what a media process logs has lines of its own."""
    said = "nonsense\n2026-11-28 00:00:00 ERROR forged\x1b[2J\r\u2028"
    record = logging.LogRecord("triortc", logging.INFO, "x.py", 1, "a request failed: %s", (said,), None)
    first, second = TextFormatter().format(record).split("\n")
    assert first.endswith("a request failed: nonsense")
    assert second.startswith("    2026")
    assert not set("\x1b\r\u2028") & set(second)


def test_an_error_is_logged_with_its_traceback_on_one_line() -> None:
    try:
        raise ValueError("in the middle")
    except ValueError:
        record = logging.LogRecord("triortc", logging.ERROR, "x.py", 1, "it %s", ("broke",), sys.exc_info())
    line = JsonFormatter().format(record)
    assert "\n" not in line
    assert json.loads(line)["message"] == "it broke"
    assert "in the middle" in json.loads(line)["error"]


def test_a_call_is_a_span_with_its_steps_and_its_outcome() -> None:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    spans = CallSpans(provider)
    for event in (
        step("call.created", 1000),
        step("call.ringing", 1001, agent="ana"),
        step("call.ended", 31_001, agent="ana", outcome="failed", reason="node_lost", talk_ms=0),
    ):
        spans.take(event)
    (span,) = exporter.get_finished_spans()
    assert [event.name for event in span.events] == ["call.created", "call.ringing", "call.ended"]
    assert span.attributes is not None
    assert span.attributes["triortc.session"] == "vs_1"
    assert span.attributes["triortc.outcome"] == "failed"
    assert not span.status.is_ok
    assert (span.start_time, span.end_time) == (1_000_000_000, 31_001_000_000)
    assert spans._open == {}
    provider.shutdown()
