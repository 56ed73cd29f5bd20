"""The published documents of the protocol: complete, up with the code, and never breaking who was written by them."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner
from jsonschema import Draft202012Validator, ValidationError

from support.wire_schemas import check_message, validator
from triortc.signaling.asyncapi import asyncapi_document
from triortc.signaling.cli import main
from triortc.signaling.schema import message_schema, protocol_schema
from triortc.signaling.schema_changes import incompatible_changes
from triortc.signaling.wire import COMMANDS, EVENTS, SIGNALS_FROM_CLIENT
from triortc.signaling.wire_replies import REPLIES, roles_of

DOCUMENTS = Path(__file__).parents[2] / "docs" / "schema"
PUBLISHED: dict[str, Any] = json.loads((DOCUMENTS / "triortc.v1.json").read_bytes())
PROTOCOL_TEXT = (DOCUMENTS.parent / "protocol.md").read_text(encoding="utf-8")


def load_yaml(text: str | bytes) -> Any:
    return yaml.load(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader))


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(main, list(arguments))
    return result.exit_code, result.output


def test_3_9_the_schema_is_valid_describes_every_message_and_its_references_lead_somewhere() -> None:
    code, output = run("schema")
    schema = json.loads(output)
    assert code == 0
    Draft202012Validator.check_schema(schema)
    definitions = schema["$defs"]
    for t in (*COMMANDS, *SIGNALS_FROM_CLIENT):
        assert definitions[f"client:{t}"]["properties"]["t"] == {"const": t}
    for t in (*EVENTS, "welcome", "ping", "pong", "bye", "err"):
        assert definitions[f"server:{t}"]["properties"]["t"] == {"const": t}
    assert {f"server:ok:{t}" for t in COMMANDS} <= set(definitions)
    assert set(re.findall(r'"\$ref": "#/\$defs/([^"]+)"', output)) <= set(definitions)
    assert definitions["SdpOffer"]["properties"]["sdp"]["maxLength"] == 32 * 1024


def test_3_9_one_message_is_printed_with_what_it_needs_and_nothing_else() -> None:
    code, output = run("schema", "client:call.request")
    schema = json.loads(output)
    assert code == 0
    assert set(schema["$defs"]) == {"CallRequest", "Media"}
    Draft202012Validator(schema).validate({"t": "call.request", "id": "q1", "p": {"conversation": "cv_9", "media": {}}})
    code, output = run("schema", "client:teleport")
    assert code == 1
    assert "client:call.request" in output
    with pytest.raises(KeyError):
        message_schema("teleport")


def test_3_9_no_client_of_the_published_document_breaks() -> None:
    """A removed, renamed or retyped field, a narrowed enumeration: those need another version of the protocol."""
    assert incompatible_changes(PUBLISHED, protocol_schema()) == []
    assert run("schema", "--changes", str(DOCUMENTS / "triortc.v1.json")) == (0, "")


def test_3_9_the_published_asyncapi_document_holds_every_message_of_the_published_schema() -> None:
    document = load_yaml((DOCUMENTS / "asyncapi.yaml").read_bytes())
    messages = {name.replace(":", ".") for name in PUBLISHED["$defs"] if ":" in name}
    assert set(document["components"]["messages"]) == messages


def _payload(side: str, t: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
    def find(document: dict[str, Any]) -> dict[str, Any]:
        reference: str = document["$defs"][f"{side}:{t}"]["properties"]["p"]["$ref"]
        found: dict[str, Any] = document["$defs"][reference.removeprefix("#/$defs/")]
        return found

    return find


def _without_message(document: dict[str, Any]) -> None:
    del document["$defs"]["server:call.active"]


def _renamed_field(document: dict[str, Any]) -> None:
    fields = _payload("server", "call.active")(document)["properties"]
    fields["since"] = fields.pop("since_at")


def _retyped_field(document: dict[str, Any]) -> None:
    _payload("server", "call.active")(document)["properties"]["since_at"] = {"type": "string"}


def _optional_in_an_event(document: dict[str, Any]) -> None:
    _payload("server", "call.active")(document)["required"].remove("since_at")


def _required_in_a_command(document: dict[str, Any]) -> None:
    _payload("client", "call.request")(document)["required"].append("group")


def _new_and_required_in_a_command(document: dict[str, Any]) -> None:
    payload = _payload("client", "call.hangup")(document)
    payload["properties"]["why"] = {"type": "string"}
    payload["required"].append("why")


def _narrowed_enumeration(document: dict[str, Any]) -> None:
    _payload("client", "presence.set")(document)["properties"]["channel"]["enum"].remove("third_party")


def _narrowed_limit(document: dict[str, Any]) -> None:
    _payload("client", "sdp.offer")(document)["properties"]["sdp"]["maxLength"] = 1000


def _no_null_any_more(document: dict[str, Any]) -> None:
    payload = _payload("client", "call.request")(document)
    payload["properties"]["group"] = {"type": "string", "minLength": 1, "maxLength": 64}


def _null_in_an_event(document: dict[str, Any]) -> None:
    payload = _payload("server", "call.active")(document)
    payload["properties"]["since_at"] = {"anyOf": [payload["properties"]["since_at"], {"type": "null"}]}


BREAKS: dict[Callable[[dict[str, Any]], None], str] = {
    _without_message: "server:call.active is gone",
    _renamed_field: "server:call.active.p.since_at is gone",
    _retyped_field: "server:call.active.p.since_at: was integer, is string",
    _optional_in_an_event: "server:call.active.p.since_at is no longer always there",
    _required_in_a_command: "client:call.request.p.group has become required",
    _new_and_required_in_a_command: "client:call.hangup.p.why is new and required",
    _narrowed_enumeration: "client:presence.set.p.channel: no longer takes third_party",
    _narrowed_limit: "client:sdp.offer.p.sdp: maxLength is 1000, was 32768",
    _no_null_any_more: "client:call.request.p.group: was null, string, is string",
    _null_in_an_event: "server:call.active.p.since_at: was integer, is integer, null",
}


@pytest.mark.parametrize("change", BREAKS, ids=lambda change: change.__name__.strip("_"))
def test_3_9_a_change_that_breaks_a_client_is_found(change: Callable[[dict[str, Any]], None], tmp_path: Path) -> None:
    changed = copy.deepcopy(protocol_schema())
    change(changed)
    assert BREAKS[change] in incompatible_changes(protocol_schema(), changed)


def test_3_9_additions_break_nobody() -> None:
    changed = copy.deepcopy(protocol_schema())
    _payload("client", "call.hangup")(changed)["properties"]["why"] = {"type": "string"}
    _payload("server", "call.active")(changed)["properties"]["more"] = {"type": "integer"}
    _payload("server", "call.active")(changed)["required"].append("more")
    _payload("client", "presence.set")(changed)["properties"]["channel"]["enum"].append("letters")
    _payload("client", "sdp.offer")(changed)["properties"]["sdp"]["maxLength"] = 100_000
    changed["$defs"]["server:call.teleported"] = changed["$defs"]["server:call.active"]
    assert incompatible_changes(protocol_schema(), changed) == []


def test_a_command_that_prints_breaks_says_so_by_its_exit_code(tmp_path: Path) -> None:
    older = copy.deepcopy(protocol_schema())
    older["$defs"]["server:call.teleported"] = older["$defs"]["server:call.active"]
    path = tmp_path / "older.json"
    path.write_text(json.dumps(older))
    assert run("schema", "--changes", str(path)) == (1, "server:call.teleported is gone\n")


# --- AsyncAPI


def test_3_9_the_asyncapi_document_is_whole_and_its_references_lead_somewhere() -> None:
    code, output = run("asyncapi")
    document = load_yaml(output)
    assert code == 0
    assert document == json.loads(json.dumps(asyncapi_document()))
    assert document["asyncapi"] == "3.0.0"
    assert {"title", "version"} <= set(document["info"])

    def look(value: Any) -> None:
        if isinstance(value, dict):
            if "$ref" in value:
                found: Any = document
                for step in value["$ref"].removeprefix("#/").split("/"):
                    found = found[step]
            for one in value.values():
                look(one)
        elif isinstance(value, list):
            for one in value:
                look(one)

    look(document)


def test_3_9_every_command_is_an_operation_with_its_reply_and_every_event_one_without() -> None:
    operations = asyncapi_document()["operations"]
    for t in COMMANDS:
        operation = operations[f"receive.{t}"]
        assert operation["action"] == "receive"
        assert [m["$ref"].rpartition("/")[2] for m in operation["reply"]["messages"]] == [
            f"server.ok.{t}",
            "server.err",
        ]
    for t in EVENTS:
        assert operations[f"send.{t}"]["action"] == "send"
        assert "reply" not in operations[f"send.{t}"]
    messages = asyncapi_document()["components"]["messages"]
    assert messages["client.call.accept"]["correlationId"] == {"location": "$message.payload#/id"}
    assert messages["server.ok.call.accept"]["correlationId"] == {"location": "$message.payload#/re"}


def test_the_roles_of_the_operations_are_those_of_the_tables_in_the_documentation() -> None:
    letters = {"a": "agent", "v": "visitor", "u": "supervisor"}
    for section in ("Commands", "Events"):
        table = PROTOCOL_TEXT.partition(f"\n## {section}\n")[2].partition("\n## ")[0]
        for t, who in re.findall(r"^\| `([a-z_.]+)` \| ([^|]+) \|", table, flags=re.MULTILINE):
            expected = set(letters.values()) if who == "all" else {letters[letter] for letter in who.split(", ")}
            if t not in COMMANDS or section == "Commands":
                assert set(roles_of(t)) == expected, t


# --- the traffic


def test_replies_are_described_for_commands_that_exist() -> None:
    assert set(REPLIES) <= set(COMMANDS)


def test_the_check_of_the_traffic_can_fail() -> None:
    check_message({"t": "ok", "re": "a", "at": 1, "p": {}}, side="server", command="ring.ack")
    with pytest.raises(ValidationError):
        check_message({"t": "ok", "re": "a", "at": 1, "p": {}}, side="server", command="call.accept")
    with pytest.raises(ValidationError):
        check_message({"t": "call.active", "seq": 0, "at": 1, "p": {"session": "vs_1", "since_at": 1}}, side="server")
    with pytest.raises(KeyError):
        validator("server:teleported")
