"""Which plane runs: chosen, or by what the machine has; said in words, and once in the log."""

from __future__ import annotations

import logging

import pytest
from click.testing import CliRunner

from triortc.engine.relay import acceleration as room
from triortc.engine.relay import plane_choice
from triortc.engine.relay.accelerated_plane import AcceleratedPlane
from triortc.engine.relay.acceleration import Acceleration, acceleration
from triortc.engine.relay.plane_choice import choose_plane, describe_choice
from triortc.engine.relay.python_plane import PythonPlane
from triortc.errors import ConfigurationError
from triortc.signaling.cli import main


@pytest.fixture
def absent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plane_choice, "acceleration", lambda: Acceleration(None, "no libcrypto to use"))


def test_auto_takes_the_accelerated_plane_where_it_can_run() -> None:
    plane = choose_plane("auto")
    assert isinstance(plane, AcceleratedPlane)
    plane.stop()
    assert describe_choice("auto")[0] == "accelerated"


def test_python_is_python_whatever_the_machine_has() -> None:
    assert type(choose_plane("python")) is PythonPlane
    assert describe_choice("python")[0] == "python"


@pytest.mark.usefixtures("absent")
def test_without_what_it_needs_auto_is_the_python_plane_and_says_so_once(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, logger="triortc.plane"):
        assert type(choose_plane("auto")) is PythonPlane
    assert [record.getMessage() for record in caplog.records] == [
        "packets are forwarded by the Python plane: no libcrypto to use"
    ]
    assert describe_choice("auto") == ("python", "no libcrypto to use")


@pytest.mark.usefixtures("absent")
def test_an_accelerated_plane_that_cannot_run_is_refused_in_words() -> None:
    with pytest.raises(ConfigurationError, match="choose plane auto or python"):
        choose_plane("accelerated")


def test_a_machine_without_libcrypto_or_with_another_one_is_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "LIBRARIES", ("libnothing-of-that-name.so.9", "libc.so.6"))
    found = acceleration.__wrapped__()
    assert found.core is None
    assert "libnothing-of-that-name.so.9: cannot open" in found.reason
    assert "libc.so.6: undefined symbol: EVP_CIPHER_CTX_new" in found.reason


def test_doctor_says_which_plane_runs_and_why(monkeypatch: pytest.MonkeyPatch) -> None:
    result = CliRunner().invoke(main, ["doctor"])
    assert result.exit_code == 0
    assert "data plane    accelerated: the extension was built, libcrypto.so" in result.output
    assert "recvmmsg" in result.output
    monkeypatch.setattr(plane_choice, "acceleration", lambda: Acceleration(None, "no compiler"))
    result = CliRunner().invoke(main, ["doctor", "--plane", "accelerated"])
    assert result.exit_code == 1
    assert "python: no compiler" in result.output
