"""A service that is killed between any two steps of a message, and the same message again."""

import subprocess
import sys


def test_a_message_sent_again_after_a_kill_is_admitted_once() -> None:
    """The history has it once, and no position is issued again; `make killed` does 1,000 runs."""
    command = [sys.executable, "-m", "tests.support.killed_turns", "20"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    assert " runs, up to seed " in done.stdout, done.stdout
