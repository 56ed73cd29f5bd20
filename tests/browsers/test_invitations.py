"""From chat to video between real browsers: invited, joined by either side, taken back, gone with a transfer."""

from __future__ import annotations

import pytest
import trio

from support.browser import BROWSERS, Browser, BrowserName, Page, open_browser
from support.call_pages import open_agent, open_visitor, see_and_hear, wait_until_active
from support.running_server import running_server

CHAT = "Do you have this chair in green?"
TAKEN_BACK = "document.querySelector('#notice').innerText.includes('has taken the invitation back')"


async def chat(browser: Browser, url: str, conversation: str) -> tuple[Page, Page]:
    """A visitor and an agent who write to each other; the agent has the conversation open."""
    agent = await open_agent(browser, url)
    await agent.click("#toggle-chat")
    await agent.wait_for("document.querySelector('#toggle-chat').dataset.color === 'green'")
    visitor = await open_visitor(browser, url, conversation)
    await visitor.fill("#message", CHAT)
    await visitor.press("Enter")
    await agent.wait_for(f"document.querySelector(\"[data-conversation='{conversation}'] .row-line\").innerText")
    await agent.click(f"[data-conversation='{conversation}'] .row")
    await agent.wait_for(f"document.querySelector('#thread').innerText.includes('{CHAT}')")
    return visitor, agent


@pytest.mark.parametrize("name", BROWSERS)
async def test_s3_1_an_agent_invites_and_joins_first_then_the_visitor_accepts_and_they_talk(name: BrowserName) -> None:
    with trio.fail_after(120):
        async with running_server() as url, open_browser(name) as browser:
            visitor, agent = await chat(browser, url, "cv_join_first")
            await agent.click("#invite")
            await visitor.wait_for("!document.querySelector('#accept-invitation').hidden")
            assert "invites you to a video" in await visitor.text("#notice")
            await agent.click("#join")
            await agent.wait_for("document.body.dataset.stage === 'waiting'")
            assert "Waiting for Léa…" in await agent.text(".stage-status")
            await visitor.wait_for("document.querySelector('#notice').innerText.includes('is there already')")
            await visitor.click("#accept-invitation")
            await wait_until_active(visitor, agent)
            await see_and_hear(visitor, agent)
            assert await agent.evaluate("document.querySelector('#toggle-chat').dataset.color") == "green"  # S3.4b
            await agent.click("#hang-up")
            await visitor.wait_for("triortc.state().notice?.title === 'The call has ended.'")
            await agent.wait_for("document.querySelector('#invite-again')?.offsetParent")
            assert "Video over" in await agent.text("#card")
            await agent.click("#invite-again")  # S3.8c
            await visitor.wait_for("document.querySelector('#accept-invitation')?.offsetParent")
            await visitor.click("#not-now")
            await agent.wait_for("document.querySelector('#toast').innerText.includes('does not want a video now')")
            assert [page.console_errors for page in (visitor, agent)] == [[], []]


async def test_v6_the_visitor_accepts_first_and_it_rings_at_the_agent() -> None:
    with trio.fail_after(120):
        async with (
            running_server() as url,
            open_browser("chromium") as browser,
            open_browser("firefox") as browser_of_visitor,
        ):
            agent = await open_agent(browser, url)
            await agent.click("#toggle-chat")
            visitor = await open_visitor(browser_of_visitor, url, "cv_accept_first")
            await visitor.fill("#message", CHAT)
            await visitor.click("#send")
            await agent.wait_for("document.querySelector(\"[data-conversation='cv_accept_first'] .row\")")
            await agent.click("[data-conversation='cv_accept_first'] .row")
            await agent.click("#invite")
            await visitor.wait_for("document.querySelector('#accept-invitation')?.offsetParent")
            await visitor.click("#accept-invitation")
            await agent.wait_for("triortc.state().ring?.kind === 'join' && triortc.state().ring.leg")
            assert "has accepted your invitation" in await agent.text(".stage-subtitle")
            await visitor.wait_for("triortc.state().phase === 'ringing'")
            await agent.press("g")
            await wait_until_active(visitor, agent)
            await see_and_hear(visitor, agent)
            assert [page.console_errors for page in (visitor, agent)] == [[], []]


@pytest.mark.parametrize("name", BROWSERS)
async def test_s3_6b_an_invitation_that_is_taken_back_is_gone_with_words(name: BrowserName) -> None:
    with trio.fail_after(90):
        async with running_server() as url, open_browser(name) as browser:
            visitor, agent = await chat(browser, url, "cv_taken_back")
            await agent.click("#invite")
            await visitor.wait_for("document.querySelector('#accept-invitation')?.offsetParent")
            await agent.click("#cancel-invitation")
            await visitor.wait_for(TAKEN_BACK)
            assert await visitor.evaluate("document.querySelector('#accept-invitation')") is None
            await visitor.wait_for("document.querySelector('#start-video').offsetParent")
            await agent.wait_for("document.querySelector('#invite').offsetParent")
            assert await agent.evaluate("document.querySelector('#cancel-invitation')?.offsetParent ?? null") is None
            await agent.click("#invite")  # S3.1d
            await visitor.wait_for("document.querySelector('#accept-invitation')?.offsetParent")
            assert [page.console_errors for page in (visitor, agent)] == [[], []]


@pytest.mark.parametrize("name", BROWSERS)
async def test_s3_7_a_transfer_takes_the_invitation_back_and_another_agent_has_the_chat(name: BrowserName) -> None:
    with trio.fail_after(90):
        async with running_server() as url, open_browser(name) as browser:
            visitor, agent = await chat(browser, url, "cv_transferred")
            other = await open_agent(browser, url, sub="ben", name="Ben")
            await other.click("#toggle-chat")
            await other.wait_for("document.querySelector('#toggle-chat').dataset.color === 'green'")
            await agent.click("#invite")
            await visitor.wait_for("document.querySelector('#accept-invitation')?.offsetParent")
            await agent.click("#transfer")
            await agent.evaluate("document.querySelector('#transfer-kind').value = 'agent'")
            await agent.fill("#transfer-name", "ben")
            await agent.click("#transfer-go")
            assert "goes to ben" in await agent.text("#toast")
            await visitor.wait_for(TAKEN_BACK)
            assert await visitor.evaluate("document.querySelector('#accept-invitation')") is None
            await agent.wait_for("document.querySelector('#conversations').childElementCount === 0")
            await other.click("[data-conversation='cv_transferred'] .row")
            await other.wait_for("document.querySelector('#visitor-name').innerText === 'Léa'")
            await other.wait_for("document.querySelector('#invite').offsetParent")  # theirs to invite now
            for writer, reader, text in (
                (other, visitor, "In green, and in blue."),
                (visitor, other, "In green, please."),
            ):
                await writer.fill("#message", text)
                await writer.press("Enter")
                await reader.wait_for(f"document.querySelector('#thread').innerText.includes('{text}')")
            assert [page.console_errors for page in (visitor, agent, other)] == [[], [], []]


async def test_an_undone_snooze_never_happened() -> None:
    with trio.fail_after(90):
        async with running_server() as url, open_browser("chromium") as browser:
            visitor, agent = await chat(browser, url, "cv_snoozed")
            await agent.click("#snooze")
            await agent.click("#snooze-1")
            await agent.wait_for("document.querySelector('#conversations').childElementCount === 0")
            await agent.click("#toast-action")
            await agent.wait_for("triortc.state().selected === 'cv_snoozed'")
            await agent.click("#snooze")
            await agent.click("#snooze-0")
            await agent.wait_for("triortc.state().conversations[0].state === 'snoozed'")
            assert "Snoozed" in await agent.text("[data-conversation='cv_snoozed']")
            await visitor.fill("#message", "Are you still there?")  # K5
            await visitor.press("Enter")
            await agent.wait_for("triortc.state().conversations[0].state === 'open'")
