"""The configuration file: names, values, environment, what is printed, and docs/operating.md's own examples."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping
from dataclasses import fields
from datetime import UTC, datetime
from pathlib import Path

import pytest
from click.testing import CliRunner
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from triortc.engine.calls.replies import FAULT_CODES
from triortc.errors import ConfigurationError
from triortc.signaling.certificates import ServerCertificate, load_certificate, self_signed_certificate
from triortc.signaling.cli import main
from triortc.signaling.production import prepare
from triortc.signaling.settings import Settings, load_settings
from triortc.signaling.settings_text import default_settings_text
from triortc.signaling.wire import EVENTS

ROOT = Path(__file__).parents[2]
OPERATING = (ROOT / "docs" / "operating.md").read_text(encoding="utf-8")
LEAST = '[[issuers]]\nissuer = "https://login.example"\norganizations = ["acme"]\njwks_file = "keys.json"\n'


def write_certificate(folder: Path, certificate: ServerCertificate) -> None:
    key = certificate.private_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (folder / "certificate.pem").write_bytes(certificate.pem)
    (folder / "key.pem").write_bytes(key)


def load(tmp_path: Path, text: str, environment: Mapping[str, str] | None = None) -> Settings:
    path = tmp_path / "triortc.toml"
    path.write_text(text)
    return load_settings(path, environment or {})


def test_what_is_not_said_has_its_default(tmp_path: Path) -> None:
    settings = load(tmp_path, LEAST)
    assert settings == Settings(issuers=settings.issuers)
    assert settings.issuers[0].jwks_file == tmp_path / "keys.json"


def test_every_default_is_printed_with_its_meaning_and_can_be_read_back(tmp_path: Path) -> None:
    text = default_settings_text()
    settings = load(tmp_path, text + LEAST)
    assert settings == Settings(issuers=settings.issuers)
    for table in fields(Settings):
        assert re.search(rf"^(?:# )?\[\[?{table.name}\]\]?$", text, re.MULTILINE), table.name
    told = len(re.findall(r"^# [^=\n]{12,}\n(?:# )?\w+ =", text, re.MULTILINE))
    named = len(re.findall(r"^(?:# )?\w+ =", text, re.MULTILINE))
    assert told / named > 0.8
    assert CliRunner().invoke(main, ["config"]).output == text


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[server]\nprt = 1\n", "there is no setting server.prt"),
        ("[sever]\n", "there is no setting sever"),
        ("[signaling.more]\na = 1\n", "there is no setting signaling.more"),
        ('[server]\nport = "x"\n', "server.port: Expected `int`"),
        ("[server]\nport = 70000\n", "choose 0 to 65535"),
        ("[calls]\nring_timeout_s = 1\n", "choose 5 to 120 seconds"),
        ('[relay]\nplane = "fast"\n', "relay.plane: Invalid enum value"),
        ("[webtransport]\n", "webtransport needs a certificate"),
        ('[calls]\nrecording = "always"\n', "set recording.directory"),
        ('[[organizations]]\nname = "initech"\n', "no issuer may speak for it"),
        ("[jwks]\nretry_s = 0\n", "the times of key sets grow"),
        ("[webtransport]\nmax_streams = 1\n", "max_streams"),
        ('[[webhooks.receivers]]\nurl = "http://crm.example/"\nsecret = "sixteen-characters"\n', "url cannot be used"),
        ('[[webhooks.receivers]]\nurl = "https://crm.example/"\nsecret = "short"\n', "16 characters or more"),
        ('[[webhooks.receivers]]\nurl = "https://crm.example/"\nsecret_file = "none"\n', "cannot be read"),
        (
            '[[webhooks.receivers]]\nurl = "https://a.example/"\nsecret = "0123456789abcdef"\norganizations = ["x"]\n',
            "no issuer may speak for it",
        ),
        ("[webhooks]\nqueued = 1\n", "there is no setting webhooks.queued"),
        ("[webhooks]\nqueued_events = 0\n", "start at 1"),
        ("port = \n", "Invalid value"),
    ],
    ids=lambda value: value.partition("\n")[0][:40],
)
def test_a_name_or_a_value_that_makes_no_sense_is_told_in_words(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(words)) as error:
        load(tmp_path, text + LEAST)
    assert str(error.value).startswith(str(tmp_path / "triortc.toml"))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "nobody could come in"),
        ('[[issuers]]\nissuer = "i"\norganizations = ["a"]\n', "either jwks_url or jwks_file"),
        ('[[issuers]]\nissuer = "i"\norganizations = []\njwks_file = "k"\n', "name the organizations"),
        ('[[issuers]]\nissuer = "i"\norganizations = ["a"]\njwks_file = "k"\nkind = 1\n', "no setting issuers.kind"),
    ],
)
def test_a_server_needs_somebody_who_issues_tokens(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        load(tmp_path, text)


def test_the_environment_goes_over_the_file(tmp_path: Path) -> None:
    environment = {
        "TRIORTC_SERVER__PORT": "8443",
        "TRIORTC_SERVER__HOST": "0.0.0.0",
        "TRIORTC_SERVER__HOST_NAMES": '["a.example", "b.example"]',
        "TRIORTC_CALLS__VISITOR_SEES_DECLINE": "true",
        "TRIORTC_SERVER__DATA": "state",
        "TRIORTC_PLANE": "not a setting: it has no table",
        "HOME": "/root",
    }
    settings = load(tmp_path, "[server]\nport = 1\n" + LEAST, environment)
    assert (settings.server.port, settings.server.host) == (8443, "0.0.0.0")
    assert settings.server.host_names == ("a.example", "b.example")
    assert settings.server.data == tmp_path / "state"
    assert settings.calls.visitor_sees_decline
    with pytest.raises(ConfigurationError, match=r"no setting server\.prt"):
        load(tmp_path, LEAST, {"TRIORTC_SERVER__PRT": "1"})
    with pytest.raises(ConfigurationError, match="list of tables"):
        load(tmp_path, LEAST, {"TRIORTC_ISSUERS__ISSUER": "i"})
    with pytest.raises(ConfigurationError, match=r"two underscores .*TRIORTC_SERVER__MEDIA_PORT"):
        load(tmp_path, LEAST, {"TRIORTC_SERVER_MEDIA_PORT": "1"})


@pytest.mark.parametrize("origin", ["shop.example", "https://shop.example/", "https://Shop.example", "https://a:443"])
def test_an_origin_that_no_browser_sends_is_told(tmp_path: Path, origin: str) -> None:
    for text in (
        f'{LEAST}[[organizations]]\nname = "acme"\norigins = ["{origin}"]\n',
        f'{LEAST}[http]\nallowed_origins = ["{origin}"]\n',
    ):
        with pytest.raises(ConfigurationError, match="is no origin as browsers send it"):
            load(tmp_path, text)


@pytest.mark.parametrize("keys", [None, "{}", '{"keys": []}'])
def test_check_refuses_a_file_of_keys_that_lets_nobody_in(tmp_path: Path, keys: str | None) -> None:
    if keys is not None:
        (tmp_path / "keys.json").write_text(keys)
    (tmp_path / "triortc.toml").write_text(LEAST)
    refused = CliRunner().invoke(main, ["config", "--check", str(tmp_path / "triortc.toml")])
    assert refused.exit_code == 1
    assert re.search(r"the keys of https://login\.example, \S+keys\.json: ", refused.output)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[media]\nmedia_port = 70000\n", "choose 0 to 65535"),
        ('[media]\nmedia_advertise = "calls.example"\n', "is no IP address"),
        ("[operations]\nport = -1\n", "choose 0 to 65535"),
    ],
)
def test_ports_and_addresses_are_checked_before_they_are_bound(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        load(tmp_path, LEAST + text)


def test_a_file_that_is_none_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "triortc.toml"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigurationError):
        load_settings(path, {})
    path.write_bytes(b"#" * (1024 * 1024 + 1))
    with pytest.raises(ConfigurationError, match="larger"):
        load_settings(path, {})


# --- what it comes to


def test_receivers_of_webhooks_are_tables_and_their_secrets_may_be_in_files(tmp_path: Path) -> None:
    (tmp_path / "crm.secret").write_text("a-secret-of-the-tenant\n")
    receivers = """
        [webhooks]
        parallel_requests = 2
        [[webhooks.receivers]]
        name = "crm"
        url = "https://crm.example/calls"
        secret_file = "crm.secret"
        organizations = ["acme"]
        events = ["call.ended"]
        [[webhooks.receivers]]
        url = "https://other.example/"
        secret = "sixteen-characters"
        """
    configuration = prepare(load(tmp_path, receivers + LEAST)).engine.webhooks
    assert configuration is not None
    assert configuration.parallel_requests == 2
    crm, other = configuration.receivers
    assert (crm.name, crm.secret, crm.organizations, crm.events) == (
        "crm",
        "a-secret-of-the-tenant",
        ("acme",),
        ("call.ended",),
    )
    assert (other.secret, other.organizations) == ("sixteen-characters", None)
    assert prepare(load(tmp_path, LEAST)).engine.webhooks is None


def test_origins_are_allowed_for_their_tenant_and_admitted_at_the_door(tmp_path: Path) -> None:
    tenants = '[[organizations]]\nname = "acme"\norigins = ["https://shop.example"]\n'
    production = prepare(load(tmp_path, tenants + '[http]\nallowed_origins = ["https://all.example"]\n' + LEAST))
    server = production.engine.server
    assert server.http.allowed_origins == ("https://all.example", "https://shop.example")
    assert server.origin_allowed is not None
    assert server.origin_allowed("acme", "https://shop.example")
    assert server.origin_allowed("globex", "https://all.example")
    assert not server.origin_allowed("globex", "https://shop.example")


def test_a_certificate_is_read_with_its_key_or_refused(tmp_path: Path) -> None:
    write_certificate(tmp_path, self_signed_certificate(("calls.example",), now=datetime.now(UTC)))
    tls = '[tls]\ncertificate_file = "certificate.pem"\nkey_file = "key.pem"\n[webtransport]\n'
    server = prepare(load(tmp_path, tls + LEAST)).engine.server
    assert server.certificate is not None
    assert not server.certificate.self_signed
    other = ec.generate_private_key(ec.SECP256R1()).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (tmp_path / "other.pem").write_bytes(other)
    with pytest.raises(ConfigurationError, match="is not the key of"):
        load_certificate(tmp_path / "certificate.pem", tmp_path / "other.pem")
    with pytest.raises(ConfigurationError, match="No such file"):
        load_certificate(tmp_path / "missing.pem", tmp_path / "key.pem")
    (tmp_path / "other.pem").write_bytes(b"nonsense")
    with pytest.raises(ConfigurationError):
        load_certificate(tmp_path / "certificate.pem", tmp_path / "other.pem")


def test_check_reads_what_the_file_names(tmp_path: Path) -> None:
    path = tmp_path / "triortc.toml"
    path.write_text('[server]\nrevocations = "revoked.json"\n' + LEAST)
    refused = CliRunner().invoke(main, ["config", "--check", str(path)])
    assert (refused.exit_code, "revoked.json" in refused.output) == (1, True)
    (tmp_path / "revoked.json").write_text('{"revocations": []}')
    key = {"kty": "OKP", "crv": "Ed25519", "kid": "k", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}
    (tmp_path / "keys.json").write_text(json.dumps({"keys": [key]}))
    fine = CliRunner().invoke(main, ["config", "--check", str(path)])
    assert (fine.exit_code, fine.output) == (0, f"{path}: fine; it serves 127.0.0.1, port 8080\n")


def test_a_file_and_dev_do_not_go_together(tmp_path: Path) -> None:
    path = tmp_path / "triortc.toml"
    path.write_text(LEAST)
    done = CliRunner().invoke(main, ["serve", "--dev", "--config", str(path)])
    assert (done.exit_code, "either" in done.output) == (1, True)


# --- the documentation and what is shipped


def test_the_examples_of_the_documentation_are_right(tmp_path: Path) -> None:
    toml = "\n".join(re.findall(r"```toml\n(.*?)```", OPERATING, re.DOTALL))
    (tmp_path / "crm.secret").write_text("a-secret-of-the-tenant")
    (revocations,) = re.findall(r"```json\n(.*?)```", OPERATING, re.DOTALL)
    write_certificate(tmp_path, self_signed_certificate(("calls.example",), now=datetime.now(UTC)))
    (tmp_path / "revoked.json").write_text(revocations)
    settings = load(tmp_path, toml, {"TRIORTC_SERVER__REVOCATIONS": "revoked.json", "TRIORTC_CALLS__QUEUE_SIZE": "0"})
    production = prepare(settings)
    assert len(production.revocations) == len(json.loads(revocations)["revocations"]) == 2
    assert production.engine.server.webtransport is not None
    assert settings.calls.queue_size == 0


def test_every_setting_that_the_documentation_names_exists() -> None:
    document = tomllib.loads(default_settings_text())
    tables = "|".join(item.name for item in fields(Settings))
    named = set(re.findall(rf"`({tables})\.(\w+)[ `=]", OPERATING))
    assert len(named) > 15
    text = default_settings_text()
    for table, name in named:
        if f"{table}.{name}" in (*EVENTS, *FAULT_CODES):
            continue  # a message, not a setting
        assert name in document.get(table, {}) or re.search(rf"^# {name} =", text, re.MULTILINE), f"{table}.{name}"


def test_what_is_shipped_for_systemd_and_docker_uses_commands_that_exist() -> None:
    unit = (ROOT / "packaging" / "triortc.service").read_text()
    image = (ROOT / "packaging" / "Dockerfile").read_text()
    commands = re.findall(r"^Exec\w+=/opt/triortc/bin/triortc (.*)$", unit, re.MULTILINE)
    assert commands == ["config --check /etc/triortc/triortc.toml", "serve --config /etc/triortc/triortc.toml"]
    (arguments,) = re.findall(r"^CMD (.*)$", image, re.MULTILINE)
    assert json.loads(arguments) == ["serve", "--config", "/etc/triortc/triortc.toml"]
    for command in ("config", "serve"):
        assert CliRunner().invoke(main, [command, "--help"]).exit_code == 0
