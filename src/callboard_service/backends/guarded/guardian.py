"""Run a program and end every process that it leaves: `guardian.py SOCKET PROGRAM [ARGUMENT ...]`.

One guardian runs for each program, as `python -I -S`, with the standard library only. The program
gets the guardian's standard descriptors, environment and working folder unchanged, and a session of
its own. SOCKET is the number of an inherited socket; both sides write lines to it:

    service → guardian    end WAIT GRACE   standard input is closed: SIGTERM for all after WAIT
                                           seconds, SIGKILL after GRACE more
                          (end of stream)  the service is gone: kill everything at once
    guardian → service    started PID      the program runs
                          failed ERRNO     it could not be started; the guardian ends
                          ended STATUS     it ended, with this exit code or minus the signal
                          sent SIGNAL N    N processes got this signal
                          left N           N processes could not be ended
                          (end of stream)  the guardian has ended, and no process is left

When the program ends by itself, the processes that it leaves are ended too. They get SIGTERM, and
SIGKILL after two seconds; they are collected before the first signal, since a process whose parent
has ended can no longer be told from others on all systems.

Linux: the guardian is a child subreaper (prctl(2)), so every descendant stays below it, whatever
session it is in, until the guardian has waited for it. Start times and pidfds guard against reused
process numbers. If the guardian itself is killed, the program is killed with it, but not its tools.

macOS and BSD: processes are found with ps(1), by their parent and by a random environment variable,
which a process can remove. There this is best effort. It has not been tried on macOS.
"""

import contextlib
import os
import select
import signal
import sys
import time
from collections.abc import Callable

assert sys.platform != "win32", "guardian_windows.py is the one for Windows"

GRACE = 2.0
"""Seconds between SIGTERM and SIGKILL, unless the service says another number."""

GIVE_UP = 10.0
"""Seconds after the first SIGKILL when the guardian stops waiting."""

RESCAN = 0.1
"""Seconds between two searches while killing, or where no signal tells of an orphan's end."""

MAX_DESCRIPTORS = 1 << 20
"""No descriptor of a service is as large."""

REREAD = 4
"""How often a process is read whose parent is not found."""

MARK = "AGENT_GUARDIAN_MARK"
_PS = "axEww" if sys.platform == "darwin" else "axeww"
_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36

Processes = dict[int, str]
"""Process numbers with start times, as text; the same number and start mean the same process."""


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0)


def _read(pid: int) -> tuple[int, str] | None:
    """Return the parent and the start time of a process, from /proc; None if it has ended.

    A program's name may contain parentheses, so the fields are counted from the last one (proc(5)).
    A process whose first thread has ended looks like a zombie, but has more threads.
    """
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
    except OSError:
        return None
    if len(fields) < 20 or (fields[0] in (b"Z", b"X") and int(fields[17]) < 2):
        return None
    return int(fields[1]), fields[19].decode()


def find_in_proc() -> Processes:
    """Return the descendants of this process that have not ended. Linux only.

    A process whose parent ended between the two being read has another parent by then, so it is
    read again.
    """
    parents: dict[int, tuple[int, str]] = {}
    unread = {int(name) for name in os.listdir("/proc") if name.isdigit()}
    for _ in range(REREAD):
        for pid in unread:
            if (found := _read(pid)) is not None:
                parents[pid] = found
            else:
                parents.pop(pid, None)
        unread = {pid for pid, (parent, _) in parents.items() if parent and parent not in parents}
    return _descendants(parents, {os.getpid()})


def find_with_ps(mark: str) -> Processes:
    """Return the descendants of this process and the processes with the mark, as ps(1) lists them.

    mark: the value of the environment variable MARK.
    """
    import subprocess

    command = ["/bin/ps", _PS, "-o", "pid=,ppid=,lstart=,command="]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as ps:  # noqa: S603
        listed = ps.communicate()[0]
    parents: dict[int, tuple[int, str]] = {}
    marked: set[int] = set()
    for line in listed.split(b"\n"):
        fields = line.split(None, 7)
        if len(fields) < 7 or int(fields[0]) == ps.pid:
            continue
        pid = int(fields[0])
        parents[pid] = int(fields[1]), b" ".join(fields[2:7]).decode()
        if f"{MARK}={mark}".encode() in line:
            marked.add(pid)
    found = _descendants(parents, {os.getpid(), *marked})
    return found | {pid: parents[pid][1] for pid in marked if pid != os.getpid()}


def _descendants(parents: dict[int, tuple[int, str]], roots: set[int]) -> Processes:
    children: dict[int, list[int]] = {}
    for pid, (parent, _) in parents.items():
        children.setdefault(parent, []).append(pid)
    found: Processes = {}
    waiting = list(roots)
    while waiting:
        for pid in children.get(waiting.pop(), ()):
            if pid not in found and pid not in roots:
                found[pid] = parents[pid][1]
                waiting.append(pid)
    return found


def send(pid: int, started: str, number: int) -> bool:
    """Send a signal to a process unless its number now belongs to another; return whether it was.

    A process that may not be signalled, such as one of another user, is left alone.
    """
    try:
        if sys.platform != "linux" or not hasattr(os, "pidfd_open"):
            os.kill(pid, number)
            return True
        descriptor = os.pidfd_open(pid)
        try:
            # Looked up after the descriptor was opened: a match means that both are one process.
            found = _read(pid)
            if found is None or found[1] != started:
                return False
            signal.pidfd_send_signal(descriptor, number)
        finally:
            os.close(descriptor)
    except OSError:
        return False
    return True


class Guardian:
    """The program's life: it runs, is asked to end, gets SIGTERM, and is killed."""

    def __init__(self, control: int, agent: int, mark: str) -> None:
        self._control = control
        self._agent = agent
        self._mark = mark
        self._received = b""
        self._children = True
        self._grace = GRACE
        self._next = self._terminate
        self._due: float | None = None
        """The time on the monotonic clock when `_next` is called; None: not yet."""
        self._give_up: float | None = None

    def run(self, wakeup: int) -> None:
        """Serve until no process is left. wakeup: becomes readable with each signal."""
        self.tell(f"started {self._agent}")
        poll = select.poll()
        poll.register(wakeup, select.POLLIN)
        poll.register(self._control, select.POLLIN)
        while True:
            self._reap()
            if not self._children and (sys.platform == "linux" or not self._find()):
                return
            now = time.monotonic()
            if self._give_up is not None and now >= self._give_up:
                self.tell(f"left {len(self._find())}")
                return
            if self._due is not None and now >= self._due:
                self._next()
                continue
            for descriptor, _ in poll.poll(self._wait(now)):
                if descriptor == wakeup:
                    self._heed(os.read(wakeup, 4096))
                elif not self._listen():
                    poll.unregister(self._control)

    def _wait(self, now: float) -> float | None:
        """Return the milliseconds to wait, or None for as long as it takes."""
        times = [time for time in (self._due, self._give_up) if time is not None]
        if not self._children:
            times.append(now + RESCAN)
        return max(min(times) - now, 0.0) * 1000 + 1 if times else None

    def tell(self, line: str) -> None:
        """Write a line to the service, which may be gone."""
        with contextlib.suppress(OSError):
            os.write(self._control, line.encode() + b"\n")

    def _reap(self) -> None:
        """Wait for the children that have ended, including adopted ones."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                self._children = False
                return
            if not pid:
                return
            if pid == self._agent:
                self._hurry(self._terminate)
                self.tell(f"ended {os.waitstatus_to_exitcode(status)}")

    def _heed(self, signals: bytes) -> None:
        if any(number in signals for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)):
            self._hurry(self._kill)

    def _listen(self) -> bool:
        """Read an order; return False at the end of the stream, when the service is gone."""
        try:
            data = os.read(self._control, 4096)
        except OSError:
            data = b""
        if not data:
            self._hurry(self._kill)
            return False
        *lines, self._received = (self._received + data).split(b"\n")
        for line in lines:
            _, wait, grace = line.split()
            self._grace = float(grace)
            if self._next == self._terminate:
                due = time.monotonic() + float(wait)
                self._due = due if self._due is None else min(due, self._due)
        return True

    def _hurry(self, step: Callable[[], None]) -> None:
        """Take this step now, unless that or a later one has been taken."""
        if self._next in (self._terminate, step) and self._give_up is None:
            self._next, self._due = step, time.monotonic()

    def _find(self) -> Processes:
        return find_in_proc() if sys.platform == "linux" else find_with_ps(self._mark)

    def _terminate(self) -> None:
        found = self._find()
        self._signal(found, signal.SIGTERM)
        self._next, self._due = self._kill, time.monotonic() + self._grace

    def _kill(self) -> None:
        """Stop everything that is found until nothing new is, so that nothing forks; then kill."""
        stopped: Processes = {}
        while fresh := {pid: at for pid, at in self._find().items() if stopped.get(pid) != at}:
            for pid, started in fresh.items():
                send(pid, started, signal.SIGSTOP)
            stopped |= fresh
        self._signal(stopped, signal.SIGKILL)
        now = time.monotonic()
        if self._give_up is None:
            self._give_up = now + GIVE_UP
        self._due = now + RESCAN

    def _signal(self, found: Processes, number: signal.Signals) -> None:
        sent = sum(send(pid, started, number) for pid, started in found.items())
        if sent:
            self.tell(f"sent {number.name} {sent}")


def start(control: int, program: list[str], mark: str) -> int:
    """Start the program and return its process number. Raises OSError with the reason of exec."""
    reading, writing = os.pipe()  # closed by a successful exec
    guardian = os.getpid()
    pid = os.fork()
    if pid:
        os.close(writing)
        with open(reading, "rb") as file:
            reason = file.read()
        if reason:
            os.waitpid(pid, 0)
            raise OSError(int(reason), os.strerror(int(reason)))
        return pid
    try:
        os.close(control)
        os.setsid()
        for number in (signal.SIGPIPE, signal.SIGXFSZ):
            signal.signal(number, signal.SIG_DFL)
        _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != guardian:
            os._exit(1)
        if sys.platform != "linux":
            os.environ[MARK] = mark
        os.execv(program[0], program)  # noqa: S606
    except OSError as error:
        os.write(writing, str(error.errno).encode())
    finally:
        os._exit(127)


def close_others(kept: int) -> None:
    """Close all descriptors but the standard ones and `kept`, which no child inherits then.

    libuv, and so uvloop, closes only those that are marked to be closed by an exec; a service
    inherits others from the program that started it.
    """
    os.set_inheritable(kept, False)
    os.closerange(3, kept)
    os.closerange(kept + 1, min(os.sysconf("SC_OPEN_MAX"), MAX_DESCRIPTORS))


def main() -> None:
    """Start the program, give up its descriptors and its folder, and guard it."""
    control = int(sys.argv[1])
    close_others(control)
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)
    mark = os.urandom(16).hex()
    try:
        agent = start(control, sys.argv[2:], mark)
    except OSError as error:
        os.write(control, f"failed {error.errno}\n".encode())
        return
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in range(3):
        os.dup2(null, descriptor)
    os.close(null)
    os.chdir("/")
    wakeup, write_end = os.pipe()
    os.set_blocking(write_end, False)
    signal.set_wakeup_fd(write_end, warn_on_full_buffer=False)
    for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda _number, _frame: None)
    Guardian(control, agent, mark).run(wakeup)


if __name__ == "__main__":
    main()
