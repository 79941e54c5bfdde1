"""Runtime files are private and complete, and count only while their process runs."""

import errno
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from transport import locks
from transport.discovery import RuntimeRecord, default_folder, find, publish, withdraw
from transport.errors import CannotPublish, NotRunning

RECORD = RuntimeRecord(
    pid=os.getpid(),
    url="ws://127.0.0.1:1/ws",
    page="http://127.0.0.1:1/",
    token="a secret",
    backend="echo",
    version="0",
    started_at=time.time(),
)


linux_only = pytest.mark.skipif(sys.platform != "linux", reason="the rule is for Linux")


def write(folder: Path, name: str, **changed: Any) -> Path:
    """Write a runtime file as another process would, with these fields changed; return its path."""
    path = folder / "made" / name
    published = publish(path.parent, RECORD)
    content = json.loads(published.path.read_text())
    withdraw(published)
    content["process"]["locked"] = False
    for key, value in changed.items():
        (content["process"] if key in content["process"] else content)[key] = value
    target = folder / name
    target.write_text(json.dumps(content))
    return target


PUBLISHES = """
import os, sys, time
from pathlib import Path
from transport import locks
from transport.discovery import RuntimeRecord, publish
record = RuntimeRecord(os.getpid(), sys.argv[2], "", "token", "echo", "0", time.time())
print(publish(Path(sys.argv[1]), record).path.name, flush=True)
sys.stdin.read()
"""


@contextmanager
def publisher(folder: Path, url: str, *, apart: bool = False) -> Iterator[str]:
    """Run a process with a runtime file; yield the file's name. apart: in a new pid namespace."""
    prefix = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"] if apart else []
    process = subprocess.Popen(
        [*prefix, sys.executable, "-c", PUBLISHES, str(folder), url],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    with process.stdin, process.stdout:
        yield process.stdout.readline().strip()
        process.kill()
        # The output ends once a killed child of `unshare` has ended, too.
        process.stdout.read()
        process.wait()


def can_unshare() -> bool:
    program = shutil.which("unshare")
    command = [program or "", "--pid", "--fork", "--mount-proc", "true"]
    return program is not None and not subprocess.run(command, capture_output=True).returncode


needs_unshare = pytest.mark.skipif(
    sys.platform != "linux" or not can_unshare(), reason="needs unshare, and the right to use it"
)


@pytest.fixture
def dead_pid() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_what_is_published_is_found_and_withdrawn(tmp_path: Path) -> None:
    folder = tmp_path / "made" / "callboard"
    file = publish(folder, RECORD)
    assert file.path == folder / f"{os.getpid()}.json"
    content = json.loads(file.path.read_text())
    process = content.pop("process")
    assert content == asdict(RECORD)
    assert set(process) == {"host", "boot", "namespace", "started", "locked"}
    assert find(folder) == RECORD
    assert list(folder.iterdir()) == [file.path]
    withdraw(file)
    withdraw(file)
    with pytest.raises(NotRunning):
        find(folder)


@pytest.mark.skipif(os.name != "posix", reason="modes are POSIX")
def test_file_and_folder_are_the_users_alone(tmp_path: Path) -> None:
    folder = tmp_path / "open"
    folder.mkdir(mode=0o755)
    path = publish(folder, RECORD).path
    assert path.stat().st_mode & 0o777 == 0o600
    assert folder.stat().st_mode & 0o777 == 0o700


@pytest.mark.skipif(os.name != "posix", reason="modes are POSIX")
def test_each_folder_that_is_made_is_the_users_alone(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        publish(tmp_path / "cache" / "callboard" / "run", RECORD)
    finally:
        os.umask(before)
    for name in ("cache", "cache/callboard", "cache/callboard/run"):
        assert (tmp_path / name).stat().st_mode & 0o777 == 0o700


@pytest.mark.skipif(os.name != "posix", reason="modes are POSIX")
def test_a_folder_for_all_users_is_refused_and_stays_as_it_is(tmp_path: Path) -> None:
    tmp_path.chmod(0o1777)
    with pytest.raises(CannotPublish, match="shared by all users"):
        publish(tmp_path, RECORD)
    assert tmp_path.stat().st_mode & 0o7777 == 0o1777
    assert list(tmp_path.iterdir()) == []


def test_a_file_system_without_hard_links_will_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "link", refuse)
    first = publish(tmp_path, RECORD)
    second = publish(tmp_path, replace(RECORD, started_at=RECORD.started_at + 1))
    assert first.path != second.path
    assert {path.name for path in tmp_path.iterdir()} == {first.path.name, second.path.name}
    assert find(tmp_path).started_at == RECORD.started_at + 1


def test_a_link_in_place_of_the_folder_or_the_file_is_not_followed(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.mkdir()
    link = tmp_path / "link"
    link.symlink_to(target)
    with pytest.raises(CannotPublish):
        publish(link, RECORD)
    assert not list(target.iterdir())
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (target / f"{os.getpid()}.json").symlink_to(victim)
    path = publish(target, RECORD).path
    assert not path.is_symlink()
    assert find(target) == RECORD
    assert victim.read_text() == "precious"


def test_files_of_dead_processes_are_not_believed_and_go_at_the_next_start(
    tmp_path: Path, dead_pid: int
) -> None:
    stale = write(tmp_path, f"{dead_pid}.json", pid=dead_pid)
    with pytest.raises(NotRunning):
        find(tmp_path)
    publish(tmp_path, RECORD)
    assert not stale.exists()


def test_another_process_with_the_same_number_is_not_believed(tmp_path: Path) -> None:
    stale = write(tmp_path, f"{os.getpid()}.json", started=1.5)
    with pytest.raises(NotRunning):
        find(tmp_path)
    publish(tmp_path, RECORD)
    assert json.loads(stale.read_text())["process"]["started"] != 1.5


@pytest.mark.parametrize("step", [-86400.0, 86400.0])
def test_a_step_of_the_clock_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: float
) -> None:
    """A service that was started before the clock was set is still found and keeps its file."""
    with publisher(tmp_path, "ws://before") as name:
        # Everything that reads the wall clock sees the step.
        boot_time, now = psutil.boot_time(), time.time()
        monkeypatch.setattr(psutil, "boot_time", lambda: boot_time + step)
        monkeypatch.setattr(psutil._pslinux, "boot_time", lambda: boot_time + step, raising=False)
        monkeypatch.setattr(time, "time", lambda: now + step)
        assert find(tmp_path).url == "ws://before"
        publish(tmp_path, replace(RECORD, started_at=now + step))
        assert (tmp_path / name).exists()


def test_a_killed_process_is_not_believed_before_its_parent_has_noticed(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", PUBLISHES, str(tmp_path), "ws://x"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stdin is not None
    with process.stdin, process.stdout:
        process.stdout.readline()
        assert find(tmp_path).url == "ws://x"
        process.kill()
        process.stdout.read()
        while psutil.Process(process.pid).status() != psutil.STATUS_ZOMBIE:
            pass
        with pytest.raises(NotRunning):
            find(tmp_path)
        process.wait()


@linux_only
def test_a_file_of_another_boot_goes_at_the_next_start(tmp_path: Path) -> None:
    stale = write(tmp_path, f"{os.getpid()}.json", boot="of-last-week")
    with pytest.raises(NotRunning):
        find(tmp_path)
    publish(tmp_path, RECORD)
    assert json.loads(stale.read_text())["process"]["boot"] != "of-last-week"


@linux_only
@pytest.mark.parametrize(
    "elsewhere",
    [
        {"namespace": "pid:[1] time:[1]"},
        {"boot": "of-another-machine", "host": "another-machine"},
        {"boot": "of-another-machine", "host": "another-machine", "locked": True},
    ],
)
def test_a_file_that_cannot_be_judged_stays_and_is_found_last(
    tmp_path: Path, elsewhere: dict[str, Any]
) -> None:
    unknown = write(tmp_path, f"{os.getpid()}.json", url="ws://far", started_at=9e9, **elsewhere)
    text = unknown.read_text()
    assert find(tmp_path).url == "ws://far"
    published = publish(tmp_path, RECORD)
    assert published.path != unknown
    assert published.path.name.startswith(f"{os.getpid()}-")
    assert unknown.read_text() == text
    assert find(tmp_path) == RECORD


@linux_only
def test_the_lock_decides_where_process_numbers_cannot_be_compared(tmp_path: Path) -> None:
    path = write(tmp_path, f"{os.getpid()}.json", namespace="pid:[1] time:[1]", locked=True)
    with path.open("r+b") as held:
        assert locks.acquire(held.fileno())
        assert find(tmp_path) == RECORD
        publish(tmp_path, replace(RECORD, url="ws://other"))
        assert "pid:[1]" in path.read_text()
    publish(tmp_path, RECORD)
    assert "pid:[1]" not in path.read_text()


@linux_only
def test_without_locks_nothing_is_removed_that_may_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import fcntl

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    def wait(_: float) -> None:
        raise AssertionError("nothing is waited for that will never be granted")

    monkeypatch.setattr(fcntl, "flock", refuse)
    monkeypatch.setattr(time, "sleep", wait)
    path = write(tmp_path, "1.json", pid=1, namespace="pid:[1] time:[1]", locked=True)
    mine = publish(tmp_path, RECORD)
    assert json.loads(mine.path.read_text())["process"]["locked"] is False
    assert path.exists()
    assert find(tmp_path) == RECORD
    withdraw(mine)
    assert not mine.path.exists()


def find_after_publishing(folder: Path) -> RuntimeRecord:
    publish(folder, RECORD)
    return find(folder)


@needs_unshare
def test_services_of_two_containers_with_one_number_share_a_home(tmp_path: Path) -> None:
    """Both have process number 1; neither takes the other's file for that of a dead process."""
    with publisher(tmp_path, "ws://one", apart=True) as one:
        assert one == "1.json"
        with publisher(tmp_path, "ws://two", apart=True) as two:
            assert two.startswith("1-")
            assert {path.name for path in tmp_path.iterdir()} == {one, two}
            assert find(tmp_path).url == "ws://two"
            with publisher(tmp_path, "ws://here") as here:
                assert {path.name for path in tmp_path.iterdir()} == {one, two, here}
                assert find(tmp_path).url == "ws://here"
    with pytest.raises(NotRunning):
        find(tmp_path)
    mine = publish(tmp_path, RECORD)
    assert list(tmp_path.iterdir()) == [mine.path]


def test_what_was_never_finished_goes_at_the_next_start(tmp_path: Path) -> None:
    (tmp_path / ".1.0123456789abcdef.tmp").write_text('{"token": "a sec')
    mine = publish(tmp_path, RECORD)
    if sys.platform != "win32":
        assert list(tmp_path.iterdir()) == [mine.path]


def test_a_file_that_has_replaced_the_published_one_stays(tmp_path: Path) -> None:
    mine = publish(tmp_path, RECORD)
    mine.path.unlink()
    mine.path.write_text("another one's")
    withdraw(mine)
    assert mine.path.read_text() == "another one's" or sys.platform == "win32"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes with names are POSIX")
def test_a_pipe_among_the_files_holds_nobody_up(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / f"{os.getpid()}.json")
    found: list[bool] = []

    def look() -> None:
        with pytest.raises(NotRunning):
            find(tmp_path)
        found.append(True)

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    thread.join(20)
    assert found


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root gives away")
def test_a_file_of_another_user_is_not_believed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = publish(tmp_path, RECORD).path
    os.chown(path, 12345, -1)
    monkeypatch.setattr(os, "getuid", lambda: 54321)
    with pytest.raises(NotRunning):
        find(tmp_path)


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", "no json", '{"pid": 1}', "\0" * 100, "[" * 60_000, "\udcff"]
)
def test_a_file_that_makes_no_sense_is_not_believed(tmp_path: Path, content: str) -> None:
    text = content.encode("utf-8", "surrogateescape")
    path = tmp_path / f"{os.getpid()}.json"
    path.write_bytes(text)
    with pytest.raises(NotRunning):
        find(tmp_path)
    assert find_after_publishing(tmp_path) == RECORD
    assert path.read_bytes() == text  # it may be of a running service of another version


@pytest.mark.parametrize(
    "changed",
    [
        {"pid": True},
        {"pid": 0},
        {"pid": -1},
        {"pid": 2**40},
        {"url": None},
        {"token": 5},
        {"started_at": float("nan")},
        {"started_at": 10**400},
        {"started": "1"},
        {"host": []},
        {"process": None},
    ],
)
def test_a_field_that_makes_no_sense_is_not_believed(
    tmp_path: Path, changed: dict[str, Any]
) -> None:
    name = f"{changed.get('pid', os.getpid()):d}.json"
    write(tmp_path, name, **changed)
    with pytest.raises(NotRunning):
        find(tmp_path)


def test_the_newest_of_several_is_found(tmp_path: Path) -> None:
    publish(tmp_path, RECORD)
    second = replace(RECORD, url="ws://second", started_at=RECORD.started_at + 9.0)
    publish(tmp_path, second)
    publish(tmp_path, replace(RECORD, url="ws://third"))
    assert find(tmp_path) == second


def test_what_is_in_the_way_is_named(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(CannotPublish, match="file"):
        publish(blocked, RECORD)


def test_the_token_is_in_no_repr() -> None:
    assert RECORD.token not in repr(RECORD)


def test_the_folder_may_be_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CALLBOARD_RUNTIME_DIR", str(tmp_path))
    assert default_folder() == tmp_path


def of_the_user() -> Path:
    """Return the documented folder for an environment that names none."""
    folder = Path(f"/run/user/{os.getuid()}")
    if folder.is_dir() and folder.stat().st_uid == os.getuid():
        return folder / "callboard"
    return Path(os.environ["XDG_CACHE_HOME"], "callboard", "run")


@pytest.fixture
def unnamed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CALLBOARD_RUNTIME_DIR", raising=False)
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@linux_only
@pytest.mark.usefixtures("unnamed")
def test_without_a_runtime_folder_no_shared_folder_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert default_folder() == of_the_user()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    assert default_folder() == tmp_path / "callboard"


@linux_only
@pytest.mark.usefixtures("unnamed")
@pytest.mark.parametrize("named", ["{0}/gone", "{0}/file", "{0}/loop", ".", "", "{0}/\udcff"])
def test_an_unusable_runtime_folder_counts_as_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named: str
) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "loop").symlink_to("loop")
    monkeypatch.setenv("XDG_RUNTIME_DIR", named.format(tmp_path))
    assert default_folder() == of_the_user()


@linux_only
@pytest.mark.usefixtures("unnamed")
def test_a_runtime_folder_of_another_user_counts_as_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After `su`, the variable still names the other user's folder. Root does not use it either."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setattr(os, "getuid", lambda: tmp_path.stat().st_uid + 1)
    assert default_folder() == of_the_user()
