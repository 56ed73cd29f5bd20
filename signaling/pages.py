"""The web pages as they are served, prepared once at start so that a page paints after one round trip.

The files of a page stay as they were written: style sheets and modules, each by itself. A page's HTML is sent with its
style sheets inside, allowed by their hash, and names every module that it will import, so that the browser asks for all
of them at once. Modules and pictures have a second address with a digest of them all in it: that may be kept for good.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Final

__all__ = ["PageFile", "load_pages"]

_TYPES: Final[Mapping[str, str]] = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
    ".json": "application/json",
    ".webmanifest": "application/manifest+json",
    ".png": "image/png",
    ".ico": "image/x-icon",
    ".woff2": "font/woff2",
    ".ogg": "audio/ogg",
    ".mp3": "audio/mpeg",
    ".wav": "audio/wav",
}
_COMPRESSED_ALREADY: Final = (".png", ".ico", ".woff2", ".ogg", ".mp3")
_PAGES: Final[Mapping[str, str]] = {"/": "index.html", "/visitor": "visitor.html", "/agent": "agent.html"}
_STYLE_SHEETS: Final = re.compile(r'(?:<link rel="stylesheet" href="[^"]+">\s*)+')
_STYLE_SHEET: Final = re.compile(r'<link rel="stylesheet" href="([^"]+)">')
_SCRIPT: Final = re.compile(r'<script type="module" src="([^"]+)"></script>')
_IMPORT: Final = re.compile(r'^(?:import|export)\b[^"\n]*"\./([^"]+)";', re.MULTILINE)


@dataclass(frozen=True, slots=True)
class PageFile:
    """One file as it is sent.

    Attributes:
        body: its bytes.
        content_type: of the body.
        etag: a strong validator of the body; with `-gzip` before the closing quote, of the compressed one.
        compressed: the body in gzip; None where that is not smaller.
        style_hashes: what the content security policy must allow beside the own origin's style sheets.
        kept: whether this address always means these bytes.
    """

    body: bytes
    content_type: str
    etag: str
    compressed: bytes | None = None
    style_hashes: tuple[str, ...] = ()
    kept: bool = False

    @property
    def compressed_etag(self) -> str:
        """The validator of the compressed body."""
        return f'{self.etag[:-1]}-gzip"'


def load_pages(package: str = "triortc.signaling.web") -> dict[str, PageFile]:
    """Read the web pages of a package into memory: only what is in this table is ever served."""
    sources = {
        entry.name: entry.read_bytes()
        for entry in sorted(files(package).iterdir(), key=lambda entry: entry.name)
        if entry.is_file() and _suffix(entry.name) in _TYPES
    }
    digest = hashlib.sha256()
    for name, body in sources.items():
        digest.update(f"{name} {len(body)} ".encode() + body)
    kept = f"/assets/{digest.hexdigest()[:16]}"
    pages: dict[str, PageFile] = {}
    for name, body in sources.items():
        if _suffix(name) == ".html":
            pages["/" + name] = _page(body.decode(), sources, kept)
        else:
            pages["/" + name] = _file(name, body)
            pages[f"{kept}/{name}"] = _file(name, body, kept=True)
    for path, name in _PAGES.items():
        if "/" + name in pages:
            pages[path] = pages["/" + name]
    return pages


def _suffix(name: str) -> str:
    return name[name.rfind(".") :]


def _file(name: str, body: bytes, *, kept: bool = False, style_hashes: tuple[str, ...] = ()) -> PageFile:
    small = None if _suffix(name) in _COMPRESSED_ALREADY else gzip.compress(body, mtime=0)
    return PageFile(
        body,
        _TYPES[_suffix(name)],
        f'"{hashlib.sha256(body).hexdigest()[:32]}"',
        small if small is not None and len(small) < len(body) else None,
        style_hashes,
        kept,
    )


def _page(html: str, sources: Mapping[str, bytes], kept: str) -> PageFile:
    hashes: list[str] = []

    def inline(links: re.Match[str]) -> str:
        style = "".join(sources[name].decode() for name in _STYLE_SHEET.findall(links[0]))
        hashes.append("sha256-" + base64.b64encode(hashlib.sha256(style.encode()).digest()).decode())
        return f"<style>{style}</style>\n"

    def announce(script: re.Match[str]) -> str:
        modules = [f'<link rel="modulepreload" href="{kept}/{name}">' for name in _imports(script[1], sources)]
        return "\n".join([*modules, f'<script type="module" src="{kept}/{script[1]}"></script>'])

    html = _STYLE_SHEETS.sub(inline, html)
    html = _SCRIPT.sub(announce, html)
    return _file("page.html", html.encode(), style_hashes=tuple(hashes))


def _imports(module: str, sources: Mapping[str, bytes]) -> list[str]:
    """Every module that this one imports, and those that they import; itself not."""
    found = [module]
    for name in found:
        found += [other for other in _IMPORT.findall(sources[name].decode()) if other not in found]
    return found[1:]
