"""A contact centre that routes by skill: a visitor asks for a skill, and whoever has most of it is rung.

    python examples/skills_router.py [PORT]

Then open the visitor's page that it prints, and the agents' pages.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import trio

import triortc
from triortc.engine.calls.ports import Candidate

#: Who can do what, and how well. In a product this is the staff's directory, and changes while people work.
LEVELS = {"french": {"ana": 3, "cleo": 1}, "german": {"ben": 2, "cleo": 3}}


class BySkill:
    """Implements `RouterPort`: the group that a visitor asks for is the skill that is needed."""

    def order(self, org: str, group: str, candidates: Sequence[Candidate]) -> Sequence[str]:
        """The free agents who have the skill, the best first; of equals, the one who has waited longest."""
        levels = LEVELS.get(group, {})
        able = [agent for agent in candidates if agent.sub in levels]
        return [agent.sub for agent in sorted(able, key=lambda agent: (-levels[agent.sub], agent.idle_since))]


async def report(engine: triortc.Engine) -> None:
    """A line for each call that ends."""
    with engine.observe() as events:
        async for event in events:
            if isinstance(event, triortc.CallEvent) and event.name == "call.ended":
                print(f"{event.session}: {event.agent or 'nobody'}, {event.outcome}", flush=True)


async def main(port: int) -> None:
    """Serve until interrupted."""
    configuration = triortc.EngineConfiguration(
        # development=True gives tokens to whoever asks; a product gives keys=…, and its tokens name skills in `grp`.
        server=triortc.ServerConfiguration(port=port, development=True, host_names=("127.0.0.1", "localhost")),
        media=triortc.MediaConfiguration(endpoint=triortc.EndpointConfiguration(loopback=True)),
    )
    async with triortc.open_engine(configuration, router=BySkill()) as engine, trio.open_nursery() as nursery:
        nursery.start_soon(report, engine)
        for skill, levels in LEVELS.items():
            print(f"visitor  {engine.url}visitor?group={skill}", flush=True)
            for agent in levels:
                print(f"agent    {engine.url}agent?sub={agent}&name={agent.title()}&group={skill}", flush=True)
        await trio.sleep_forever()


if __name__ == "__main__":
    try:
        trio.run(main, int(sys.argv[1]) if len(sys.argv) > 1 else 8080)
    except* KeyboardInterrupt:
        pass  # Ctrl-C: calls have ended, devices were told
