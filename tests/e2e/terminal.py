"""`callboard chat` on a pseudo-terminal, as a person uses it."""

import contextlib
import os
import re
import signal
from collections.abc import Iterator, Mapping
from pathlib import Path

import pexpect

from tests.e2e.service_process import ServiceProcess, command, environment
from tests.support.bound import BOUND
from tests.support.copied_terminal import Spawned
from tests.support.forking import may_copy

STEERING = re.compile(r"\x1b(?:\[[0-9;?]*[a-zA-Z]|[=>])")
# A prompt enables bracketed paste when it opens, and disables it when it has its line.
OPENED = "\x1b[?2004h"
TYPED = "\x1b[?2004l"


def spawned(
    *arguments: str,
    env: Mapping[str, str],
    cwd: Path | None = None,
    timeout: float = 60,
    size: tuple[int, int] = (24, 80),
    codec_errors: str = "strict",
) -> "pexpect.spawn[str]":
    """Start `callboard` on a pseudo-terminal with this many rows and columns.

    timeout: seconds to wait for what is expected; it only ends a test that hangs.
    """
    own = {name: value for name, value in env.items() if os.environ.get(name) != value}
    kind = Spawned if may_copy(own) and not BOUND else pexpect.spawn
    program, *rest = command(*arguments)
    child: pexpect.spawn[str] = kind(
        program, rest, cwd=cwd and str(cwd), env=env, encoding="utf-8", timeout=timeout,
        codec_errors=codec_errors, dimensions=size,
        # Tests that run in the background ignore SIGINT, and the child would inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip
    return child


class Terminal:
    """`callboard chat` on a pseudo-terminal."""

    def __init__(self, child: "pexpect.spawn[str]") -> None:
        self.child = child

    def until(self, text: str) -> str:
        """Wait for this text and return what is shown before it."""
        self.child.expect_exact(text)
        return plain(self.child.before)

    def prompt(self) -> str:
        """Wait for the next prompt and return what is shown before it."""
        return self.until(OPENED)

    def type(self, text: str) -> None:
        """Type a line, and wait until the prompt has accepted it."""
        self.child.send(text + "\r")
        self.child.expect_exact(TYPED)

    def say(self, text: str) -> list[str]:
        """Type a line and return the lines shown before the next prompt."""
        self.type(text)
        return self.prompt().strip().splitlines()

    def press(self, key: str) -> None:
        """Press Ctrl and this key."""
        self.child.sendcontrol(key)

    def end(self) -> tuple[int, str]:
        """Wait for the end; return the exit code and the output up to it."""
        self.child.expect(pexpect.EOF)
        shown = plain(self.child.before)
        self.child.close()
        assert isinstance(self.child.exitstatus, int)
        return self.child.exitstatus, shown


def plain(shown: str) -> str:
    """Remove escape sequences and carriage returns."""
    return STEERING.sub("", shown).replace("\r", "")


@contextlib.contextmanager
def talking(
    folder: Path, service: ServiceProcess, *flags: str, **settings: str
) -> Iterator[Terminal]:
    """Run `callboard chat` on a pseudo-terminal, with its files in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    env = of(folder, service) | settings
    child = spawned("chat", *flags, env=env, cwd=folder, size=(40, 160))
    try:
        yield Terminal(child)
    finally:
        child.close(force=True)


def of(folder: Path, service: ServiceProcess) -> dict[str, str]:
    """Make an environment in which a command finds this service."""
    found = {"CALLBOARD_RUNTIME_DIR": str(Path(service.ready["runtime_file"]).parent)}
    # The pseudo-terminal does not answer requests for the position of its cursor.
    return environment(folder, **found) | {"TERM": "xterm", "PROMPT_TOOLKIT_NO_CPR": "1"}
