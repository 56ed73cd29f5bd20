"""One whole call, without a browser and without a network: real server, real WebSockets, real UDP, real media.

A visitor calls an agent who has a desktop and a mobile. It rings on both; the desktop warms its leg and previews; Go;
they talk; the mobile pulls the call; they talk on; hang-up, chat, tag, close. What must hold is checked on the way.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final

import trio
from rich.console import Console

from triortc.bench.demo_device import Device, open_device
from triortc.bench.demo_figures import (
    Moments,
    check_conversation,
    check_files,
    check_handoff,
    check_nobody_was_seen,
    measure,
)
from triortc.bench.demo_media import DESKTOP, MOBILE, VISITOR, Performer, SeenPicture, SlateEye
from triortc.bench.demo_report import DemoFailedError, Expectations, Figures, Outcome, Timeline
from triortc.codecs.recorder import Recorder, RecorderTrack, RecordingResult
from triortc.codecs.recording import open_recording
from triortc.codecs.registry import MediaKind
from triortc.codecs.snapshot import encode_png
from triortc.codecs.threads import CodecThreads
from triortc.engine.calls.leg_configuration import MediaConfiguration
from triortc.engine.calls.legs import open_leg_manager
from triortc.engine.endpoint_configuration import EndpointConfiguration
from triortc.engine.ice.configuration import IceConfiguration
from triortc.engine.peer.playout import ReceivedFrame
from triortc.engine.session.configuration import SessionConfiguration
from triortc.errors import TriortcError
from triortc.signaling.app import RunningServer, ServerConfiguration, open_server
from triortc.signaling.client import ClientDevice
from triortc.signaling.wire import WireError

__all__ = ["DemoConfiguration", "run_demo"]

_CONVERSATION: Final = "cv_demo"
_TRACKS: Final = ("agent video", "agent audio", "visitor video", "visitor audio")


def _media() -> MediaConfiguration:
    return MediaConfiguration(
        endpoint=EndpointConfiguration(media_host=("127.0.0.1",)),
        session=SessionConfiguration(ice=IceConfiguration(allow_loopback=True)),
    )


@dataclass(frozen=True, slots=True)
class DemoConfiguration:
    """How the demo goes.

    Attributes:
        out: where `call.webm` and `snapshot.png` are written; made if it is not there.
        preview_s: how long the agent looks at itself before Go.
        talk_s: how long they talk before the handoff, and behind it.
        step_timeout_s: how long any one step may take.
        timeout_s: how long all may take.
        media: of the server.
    """

    out: Path
    preview_s: float = 1.5
    talk_s: float = 4.2
    step_timeout_s: float = 10.0
    timeout_s: float = 60.0
    media: MediaConfiguration = field(default_factory=_media)


async def run_demo(configuration: DemoConfiguration, console: Console | None = None) -> Outcome:
    """Make the call.

    Args:
        configuration: see :class:`DemoConfiguration`.
        console: where the time line is shown while it grows; None: nowhere.

    Returns:
        How it went: nothing that the call or the files can do wrong is raised.
    """
    demo = _Demo(configuration, Timeline(console))
    failures: list[str] = []
    figures: Figures | None = None
    try:
        with trio.fail_after(configuration.timeout_s):
            figures = await demo.run()
    # Nurseries of the server, the devices and the recording wrap what went wrong in groups.
    except* (TriortcError, WireError, OSError, trio.TooSlowError) as group:
        failures = _sentences(group)
    return Outcome(
        failures=tuple(failures),
        figures=figures,
        expectations=tuple(demo.expectations.all),
        timeline=tuple(demo.timeline.moments),
        files=tuple(demo.files),
    )


def _sentences(group: BaseExceptionGroup[BaseException]) -> list[str]:
    found: list[str] = []
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            found += _sentences(error)
        elif isinstance(error, trio.TooSlowError):
            found.append("it took too long")
        else:
            found.append(f"{error}" if isinstance(error, DemoFailedError) else f"{type(error).__name__}: {error}")
    return found


class _Demo:
    """The demo's steps, in the order they are taken."""

    def __init__(self, configuration: DemoConfiguration, timeline: Timeline) -> None:
        self.configuration = configuration
        self.timeline = timeline
        self.expectations = Expectations()
        self.files: list[Path] = []
        self.moments = Moments()
        self._threads = CodecThreads()
        self._within_s = configuration.step_timeout_s
        self._session = ""
        self._withheld = 0
        self.server: RunningServer
        self.visitor: Device
        self.desktop: Device
        self.mobile: Device

    async def run(self) -> Figures:
        """The whole call, then its figures and files."""
        out = self.configuration.out
        out.mkdir(parents=True, exist_ok=True)
        self.moments.start = trio.current_time()
        self.timeline.add("server", "starts")
        server_configuration = ServerConfiguration(port=0, development=True, host_names=("127.0.0.1",))
        open_media = partial(open_leg_manager, self.configuration.media)
        async with open_server(server_configuration, open_media=open_media) as self.server:
            self.timeline.add("server", f"listens on {self.server.url}")
            async with self._signed_in():
                await self._ring()
                await self._preview()
                recording = await self._go_talk_and_hang_up(out / "call.webm")
                await self._chat_and_close()
                await self._write_snapshot(out / "snapshot.png")
        self.timeline.add("server", "has ended, nothing is left of it")
        sync_ms = await self._look_at_files(recording)
        return measure(
            self.moments,
            self.visitor,
            self.desktop,
            self.mobile,
            withheld=self._withheld,
            recording=recording,
            sync_ms=sync_ms,
        )

    # -- signing in

    @asynccontextmanager
    async def _signed_in(self) -> AsyncGenerator[None]:
        issuer = self.server.issuer
        if issuer is None:
            raise DemoFailedError("the server gives no development tokens")
        eye = await self._threads.run(SlateEye, self.configuration.media.slate_look)
        async with AsyncExitStack() as stack:

            async def sign_in(performer: Performer, token: str, description: ClientDevice) -> Device:
                opened = open_device(
                    performer,
                    self.server.signal_url,
                    token,
                    description,
                    timeline=self.timeline,
                    threads=self._threads,
                    eye=eye,
                )
                device = await stack.enter_async_context(opened)
                device.say("is signed in")
                return device

            agent = partial(issuer.issue, role="agent", sub="ana", name="Ana")
            self.desktop = await sign_in(
                DESKTOP, agent(did="desk"), ClientDevice("desk", "desktop", name="Ana's desktop")
            )
            self.mobile = await sign_in(MOBILE, agent(did="phone"), ClientDevice("phone", "ios", name="Ana's phone"))
            for channel in ("chat", "video"):
                status = await self.desktop.signal.command("presence.set", channel=channel, declared="available")
            self.expectations.expect("the agent is available for video", status["color"] == "green", status["color"])
            token = issuer.issue(role="visitor", sub="lea", did="tab", name="Léa", cv=[_CONVERSATION])
            self.visitor = await sign_in(VISITOR, token, ClientDevice("tab", "web"))
            self.expectations.settle()
            yield

    # -- before Go

    async def _ring(self) -> None:
        """The visitor calls; its leg is up while it rings, and shows the slate."""
        visitor, within_s = self.visitor, self._within_s
        with trio.fail_after(within_s):
            visitor.say("calls")
            asked = await visitor.signal.command(
                "call.request",
                conversation=_CONVERSATION,
                media={"audio": True, "video": True},
                offer=visitor.offer(),
            )
            self._session = asked["session"]
            self.expectations.expect("the call rings", asked["state"] == "ringing", asked["state"])
            self.expectations.settle()
            await visitor.answered(asked["answer"])
        for device in (self.desktop, self.mobile):
            offer = await device.event("ring.offer", within_s=within_s, session=self._session)
            await device.signal.command("ring.ack", ring=offer.p["ring"])
        await visitor.event("call.state", within_s=within_s, alerting=True)

    async def _preview(self) -> None:
        """The desktop opens the ring and warms its leg: it sends already, and the gate withholds all of it."""
        desktop, visitor = self.desktop, self.visitor
        with trio.fail_after(self._within_s):
            ring = (await desktop.event("ring.offer", within_s=self._within_s)).p["ring"]
            opened = await desktop.signal.command("ring.opened", ring=ring)
            answer = await desktop.signal.command("sdp.offer", leg=opened["leg"], neg=1, sdp=desktop.offer())
            await desktop.answered(answer["answer"])
        desktop.say("previews itself: Go or Decline?")
        await trio.sleep(self.configuration.preview_s)
        await visitor.until(lambda: bool(visitor.seen), "a first picture", within_s=self._within_s)
        self._withheld = self.server.media.counters().get("gate.dropped", 0)
        self.timeline.add("server", f"has withheld {self._withheld} packets of the agent")
        check_nobody_was_seen(self.expectations, visitor, desktop, self._withheld)
        self.expectations.settle()

    # -- from Go to the end

    async def _go_talk_and_hang_up(self, path: Path) -> RecordingResult:
        moments, visitor, desktop = self.moments, self.visitor, self.desktop
        moments.go = trio.current_time()
        tracks = [RecorderTrack(name, "VP8" if name.endswith("video") else "opus") for name in _TRACKS]
        recording = open_recording(path, tracks, started_at_s=moments.go, threads=self._threads, title="triortc demo")
        async with recording as recorder:
            self._record(recorder)
            with trio.fail_after(self._within_s):
                desktop.say("Go")
                accepted = await desktop.signal.command("call.accept", session=self._session)
                desktop.say(f"is {accepted['state']}")
            for device in (visitor, desktop):
                await device.event("call.active", within_s=self._within_s)
            await visitor.until(lambda: self._shows(DESKTOP), "a picture of the agent", within_s=self._within_s)
            visitor.say(
                f"sees the agent, {(moments.first_picture(visitor, DESKTOP) - moments.go) * 1000:.0f} ms after Go"
            )
            await self.mobile.event("ring.ended", within_s=self._within_s, reason="answered_elsewhere")
            await trio.sleep(self.configuration.talk_s)
            await self._hand_off()
            await trio.sleep(self.configuration.talk_s)
            await self._hang_up()
        result = await self._threads.run(recorder.finish)
        if result.path is None:
            raise DemoFailedError(f"nothing was recorded: {result.error}")
        self.files.append(result.path)
        return result

    def _shows(self, performer: Performer) -> bool:
        """Whether the visitor's newest picture is this one's."""
        return bool(self.visitor.seen) and self.visitor.seen[-1].performer is performer

    def _record(self, recorder: Recorder) -> None:
        """What each side's devices receive goes into the file, pictures from the first one of the other person on."""

        def take(side: str, kind: MediaKind, received: ReceivedFrame, seen: SeenPicture | None) -> None:
            if seen is None or seen.performer is not None:
                recorder.write(f"{side} {kind}", received.frame, received.arrived_at)

        def take_over(kind: MediaKind, received: ReceivedFrame, seen: SeenPicture | None) -> None:
            # What the desktop has yet to decode comes too late for the file: these pictures begin with a keyframe.
            self.desktop.take_frame = None
            take("visitor", kind, received, seen)

        self.visitor.take_frame = partial(take, "agent")
        self.desktop.take_frame = partial(take, "visitor")
        self.mobile.take_frame = take_over

    async def _hand_off(self) -> None:
        """The mobile pulls the call; the visitor keeps its leg and only sees another camera."""
        moments, visitor, desktop, mobile = self.moments, self.visitor, self.desktop, self.mobile
        moments.pull = trio.current_time()
        mobile.say("pulls the call")
        with trio.fail_after(self._within_s):
            pulled = await mobile.signal.command("handoff.request", session=self._session, offer=mobile.offer())
            await mobile.answered(pulled["answer"])
        moved = await desktop.event("handoff.moved", within_s=self._within_s, session=self._session)
        desktop.say(f"shows: your call continues on {moved.p['to']['name']}")
        desktop.connection.close()
        await visitor.event("call.peer", within_s=self._within_s, what="device_changed")
        await visitor.until(lambda: self._shows(MOBILE), "a picture of the mobile", within_s=self._within_s)
        first = moments.first_picture(visitor, MOBILE)
        visitor.say(f"sees the mobile's camera, {(first - moments.pull) * 1000:.0f} ms after the request")
        await mobile.until(lambda: bool(mobile.seen), "a picture of the visitor", within_s=self._within_s)

    async def _hang_up(self) -> None:
        visitor, devices = self.visitor, (self.visitor, self.desktop, self.mobile)
        self.moments.hang_up = trio.current_time()
        for device in devices:
            device.take_frame = None
        visitor.say("hangs up")
        with trio.fail_after(self._within_s):
            ended = await visitor.signal.command("call.hangup", session=self._session)
        self.expectations.expect("the call is completed", ended["outcome"] == "completed", ended["outcome"])
        for device in devices:
            event = await device.event("call.ended", within_s=self._within_s)
            self.moments.talk_ms = event.p["talk_ms"]
            device.connection.close()
        check_handoff(self.expectations, self.moments, *devices)
        self.expectations.settle()

    # -- behind the call

    async def _chat_and_close(self) -> None:
        """The conversation outlives its call: a message each way, a tag, then it is closed."""
        visitor, mobile = self.visitor, self.mobile
        with trio.fail_after(self._within_s):
            for writer, reader, text in ((visitor, mobile, "Thank you!"), (mobile, visitor, "With pleasure.")):
                await writer.signal.command("conversation.message.send", conversation=_CONVERSATION, text=text)
                await reader.event("conversation.message", within_s=self._within_s, text=text)
            await mobile.signal.command("conversation.tag", conversation=_CONVERSATION, tags=["demo"])
            mobile.say("tags the conversation: demo")
            tagged = await mobile.signal.command("conversation.list")
            await mobile.signal.command("conversation.close", conversation=_CONVERSATION)
            mobile.say("closes the conversation")
            closed = await mobile.signal.command("conversation.list")
            history = await mobile.signal.command("history.get", session=self._session)
        check_conversation(self.expectations, tagged["items"], closed["items"], history["items"])
        for device in (visitor, self.desktop, mobile):
            told = sum(event.t == "call.ended" for event in device.events)
            self.expectations.expect(f"the {device.performer.name} is told once that it is over", told == 1, told)
        await mobile.until(self._is_green_again, "green for video", within_s=self._within_s)
        self.expectations.settle()

    def _is_green_again(self) -> bool:
        told = [event.p for event in self.mobile.events if event.t == "presence.changed"]
        return next((p["color"] == "green" for p in reversed(told) if p["channel"] == "video"), False)

    # -- files

    async def _write_snapshot(self, path: Path) -> None:
        picture = self.visitor.last_picture
        if picture is None:
            raise DemoFailedError("the visitor has seen nothing to take a snapshot of")
        await trio.Path(path).write_bytes(await self._threads.run(encode_png, picture))
        self.files.append(path)

    async def _look_at_files(self, recording: RecordingResult) -> dict[str, float]:
        recorded, snapshot = self.files
        sync_ms = await check_files(self.expectations, self._threads, self.moments, recorded, snapshot)
        for path in self.files:
            self.timeline.add("files", f"{path} can be opened and shows what it must")
        self.expectations.expect("the recording has no error", recording.error is None, recording.error)
        self.expectations.settle()
        self.moments.end = trio.current_time()
        return sync_ms
