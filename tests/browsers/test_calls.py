"""A whole call between real browsers, through the pages and the running development server."""

from __future__ import annotations

import os
import signal

import httpx
import pytest
import trio

from support.browser import BrowserName, Page, open_browser
from support.call_pages import (
    agent_like,
    become_available,
    call,
    frames,
    longest_gap_ms,
    open_agent,
    open_visitor,
    rates,
    stats,
    wait_for_pictures,
    wait_for_size,
    wait_for_withheld,
)
from support.running_server import running_server

WITHHELD_PACKETS = 100
MEASURED_S = 10
SIZE = (640, 480)
LEAST_FRAMES_PER_S = 24.0
LEAST_SAMPLES_PER_S = 0.95 * 48_000
MOST_GO_TO_PICTURE_MS = 250.0
MOST_HANDOFF_GAP_MS = 250.0
CALLS_FOR_SPEED = 3

PAIRS: tuple[tuple[BrowserName, BrowserName], ...] = (
    ("chromium", "chromium"),
    ("chromium", "firefox"),
    ("firefox", "chromium"),
)
#: Beside the two tests at the end: every pair on each of them.
OTHER_SERVERS: tuple[tuple[tuple[str, ...], BrowserName, BrowserName], ...] = (
    (("--plane", "accelerated"), "chromium", "chromium"),
    (("--plane", "accelerated"), "chromium", "firefox"),
    (("--workers", "2"), "chromium", "chromium"),
    (("--workers", "2"), "firefox", "chromium"),
    (("--workers", "2", "--plane", "accelerated"), "firefox", "chromium"),
)


async def _assert_nothing_of_the_agent_was_seen(visitor: Page, agent: Page) -> None:
    await visitor.wait_for("triortc.frames.remote.length > 0")  # the slate
    seen, preview = await frames(visitor, "remote"), await frames(agent, "self")
    assert len(preview) > 10
    assert not any(agent_like(seen, preview))


async def _assert_both_see_and_hear(visitor: Page, agent: Page, late: list[str], *, grown: bool) -> None:
    for page in (visitor, agent):
        await (wait_for_size(page, *SIZE) if grown else wait_for_pictures(page))
    before = [await stats(page) for page in (visitor, agent)]
    await trio.sleep(MEASURED_S if grown else 1.0)
    after = [await stats(page) for page in (visitor, agent)]
    for name, first, last in zip(("visitor", "agent"), before, after, strict=True):
        measured = rates(first, last)
        print(f"{name}: {measured}")
        assert measured["audio_energy"] > 0, name
        size = (last["in"]["video"]["frameWidth"], last["in"]["video"]["frameHeight"])
        if measured["frames_per_s"] < LEAST_FRAMES_PER_S or size != SIZE:
            late.append(f"{name}: {measured['frames_per_s']:.1f} frames/s of {size}")
        if measured["samples_per_s"] < LEAST_SAMPLES_PER_S:
            late.append(f"{name}: {measured['samples_per_s']:.0f} samples/s")


async def _assert_go_shows_the_agent(visitor: Page, agent: Page, late: list[str]) -> None:
    seen, preview = await frames(visitor, "remote"), await frames(agent, "self")
    go = await agent.evaluate("triortc.marks.go")
    first = next(f["at"] for f, of_agent in zip(seen, agent_like(seen, preview), strict=True) if of_agent)
    print(f"Go to first picture: {first - go:.0f} ms")
    assert first > go
    if first - go >= MOST_GO_TO_PICTURE_MS:
        late.append(f"Go to first picture: {first - go:.0f} ms")


async def _assert_handoff_leaves_no_gap(visitor: Page, desktop: Page, phone: Page, late: list[str]) -> None:
    await phone.click("#pull-banner")
    await phone.wait_for("triortc.state().live?.phase === 'active'")
    await desktop.wait_for("document.querySelector('#card[data-kind=moved]').innerText.includes('continues on')")
    await trio.sleep(2)
    pulled = await phone.evaluate("triortc.marks.pull")
    gap = longest_gap_ms(await frames(visitor, "remote"), pulled, await visitor.evaluate("triortc.now()"))
    print(f"handoff, longest gap: {gap:.0f} ms")
    if gap >= MOST_HANDOFF_GAP_MS:
        late.append(f"handoff: a gap of {gap:.0f} ms")
    assert await visitor.evaluate("triortc.state().phase") == "active"


async def _assert_chat_tag_and_close(visitor: Page, agent: Page) -> None:
    await visitor.click("#hang-up")
    await visitor.wait_for("triortc.state().notice?.title === 'The call has ended.'")
    await agent.wait_for("document.querySelector('#card h2')?.innerText.startsWith('Video over ·')")
    for writer, reader, text in ((visitor, agent, "Thank you!"), (agent, visitor, "With pleasure.")):
        await writer.fill("#message", text)
        await writer.click("#send")
        await reader.wait_for(f"document.querySelector('#thread').innerText.includes('{text}')")
    assert await agent.evaluate("document.querySelector('#toggle-video').dataset.color") == "orange"
    await agent.fill("#tags", "chairs, returned")
    await agent.click("#close-conversation")
    await agent.wait_for("triortc.state().conversations.length === 0")
    await agent.wait_for("document.querySelector('#toggle-video').dataset.color === 'green'")


async def _assert_the_call_outlives_its_worker(url: str, visitor: Page, agent: Page) -> None:
    """V47: both pages begin their legs anew, and the call goes on in the other worker."""
    before = [(page, (await stats(page))["in"]["video"]["framesDecoded"]) for page in (visitor, agent)]
    async with httpx.AsyncClient() as http:
        health = (await http.get(f"{url}/health")).json()
        (number,) = [number for number in (0, 1) if health[f"worker_{number}"]["legs"]]
        os.kill(int(health["plane"][f"worker_{number}"].split()[1]), signal.SIGKILL)
        began = trio.current_time()
        for page, decoded in before:
            await wait_for_pictures(page, fewer_than=decoded)
            await page.wait_for("(triortc.state().live ?? triortc.state()).phase === 'active'")
        print(f"killed to both seeing each other again: {trio.current_time() - began:.1f} s")
        for _ in range(100):  # starting a process takes a core, which a page that is opened now would miss
            health = (await http.get(f"{url}/health")).json()["workers"]
            if health["running"] == 2:
                break
            await trio.sleep(0.2)
    assert health == {"running": 2, "restarts": 1}


async def _assert_what_serves(url: str, options: tuple[str, ...]) -> None:
    async with httpx.AsyncClient() as http:
        health = (await http.get(f"{url}/health")).json()
    assert health["plane"]["name"] == ("accelerated" if "accelerated" in options else "python")
    assert health.get("workers", {}).get("running", 0) == (2 if "--workers" in options else 0)


async def _whole_call(
    visitor_browser: BrowserName,
    agent_browser: BrowserName,
    *options: str,
    grown: bool = True,
    kill_worker: bool = False,
) -> list[str]:
    """One call with everything in it; what was slower than it may be, in words.

    Args:
        visitor_browser, agent_browser: whose pages.
        options: of the server.
        grown: wait until pictures have their full size, which a browser takes its time for, and measure speeds.
        kill_worker: kill the media process that has the call, in the call.
    """
    late: list[str] = []
    with trio.fail_after(180):
        async with (
            running_server(*options) as url,
            open_browser(visitor_browser) as browser_of_visitor,
            open_browser(agent_browser) as browser_of_agent,
        ):
            await _assert_what_serves(url, options)
            agent = await open_agent(browser_of_agent, url)
            visitor = await open_visitor(browser_of_visitor, url, "cv_routed")
            await become_available(agent)
            await visitor.evaluate("triortc.watch('remote')")
            await agent.evaluate("triortc.watch('self')")
            await call(visitor, agent)
            print(await wait_for_withheld(agent, WITHHELD_PACKETS))
            await _assert_nothing_of_the_agent_was_seen(visitor, agent)
            await agent.press("g")
            for page in (visitor, agent):
                await page.wait_for("(triortc.state().live ?? triortc.state()).phase === 'active'")
            await _assert_both_see_and_hear(visitor, agent, late, grown=grown)
            await _assert_go_shows_the_agent(visitor, agent, late)
            if kill_worker:
                await _assert_the_call_outlives_its_worker(url, visitor, agent)
            phone = await open_agent(browser_of_agent, url, device="phone")
            await _assert_handoff_leaves_no_gap(visitor, agent, phone, late)
            await _assert_chat_tag_and_close(visitor, phone)
            assert [page.console_errors for page in (visitor, agent, phone)] == [[], [], []]
    return late


@pytest.mark.parametrize(("visitor_browser", "agent_browser"), PAIRS)
async def test_a_routed_call_from_ring_to_close(visitor_browser: BrowserName, agent_browser: BrowserName) -> None:
    """Everything but speed must hold in every call; the speeds in one of three, for two browsers share two cores."""
    calls: list[list[str]] = []
    while len(calls) < CALLS_FOR_SPEED and (not calls or calls[-1]):
        calls.append(await _whole_call(visitor_browser, agent_browser))
    assert not calls[-1], calls


@pytest.mark.parametrize(
    ("options", "visitor_browser", "agent_browser"),
    OTHER_SERVERS,
    ids=["-".join((*options[1::2], visitor, agent)) for options, visitor, agent in OTHER_SERVERS],
)
async def test_a_routed_call_is_the_same_over_every_server(
    options: tuple[str, ...], visitor_browser: BrowserName, agent_browser: BrowserName
) -> None:
    """Media both ways, the gate, Go, the handoff and the end; speeds are asked for on the default server."""
    await _whole_call(visitor_browser, agent_browser, *options, grown=False)


async def test_V47_a_call_through_media_processes_outlives_the_one_that_it_is_in() -> None:  # noqa: N802
    """How fast it is in a process of its own is measured by benches."""
    await _whole_call("chromium", "firefox", "--workers", "2", grown=False, kill_worker=True)


async def test_a_routed_call_over_the_accelerated_plane() -> None:
    await _whole_call("firefox", "chromium", "--plane", "accelerated", grown=False)
