"""What the demo expects of a call, and what it measures of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

from triortc.bench.demo_device import Device
from triortc.bench.demo_files import TrackContent, read_recording, read_snapshot, sound_behind_pictures_ms
from triortc.bench.demo_media import DESKTOP, FRAME_RATE, MOBILE, VISITOR, Performer, count_beeps
from triortc.bench.demo_report import Expectations, Figures
from triortc.bench.machine import percentile
from triortc.codecs.recorder import RecordingResult
from triortc.codecs.registry import MediaKind
from triortc.codecs.threads import CodecThreads

__all__ = [
    "Moments",
    "check_conversation",
    "check_files",
    "check_handoff",
    "check_nobody_was_seen",
    "measure",
]

#: A busy machine encodes fewer pictures than the card has; below this share something is wrong.
_LEAST_SHARE_OF_PICTURES: Final = 0.4
_LEAST_BEEPS: Final = 2
_MOST_GAP_MS: Final = 1500.0
#: Lips and voice fall apart for a viewer from about here on.
_MOST_SYNC_MS: Final = 100.0
#: How much the recording may be shorter or longer than the call: a late first picture, the last packets on their way.
_RECORDING_TOLERANCE_S: Final = 1.0
#: Around the handoff, pictures are looked at from so long before the request.
_BEFORE_PULL_S: Final = 0.3


@dataclass(slots=True)
class Moments:
    """When what happened, in seconds of trio's clock."""

    start: float = 0.0
    go: float = 0.0
    pull: float = 0.0
    hang_up: float = 0.0
    end: float = 0.0
    talk_ms: int = 0

    def first_picture(self, viewer: Device, performer: Performer) -> float:
        """When a device first showed a performer; infinite if it never did."""
        return next((picture.at for picture in viewer.seen if picture.performer is performer), float("inf"))


def check_nobody_was_seen(expectations: Expectations, visitor: Device, desktop: Device, withheld: int) -> None:
    """Just before Go: the agent sends, the gate withholds all of it, the visitor sees and hears the engine's slate."""
    performers = [picture.performer for picture in visitor.seen if picture.performer is not None]
    expectations.expect("before Go the visitor sees no picture of anybody", not performers, f"{len(performers)}")
    slates = sum(picture.slate for picture in visitor.seen)
    expectations.expect(
        "before Go the visitor sees the slate and nothing else",
        0 < slates == len(visitor.seen),
        f"{slates} of {len(visitor.seen)} pictures",
    )
    beeps = count_beeps(visitor.heard, DESKTOP)
    expectations.expect("before Go the visitor hears nothing of the agent", beeps == 0, f"{beeps} beeps")
    expectations.expect("before Go the agent sees nothing of the visitor", not desktop.seen, len(desktop.seen))
    sent = desktop.sender("video").frames_sent
    expectations.expect("before Go the agent's warm leg sends pictures", sent > 0, sent)
    expectations.expect("before Go the gate withholds the agent's packets", withheld >= sent, withheld)


def check_handoff(
    expectations: Expectations, moments: Moments, visitor: Device, desktop: Device, mobile: Device
) -> None:
    """At hang-up: both saw and heard each other all the time, on one device at a time."""
    shown = [picture.performer for picture in visitor.seen if picture.performer is not None]
    first_mobile = shown.index(MOBILE) if MOBILE in shown else len(shown)
    expectations.expect(
        "the visitor sees the desktop, then the mobile, and nobody else",
        set(shown[:first_mobile]) == {DESKTOP} and set(shown[first_mobile:]) == {MOBILE},
        [performer.name for performer, before in zip(shown, [None, *shown], strict=False) if performer is not before],
    )
    stretches = ((moments.go, moments.pull, DESKTOP, desktop), (moments.pull, moments.hang_up, MOBILE, mobile))
    for start, end, performer, device in stretches:
        least = _LEAST_SHARE_OF_PICTURES * FRAME_RATE * (end - start)
        for viewer, other in ((visitor, performer), (device, VISITOR)):
            seen = sum(start < picture.at < end and picture.performer is other for picture in viewer.seen)
            name = f"the {viewer.performer.name} sees the {other.name}"
            expectations.expect(f"{name} move", seen >= least, f"{seen} pictures, at least {least:.0f} expected")
            heard = [sound for sound in viewer.heard if start < sound.at < end]
            beeps = count_beeps(heard, other)
            expectations.expect(f"the {viewer.performer.name} hears the {other.name}", beeps >= _LEAST_BEEPS, beeps)
    gap_ms = handoff_gap_ms(moments, visitor)
    expectations.expect("the handoff leaves no long gap", gap_ms < _MOST_GAP_MS, f"{gap_ms:.0f} ms")


def check_conversation(
    expectations: Expectations,
    tagged: Sequence[Mapping[str, Any]],
    closed: Sequence[Mapping[str, Any]],
    history: Sequence[Mapping[str, Any]],
) -> None:
    """Behind the call: lists of conversations after tag and after close, and the history."""
    tags = [list(view["tags"]) for view in tagged]
    expectations.expect("the conversation is in the agent's list with its tag", tags == [["demo"]], tags)
    expectations.expect("a closed conversation is gone from the list", not closed, len(closed))
    outcomes = [record["outcome"] for record in history]
    expectations.expect("the history has the call once", outcomes == ["completed"], outcomes)


async def check_files(
    expectations: Expectations, threads: CodecThreads, moments: Moments, recording: Path, snapshot: Path
) -> dict[str, float]:
    """The files, decoded from their first to their last byte.

    Returns:
        How far the sound is behind the pictures in the recording, in milliseconds, by side.
    """
    tracks = await threads.run(read_recording, recording)
    names = {"agent video", "agent audio", "visitor video", "visitor audio"}
    expectations.expect("the recording has pictures and sound of both sides", set(tracks) == names, sorted(tracks))
    expected_s = moments.hang_up - moments.go
    for name, content in tracks.items():
        expectations.expect(
            f"the recording's {name} is as long as the call",
            content.first_s < _RECORDING_TOLERANCE_S and abs(content.last_s - expected_s) < _RECORDING_TOLERANCE_S,
            f"{content.first_s:.2f} to {content.last_s:.2f} s of {expected_s:.2f} s",
        )
        performers = [DESKTOP, MOBILE] if name.startswith("agent") else [VISITOR]
        _check_track(expectations, name, content, performers)
    sync_ms: dict[str, float] = {}
    for side in ("agent", "visitor") if set(tracks) == names else ():
        sync_ms[side] = behind_ms = sound_behind_pictures_ms(tracks[f"{side} video"], tracks[f"{side} audio"])
        in_step = abs(behind_ms) < _MOST_SYNC_MS
        expectations.expect(f"the recording's {side} is in step", in_step, f"sound {behind_ms:.0f} ms behind")
    still = await threads.run(read_snapshot, snapshot)
    expectations.expect("the snapshot shows the mobile's camera", still is MOBILE, still.name if still else "nobody")
    return sync_ms


def _check_track(expectations: Expectations, name: str, content: TrackContent, performers: list[Performer]) -> None:
    if content.kind == "video":
        shown = [performer.name for performer in content.performers]
        right = content.performers == performers and not content.foreign
        expectations.expect(f"the recording's {name} shows whom it must", right, f"{shown}, {content.foreign} others")
        return
    beeps = [content.beeps(performer) for performer in performers]
    expectations.expect(f"the recording's {name} can be heard", min(beeps) >= _LEAST_BEEPS, f"beeps: {beeps}")


def handoff_gap_ms(moments: Moments, visitor: Device) -> float:
    """The longest time between two pictures of the agent from just before the request until the second mobile one."""
    agent = [picture for picture in visitor.seen if picture.performer in (DESKTOP, MOBILE)]
    mobile = [picture.at for picture in agent if picture.performer is MOBILE]
    until = mobile[min(1, len(mobile) - 1)] if mobile else moments.hang_up
    instants = [picture.at for picture in agent if moments.pull - _BEFORE_PULL_S < picture.at <= until]
    return max((after - before for before, after in pairwise(instants)), default=float("inf")) * 1000


def measure(
    moments: Moments,
    visitor: Device,
    desktop: Device,
    mobile: Device,
    *,
    withheld: int,
    recording: RecordingResult,
    sync_ms: dict[str, float],
) -> Figures:
    """The figures of a call that went well."""
    devices = (visitor, desktop, mobile)
    return Figures(
        leg_setup_ms={device.performer.name: device.setup_ms or 0.0 for device in devices},
        go_to_picture_ms=(moments.first_picture(visitor, DESKTOP) - moments.go) * 1000,
        pull_to_picture_ms=(moments.first_picture(visitor, MOBILE) - moments.pull) * 1000,
        handoff_gap_ms=handoff_gap_ms(moments, visitor),
        picture_latency_ms=_latency_ms(moments, "video", visitor, desktop, mobile),
        sound_latency_ms=_latency_ms(moments, "audio", visitor, desktop, mobile),
        frames={
            "agent": _counts((desktop, visitor), (mobile, visitor)),
            "visitor": _counts((visitor, desktop), (visitor, mobile)),
        },
        sound_gaps={
            "agent": _gaps(moments, visitor),
            "visitor": _gaps(moments, desktop) + _gaps(moments, mobile),
        },
        withheld_packets=withheld,
        talk_ms=moments.talk_ms,
        recorded_s=recording.duration_s,
        sound_behind_pictures_ms=sync_ms,
        wall_s=moments.end - moments.start,
    )


def _latency_ms(
    moments: Moments, kind: MediaKind, visitor: Device, desktop: Device, mobile: Device
) -> dict[str, float]:
    """Both directions together, while both talked."""
    found: list[float] = []
    agent = [device.sent[kind] for device in (desktop, mobile)]
    for receiving, senders in ((visitor, agent), (desktop, [visitor.sent[kind]]), (mobile, [visitor.sent[kind]])):
        found += receiving.received[kind].latencies_s(senders, moments.go, moments.hang_up)
    return {"p50": percentile(found, 0.5) * 1000, "p99": percentile(found, 0.99) * 1000}


def _counts(*pairs: tuple[Device, Device]) -> dict[str, int]:
    counts = [receiving.received["video"].count(sending.sent["video"]) for sending, receiving in pairs]
    return {"sent": sum(sent for sent, _ in counts), "shown": sum(shown for _, shown in counts)}


def _gaps(moments: Moments, device: Device) -> int:
    """Concealed packets between the first sound of the other side and hang-up, or the end of this device's part."""
    sounds = [sound for sound in device.heard if moments.go < sound.at < moments.hang_up]
    return _lost_inside(sound.lost for sound in sounds)


def _lost_inside(lost: Iterable[bool]) -> int:
    """What was lost before and behind everything that came does not count: nobody was sending."""
    marks = list(lost)
    if all(marks):
        return 0
    return sum(marks[marks.index(False) : len(marks) - marks[::-1].index(False)])
