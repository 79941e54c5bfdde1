"""A fake agent: `fake_program.py WORD ...` does what each word says, then echoes its input.

Reading "leave", it ends with exit code 3. It opens the pipe that WITNESS names and never closes it,
nor do the processes that it starts: the pipe ends when none of them is left.
"""

import ctypes
import os
import platform
import signal
import sys
import threading
from collections.abc import Callable


def fork(*steps: Callable[[], object]) -> None:
    """Start a process that takes these steps and then waits for a signal that ends it."""
    if os.fork() == 0:
        for step in steps:
            step()
        while True:
            signal.pause()


def detach() -> None:
    """Leave the agent: a session of its own, and no parent among the agent's processes."""
    os.setsid()
    if os.fork():
        os._exit(0)


def ignore_sigterm() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def fork_at_sigterm() -> None:
    """Answer SIGTERM with a new process, in a session of its own."""
    signal.signal(signal.SIGTERM, lambda *_: fork(detach))


def lose_first_thread() -> None:
    """End the first thread; the process goes on, and looks like a zombie."""
    threading.Thread(target=threading.Event().wait).start()
    exit_number = {"x86_64": 60, "aarch64": 93}[platform.machine()]
    ctypes.CDLL(None).syscall(exit_number, 0)


def print_errors() -> None:
    os.write(2, b"x" * 100_000 + b"\nout of luck: api_key=abcdefghijkl\n")


def stop_listening() -> None:
    say("ready")
    while True:
        signal.pause()


WORDS: dict[str, Callable[[], object]] = {
    "ignore": ignore_sigterm,
    "tool": fork,
    "detached": lambda: fork(detach),
    "stubborn": lambda: fork(detach, ignore_sigterm),
    "forking": lambda: fork(detach, fork_at_sigterm),
    "headless": lambda: fork(detach, lose_first_thread),
    "errors": print_errors,
    "deaf": stop_listening,
}


def say(text: str) -> None:
    os.write(1, text.encode() + b"\n")


def main() -> None:
    if witness := os.environ.get("WITNESS"):
        os.set_inheritable(os.open(witness, os.O_WRONLY), True)
    for word in sys.argv[1:]:
        WORDS[word]()
    say("ready")
    while data := os.read(0, 65536):
        if data == b"leave":
            os._exit(3)
        while data:
            data = data[os.write(1, data) :]


if __name__ == "__main__":
    main()
