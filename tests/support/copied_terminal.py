"""`callboard` on a pseudo-terminal, as a copy of a process that has imported it."""

import os
import pty
from collections.abc import Mapping, Sequence
from typing import Any

import pexpect
import ptyprocess

from tests.support.forking import Copy, source


class _OnTerminal(ptyprocess.PtyProcess):  # type: ignore[misc]  # it has no types
    """A copy on a terminal; only its maker can wait for it."""

    def __init__(self, copy: Copy, terminal: int) -> None:
        super().__init__(copy.pid, terminal)
        self._copy = copy

    def isalive(self) -> bool:
        return self._known(self._copy.poll())

    def wait(self) -> int | None:
        self._known(self._copy.wait())
        return self.exitstatus

    def _known(self, code: int | None) -> bool:
        if code is not None:
            self.terminated = True
            self.exitstatus = code if code >= 0 else None
            self.signalstatus = -code if code < 0 else None
        return code is None


class Spawned(pexpect.spawn):  # type: ignore[misc]  # it has no types
    """What pexpect shows and types, of a copy with these arguments."""

    def _spawnpty(
        self,
        args: Sequence[bytes | str],
        *,
        env: Mapping[str, str],
        cwd: str | None,
        dimensions: tuple[int, int] = (24, 80),
        **_: Any,
    ) -> _OnTerminal:
        ours, theirs = pty.openpty()
        ptyprocess.ptyprocess._setwinsize(theirs, *dimensions)
        try:
            pid, status = source().start(
                [os.fsdecode(one) for one in args[1:]], cwd or os.getcwd(), env,
                stdin=theirs, stdout=theirs, stderr=theirs, controlled=True,
            )  # fmt: skip
        finally:
            os.close(theirs)
        return _OnTerminal(Copy(pid, status, None, None), ours)
