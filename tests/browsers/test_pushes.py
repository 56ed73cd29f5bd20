"""A closed agent page is rung by Web Push: Chromium's service worker gets what the server sends (docs/pushes.md)."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import trio

from support.browser import Browser, BrowserOptions, open_browser
from support.browser_chromium import ChromiumPage
from support.call_pages import become_available, open_agent, open_visitor
from support.page_house import page_house
from support.push_fakes import WEB_PUSH
from triortc.signaling.push.configuration import PushConfiguration

SHOWN = """navigator.serviceWorker.getRegistration('/').then(worker => worker.getNotifications())
  .then(shown => shown.map(({title, tag, body, requireInteraction}) => ({title, tag, body, requireInteraction})))"""
CLEARED = "registration.getNotifications().then(shown => shown.forEach(one => one.close()))"
WATCHED = """(() => {
  const show = registration.showNotification.bind(registration);
  self.shown = [];
  registration.showNotification = async (title, options) => { await show(title, options); self.shown.push(title); };
})()"""
AGENT_PAGES = """clients.matchAll({type: 'window', includeUncontrolled: true})
  .then(found => found.filter(client => new URL(client.url).pathname === '/agent').length)"""
TAPPED = """(async action => {
  const opened = [];
  clients.openWindow = async url => { opened.push(url); return null; };
  const [notification] = await registration.getNotifications();
  const event = new NotificationEvent('notificationclick', {notification, action});
  const waits = [];
  event.waitUntil = promise => waits.push(promise);
  dispatchEvent(event);
  await Promise.all(waits);
  return opened;
})(%s)"""

# No push service can be reached from here; what it would have given is made in the page.
SUBSCRIBED = """(async () => {
  const text = bytes => btoa(String.fromCharCode(...new Uint8Array(bytes)))
    .replaceAll('+', '-').replaceAll('/', '_').replaceAll('=', '');
  const pair = await crypto.subtle.generateKey({name: 'ECDH', namedCurve: 'P-256'}, true, ['deriveBits']);
  const keys = {
    p256dh: text(await crypto.subtle.exportKey('raw', pair.publicKey)),
    auth: text(crypto.getRandomValues(new Uint8Array(16))),
  };
  PushManager.prototype.getSubscription = async () => ({toJSON: () => ({endpoint: 'https://push.example/1', keys})});
})()"""


def ring(session: str, timeout_ms: int = 25_000, **more: Any) -> str:
    message = {
        "type": "ring",
        "session": session,
        "ring": "rg_1",
        "conversation": "cv_push",
        "kind": "call",
        "video": True,
    }
    return json.dumps({**message, "timeout_ms": timeout_ms, "expires_at": 1_800_000_000_000, **more})


async def _watch(page: ChromiumPage) -> None:
    """Have the worker say which notifications it has shown."""
    await page.evaluate_in_worker(WATCHED)


async def _shown(page: ChromiumPage, title: str) -> dict[str, Any]:
    """Wait until the worker has shown a notification, and see that exactly this one is there."""
    while not await page.evaluate_in_worker("self.shown.shift()"):
        await page.evaluate("new Promise(done => setTimeout(done, 50))")
    found: list[dict[str, Any]] = await page.evaluate(SHOWN)
    assert [notification["title"] for notification in found] == [title]
    return found[0]


async def _gone(page: ChromiumPage) -> None:
    """Wait until there is no notification. (Nothing may be on its way: Chromium forgets what is read meanwhile.)"""
    while await page.evaluate(SHOWN):
        await page.evaluate("new Promise(done => setTimeout(done, 50))")


async def _close(agent: ChromiumPage, bystander: ChromiumPage) -> None:
    """Close the page and wait until the worker knows: before, a push counts it as one that rings by itself."""
    await agent.close()
    while await bystander.evaluate_in_worker(AGENT_PAGES):
        await bystander.evaluate("new Promise(done => setTimeout(done, 50))")


@asynccontextmanager
async def subscribed() -> AsyncIterator[tuple[str, Browser, ChromiumPage, ChromiumPage]]:
    """The pages' address, and in a browser an available agent's page, to be reached by pushes, and a bystander's."""
    async with (
        page_house(push=PushConfiguration(web_push=WEB_PUSH)) as url,
        open_browser("chromium", BrowserOptions(notifications=True)) as browser,
    ):
        agent = await open_agent(browser, url)
        await agent.wait_for("navigator.serviceWorker.controller")
        await agent.evaluate(SUBSCRIBED)
        await become_available(agent)
        await agent.wait_for("triortc.state().pushes === 1")
        bystander = await browser.open(f"{url}/")
        assert isinstance(agent, ChromiumPage)
        assert isinstance(bystander, ChromiumPage)
        await _watch(bystander)
        yield url, browser, agent, bystander


async def test_s1_6_a_closed_page_is_rung_by_a_push_and_a_tap_leads_to_the_incoming_screen() -> None:
    with trio.fail_after(90):
        async with subscribed() as (url, browser, agent, bystander):
            address = await agent.evaluate("location.pathname + location.search")
            await _close(agent, bystander)
            visitor = await open_visitor(browser, url, "cv_push")
            await visitor.click("#start-video")
            session = await visitor.wait_for("triortc.state().phase === 'ringing' && triortc.state().session")
            await bystander.deliver_push(ring(session, visitor_name="Léa"))
            notification = await _shown(bystander, "Léa is calling by video")
            assert notification["tag"] == session
            assert notification["requireInteraction"]
            assert await bystander.evaluate_in_worker(TAPPED % "''") == [address]
            await _gone(bystander)
            opened = await browser.open(url + address)
            await opened.wait_for(
                "triortc.state().ring?.leg && document.querySelector('#stage').dataset.mode === 'incoming'"
            )
            await opened.press("g")
            await visitor.wait_for("triortc.state().phase === 'active'")
            assert opened.console_errors == []


async def test_a_notification_goes_when_the_ring_is_over_and_a_decline_on_it_declines() -> None:
    with trio.fail_after(90):
        async with subscribed() as (url, browser, agent, bystander):
            await bystander.deliver_push(ring("vs_seen"))  # an open page rings by itself
            over = {
                "type": "withdraw",
                "ring": "rg_1",
                "conversation": "cv_push",
                "outcome": "timeout",
                "log_missed": True,
            }
            await bystander.deliver_push(json.dumps({**over, "withdraw": "vs_seen"}))  # comes after: it was seen to
            await _shown(bystander, "You missed a video")
            await bystander.evaluate_in_worker(CLEARED)
            await _close(agent, bystander)
            await bystander.deliver_push(ring("vs_lost", timeout_ms=3000))  # its withdrawal is lost
            await _shown(bystander, "A visitor is calling by video")
            await _gone(bystander)
            await bystander.deliver_push(ring("vs_taken"))
            await _shown(bystander, "A visitor is calling by video")
            await bystander.deliver_push(json.dumps({**over, "withdraw": "vs_taken"}))
            await _shown(bystander, "You missed a video")
            await bystander.deliver_push("nonsense")
            visitor = await open_visitor(browser, url, "cv_push")
            await visitor.click("#start-video")
            session = await visitor.wait_for("triortc.state().phase === 'ringing' && triortc.state().session")
            await bystander.evaluate_in_worker(CLEARED)
            await bystander.deliver_push(ring(session))
            await _shown(bystander, "A visitor is calling by video")
            (opened,) = await bystander.evaluate_in_worker(TAPPED % "'decline'")
            await browser.open(url + opened)
            with trio.fail_after(20):  # nobody's ring lasts so long: it was declined
                await visitor.wait_for("triortc.state().notice?.title === 'Nobody could answer right now.'")
