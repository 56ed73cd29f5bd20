"""QR codes of the development pages: a phone opens what a screen shows."""

from __future__ import annotations

import importlib
import io
from functools import lru_cache
from typing import Final

__all__ = ["MAX_QR_CHARACTERS", "qr_svg"]

MAX_QR_CHARACTERS: Final = 512


@lru_cache(maxsize=32)
def qr_svg(text: str) -> bytes:
    """An SVG of its own: black on white whatever is around it, as cameras want it.

    Args:
        text: at most `MAX_QR_CHARACTERS`.

    Raises:
        ValueError: it is longer.
    """
    if len(text) > MAX_QR_CHARACTERS:
        raise ValueError(f"a QR code of {len(text)} characters could not be read: {MAX_QR_CHARACTERS} at most")
    # For the development pages only: found by its name when one is asked for, so that embedders do not load it.
    segno = importlib.import_module("segno")
    out = io.BytesIO()
    segno.make(text, error="m", micro=False).save(out, kind="svg", border=4, light="#fff", dark="#000", scale=4)
    return out.getvalue()
