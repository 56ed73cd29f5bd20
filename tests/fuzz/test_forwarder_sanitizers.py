"""The core in C under AddressSanitizer and UndefinedBehaviorSanitizer: the plane's tests, and inputs made to hurt."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
RELAY = ROOT / "engine" / "relay"
TARGET = ROOT / "tests" / "fuzz" / "forwarder_fuzz.c"
#: Inputs that have reached something new once, kept by libFuzzer (-merge=1).
CORPUS = ROOT / "tests" / "fuzz" / "corpus" / "forwarder.zip"
LIBCRYPTO = "-l:libcrypto.so.3"
FLAGS = ["-std=gnu11", "-g", "-O1", "-fno-omit-frame-pointer", "-ffp-contract=off", "-pthread"]
SANITIZERS = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
#: So long new inputs are looked for; CI gives it longer.
FUZZ_S = int(os.environ.get("FUZZ_S", "5"))
#: What runs in the core, on sockets and without them.
TESTS = [
    "tests/unit/test_forwarder.py",
    "tests/sim/test_relay.py",
    "tests/sim/test_relay_flows.py",
    "tests/fuzz/test_planes_fuzz.py",
    "tests/fuzz/test_arrivals_fuzz.py",
    "tests/interop/test_accelerated_plane.py",
]


def run(*command: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    result = subprocess.run(
        [str(part) for part in command],
        cwd=ROOT,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-6000:]
    return result


def has_libfuzzer(where: Path) -> bool:
    """Whether clang is here with the library, which is a package of its own."""
    if shutil.which("clang") is None:
        return False
    source = where / "nothing.c"
    source.write_text("int LLVMFuzzerTestOneInput() { return 0; }", encoding="utf-8")
    command = ["clang", "-fsanitize=fuzzer,address", "-o", str(where / "nothing"), str(source)]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def test_inputs_of_a_fuzzer_find_no_error(tmp_path: Path) -> None:
    program = tmp_path / "forwarder_fuzz"
    with ZipFile(CORPUS) as corpus:
        corpus.extractall(tmp_path / "kept")
    kept = sorted((tmp_path / "kept").iterdir())
    assert kept
    if has_libfuzzer(tmp_path):
        sanitizers = ["-fsanitize=fuzzer,address,undefined", "-fno-sanitize-recover=all", "-DWITH_LIBFUZZER"]
        run("clang", *FLAGS, *sanitizers, "-o", program, TARGET, LIBCRYPTO)
        found = tmp_path / "found"
        found.mkdir()
        result = run(
            program, f"-max_total_time={FUZZ_S}", "-max_len=4096", "-rss_limit_mb=512", found, tmp_path / "kept"
        )
        inputs = int(result.stderr.rsplit("Done ", 1)[1].split()[0])
    else:
        run("gcc", *FLAGS, *SANITIZERS, "-o", program, TARGET, LIBCRYPTO)
        inputs = int(run(program, str(FUZZ_S), *kept).stdout.split()[0])
    assert inputs > len(kept) + 100


@pytest.fixture(scope="module")
def sanitized(tmp_path_factory: pytest.TempPathFactory) -> Path:
    built = tmp_path_factory.mktemp("sanitized") / "forwarder.abi3.so"
    run("gcc", *FLAGS, *SANITIZERS, "-fPIC", "-shared", "-o", built, RELAY / "forwarder.c")
    return built


def test_the_plane_s_tests_pass_with_a_sanitized_core(sanitized: Path) -> None:
    libraries = [run("gcc", f"-print-file-name={name}").stdout.strip() for name in ("libasan.so", "libubsan.so")]
    result = run(
        *(sys.executable, "-m", "pytest", "-q", "-x", "-p", "support.sanitized", "-k", "not python", *TESTS),
        LD_PRELOAD=":".join(libraries),
        SANITIZED_FORWARDER=str(sanitized),
        PYTHONPATH=str(ROOT / "tests"),
        # The interpreter keeps what it has until it ends; what the core forgets, the tests count themselves.
        ASAN_OPTIONS="detect_leaks=0:abort_on_error=1",
        UBSAN_OPTIONS="print_stacktrace=1",
    )
    assert " passed" in result.stdout
