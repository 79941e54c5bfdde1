"""A page of the documentation, and a reader who follows it.

In a `console` block, a line with `$` is a command; its output follows, in which `...` stands for
any text. In a `sh` block, each line is a command. A command that serves runs in a terminal of its
own until `kill %1`, Ctrl-C or the end of the page; the output shown for it, and `log` blocks, are
that terminal's output. Times, numbers and the width of columns may differ.
"""

import re
import shlex
import signal
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pexpect

from tests.e2e.terminal import OPENED, plain

BLOCK = re.compile(r"^```(\w*)(?: title=\"([^\"]+)\")?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SERVES = re.compile(r"\b(?:callboard|make) serve\b")
READY = r"ready [^\n]*url[^\n]*\n"
VARIES = re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+Z|\b[0-9a-f]{12}\b|\d+")


@dataclass(frozen=True)
class Block:
    language: str
    title: str
    text: str

    def commands(self) -> Iterator[tuple[str, str]]:
        """Yield each command and the output shown for it."""
        if self.language == "sh":
            yield from ((line, "...") for line in self.text.splitlines())
            return
        for part in re.split(r"^\$ ", self.text, flags=re.MULTILINE)[1:]:
            command, _, output = part.partition("\n")
            yield command, output


def blocks(page: Path) -> list[Block]:
    return [Block(*found) for found in BLOCK.findall(page.read_text(encoding="utf-8"))]


def matches(shown: str, said: str) -> bool:
    pattern = re.escape(shown.rstrip()).replace(re.escape("..."), ".*")
    return re.fullmatch(pattern, said.rstrip(), re.DOTALL) is not None


def even(line: str) -> str:
    """Replace the parts of a log line that vary: times, ids, numbers and widths."""
    return " ".join(VARIES.sub("#", line).split())


@dataclass
class Reader:
    """Follows a page in a folder.

    replaced: placeholders and addresses of real servers, and what to use instead.
    said_once: lines of the page that appear only on first use, and not here.
    said_freely: outputs that vary, so that any text will do.
    """

    folder: Path
    environment: dict[str, str]
    replaced: Mapping[str, str] = field(default_factory=dict)
    said_once: tuple[str, ...] = ()
    said_freely: tuple[str, ...] = ()
    service: "pexpect.spawn[str] | None" = None
    log: str = ""

    def read(self, block: Block) -> None:
        """Write the file that the block shows, expect its log lines, or run its commands."""
        if block.title:
            (self.folder / block.title).write_text(block.text)
        elif block.language == "log":
            self.expect_log(block.text)
        else:
            for command, output in block.commands():
                self.give(command, output)

    def give(self, command: str, output: str) -> None:
        """Run a command, which must succeed with this output."""
        for shown, meant in self.replaced.items():
            command = command.replace(shown, meant)
        if SERVES.search(command):
            self.serve(command.removesuffix(" &"))
            self.expect_log(output)
        elif command == "kill %1":
            self.stop(signal.SIGTERM)
        elif command.endswith("callboard chat"):
            self.chat(command)
        else:
            done = self.run(command)
            told = f"$ {command}\n{done.stdout}\n{done.stderr}"
            # A checker must fail if the page shows an error that it finds.
            assert done.returncode == (1 if "error: " in output else 0), told
            free = output.strip() in self.said_freely and done.stdout.strip()
            assert free or matches(output, done.stdout), told
            self.done(command)

    def done(self, command: str) -> None:
        """Called after each command; subclasses may override it."""

    def run(self, command: str) -> "subprocess.CompletedProcess[str]":
        """Run it as the next line of one shell: exported variables stay."""
        return subprocess.run(
            ["bash", "-c", self._line(command)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            cwd=self.folder,
            env=self.environment,
        )

    def _line(self, command: str) -> str:
        state = shlex.quote(f"{self.folder}.shell")
        return f"[ ! -e {state} ] || . {state}\n{command}\ns=$?; export -p >{state}; exit $s"

    # -- services ----------------------------------------------------------------------------

    def serve(self, command: str) -> None:
        """Stop the previous service, start one and wait until it is ready."""
        self.stop()
        self.service = self._spawn(command)
        if self.service.expect([READY, pexpect.EOF]):
            raise AssertionError(f"$ {command}\n{self.service.before}")
        self.log = plain(f"{self.service.before}{self.service.after}")

    def expect_log(self, shown: str) -> None:
        """Wait until the service has logged each of these lines."""
        for line in shown.splitlines():
            if line in self.said_once or line == "...":
                continue
            assert self.service is not None, "nothing serves"
            while even(line) not in map(even, self.log.splitlines()):
                self.service.expect("\n")
                self.log += plain(self.service.before or "") + "\n"

    def stop(self, number: int = signal.SIGINT) -> None:
        """Stop the service as its user would, and check that it stops in order."""
        service, self.service = self.service, None
        if service is None:
            return
        try:
            if number == signal.SIGINT:
                service.sendintr()
            else:
                service.kill(number)
            service.expect(pexpect.EOF)
            assert "stopped" in plain(service.before or "")
        finally:
            service.close(force=True)

    def chat(self, command: str) -> None:
        """Start a chat, wait for its prompt and leave."""
        chat = self._spawn(command)
        chat.expect_exact(OPENED)
        chat.sendcontrol("d")
        chat.expect(pexpect.EOF)
        chat.close()
        assert chat.exitstatus == 0, chat.before

    def _spawn(self, command: str) -> Any:
        state = shlex.quote(f"{self.folder}.shell")
        # The pseudo-terminal does not answer requests for the position of its cursor.
        terminal = {"TERM": "xterm", "PROMPT_TOOLKIT_NO_CPR": "1"}
        return pexpect.spawn(
            "bash", ["-c", f"[ ! -e {state} ] || . {state}\nexec env {command}"],
            cwd=str(self.folder), env=self.environment | terminal, encoding="utf-8",
            timeout=None, dimensions=(50, 250),
            # Tests that run in the background ignore SIGINT, and the child would inherit that.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )  # fmt: skip
