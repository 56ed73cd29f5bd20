"""Every screen of both pages, written to `.artifacts/screens/` to be looked at, and checked for what a test can see.

That is: sizes, names, what sticks out, and axe-core's serious findings, in light and dark.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
import trio

from support.axe import serious_findings
from support.browser import Browser, BrowserOptions, Page, open_browser
from support.call_pages import become_available, call, open_agent, open_visitor
from support.page_house import cut_off, page_house
from support.running_server import running_server

SCREENS = Path(__file__).parents[2] / ".artifacts" / "screens"
SIZES = {"desktop": (1280, 800, False), "phone": (390, 844, True), "landscape": (844, 390, True)}
LEAST_TARGET_PX = 48

# buttons that somebody can see: their size, and a name for those who cannot
FAULTS = """(() => {
  const faults = [];
  const room = %d; // not innerWidth: a phone's browser shows more of a page that is too wide
  if (document.scrollingElement.scrollWidth > room) faults.push('the page is wider than the screen');
  for (const pill of document.querySelectorAll('.pill, .self-note, .stage-status, .stage-toast, .badge'))
    if (pill.getBoundingClientRect().width && !pill.innerText.trim()) faults.push(`${pill.className} says nothing`);
  for (const button of document.querySelectorAll('button, a.button, input, select, textarea')) {
    const box = button.getBoundingClientRect();
    if (!box.width || getComputedStyle(button).visibility === 'hidden') continue;
    const name = button.getAttribute('aria-label') || button.innerText || button.labels?.[0]?.innerText;
    if (!name) faults.push(`${button.id || button.className} has no name`);
    const which = button.id || button.className;
    if (Math.min(box.width, box.height) < %d - 0.5) faults.push(`${which} is ${box.width}×${box.height}`);
    if (box.left < -1 || box.right > room + 1) faults.push(`${button.id || button.className} sticks out`);
  }
  return faults;
})()"""


class _Camera:
    """Takes pictures of one kind of screen, light and dark."""

    def __init__(self, size: str) -> None:
        self.size = size
        self.faults: list[str] = []

    async def prepare(self, *pages: Page) -> None:
        width, height, phone = SIZES[self.size]
        for page in pages:
            await page.set_viewport(width, height, phone=phone)

    async def shoot(self, name: str, page: Page) -> None:
        for dark in (False, True):
            await page.set_dark(dark)
            await page.evaluate("new Promise(done => setTimeout(done, 250))")  # transitions, and the next video frame
            await page.screenshot(SCREENS / f"{name}-{self.size}-{'dark' if dark else 'light'}.png")
            if self.size == "desktop" or (self.size == "phone" and dark):  # on its side it is the same page
                self.faults += [f"{name}, dark {dark}: {finding}" for finding in await serious_findings(page)]
        faults: Sequence[str] = await page.evaluate(FAULTS % (SIZES[self.size][0], LEAST_TARGET_PX))
        self.faults += [f"{name}: {fault}" for fault in faults]


async def _click(page: Page, selector: str) -> None:
    """Press a button wherever it is: these tests look at screens, the others use them."""
    await page.evaluate(f"document.querySelector({json.dumps(selector)}).click()")


async def _first_screens(camera: _Camera, browser: Browser, url: str) -> tuple[Page, Page]:
    for name, path in (("door", "/"), ("agent-sign-in", "/agent")):
        page = await browser.open(url + path)
        await camera.prepare(page)
        await camera.shoot(name, page)
        await page.close()
    visitor = await open_visitor(browser, url, "cv_screens")
    agent = await open_agent(browser, url)
    await camera.prepare(visitor, agent)
    await camera.shoot("visitor-chat", visitor)
    await camera.shoot("agent-away", agent)
    await _click(visitor, "#start-video")
    await visitor.wait_for("triortc.state().notice")
    await camera.shoot("visitor-nobody", visitor)
    await become_available(agent)
    await camera.shoot("agent-home", agent)
    return visitor, agent


async def _call_screens(camera: _Camera, visitor: Page, agent: Page) -> None:
    await call(visitor, agent)
    await camera.shoot("agent-incoming", agent)
    await camera.shoot("visitor-waiting", visitor)
    await agent.press("g")
    for page in (visitor, agent):
        await page.wait_for("(triortc.state().live ?? triortc.state()).phase === 'active'")
    await camera.shoot("agent-call", agent)
    await camera.shoot("visitor-call", visitor)
    await _click(visitor, "#open-chat")
    await visitor.fill("#message", "Can you show me the back of it?")
    await visitor.press("Enter")
    await agent.wait_for("!document.querySelector('.stage-toast').hidden")
    await camera.shoot("agent-call-message", agent)
    await _click(agent, "#open-chat")
    await agent.fill("#message", "Of course, one moment.")
    await agent.press("Enter")
    await visitor.wait_for("document.querySelector('#thread').innerText.includes('one moment')")
    await camera.shoot("agent-call-chat", agent)
    await camera.shoot("visitor-call-chat", visitor)
    await _click(agent, "#open-chat")
    await _click(visitor, "#camera")
    await agent.wait_for("!document.querySelector('.portrait').hidden")
    await camera.shoot("agent-camera-off", agent)
    await _click(visitor, "#camera")
    await _click(agent, "#back")
    await camera.shoot("agent-thumbnail", agent)
    await _click(agent, ".expand")


async def _last_screens(camera: _Camera, browser: Browser, url: str, visitor: Page, agent: Page) -> None:
    phone = await open_agent(browser, url, device="phone")
    await camera.prepare(phone)
    await camera.shoot("agent-elsewhere", phone)
    await _click(phone, "#pull-banner")
    await phone.wait_for("triortc.state().live?.phase === 'active'")
    await agent.wait_for("!document.querySelector('#card[data-kind=moved]').hidden")
    await camera.shoot("agent-moved", agent)
    await camera.shoot("agent-pulled", phone)
    await _click(visitor, "#hang-up")
    await phone.wait_for("triortc.state().after")
    await camera.shoot("agent-after", phone)
    await camera.shoot("visitor-after", visitor)
    await _click(phone, "#close-conversation")
    await camera.shoot("agent-closed", phone)


async def _invitation_screens(camera: _Camera, browser: Browser, url: str) -> None:
    agent = await open_agent(browser, url)
    visitor = await open_visitor(browser, url, "cv_invited")
    other = await open_visitor(browser, url, "cv_other", "Tom")
    await camera.prepare(agent, visitor)
    await _click(agent, "#toggle-chat")
    await agent.wait_for("document.querySelector('#toggle-chat').dataset.color === 'green'")
    for page, text in ((visitor, "Does it come in green?"), (other, "Where is my parcel?")):
        await page.fill("#message", text)
        await page.evaluate("document.querySelector('#composer').requestSubmit()")
    await agent.wait_for("document.querySelectorAll('#conversations .row').length === 2")
    await _click(agent, "[data-conversation='cv_invited'] .row")
    await agent.fill("#message", "Yes! Shall I show you?")
    await agent.press("Enter")
    await camera.shoot("agent-chat", agent)
    for menu in ("snooze", "transfer"):
        await _click(agent, f"#{menu}")
        await camera.shoot(f"agent-{menu}", agent)
        await _click(agent, f"#{menu}")
    await _click(agent, "#invite")
    await visitor.wait_for("document.querySelector('#accept-invitation')?.offsetParent")
    await camera.shoot("agent-invited", agent)
    await camera.shoot("visitor-invited", visitor)
    await _click(agent, "#join")
    await agent.wait_for("document.body.dataset.stage === 'waiting' && triortc.state().connection === 'connected'")
    await camera.shoot("agent-waiting", agent)
    await _click(visitor, "#accept-invitation")
    for page in (visitor, agent):
        await page.wait_for("(triortc.state().live ?? triortc.state()).phase === 'active'")
    await agent.evaluate("document.querySelector('#back').click()")
    await _click(agent, "[data-conversation='cv_other'] .row")
    await camera.shoot("agent-other-chat-in-call", agent)
    second = await open_visitor(browser, url, "cv_invited")
    await camera.prepare(second)
    await second.wait_for("triortc.state().phase === 'elsewhere'")
    await camera.shoot("visitor-other-tab", second)
    await _click(visitor, "#hang-up")
    await agent.wait_for("triortc.state().after")
    await _click(agent, "[data-conversation='cv_invited'] .row")
    await _click(agent, "#invite-again")
    await visitor.wait_for("document.querySelector('#accept-invitation')?.offsetParent")
    await agent.wait_for("document.querySelector('#cancel-invitation')")
    await _click(agent, "#cancel-invitation")
    await visitor.wait_for("document.querySelector('#notice').dataset.kind === 'info'")
    await camera.shoot("visitor-invitation-gone", visitor)


@pytest.mark.parametrize("size", SIZES)
async def test_the_screens_from_chat_to_video_fit_too(size: str) -> None:
    camera = _Camera(size)
    with trio.fail_after(180):
        async with running_server() as url, open_browser("chromium") as browser:
            await _invitation_screens(camera, browser, url)
    assert camera.faults == []


async def test_the_screens_of_what_goes_wrong_say_it() -> None:
    host = "127.0.0.9"
    camera = _Camera("phone")
    with trio.fail_after(150):
        async with (
            page_house(host=host, queue_size=3) as url,
            open_browser("chromium") as browser,
            open_browser("chromium", BrowserOptions(camera="refused")) as browser_without_camera,
        ):
            refused = await open_visitor(browser_without_camera, url, "cv_refused")
            await camera.prepare(refused)
            await _click(refused, "#start-video")
            await refused.wait_for("document.querySelector('.stage-help-box')?.offsetParent")
            await refused.evaluate("document.querySelector('.stage-help-box').open = true")
            await camera.shoot("visitor-camera-refused", refused)
            agent = await open_agent(browser, url)
            visitor = await open_visitor(browser, url, "cv_wrong")
            waiting = await open_visitor(browser, url, "cv_queued", "Tom")
            await camera.prepare(agent, visitor, waiting)
            await become_available_by_script(agent)
            await call(visitor, agent)
            await agent.press("g")
            for page in (visitor, agent):
                await page.wait_for("(triortc.state().live ?? triortc.state()).phase === 'active'")
            await _click(waiting, "#start-video")
            await waiting.wait_for("triortc.state().phase === 'queued'")
            await camera.shoot("visitor-queued", waiting)
            async with cut_off(host):
                for page in (visitor, agent):
                    await page.wait_for("document.querySelector('.stage-status').innerText === 'Reconnecting…'")
                await camera.shoot("visitor-reconnecting", visitor)
                await camera.shoot("agent-reconnecting", agent)
                assert await agent.evaluate("document.querySelector('.pill.live').hidden"), "the visitor sees a still"
    assert camera.faults == []


async def become_available_by_script(agent: Page) -> None:
    """As `become_available`, where a phone's page shows something else."""
    for channel in ("chat", "video"):
        await _click(agent, f"#toggle-{channel}")
    await agent.wait_for(
        "['chat', 'video'].every(c => document.querySelector(`#toggle-${c}`).dataset.color === 'green')"
    )


@pytest.mark.parametrize("size", SIZES)
async def test_every_screen_fits_names_its_buttons_and_gives_the_thumb_room(size: str) -> None:
    camera = _Camera(size)
    with trio.fail_after(180):
        async with running_server() as url, open_browser("chromium") as browser:
            visitor, agent = await _first_screens(camera, browser, url)
            await _call_screens(camera, visitor, agent)
            await _last_screens(camera, browser, url, visitor, agent)
            assert [page.console_errors for page in (visitor, agent)] == [[], []]
    assert camera.faults == []
