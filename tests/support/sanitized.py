"""A pytest plugin that puts a sanitized build of the extension in the place of the installed one."""

from __future__ import annotations

import importlib.util
import os
import sys

NAME = "triortc.engine.relay.forwarder"

specification = importlib.util.spec_from_file_location(NAME, os.environ["SANITIZED_FORWARDER"])
assert specification is not None
assert specification.loader is not None
module = importlib.util.module_from_spec(specification)
sys.modules[NAME] = module
specification.loader.exec_module(module)
