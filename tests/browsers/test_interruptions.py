"""Calls between real browsers that are disturbed: pages loaded again, a cut network, nobody who answers, a queue."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from support.browser import BROWSERS, BrowserName, Page, open_browser
from support.call_pages import (
    ACTIVE,
    STATUS,
    become_available,
    call,
    open_agent,
    open_visitor,
    see_and_hear,
    talk,
    wait_until_active,
)
from support.page_house import cut_off, page_house

HOLDING = """(() => {
  const canvas = document.querySelector('.held');
  window.held = 0;
  new MutationObserver(() => { window.held += canvas.hidden ? 0 : 1; }).observe(canvas, {attributes: true});
})()"""

COUNTING = """(() => {
  const Real = RTCPeerConnection, offering = Real.prototype.createOffer;
  window.opened = window.restarts = 0;
  window.RTCPeerConnection = class extends Real { constructor(...how) { super(...how); window.opened += 1; } };
  Real.prototype.createOffer = function (how) {
    window.restarts += how?.iceRestart ? 1 : 0;
    return offering.call(this, how);
  };
})()"""


@asynccontextmanager
async def two_pages(name: BrowserName, conversation: str, **house: Any) -> AsyncIterator[tuple[Page, Page]]:
    """A visitor's and an agent's page in one browser, not yet in a call; `house` is the server's, as in page_house."""
    async with page_house(**house) as url, open_browser(name) as browser:
        agent = await open_agent(browser, url)
        yield await open_visitor(browser, url, conversation), agent


@pytest.mark.parametrize(("name", "who"), [("chromium", "visitor"), ("chromium", "agent"), ("firefox", "visitor")])
async def test_v32_v33_a_page_that_is_loaded_again_is_back_in_its_call(name: BrowserName, who: str) -> None:
    with trio.fail_after(120):
        async with page_house() as url, open_browser("chromium") as browser, open_browser(name) as another:
            agent = await open_agent(browser if who == "visitor" else another, url)
            visitor = await open_visitor(another if who == "visitor" else browser, url, "cv_reload")
            await talk(visitor, agent)
            await see_and_hear(visitor, agent)
            reloaded, other = (visitor, agent) if who == "visitor" else (agent, visitor)
            address = await reloaded.evaluate("location.href")
            await reloaded.go(address)
            await reloaded.wait_for(ACTIVE)
            await reloaded.wait_for("triortc.state().connection === 'connected'")
            await other.wait_for("!(triortc.state().live ?? triortc.state()).peerLost")
            await see_and_hear(reloaded, other)
            assert await other.evaluate("(triortc.state().live ?? triortc.state()).phase") == "active"
            assert [page.console_errors for page in (visitor, agent)] == [[], []]


@pytest.mark.parametrize("name", BROWSERS)
async def test_v32_a_call_outlives_a_network_that_is_cut_and_the_last_picture_stays_dimmed(name: BrowserName) -> None:
    host = "127.0.0.9"
    with trio.fail_after(150):
        async with two_pages(name, "cv_cut", host=host) as (visitor, agent):
            await talk(visitor, agent)
            await see_and_hear(visitor, agent)
            async with cut_off(host):
                for page in (visitor, agent):
                    await page.wait_for(f"{STATUS} === 'Reconnecting…'")
                    assert await page.evaluate("document.querySelector('#stage').hasAttribute('data-dim')")
                    assert await page.evaluate("!document.querySelector('.held').hidden")
                await visitor.wait_for("document.querySelector('#link').innerText !== ''")
            await see_and_hear(visitor, agent)
            for page in (visitor, agent):  # who is back first may read that the other is not yet
                await page.wait_for(
                    f"{ACTIVE} && triortc.state().connection === 'connected' && {STATUS} === ''"
                    " && !document.querySelector('#stage').hasAttribute('data-dim')"
                    " && document.querySelector('.held').hidden && document.querySelector('#link').innerText === ''"
                )
            await visitor.click("#open-chat")
            await visitor.fill("#message", "There you are again.")
            await visitor.press("Enter")
            await agent.wait_for("document.querySelector('.stage-toast').innerText.includes('There you are again')")


@pytest.mark.parametrize("name", BROWSERS)
async def test_v32_media_that_is_cut_comes_back_by_an_ice_restart_over_the_connection_it_had(name: BrowserName) -> None:
    media_host = "127.0.0.10"
    with trio.fail_after(150):
        async with two_pages(name, "cv_restart", media_host=media_host) as (visitor, agent):
            await talk(visitor, agent)
            await see_and_hear(visitor, agent)
            for page in (visitor, agent):
                await page.evaluate(COUNTING)
            async with cut_off(media_host):
                for page in (visitor, agent):
                    await page.wait_for("window.restarts > 0")
                    await page.wait_for(f"{STATUS} === 'Reconnecting…'")
            await see_and_hear(visitor, agent)
            for page in (visitor, agent):
                await page.wait_for(f"{ACTIVE} && triortc.state().connection === 'connected' && {STATUS} === ''")
                assert await page.evaluate("window.opened") == 0, "no other connection, and so no other handshake"
            assert [page.console_errors for page in (visitor, agent)] == [[], []]


@pytest.mark.parametrize("name", BROWSERS)
async def test_s1_3g_nobody_answers_and_both_pages_say_what_is_next(name: BrowserName) -> None:
    with trio.fail_after(90):
        async with two_pages(name, "cv_no_answer", ring_timeout_s=5.0) as (visitor, agent):
            await become_available(agent)
            await call(visitor, agent)
            await visitor.wait_for(
                f"{STATUS}.match(/^Ringing an adviser… [1-5] s$/)"
            )  # what is left, as the server counts
            assert await agent.evaluate("document.querySelector('#stage').dataset.mode") == "incoming"
            await visitor.wait_for("triortc.state().notice?.title === 'Nobody could answer right now.'")
            assert "Nobody could answer right now." in await visitor.text("#notice")
            assert await visitor.evaluate("document.activeElement.id") == "message"
            await agent.wait_for("triortc.state().ring === null")
            assert await agent.evaluate("document.querySelector('#stage').dataset.mode") == "off"
            assert "You did not answer" in await agent.text("#toast")
            assert "Missed video" in await agent.text("[data-conversation='cv_no_answer']")
            assert [page.console_errors for page in (visitor, agent)] == [[], []]


async def test_v2_v7_a_visitor_reads_the_place_in_the_queue_and_rings_when_the_agent_is_free() -> None:
    with trio.fail_after(120):
        async with page_house(queue_size=4) as url, open_browser("chromium") as browser:
            agent = await open_agent(browser, url)
            first = await open_visitor(browser, url, "cv_first")
            second = await open_visitor(browser, url, "cv_second", "Tom")
            await talk(first, agent)
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
        async with two_pages("chromium", "cv_recorded", recordings=tmp_path, recording="on_request") as (
            visitor,
            agent,
        ):
            await talk(visitor, agent)
            assert await visitor.evaluate("document.querySelector('#record').offsetParent") is None
            await agent.click("#record")
            for page in (visitor, agent):
                await page.wait_for(said)
            assert "Stop" in await agent.text("#record")
            await agent.click("#record")
            for page in (visitor, agent):
                await page.wait_for("document.querySelector('.pill.recorded').hidden")
            assert [page.console_errors for page in (visitor, agent)] == [[], []]


@pytest.mark.parametrize("name", BROWSERS)
async def test_s2_1_a_call_moves_to_the_phone_and_is_brought_back(name: BrowserName) -> None:
    with trio.fail_after(120):
        async with page_house() as url, open_browser(name) as browser:
            agent = await open_agent(browser, url)
            visitor = await open_visitor(browser, url, "cv_back")
            await talk(visitor, agent)
            phone = await open_agent(browser, url, device="iphone")
            await visitor.evaluate(HOLDING)
            assert "You are in a video on Desktop" in await phone.text("#elsewhere")
            await phone.click("#pull-banner")
            await wait_until_active(phone)
            await agent.wait_for("document.querySelector('#card[data-kind=moved]')?.offsetParent")
            await see_and_hear(phone, visitor)
            assert "Your video continues on Ana’s iphone" in await agent.text("#card")
            await agent.fill("#message", "One moment, I walk over to it.")  # the chat stays usable
            await agent.press("Enter")
            await visitor.wait_for("!document.querySelector('.stage-toast').hidden")
            await agent.click("#pull")
            await wait_until_active(agent)
            await phone.wait_for("triortc.state().live === null")
            await see_and_hear(agent, visitor)
            await visitor.wait_for(f"{ACTIVE} && {STATUS} === ''")  # the visitor noticed nothing but a short dim
            await agent.click("#move")  # the desktop asks, the phone takes it
            await agent.click(".stage .menu-item")
            await agent.wait_for("document.querySelector('#toast').innerText.includes('Continue here')")
            await phone.wait_for("document.querySelector('#toast-action')?.offsetParent")
            assert "Desktop suggests to go on here" in await phone.text("#toast")
            await phone.click("#toast-action")
            await wait_until_active(phone)
            await agent.wait_for("triortc.state().live === null")
            await see_and_hear(phone, visitor)
            assert await visitor.evaluate("window.held") == 0, "pictures of three devices, and no still one between"
            assert [page.console_errors for page in (visitor, agent, phone)] == [[], [], []]
