"""Which tests make a server answer which error code of docs/protocol.md, and close with which number.

Only what a server wrote for a client counts: a code that a test has only in its text, or that scripted call control
gave, does not. What the documentation calls reserved must not be answered at all.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final

from support.run_records import RunRecord
from triortc.engine.calls.replies import CallFault
from triortc.engine.calls.supervisor import CallSupervisor
from triortc.signaling import link, session
from triortc.signaling.link import CloseCode, Link
from triortc.signaling.server import SignalServer

__all__ = ["AnsweredErrors", "documented_codes"]

_TESTS: Final = Path(__file__).parents[1]
_ABOUT_SIGNALING: Final = re.compile(r"^from (support\.signaling_|triortc\.signaling\.(session|server) )", re.MULTILINE)

SIGNALING_TESTS: Final = tuple(
    path
    for folder in ("unit", "sim", "conformance")
    for path in sorted((_TESTS / folder).glob("test_*.py"))
    if _ABOUT_SIGNALING.search(path.read_text(encoding="utf-8"))
)
"""The files whose tests count: those whose server runs in the tests' own process."""


@cache
def documented_codes() -> Mapping[str, bool]:
    """Every code of the table of errors and every number that servers close with, and whether it is reserved."""
    text = (_TESTS.parent / "docs" / "protocol.md").read_text(encoding="utf-8")
    section = text.partition("\n## Errors\n")[2].partition("\n## ")[0]
    codes = {code: "reserved" in row for code, row in re.findall(r"^\| `([a-z_.]+)` \|(.*)$", section, re.MULTILINE)}
    return {**codes, **{f"close {int(code)}": f"{int(code)} is reserved" in section for code in CloseCode}}


class AnsweredErrors(RunRecord[str]):
    """Records for each code the tests in which a server answered it, and fails a whole run in which a code has none."""

    def __init__(self) -> None:
        super().__init__("the errors of the protocol", documented_codes(), SIGNALING_TESTS)
        self._pretended = False
        self._encode: Callable[..., bytes] = vars(link)["encode_error"]
        self._replied = SignalServer._replied
        self._close = Link.close

    def watch(self) -> None:
        def encode(re: str | None, code: str, message: str, **more: Any) -> bytes:
            if not self._pretended:
                self.did(code)
            return self._encode(re, code, message, **more)

        def replied(server: SignalServer, *command: Any) -> None:
            self._pretended = isinstance(command[-1], CallFault) and not isinstance(server.calls, CallSupervisor)
            try:
                self._replied(server, *command)
            finally:
                self._pretended = False

        def close(closing: Link, code: int, *reason: Any, **more: Any) -> None:
            self.did(f"close {int(code)}")
            self._close(closing, code, *reason, **more)

        self._use(encode, replied, close)

    def unwatch(self) -> None:
        self._use(self._encode, self._replied, self._close)

    @staticmethod
    def _use(encode: Callable[..., bytes], replied: Callable[..., None], close: Callable[..., None]) -> None:
        # What unwatch undoes at the end of the session.
        for module in (link, session):
            vars(module)["encode_error"] = encode
        SignalServer._replied = replied  # type: ignore[method-assign]  # see above
        Link.close = close  # type: ignore[method-assign]  # see above

    def judge(self) -> list[str]:
        reserved = {code for code, is_reserved in documented_codes().items() if is_reserved}
        missing = [code for code, tests in self.taken.items() if not tests and code not in reserved]
        early = [code for code in sorted(reserved) if self.taken[code]]
        return [f"no test makes a server answer {code}" for code in missing] + [
            f"{code} is answered, and docs/protocol.md calls it reserved" for code in early
        ]
