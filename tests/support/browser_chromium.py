"""Chromium through the DevTools protocol."""

from __future__ import annotations

import base64
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import trio

from support.browser_page import Browser, BrowserName, BrowserOptions, Page
from support.browser_process import BrowserProcess, browser_process
from support.browser_wire import BrowserError, Wire, open_wire

__all__ = ["open_chromium"]

ANNOUNCEMENT = re.compile(r"DevTools listening on (ws://\S+)")
KEY_CODES = {"Enter": 13, "Escape": 27, "Tab": 9}


def _command(profile: Path, options: BrowserOptions) -> Sequence[str]:
    return (
        "chromium",
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--no-first-run",
        "--no-default-browser-check",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--disable-extensions",
        "--disable-background-timer-throttling",
        "--disable-backgrounding-occluded-windows",
        "--disable-renderer-backgrounding",
        f"--use-fake-device-for-media-stream=fps={options.frames_per_second}",
        *(("--use-fake-ui-for-media-stream",) if options.camera == "granted" else ()),
        "--allow-loopback-in-peer-connection",
        "--autoplay-policy=no-user-gesture-required",
        "--password-store=basic",
        "--remote-debugging-port=0",
        f"--user-data-dir={profile}",
        "about:blank",
    )


class ChromiumPage(Page):
    """A tab, driven over its own DevTools session."""

    def __init__(self, wire: Wire, session: str, target: str) -> None:
        super().__init__()
        self._wire = wire
        self._session = session
        self._target = target
        self._loaded = trio.Event()
        self._registrations: dict[str, str] = {}
        self._registered = trio.Event()
        wire.on_event(self._on_event)

    def _on_event(self, method: str, params: dict[str, Any], session: str | None) -> None:
        if session != self._session:
            return
        if method == "Page.loadEventFired":
            self._loaded.set()
        elif method == "ServiceWorker.workerRegistrationUpdated":
            for registration in params["registrations"]:
                self._registrations[registration["scopeURL"]] = registration["registrationId"]
            self._registered.set()
        elif method == "Runtime.exceptionThrown":
            details = params["exceptionDetails"]
            self.console_errors.append(details.get("exception", {}).get("description", details["text"]))
        elif method == "Runtime.consoleAPICalled" and params["type"] in ("error", "assert"):
            self.console_errors.append(" ".join(str(a.get("value", a.get("description", ""))) for a in params["args"]))
        elif method == "Log.entryAdded" and params["entry"]["level"] == "error":
            self.console_errors.append(f"{params['entry']['text']} {params['entry'].get('url', '')}".strip())

    async def _call(self, method: str, params: dict[str, object] | None = None) -> dict[str, Any]:
        return await self._wire.call(method, params, self._session)

    async def prepare(self) -> None:
        """Switch on the events the page needs."""
        for domain in ("Page", "Runtime", "Log"):
            await self._call(f"{domain}.enable")
        await self._call("Emulation.setFocusEmulationEnabled", {"enabled": True})

    async def go(self, url: str) -> None:
        self._loaded = trio.Event()
        result = await self._call("Page.navigate", {"url": url})
        if result.get("errorText"):
            raise BrowserError(f"{url}: {result['errorText']}")
        await self._loaded.wait()

    async def evaluate(self, expression: str) -> Any:
        result = await self._call(
            "Runtime.evaluate",
            {"expression": expression, "awaitPromise": True, "returnByValue": True, "userGesture": True},
        )
        if "exceptionDetails" in result:
            details = result["exceptionDetails"]
            raise BrowserError(details.get("exception", {}).get("description", details["text"]))
        return result["result"].get("value")

    async def screenshot(self, path: Path) -> None:
        result = await self._call("Page.captureScreenshot", {"format": "png"})
        file = trio.Path(path)
        await file.parent.mkdir(parents=True, exist_ok=True)
        await file.write_bytes(base64.b64decode(result["data"]))

    async def set_viewport(self, width: int, height: int, *, phone: bool = False) -> None:
        orientation = (
            {"type": "landscapePrimary", "angle": 90} if width > height else {"type": "portraitPrimary", "angle": 0}
        )
        await self._call(
            "Emulation.setDeviceMetricsOverride",
            {
                "width": width,
                "height": height,
                "deviceScaleFactor": 2 if phone else 1,
                "mobile": phone,
                "screenOrientation": orientation,
            },
        )
        await self._call("Emulation.setTouchEmulationEnabled", {"enabled": phone})

    async def set_dark(self, dark: bool) -> None:
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        await self._call("Emulation.setEmulatedMedia", {"features": [scheme]})

    async def click_at(self, x: float, y: float) -> None:
        for kind in ("mouseMoved", "mousePressed", "mouseReleased"):
            button = "none" if kind == "mouseMoved" else "left"
            await self._call(
                "Input.dispatchMouseEvent", {"type": kind, "x": x, "y": y, "button": button, "clickCount": 1}
            )

    async def press(self, key: str) -> None:
        text = "\r" if key == "Enter" else key if len(key) == 1 else ""
        code = KEY_CODES.get(key, ord(key[0].upper()))
        event: dict[str, object] = {"key": key, "windowsVirtualKeyCode": code, "nativeVirtualKeyCode": code}
        await self._call("Input.dispatchKeyEvent", {**event, "type": "keyDown", "text": text})
        await self._call("Input.dispatchKeyEvent", {**event, "type": "keyUp"})

    async def deliver_push(self, message: str) -> None:
        """Give the service worker of this page's origin a push message, as if the push service had sent it."""
        origin = await self.evaluate("location.origin")
        await self._call("ServiceWorker.enable")
        while f"{origin}/" not in self._registrations:
            self._registered = trio.Event()
            await self._registered.wait()
        registration = self._registrations[f"{origin}/"]
        await self._call(
            "ServiceWorker.deliverPushMessage",
            {"origin": origin, "registrationId": registration, "data": message},
        )

    async def evaluate_in_worker(self, expression: str) -> Any:
        """Evaluate JavaScript in the running service worker."""
        targets = (await self._wire.call("Target.getTargets"))["targetInfos"]
        (worker,) = [target for target in targets if target["type"] == "service_worker"]
        attached = await self._wire.call("Target.attachToTarget", {"targetId": worker["targetId"], "flatten": True})
        result = await self._wire.call(
            "Runtime.evaluate",
            {"expression": expression, "awaitPromise": True, "returnByValue": True},
            attached["sessionId"],
        )
        if "exceptionDetails" in result:
            raise BrowserError(str(result["exceptionDetails"]))
        return result["result"].get("value")

    async def close(self) -> None:
        await self._wire.call("Target.closeTarget", {"targetId": self._target})


class Chromium(Browser):
    """A running Chromium."""

    name: BrowserName = "chromium"

    def __init__(self, process: BrowserProcess, wire: Wire, options: BrowserOptions) -> None:
        self.pid = process.pid
        self.profile = process.profile
        self._wire = wire
        self._options = options

    async def open(self, url: str) -> Page:
        if self._options.camera == "refused":
            await self._set_permissions(url, "denied", "camera", "microphone")
        if self._options.notifications:
            await self._set_permissions(url, "granted", "notifications")
        target = (await self._wire.call("Target.createTarget", {"url": "about:blank", "newWindow": True}))["targetId"]
        attached = await self._wire.call("Target.attachToTarget", {"targetId": target, "flatten": True})
        page = ChromiumPage(self._wire, attached["sessionId"], target)
        await page.prepare()
        if self._options.dark:
            await page.set_dark(True)
        await page.go(url)
        return page

    async def _set_permissions(self, url: str, setting: str, *names: str) -> None:
        origin = "/".join(url.split("/")[:3])
        for name in names:
            await self._wire.call(
                "Browser.setPermission", {"permission": {"name": name}, "setting": setting, "origin": origin}
            )


@asynccontextmanager
async def open_chromium(options: BrowserOptions) -> AsyncIterator[Browser]:
    """Start Chromium headless with fake devices."""
    async with (
        browser_process(lambda profile: _command(profile, options), ANNOUNCEMENT) as process,
        open_wire(process.url) as wire,
    ):
        yield Chromium(process, wire, options)
