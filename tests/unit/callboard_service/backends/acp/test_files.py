"""An agent reads and writes the files of a folder through the service, if one is set for that."""

import os
import sys
from pathlib import Path
from typing import Any

import pytest

from callboard.v1.chat_pb2 import AnswerRequest, AskClosed, AskEvent, AskOption
from callboard_service.backends.acp import serving
from callboard_service.backends.acp.client_files import MAX_FILE, ClientFiles
from callboard_service.backends.acp.jsonrpc import Unserved
from tests.support.conversing import text_of
from tests.support.scripted_agent import OPTIONS, Step, ask, notify, request, say
from tests.unit.callboard_service.backends.acp.talking import Talk, answer, of, talking, until

MISSING, INVALID, FAILED, STOPPED = -32002, -32602, -32603, -32800


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder that is set; a secret is beside it."""
    made = tmp_path / "folder"
    made.mkdir()
    (tmp_path / "secret").write_text("secret")
    return made


def read(path: object, **more: Any) -> Step:
    return request("fs/read_text_file", path=str(path), **more)


def write(path: object, content: object) -> Step:
    return request("fs/write_text_file", path=str(path), content=content)


def codes(talk: Talk) -> list[int]:
    return [one["code"] for one in talk.agents.answers()]


async def test_files_are_offered_and_served_only_if_a_folder_is_set(folder: Path) -> None:
    async with talking(folder) as talk:
        await talk.say(read(folder / "a"), write(folder / "a", "x"), say("on"))
        (offered,) = talk.agents.sent("initialize")
        assert set(offered["clientCapabilities"]["fs"].values()) == {False}
        assert codes(talk) == [-32601, -32601]
    async with talking(folder, files=folder) as talk:
        await talk.say(say("on"))
        (offered,) = talk.agents.sent("initialize")
        assert offered["clientCapabilities"]["fs"] == {"readTextFile": True, "writeTextFile": True}


async def test_a_file_is_read_as_a_whole_and_in_parts(folder: Path) -> None:
    path = folder / "a.txt"
    path.write_bytes("one\r\ntwo\nthrée".encode())
    async with talking(folder, files=folder) as talk:
        await talk.say(
            read(path), read(path, line=2), read(path, limit=1), read(path, line=2, limit=1),
            read(path, line=9), read(path, limit=0),
        )  # fmt: skip
        assert [one["content"] for one in talk.agents.answers()] == [
            "one\r\ntwo\nthrée", "two\nthrée", "one\r\n", "two\n", "", "",
        ]  # fmt: skip


async def test_a_missing_file_is_told_apart(folder: Path) -> None:
    async with talking(folder, files=folder) as talk:
        await talk.say(read(folder / "AGENTS.md"), read(folder / "no" / "file"), say("on"))
        assert codes(talk) == [MISSING, MISSING]


@pytest.mark.skipif(sys.platform == "win32", reason="links need a right there")
async def test_no_path_leads_out_of_the_folder(folder: Path, tmp_path: Path) -> None:
    """Neither for reading nor for writing: absolute, with dots, or through links."""
    (folder / "link").symlink_to(tmp_path / "secret")
    (folder / "up").symlink_to(tmp_path)
    (folder / "loop").symlink_to(folder / "loop")
    outside = [
        "secret", tmp_path / "secret", folder / ".." / "secret", folder / "link",
        folder / "up" / "secret", folder / "up" / "new", folder / "loop", f"{folder}-2", "",
        f"{folder}/a\0b",
    ]  # fmt: skip
    async with talking(folder, files=folder) as talk:
        events = await talk.say(*map(read, outside), *(write(one, "x") for one in outside))
        assert of(AskEvent, events) == []
        assert codes(talk) == [INVALID] * 2 * len(outside)
    assert {one.name for one in tmp_path.iterdir()} == {"folder", "secret"}
    assert (tmp_path / "secret").read_text() == "secret"


@pytest.mark.skipif(sys.platform == "win32", reason="links need a right there")
async def test_a_link_within_the_folder_is_followed(folder: Path, tmp_path: Path) -> None:
    """The folder itself may be named by a link."""
    (folder / "a").write_text("old")
    (folder / "link").symlink_to(folder / "a")
    other = tmp_path / "other"
    other.symlink_to(folder)
    async with talking(folder, files=other) as talk:
        stream = talk.begin(read(folder / "link"), write(other / "link", "new"))
        await answer(stream, "allow")
        assert [event async for event in stream]
        assert talk.agents.answers() == [{"content": "old"}, {}]
    assert ((folder / "a").read_text(), (folder / "link").is_symlink()) == ("new", True)


@pytest.mark.skipif(sys.platform == "win32", reason="there are no such pipes")
@pytest.mark.parametrize(
    ("made", "code"), [("dir", FAILED), ("pipe", INVALID), ("large", FAILED), ("binary", FAILED)]
)
async def test_what_is_no_text_is_not_read(folder: Path, made: str, code: int) -> None:
    """Reading a pipe would wait for a writer."""
    (folder / "dir").mkdir()
    os.mkfifo(folder / "pipe")
    (folder / "large").write_bytes(b"x" * (MAX_FILE + 1))
    (folder / "binary").write_bytes(b"\xff\xfe")
    async with talking(folder, files=folder) as talk:
        await talk.say(read(folder / made), write(folder / made, "x"), say("on"))
        assert codes(talk) == [code, code]


async def test_a_person_sees_and_allows_what_is_written(folder: Path) -> None:
    path = folder / "new" / "a.txt"
    async with talking(folder, files=folder) as talk:
        stream = talk.begin(write(path, "one\n"), write(path, "one\ntwo\n"), say("done"))
        asked = await until(stream, AskEvent)
        assert not path.exists()
        stream.tell(AnswerRequest(ask_id=asked.ask_id, answers=["allow"]))
        second = await answer(stream, "allow")
        assert text_of([event async for event in stream]) == "done"
        assert talk.agents.answers() == [{}, {}]
    assert path.read_text() == "one\ntwo\n"
    assert (asked.kind, asked.title) == (AskEvent.KIND_PERMISSION, f"Write {path}")
    assert asked.detail == f"--- /dev/null\n+++ {path}\n@@ -0,0 +1 @@\n+one\n"
    assert second.detail == f"--- {path}\n+++ {path}\n@@ -1 +1,2 @@\n one\n+two\n"
    assert [choice.kind for choice in asked.choices] == [
        AskOption.KIND_ALLOW_ONCE, AskOption.KIND_ALLOW_ALWAYS, AskOption.KIND_REJECT_ONCE,
    ]  # fmt: skip


@pytest.mark.parametrize("said", [["reject"], []])
async def test_a_write_that_is_refused_changes_nothing(folder: Path, said: list[str]) -> None:
    async with talking(folder, files=folder) as talk:
        stream = talk.begin(write(folder / "a", "x"), say("well"))
        await answer(stream, *said)
        closed = of(AskClosed, [event async for event in stream])
        assert [list(one.answers) for one in closed] == [["reject"]]
        assert codes(talk) == [FAILED]
    assert not (folder / "a").exists()


async def test_all_writes_of_a_reply_can_be_allowed(folder: Path) -> None:
    """The next reply asks again."""
    async with talking(folder, files=folder) as talk:
        stream = talk.begin(write(folder / "a", "x"), write(folder / "b", "x"), say("done"))
        await answer(stream, "allow_all")
        assert of(AskEvent, [event async for event in stream]) == []
        assert (folder / "b").exists()
        stream = talk.begin(write(folder / "c", "x"))
        await answer(stream, "reject")
        assert [event async for event in stream]
    assert not (folder / "c").exists()


async def test_what_a_permission_has_shown_is_not_asked_for_again(folder: Path) -> None:
    """That holds for the same text at the same path, once, and if it was allowed."""
    path = str(folder / "a")
    shown = [{"type": "diff", "path": path, "oldText": None, "newText": "x"}]
    permission = ask(*OPTIONS, toolCallId="1", title="edit", content=shown)
    async with talking(folder, files=folder) as talk:
        stream = talk.begin(permission, write(path, "x"), write(path, "y"), write(path, "x"))
        await answer(stream, "once")
        assert "+y" in (await answer(stream, "allow")).detail
        assert "+x" in (await answer(stream, "reject")).detail
        assert [event async for event in stream]
        stream = talk.begin(permission, write(path, "x"))
        await answer(stream, "no")
        assert "+x" in (await answer(stream, "reject")).detail
        assert [event async for event in stream]
    assert (folder / "a").read_text() == "y"


async def test_arguments_that_a_permission_has_shown_count_too(folder: Path) -> None:
    path = str(folder / "a")
    given = {"path": path, "content": "x"}
    async with talking(folder, files=folder) as talk:
        permission = ask(*OPTIONS, toolCallId="1", title="Write", rawInput=given)
        stream = talk.begin(permission, write(path, "x"), write(path, "y"))
        assert "content: x" in (await answer(stream, "once")).detail
        assert "+y" in (await answer(stream, "reject")).detail
        assert [event async for event in stream]
    assert (folder / "a").read_text() == "x"


async def test_a_file_that_has_changed_since_it_was_shown_is_left_alone(folder: Path) -> None:
    path = folder / "a"
    path.write_text("old")
    async with talking(folder, files=folder) as talk:
        stream = talk.begin(write(path, "new"), say("well"))
        asked = await until(stream, AskEvent)
        path.write_text("by somebody else")
        stream.tell(AnswerRequest(ask_id=asked.ask_id, answers=["allow"]))
        assert [event async for event in stream]
        assert codes(talk) == [FAILED]
    assert path.read_text() == "by somebody else"


async def test_a_stop_ends_what_waits_for_a_person(folder: Path) -> None:
    async with talking(folder, files=folder) as talk:
        stream = talk.begin(write(folder / "a", "x"))
        await until(stream, AskEvent)
        await talk.stop(stream)
        await talk.say(say("next"))
        assert codes(talk) == [STOPPED]
    assert not (folder / "a").exists()


async def test_a_write_that_the_agent_withdraws_is_not_done(folder: Path) -> None:
    async with talking(folder, files=folder) as talk:
        stream = talk.begin(write(folder / "a", "x"), say("on"))
        await until(stream, AskEvent)
        talk.agents.last.agent._do(notify("$/cancel_request", requestId=0))
        assert text_of([event async for event in stream]) == "on"
        assert codes(talk) == [STOPPED]
    assert not (folder / "a").exists()


async def test_what_cannot_be_shown_or_is_no_text_is_not_written(folder: Path) -> None:
    wrong = [None, 5, "\ud800", "x" * (MAX_FILE + 1), "x" * 300_000]
    async with talking(folder, files=folder) as talk:
        events = await talk.say(*(write(folder / "a", one) for one in wrong), say("on"))
        assert of(AskEvent, events) == []
        assert codes(talk) == [INVALID] * len(wrong)
    assert not (folder / "a").exists()


async def test_requests_are_bounded_in_number(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving, "MAX_SERVED", 0)
    async with talking(folder, files=folder) as talk:
        await talk.say(read(folder / "a"), say("on"))
        assert codes(talk) == [FAILED]


@pytest.mark.skipif(sys.platform == "win32", reason="files have no such permissions there")
def test_a_file_keeps_its_permissions_and_a_failure_leaves_nothing(folder: Path) -> None:
    files, path = ClientFiles(folder), folder / "a.sh"
    path.write_text("old")
    path.chmod(0o755)
    files.replace({"path": str(path)}, path, "old", "new")
    assert (path.read_text(), path.stat().st_mode & 0o777) == ("new", 0o755)
    (folder / "file").write_text("")
    within = folder / "file" / "a"
    with pytest.raises(Unserved):
        files.replace({"path": str(within)}, within, None, "x")
    assert {one.name for one in folder.iterdir()} == {"a.sh", "file"}
