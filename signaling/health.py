"""What `/health` shows: the counters of every room, by room."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Protocol

from triortc.signaling.http import HttpCounters, HttpServer
from triortc.signaling.webtransport.listener import ListenerCounters, WebTransportListener

__all__ = ["CountedMedia", "Health", "http_counters", "media_counters", "webtransport_counters"]


class CountedMedia(Protocol):
    """What the media side tells of itself."""

    def counters(self) -> Mapping[str, int]:
        """Totals: gates, drops, sockets."""

    def plane(self) -> Mapping[str, str]:
        """Which data plane runs, and why."""


class Health:
    """The counters of every room, from when it is there."""

    def __init__(self, *rooms: Callable[[], Mapping[str, object]]) -> None:
        self._rooms = list(rooms)

    def add(self, room: Callable[[], Mapping[str, object]]) -> None:
        """Show this one's, too."""
        self._rooms.append(room)

    def __call__(self) -> dict[str, object]:
        """All of them."""
        return {name: value for room in self._rooms for name, value in room().items()}


def http_counters(http: HttpServer) -> dict[str, object]:
    """Of requests and connections over TCP."""
    return {"http": _counters(http.counters)}


def media_counters(media: CountedMedia) -> dict[str, object]:
    """Of legs, gates and sockets, and what forwards packets."""
    return {**_by_room(media.counters()), "plane": media.plane()}


def webtransport_counters(listener: WebTransportListener) -> dict[str, object]:
    """Of connections over QUIC."""
    return {"webtransport": {"open": listener.open_connections, **_counters(listener.counters)}}


def _counters(counters: HttpCounters | ListenerCounters) -> dict[str, int]:
    return {field.name: getattr(counters, field.name) for field in fields(counters)}


def _by_room(counters: Mapping[str, int]) -> dict[str, dict[str, int]]:
    """`{"gate.dropped": 3}` as `{"gate": {"dropped": 3}}`; names without a dot belong to `media`."""
    rooms: dict[str, dict[str, int]] = {}
    for name, value in counters.items():
        room, _, counter = name.rpartition(".")
        rooms.setdefault(room or "media", {})[counter] = value
    return rooms
