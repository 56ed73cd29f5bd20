"""What a browser and its page can do for a test; `support.browser` opens them."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import trio

from support.browser_wire import BrowserError

__all__ = ["Browser", "BrowserName", "BrowserOptions", "Page"]

PATIENCE_S = 60  # nothing that a test waits for takes longer on a busy machine; a ring takes 30 s
BrowserName = Literal["chromium", "firefox"]

# People click when they see the thing: another page may know of a change before this one has drawn it.
CENTRE_OF = """(selector => new Promise((resolve, reject) => {
  const look = () => {
    const element = document.querySelector(selector);
    if (!element) return 'nothing matches ' + selector;
    element.scrollIntoView({block: 'nearest', inline: 'nearest'});
    const box = element.getBoundingClientRect();
    const x = box.x + box.width / 2, y = box.y + box.height / 2;
    const hit = document.elementFromPoint(x, y);
    if (hit && (element.contains(hit) || hit.contains(element))) return [x, y];
    return selector + ' is covered by ' + (hit ? hit.outerHTML.slice(0, 120) : 'nothing');
  };
  const until = performance.now() + 5000;
  const again = () => {
    const found = look();
    if (typeof found !== 'string') resolve(found);
    else if (performance.now() > until) reject(new Error(found));
    else setTimeout(again, 20);
  };
  again();
}))(%s)"""

SHOWN = """(async () => ({
  at: location.href,
  state: window.triortc?.state?.(),
  stats: await Promise.race([window.triortc?.stats?.(), new Promise(resolve => setTimeout(resolve, 1000))]),
  stage: document.querySelector('#stage')?.cloneNode(false).outerHTML,
  status: document.querySelector('.stage-status')?.innerText,
  link: document.querySelector('#link')?.innerText,
  videos: [...document.querySelectorAll('video')].map(({className, readyState, paused, currentTime, hidden}) =>
    ({className, readyState, paused, currentTime, hidden})),
}))()"""

WATCH = """new Promise(resolve => {
  const look = () => { let found = false; try { found = (%s); } catch { found = false; }
    if (found) { clearInterval(timer); resolve(found === true ? true : JSON.parse(JSON.stringify(found))); } };
  const timer = setInterval(look, 20);
  look();
})"""


@dataclass(frozen=True, slots=True)
class BrowserOptions:
    """How a browser is started.

    Args:
        frames_per_second: rate of the fake camera (Chromium).
        camera: `granted` gives the fake devices without asking, `refused` acts somebody who said no.
        notifications: whether pages may show notifications without asking (Chromium).
        preferences: more of them (Firefox).
        dark: start with the dark colour scheme (Firefox knows it only at start; Chromium's pages can be switched).
    """

    frames_per_second: int = 30
    camera: Literal["granted", "refused"] = "granted"
    notifications: bool = False
    dark: bool = False
    preferences: Mapping[str, object] = field(default_factory=dict)


class Page(ABC):
    """One tab in a window of its own."""

    def __init__(self) -> None:
        self.console_errors: list[str] = []

    @abstractmethod
    async def evaluate(self, expression: str) -> Any:
        """Evaluate JavaScript, wait for its promise and return its JSON value. Raises BrowserError where it throws."""

    @abstractmethod
    async def go(self, url: str) -> None:
        """Load another address and wait until it has loaded."""

    @abstractmethod
    async def screenshot(self, path: Path) -> None:
        """Write what the page looks like as a PNG."""

    @abstractmethod
    async def set_viewport(self, width: int, height: int, *, phone: bool = False) -> None:
        """Give the page a size in CSS pixels; `phone` adds touch and a device pixel ratio of 2 where possible."""

    @abstractmethod
    async def set_dark(self, dark: bool) -> None:
        """Emulate the colour scheme somebody prefers."""

    @abstractmethod
    async def click_at(self, x: float, y: float) -> None:
        """Press and release the primary button at a point of the viewport."""

    @abstractmethod
    async def press(self, key: str) -> None:
        """Press and release one key: a character, or `Enter`, `Escape`, `Tab`."""

    @abstractmethod
    async def close(self) -> None:
        """Close the tab."""

    async def click(self, selector: str) -> None:
        """Click the middle of the element; BrowserError where for 5 s it is absent or covered by something else."""
        x, y = await self.evaluate(CENTRE_OF % json.dumps(selector))
        await self.click_at(x, y)

    async def fill(self, selector: str, text: str) -> None:
        """Put text into a field as if it had been typed."""
        target, value = json.dumps(selector), json.dumps(text)
        await self.evaluate(
            f"(f => {{ f.focus(); f.value = {value}; f.dispatchEvent(new Event('input', {{bubbles: true}})); }})"
            f"(document.querySelector({target}))"
        )

    async def wait_for(self, expression: str) -> Any:
        """Wait until the expression is truthy in the page (it looks every 20 ms) and return its value."""
        return await self.wait_for_promise(WATCH % expression)

    async def wait_for_promise(self, expression: str) -> Any:
        """Evaluate an expression that waits for something; BrowserError with all that the page shows after a minute."""
        with trio.move_on_after(PATIENCE_S):
            return await self.evaluate(expression)
        shown: object = "nothing: it does not answer"
        with trio.move_on_after(5):
            shown = await self.evaluate(SHOWN)
        errors = self.console_errors
        raise BrowserError(f"a page waited {PATIENCE_S} s for {expression}\nit shows {shown}\nits console: {errors}")

    async def text(self, selector: str) -> str:
        """The visible text of an element, '' where there is none."""
        return str(await self.evaluate(f"document.querySelector({json.dumps(selector)})?.innerText ?? ''"))


class Browser(ABC):
    """A running browser with a profile of its own."""

    name: BrowserName
    pid: int
    profile: Path

    @abstractmethod
    async def open(self, url: str) -> Page:
        """Open a tab in a new window, wait until it has loaded, and collect its console errors from the start."""
