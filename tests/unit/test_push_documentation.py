"""What docs/pushes.md shows is what the code takes and sends."""

from __future__ import annotations

import json
import re
import tomllib
from dataclasses import fields
from pathlib import Path
from typing import Any

from support.push_fakes import APNS, FCM, WEB_PUSH, Browser, a_notice, a_ring, a_withdrawal
from triortc.signaling.push import web_push
from triortc.signaling.push.file import load_push_configuration
from triortc.signaling.push.sender import PushCounters
from triortc.signaling.site import PUSH_KEY_PATH

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "pushes.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", TEXT, re.DOTALL)


def test_the_file_that_is_shown_is_read(tmp_path: Path) -> None:
    (tmp_path / "push.toml").write_text(blocks("toml")[0])
    (tmp_path / "AuthKey.p8").write_text(APNS.private_key_pem)
    (tmp_path / "vapid.pem").write_text(WEB_PUSH.private_key_pem)
    account = {"project_id": "p", "client_email": "a@p.example", "private_key": FCM.private_key_pem}
    (tmp_path / "account.json").write_text(json.dumps(account))
    assert set(tomllib.loads(blocks("toml")[0])) == {"apns", "fcm", "web_push"}
    loaded = load_push_configuration(tmp_path / "push.toml")
    assert loaded.apns is not None
    assert loaded.apns.topics == ("app.example",)


def test_the_code_that_is_shown_runs() -> None:
    names: dict[str, Any] = {}
    exec(blocks("python")[0], names)
    assert names["push"].web_push.subject == "mailto:calls@example.org"


def test_the_messages_that_are_shown_have_the_fields_that_are_sent() -> None:
    shown = [json.loads(line) for line in blocks("json")[0].splitlines()]
    endpoint = Browser().endpoint
    sent = [
        web_push.ring(a_ring(endpoint), 29.6),
        web_push.withdrawal(a_withdrawal(endpoint)),
        web_push.notice(a_notice(endpoint)),
        web_push.notice(a_notice(endpoint, kind="availability_off", conversation=None, message=None)),
    ]
    assert [list(message) for message in shown] == [list(message) for message in sent]
    assert [message["type"] for message in shown] == [message["type"] for message in sent]


def test_every_counter_and_the_path_of_the_key_are_named() -> None:
    assert PUSH_KEY_PATH in TEXT
    for field in fields(PushCounters):
        assert re.search(rf"\b{field.name}\b", TEXT), field.name
