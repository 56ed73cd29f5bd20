"""Build `.build/links/triortc`, a tree of links in which the top-level folders lie where they are imported from.

mypy and import-linter do not follow setuptools' editable mapping; on this tree, put first on PYTHONPATH, both work.
"""

from __future__ import annotations

import shutil
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ROOMS = ("engine", "signaling", "codecs", "bench")


def build() -> Path:
    """Make the tree anew and return the folder to put on PYTHONPATH."""
    links = ROOT / ".build" / "links"
    shutil.rmtree(links, ignore_errors=True)
    package = links / "triortc"
    package.mkdir(parents=True)
    for file in (ROOT / "triortc").iterdir():
        if file.is_file():
            (package / file.name).symlink_to(file)
    for room in ROOMS:
        (package / room).symlink_to(ROOT / room)
    return links


if __name__ == "__main__":
    print(build())
