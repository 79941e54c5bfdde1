"""Identifies the process that wrote a file, and tells whether it still runs.

A process number alone does neither: numbers are reused, and each container has its own. Wall-clock
time does not help, since that clock may be set. So a process is identified by what never changes:
the boot of its kernel, its namespace, and its start time on the kernel's own clock. Where these
cannot be compared, the lock on the file decides; without a lock, the answer is unknown.
"""

import math
import os
import platform
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Final

import psutil

_LARGEST_PID: Final = 2**31 - 1
_SAME_MOMENT: Final = 0.01
"""Seconds by which two readings of one start time may differ, where it has a fraction."""


class Life(Enum):
    """Whether a process runs, as far as can be determined."""

    ALIVE = "alive"
    DEAD = "dead"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class ProcessIdentity:
    """One process. `started` is comparable only on the same boot and in the same namespace.

    pid: its number, in its own namespace.
    host: the machine's or the container's name.
    boot: the id that the kernel made when it booted; empty on systems other than Linux.
    namespace: in which `pid` and `started` have their meaning; empty on systems other than Linux.
    started: clock ticks since the boot on Linux, elsewhere seconds since 1970 as the kernel noted
    them at the start; 0 if unknown.
    """

    pid: int
    host: str
    boot: str
    namespace: str
    started: float

    def to_json(self, *, locked: bool) -> dict[str, object]:
        """Return what a file records besides its number. locked: whether the file is locked."""
        return {
            "host": self.host,
            "boot": self.boot,
            "namespace": self.namespace,
            "started": self.started,
            "locked": locked,
        }


def parse_process(pid: object, content: Mapping[str, object]) -> tuple[ProcessIdentity, bool]:
    """Return the process that a file names, and whether it locked the file.

    Raises KeyError, ValueError, TypeError or OverflowError if the content is invalid.
    """
    if type(pid) is not int or not 0 < pid <= _LARGEST_PID:
        raise ValueError("no process number")
    identity = ProcessIdentity(
        pid,
        word(content["host"]),
        word(content["boot"]),
        word(content["namespace"]),
        number(content["started"]),
    )
    return identity, content["locked"] is True


def word(value: object) -> str:
    """Return a text from a file. Raises TypeError for anything else."""
    if not isinstance(value, str):
        raise TypeError("no text")
    return value


def number(value: object) -> float:
    """Return a finite number from a file. Raises ValueError or OverflowError for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError("no number")
    return value


def look(pid: int) -> float | None:
    """Return the start time of the process with this number in our namespace; None if hidden.

    The unit is that of `ProcessIdentity.started`. Raises ProcessLookupError if there is none, or if
    it has ended and only waits for its parent.
    """
    if sys.platform != "linux":
        return _look_with_psutil(pid)
    # Without a /proc of its own, a new namespace shows the processes of another one.
    if _read_link("/proc/self") == str(os.getpid()):
        try:
            stat = Path(f"/proc/{pid}/stat").read_bytes()
        except OSError:
            pass  # gone, or hidden from us (proc(5), hidepid)
        else:
            return _parse_stat(stat)
    with suppress(PermissionError):
        os.kill(pid, 0)  # raises ProcessLookupError
    return None


def identify(pid: int) -> ProcessIdentity:
    """Return the identity of this process, or of another one in the same namespace."""
    started: float | None = None
    if sys.platform == "linux" and pid == os.getpid():
        with suppress(OSError):
            # Correct even if /proc/PID is a process of another namespace.
            started = _parse_stat(Path("/proc/self/stat").read_bytes())
    else:
        with suppress(ProcessLookupError):
            started = look(pid)
    return ProcessIdentity(pid, platform.node(), _boot(), _namespace(), started or 0)


@dataclass(frozen=True, slots=True)
class Judge:
    """Judges whether processes run, from the point of view of one process.

    here: the identity of the judging process. look: like the function of that name.
    """

    here: ProcessIdentity
    look: Callable[[int], float | None] = look

    def is_near(self, process: ProcessIdentity) -> bool:
        """Return whether this process's number and start time are comparable with ours."""
        here = self.here
        same = (process.boot, process.namespace) == (here.boot, here.namespace)
        return same and process.started > 0 and (here.boot != "" or process.host == here.host)

    def judge(self, process: ProcessIdentity, *, locked: bool, held: bool | None) -> Life:
        """Return whether the process runs.

        locked: whether it locked its file. held: whether that file is locked now; None if that
        cannot be determined.
        """
        here = self.here
        if self.is_near(process) and (life := self._compare(process)) is not Life.UNKNOWN:
            return life
        if held:
            return Life.ALIVE
        if locked and held is False and process.boot == here.boot:
            # The same kernel granted the lock, and knows that it has been released.
            return Life.DEAD
        if process.host == here.host and "" != process.boot != here.boot != "":
            return Life.DEAD
        return Life.UNKNOWN

    def _compare(self, process: ProcessIdentity) -> Life:
        try:
            started = self.look(process.pid)
        except ProcessLookupError:
            return Life.DEAD
        if started is None:
            return Life.UNKNOWN
        return Life.ALIVE if abs(started - process.started) <= _SAME_MOMENT else Life.DEAD


def _parse_stat(text: bytes) -> float:
    """Return field 22 of /proc/PID/stat (proc(5)): the start, in ticks since the boot.

    The fields are counted from the last parenthesis, since a program's name may contain one. Raises
    ProcessLookupError for a zombie.
    """
    state, *rest = text.rpartition(b")")[2].split()
    if state in (b"Z", b"X", b"x"):
        raise ProcessLookupError
    return float(rest[18])


def _look_with_psutil(pid: int) -> float | None:
    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            raise ProcessLookupError
        return process.create_time()
    except psutil.NoSuchProcess:
        raise ProcessLookupError from None
    except psutil.Error:
        return None


def _boot() -> str:
    if sys.platform != "linux":
        return ""
    with suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    return ""


def _namespace() -> str:
    """Return the namespaces in which process numbers and start times are meaningful."""
    if sys.platform != "linux":
        return ""
    return " ".join(_read_link(f"/proc/self/ns/{kind}") for kind in ("pid", "time")).strip()


def _read_link(path: str) -> str:
    with suppress(OSError):
        return os.readlink(path)
    return ""
