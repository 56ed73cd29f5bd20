"""The two pages as people use them, for browser tests: open, become available, call, answer, watch."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any
from urllib.parse import urlencode

import numpy as np
from numpy.typing import NDArray

from support.browser import Browser, Page

__all__ = [
    "ACTIVE",
    "STATUS",
    "agent_like",
    "become_available",
    "call",
    "frames",
    "longest_gap_ms",
    "open_agent",
    "open_visitor",
    "rates",
    "see_and_hear",
    "stats",
    "talk",
    "wait_for_pictures",
    "wait_for_size",
    "wait_for_withheld",
    "wait_until_active",
]

ACTIVE = "(triortc.state().live ?? triortc.state()).phase === 'active'"
STATUS = "document.querySelector('.stage-status').innerText"

SEEN_FRAMES = 30
SIMILAR = 30.0  # mean difference of colour values (0 to 255) below which two pictures show the same thing
WITHHELD = """new Promise((resolve, reject) => {
  const look = async () => {
    const [stats, health] = await Promise.all([triortc.stats(), fetch('/health').then(reply => reply.json())]);
    if (!stats) throw new Error('the leg is gone');
    const sent = (stats.out.video?.packetsSent ?? 0) + (stats.out.audio?.packetsSent ?? 0);
    const dropped = health.gate?.dropped ?? health['gate.dropped'];
    if (dropped === undefined) reject(new Error('/health does not say gate.dropped: ' + JSON.stringify(health)));
    else if (Math.min(sent, dropped) > %d) resolve({sent, dropped});
    else setTimeout(() => look().catch(reject), 100);
  };
  look().catch(reject);
})"""

FULL_SIZE = """new Promise((resolve, reject) => {
  const look = async () => {
    const stats = await triortc.stats();
    if (!stats) throw new Error('the leg is gone');
    if (stats.in.video?.frameWidth === %d && stats.in.video?.frameHeight === %d) resolve(true);
    else setTimeout(() => look().catch(reject), 100);
  };
  look().catch(reject);
})"""


PICTURES = """new Promise(resolve => {
  const look = async () => {
    const decoded = (await triortc.stats())?.in.video?.framesDecoded ?? 0;
    if (decoded > 5 && decoded < %d) resolve(true);
    else setTimeout(() => look().catch(() => setTimeout(look, 100)), 100);
  };
  look().catch(() => setTimeout(look, 100));
})"""

MORE = """new Promise((resolve, reject) => {
  let before = null, shown = 0, done = false; // Firefox counts no frames of a stream itself
  let video = null, source = null;
  const count = () => { shown += 1; if (!done) video.requestVideoFrameCallback(count); };
  const follow = () => { // a new connection brings a new stream, and Firefox forgets who waits for the old one's frames
    if (video === document.querySelector('.remote') && video.srcObject === source) return;
    video = document.querySelector('.remote');
    source = video.srcObject;
    video.requestVideoFrameCallback(count);
  };
  const look = async () => {
    follow();
    const found = (await triortc.stats())?.in ?? {};
    const now = [found.video?.framesDecoded, found.audio?.packetsReceived, found.audio?.totalAudioEnergy, shown];
    if (now.every(Number.isFinite)) {
      if (!before || now.some((value, i) => value < before[i])) before = now; // a new connection counts anew
      done = now[0] > before[0] + %d && now.every((value, i) => value > before[i]);
    }
    if (done) resolve(true);
    else setTimeout(() => look().catch(reject), 100);
  };
  look().catch(reject);
})"""


async def wait_for_pictures(page: Page, *, fewer_than: int = 1 << 30) -> None:
    """Wait until pictures come, through a connection that has decoded fewer than that: not the one from before."""
    await page.wait_for_promise(PICTURES % fewer_than)


async def open_agent(
    browser: Browser, url: str, *, device: str = "desktop", sub: str = "ana", name: str = "Ana"
) -> Page:
    """Open the agent's page, signed in."""
    query = urlencode({"sub": sub, "name": name, "device": device, "group": "default", "auto": "1"})
    page = await browser.open(f"{url}/agent?{query}")
    await page.wait_for("triortc.state().link === 'open'")
    return page


async def open_visitor(browser: Browser, url: str, conversation: str, name: str = "Léa") -> Page:
    """Open the visitor's page for one conversation."""
    page = await browser.open(f"{url}/visitor?{urlencode({'cv': conversation, 'name': name})}")
    await page.wait_for("triortc.state().link === 'open'")
    return page


async def become_available(agent: Page) -> None:
    """Switch chat and video on and wait until both are green."""
    for channel in ("chat", "video"):
        await agent.click(f"#toggle-{channel}")
    await agent.wait_for(
        "['chat', 'video'].every(c => document.querySelector(`#toggle-${c}`).dataset.color === 'green')"
    )


async def call(visitor: Page, agent: Page) -> None:
    """Let the visitor call, and wait until it rings and both legs are up."""
    await visitor.click("#start-video")
    await agent.wait_for("triortc.state().ring?.leg")
    await agent.wait_for("triortc.state().connection === 'connected'")
    await visitor.wait_for("triortc.state().phase === 'ringing' && triortc.state().connection === 'connected'")


async def wait_until_active(*pages: Page) -> None:
    """Wait until the pages are in the call, and show it."""
    for page in pages:
        await page.wait_for(f"{ACTIVE} && document.querySelector('#stage').dataset.mode === 'call'")


async def talk(visitor: Page, agent: Page) -> None:
    """From nothing to a call in which both are."""
    await become_available(agent)
    await call(visitor, agent)
    await agent.press("g")
    await wait_until_active(visitor, agent)


async def see_and_hear(*pages: Page) -> None:
    """Wait until each page has shown more pictures, and played more sound that is none, than it had when asked."""
    for page in pages:
        await page.wait_for_promise(MORE % SEEN_FRAMES)


async def wait_for_withheld(agent: Page, packets: int) -> dict[str, int]:
    """Wait until the agent's leg has sent more than `packets`, and the gates have withheld more than that.

    Returns:
        `sent` and `dropped` (`gate.dropped` of `/health`).
    """
    found: dict[str, int] = await agent.wait_for_promise(WITHHELD % packets)
    return found


async def wait_for_size(page: Page, width: int, height: int) -> None:
    """Wait until the pictures that arrive have that size: encoders begin small and grow with their estimate."""
    await page.wait_for_promise(FULL_SIZE % (width, height))


async def stats(page: Page) -> dict[str, Any]:
    """The page's summary of `getStats`."""
    found: dict[str, Any] = await page.evaluate("triortc.stats()")
    return found


def rates(before: dict[str, Any], after: dict[str, Any]) -> dict[str, float]:
    """What arrived between two summaries: decoded frames, sound samples (both a second) and energy of the sound."""
    seconds = (after["at"] - before["at"]) / 1000
    video, audio = (
        {key: after["in"][kind].get(key, 0) - before["in"][kind].get(key, 0) for key in keys}
        for kind, keys in (
            ("video", ("framesDecoded",)),
            ("audio", ("totalSamplesReceived", "totalAudioEnergy", "packetsReceived")),
        )
    )
    return {
        "frames_per_s": video["framesDecoded"] / seconds,
        "samples_per_s": audio["totalSamplesReceived"] / seconds,
        "audio_packets_per_s": audio["packetsReceived"] / seconds,
        "audio_energy": audio["totalAudioEnergy"],
    }


async def frames(page: Page, which: str) -> list[dict[str, Any]]:
    """Every frame presented since `triortc.watch`: instant, size, and a grid of 8 × 6 pixels."""
    found: list[dict[str, Any]] = await page.evaluate(f"triortc.frames.{which}")
    return found


def agent_like(seen: Sequence[dict[str, Any]], preview: Sequence[dict[str, Any]]) -> list[bool]:
    """For each frame a visitor saw: does it look like one of the agent's own preview?"""
    shown = np.array([frame["pixels"] for frame in preview], dtype=np.float32)
    return [_distance(np.array(frame["pixels"], dtype=np.float32), shown) < SIMILAR for frame in seen]


def _distance(picture: NDArray[np.float32], shown: NDArray[np.float32]) -> float:
    return float(np.abs(shown - picture).mean(axis=(1, 2)).min())


def longest_gap_ms(seen: Sequence[dict[str, Any]], start: float, end: float) -> float:
    """The longest time between two presented frames, with the last one before `start` as the first (unix ms)."""
    instants = [frame["at"] for frame in seen if start - 1000 < frame["at"] < end]
    gaps: list[float] = [after - before for before, after in pairwise(instants) if after > start]
    assert gaps, "no frame was presented in that time"
    return max(gaps)
