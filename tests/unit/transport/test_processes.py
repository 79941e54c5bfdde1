"""A process is identified and judged to run or not, on made-up systems and on this one."""

import os
import subprocess
import sys
from dataclasses import replace

import pytest

from transport.processes import Judge, Life, ProcessIdentity, identify, look

THERE = ProcessIdentity(pid=7, host="a", boot="b1", namespace="n1", started=500)
HERE = replace(THERE, pid=9, started=900)


def starts_at(started: float | None) -> Judge:
    """Return a system on which every process started then; None: it does not show processes."""
    return Judge(HERE, lambda _: started)


def has_none() -> Judge:
    def look(pid: int) -> float:
        raise ProcessLookupError(pid)

    return Judge(HERE, look)


@pytest.mark.parametrize("locked", [True, False])
@pytest.mark.parametrize("held", [True, False, None])
def test_in_one_namespace_number_and_start_decide(locked: bool, held: bool | None) -> None:
    assert starts_at(500).judge(THERE, locked=locked, held=held) is Life.ALIVE
    assert starts_at(501).judge(THERE, locked=locked, held=held) is Life.DEAD
    assert has_none().judge(THERE, locked=locked, held=held) is Life.DEAD


@pytest.mark.parametrize(
    ("locked", "held", "life"),
    [
        (True, True, Life.ALIVE),
        (True, False, Life.DEAD),
        (True, None, Life.UNKNOWN),
        (False, False, Life.UNKNOWN),
        (False, None, Life.UNKNOWN),
    ],
)
def test_where_they_cannot_be_compared_the_lock_decides(
    locked: bool, held: bool | None, life: Life
) -> None:
    for judge, process in (
        (starts_at(500), replace(THERE, namespace="n2", host="container")),
        (has_none(), replace(THERE, namespace="n2")),
        (has_none(), replace(THERE, started=0)),
        (starts_at(None), THERE),
    ):
        assert judge.judge(process, locked=locked, held=held) is life


def test_a_process_of_an_earlier_boot_is_dead_and_of_another_machine_is_not_known() -> None:
    earlier = replace(THERE, boot="b0", namespace="n0")
    for held in (False, None):
        assert starts_at(500).judge(earlier, locked=True, held=held) is Life.DEAD
        other = replace(earlier, host="other")
        assert starts_at(500).judge(other, locked=True, held=held) is Life.UNKNOWN
    assert has_none().judge(replace(earlier, host="other"), locked=True, held=True) is Life.ALIVE


def test_without_boots_the_machine_s_name_takes_their_place() -> None:
    """This is the case on macOS and Windows."""
    here = ProcessIdentity(9, "a", "", "", 1e9)
    there = ProcessIdentity(7, "a", "", "", 1e9 + 5)
    assert Judge(here, lambda _: 1e9 + 5.001).judge(there, locked=False, held=None) is Life.ALIVE
    assert Judge(here, lambda _: 1e9 + 6).judge(there, locked=False, held=None) is Life.DEAD
    renamed = Judge(replace(here, host="b"), lambda _: 1e9 + 6)
    assert renamed.judge(there, locked=False, held=None) is Life.UNKNOWN
    assert renamed.judge(there, locked=True, held=False) is Life.DEAD
    assert renamed.judge(there, locked=True, held=True) is Life.ALIVE


def test_this_process_and_another_one_are_alive_until_they_end() -> None:
    judge = Judge(identify(os.getpid()))
    assert judge.judge(judge.here, locked=False, held=None) is Life.ALIVE
    command = [sys.executable, "-c", "input()"]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as other:
        identity = identify(other.pid)
        assert identity.started >= judge.here.started > 0
        assert judge.judge(identity, locked=False, held=None) is Life.ALIVE
        later = replace(identity, started=identity.started + 1)
        assert judge.judge(later, locked=False, held=None) is Life.DEAD
    assert judge.judge(identity, locked=False, held=None) is Life.DEAD
    with pytest.raises(ProcessLookupError):
        look(identity.pid)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc, which Linux has")
def test_processes_of_a_foreign_proc_are_not_taken_for_ours(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In a new namespace, /proc may still be that of the old one."""
    read_link = os.readlink
    links = {"/proc/self": "4242"}
    monkeypatch.setattr(os, "readlink", lambda path: links.get(path) or read_link(path))
    assert look(os.getpid()) is None
    assert identify(os.getpid()).started > 0
