"""Browser tests run only where nothing that a browser sends can leave the machine."""

from __future__ import annotations

import pytest

from support.netns import HOW_TO, in_private_network


@pytest.fixture(autouse=True)
def _private_network() -> None:
    if not in_private_network():
        pytest.skip(HOW_TO)
