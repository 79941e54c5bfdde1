"""State kept between runs: memory.py, and the history of typed lines in prompts.py."""

import os
import sys
from pathlib import Path

import pytest

from callboard_service.terminal.memory import Memory, write_new
from callboard_service.terminal.prompts import TypedLines


def test_the_last_conversation_of_each_backend_is_remembered(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "data"
    assert Memory(folder).last("local") is None
    Memory(folder).remember("local", "a")
    Memory(folder).remember("echo", "b")
    Memory(folder).remember("local", "c")
    assert (Memory(folder).last("local"), Memory(folder).last("echo")) == ("c", "b")
    assert [path.name for path in folder.iterdir()] == ["chat-last.json"]


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b'{"local": 1}', b"\xff\xfe"])
def test_a_damaged_memory_is_ignored(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "chat-last.json").write_bytes(content)
    memory = Memory(tmp_path)
    assert memory.last("local") is None
    memory.remember("local", "a")
    assert memory.last("local") == "a"


def test_a_folder_that_cannot_be_made_is_not_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    memory = Memory(tmp_path / "file")
    memory.remember("local", "a")
    assert memory.last("local") is None
    typed = TypedLines(memory.typed())
    typed.append_string("hello")
    assert list(typed.load_history_strings()) == []
    assert typed.get_strings() == ["hello"]


def test_what_was_typed_is_kept_for_its_user_alone(tmp_path: Path) -> None:
    TypedLines(Memory(tmp_path).typed()).append_string("one\ntwo")
    typed = TypedLines(Memory(tmp_path).typed())
    assert list(typed.load_history_strings()) == ["one\ntwo"]
    if sys.platform != "win32":
        assert os.stat(typed.filename).st_mode & 0o777 == 0o600


@pytest.mark.skipif(os.name != "posix", reason="modes are POSIX")
def test_all_that_is_kept_is_its_user_s_alone(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        memory = Memory(tmp_path / "new" / "data")
        memory.remember("local", "a")
        TypedLines(memory.typed()).append_string("one")
        write_new(tmp_path / "conversation.md", "text")
    finally:
        os.umask(before)
    assert (tmp_path / "new" / "data").stat().st_mode & 0o777 == 0o700
    files = [*(tmp_path / "new" / "data").iterdir(), tmp_path / "conversation.md"]
    assert {path.stat().st_mode & 0o777 for path in files} == {0o600}


@pytest.mark.skipif(os.name != "posix", reason="modes are POSIX")
def test_typed_lines_that_others_could_read_are_its_user_s_alone_again(tmp_path: Path) -> None:
    path = Memory(tmp_path).typed()
    path.write_text("\n# 2026-01-01\n+one\n")
    path.chmod(0o644)
    typed = TypedLines(Memory(tmp_path).typed())
    assert list(typed.load_history_strings()) == ["one"]
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_new_file_replaces_nothing_and_follows_no_link(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "file").write_text("precious")
    for name in ("link", "file"):
        with pytest.raises(FileExistsError):
            write_new(tmp_path / name, "text")
    assert (tmp_path / "file").read_text() == "precious"
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_file_that_cannot_be_written_is_not_left_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A leftover would make the next attempt fail, because the file already exists."""
    real = os.open

    def full(path: str, flags: int, mode: int = 0o777) -> int:
        os.close(real(path, flags, mode))
        return real("/dev/full", os.O_WRONLY)

    monkeypatch.setattr(os, "open", full)
    with pytest.raises(OSError, match="No space"):
        write_new(tmp_path / "file", "text")
    monkeypatch.undo()
    assert not (tmp_path / "file").exists()
