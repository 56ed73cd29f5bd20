"""The client module's own tests in the two browsers that the pages are for: the files that Node runs, unchanged."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest
import trio

from support.browser import BrowserName, open_browser
from triortc.signaling.http import HttpServer, UpgradeContext
from triortc.signaling.pages import PageFile
from triortc.signaling.site import Site

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "tests" / "javascript").glob("*.test.mjs"))
#: What Node brings itself, and a page gets from us; everything else is imported by its path in the repository.
BROUGHT = {
    "node:test": "/tests/javascript/browser/test.mjs",
    "node:assert/strict": "/tests/javascript/browser/assert.mjs",
}
PAGE = b'<!doctype html><title>tests</title><script type="module" src="/tests/javascript/browser/run.mjs"></script>'


def _served() -> Mapping[str, PageFile]:
    pages = {"/": PageFile(PAGE, "text/html; charset=utf-8", '"page"')}
    for folder, pattern in (("signaling/web", "*.js"), ("tests/javascript", "**/*.mjs")):
        for file in sorted((ROOT / folder).glob(pattern)):
            text = file.read_text(encoding="utf-8")
            for name, path in BROUGHT.items():
                text = text.replace(f'from "{name}"', f'from "{path}"')
            pages[f"/{file.relative_to(ROOT)}"] = PageFile(text.encode(), "text/javascript; charset=utf-8", '"module"')
    return pages


async def _no_upgrade(channel: object, context: UpgradeContext) -> None:
    """Nothing is spoken here but HTTP."""


@asynccontextmanager
async def served_files() -> AsyncGenerator[str]:
    """The repository's modules and tests on loopback, under the pages' own policy; gives the address."""
    site = Site(health=dict, pages=_served())
    http = HttpServer(site=site, upgraded=_no_upgrade, may_upgrade=lambda upgrading, peer: False)
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(partial(trio.serve_listeners, http.serve, listeners, handler_nursery=nursery))
        yield f"http://127.0.0.1:{listeners[0].socket.getsockname()[1]}"
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("name", ["chromium", "firefox"])
async def test_what_node_proves_of_the_client_holds_in_the_browser(name: BrowserName) -> None:
    assert len(FILES) >= 3
    with trio.fail_after(60):
        async with served_files() as url, open_browser(name) as browser:
            for file in FILES:
                page = await browser.open(f"{url}/?file=/{file.relative_to(ROOT)}")
                results = await page.evaluate("window.results")
                written = re.findall(r"^test\(", file.read_text(encoding="utf-8"), re.MULTILINE)
                assert results["failed"] == [], file.name
                assert len(results["passed"]) == len(written) > 0
                await page.close()
