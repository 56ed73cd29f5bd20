"""A closed agent page is rung: by Web Push through the server, the push service of a test, and the browser's worker."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from pathlib import Path

import trio
import trustme

from support.autopush import open_autopush
from support.browser import Browser, BrowserOptions, Page, open_browser
from support.browser_chromium import ChromiumPage
from support.call_pages import become_available, open_agent, open_visitor
from support.http2_service import Answer, Received, authority_file, open_http2_service
from support.push_fakes import WEB_PUSH
from support.push_fakes import Browser as Subscription
from support.running_server import running_server

SUBSCRIBE = """(() => {
  PushManager.prototype.getSubscription = async () => null;
  PushManager.prototype.subscribe = async (options) => {
    window.subscribed = btoa(String.fromCharCode(...new Uint8Array(options.applicationServerKey)));
    return { toJSON: () => (%s) };
  };
})()"""
SUBSCRIBED = """navigator.serviceWorker.ready.then(found => found.pushManager.getSubscription())
  .then(subscription => subscription !== null)"""
SHOWN = """navigator.serviceWorker.getRegistration('/').then(found => found.getNotifications())
  .then(shown => shown.map(one => ({title: one.title, tag: one.tag})))"""


def push_service(port: int) -> dict[str, object]:
    """What makes Firefox use a push service of ours, and show notifications without asking."""
    return {
        "dom.push.enabled": True,
        "dom.push.connection.enabled": True,
        "dom.push.serverURL": f"ws://localhost:{port}/",
        "dom.push.testing.allowInsecureServerURL": True,
        "dom.push.loglevel": "off",
        "network.manage-offline-status": False,
        "permissions.default.desktop-notification": 1,
        "alerts.useSystemBackend": False,  # a headless one has no desktop to ask
    }


def push_file(folder: Path, authority: trustme.CA, port: int) -> str:
    """What `triortc serve --push` is told, to use a push service on loopback."""
    (folder / "vapid.pem").write_text(WEB_PUSH.private_key_pem)
    path = folder / "push.toml"
    path.write_text(
        f'networks = ["127.0.0.0/8"]\nauthorities_file = "{authority_file(authority, folder)}"\n'
        f'[web_push]\nkey_file = "vapid.pem"\nsubject = "mailto:calls@example.org"\nhosts = ["localhost:{port}"]\n'
    )
    return str(path)


async def shown(page: Page, words: str) -> dict[str, str]:
    """The notification with these words in its title, once there is one."""
    while True:
        for notification in await page.evaluate(SHOWN):
            if words in notification["title"]:
                return dict(notification)
        await page.evaluate("new Promise(done => setTimeout(done, 50))")


async def _ring_and_withdrawal(browser: Browser, url: str, visitor: Page, wake: Callable[[], Awaitable[None]]) -> None:
    """From the visitor's call to its end, with the agent's page closed; `wake` brings the next push to the browser."""

    async def pass_on() -> None:
        while True:  # a ring is repeated until somebody looks
            await wake()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(pass_on)
        await _ring_answered_by_a_look(browser, url, visitor)
        nursery.cancel_scope.cancel()


async def _ring_answered_by_a_look(browser: Browser, url: str, visitor: Page) -> None:
    await visitor.click("#start-video")
    ring = await shown(visitor, "calling by video")
    # Nobody's screen has shown it yet; the push may be here before the visitor's page has heard who is called.
    await visitor.wait_for("document.querySelector('.stage-status').innerText.includes('Calling an adviser…')")
    # The notification leads to the agent's page, and there to the Incoming screen.
    agent = await open_agent(browser, url)
    await agent.wait_for("triortc.state().ring?.leg && document.querySelector('#stage').dataset.mode === 'incoming'")
    assert await agent.evaluate("triortc.state().ring.session") == ring["tag"]
    assert "The visitor cannot see you yet" in await agent.text(".self-note")
    await visitor.wait_for("document.querySelector('.stage-status').innerText.includes('Ringing an adviser…')")
    await agent.close()
    await visitor.click("#cancel")
    await shown(visitor, "missed")
    assert len(await visitor.evaluate(SHOWN)) == 1, "it has taken the place of the ring"
    assert "You stopped calling." in await visitor.text("#notice")


async def test_chromium_shows_the_ring_of_a_closed_page_and_takes_it_away_again(tmp_path: Path) -> None:
    authority, subscription = trustme.CA(), Subscription()
    arrived, arrivals = trio.open_memory_channel[Received](10)

    def take(received: Received) -> Answer:
        arrived.send_nowait(received)
        return Answer(201)

    with trio.fail_after(90):
        async with open_http2_service(take, authority) as service:
            endpoint = subscription.endpoint
            keys = {"p256dh": endpoint.p256dh, "auth": endpoint.auth}
            described = json.dumps({"endpoint": f"{service.origin}/send/one", "keys": keys})
            async with (
                running_server("--push", push_file(tmp_path, authority, service.port)) as url,
                open_browser("chromium", BrowserOptions(notifications=True)) as browser,
            ):
                visitor = await open_visitor(browser, url, "cv_push")
                assert isinstance(visitor, ChromiumPage)
                agent = await browser.open(f"{url}/agent?sub=ana&name=Ana&device=desktop")
                await agent.evaluate(SUBSCRIBE % described)
                await agent.click("#signin-go")
                await agent.wait_for("triortc.state().link === 'open'")
                await become_available(agent)
                key = await agent.wait_for("window.subscribed")
                public = await agent.evaluate("fetch('/v1/push-key').then(answer => answer.json())")
                assert key.replace("+", "-").replace("/", "_").rstrip("=") == public["public_key"]
                await agent.close()

                async def wake() -> None:
                    assert isinstance(visitor, ChromiumPage)
                    await visitor.deliver_push(json.dumps(subscription.decrypt((await arrivals.receive()).body)))

                await _ring_and_withdrawal(browser, url, visitor, wake)


async def test_firefox_subscribes_decrypts_what_the_server_sends_and_shows_it(tmp_path: Path) -> None:
    """RFC 8291 and 8292 with a browser at the other end: no key of this subscription is known to the test."""
    authority = trustme.CA()
    arrived, arrivals = trio.open_memory_channel[Received](10)

    def take(received: Received) -> Answer:
        arrived.send_nowait(received)
        return Answer(201)

    with trio.fail_after(90):
        async with (
            open_http2_service(take, authority) as service,
            open_autopush(f"{service.origin}/send") as autopush,
            running_server("--push", push_file(tmp_path, authority, service.port)) as url,
            open_browser("firefox", BrowserOptions(preferences=push_service(autopush.port))) as browser,
        ):
            visitor = await open_visitor(browser, url, "cv_push")
            agent = await open_agent(browser, url)
            await become_available(agent)
            await autopush.subscribed.wait()
            public = await agent.evaluate("fetch('/v1/push-key').then(answer => answer.json())")
            assert autopush.keys == [public["public_key"]]
            while not await agent.evaluate(SUBSCRIBED):
                await agent.evaluate("new Promise(done => setTimeout(done, 50))")
            await agent.close()
            agent = await open_agent(browser, url)  # says in its hello what it can be pushed to
            await agent.close()

            async def wake() -> None:
                push = await arrivals.receive()
                await autopush.pass_on(push.path, push.body)

            await _ring_and_withdrawal(browser, url, visitor, wake)
