"""The distribution as a stranger gets it: a wheel in a fresh virtual environment, with every public module in it."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
ROOMS = {
    "triortc.engine": "engine",
    "triortc.signaling": "signaling",
    "triortc.codecs": "codecs",
    "triortc.bench": "bench",
}


@pytest.fixture(scope="module", params=["compiler", "no compiler"])
def wheel(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built with and without a compiler from the sources that git would give a stranger."""
    source = tmp_path_factory.mktemp("source")
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, check=True, capture_output=True, text=True
    )
    for name in listed.stdout.splitlines():
        if (ROOT / name).is_file():
            target = source / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes((ROOT / name).read_bytes())
    environment = os.environ | ({"CC": "/bin/false"} if request.param == "no compiler" else {})
    out = tmp_path_factory.mktemp("wheel")
    # Without isolation: the build backend is in the test environment, and nothing is fetched.
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(source)],
        check=True,
        capture_output=True,
        env=environment,
    )
    return next(out.glob("*.whl"))


def is_accelerated(wheel: Path) -> bool:
    """Whether the wheel holds the extension."""
    return any(name.startswith("triortc/engine/relay/forwarder.") and name.endswith(".so") for name in namelist(wheel))


def namelist(wheel: Path) -> list[str]:
    """The files of a wheel."""
    return zipfile.ZipFile(wheel).namelist()


def test_the_extension_is_in_the_wheel_where_there_is_a_compiler_and_its_types_always(
    wheel: Path, request: pytest.FixtureRequest
) -> None:
    assert is_accelerated(wheel) == (request.node.callspec.params["wheel"] == "compiler")
    assert "triortc/engine/relay/core.py" in namelist(wheel)
    # One file for every Python from 3.11 on.
    assert "cp311-abi3" in wheel.name


def modules() -> list[str]:
    """Every module of the distribution, by the folders that are in the repository."""
    found = ["triortc", "triortc.errors"]
    for package, folder in ROOMS.items():
        for file in sorted((ROOT / folder).rglob("*.py")):
            parts = file.relative_to(ROOT / folder).with_suffix("").parts
            if parts[0] == "peers":
                continue
            found.append(".".join((package, *(part for part in parts if part != "__init__"))))
    return found


def test_the_wheel_holds_the_type_marker_the_page_and_the_licence(wheel: Path) -> None:
    names = namelist(wheel)
    assert "triortc/py.typed" in names
    assert any(name.endswith("licenses/LICENSE") for name in names)
    for page in sorted((ROOT / "signaling" / "web").iterdir()):
        if page.suffix in (".html", ".js", ".css", ".svg"):
            assert f"triortc/signaling/web/{page.name}" in names
    assert not [name for name in names if name.startswith(("codecs/", "engine/", "signaling/", "bench/", "tests/"))]


def test_every_package_of_the_repository_is_named_in_pyproject() -> None:
    declared = set(PROJECT["tool"]["setuptools"]["packages"])
    present = {"triortc"}
    for package, folder in ROOMS.items():
        for init in (ROOT / folder).rglob("__init__.py"):
            present.add(".".join((package, *init.parent.relative_to(ROOT / folder).parts)))
    assert declared == present


def test_installed_into_a_fresh_environment_every_module_imports_and_the_command_runs(
    wheel: Path, tmp_path: Path
) -> None:
    venv.create(tmp_path / "env", with_pip=True)
    python = tmp_path / "env" / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", str(wheel)], check=True)
    # The dependencies come from the test environment, behind the wheel; the checkout itself does not.
    packages = subprocess.run(
        [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.strip()
    own = sysconfig.get_path("purelib")
    (Path(packages) / "dependencies.pth").write_text(own + "\n", encoding="utf-8")
    program = (
        "import importlib, sys\n"
        "for name in sys.argv[1:]:\n"
        "    module = importlib.import_module(name)\n"
        "    assert sys.prefix in (module.__file__ or ''), module.__file__\n"
        "import codecs; codecs.lookup('utf-8')\n"
        "from triortc.engine.relay.acceleration import acceleration\n"
        "found = acceleration()\n"
        f"assert (found.core is not None) == {is_accelerated(wheel)}, found.reason\n"
    )
    subprocess.run([python, "-c", program, *modules()], check=True, cwd=tmp_path)
    shown = subprocess.run(
        [tmp_path / "env" / "bin" / "triortc", "--version"], check=True, capture_output=True, text=True, cwd=tmp_path
    )
    assert PROJECT["project"]["version"] in shown.stdout
