"""Real browsers as test peers: one interface, Chromium through DevTools and Firefox through WebDriver BiDi.

    async with open_browser("chromium") as browser:
        page = await browser.open("http://127.0.0.1:8080/visitor")
        assert await page.evaluate("document.title") == "Visitor"

Both get a fake camera and microphone. A page's `evaluate` waits for promises; `wait_for` lets the page itself watch
for a condition. Time limits belong to the caller: `with trio.fail_after(10): await page.wait_for(...)`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from support.browser_chromium import open_chromium
from support.browser_firefox import open_firefox
from support.browser_page import Browser, BrowserName, BrowserOptions, Page

__all__ = ["BROWSERS", "Browser", "BrowserName", "BrowserOptions", "Page", "open_browser"]

BROWSERS: tuple[BrowserName, ...] = ("chromium", "firefox")


@asynccontextmanager
async def open_browser(name: BrowserName, options: BrowserOptions | None = None) -> AsyncIterator[Browser]:
    """Start a browser with a fresh profile; leaving the block ends its processes and removes the profile."""
    opener = open_chromium if name == "chromium" else open_firefox
    async with opener(options or BrowserOptions()) as browser:
        yield browser
