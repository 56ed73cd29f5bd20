"""Between the wire and call control: tables, since the field names are the same on both sides."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, get_args

import msgspec

from triortc.engine.calls import actor
from triortc.engine.calls import commands as calls
from triortc.engine.calls.actor import DeviceInformation
from triortc.engine.calls.commands import Command as EngineCommand
from triortc.signaling import wire_commands as wire
from triortc.signaling.wire_values import Device, PushEndpoint

__all__ = ["ENGINE_COMMANDS", "device_information", "engine_command"]

#: Message type to the command of call control.
ENGINE_COMMANDS: Final[Mapping[str, type[EngineCommand]]] = {
    command.wire_type: command for command in get_args(calls.Command)
}


def _push(endpoints: tuple[PushEndpoint, ...]) -> tuple[actor.PushEndpoint, ...]:
    return tuple(msgspec.convert(endpoint, actor.PushEndpoint, from_attributes=True) for endpoint in endpoints)


def _device_update(p: wire.DeviceUpdate) -> calls.DeviceUpdate:
    push = None if p.push is None else _push(p.push)
    perms = None if p.perms is None else msgspec.to_builtins(p.perms)
    return calls.DeviceUpdate(p.app_state, perms, push, p.name, p.caps)


def _ice_candidates(p: wire.IceCandidates) -> calls.IceCandidates:
    candidates = tuple(calls.IceCandidate(c.candidate, c.mid) for c in p.candidates)
    return calls.IceCandidates(p.leg, p.neg, p.ufrag, candidates, p.end)


def _transfer(p: wire.ConversationTransfer) -> calls.ConversationTransfer:
    target = calls.TransferTarget(p.to.agent, p.to.group)
    return calls.ConversationTransfer(p.conversation, target, p.note, p.end_video)


#: The commands whose values have another shape inside.
_SPECIAL: Final[Mapping[str, Callable[..., EngineCommand]]] = {
    "device.update": _device_update,
    "ice.candidates": _ice_candidates,
    "conversation.transfer": _transfer,
}


def engine_command(t: str, payload: wire.Command) -> EngineCommand | None:
    """Turn a validated command into call control's; None: call control does not have it."""
    special = _SPECIAL.get(t)
    if special is not None:
        return special(payload)
    command = ENGINE_COMMANDS.get(t)
    return None if command is None else msgspec.convert(payload, command, from_attributes=True)


def device_information(device: Device) -> DeviceInformation:
    """What a device says of itself in `hello`, as call control reads it."""
    return DeviceInformation(
        id=device.id,
        platform=device.platform,
        app_version=device.app_version,
        name=device.name,
        app_state=device.app_state,
        camera=device.perms.camera,
        mic=device.perms.mic,
        push=_push(device.push),
        caps=device.caps,
    )
