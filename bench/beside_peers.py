"""The relay beside Pion and aiortc: one load generator, one machine, interleaved rounds.

The generator and the peers' relays are programs of their own in `bench/peers` (Go, and aiortc in an environment of its
own); its README says how they are built and what a call sends. A server runs alone on one core, the generator on
another.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.error import HTTPError
from urllib.request import urlopen

from triortc.errors import ConfigurationError

__all__ = ["OWN", "REFERENCE", "Peers", "find_peers", "measure_relays_beside", "measure_setups_beside"]

OWN: Final = "triortc"
OWN_ACCELERATED: Final = "triortc-accelerated"
#: What ratios are to.
REFERENCE: Final = "pion"
START_TIMEOUT_S: Final = 20.0
END_TIMEOUT_S: Final = 5.0
SETTLE_S: Final = 30.0
_SOURCES: Final = Path(__file__).parent / "peers"
_CACHE: Final = Path(os.environ.get("TRIORTC_PEERS", "~/.cache/triortc-peers")).expanduser()


@dataclass(frozen=True, slots=True)
class Peers:
    """What there is to compare with.

    Attributes:
        generator: the load generator's program.
        servers: by name, the command line of a relay; `{port}` is filled in.
    """

    generator: Path
    servers: dict[str, list[str]]


def find_peers(only: Sequence[str] = (), *, own_arguments: Sequence[str] = ()) -> Peers:
    """The peers that are built; builds those in Go where that is possible and was not done.

    Arguments:
        only: names of servers; empty for all.
        own_arguments: further arguments of our own `serve-relay`.

    Raises:
        ConfigurationError: the generator is not there and cannot be built, or a server in `only` is not known or there.
    """
    binaries = _CACHE / "bin"
    if not (binaries / "loadgen").exists():
        _build(binaries)
    own = [sys.executable, "-m", "triortc.signaling.cli", "bench", "serve-relay", "--port", "{port}", *own_arguments]
    servers = {
        OWN: own,
        OWN_ACCELERATED: [*own, "--plane", "accelerated"],
        REFERENCE: [str(binaries / "relay_pion"), "-addr", "127.0.0.1:{port}"],
        "go-bound": [str(binaries / "relay_thin"), "-addr", "127.0.0.1:{port}"],
    }
    aiortc = _CACHE / "venv-aiortc" / "bin" / "python"
    if aiortc.exists():
        program = str(_SOURCES / "aiortc_relay.py")
        servers["aiortc"] = [str(aiortc), program, "--mode", "raw", "--uvloop", "--port", "{port}"]
    unknown = [name for name in only if name not in servers]
    if unknown:
        raise ConfigurationError(
            f"no such server here: {', '.join(unknown)} (there are {', '.join(servers)}); bench/peers/README.md says "
            "how the others are set up"
        )
    return Peers(binaries / "loadgen", {name: servers[name] for name in only or servers})


def _build(binaries: Path) -> None:
    script = _SOURCES / "build.sh"
    if not script.exists() or shutil.which("go") is None:
        raise ConfigurationError(
            "the peers are not built: apt-get install golang-go golang-github-pion-webrtc.v3-dev, then run "
            "bench/peers/build.sh of a checkout"
        )
    done = subprocess.run([str(script)], env={**os.environ, "OUT": str(binaries)}, capture_output=True, text=True)
    if done.returncode:
        raise ConfigurationError(f"bench/peers/build.sh failed: {done.stderr.strip()[-300:]}")


@contextmanager
def _serve(command: list[str]) -> Iterator[tuple[int, int]]:
    """Run a relay on the last core; gives its pid and port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    cores = sorted(os.sched_getaffinity(0))
    command = [part.format(port=port) for part in command]
    process = subprocess.Popen(
        command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        preexec_fn=lambda: os.sched_setaffinity(0, cores[-1:]),
    )
    try:
        _wait_for(port, process, command)
        yield process.pid, port
    finally:
        process.terminate()
        try:
            process.wait(END_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_for(port: int, process: subprocess.Popen[bytes], command: list[str]) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            urlopen(f"http://127.0.0.1:{port}/", timeout=1).close()
        except HTTPError:
            return
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise ConfigurationError(f"it does not serve; run it by hand to see why: {shlex.join(command)}")


def _generate(peers: Peers, name: str, arguments: list[str], timeout_s: float) -> dict[str, Any]:
    """The figures of one run, or why there are none: one server that fails does not cost the others theirs."""
    cores = sorted(os.sched_getaffinity(0))
    try:
        with _serve(peers.servers[name]) as (pid, port):
            done = subprocess.run(
                [
                    *(str(peers.generator), "-url", f"http://127.0.0.1:{port}/offer"),
                    *("-pid", str(pid), "-label", name, *arguments),
                ],
                capture_output=True,
                text=True,
                timeout=timeout_s,
                check=False,
                preexec_fn=lambda: os.sched_setaffinity(0, cores[:1]),
            )
    except (ConfigurationError, subprocess.TimeoutExpired) as error:
        return {"label": name, "failed": str(error)}
    if done.returncode or not done.stdout.startswith("{"):
        return {"label": name, "failed": done.stderr.strip()[-300:]}
    figures: dict[str, Any] = json.loads(done.stdout)
    return figures


def measure_relays_beside(
    peers: Peers, *, calls: Sequence[int], profiles: Sequence[str], rounds: int, seconds: float, extended: bool
) -> list[dict[str, Any]]:
    """Every server at every number of calls, one after the other, `rounds` times over.

    Arguments:
        profiles: `gcm` or `cm` each.
        extended: with transport-wide numbers, mid and half a percent of NACKs.
    """
    runs = []
    for _ in range(rounds):
        for profile in profiles:
            for count in calls:
                for name in peers.servers:
                    arguments = ["-calls", str(count), "-profile", profile, "-seconds", str(seconds)]
                    arguments += ["-extended"] if extended else []
                    figures = _generate(peers, name, arguments, seconds + SETTLE_S)
                    if "failed" in figures:
                        runs.append({"what": "relay", "calls": count, "profile": profile, **figures})
                        continue
                    runs.append(_relay_figures(figures, profile))
    return runs


def _relay_figures(figures: dict[str, Any], profile: str) -> dict[str, Any]:
    return {
        "what": "relay",
        "label": figures["label"],
        "calls": figures["calls"],
        "profile": profile,
        "cpu_us_per_packet": float(figures["us_per_pkt"]),
        "latency_ms_p50": figures["lat_p50_us"] / 1000,
        "latency_ms_p99": figures["lat_p99_us"] / 1000,
        "latency_ms_p999": figures.get("lat_p999_us", figures["lat_max_us"]) / 1000,
        "loss_percent": float(figures["loss_pct"]),
        "rss_kb_per_call": float(figures["rss_per_call_kb"]),
        "retransmitted": int(figures.get("retransmitted", 0)),
        "others_cpu_percent": float(figures["other_cpu_pct"]),
    }


def measure_setups_beside(peers: Peers, *, calls: int, parallel: Sequence[int], rounds: int) -> list[dict[str, Any]]:
    """Set-ups of so many calls of two legs, one or several at one time, with every server."""
    runs = []
    for _ in range(rounds):
        for count in parallel:
            for name in peers.servers:
                arguments = ["-setup", str(calls), "-parallel", str(count)]
                figures = _generate(peers, name, arguments, 120)
                if "failed" in figures and "legs" not in figures:
                    runs.append({"what": "setup", "parallel": count, **figures})
                    continue
                runs.append(
                    {
                        "what": "setup",
                        "label": name,
                        "parallel": count,
                        "leg_ms_p50": float(figures["leg_ms_p50"]),
                        "leg_ms_p99": float(figures["leg_ms_p99"]),
                        "server_cpu_ms_per_leg": float(figures["server_cpu_ms_per_leg"]),
                        "legs_per_second": figures["legs"] / figures["wall_s"],
                    }
                )
    return runs
