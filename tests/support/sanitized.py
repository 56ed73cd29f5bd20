"""A pytest plugin that puts a sanitized build of the extension in the place of the installed one."""

from __future__ import annotations

import os
from pathlib import Path

from triortc.engine.relay import acceleration

acceleration.find_extension = lambda: Path(os.environ["SANITIZED_FORWARDER"])
