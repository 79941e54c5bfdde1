"""`callboard chat` on a pseudo-terminal, as a person has it."""

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path

import pexpect

from tests.e2e.service_process import ServiceProcess, command, environment

STEERING = re.compile(r"\x1b(?:\[[0-9;?]*[a-zA-Z]|[=>])")
# A prompt asks for pastes in brackets when it opens, and no more when it has its line.
OPENED = "\x1b[?2004h"
TYPED = "\x1b[?2004l"


class Terminal:
    """`callboard chat` on a pseudo-terminal."""

    def __init__(self, child: "pexpect.spawn[str]") -> None:
        self.child = child

    def until(self, text: str) -> str:
        """What is shown before this text comes."""
        self.child.expect_exact(text)
        return plain(self.child.before)

    def prompt(self) -> str:
        """What is shown before the next prompt."""
        return self.until(OPENED)

    def type(self, text: str) -> None:
        """Type a line, and have it taken."""
        self.child.send(text + "\r")
        self.child.expect_exact(TYPED)

    def say(self, text: str) -> list[str]:
        """Type a line: what is shown before the next prompt, line by line."""
        self.type(text)
        return self.prompt().strip().splitlines()

    def press(self, key: str) -> None:
        """Ctrl and this key."""
        self.child.sendcontrol(key)

    def end(self) -> tuple[int, str]:
        """The exit code, and what is shown to the end."""
        self.child.expect(pexpect.EOF)
        shown = plain(self.child.before)
        self.child.close()
        assert isinstance(self.child.exitstatus, int)
        return self.child.exitstatus, shown


def plain(shown: str) -> str:
    """Without what steers the terminal."""
    return STEERING.sub("", shown).replace("\r", "")


@contextlib.contextmanager
def talking(
    folder: Path, service: ServiceProcess, *flags: str, **settings: str
) -> Iterator[Terminal]:
    """Start it, end it; what it keeps goes in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    program, *arguments = command("chat", *flags)
    child = pexpect.spawn(
        program, arguments, cwd=str(folder), env=of(folder, service) | settings, encoding="utf-8",
        timeout=20, dimensions=(40, 160), echo=True,
    )  # fmt: skip
    try:
        yield Terminal(child)
    finally:
        child.close(force=True)


def of(folder: Path, service: ServiceProcess) -> dict[str, str]:
    """An environment in which this service is found."""
    found = {"CALLBOARD_RUNTIME_DIR": str(Path(service.ready["runtime_file"]).parent)}
    # A pseudo-terminal that nobody looks at does not say where its cursor is.
    return environment(folder, **found) | {"TERM": "xterm", "PROMPT_TOOLKIT_NO_CPR": "1"}
