"""Devices that come and go, what they say of themselves, and what agents declare."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import Final, TypeVar, get_args

from triortc.engine.calls import gates, threads, views
from triortc.engine.calls.actor import (
    Actor,
    AppState,
    DeviceAddress,
    DeviceInformation,
    Permission,
    Principal,
    PushEndpoint,
)
from triortc.engine.calls.availability import declare, recompute_presence
from triortc.engine.calls.commands import DeviceRevoke, DeviceUpdate, PresenceGet, PresenceSet, SyncGet
from triortc.engine.calls.effects import Order, RemoveDevice
from triortc.engine.calls.handing_over import drop_pending
from triortc.engine.calls.lifecycle import Lifecycle
from triortc.engine.calls.notifications import DeviceChanged
from triortc.engine.calls.presence import CHANNELS
from triortc.engine.calls.renewing import ask_to_renegotiate
from triortc.engine.calls.replies import Ok, PresencePayload
from triortc.engine.calls.ring_table import RingLeg
from triortc.engine.calls.ringing import alerting_changed, ring_event
from triortc.engine.calls.session import Session
from triortc.engine.calls.session_table import Value
from triortc.engine.calls.view_values import Snapshot
from triortc.engine.calls.world import Device, RefusedError, World

__all__ = ["People"]

_PERMISSIONS: Final[tuple[Permission, ...]] = get_args(Permission)
_APP_STATES: Final[tuple[AppState, ...]] = get_args(AppState)
ValueT = TypeVar("ValueT")


def _one_of(allowed: Collection[ValueT], value: object, otherwise: ValueT) -> ValueT:
    """The allowed value equal to `value`; `otherwise` if it was left out; refuses anything else."""
    if value is None:
        return otherwise
    for known in allowed:
        if known == value:
            return known
    raise RefusedError("proto.malformed", f"{value!r} is not one of {', '.join(map(str, allowed))}")


class People:
    """Connections of devices, and the commands `device.*`, `presence.*`, `sync.get`."""

    def __init__(self, world: World, lifecycle: Lifecycle) -> None:
        self._world = world
        self._lifecycle = lifecycle

    # --- connections

    def connected(self, actor: Actor, information: DeviceInformation) -> Device:
        """`hello` without a resume: register the device. Its snapshot is taken when the step is settled."""
        world = self._world
        address = DeviceAddress(*actor.principal, information.id)
        actor = replace(actor, device=information.id)
        device = Device(address, actor, information, connected_at=world.now)
        world.devices[address] = device
        world.of_principal.setdefault(actor.principal, {})[information.id] = device
        if actor.role == "agent":
            self._remember_agent(actor)
        elif actor.role == "supervisor":
            world.supervisors_of.setdefault(actor.org, {})[actor.principal] = None
        self._is_back(device, silent=True)
        for session in self._own_sessions(actor.principal):
            if session.state != "ringing" if actor.role == "agent" else session.state != "waiting":
                world.told[session.id][address] = None
            ask_to_renegotiate(world, session, address)
        return device

    def resumed(self, address: DeviceAddress, information: DeviceInformation | None) -> None:
        """A device whose socket was lost is back, with all the events it missed."""
        device = self._world.devices.get(address)
        if device is None or device.signaling == "gone":
            return
        device.signaling, device.reachable, device.restored = "live", True, False
        if information is not None:
            device.information = replace(information, id=address.device)
        self._is_back(device, silent=False)

    def _is_back(self, device: Device, *, silent: bool) -> None:
        world, address = self._world, device.address
        world.drop_timer(("T_reachable", *address))
        for session in self._own_sessions(address.principal):
            if address.role == "visitor":
                if session.visitor_address == address:
                    world.drop_session_timer(session, "T_vis_ring")
            elif session.state == "waiting" and session.agent_address == address:
                world.drop_session_timer(session, "T_agent_gone")
            elif session.state == "ringing":
                ring = world.rings[session.id]
                ring.legs.setdefault(address, RingLeg(device.information.platform))
                ring_event(self._world, session, address, "int.device_back", silent=silent)
        self._changed(device)

    def lost(self, address: DeviceAddress) -> None:
        """The socket of a device is gone without a word; it may resume."""
        device = self._world.devices.get(address)
        if device is None or not device.live:
            return
        device.signaling = "grace"
        self._world.set_timer(("T_reachable", *address), self._world.now + self._world.configuration.device_grace_s)
        self._without_signaling(device)
        self._changed(device)

    def gone(self, address: DeviceAddress) -> None:
        """A device will not resume."""
        world = self._world
        device = world.devices.get(address)
        if device is None:
            return
        was_live = device.live
        device.signaling, device.reachable = "gone", False
        world.drop_timer(("T_reachable", *address))
        if was_live:
            self._without_signaling(device)
        if address.role == "agent" and device.wakeable(world.push_rules):
            self._keep_asleep(address.principal)
        else:
            self._forget(address)
        self._changed(device)

    def _keep_asleep(self, agent: Principal) -> None:
        """A device that a push can wake is known for as long as there are not too many newer ones of this agent."""
        asleep = [device for device in self._world.of_principal[agent].values() if device.signaling == "gone"]
        asleep.sort(key=lambda device: device.connected_at)
        for device in asleep[: max(0, len(asleep) - self._world.configuration.sleeping_devices_kept)]:
            self._forget(device.address)

    def _forget(self, address: DeviceAddress) -> None:
        world = self._world
        del world.devices[address]
        of_principal = world.of_principal[address.principal]
        del of_principal[address.device]
        if not of_principal:
            del world.of_principal[address.principal]
            world.supervisors_of.get(address.org, {}).pop(address.principal, None)

    def push_endpoint_gone(self, address: DeviceAddress, endpoint: PushEndpoint) -> None:
        """The provider of an endpoint says that it is no more."""
        device = self._world.devices.get(address)
        if device is None or endpoint not in device.information.push:
            return
        left = tuple(item for item in device.information.push if item != endpoint)
        device.information = replace(device.information, push=left)
        if device.signaling == "gone" and not device.wakeable(self._world.push_rules):
            self._forget(address)
        self._world.touch(address.principal)

    def revoked(self, address: DeviceAddress) -> None:
        """D2: the device rings no more, is not woken, takes no call over; one that it is in ends a little later."""
        device = self._world.devices.get(address)
        if device is None:
            return
        self._may_not_take_part(device)
        device.information = replace(device.information, push=())
        self._world.emit(Order.RELEASE, RemoveDevice(address))
        self.gone(address)

    def _may_not_take_part(self, device: Device) -> None:
        """It answers nothing any more and sees nobody; a call that it is in has a little time to go elsewhere."""
        world, address = self._world, device.address
        self._may_not_take_over(device)
        for session in self._own_sessions(address.principal):
            rung = None if session.state != "ringing" else world.rings[session.id].legs.get(address)
            if rung is not None:
                ring_event(world, session, address, "int.device_removed")
                warm = world.legs.get(rung.leg or "")
                if warm is not None:
                    gates.close_leg(world, session, warm)
                alerting_changed(world, session)
            elif address in (session.agent_address, session.visitor_address):
                timer = f"T_revoked:{address.role}"
                world.set_session_timer(session, timer, world.now + world.configuration.revoked_device_grace_s)

    def _may_not_take_over(self, device: Device) -> None:
        """V37: a call that was on its way to this device stays where it is."""
        world = self._world
        for session in self._own_sessions(device.address.principal):
            if session.pending is not None and world.legs[session.pending.leg].address == device.address:
                event = "int.pending_leg_failed"
                drop_pending(world, self._lifecycle, session, event, "system", "cancelled")

    def actor_changed(self, actor: Actor) -> None:
        """A refreshed token: what it allows from now on (D2, if that is less)."""
        device = None if actor.address is None else self._world.devices.get(actor.address)
        if device is None or device.signaling == "gone":
            return
        lost = device.actor.caps - actor.caps
        device.actor = actor
        if actor.role != "agent":
            return
        self._remember_agent(actor)
        if "video.receive" in lost:
            self._may_not_take_part(device)
        elif "handoff" in lost:
            self._may_not_take_over(device)
        self._world.touch(actor.principal)

    def _remember_agent(self, actor: Actor) -> None:
        agent = self._world.agent(actor.principal)
        self._world.join_groups(agent, actor.groups)
        agent.caps, agent.name, agent.avatar = actor.caps, actor.name, actor.avatar

    def unreachable(self, address: DeviceAddress) -> None:
        """P4: the device has been without signaling for too long to count."""
        device = self._world.devices.get(address)
        if device is None:
            return
        device.reachable = False
        self._world.touch(address.principal)
        if device.restored and not device.information.push:
            self.gone(address)  # it was another process's connection: nobody else will say that it is over

    def _changed(self, device: Device) -> None:
        """Presence, the visitor's online mark and the agent's list of devices follow."""
        world, principal = self._world, device.address.principal
        if principal.role == "visitor":
            threads.visitor_presence(world, principal)
        elif principal.role == "agent":
            world.touch(principal)
            event = DeviceChanged(views.device_views(world, principal))
            for other in world.devices_of(principal):
                if other is not device:
                    world.notify(Order.PRESENCE, other.address, event)

    def _own_sessions(self, principal: Principal) -> list[Session]:
        """Sessions that are on and that this principal is a party to."""
        return views.live_sessions_of(self._world, principal)

    def _without_signaling(self, device: Device) -> None:
        world, address = self._world, device.address
        for session in self._own_sessions(address.principal):
            data: dict[str, Value] = {"device": address.device}
            if session.state == "connecting":
                self._lifecycle.apply(session.id, "int.device_lost", "system", data)
            elif session.state in ("queued", "ringing") and address.role == "visitor":
                if session.visitor_address == address:
                    world.set_session_timer(session, "T_vis_ring", world.now + world.configuration.visitor_ring_grace_s)
            elif session.state == "ringing":
                self._ringing_device_lost(session, device)
            elif session.state == "waiting" and session.agent_address == address:
                world.set_session_timer(session, "T_agent_gone", world.now + world.configuration.leg_grace_s)

    def _ringing_device_lost(self, session: Session, device: Device) -> None:
        world = self._world
        row = ring_event(self._world, session, device.address, "int.device_lost")
        if row is None:
            return
        data: dict[str, Value] = {
            "device": device.address.device,
            "fail_fast": world.configuration.fail_fast_when_unreachable,
        }
        self._lifecycle.apply(session.id, "int.device_lost", "system", data)
        if session.agent_principal is not None and world.can_ring(session.agent_principal):
            alerting_changed(self._world, world.sessions[session.id])
        else:
            self._lifecycle.apply(session.id, "int.all_devices_lost", "system", data)

    # --- device commands

    def update(self, actor: Actor, command: DeviceUpdate) -> Ok:
        """`device.update`: every field that is given replaces the old one."""
        device = self._world.device_of(actor)
        old, perms = device.information, command.perms or {}
        device.information = replace(
            old,
            app_state=_one_of(_APP_STATES, command.app_state, old.app_state),
            camera=_one_of(_PERMISSIONS, perms.get("camera"), old.camera),
            mic=_one_of(_PERMISSIONS, perms.get("mic"), old.mic),
            push=old.push if command.push is None else command.push,
            name=old.name if command.name is None else command.name,
            caps=old.caps if command.caps is None else command.caps,
        )
        self._changed(device)
        return Ok()

    def revoke(self, actor: Actor, command: DeviceRevoke) -> Ok:
        """`device.revoke`: one of the agent's own devices; the call it is in ends a little later (D2)."""
        world = self._world
        target = world.of_principal.get(actor.principal, {}).get(command.device)
        if actor.role != "agent" or target is None:
            raise RefusedError("state.not_found", "you have no such device")
        self.revoked(target.address)
        return Ok()

    # --- presence

    def presence_set(self, actor: Actor, command: PresenceSet) -> Ok:
        """`presence.set`: the only thing that changes what an agent declares (P1)."""
        world = self._world
        if actor.role != "agent" or "presence" not in actor.caps:
            raise RefusedError("auth.forbidden", "declaring availability needs the capability presence")
        world.device_of(actor)
        channel = _one_of(CHANNELS, command.channel, command.channel)
        agent = world.agent(actor.principal)
        if declare(
            agent, channel, _one_of(("available", "unavailable"), command.declared, command.declared), world.now
        ):
            recompute_presence(world, actor.principal)
            world.touch(actor.principal)
            world.touch(actor.principal)  # a chat that waits for somebody may come now (K0b)
        return Ok(agent.statuses[channel])

    def presence_get(self, actor: Actor, command: PresenceGet) -> Ok:
        """`presence.get`: an agent's own, or any agent's for a supervisor."""
        if actor.role == "visitor" or (actor.role == "agent" and command.agent not in (None, actor.sub)):
            raise RefusedError("auth.forbidden", "the availability of others is for supervisors")
        sub = command.agent or actor.sub
        agent = self._world.agents.get(Principal(actor.org, "agent", sub))
        if agent is None:
            raise RefusedError("state.not_found", "there is no such agent")
        return Ok(PresencePayload(tuple(agent.statuses.values())))

    def sync(self, actor: Actor, command: SyncGet) -> Ok:
        """`sync.get`: the snapshot again, or the named parts of it."""
        snapshot = views.snapshot(self._world, self._world.device_of(actor))
        if command.parts:
            names = set(command.parts) & set(Snapshot.__dataclass_fields__)
            snapshot = Snapshot(**{name: getattr(snapshot, name) for name in names})
        return Ok(snapshot)
