"""The operator's page: it follows calls and agents by itself, and tells a call's timeline."""

from __future__ import annotations

import re

import trio

from support.browser import open_browser
from support.call_pages import become_available, call, open_agent, open_visitor
from support.running_server import running_server
from support.signaling_ports import free_port


async def test_the_operators_page_follows_a_call_without_being_reloaded() -> None:
    port = free_port()
    with trio.fail_after(90):
        async with running_server("--operations-port", str(port)) as url, open_browser("chromium") as browser:
            operator = await browser.open(f"http://127.0.0.1:{port}/")
            await operator.wait_for("!document.querySelector('#no-calls').hidden")
            agent = await open_agent(browser, url)
            await become_available(agent)
            video = "document.querySelector('#agents td:nth-child(8)')"
            await operator.wait_for(f"{video}?.dataset.color === 'green'")
            visitor = await open_visitor(browser, url, "cv_operator")
            await call(visitor, agent)
            await operator.wait_for("document.querySelector('#calls td')?.textContent.startsWith('ringing, ')")
            await operator.wait_for(f"{video}?.dataset.color === 'orange'")
            assert re.search(r"available .+", await operator.evaluate(f"{video}.textContent"))
            await operator.click("#calls button")
            await operator.wait_for("document.querySelectorAll('#steps tr').length >= 2")
            assert "ringing" in await operator.evaluate("document.querySelector('#steps').textContent")
            await agent.click("#decline")
            await operator.wait_for("document.querySelector('#calls').hidden")
            assert operator.console_errors == []
