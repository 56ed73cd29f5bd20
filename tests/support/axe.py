"""axe-core in a page: what somebody with a screen reader, a keyboard or weak eyes would stumble over."""

from __future__ import annotations

from pathlib import Path

from support.browser import Page

__all__ = ["serious_findings"]

_AXE = (Path(__file__).parents[1] / "vendor" / "axe-core" / "axe.min.js").read_text(encoding="utf-8")
_RUN = """axe.run(document, {
  resultTypes: ['violations'], runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'],
}).then(found => found.violations.filter(({impact}) => impact === 'serious' || impact === 'critical')
  .flatMap(({id, nodes}) => nodes.map(node => `${id}: ${node.target.join(' ')}: ${node.failureSummary}`)))"""


async def serious_findings(page: Page) -> list[str]:
    """Serious and critical findings in what the page shows now, a line each."""
    await page.evaluate(f"globalThis.axe ? true : (() => {{ {_AXE}; return true; }})()")
    found: list[str] = await page.evaluate(_RUN)
    return [" ".join(finding.split()) for finding in found]
