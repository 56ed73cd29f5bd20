"""How the pages are served: their policy, types, validators, compression, and what they name to be fetched (3.8a)."""

from __future__ import annotations

import base64
import gzip
import hashlib
import re
from collections.abc import AsyncGenerator

import pytest
import trio

from support.http_browser import Browser, open_stream
from support.signaling_host import SignalingHost, open_signaling_host
from triortc.signaling.pages import load_pages


@pytest.fixture
async def host() -> AsyncGenerator[SignalingHost]:
    async with open_signaling_host("websocket") as running:
        yield running


@pytest.fixture
async def browser(host: SignalingHost) -> AsyncGenerator[Browser]:
    async with await open_stream(host) as stream:
        assert host.address is not None
        yield Browser(stream, f"localhost:{host.address[1]}")


@pytest.mark.parametrize("path", ["/", "/visitor", "/agent"])
async def test_3_8a_the_pages_come_in_one_piece_with_a_strict_policy(browser: Browser, path: str) -> None:
    status, headers, body = await browser.ask("GET", path)
    assert status == 200
    assert browser.pieces == 1
    assert headers["content-type"] == "text/html; charset=utf-8"
    assert body.lower().startswith(b"<!doctype html")
    policy = dict(part.split(" ", 1) for part in headers["content-security-policy"].split("; "))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["worker-src"] == "'self'"
    style = body.partition(b"<style>")[2].partition(b"</style>")[0]
    assert policy["style-src"] == f"'self' 'sha256-{base64.b64encode(hashlib.sha256(style).digest()).decode()}'"
    assert policy["connect-src"] == f"'self' ws://{browser.authority}"
    assert policy["frame-ancestors"] == policy["base-uri"] == "'none'"
    assert "unsafe" not in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"


async def test_every_file_of_the_page_is_served_with_its_type(browser: Browser) -> None:
    types = {
        ".js": "text/javascript",
        ".css": "text/css",
        ".svg": "image/svg+xml",
        ".html": "text/html",
        ".png": "image/png",
        ".webmanifest": "application/manifest+json",
    }
    paths = [path for path in load_pages() if "." in path]
    assert "/triortc-client.js" in paths
    for path in paths:
        status, headers, _ = await browser.ask("GET", path)
        assert (status, headers["content-type"].partition(";")[0]) == (200, types[path[path.rfind(".") :]])


@pytest.mark.parametrize("path", ["/../server.py", "/__init__.py", "/%2e%2e/cli.py", "/web/", "//etc/passwd", "/dev"])
async def test_nothing_but_the_pages_is_served(browser: Browser, path: str) -> None:
    assert (await browser.ask("GET", path))[0] == 404


@pytest.mark.parametrize("coding", ["identity", "br, gzip;q=0.5"])
async def test_a_page_that_did_not_change_is_not_sent_again(browser: Browser, coding: str) -> None:
    _, headers, _ = await browser.ask("GET", "/visitor", {"accept-encoding": coding})
    assert headers["cache-control"] == "no-cache"
    known = {"if-none-match": headers["etag"], "accept-encoding": coding}
    status, _, body = await browser.ask("GET", "/visitor", known)
    assert (status, body) == (304, b"")


async def test_rfc_9110_12_5_3_who_takes_gzip_gets_it_and_nobody_else(browser: Browser) -> None:
    _, plain_headers, plain = await browser.ask("GET", "/agent", {"accept-encoding": "gzip;q=0, br"})
    _, headers, body = await browser.ask("GET", "/agent", {"accept-encoding": "deflate, gzip"})
    assert (headers["content-encoding"], headers["vary"]) == ("gzip", "accept-encoding")
    assert "content-encoding" not in plain_headers
    assert headers["etag"] != plain_headers["etag"]
    assert gzip.decompress(body) == plain
    assert len(body) < len(plain) / 2


async def test_a_page_names_all_its_modules_at_once_at_addresses_that_may_be_kept(browser: Browser) -> None:
    _, _, body = await browser.ask("GET", "/agent")
    script = re.search(rb'<script type="module" src="([^"]+)"', body)
    preloaded = re.findall(rb'<link rel="modulepreload" href="([^"]+)"', body)
    assert script is not None
    needed, asked = {script[1].decode()}, list[str]()
    while needed - set(asked):
        asked.append(min(needed - set(asked)))
        _, headers, module = await browser.ask("GET", asked[-1])
        assert headers["cache-control"] == "public, max-age=31536000, immutable"
        folder = asked[-1].rpartition("/")[0]
        imports = re.findall(r'(?m)^(?:import|\} from|export).*"\./([^"]+)";', module.decode())
        needed.update(f"{folder}/{name}" for name in imports)
    assert {address.decode() for address in preloaded} == needed - {script[1].decode()}


async def test_head_gives_the_headers_only(browser: Browser) -> None:
    status, headers, _ = await browser.ask("GET", "/agent")
    length = headers["content-length"]
    async with await trio.open_tcp_stream("127.0.0.1", int(browser.authority.partition(":")[2])) as stream:
        await stream.send_all(
            f"HEAD /agent HTTP/1.1\r\nhost: {browser.authority}\r\nconnection: close\r\n\r\n".encode()
        )
        answer = b"".join([bytes(piece) async for piece in stream])
    assert (status, answer.startswith(b"HTTP/1.1 200 OK")) == (200, True)
    assert f"content-length: {length}".encode() in answer.lower()
    assert answer.endswith(b"\r\n\r\n")
