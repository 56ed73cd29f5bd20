"""Which transport a page's signaling takes: WebTransport where it opens, WebSocket where it does not (3.1)."""

from __future__ import annotations

import trio

from support.browser import Page, open_browser
from support.call_pages import become_available, call, open_agent, open_visitor, wait_for_withheld
from support.running_server import running_server

HEALTH = "fetch('/health').then(answer => answer.json())"
TRY = """
(async () => {
  const { RacingSocket } = await import('/triortc-transport.js');
  const { token } = await (await fetch('/dev/token', {method: 'POST', headers: {'content-type': 'application/json'},
    body: JSON.stringify({role: 'agent', sub: 'bea', did: 'd9'})})).json();
  const socket = new RacingSocket(location.origin.replace('http', 'ws') + '/v1/signal', 'triortc.v1');
  const seen = [];
  await new Promise(resolve => { socket.onopen = resolve; });
  const closed = new Promise(resolve => { socket.onclose = resolve; });
  const heard = new Promise(resolve => {
    socket.onmessage = event => { seen.push(JSON.parse(event.data)); resolve(); };
  });
  %s
  const end = await closed;
  return {transport: socket.transport, seen: seen.map(message => [message.t, message.p.code]), closed: end};
})()"""
LEAVE = """
  socket.send(JSON.stringify({t: 'hello', p: {token, device: {id: 'd9', platform: 'web', name: 'é'.repeat(60)}}}));
  await heard;
  socket.send(JSON.stringify({t: 'bye', p: {code: 4000, reason: 'left'}}));
"""
REFUSED = "socket.send(JSON.stringify({t: 'hello', p: {token: 'e30.e30.x', device: {id: 'd9', platform: 'web'}}}));"
NO_WEBSOCKET = "window.RealWebSocket = WebSocket, window.WebSocket = class { close() {} }, true"
BROKEN = """(window.WebTransport = class {
  constructor() { this.ready = new Promise(() => {}); this.closed = this.ready; }
  close() {}
}, true)"""


async def test_a_whole_call_is_made_over_webtransport_in_chromium() -> None:
    with trio.fail_after(120):
        async with open_browser("chromium") as browser_of_agent, open_browser("chromium") as browser_of_visitor:
            for attempt in range(4):
                async with running_server() as url:
                    agent = await open_agent(browser_of_agent, url)
                    visitor = await open_visitor(browser_of_visitor, url, "cv_transport")
                    health = await agent.evaluate(HEALTH)
                    if health["http"]["upgrades"] and attempt < 3:
                        continue  # on a busy machine WebSocket was there first, and rightly so
                    assert (health["webtransport"]["sessions"], health["http"]["upgrades"]) == (2, 0)
                    await _call_and_hang_up(visitor, agent)
                    health = await agent.evaluate(HEALTH)
                    assert health["webtransport"]["open"] == 2
                    assert (health["webtransport"]["faults"], health["http"]["upgrades"]) == (0, 0)
                    assert [page.console_errors for page in (visitor, agent)] == [[], []]
                    return


async def _call_and_hang_up(visitor: Page, agent: Page) -> None:
    await become_available(agent)
    await call(visitor, agent)
    await wait_for_withheld(agent, 20)
    await agent.press("g")
    for page in (visitor, agent):
        await page.wait_for("(triortc.state().live ?? triortc.state()).phase === 'active'")
    await visitor.click("#hang-up")
    await visitor.wait_for("triortc.state().notice?.title === 'The call has ended.'")


async def test_chromium_hears_the_last_message_and_the_code_of_a_close_and_falls_back_to_websocket() -> None:
    with trio.fail_after(60):
        async with running_server() as url, open_browser("chromium") as browser:
            page = await browser.open(f"{url}/")
            await page.evaluate(NO_WEBSOCKET)
            refused = await page.evaluate(TRY % REFUSED)
            assert refused["transport"] == "webtransport"
            assert refused["seen"] == [["err", "auth.invalid"], ["bye", 4403]]
            assert refused["closed"]["code"] == 4403
            left = await page.evaluate(TRY % LEAVE)
            assert left["transport"] == "webtransport"
            assert [t for t, _ in left["seen"]] == ["welcome"]
            assert left["closed"]["code"] == 4000
            await page.evaluate("window.WebSocket = window.RealWebSocket, true")
            await page.evaluate(BROKEN)  # a network that drops UDP: WebTransport never opens
            fallen_back = await page.evaluate(TRY % LEAVE)
            assert fallen_back["transport"] == "websocket"
            assert [t for t, _ in fallen_back["seen"]] == ["welcome"]
            assert (await page.evaluate(HEALTH))["webtransport"]["sessions"] == 2


async def test_firefox_opens_one_of_the_two() -> None:
    with trio.fail_after(60):
        async with running_server() as url, open_browser("firefox") as browser:
            page = await browser.open(f"{url}/")
            left = await page.evaluate(TRY % LEAVE)
            print("Firefox took", left["transport"])
            assert left["transport"] in ("websocket", "webtransport")
            assert [t for t, _ in left["seen"]] == ["welcome"]
