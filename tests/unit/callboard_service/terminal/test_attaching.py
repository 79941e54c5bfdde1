"""Files for the next message: attaching.py."""

import hashlib
import os
from pathlib import Path

import pytest
from google.protobuf.message import Message

from callboard.v1.chat_pb2 import Attachment, ChatError, UploadChunk, Uploaded
from callboard.v1.envelope_pb2 import ClientMessage
from callboard.v1.session_pb2 import Limits
from callboard_service.terminal.attaching import CHUNK, Item, Tray, fetch, read_item, tray_rows
from callboard_service.terminal.errors import BadCommand
from tests.support.model_service import served
from tests.support.scripted_websocket import ScriptedDialer
from transport.client import Client, by_url
from transport.errors import RequestFailed

LIMITS = Limits(max_message_bytes=1024 * 1024, input_window=16)


class Uploads:
    """A service that takes uploads, and keeps them."""

    def __init__(self, refusal: str = "", limits: Limits = LIMITS) -> None:
        self.uploaded: list[bytes] = []
        self.opened: list[ClientMessage] = []
        self._refusal = refusal
        self._received = b""
        self.dialer = ScriptedDialer(self.respond, limits)
        self.client = Client(by_url("ws://uploads", ""), dialer=self.dialer)

    def respond(self, message: ClientMessage) -> Message | None:
        match message.WhichOneof("payload"):
            case "upload":
                self.opened.append(message)
                self._received = b""
                return ChatError(code=self._refusal) if self._refusal else None
            case "input":
                return self._take(message)
            case "cancel":
                return ChatError(code="CANCELLED")
            case "get_attachment":
                for piece in (b"ab", b"cd"):
                    self.dialer.last.say(message.request_id, served(UploadChunk(data=piece)))
                return UploadChunk(data=b"e")
            case _:
                return None

    def _take(self, message: ClientMessage) -> Message | None:
        chunk = UploadChunk()
        if message.input.HasField("payload"):
            assert message.input.payload.Unpack(chunk)
            assert len(chunk.data) <= CHUNK
            self._received += chunk.data
        if not message.input.last:
            return None
        self.uploaded.append(self._received)
        return Uploaded(upload_id=f"u{len(self.uploaded)}")

    async def __aenter__(self) -> Client:
        return await self.client.__aenter__()

    async def __aexit__(self, *_: object) -> None:
        await self.client.aclose()


@pytest.mark.parametrize(
    ("name", "content", "media_type"),
    [
        ("a.png", b"\x89PNG", "image/png"),
        ("a.md", b"# a", "text/markdown"),
        ("notes", "Grüße".encode(), "text/plain"),
        ("cut", b"x" * 4095 + "ü".encode(), "text/plain"),
        ("program", b"\x7fELF\0", "application/octet-stream"),
        ("latin", b"gr\xfc\xdfe aus", "application/octet-stream"),
        ("a.tar.gz", b"\x1f\x8b", "application/gzip"),
    ],
)
def test_a_file_is_described(tmp_path: Path, name: str, content: bytes, media_type: str) -> None:
    (tmp_path / name).write_bytes(content)
    item = read_item(tmp_path / name)
    assert item == Item(name, media_type, len(content), tmp_path / name)
    assert b"".join(item.chunks()) == content


def test_a_path_may_be_quoted_and_begin_with_the_home_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a b.txt").write_text("x")
    monkeypatch.setenv("HOME", str(tmp_path))
    tray = Tray()
    for typed in ("~/a b.txt", f"'{tmp_path}/a b.txt'", "~/a\\ b.txt"):
        assert tray.add(typed).name == "a b.txt"
    assert tray_rows(tray.items)[2] == ("3.", "[file a b.txt, 1 B]", "text/plain")


def test_what_cannot_be_attached_says_why(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    os.mkfifo(tmp_path / "fifo")
    for name, reason in (
        ("none", "cannot read .*/none: No such file or directory"),
        ("empty", "is empty"),
        ("fifo", "is not a file"),
        ("", "is a folder"),
        ("n" * 300, "File name too long"),
        ("\0", "cannot read"),
    ):
        with pytest.raises(BadCommand, match=reason):
            Tray().add(str(tmp_path / name))


async def test_what_fits_is_sent_in_the_message_and_the_rest_before_it(tmp_path: Path) -> None:
    """Each file is in the message while there is room, and is uploaded otherwise."""
    contents = {"a": b"a" * 700_000, "b": os.urandom(600_000), "c": b"c" * 9}
    tray = Tray()
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
        tray.add(str(tmp_path / name))
    uploads = Uploads()
    async with uploads as client:
        loaded = await tray.load("text", client)
    assert [a.WhichOneof("content") for a in loaded] == ["data", "upload_id", "data"]
    assert (loaded[0].data, loaded[1].upload_id) == (contents["a"], "u1")
    assert uploads.uploaded == [contents["b"]]
    request = uploads.opened[0].upload
    assert (request.name, request.size) == ("b", 600_000)
    assert request.sha256 == hashlib.sha256(contents["b"]).digest()
    assert sum(a.ByteSize() for a in loaded) < LIMITS.max_message_bytes


async def test_a_long_text_leaves_less_room(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"a" * 700_000)
    tray = Tray()
    tray.add(str(tmp_path / "a"))
    uploads = Uploads()
    async with uploads as client:
        (loaded,) = await tray.load("ü" * 200_000, client)
    assert loaded.upload_id == "u1"


async def test_an_upload_that_is_refused_is_an_error(tmp_path: Path) -> None:
    item = Item("a", "text/plain", 2_000_000, data=b"a" * 2_000_000)
    tray = Tray()
    tray.items.append(item)
    async with Uploads("RESOURCE_EXHAUSTED") as client:
        with pytest.raises(RequestFailed, match="RESOURCE_EXHAUSTED"):
            await tray.load("", client)


async def test_a_file_that_vanishes_during_its_upload_is_named(tmp_path: Path) -> None:
    """The upload is given up, and the reason is the file and not the cancelled request."""

    class Vanishing(Uploads):
        def respond(self, message: ClientMessage) -> Message | None:
            if message.HasField("upload"):
                path.unlink()
            return super().respond(message)

    path = tmp_path / "a"
    path.write_bytes(b"a" * 2_000_000)
    tray = Tray()
    tray.add(str(path))
    async with Vanishing() as client:
        with pytest.raises(BadCommand, match=r"cannot read .*/a"):
            await tray.load("", client)


async def test_an_attachment_of_a_message_is_read_back() -> None:
    async with Uploads() as client:
        item = await fetch("c", Attachment(id="1", name="x", media_type="a/b", size=5), client)
    assert item == Item("x", "a/b", 5, data=b"abcde")
