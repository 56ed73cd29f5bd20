"""The messages: every command decodes, every event of call control encodes to what the protocol says, limits hold."""

from __future__ import annotations

import dataclasses
import json
import typing
from typing import Any

import msgspec
import pytest

from triortc.engine.calls import commands as calls
from triortc.engine.calls import notifications as told
from triortc.engine.calls import replies, view_values
from triortc.engine.calls.actor import PushEndpoint
from triortc.errors import ProtocolError
from triortc.signaling.mapping import ENGINE_COMMANDS, device_information, engine_command
from triortc.signaling.wire import (
    COMMANDS,
    EVENTS,
    Hello,
    WireError,
    decode_message,
    encode_error,
    encode_event,
    encode_message,
    encode_reply,
    parse_incoming,
    plain,
)
from triortc.signaling.wire_events import Snapshot as WireSnapshot

#: One complete message of every command in the table of 3.4 (and recording), every optional field set.
EXAMPLES: dict[str, dict[str, Any]] = {
    "auth.refresh": {"token": "a.b.c"},
    "sync.get": {"parts": ["presence", "rings"], "cursor": "c"},
    "device.update": {
        "app_state": "background",
        "perms": {"camera": "denied", "mic": "granted"},
        "push": [{"kind": "webpush", "endpoint": "https://push.example/x", "p256dh": "k", "auth": "a"}],
        "name": "Ana's phone",
        "caps": ["camera-switch"],
    },
    "device.revoke": {"device": "d2"},
    "presence.set": {"channel": "video", "declared": "available"},
    "presence.get": {"agent": "ana@example.org"},
    "call.request": {
        "conversation": "cv_9",
        "group": "sales",
        "media": {"video": False},
        "offer": "v=0",
        "preview": True,
    },
    "ring.ack": {"ring": "rg_1"},
    "ring.opened": {"ring": "rg_1"},
    "ring.silence": {"ring": "rg_1"},
    "call.accept": {"session": "vs_1", "offer": "v=0"},
    "call.decline": {"session": "vs_1"},
    "call.cancel": {"session": "vs_1"},
    "call.hangup": {"session": "vs_1"},
    "call.end": {"session": "vs_1", "note": "too long"},
    "handoff.request": {"session": "vs_1", "offer": "v=0"},
    "handoff.offer": {"session": "vs_1", "to_device": "d2"},
    "handoff.cancel": {"session": "vs_1"},
    "invitation.send": {"conversation": "cv_9"},
    "invitation.join": {"invitation": "inv_1", "offer": "v=0"},
    "invitation.cancel": {"invitation": "inv_1"},
    "invitation.accept": {"invitation": "inv_1", "offer": "v=0", "preview": True},
    "invitation.decline": {"invitation": "inv_1"},
    "sdp.offer": {"leg": "leg_1", "neg": 2, "sdp": "v=0", "ice_restart": True},
    "sdp.answer": {"leg": "leg_1", "neg": 2, "sdp": "v=0"},
    "ice.candidates": {
        "leg": "leg_1",
        "neg": 1,
        "ufrag": "abcd",
        "candidates": [{"candidate": "candidate:1 1 udp 1 127.0.0.1 9 typ host", "mid": "0"}],
        "end": True,
    },
    "ice.restart": {"leg": "leg_1"},
    "media.set": {
        "session": "vs_1",
        "n": 3,
        "camera": True,
        "mic": False,
        "facing": "back",
        "orientation": 270,
        "camera_state": "interrupted",
        "view": "thumbnail",
        "fatal": "capture_failed",
    },
    "recording.start": {"session": "vs_1"},
    "recording.stop": {"session": "vs_1"},
    "conversation.list": {"cursor": "c", "filter": {"state": ["closed"], "video_icon": True, "text": "Léa"}},
    "conversation.message.send": {"conversation": "cv_9", "text": "hello"},
    "conversation.read": {"conversation": "cv_9", "message": "m_1"},
    "conversation.focus": {"conversation": "cv_9"},
    "conversation.tag": {"conversation": "cv_9", "tags": ["vip"]},
    "conversation.close": {"conversation": "cv_9", "tags": ["done"], "end_video": True},
    "conversation.snooze": {"conversation": "cv_9", "until_at": 1_900_000_000_000, "end_video": True},
    "conversation.transfer": {"conversation": "cv_9", "to": {"group": "video"}, "note": "please", "end_video": True},
    "history.get": {"session": "vs_1", "conversation": "cv_9", "cursor": "c"},
}


def as_json(value: object) -> Any:
    return json.loads(msgspec.json.encode(value))


def test_3_4_there_is_an_example_of_every_command() -> None:
    assert set(EXAMPLES) == set(COMMANDS)


@pytest.mark.parametrize("t", sorted(EXAMPLES))
def test_3_4_every_command_decodes_and_keeps_its_fields(t: str) -> None:
    incoming = parse_incoming(encode_message(t, EXAMPLES[t], id="q1"))
    assert (incoming.type, incoming.id) == (t, "q1")
    assert as_json(incoming.payload) == EXAMPLES[t]


@pytest.mark.parametrize("t", sorted(EXAMPLES))
def test_3_4_every_command_reaches_call_control_with_the_same_fields(t: str) -> None:
    incoming = parse_incoming(encode_message(t, EXAMPLES[t], id="q1"))
    command = engine_command(t, incoming.payload)  # type: ignore[arg-type]  # a Command, since it has an id
    if t == "auth.refresh":
        assert command is None
        return
    assert command is not None
    assert command.wire_type == t
    expected = {**EXAMPLES[t], "media": {"audio": True, "video": False}} if t == "call.request" else EXAMPLES[t]
    assert plain(command) == expected


@pytest.mark.parametrize("t", sorted(EXAMPLES))
def test_3_2_unknown_fields_are_ignored_in_every_command(t: str) -> None:
    incoming = parse_incoming(encode_message(t, {**EXAMPLES[t], "unheard_of": {"x": [1, None]}}, id="q1"))
    assert as_json(incoming.payload) == EXAMPLES[t]


@pytest.mark.parametrize("t", sorted(EXAMPLES))
def test_optional_fields_may_be_left_out_or_null(t: str) -> None:
    payload = COMMANDS[t]
    required = {field.name for field in msgspec.structs.fields(payload) if field.required}
    example = {key: value for key, value in EXAMPLES[t].items() if key in required or key == "text"}
    assert parse_incoming(encode_message(t, example, id="q1")).type == t


def test_call_control_has_every_command_but_the_refreshing_of_tokens() -> None:
    assert set(ENGINE_COMMANDS) == set(COMMANDS) - {"auth.refresh"}


@pytest.mark.parametrize("notification", typing.get_args(told.Notification), ids=lambda cls: cls.wire_type)
def test_3_4_every_event_of_call_control_is_an_event_of_the_protocol(notification: type[Any]) -> None:
    described = dataclasses.fields if dataclasses.is_dataclass(notification) else msgspec.structs.fields
    names = {field.name.rstrip("_") for field in described(notification)}
    wire = {field.encode_name for field in msgspec.structs.fields(EVENTS[notification.wire_type])}
    assert names == wire


def _inside(info: Any) -> typing.Iterator[Any]:
    """A type and all those it is made of."""
    yield info
    for name in ("types", "item_types", "fields"):
        for part in getattr(info, name, ()):
            yield from _inside(getattr(part, "type", part))
    for name in ("item_type", "key_type", "value_type"):
        if hasattr(info, name):
            yield from _inside(getattr(info, name))


@pytest.mark.parametrize(
    "kind",
    [
        kind
        for kind in (*typing.get_args(told.Notification), *typing.get_args(replies.OkPayload))
        if issubclass(kind, msgspec.Struct)
    ],
    ids=lambda kind: kind.__name__,
)
def test_what_is_encoded_at_once_holds_nothing_that_looks_different_on_the_wire(kind: type[msgspec.Struct]) -> None:
    """Named tuples would become arrays; a dataclass would keep the optional fields that are None."""
    info = msgspec.inspect.type_info(kind)
    assert isinstance(info, msgspec.inspect.StructType)
    for part in _inside(info):
        assert not isinstance(part, msgspec.inspect.NamedTupleType | msgspec.inspect.DataclassType), part
        if isinstance(part, msgspec.inspect.StructType):
            optional = [field.default for field in part.fields if not field.required]
            assert optional == [None] * len(optional), part.cls


def test_an_event_is_encoded_with_renamed_fields_and_without_what_is_not_there() -> None:
    message = told.ConversationMessage("cv_9", "m_1", "visitor", True, 5, text="hi")
    decoded = decode_message(encode_event(message.wire_type, message, seq=4, at_ms=9))
    assert decoded.p == {
        "conversation": "cv_9",
        "message": "m_1",
        "from": "visitor",
        "notify": True,
        "sent_at": 5,
        "text": "hi",
    }
    assert (decoded.seq, decoded.at, decoded.kind) == (4, 9, "event")
    event = decoded.event()
    assert event is not None
    assert event.from_ == "visitor"  # type: ignore[attr-defined]  # a ConversationMessage


def test_candidates_are_objects_on_the_wire() -> None:
    event = told.LocalIceCandidates("leg_1", 1, "u", (calls.IceCandidate("candidate:1", "0"),), True)
    assert plain(event)["candidates"] == [{"candidate": "candidate:1", "mid": "0"}]


def test_3_10_9_an_unassigned_conversation_has_the_assignee_null() -> None:
    view = view_values.ConversationView(
        "cv_9", "open", None, "default", False, 0, (), view_values.VisitorView(name="Léa"), 1
    )
    assert plain(view)["assignee"] is None
    assert "last_video" not in plain(view)


def test_a_snapshot_of_call_control_is_the_snapshot_of_the_protocol() -> None:
    snapshot = view_values.Snapshot(
        presence=(
            view_values.ChannelStatus("ana", "video", "available", "busy", "orange", "UNAVAILABLE_FORCED", ("x",), 3),
        ),
        notices=(view_values.Notice("session_moved", "vs_1", view_values.DeviceReference("ios", "Ana's phone"), True),),
        devices=(view_values.DeviceView("d1", "ios", None, "foreground", {"camera": "granted"}, "live"),),
        next="c",
    )
    assert as_json(msgspec.convert(plain(snapshot), WireSnapshot)) == plain(snapshot)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"null",
        b"[]",
        b"{",
        b'{"t":5}',
        b'{"t":""}',
        b'{"p":{}}',
        b"\xff\xfe",
        b'{"t":"ring.ack","id":"a","x":"\xff","p":{"ring":"r"}}',
        b'{"t":"ring.ack","id":"a","p":{"ring":"r","x":"\xff"}}',
        b'{"t":"ring.ack","id":"a","p":{"ring":"r","x":NaN}}',
        b'{"t":"ring.ack","id":"a","p":{"ring":"r","x":Infinity}}',
        b'{"t":"ring.ack","id":"a","p":{"ring":"r"}} trailing',
        b'{"t":"ring.ack","id":"a","p":[]}',
        b'{"t":"ring.ack","id":"a","p":{}}',
        b'{"t":"ring.ack","id":"a","p":{"ring":""}}',
        b'{"t":"ring.ack","id":"a","p":{"ring":"a b"}}',
        b'{"t":"ring.ack","id":"a","p":{"ring":"a\\n"}}',
        b'{"t":"ring.ack","id":"a","p":{"ring":"' + b"x" * 65 + b'"}}',
        b'{"t":"ring.ack","id":"","p":{"ring":"a"}}',
        b'{"t":"ring.ack","id":7,"p":{"ring":"a"}}',
        b'{"t":"ring.ack","p":{"ring":"a"}}',
        b'{"t":"ack","p":{"seq":-1}}',
        b'{"t":"ack","p":{"seq":9007199254740992}}',
        b'{"t":"ack","p":{"seq":1.5}}',
        b'{"t":"media.set","id":"a","p":{"session":"v","n":1,"orientation":45}}',
        b'{"t":"call.request","id":"a","p":{"conversation":"c","media":{"audio":false,"video":true}}}',
        b'{"t":"conversation.transfer","id":"a","p":{"conversation":"c","to":{}}}',
        b'{"t":"conversation.transfer","id":"a","p":{"conversation":"c","to":{"agent":"a","group":"g"}}}',
        b'{"t":"conversation.message.send","id":"a","p":{"conversation":"c"}}',
        b'{"t":"device.update","id":"a","p":{"push":[{"kind":"webpush","endpoint":"http://plain.example"}]}}',
        b'{"t":"ring.ack","id":"a","p":' + b"[" * 20_000 + b"]" * 20_000 + b"}",
        b'{"t":"ring.ack","id":"a","p":{"ring":"\\ud800"}}',
    ],
)
def test_3_2_what_is_no_message_is_malformed(data: bytes) -> None:
    with pytest.raises(WireError) as error:
        parse_incoming(data)
    assert error.value.code == "proto.malformed"
    assert isinstance(error.value, ProtocolError)


def test_3_2_a_command_whose_payload_is_wrong_is_answered_by_its_id() -> None:
    with pytest.raises(WireError) as error:
        parse_incoming(b'{"t":"ring.ack","id":"a1","p":{"ring":5}}')
    assert error.value.reply_to == "a1"
    with pytest.raises(WireError) as error:
        parse_incoming(b'{"t":"hello","p":{}}')
    assert error.value.reply_to == "hello"


@pytest.mark.parametrize(
    ("t", "payload"),
    [
        ("sdp.offer", {"leg": "l", "neg": 1, "sdp": "v" * (32 * 1024 + 1)}),
        ("conversation.message.send", {"conversation": "c", "text": "x" * (16 * 1024 + 1)}),
        ("ice.candidates", {"leg": "l", "neg": 1, "ufrag": "u", "candidates": [{"candidate": "", "mid": "0"}] * 21}),
        ("ice.candidates", {"leg": "l", "neg": 1, "ufrag": "u", "candidates": [{"candidate": "c" * 1025, "mid": "0"}]}),
        ("device.update", {"name": "x" * 65}),
        ("conversation.tag", {"conversation": "c", "tags": ["t"] * 33}),
    ],
)
def test_3_6_a_field_over_its_limit_is_too_large(t: str, payload: dict[str, Any]) -> None:
    with pytest.raises(WireError) as error:
        parse_incoming(encode_message(t, payload, id="q1"))
    assert (error.value.code, error.value.reply_to) == ("proto.too_large", "q1")


def test_3_1_a_message_over_its_limit_is_too_large() -> None:
    with pytest.raises(WireError) as error:
        parse_incoming(b"x" * 65_537)
    assert error.value.code == "proto.too_large"


def test_3_6_a_type_that_is_not_known_is_unknown_also_when_it_is_an_event() -> None:
    for t in ("call.teleport", "call.ended", "welcome", "ok"):
        with pytest.raises(WireError) as error:
            parse_incoming(encode_message(t, {}, id="q1"))
        assert (error.value.code, error.value.reply_to) == ("proto.unknown_type", "q1")


def test_hello_keeps_everything_that_call_control_wants_to_know() -> None:
    payload = {
        "token": "a.b.c",
        "device": {
            "id": "d1",
            "platform": "ios",
            "app_version": "4.2",
            "name": "Ana's phone",
            "app_state": "locked",
            "perms": {"camera": "denied_permanent", "mic": "prompt"},
            "push": [{"kind": "apns", "token": "t", "topic": "app"}],
            "caps": ["x"],
        },
        "resume": {"session": "sg_1", "token": "r", "last_seq": 4},
        "features": ["f"],
    }
    hello = parse_incoming(encode_message("hello", payload)).payload
    assert isinstance(hello, Hello)
    device = device_information(hello.device)
    assert (device.camera, device.mic) == ("denied_permanent", "prompt")
    assert device.push == (PushEndpoint("apns", token="t", topic="app"),)
    assert hello.resume is not None
    assert hello.resume.last_seq == 4


def test_equal_commands_have_equal_content_however_they_are_written() -> None:
    one = parse_incoming(b'{"t":"call.accept","id":"x","p":{"session":"vs_1"}}')
    other = parse_incoming(b' {"p": {"new": 1, "offer": null, "session": "vs_1"}, "id": "x", "t": "call.accept"}')
    different = parse_incoming(b'{"t":"call.accept","id":"x","p":{"session":"vs_2"}}')
    elsewhere = parse_incoming(b'{"t":"call.decline","id":"x","p":{"session":"vs_1"}}')
    assert one.content == other.content
    assert len({one.content, different.content, elsewhere.content}) == 3


def test_floats_that_json_does_not_have_become_null() -> None:
    assert decode_message(encode_reply("q", {"a": float("nan"), "b": 1.5}, at_ms=1)).p == {"a": None, "b": 1.5}


def test_an_error_carries_its_details_as_plain_values() -> None:
    error = decode_message(encode_error("q", "call.expired", "over", at_ms=1, details={"by": ("ios", None), "n": {3}}))
    assert error.p["details"] == {"by": ["ios", None], "n": [3]}
