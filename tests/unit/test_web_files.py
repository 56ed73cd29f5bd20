"""The pages' files keep the content security policy: nothing inline or from elsewhere, all references present."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from triortc.signaling.pages import load_pages

WEB = Path(__file__).parents[2] / "signaling" / "web"
FILES = sorted(path for path in WEB.iterdir() if path.suffix in (".html", ".js", ".css", ".svg"))
BUDGET_BYTES = 150_000


@pytest.mark.parametrize("page", ["/", "/visitor", "/agent"])
def test_a_page_and_all_that_it_loads_fit_the_budget(page: str) -> None:
    files = load_pages()
    addresses = [page, *re.findall(r'(?:src|href)="(/assets/[^"]+)"', files[page].body.decode())]
    sent = sum(len(files[address].compressed or files[address].body) for address in addresses)
    print(f"{page}: {sent} bytes in {len(addresses)} answers")
    assert sent < BUDGET_BYTES


@pytest.mark.parametrize("path", [p for p in FILES if p.suffix == ".html"], ids=lambda p: p.name)
def test_a_page_has_nothing_inline_and_all_its_references_exist(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?![^>]*\ssrc=)", text)
    for reference in re.findall(r'(?:src|href)="([^"]+)"', text):
        assert (WEB / reference.removeprefix("/")).exists() or (WEB / f"{reference.removeprefix('/')}.html").exists()
    assert '<html lang="en">' in text
    assert 'name="viewport"' in text


@pytest.mark.parametrize("path", [p for p in FILES if p.suffix == ".js"], ids=lambda p: p.name)
def test_a_module_imports_only_what_exists_and_builds_no_markup_from_text(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert not re.search(r"innerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|\balert\(", text)
    for names, source in re.findall(r'import \{([^}]+)\} from "([^"]+)"', text):
        exported = (WEB / source.removeprefix("./")).read_text(encoding="utf-8")
        for name in (re.escape(name.strip()) for name in names.split(",")):
            declared = rf"export (?:async )?(?:function|class|const) {name}(?![\w$])"
            assert re.search(rf"{declared}|export \{{[^}}]*\b{name}\b", exported), name


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.name)
def test_nothing_comes_from_elsewhere(path: Path) -> None:
    addresses = set(re.findall(r"https?://[^\s\"')]+", path.read_text(encoding="utf-8")))
    assert addresses <= {"http://www.w3.org/2000/svg"}
