"""A call between real browsers is recorded on the server, and both pages say so."""

from __future__ import annotations

import itertools
import os
from pathlib import Path

import av
import trio

from support.browser import Page, open_browser
from support.call_pages import become_available, call, open_agent, open_visitor
from triortc.engine.calls.call_recording import RecordingConfiguration
from triortc.engine.calls.configuration import CallConfiguration
from triortc.engine.calls.leg_configuration import MediaConfiguration
from triortc.engine.endpoint_configuration import EndpointConfiguration
from triortc.engine.ice.configuration import IceConfiguration
from triortc.engine.session.configuration import SessionConfiguration
from triortc.signaling.app import ServerConfiguration
from triortc.signaling.engine import EngineConfiguration, open_engine

RECORDED_S = 8.0
SAID = "document.querySelector('.pill.recorded')?.innerText === 'This call is recorded'"


def configuration(directory: Path) -> EngineConfiguration:
    return EngineConfiguration(
        server=ServerConfiguration(port=0, development=True, calls=CallConfiguration(recording="always")),
        media=MediaConfiguration(
            endpoint=EndpointConfiguration(media_host=("127.0.0.1",)),
            session=SessionConfiguration(ice=IceConfiguration(allow_loopback=True)),
            recording=RecordingConfiguration(directory=directory),
        ),
    )


async def _talk(visitor: Page, agent: Page) -> None:
    await become_available(agent)
    await call(visitor, agent)
    await agent.press("g")
    for page in (visitor, agent):
        await page.wait_for("(triortc.state().live ?? triortc.state()).phase === 'active'")
        await page.wait_for(SAID)
    assert await agent.evaluate("document.querySelector('#record').hidden")  # nobody chooses where all are recorded
    await trio.sleep(RECORDED_S)
    await visitor.click("#hang-up")
    await visitor.wait_for("triortc.state().phase === 'chat'")


async def test_both_sides_of_a_call_between_browsers_are_in_the_file(tmp_path: Path) -> None:
    with trio.fail_after(90):
        async with open_engine(configuration(tmp_path)) as house, open_browser("chromium") as browser:
            url = house.url.rstrip("/")
            agent = await open_agent(browser, url)
            visitor = await open_visitor(browser, url, "cv_recorded")
            await _talk(visitor, agent)
            assert [page.console_errors for page in (visitor, agent)] == [[], []]
    (name,) = os.listdir(tmp_path)
    with av.open(str(tmp_path / name)) as container:
        titles = [stream.metadata["title"] for stream in container.streams]
        assert sorted(titles) == ["agent audio", "agent video", "visitor audio", "visitor video"]
        assert container.duration is not None
        duration_s = container.duration / 1e6
        assert RECORDED_S <= duration_s < RECORDED_S + 5
    for index, title in enumerate(titles):
        with av.open(str(tmp_path / name)) as container:
            decoded = container.decode(container.streams[index])
            frames = [frame for frame in decoded if isinstance(frame, av.VideoFrame | av.AudioFrame)]
        times = [frame.time for frame in frames if frame.time is not None]
        print(f"{title}: {len(times)} frames from {times[0]:.2f} to {times[-1]:.2f} s of {duration_s:.2f} s")
        assert times[0] < 1.0
        assert times[-1] > duration_s - 0.5
        assert max(after - before for before, after in itertools.pairwise(times)) < 0.5
