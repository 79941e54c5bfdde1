"""The data folder belongs to one service at a time."""

import json
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from callboard_service.data_folder import FILE, lock_folder
from callboard_service.errors import BadSettings, FolderInUse
from callboard_service.log import make_log
from callboard_service.make_backend import make_backend
from callboard_service.settings import Settings
from transport import locks

_HOLD = """
import sys
from pathlib import Path
from callboard_service.data_folder import lock_folder

lock = lock_folder(Path(sys.argv[1]), print)
lock.name_owner("ws://127.0.0.1:1/ws")
print("locked", flush=True)
sys.stdin.read()
"""


@contextmanager
def holder(folder: Path) -> Iterator["subprocess.Popen[str]"]:
    """Another process that holds the lock."""
    process = subprocess.Popen(
        [sys.executable, "-c", _HOLD, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "locked\n"
            yield process
        finally:
            process.kill()


def never(line: str) -> None:
    raise AssertionError(line)


def test_a_second_service_is_refused_and_told_who_is_there(tmp_path: Path) -> None:
    """The error is one line with the folder, the process and the address."""
    with holder(tmp_path) as process:
        with pytest.raises(FolderInUse) as raised:
            lock_folder(tmp_path, never)
        assert str(raised.value) == (
            f"the data folder {tmp_path} is in use by the service of process {process.pid}"
            " at ws://127.0.0.1:1/ws"
        )


def test_the_file_of_a_killed_process_does_not_block(tmp_path: Path) -> None:
    """The lock ends with the process, although the file still names it."""
    with holder(tmp_path) as process:
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert json.loads((tmp_path / FILE).read_text())["pid"] == process.pid
        lock = lock_folder(tmp_path, never)
        assert lock is not None
        assert json.loads((tmp_path / FILE).read_text()) == {"pid": os.getpid(), "url": ""}
        lock.release()


def test_a_released_lock_can_be_taken_again(tmp_path: Path) -> None:
    """In one process too, the folder has one user at a time."""
    folder = tmp_path / "a" / "b"
    first = lock_folder(folder, never)
    assert first is not None
    with pytest.raises(FolderInUse, match=f"of process {os.getpid()}$"):
        lock_folder(folder, never)
    first.release()
    first.release()
    assert (folder / FILE).read_text() == ""
    second = lock_folder(folder, never)
    assert second is not None
    second.release()


def test_the_folder_and_the_file_are_private(tmp_path: Path) -> None:
    """Nobody else may read who uses the folder, or lock it."""
    mask = os.umask(0)
    try:
        lock = lock_folder(tmp_path / "data", never)
    finally:
        os.umask(mask)
    assert lock is not None
    lock.release()
    modes = [stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "data").iterdir()]
    assert (stat.S_IMODE((tmp_path / "data").stat().st_mode), modes) == (0o700, [0o600])


@pytest.mark.parametrize("content", ["", "x", "[]", '{"pid": "1", "url": ""}', '{"pid": 1}', "{"])
def test_a_file_that_names_nobody_still_refuses(tmp_path: Path, content: str) -> None:
    """The lock decides, not the content of the file."""
    lock = lock_folder(tmp_path, never)
    assert lock is not None
    (tmp_path / FILE).write_text(content)
    with pytest.raises(FolderInUse, match=r"is in use by another service$"):
        lock_folder(tmp_path, never)
    lock.release()


def test_a_folder_that_cannot_be_used_is_a_bad_setting(tmp_path: Path) -> None:
    """A file in place of the folder and a link in place of the lock are errors of one line."""
    (tmp_path / "file").touch()
    with pytest.raises(BadSettings, match=r"^data_dir: /.*/file: Not a directory$"):
        lock_folder(tmp_path / "file", never)
    (tmp_path / FILE).symlink_to(tmp_path / "file")
    with pytest.raises(BadSettings, match=rf"^data_dir: /.*/{FILE}: "):
        lock_folder(tmp_path, never)


def test_a_file_system_without_locks_is_used_and_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The service starts, since the run number still keeps two from writing."""

    def refuse(descriptor: int) -> bool:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(locks, "hold", refuse)
    reports: list[str] = []
    assert lock_folder(tmp_path, reports.append) is None
    assert reports == [f"the data folder {tmp_path} cannot be locked: Operation not supported"]


def test_echo_uses_a_data_folder_only_if_one_is_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its conversations are in memory otherwise, so many services can run side by side."""
    monkeypatch.delenv("CALLBOARD_DATA_DIR", raising=False)
    log = make_log("error")
    alone = make_backend(Settings(backend="echo"), log)
    assert alone.data_folder is None
    keeping = make_backend(Settings(backend="echo", data_dir=tmp_path), log)
    assert keeping.data_folder == tmp_path
