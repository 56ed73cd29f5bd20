"""HTTP on the signaling port: health, development tokens, Host and Origin (3.8a, 3.8b)."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack
from typing import Any
from urllib.parse import quote
from xml.etree import ElementTree

import pytest
import trio
from trio.testing import MockClock, lockstep_stream_pair, memory_stream_pair, wait_all_tasks_blocked

from support.http_browser import UPGRADE, Browser, open_stream
from support.signaling_host import SignalingHost, address, hello, open_signaling_host, receive
from triortc.engine.calls.notifications import ConversationReminder
from triortc.signaling.channel import ChannelClosedError, MessageChannel
from triortc.signaling.client import connect_websocket
from triortc.signaling.configuration import HttpConfiguration, SignalingConfiguration
from triortc.signaling.connection import Connection
from triortc.signaling.origin import HostPort, host_is_known, origin_is_allowed, parse_authority
from triortc.signaling.session import SignalingSession
from triortc.signaling.site import Request, Site
from triortc.signaling.tokens import DevelopmentIssuer


@pytest.fixture
async def host() -> AsyncGenerator[SignalingHost]:
    async with open_signaling_host("websocket") as running:
        yield running


@pytest.fixture
async def browser(host: SignalingHost) -> AsyncGenerator[Browser]:
    async with await open_stream(host) as stream:
        assert host.address is not None
        yield Browser(stream, f"localhost:{host.address[1]}")


@pytest.mark.parametrize(("path", "authority", "status"), [("/v1/signal", "localhost", 426), ("/", "elsewhere", 421)])
async def test_rfc9110_9_3_2_a_head_that_is_refused_has_no_body_and_ends_no_server(
    host: SignalingHost, path: str, authority: str, status: int
) -> None:
    for _ in range(2):
        async with await open_stream(host) as stream:
            assert (await Browser(stream, authority).ask("HEAD", path))[::2] == (status, b"")


@pytest.mark.parametrize("authority", ["caf\xe9", "a;script-src *", "a b", ""])
async def test_3_8a_a_host_that_is_none_is_refused_before_it_stands_in_a_policy(authority: str) -> None:
    async with open_signaling_host("websocket", host_names=None) as host:
        for _ in range(2):
            async with await open_stream(host) as stream:
                await stream.send_all(f"GET /agent HTTP/1.1\r\nhost: {authority}\r\n\r\n".encode("latin-1"))
                assert (await stream.receive_some()).startswith(b"HTTP/1.1 400 ")


async def test_3_7_connections_of_one_ipv6_network_count_as_those_of_one_address(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """RFC 4291 section 2.5.4: whoever has one address has 2^64 of them."""
    came_from = iter(["2001:db8::1", "2001:db8::2", "2001:db8:0:1::1", "192.0.2.1", "192.0.2.2", "192.0.2.2"])
    monkeypatch.setattr("triortc.signaling.http.peer_host", lambda stream: next(came_from))
    async with open_signaling_host("memory", http=HttpConfiguration(max_connections_per_address=1)) as host:
        refused = []
        for _ in range(6):
            _, server = memory_stream_pair()
            host.nursery.start_soon(host.http.serve, server)
            await wait_all_tasks_blocked()
            refused.append(host.http.counters.refused_connections)
    assert refused == [0, 1, 1, 1, 1, 2]


async def test_a_fault_of_ours_ends_the_connection_that_met_it_and_no_other(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(site: Site, request: Request) -> None:
        raise ZeroDivisionError(request.path)

    async with open_signaling_host("websocket", expected_faults=1) as host, host.open_channel() as other:
        await hello(host, other)
        monkeypatch.setattr(Site, "respond", fail)
        async with await open_stream(host) as stream:
            await stream.send_all(b"GET /ready HTTP/1.1\r\nhost: localhost\r\n\r\n")
            assert await stream.receive_some() == b""
        await other.send(b'{"t":"ping","p":{"n":1}}')
        assert (await receive(other)).t == "pong"
    assert [record.message for record in caplog.records if record.exc_info] == ["a connection failed inside the server"]


@pytest.mark.parametrize(
    ("code", "method", "configuration"),
    [
        pytest.param(Connection, "write_now", SignalingConfiguration(), id="written for"),
        pytest.param(SignalingSession, "handle_timeout", SignalingConfiguration(heartbeat_ms=20), id="woken"),
    ],
)
async def test_a_fault_in_a_task_that_serves_all_connections_ends_the_one_that_met_it(
    code: type, method: str, configuration: SignalingConfiguration, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = getattr(code, method)

    def fail(met: Any, *arguments: Any) -> None:
        session = met._session if isinstance(met, Connection) else met
        assert session is not None
        if session.address.device == "d1":
            raise ZeroDivisionError(method)
        right(met, *arguments)

    async with (
        open_signaling_host("websocket", configuration=configuration, expected_faults=1) as host,
        host.open_channel() as faulty,
        host.open_channel() as other,
    ):
        await hello(host, faulty)
        await hello(host, other, did="d2")
        monkeypatch.setattr(code, method, fail)
        for did in ("d1", "d2"):
            host.server.notify(address("ana", did), ConversationReminder("cv_9", "close_after_video", 1))
        with pytest.raises(ChannelClosedError):
            await until(faulty, "a message that never comes")
        for n in (1, 2):  # the tasks that serve all go on
            host.server.notify(address("ana", "d2"), ConversationReminder("cv_9", "close_after_video", n))
            await until(other, "conversation.reminder")
            await until(other, "ping") if code is SignalingSession else None
        assert host.server.counters.open_connections == 1


async def until(channel: MessageChannel, t: str) -> None:
    """Read until such a message has come."""
    while (await receive(channel)).t != t:
        pass


async def test_a_connection_whose_client_did_not_take_a_whole_answer_ends(autojump_clock: MockClock) -> None:
    """Behind half of an answer, the next would be read as the rest of it."""
    async with open_signaling_host("memory", http=HttpConfiguration(write_timeout_s=1.0)) as host:
        client, server = lockstep_stream_pair()
        host.nursery.start_soon(host.http.serve, server)
        await client.send_all(b"GET /ready HTTP/1.1\r\nhost: localhost\r\n\r\n")
        assert await client.receive_some(10) == b"HTTP/1.1 2"
        await trio.sleep(2)
        with pytest.raises(trio.BrokenResourceError):
            await client.send_all(b"GET /ready HTTP/1.1\r\nhost: localhost\r\n\r\n")


async def test_health_shows_the_counters(host: SignalingHost, browser: Browser) -> None:
    async with host.client():
        status, headers, body = await browser.ask("GET", "/health")
    health = json.loads(body)
    assert (status, headers["content-type"], headers["cache-control"]) == (200, "application/json", "no-store")
    assert (health["status"], health["sessions"], health["welcomed"]) == ("ok", 1, 1)


async def test_3_8a_a_development_token_opens_the_door(host: SignalingHost, browser: Browser) -> None:
    asked = {"role": "agent", "sub": "ana", "did": "d1", "name": "Ana", "grp": ["sales"]}
    status, headers, body = await browser.ask(
        "POST", "/dev/token", {"content-type": "application/json; charset=utf-8"}, json.dumps(asked).encode()
    )
    assert (status, headers["cache-control"]) == (200, "no-store")
    assert not any(name.startswith("access-control") for name in headers)
    async with host.open_channel() as channel:
        welcome = await hello(host, channel, token=json.loads(body)["token"])
    assert welcome.t == "welcome"
    assert "video.invite" in welcome.p["caps"]


@pytest.mark.parametrize(
    ("headers", "body", "status"),
    [
        ({"content-type": "text/plain"}, b'{"role":"visitor","sub":"v"}', 415),
        ({}, b'{"role":"visitor","sub":"v"}', 415),
        ({"content-type": "application/json"}, b"{", 400),
        ({"content-type": "application/json"}, b'{"role":"king","sub":"v"}', 400),
        ({"content-type": "application/json"}, b'{"role":"visitor"}', 400),
        ({"content-type": "application/json", "origin": "http://evil.example"}, b'{"role":"visitor","sub":"v"}', 403),
        ({"content-type": "application/json", "origin": "null"}, b'{"role":"visitor","sub":"v"}', 403),
        ({"content-type": "application/json"}, b'{"role":"visitor","sub":"' + b"v" * 20_000 + b'"}', 413),
    ],
)
async def test_3_8a_a_token_is_not_given_to_other_sites_or_for_nonsense(
    browser: Browser, headers: dict[str, str], body: bytes, status: int
) -> None:
    assert (await browser.ask("POST", "/dev/token", headers, body))[0] == status


async def test_3_8b_a_host_that_is_not_ours_is_refused_everywhere(host: SignalingHost) -> None:
    for path in ("/", "/health", "/dev/token", "/v1/signal"):
        async with await open_stream(host) as stream:
            assert (await Browser(stream, "rebound.example:8080").ask("GET", path))[0] == 421
    assert host.http.counters.refused_hosts == 4


async def test_an_answer_without_an_issuer_has_no_development_tokens() -> None:
    site = Site(health=dict, pages={})
    assert site.respond(Request("POST", "/dev/token", {"content-type": "application/json"}, b"{}")).status == 404


async def test_3_8a_a_phone_finds_the_page_by_a_code_of_this_server_s_own_addresses(browser: Browser) -> None:
    to = "/agent?sub=ana&device=phone&auto=1"
    status, headers, body = await browser.ask("GET", f"/dev/qr.svg?to={quote(to, safe='')}")
    assert (status, headers["content-type"], headers["cache-control"]) == (200, "image/svg+xml", "no-store")
    assert headers["content-security-policy"].startswith("default-src 'none'")
    picture = ElementTree.fromstring(body)
    assert picture.tag.endswith("svg")
    assert int(picture.attrib["width"]) == int(picture.attrib["height"]) > 100
    for wrong in ("", "?to=", "?to=//evil.example/", "?to=https://evil.example/", "?to=/" + "a" * 600, "?a=1&b=2&c=3"):
        assert (await browser.ask("GET", f"/dev/qr.svg{wrong}"))[0] == 400, wrong
    assert (await browser.ask("POST", f"/dev/qr.svg?to={quote(to, safe='')}"))[0] == 405
    site = Site(health=dict, pages={})
    assert site.respond(Request("GET", "/dev/qr.svg?to=/agent", {"host": "calls.example"})).status == 404


async def test_methods_that_make_no_sense_are_refused(browser: Browser) -> None:
    assert (await browser.ask("GET", "/dev/token"))[0] == 405
    assert (await browser.ask("DELETE", "/agent"))[0] == 405
    assert (await browser.ask("OPTIONS", "/dev/token"))[0] == 405


@pytest.mark.parametrize("origin", [None, "http://127.0.0.1:{port}"])
async def test_3_10_12_the_own_page_and_programs_may_connect(host: SignalingHost, origin: str | None) -> None:
    assert host.address is not None
    origin = origin and origin.format(port=host.address[1])
    async with connect_websocket(host.url, origin=origin) as channel:
        assert (await hello(host, channel)).t == "welcome"


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "http://127.0.0.1:1", "null", "file://", "http://127.0.0.1.evil.example:{port}"]
)
async def test_3_10_12_another_origin_gets_403(host: SignalingHost, browser: Browser, origin: str) -> None:
    assert host.address is not None
    headers = {**UPGRADE, "origin": origin.format(port=host.address[1])}
    assert (await browser.ask("GET", "/v1/signal", headers))[0] == 403


async def test_3_8b_a_listed_origin_connects_for_the_tenants_that_list_it() -> None:
    configuration = HttpConfiguration(allowed_origins=("https://shop.example",))
    async with open_signaling_host(
        "websocket", http=configuration, origin_allowed=lambda org, origin: org == "acme"
    ) as host:
        async with connect_websocket(host.url, origin="https://shop.example") as channel:
            assert (await hello(host, channel, token=host.token(org="acme"))).t == "welcome"
        async with connect_websocket(host.url, origin="https://shop.example") as channel:
            refused = await hello(host, channel)
            assert refused.p["code"] == "auth.forbidden"


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"sec-websocket-protocol": "triortc.v9"}, 400),
        ({"sec-websocket-protocol": "triortc.v2, triortc.v1"}, 101),
        ({"sec-websocket-protocol": ""}, 400),
        ({"sec-websocket-version": "8"}, 426),
        ({"upgrade": "h2c"}, 426),
        ({"connection": "keep-alive"}, 400),
    ],
    ids=str,
)
async def test_3_1_the_upgrade_needs_the_protocol_and_a_handshake(
    browser: Browser, changes: dict[str, str], status: int
) -> None:
    answered, headers, _ = await browser.ask("GET", "/v1/signal", {**UPGRADE, **changes})
    assert answered == status
    if status == 101:
        assert headers["sec-websocket-protocol"] == "triortc.v1"
        assert headers["sec-websocket-accept"] == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="  # RFC 6455, section 1.3
    if status == 426:
        assert headers["sec-websocket-version"] == "13"


async def test_3_1_a_plain_request_for_the_socket_is_told_to_upgrade(browser: Browser) -> None:
    assert (await browser.ask("GET", "/v1/signal"))[0] == 426


async def test_3_7_no_upgrade_while_too_many_wait_for_their_hello() -> None:
    limits = SignalingConfiguration(max_handshakes=1)
    async with open_signaling_host("websocket", configuration=limits) as host, connect_websocket(host.url):
        with pytest.raises(ChannelClosedError, match="503"):
            async with connect_websocket(host.url):
                pass


async def test_3_7_one_address_that_says_no_hello_keeps_nobody_else_out() -> None:
    limits = SignalingConfiguration(max_handshakes_per_address=2)
    async with open_signaling_host("websocket", configuration=limits) as host, AsyncExitStack() as streams:
        port = (host.address or ("", 0))[1]

        async def ask(source: str) -> int:
            stream = await trio.open_tcp_stream("127.0.0.1", port, local_address=source)
            await streams.enter_async_context(stream)
            return (await Browser(stream, f"localhost:{port}").ask("GET", "/v1/signal", UPGRADE))[0]

        assert [await ask("127.0.0.2") for _ in range(3)] == [101, 101, 503]
        assert await ask("127.0.0.3") == 101
        assert [await ask("127.0.0.1") for _ in range(3)] == [101, 101, 101], "perhaps a proxy that all come through"
        await streams.aclose()
        with trio.fail_after(5):
            while host.server._handshakes_of:
                await wait_all_tasks_blocked()
        assert host.server.may_greet(peer="127.0.0.2")


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET / HTTP/one\r\nhost: localhost\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: localhost\r\nhost: localhost\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: localhost\r\nx: " + b"y" * 20_000 + b"\r\n\r\n",
        b"POST /dev/token HTTP/1.1\r\nhost: localhost\r\ncontent-length: -5\r\n\r\n",
        b"POST / HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
    ],
    ids=range(7),
)
async def test_what_is_not_http_is_answered_with_an_error_and_closed(host: SignalingHost, data: bytes) -> None:
    async with await open_stream(host) as stream:
        await stream.send_all(data)
        with trio.fail_after(5):
            answer = b"".join([bytes(piece) async for piece in stream])
    assert answer.startswith(b"HTTP/1.1 4")
    assert b"connection: close" in answer.lower()


async def test_a_body_of_thousands_of_tiny_chunks_is_not_read_to_its_end(host: SignalingHost) -> None:
    head = b"POST /dev/token HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
    head += b"transfer-encoding: chunked\r\n\r\n"
    for chunks, status in ((200, b"400"), (2000, b"413")):
        async with await open_stream(host) as stream:
            await stream.send_all(head + b"1\r\nx\r\n" * chunks + b"0\r\n\r\n")
            with trio.fail_after(5):
                assert (await stream.receive_some()).split()[1] == status


async def test_requests_on_one_connection_are_answered_in_turn(browser: Browser) -> None:
    for _ in range(3):
        assert (await browser.ask("GET", "/health"))[0] == 200


async def test_a_body_that_is_announced_is_waited_for_and_asked_for(host: SignalingHost) -> None:
    body = b'{"role":"visitor","sub":"v"}'
    async with await open_stream(host) as stream:
        await stream.send_all(
            b"POST /dev/token HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
            b"expect: 100-continue\r\ncontent-length: " + str(len(body)).encode() + b"\r\n\r\n"
        )
        assert (await stream.receive_some()).startswith(b"HTTP/1.1 100")
        await stream.send_all(body)
        assert (await stream.receive_some()).startswith(b"HTTP/1.1 200")


async def test_too_many_connections_are_closed_at_once() -> None:
    limits = HttpConfiguration(max_connections=1)
    async with (
        open_signaling_host("websocket", http=limits) as host,
        await open_stream(host) as first,
    ):
        assert (await Browser(first, "localhost").ask("GET", "/health"))[0] == 200
        async with await open_stream(host) as second:
            assert await second.receive_some() == b""


async def test_slow_requests_and_idle_connections_end() -> None:
    limits = HttpConfiguration(request_timeout_s=0.05, keep_alive_s=0.05)
    async with open_signaling_host("websocket", http=limits) as host:
        async with await open_stream(host) as stream:
            await stream.send_all(b"GET / HT")
            with trio.fail_after(5):
                assert await stream.receive_some() == b""
        async with await open_stream(host) as stream:
            await stream.send_all(b"POST /dev/token HTTP/1.1\r\nhost: localhost\r\ncontent-length: 9\r\n\r\n{")
            with trio.fail_after(5):
                assert (await stream.receive_some()).startswith(b"HTTP/1.1 408")
        async with await open_stream(host) as stream:
            await Browser(stream, "localhost").ask("GET", "/health")
            with trio.fail_after(5):
                assert await stream.receive_some() == b""


async def test_a_pong_after_our_close_and_other_rudeness_end_one_connection_only(host: SignalingHost) -> None:
    for rude in (
        b"\x81\x83\x00\x00\x00\x00\xff\xfe\xfd",  # text that is not UTF-8
        b"\x89\x80\x00\x00\x00\x00" * 3 + b"\x88\x82\x00\x00\x00\x00\x03\xe8" + b"\x89\x80\x00\x00\x00\x00",
        b"\xff\xff\xff\xff\xff\xff",
        b"\x81\x05hello",  # not masked
    ):
        async with await open_stream(host) as stream:
            lines = "".join(f"{name}: {value}\r\n" for name, value in UPGRADE.items())
            await stream.send_all(f"GET /v1/signal HTTP/1.1\r\nhost: localhost\r\n{lines}\r\n".encode())
            assert (await stream.receive_some()).startswith(b"HTTP/1.1 101")
            await stream.send_all(rude)
            with trio.fail_after(8):
                async for _ in stream:
                    pass
    async with host.client() as client:
        await client.command("presence.get")


@pytest.mark.parametrize(
    ("authority", "expected"),
    [
        ("localhost:8080", HostPort("localhost", 8080)),
        ("LOCALHOST.", HostPort("localhost", 80)),
        ("[::1]:8080", HostPort("::1", 8080)),
        ("[0:0::1]", HostPort("::1", 80)),
        ("127.0.0.1", HostPort("127.0.0.1", 80)),
        ("", None),
        ("a/b", None),
        ("user@localhost", None),
        ("localhost:port", None),
        ("localhost:99999", None),
        ("[::1", None),
        ("x" * 256, None),
    ],
)
def test_authorities_are_read_and_normalised(authority: str, expected: Any) -> None:
    assert parse_authority(authority, "http") == expected


def test_an_origin_is_compared_by_host_and_port() -> None:
    assert origin_is_allowed("http://localhost:8080", "localhost:8080", "http", ())
    assert origin_is_allowed("https://shop.example", "shop.example:443", "https", ())
    assert origin_is_allowed("http://[::1]:8080", "[::1]:8080", "http", ())
    assert not origin_is_allowed("http://localhost:8081", "localhost:8080", "http", ())
    assert not origin_is_allowed("http://localhost@evil.example", "localhost", "http", ())
    assert origin_is_allowed("https://other.example", "localhost", "http", ("https://other.example",))
    assert host_is_known("LOCALHOST:1", ("localhost",), "http")
    assert not host_is_known("localhost.evil.example", ("localhost",), "http")


def test_a_development_issuer_of_too_many_tenants_refuses() -> None:
    issuer = DevelopmentIssuer(random_bytes=bytes, wall_s=lambda: 1e9)
    site = Site(health=dict, issuer=issuer, pages={})
    statuses = [
        site.respond(
            Request(
                "POST",
                "/dev/token",
                {"content-type": "application/json"},
                json.dumps({"role": "visitor", "sub": "v", "org": f"org-{number}"}).encode(),
            )
        ).status
        for number in range(1001)
    ]
    assert statuses[:900] == [200] * 900
    assert statuses[-1] == 400
