"""Push credentials from a file, the command that makes a key, and the key that pages subscribe with."""

from __future__ import annotations

import json
from pathlib import Path

import httpx
import pytest
from click.testing import CliRunner
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from support.push_fakes import APNS, FCM, WEB_PUSH
from support.signaling_house import open_signaling_house
from triortc.errors import ConfigurationError
from triortc.signaling.app import ServerConfiguration
from triortc.signaling.cli import main
from triortc.signaling.push.configuration import PushConfiguration
from triortc.signaling.push.file import load_push_configuration
from triortc.signaling.push.web_push import public_key

COMPLETE = """
queued_pushes = 100
authorities_file = "authorities.pem"

[apns]
team_id = "TEAM"
key_id = "KEY"
key_file = "AuthKey.p8"
topics = ["app.example", "other.example"]

[fcm]
service_account_file = "account.json"

[web_push]
key_file = "vapid.pem"
subject = "mailto:calls@example.org"
hosts = ["push.example", "*.push.example"]
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    account = {
        "type": "service_account",
        "project_id": FCM.project,
        "client_email": FCM.client_email,
        "private_key": FCM.private_key_pem,
        "token_uri": FCM.token_uri,
    }
    (tmp_path / "AuthKey.p8").write_text(APNS.private_key_pem)
    (tmp_path / "account.json").write_text(json.dumps(account))
    (tmp_path / "vapid.pem").write_text(WEB_PUSH.private_key_pem)
    return tmp_path


def load(folder: Path, text: str) -> PushConfiguration:
    path = folder / "push.toml"
    path.write_text(text)
    return load_push_configuration(path)


def test_a_file_names_the_files_of_its_keys_beside_it(folder: Path) -> None:
    loaded = load(folder, COMPLETE)
    authorities = folder / "authorities.pem"
    expected = PushConfiguration(APNS, FCM, WEB_PUSH, queued_pushes=100, authorities_file=authorities)
    assert loaded == expected
    assert loaded.apns is not None
    assert loaded.apns.private_key_pem == APNS.private_key_pem


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "credentials of one service"),
        ("x = ", "push.toml"),
        ("[apns]\nteam_id = 'T'", "apns.key_file is missing"),
        ("[fcm]\n", "fcm.service_account_file is missing"),
        ("[fcm]\nservice_account_file = 'vapid.pem'", "not the key of a service account"),
        (COMPLETE + "colour = 'red'", r"no setting web_push\.colour"),
        ("color = 1\n" + COMPLETE, "no setting color"),
        (COMPLETE.replace('"TEAM"', "5"), "team_id"),
        (COMPLETE.replace("mailto:", ""), "mailto:"),
        (COMPLETE.replace('topics = ["app.example", "other.example"]', "topics = []"), "bundle id"),
    ],
)
def test_a_file_that_makes_no_sense_says_where(folder: Path, text: str, complaint: str) -> None:
    with pytest.raises(ConfigurationError, match=complaint):
        load(folder, text)


def test_a_key_file_that_is_missing_is_an_error_of_the_system(folder: Path) -> None:
    (folder / "vapid.pem").unlink()
    with pytest.raises(FileNotFoundError):
        load(folder, COMPLETE)


def test_the_command_makes_a_key_that_can_be_used(folder: Path) -> None:
    made = CliRunner().invoke(main, ["push-key"])
    assert made.exit_code == 0
    load_pem_private_key(made.output.encode(), None)
    (folder / "vapid.pem").write_text(made.output)
    web_push = load(folder, COMPLETE).web_push
    assert web_push is not None
    assert len(public_key(web_push)) == 87


def test_serve_says_what_is_wrong_with_the_file(folder: Path) -> None:
    (folder / "push.toml").write_text("[web_push]\n")
    shown = CliRunner().invoke(main, ["serve", "--dev", "--push", str(folder / "push.toml")])
    assert shown.exit_code == 1
    assert "web_push.key_file is missing" in shown.output


async def test_a_page_asks_for_the_key_that_it_subscribes_with() -> None:
    names = ("127.0.0.1",)
    for push, status in ((PushConfiguration(web_push=WEB_PUSH), 200), (PushConfiguration(apns=APNS), 404), (None, 404)):
        configuration = ServerConfiguration(port=0, development=True, host_names=names, push=push)
        async with open_signaling_house("memory", configuration) as house, httpx.AsyncClient() as client:
            answer = await client.get(house.server.url + "v1/push-key")
            assert answer.status_code == status
            if status == 200:
                assert answer.json() == {"public_key": public_key(WEB_PUSH)}
            health = (await client.get(house.server.url + "health")).json()
            assert ("push" in health) == (push is not None)
