"""The check of the database file while it is open."""

import os
from pathlib import Path

import pytest

from callboard_service.store.errors import StoreDamaged
from callboard_service.store.file import OpenFile


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(b"SQLite format 3\0".ljust(4096, b"\0"))
    return path


def test_a_file_that_shrinks_was_truncated(path: Path) -> None:
    file = OpenFile(path)
    file.check()
    os.truncate(path, 1024)
    with pytest.raises(StoreDamaged, match="truncated"):
        file.check()
    file.close()


def test_a_file_that_grows_between_the_looks_of_two_threads_is_not_truncated(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reader's look is overtaken by the writer's, which finds the file larger."""
    file = OpenFile(path)
    file.check()
    stat = os.stat
    looks: list[os.stat_result] = []

    def overtaken(at: Path | str) -> os.stat_result:
        status = stat(at)
        if at == str(path) and not looks:
            looks.append(status)
            os.truncate(path, 8192)
            file.check()
        return status

    with monkeypatch.context() as patched:
        patched.setattr(os, "stat", overtaken)
        file.check()
    assert len(looks) == 1
    file.close()
