"""Firefox through WebDriver BiDi, spoken by the browser itself: no driver process between."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import trio

from support.browser_page import Browser, BrowserName, BrowserOptions, Page
from support.browser_process import BrowserProcess, browser_process
from support.browser_wire import BrowserError, Wire, open_wire

__all__ = ["open_firefox"]

ANNOUNCEMENT = re.compile(r"WebDriver BiDi listening on (ws://\S+)")
KEYS = {"Enter": "\ue007", "Escape": "\ue00c", "Tab": "\ue004"}


def _preferences(options: BrowserOptions) -> dict[str, object]:
    return {
        "media.navigator.streams.fake": True,
        # Two encoders on two cores: without this Firefox makes its picture smaller when the test machine is busy.
        "media.navigator.load_adapt": False,
        "media.navigator.permission.disabled": options.camera == "granted",
        "permissions.default.camera": 2 if options.camera == "refused" else 1,
        "permissions.default.microphone": 2 if options.camera == "refused" else 1,
        "media.peerconnection.ice.loopback": True,
        "media.peerconnection.ice.obfuscate_host_addresses": False,
        "media.autoplay.default": 0,
        "media.gmp-manager.updateEnabled": False,
        "app.update.enabled": False,
        "app.normandy.enabled": False,
        "datareporting.policy.dataSubmissionEnabled": False,
        "toolkit.telemetry.enabled": False,
        "browser.shell.checkDefaultBrowser": False,
        "browser.aboutwelcome.enabled": False,
        "browser.startup.page": 0,
        "network.captive-portal-service.enabled": False,
        "network.connectivity-service.enabled": False,
        "dom.disable_open_during_load": False,
        "dom.min_background_timeout_value": 4,
        "widget.windows.window_occlusion_tracking.enabled": False,
        "layout.css.prefers-color-scheme.content-override": 0 if options.dark else 1,
        **options.preferences,
    }


def _command(profile: Path, options: BrowserOptions) -> Sequence[str]:
    lines = (f"user_pref({json.dumps(name)}, {json.dumps(value)});" for name, value in _preferences(options).items())
    (profile / "user.js").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return (
        "firefox-esr",
        "--headless",
        "--no-remote",
        "--profile",
        str(profile),
        "--remote-debugging-port=0",
        "about:blank",
    )


class FirefoxPage(Page):
    """A browsing context in a window of its own."""

    def __init__(self, wire: Wire, context: str) -> None:
        super().__init__()
        self._wire = wire
        self._context = context
        wire.on_event(self._on_event)

    def _on_event(self, method: str, params: dict[str, Any], _session: str | None) -> None:
        if method != "log.entryAdded" or params.get("source", {}).get("context") != self._context:
            return
        if params.get("level") == "error":
            self.console_errors.append(str(params.get("text")))

    async def go(self, url: str) -> None:
        await self._wire.call("browsingContext.navigate", {"context": self._context, "url": url, "wait": "complete"})

    async def evaluate(self, expression: str) -> Any:
        # JSON text instead of BiDi's typed values: the same result as from the other browser, for any shape
        wrapped = f"Promise.resolve({expression}).then(value => JSON.stringify(value))"
        result = await self._wire.call(
            "script.evaluate",
            {
                "expression": wrapped,
                "target": {"context": self._context},
                "awaitPromise": True,
                "userActivation": True,
            },
        )
        if result["type"] == "exception":
            raise BrowserError(result["exceptionDetails"]["text"])
        value = result["result"]
        return json.loads(value["value"]) if value["type"] == "string" else None

    async def screenshot(self, path: Path) -> None:
        result = await self._wire.call("browsingContext.captureScreenshot", {"context": self._context})
        file = trio.Path(path)
        await file.parent.mkdir(parents=True, exist_ok=True)
        await file.write_bytes(base64.b64decode(result["data"]))

    async def set_viewport(self, width: int, height: int, *, phone: bool = False) -> None:
        await self._wire.call(
            "browsingContext.setViewport",
            {
                "context": self._context,
                "viewport": {"width": width, "height": height},
                "devicePixelRatio": 2 if phone else 1,
            },
        )

    async def set_dark(self, dark: bool) -> None:
        raise BrowserError("Firefox takes its colour scheme at start: pass BrowserOptions(dark=True)")

    async def _perform(self, source: dict[str, object]) -> None:
        await self._wire.call("input.performActions", {"context": self._context, "actions": [source]})

    async def click_at(self, x: float, y: float) -> None:
        actions: list[dict[str, object]] = [
            {"type": "pointerMove", "x": round(x), "y": round(y)},
            {"type": "pointerDown", "button": 0},
            {"type": "pointerUp", "button": 0},
        ]
        await self._perform({"type": "pointer", "id": "mouse", "actions": actions})

    async def press(self, key: str) -> None:
        value = KEYS.get(key, key)
        actions = [{"type": "keyDown", "value": value}, {"type": "keyUp", "value": value}]
        await self._perform({"type": "key", "id": "keyboard", "actions": actions})

    async def close(self) -> None:
        await self._wire.call("browsingContext.close", {"context": self._context})


class Firefox(Browser):
    """A running Firefox."""

    name: BrowserName = "firefox"

    def __init__(self, process: BrowserProcess, wire: Wire) -> None:
        self.pid = process.pid
        self.profile = process.profile
        self._wire = wire

    async def open(self, url: str) -> Page:
        created = await self._wire.call("browsingContext.create", {"type": "window"})
        page = FirefoxPage(self._wire, created["context"])
        await page.go(url)
        return page


@asynccontextmanager
async def open_firefox(options: BrowserOptions) -> AsyncIterator[Browser]:
    """Start Firefox headless with fake devices."""
    async with (
        browser_process(lambda profile: _command(profile, options), ANNOUNCEMENT) as process,
        open_wire(f"{process.url}/session") as wire,
    ):
        await wire.call("session.new", {"capabilities": {}})
        await wire.call("session.subscribe", {"events": ["log.entryAdded"]})
        yield Firefox(process, wire)
