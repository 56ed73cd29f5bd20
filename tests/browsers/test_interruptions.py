"""Calls between real browsers that are disturbed: pages loaded again, a cut network, nobody who answers, a queue."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio

from support.browser import BrowserName, Page, open_browser
from support.call_pages import become_available, call, open_agent, open_visitor
from support.page_house import cut_off, page_house

ACTIVE = "(triortc.state().live ?? triortc.state()).phase === 'active'"
STATUS = "document.querySelector('.stage-status').innerText"
DECODED = "triortc.stats().then(found => found?.in.video?.framesDecoded ?? 0)"
PICTURES = 30


async def _talk(visitor: Page, agent: Page) -> None:
    await become_available(agent)
    await call(visitor, agent)
    await agent.press("g")
    for page in (visitor, agent):
        await page.wait_for(ACTIVE)


async def _see(*pages: Page) -> None:
    """Wait until more pictures have come than before."""
    for page in pages:
        before = await page.evaluate(DECODED)
        await page.evaluate(
            f"""new Promise(resolve => {{ const look = async () => {{
              if (await {DECODED} > {before + PICTURES}) resolve(true); else setTimeout(look, 100); }}; look(); }})"""
        )


@pytest.mark.parametrize(("name", "who"), [("chromium", "visitor"), ("chromium", "agent"), ("firefox", "visitor")])
async def test_v32_v33_a_page_that_is_loaded_again_is_back_in_its_call(name: BrowserName, who: str) -> None:
    with trio.fail_after(120):
        async with page_house() as url, open_browser("chromium") as browser, open_browser(name) as another:
            agent = await open_agent(browser if who == "visitor" else another, url)
            visitor = await open_visitor(another if who == "visitor" else browser, url, "cv_reload")
            await _talk(visitor, agent)
            await _see(visitor, agent)
            reloaded, other = (visitor, agent) if who == "visitor" else (agent, visitor)
            address = await reloaded.evaluate("location.href")
            await reloaded.go(address)
            await reloaded.wait_for(ACTIVE)
            await reloaded.wait_for("triortc.state().connection === 'connected'")
            await other.wait_for("!(triortc.state().live ?? triortc.state()).peerLost")
            await _see(reloaded, other)
            assert await other.evaluate("(triortc.state().live ?? triortc.state()).phase") == "active"
            assert [page.console_errors for page in (visitor, agent)] == [[], []]


async def test_v32_a_call_outlives_a_network_that_is_cut_and_the_last_picture_stays_dimmed() -> None:
    host = "127.0.0.9"
    with trio.fail_after(150):
        async with page_house(host=host) as url, open_browser("chromium") as browser:
            agent = await open_agent(browser, url)
            visitor = await open_visitor(browser, url, "cv_cut")
            await _talk(visitor, agent)
            await _see(visitor, agent)
            async with cut_off(host):
                for page in (visitor, agent):
                    await page.wait_for(f"{STATUS} === 'Reconnecting…'")
                    assert await page.evaluate("document.querySelector('#stage').hasAttribute('data-dim')")
                    assert await page.evaluate("!document.querySelector('.held').hidden")
                await visitor.wait_for("document.querySelector('#link').innerText !== ''")
            for page in (visitor, agent):
                await page.wait_for(f"{ACTIVE} && triortc.state().connection === 'connected' && {STATUS} === ''")
                assert not await page.evaluate("document.querySelector('#stage').hasAttribute('data-dim')")
            await _see(visitor, agent)
            await visitor.click("#open-chat")
            await visitor.fill("#message", "There you are again.")
            await visitor.press("Enter")
            await agent.wait_for("document.querySelector('.stage-toast').innerText.includes('There you are again')")


async def test_s1_3g_nobody_answers_and_both_pages_say_what_is_next() -> None:
    with trio.fail_after(90):
        async with page_house(ring_timeout_s=5.0) as url, open_browser("chromium") as browser:
            agent = await open_agent(browser, url)
            visitor = await open_visitor(browser, url, "cv_no_answer")
            await become_available(agent)
            await call(visitor, agent)
            await visitor.wait_for("triortc.state().notice?.title === 'Nobody could answer right now.'")
            assert await visitor.evaluate("document.activeElement.id") == "message"
            await agent.wait_for("triortc.state().ring === null")
            assert "You did not answer" in await agent.text("#toast")
            assert "Missed video" in await agent.text("[data-conversation='cv_no_answer']")
            assert [page.console_errors for page in (visitor, agent)] == [[], []]


async def test_v2_v7_a_visitor_reads_the_place_in_the_queue_and_rings_when_the_agent_is_free() -> None:
    with trio.fail_after(120):
        async with page_house(queue_size=4) as url, open_browser("chromium") as browser:
            agent = await open_agent(browser, url)
            first = await open_visitor(browser, url, "cv_first")
            second = await open_visitor(browser, url, "cv_second", "Tom")
            await _talk(first, agent)
            await second.click("#start-video")
            await second.wait_for("triortc.state().phase === 'queued'")
            assert "You are number 1 in the queue" in await second.text(".stage-status")
            await first.click("#hang-up")
            await agent.wait_for("document.querySelector('#close-conversation')?.offsetParent")
            await agent.click("#close-conversation")
            await agent.wait_for("triortc.state().ring?.leg")
            await second.wait_for("triortc.state().phase === 'ringing'")
            await agent.press("g")
            await second.wait_for(ACTIVE)
            assert [page.console_errors for page in (first, second, agent)] == [[], [], []]


async def test_an_agent_records_on_request_and_both_sides_read_it(tmp_path: Path) -> None:
    said = "document.querySelector('.pill.recorded').innerText === 'This call is recorded'"
    with trio.fail_after(90):
        async with page_house(recordings=tmp_path, recording="on_request") as url, open_browser("chromium") as browser:
            agent = await open_agent(browser, url)
            visitor = await open_visitor(browser, url, "cv_recorded")
            await _talk(visitor, agent)
            assert await visitor.evaluate("document.querySelector('#record').offsetParent") is None
            await agent.click("#record")
            for page in (visitor, agent):
                await page.wait_for(said)
            assert "Stop" in await agent.text("#record")
            await agent.click("#record")
            for page in (visitor, agent):
                await page.wait_for("document.querySelector('.pill.recorded').hidden")
            assert [page.console_errors for page in (visitor, agent)] == [[], []]


async def test_s2_1_a_call_moves_to_the_phone_and_is_brought_back() -> None:
    with trio.fail_after(120):
        async with page_house() as url, open_browser("chromium") as browser:
            agent = await open_agent(browser, url)
            visitor = await open_visitor(browser, url, "cv_back")
            await _talk(visitor, agent)
            phone = await open_agent(browser, url, device="iphone")
            await phone.click("#pull-banner")
            await phone.wait_for(ACTIVE)
            await agent.wait_for("document.querySelector('#card[data-kind=moved]')?.offsetParent")
            assert "Your video continues on Ana’s iphone" in await agent.text("#card")
            await agent.fill("#message", "One moment, I walk over to it.")  # the chat stays usable
            await agent.press("Enter")
            await visitor.wait_for("!document.querySelector('.stage-toast').hidden")
            await agent.click("#pull")
            await agent.wait_for(ACTIVE)
            await phone.wait_for("triortc.state().live === null")
            await _see(agent, visitor)
            assert await visitor.evaluate("triortc.state().phase") == "active"
            await agent.click("#move")  # the desktop asks, the phone takes it
            await agent.click(".stage .menu-item")
            await agent.wait_for("document.querySelector('#toast').innerText.includes('Continue here')")
            await phone.wait_for("document.querySelector('#toast-action')?.offsetParent")
            assert "Desktop suggests to go on here" in await phone.text("#toast")
            await phone.click("#toast-action")
            await phone.wait_for(ACTIVE)
            await agent.wait_for("triortc.state().live === null")
            await _see(phone, visitor)
            assert [page.console_errors for page in (visitor, agent, phone)] == [[], [], []]
