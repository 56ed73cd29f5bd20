# ruff: noqa: N802 - test names carry the numbers of docs/calls.md as they are written there
"""Event logs: written as things happen, replayed to the same states, told as a story (I43)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import trio
from click.testing import CliRunner
from trio.testing import wait_all_tasks_blocked

from support.calls import House, agent_actor, information, visitor_actor
from triortc.engine.calls.commands import CallAccept, CallHangup, CallRequest, MediaSet, PresenceSet
from triortc.engine.calls.event_log import EventLogError, header, read_event_log
from triortc.engine.calls.event_log_files import EventLogConfiguration, EventLogFiles, open_event_log_files
from triortc.engine.calls.leg_configuration import MediaConfiguration
from triortc.engine.calls.media_events import LegLost, LegRecovered, LegUp
from triortc.engine.calls.session import LogRecord
from triortc.engine.endpoint_configuration import EndpointConfiguration
from triortc.errors import ConfigurationError
from triortc.signaling import serve_command
from triortc.signaling.app import ServerConfiguration
from triortc.signaling.cli import main
from triortc.signaling.engine import EngineConfiguration, open_engine


def a_call() -> tuple[House, str]:
    """Rung, answered, muted, lost and found, moved to the phone, hung up: most of what a call can be."""
    house = House()
    ana, vic, phone = house.agent(), house.visitor(), agent_actor("ana", "phone")
    house.connect(phone, information("phone", "ios"))
    requested = house.request(vic)
    house.advance(4.0)
    accepted = house.ok(ana, CallAccept(requested.session))
    house.advance(0.25)
    for leg in (requested.leg, accepted.leg):
        house.media(LegUp(str(leg)))
    house.advance(10.0)
    house.ok(ana, MediaSet(requested.session, 1, camera=False))
    house.media(LegLost(accepted.leg))
    house.advance(2.0)
    house.media(LegRecovered(accepted.leg))
    house.moved(phone, requested.session)
    house.advance(60.0)
    house.ok(vic, CallHangup(requested.session))
    return house, requested.session


def lines_of(house: House, session: str) -> list[str]:
    records = house.control.event_log(session)
    return [line + "\n" for line in (header(session, 1_700_000_000_000), *(record.to_json() for record in records))]


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(main, ["replay", *arguments], terminal_width=160, env={"COLUMNS": "160"})
    return result.exit_code, result.output


def test_I43_a_log_read_from_its_lines_gives_the_same_states() -> None:
    house, session = a_call()
    told = read_event_log(lines_of(house, session))
    assert told.session == session
    assert list(told.records) == house.control.event_log(session)
    assert told.states[-1] == house.session(session)
    assert told.stamps[-1] - told.stamps[0] == 76_250
    assert not told.cut_off


def test_I43_every_prefix_of_a_log_replays() -> None:
    house, session = a_call()
    lines = lines_of(house, session)
    whole = read_event_log(lines)
    for length in range(1, len(lines) + 1):
        part = read_event_log(lines[:length])
        assert part.states == whole.states[: length - 1]


@pytest.mark.parametrize("cut", range(1, 40, 3))
def test_a_last_line_that_a_crash_cut_off_is_left_out(cut: int) -> None:
    house, session = a_call()
    lines = lines_of(house, session)
    told = read_event_log([*lines[:-1], lines[-1][:-cut]])
    assert told.cut_off == (cut > 1)
    assert told.states[-1].state == ("active" if cut > 1 else "ended")


def damaged(place: int, line: str) -> list[str]:
    house, session = a_call()
    lines = lines_of(house, session)
    lines[place] = line + "\n"
    return lines


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([], "the file is empty"),
        (["\n", "  \n"], "the file is empty"),
        (["hello\n"], "line 1 is not JSON"),
        (['{"n": 1}\n'], "does not say that this is an event log"),
        (damaged(0, '{"log":"triortc.session","version":2,"session":"vs_1","unix_ms_at_zero":0}'), "version 2"),
        (damaged(0, '{"log":"triortc.session","version":1,"session":7}'), "lacks the session"),
        (damaged(0, header("vs_other", 0)), "speaks of vs_other"),
        (damaged(3, "{"), "line 4 is not JSON"),
        (damaged(3, '{"n": 2}'), "line 4 is no record"),
        (damaged(2, header("vs_1", 0)), "does not replay"),
    ],
)
def test_a_file_that_is_no_log_of_this_version_is_refused_in_words(lines: list[str], message: str) -> None:
    with pytest.raises(EventLogError, match=message):
        read_event_log(lines)


def test_a_log_whose_facts_were_changed_is_refused(tmp_path: Path) -> None:
    house, session = a_call()
    lines = lines_of(house, session)
    accept = next(place for place, line in enumerate(lines) if '"call.accept"' in line)
    record = json.loads(lines[accept])
    record["data"]["rx_time"] = record["at"] + 3600.0
    lines[accept] = json.dumps(record) + "\n"
    with pytest.raises(EventLogError, match="does not lead from ringing to connecting"):
        read_event_log(lines)
    path = tmp_path / "tampered.jsonl"
    path.write_text("".join(lines), encoding="utf-8")
    code, output = run(str(path))
    assert (code, "does not replay" in output) == (1, True)


def written(tmp_path: Path) -> Path:
    house, session = a_call()
    path = tmp_path / f"{session}.jsonl"
    path.write_text("".join(lines_of(house, session)), encoding="utf-8")
    return path


def test_replay_tells_the_story_with_times_people_and_states(tmp_path: Path) -> None:
    code, output = run(str(written(tmp_path)))
    assert code == 0
    for told in (
        "+4.000 s",
        "visitor vic",
        "agent ana",
        "Go, on desk",
        "connecting",
        "nothing comes from the agent's leg any more",
        "reconnecting",
        "pulls the call to phone",
        "the call is on it",
        "ended: completed/visitor_hangup, 70.0 s of talk. It replays to the same states.",
    ):
        assert told in output, told


def test_replay_stops_where_it_is_told_to(tmp_path: Path) -> None:
    path = written(tmp_path)
    code, output = run(str(path), "--until", "V35")
    assert code == 0
    assert "now handoff, agent on desk, phone is taking over" in output
    assert "hangs up" not in output
    assert run(str(path), "--until", "2")[1].count("V11") == 1
    code, output = run(str(path), "--until", "V99")
    assert (code, "neither a record nor a row V99" in output) == (2, True)


def test_replay_draws_a_sequence_diagram(tmp_path: Path) -> None:
    code, output = run(str(written(tmp_path)), "--diagram")
    assert code == 0
    lines = output.splitlines()
    assert lines[0] == "sequenceDiagram"
    assert "    participant D1 as desk" in lines
    assert "    participant D2 as phone" in lines
    assert "    V->>S: asks for a video" in lines
    assert "    D1->>S: Go, on desk" in lines
    assert "    D2->>S: pulls the call to phone" in lines
    assert lines[-1] == "    Note over S: ended"


def test_what_a_log_says_is_text_and_commands_no_terminal(tmp_path: Path) -> None:
    house, session = a_call()
    lines = [line.replace('"vic"', '"[red]vic\\u001b[2J;x"') for line in lines_of(house, session)]
    path = tmp_path / "log.jsonl"
    path.write_text("".join(lines), encoding="utf-8")
    code, output = run(str(path))
    assert code == 0
    assert "\x1b[2J" not in output
    assert "[red]vic" in output
    assert ";x" not in run(str(path), "--diagram")[1]


def test_replay_of_something_else_is_an_error_in_words(tmp_path: Path) -> None:
    path = tmp_path / "holiday.jpg"
    path.write_bytes(bytes(range(256)))
    code, output = run(str(path))
    assert code == 1
    assert "Error:" in output
    (tmp_path / "short.jsonl").write_text(header("vs_1", 0) + "\n", encoding="utf-8")
    assert run(str(tmp_path / "short.jsonl"))[1].strip() == "vs_1: nothing is recorded"


# --- files


async def test_logs_are_on_disk_when_the_writer_is_left_and_only_their_owner_reads_them(tmp_path: Path) -> None:
    house, session = a_call()
    directory = tmp_path / "made" / "here"
    async with open_event_log_files(EventLogConfiguration(directory)) as files:
        await wait_all_tasks_blocked()  # the writer waits: it wakes up into its cancellation
        for record in house.control.event_log(session):
            files.append(session, record)
    path = directory / f"{session}.jsonl"
    text = await trio.Path(path).read_text(encoding="utf-8")
    assert read_event_log(text.splitlines(keepends=True)).states[-1] == house.session(session)
    mode = (await trio.Path(path).stat()).st_mode & 0o777
    assert mode == 0o600


async def test_a_process_that_goes_on_with_a_session_says_its_own_clock(tmp_path: Path) -> None:
    house, session = a_call()
    records = house.control.event_log(session)
    first = EventLogFiles(EventLogConfiguration(tmp_path), 1_000_000)
    second = EventLogFiles(EventLogConfiguration(tmp_path), 9_000_000)
    for files, part in ((first, records[:4]), (second, records[4:])):
        for record in part:
            files.append(session, record)
        await files._write_waiting()
    text = await trio.Path(tmp_path / f"{session}.jsonl").read_text(encoding="utf-8")
    told = read_event_log(text.splitlines(keepends=True))
    assert told.states[-1] == house.session(session)
    assert told.stamps[3] == 1_000_000 + round(records[3].at * 1000)
    assert told.stamps[4] == 9_000_000 + round(records[4].at * 1000)


async def test_a_disk_that_refuses_costs_records_and_no_call(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    house, session = a_call()
    records = house.control.event_log(session)
    files = EventLogFiles(EventLogConfiguration(tmp_path / "missing", max_waiting=3), 0)
    for record in records:
        files.append(session, record)
    assert files.dropped_total == len(records) - 3
    await files._write_waiting()
    assert files.dropped_total == len(records)
    assert "could not be written" in caplog.text


async def test_logs_that_are_too_old_go_at_the_start(tmp_path: Path) -> None:
    kept, old, other = tmp_path / "vs_new.jsonl", tmp_path / "vs_old.jsonl", tmp_path / "notes.txt"
    for path in (kept, old, other):
        await trio.Path(path).write_text("x")
    now = (await trio.Path(old).stat()).st_mtime
    async with open_event_log_files(EventLogConfiguration(tmp_path, 1.0), wall_s=lambda: now + 86_000):
        assert await trio.Path(old).exists()
    async with open_event_log_files(EventLogConfiguration(tmp_path, 1.0), wall_s=lambda: now + 87_000):
        assert not await trio.Path(old).exists()
        assert await trio.Path(other).exists()


def test_a_configuration_that_cannot_be_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="event_log_days"):
        EventLogConfiguration(Path(), 0.0)
    with pytest.raises(ConfigurationError, match="max_waiting"):
        EventLogConfiguration(Path(), max_waiting=0)


@pytest.mark.parametrize(
    ("options", "directory"),
    [([], None), (["--data", "kept"], "kept/event-logs"), (["--data", "kept", "--event-logs", "logs"], "logs")],
)
def test_serve_writes_logs_where_it_is_told_or_beside_what_it_keeps(
    options: list[str], directory: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    served: list[EngineConfiguration] = []
    monkeypatch.setattr(serve_command, "_serve", lambda configuration, *_: served.append(configuration))
    monkeypatch.setattr(trio, "run", lambda serve, *arguments: serve(*arguments))
    result = CliRunner().invoke(main, ["serve", "--dev", *options])
    assert result.exit_code == 0, result.output
    assert served[0].event_logs == (None if directory is None else EventLogConfiguration(Path(directory)))


async def test_a_served_engine_writes_the_log_of_a_call_that_replays(tmp_path: Path) -> None:
    configuration = EngineConfiguration(
        ServerConfiguration(port=0, development=True),
        MediaConfiguration(endpoint=EndpointConfiguration(loopback=True)),
        event_logs=EventLogConfiguration(tmp_path),
    )
    ana, vic = agent_actor("ana", "desk"), visitor_actor("vic", "tab", "cv_1")
    async with open_engine(configuration) as engine:
        for actor in (ana, vic):
            engine.calls.device_connected(actor, information(actor.device or ""))
        engine.calls.command(ana, PresenceSet("video", "available"))
        engine.calls.command(vic, CallRequest("cv_1"))
        (session,) = engine.calls.control.world.sessions
        kept: list[LogRecord] = engine.calls.event_log(session)
    text = await trio.Path(tmp_path / f"{session}.jsonl").read_text(encoding="utf-8")
    told = read_event_log(text.splitlines(keepends=True))
    assert list(told.records[: len(kept)]) == kept
    assert (told.states[-1].outcome, told.states[-1].reason) == ("failed", "server_shutdown")
