"""What is kept between two runs: memory.py, and the history in prompts.py."""

import os
import sys
from pathlib import Path

import pytest

from callboard_service.terminal.memory import Memory
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
def test_a_damaged_memory_is_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "chat-last.json").write_bytes(content)
    memory = Memory(tmp_path)
    assert memory.last("local") is None
    memory.remember("local", "a")
    assert memory.last("local") == "a"


def test_a_folder_that_cannot_be_is_no_failure(tmp_path: Path) -> None:
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
