"""The browser drivers themselves: pages, fake devices, input, and nothing left behind."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from support.browser import BROWSERS, BrowserName, BrowserOptions, open_browser
from support.browser_wire import BrowserError
from support.media_ports import until

PAGE = b"""<!doctype html><meta name=viewport content="width=device-width"><title>driver</title>
<button id=b>press</button>
<script>
  b.onclick = () => document.title = 'clicked';
  onkeydown = event => window.key = event.key;
  console.error('on purpose');
</script>"""


@asynccontextmanager
async def _http_page(body: bytes) -> AsyncIterator[str]:
    """Serve one page on loopback (a camera is given to http://127.0.0.1, not to data: addresses)."""

    async def answer(stream: trio.SocketStream) -> None:
        async with stream:
            await stream.receive_some(65536)
            head = f"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {len(body)}\r\nConnection: close"
            await stream.send_all(f"{head}\r\n\r\n".encode() + body)

    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, answer, listeners)
        yield f"http://127.0.0.1:{listeners[0].socket.getsockname()[1]}/"
        nursery.cancel_scope.cancel()


def _group_members(group: int) -> list[int]:
    """Living processes of a process group (a zombie that waits for its parent is not living)."""
    members = []
    for entry in Path("/proc").iterdir():
        try:
            fields = (entry / "stat").read_text().rpartition(")")[2].split() if entry.name.isdigit() else []
        except (FileNotFoundError, ProcessLookupError):
            continue
        if len(fields) > 2 and int(fields[2]) == group and fields[0] not in "ZX":
            members.append(int(entry.name))
    return members


@pytest.mark.parametrize("name", BROWSERS)
async def test_a_browser_runs_a_page_with_fake_media_and_leaves_nothing_behind(
    name: BrowserName, tmp_path: Path
) -> None:
    with trio.fail_after(90):
        async with _http_page(PAGE) as url, open_browser(name) as browser:
            page = await browser.open(url)
            assert await page.evaluate("1 + 1") == 2
            assert await page.evaluate("Promise.resolve({list: [1, 'two', null]})") == {"list": [1, "two", None]}
            with pytest.raises(BrowserError, match="on my own account"):
                await page.evaluate("Promise.reject(new Error('on my own account'))")
            kinds = await page.evaluate(
                "navigator.mediaDevices.getUserMedia({audio: true, video: true})"
                ".then(s => s.getTracks().map(t => t.kind).sort())"
            )
            assert kinds == ["audio", "video"]
            await page.click("#b")
            await page.wait_for("document.title === 'clicked'")
            await page.press("g")
            assert await page.wait_for("window.key") == "g"
            await page.set_viewport(390, 844, phone=True)
            assert await page.evaluate("innerWidth") == 390
            await page.screenshot(tmp_path / "page.png")
            assert (tmp_path / "page.png").read_bytes().startswith(b"\x89PNG")
            assert any("on purpose" in text for text in page.console_errors)
            group, profile = os.getpgid(browser.pid), browser.profile
    await until(lambda: not _group_members(group), "what was killed has died", within_s=5.0)
    assert not profile.exists()


@pytest.mark.parametrize("name", BROWSERS)
async def test_a_refused_camera_is_refused(name: BrowserName) -> None:
    with trio.fail_after(90):
        async with _http_page(PAGE) as url, open_browser(name, BrowserOptions(camera="refused")) as browser:
            page = await browser.open(url)
            asked = "navigator.mediaDevices.getUserMedia({video: true}).then(() => 'given', error => error.name)"
            assert await page.evaluate(asked) == "NotAllowedError"


async def test_a_page_can_be_shown_light_and_dark() -> None:
    scheme = "matchMedia('(prefers-color-scheme: dark)').matches"
    with trio.fail_after(90):
        async with _http_page(PAGE) as url:
            async with open_browser("chromium") as browser:
                page = await browser.open(url)
                await page.set_dark(True)
                assert await page.evaluate(scheme) is True
                await page.set_dark(False)
                assert await page.evaluate(scheme) is False
            async with open_browser("firefox", BrowserOptions(dark=True)) as browser:
                assert await (await browser.open(url)).evaluate(scheme) is True


KILLED = """
import sys, trio
from support.browser import open_browser
async def main():
    async with open_browser(sys.argv[1]) as browser:
        print(browser.pid, browser.profile, flush=True)
        await trio.sleep_forever()
trio.run(main)
"""


@pytest.mark.parametrize("name", BROWSERS)
async def test_a_test_that_is_killed_takes_its_browser_with_it(name: BrowserName) -> None:
    with trio.fail_after(60):
        process = await trio.lowlevel.open_process(
            [sys.executable, "-c", KILLED, name],
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
        )
        assert process.stdout is not None
        said = b""
        async for data in process.stdout:
            said += data
            if said.endswith(b"\n"):
                break
        group, profile = int(said.split()[0]), trio.Path(said.split()[1].decode())
        assert group in _group_members(group)
        process.kill()
        await process.wait()
        await process.stdout.aclose()
        for _ in range(200):
            if not _group_members(group) and not await profile.exists():
                break
            await trio.sleep(0.05)
        await until(lambda: not _group_members(group), "what was killed has died", within_s=5.0)
        assert not await profile.exists()


async def test_leaving_by_an_error_ends_the_browser_too() -> None:
    seen: list[tuple[int, Path]] = []

    async def fail(stop: Callable[[], Awaitable[None]] = trio.lowlevel.checkpoint) -> None:
        async with open_browser("chromium") as browser:
            seen.append((browser.pid, browser.profile))
            await stop()
            raise KeyError("in the middle")

    with trio.fail_after(60), pytest.RaisesGroup(KeyError, flatten_subgroups=True):
        await fail()
    group, profile = seen[0]
    await until(lambda: not _group_members(group), "what was killed has died", within_s=5.0)
    assert not profile.exists()
