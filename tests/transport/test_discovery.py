"""Runtime files: private, whole, and believed only while their process lives."""

import json
import os
import subprocess
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path

import pytest

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


@pytest.fixture
def dead_pid() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_what_is_published_is_found_and_withdrawn(tmp_path: Path) -> None:
    folder = tmp_path / "made" / "callboard"
    path = publish(folder, RECORD)
    assert path == folder / f"{os.getpid()}.json"
    assert json.loads(path.read_text()) == asdict(RECORD)
    assert find(folder) == RECORD
    assert list(folder.iterdir()) == [path]
    withdraw(path)
    withdraw(path)
    with pytest.raises(NotRunning):
        find(folder)


@pytest.mark.skipif(os.name != "posix", reason="modes are POSIX")
def test_file_and_folder_are_the_users_alone(tmp_path: Path) -> None:
    folder = tmp_path / "open"
    folder.mkdir(mode=0o755)
    path = publish(folder, RECORD)
    assert path.stat().st_mode & 0o777 == 0o600
    assert folder.stat().st_mode & 0o777 == 0o700


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
    path = publish(target, RECORD)
    assert not path.is_symlink()
    assert victim.read_text() == "precious"


def test_files_of_dead_processes_are_not_believed_and_go_at_the_next_start(
    tmp_path: Path, dead_pid: int
) -> None:
    stale = publish(tmp_path, replace(RECORD, pid=dead_pid))
    with pytest.raises(NotRunning):
        find(tmp_path)
    publish(tmp_path, RECORD)
    assert not stale.exists()


def test_another_process_with_the_same_number_is_not_believed(tmp_path: Path) -> None:
    publish(tmp_path, replace(RECORD, started_at=1.5))
    with pytest.raises(NotRunning):
        find(tmp_path)


@pytest.mark.parametrize("content", ["", "[]", "{}", "no json", '{"pid": 1}', "\0" * 100])
def test_a_file_that_makes_no_sense_is_not_believed(tmp_path: Path, content: str) -> None:
    (tmp_path / f"{os.getpid()}.json").write_text(content)
    with pytest.raises(NotRunning):
        find(tmp_path)


def test_the_newest_of_several_is_found(tmp_path: Path) -> None:
    publish(tmp_path, RECORD)
    parent = replace(RECORD, pid=os.getppid(), started_at=RECORD.started_at + 9.0)
    publish(tmp_path, parent)
    assert find(tmp_path) == parent


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


@pytest.mark.skipif(sys.platform != "linux", reason="the rule is for Linux")
def test_without_a_runtime_folder_none_that_others_share_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CALLBOARD_RUNTIME_DIR", raising=False)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "runtime"))
    assert default_folder() == tmp_path / "runtime" / "callboard"
    monkeypatch.delenv("XDG_RUNTIME_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    of_the_user = Path(f"/run/user/{os.getuid()}")
    expected = of_the_user if of_the_user.is_dir() else tmp_path / "cache"
    assert default_folder().is_relative_to(expected)
