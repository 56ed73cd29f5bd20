"""Credentials for TURN servers that share a secret with us."""

from __future__ import annotations

import base64
import hashlib
import hmac
import textwrap
from pathlib import Path

import pytest

from triortc.engine.calls.actor import DeviceAddress
from triortc.errors import ConfigurationError
from triortc.signaling.settings import load_settings
from triortc.signaling.turn_credentials import TurnConfiguration, turn_server

SECRET = "north-of-the-wall"
TURN = TurnConfiguration(("turn:turn.example:3478?transport=udp", "turns:turn.example:5349"), SECRET)
PHONE = DeviceAddress("org", "agent", "ana", "phone")


def test_a_turn_server_with_the_secret_finds_the_password_of_the_user_name() -> None:
    server = turn_server(TURN, PHONE, 1_800_000_000.5)
    assert server["urls"] == list(TURN.urls)
    expires, _, word = server["username"].partition(":")
    assert int(expires) == 1_800_003_600
    expected = hmac.new(SECRET.encode(), server["username"].encode(), hashlib.sha1).digest()
    assert base64.b64decode(server["credential"]) == expected
    assert len(word) == 16
    assert "ana" not in server["username"]


def test_each_device_has_credentials_of_its_own() -> None:
    others = [DeviceAddress("org", "agent", "ana", "desk"), DeviceAddress("other", "agent", "ana", "phone")]
    names = {turn_server(TURN, address, 0.0)["username"] for address in (PHONE, *others)}
    assert len(names) == 3
    assert turn_server(TURN, PHONE, 0.0) == turn_server(TURN, PHONE, 0.0)


@pytest.mark.parametrize(
    "changes",
    [
        {"urls": ()},
        {"urls": ("https://turn.example",)},
        {"secret": "short"},
        {"lifetime_s": 3601.0},
        {"lifetime_s": 59.0},
        {"renew_before_s": 3600.0},
        {"renew_before_s": 0.0},
    ],
)
def test_what_makes_no_sense_is_refused(changes: dict[str, object]) -> None:
    values: dict[str, object] = {"urls": TURN.urls, "secret": SECRET, **changes}
    with pytest.raises(ConfigurationError, match="turn"):
        TurnConfiguration(**values)  # type: ignore[arg-type]  # wrong on purpose


def test_the_table_that_docs_operating_shows_is_read(tmp_path: Path) -> None:
    text = (Path(__file__).parents[2] / "docs" / "operating.md").read_text(encoding="utf-8")
    lines = text[text.index("    [signaling.turn]") :].split("\n\n", 1)[0]
    issuer = '[[issuers]]\nissuer = "login"\norganizations = ["org"]\njwks_file = "keys.json"\n'
    (tmp_path / "triortc.toml").write_text(textwrap.dedent(lines) + "\n" + issuer)
    turn = load_settings(tmp_path / "triortc.toml", {}).signaling.turn
    assert turn is not None
    assert turn.urls == TURN.urls


def test_the_secret_is_in_no_repr() -> None:
    assert SECRET not in repr(TURN)
