"""A scratch folder belongs to one service and is removed after it, however the service ended."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from callboard_service import scratch
from callboard_service.scratch import make_scratch, sweep_scratch

MAKES = """
import sys
from callboard_service.scratch import make_scratch
print(make_scratch().path, flush=True)
sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Return the folder for temporary files."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(scratch, "_LONGEST", 4096)
    return tmp_path


def left_by_a_killed_process() -> Path:
    command = [
        sys.executable,
        "-c",
        f"import callboard_service.scratch as s\ns._LONGEST = 4096\n{MAKES}",
    ]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin is not None
    assert process.stdout is not None
    with process.stdin, process.stdout:
        path = Path(process.stdout.readline().strip())
        process.kill()
        process.wait()
    assert path.is_dir()
    return path


def test_a_folder_is_private_and_goes_with_all_in_it(place: Path) -> None:
    made = make_scratch()
    assert made.path.parent == place
    if os.name == "posix":
        assert made.path.stat().st_mode & 0o777 == 0o700
        assert {path.stat().st_mode & 0o777 for path in made.path.iterdir()} == {0o600}
    (made.path / "sub").mkdir()
    (made.path / "sub" / "file").touch()
    made.remove()
    made.remove()
    assert list(place.iterdir()) == []


def test_what_a_killed_service_left_is_swept_and_what_a_running_one_has_stays() -> None:
    dead, mine = left_by_a_killed_process(), make_scratch()
    assert sweep_scratch() == 1
    assert not dead.exists()
    assert mine.path.is_dir()
    assert sweep_scratch() == 0
    mine.remove()


def test_no_link_is_followed_by_the_sweep(place: Path) -> None:
    dead = left_by_a_killed_process()
    precious = place / "precious"
    precious.mkdir()
    (precious / "file").touch()
    (dead / "link").symlink_to(precious)
    named = place / dead.name.replace(dead.name[-8:], "linked00")
    named.symlink_to(dead)
    other = left_by_a_killed_process()
    owner = (other / "owner.json").read_text()
    (other / "owner.json").unlink()
    (precious / "owner.json").write_text(owner)
    (other / "owner.json").symlink_to(precious / "owner.json")
    assert sweep_scratch() == 1
    assert named.is_symlink()
    assert other.is_dir()
    assert (precious / "file").exists()


@pytest.mark.parametrize(
    "owner", [None, b"", b"[]", b"{}", b'{"pid": 1, "process": 1}', b"[" * 60_000]
)
def test_a_folder_that_does_not_say_whose_it_is_stays(place: Path, owner: bytes | None) -> None:
    dead = left_by_a_killed_process()
    (dead / "owner.json").unlink()
    if owner is not None:
        (dead / "owner.json").write_bytes(owner)
    assert sweep_scratch() == 0
    assert dead.is_dir()


@pytest.mark.skipif(sys.platform != "linux", reason="namespaces are Linux")
def test_a_folder_of_another_container_stays() -> None:
    dead = left_by_a_killed_process()
    owner = dead / "owner.json"
    content = json.loads(owner.read_text())
    content["process"] |= {"namespace": "pid:[1] time:[1]", "locked": False}
    owner.write_text(json.dumps(content))
    assert sweep_scratch() == 0


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root gives away")
def test_a_folder_of_another_user_stays(place: Path) -> None:
    dead = left_by_a_killed_process()
    os.chown(dead, 12345, -1)
    assert sweep_scratch() == 0
    assert dead.is_dir()


@pytest.mark.skipif(os.name != "posix", reason="names of Unix sockets are short")
def test_a_long_name_of_the_temporary_folder_leaves_room_for_a_socket(
    monkeypatch: pytest.MonkeyPatch, place: Path
) -> None:
    monkeypatch.setattr(scratch, "_LONGEST", 10)
    made = make_scratch()
    assert made.path.parent == Path("/tmp")
    made.remove()
