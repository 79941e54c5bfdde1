"""`callboard sessions` with more data than fits into one answer or into memory."""

import contextlib
import json
import os
import re
import stat
import subprocess
import sys
from pathlib import Path

import pexpect
import pytest
from aiohttp import WSMsgType, web
from google.protobuf.message import Message

from callboard.v1.chat_pb2 import ChatError, HistoryEntry
from callboard.v1.envelope_pb2 import ClientMessage
from callboard.v1.session_pb2 import Welcome
from tests.e2e.service_process import environment, run
from tests.e2e.terminal import spawned
from tests.support.archive import Archive
from tests.support.model_service import served
from tests.support.peers.socket_server import SocketServer, in_background

MIB = 1024 * 1024
MEASURED = (
    "import atexit, re, sys\n"
    "def tell():\n"
    "    status = open('/proc/self/status').read()\n"
    "    print(re.search(r'VmHWM:\\s+(\\d+) kB', status)[1], file=sys.stderr)\n"
    "atexit.register(tell)\n"
    "from callboard_service.cli import main\n"
    "main()\n"
)


class ArchiveService(SocketServer):
    """Serves an archive over a WebSocket."""

    def __init__(self, archive: Archive) -> None:
        self._archive = archive

    async def serve(self, request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        sequence = 0
        while (frame := await socket.receive()).type is WSMsgType.BINARY:
            message = ClientMessage.FromString(frame.data)
            if message.HasField("hello"):
                await socket.send_bytes(served(Welcome()).SerializeToString())
            elif message.request_id:
                sequence += 1
                answer = self._archive.respond(message)
                said = served(answer, request_id=message.request_id, sequence=sequence, end=True)
                await socket.send_bytes(said.SerializeToString())
        return socket


def serving(archive: Archive) -> contextlib.AbstractContextManager[str]:
    return in_background(ArchiveService(archive))


def sessions(folder: Path, url: str, *arguments: str) -> tuple[int, str, str]:
    return run(folder, "sessions", *arguments, "--url", url, CALLBOARD_TOKEN="x" * 43)


def peak(folder: Path, archive: Archive, *arguments: str) -> tuple[str, int]:
    """Run a command; return its output and its peak memory in bytes."""
    with serving(archive) as url:
        done = subprocess.run(
            [sys.executable, "-c", MEASURED, "sessions", *arguments, "--url", url],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=True,
            env=environment(folder, CALLBOARD_TOKEN="x" * 43),
        )  # fmt: skip
    return done.stdout, int(done.stderr) * 1024


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no /proc")
@pytest.mark.parametrize("form", ["markdown", "json"])
def test_a_conversation_larger_than_any_answer_is_exported_in_bounded_memory(
    tmp_path: Path, form: str
) -> None:
    target = tmp_path / "export"
    arguments = ("export", "0000", "--format", form, "--output", str(target))
    _, least = peak(tmp_path, Archive(entries=1, size=MIB), *arguments)
    target.unlink()
    _, most = peak(tmp_path, Archive(entries=40, size=MIB), *arguments)
    text = target.read_text()
    assert re.findall(r"(\d+) x{1048576}", text) == [str(number) for number in range(40)]
    if form == "json":
        assert len(json.loads(text)["entries"]) == 40
    assert most - least < 20 * MIB


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no /proc")
@pytest.mark.parametrize("form", [(), ("--json",)], ids=["table", "json"])
def test_a_long_list_is_printed_in_bounded_memory(tmp_path: Path, form: tuple[str, ...]) -> None:
    outs, memory = zip(
        *(peak(tmp_path, Archive(count, size=1000), "list", *form) for count in (1, 20_000)),
        strict=True,
    )
    if form:
        assert [info["id"] for info in json.loads(outs[1])][::19_999] == [
            "00000000-id", "00019999-id",
        ]  # fmt: skip
    else:
        assert len(outs[1].splitlines()) == 20_001
    assert memory[1] - memory[0] < 30 * MIB


def test_conversations_of_later_pages_are_found_and_shown(tmp_path: Path) -> None:
    archive = Archive(10, entries=5, max_page=3, max_bytes=1)
    with serving(archive) as url:
        code, out, _ = sessions(tmp_path, url, "show", "00000008")
        assert code == 0
        assert [line for line in out.splitlines() if "xxx" in line] == [
            f"{number} xxxxxxxxxx" for number in range(5)
        ]
        code, _, err = sessions(tmp_path, url, "show", "0000")
        assert (code, "several ids begin" in err) == (2, True)
        code, _, err = sessions(tmp_path, url, "delete", "--yes", "00000009", "99")
        assert (code, "no conversation's id begins with '99'" in err) == (2, True)


def test_an_export_that_fails_leaves_no_file(tmp_path: Path) -> None:
    class Failing(Archive):
        def respond(self, message: ClientMessage) -> Message:
            if len(self.requests) == 5:
                return ChatError(code="UNAVAILABLE", message="gone")
            return super().respond(message)

    target = tmp_path / "export.md"
    with serving(Failing(entries=5, max_bytes=1)) as url:
        code, _, err = sessions(tmp_path, url, "export", "0000", "--output", str(target))
    assert (code, "gone" in err) == (1, True)
    assert not target.exists()


@pytest.mark.skipif(os.name != "posix", reason="Windows has no such modes")
def test_an_exported_conversation_is_its_users_alone(tmp_path: Path) -> None:
    target = tmp_path / "export.md"
    with serving(Archive(entries=1)) as url:
        assert sessions(tmp_path, url, "export", "0000", "--output", str(target))[0] == 0
    assert stat.S_IMODE(target.stat().st_mode) == 0o600


@pytest.mark.parametrize(
    ("form", "shown"), [("markdown", "a␛[2J\ufffdb"), ("json", r"a\u001b[2J\u009bb")]
)
def test_an_export_to_a_terminal_does_not_steer_it(tmp_path: Path, form: str, shown: str) -> None:
    class Nasty(Archive):
        def entry(self, number: int) -> HistoryEntry:
            return HistoryEntry(id="0", user_text="a\x1b[2J\x9bb")

    with serving(Nasty(entries=1)) as url:
        arguments = ("sessions", "export", "0000", "--format", form, "--url", url)
        child = spawned(*arguments, env=environment(tmp_path, CALLBOARD_TOKEN="x" * 43))
        child.expect(pexpect.EOF)
        child.close()
    assert child.exitstatus == 0
    assert shown in child.before
    assert not {"\x1b", "\x9b"} & set(child.before)
