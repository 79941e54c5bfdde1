"""Attachments end to end: uploads over bad connections, the quota, kills and what is left of it."""

import asyncio
import contextlib
import hashlib
import json
import os
import signal
import tempfile
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from random import Random
from typing import Any

import psutil
import pytest

from callboard.v1.chat_pb2 import (
    Attachment,
    ChatToken,
    CreateSessionRequest,
    GetAttachmentRequest,
    GetHistoryRequest,
    History,
    SendMessageRequest,
    SessionInfo,
    UploadChunk,
)
from tests.e2e.contract_client import Contract, message, text_of
from tests.e2e.service_process import ServiceProcess, running
from tests.e2e.test_conversations import event, follow, sending, until
from tests.support.peers.fault_proxy import Direction, Fault, FaultProxy, Kind, Toxics
from transport.client import Client, by_url
from transport.client.calls import ClientSettings
from transport.errors import RequestFailed

ECHO = ("--backend", "echo")
MIB = 1024 * 1024
CHUNK = 256 * 1024


def files_of(folder: Path) -> list[Path]:
    """Return the files of attachments in the data folder of a service."""
    return sorted(path for path in (folder / "data").rglob("attachments/*/*") if path.is_file())


def input_of(number: int, data: bytes, *, last: bool = False) -> Any:
    made = message("Input", number=number, last=last)
    made.payload.Pack(message("UploadChunk", data=data))
    return made


async def begin(client: Contract, size: int, **fields: Any) -> int:
    described = {"name": "a.bin", "media_type": "application/octet-stream"} | fields
    return await client.open(upload=message("UploadRequest", size=size, **described))


async def upload(client: Contract, data: bytes, **fields: Any) -> Any:
    """Upload data that fits into the first inputs, and return the answer."""
    request_id = await begin(client, len(data), **fields)
    pieces = [data[start : start + CHUNK] for start in range(0, len(data), CHUNK)]
    for number, piece in enumerate(pieces, start=1):
        await client.send(request_id, input=input_of(number, piece))
    await client.send(request_id, input=message("Input", number=len(pieces) + 1, last=True))
    *_, last = await client.all(request_id)
    return last


async def fetched(client: Contract, conversation: str, attachment_id: str) -> Any:
    """Return the content of an attachment, or the error."""
    request = message("GetAttachmentRequest", session_id=conversation, attachment_id=attachment_id)
    *chunks, last = await client.all(await client.open(get_attachment=request))
    return last.error if last.HasField("error") else b"".join(c.chunk.data for c in chunks)


async def until_files(folder: Path, count: int) -> None:
    """Poll until there are this many files; only the test's timeout bounds the wait."""
    while len(files_of(folder)) != count:  # noqa: ASYNC110 - another process makes them
        await asyncio.sleep(0)


async def test_an_upload_that_is_cut_at_random_places_arrives_whole(tmp_path: Path) -> None:
    """50 MiB, with a cut every 3 MiB on average: nothing is lost, repeated or held in memory.

    The chunks are within their credit, so they do not count against the rates.
    """
    size, seed = 50 * MIB, int.from_bytes(os.urandom(4))
    print("seed", seed)  # noqa: T201 - shown if the test fails
    random, content = Random(seed), Random(seed)

    def plan() -> Toxics:
        kind = random.choice((Kind.CUT, Kind.RESET))
        return Toxics(fault=Fault(kind, Direction.UP, random.randrange(2000, 6 * MIB)))

    rates = ("--bytes-per-second", "1000", "--byte-burst", "20000")  # of other frames: ten times
    with running(tmp_path, *ECHO, *rates) as service:
        process = psutil.Process(service.process.pid)
        resident = [process.memory_info().rss]
        sent, got = hashlib.sha256(), hashlib.sha256()

        async def data() -> AsyncIterator[bytes]:
            for _ in range(size // MIB):
                piece = content.randbytes(MIB)
                sent.update(piece)
                resident.append(process.memory_info().rss)
                yield piece

        settings = ClientSettings(features=("follow",), backoff_initial=0.001, backoff_maximum=0.01)
        host = f"127.0.0.1:{service.port}"
        async with FaultProxy("127.0.0.1", service.port, plan, as_host=host) as proxy:
            url = f"ws://127.0.0.1:{proxy.port}/ws"
            async with Client(by_url(url, service.token), settings) as client:
                uploaded = await client.upload("big.bin", "application/octet-stream", data(), size)
        assert uploaded.sha256 == sent.digest()
        assert proxy.faults.total() >= 8, Counter(proxy.faults)
        assert max(resident) - resident[0] < 32 * MIB, [rss // MIB for rss in resident]
        (file,) = files_of(tmp_path)
        assert (file.name, file.stat().st_size) == (uploaded.upload_id, size)
        assert (file.stat().st_mode & 0o777, file.parent.stat().st_mode & 0o777) == (0o600, 0o700)
        async with Client(by_url(service.url, service.token), settings) as client:
            made = await client.call(CreateSessionRequest(), SessionInfo)
            one = Attachment(upload_id=uploaded.upload_id)
            request = SendMessageRequest(session_id=made.id, attachments=[one])
            (token,) = [token async for token in client.stream(request, ChatToken)]
            assert token.text == f"[big.bin application/octet-stream {size} bytes]"
            history = await client.call(GetHistoryRequest(session_id=made.id), History)
            (kept,) = history.entries[0].attachments
            wanted = GetAttachmentRequest(session_id=made.id, attachment_id=kept.id)
            async for chunk in client.stream(wanted, UploadChunk):
                assert len(chunk.data) <= CHUNK
                got.update(chunk.data)
        assert got.digest() == sent.digest()
        assert process.memory_info().rss - resident[0] < 32 * MIB


async def test_turns_histories_and_snapshots_describe_attachments_without_their_bytes(
    tmp_path: Path,
) -> None:
    with running(tmp_path, *ECHO) as service:
        async with service.connect(features=["follow"]) as client:
            conversation = await client.conversation()
            following = await follow(client, conversation)
            await event(client, following)
            uploaded = await upload(client, b"abc", name="a.png", media_type="image/png")
            attachments = [
                message("Attachment", upload_id=uploaded.uploaded.upload_id),
                message("Attachment", name="b.txt", media_type="text/plain", data=b"text"),
            ]
            fields = {"message_id": "m", "detached": True, "attachments": attachments}
            say = await client.open(**sending(conversation, "[[ask:question]]", **fields))
            shown = [(await client.queue(say).get()).turn]
            *_, asked = await until(client, following, "ask")
            async with service.connect(features=["follow"]) as other:
                joined = await follow(other, conversation)
                (turn,) = (await event(other, joined)).snapshot.turns
                shown.append(turn.info)
            request = message("GetHistoryRequest", session_id=conversation)
            shown += (await client.call(get_history=request)).history.entries
            assert len(shown) == 3
            for one in shown:
                described = [(a.name, a.media_type, a.size) for a in one.attachments]
                assert described == [("a.png", "image/png", 3), ("b.txt", "text/plain", 4)]
                assert {a.WhichOneof("content") for a in one.attachments} == {None}
            answer = message("AnswerRequest", ask_id=asked.ask.ask_id, answers=["yes"])
            await client.send(say, answer=answer)
            answers = await client.all(say)
            assert text_of(answers) == "[a.png image/png 3 bytes][b.txt text/plain 4 bytes]"
            again = await client.all(await client.open(**sending(conversation, "", **fields)))
            assert again[0].turn.attachments == shown[0].attachments
            contents = [
                await fetched(client, conversation, each.id) for each in shown[0].attachments
            ]
            assert contents == [b"abc", b"text"]
            assert len(files_of(tmp_path)) == 2
            elsewhere = await client.conversation()
            for place, name in ((elsewhere, shown[0].attachments[0].id), (conversation, "../x")):
                assert (await fetched(client, place, name)).code == "NOT_FOUND"


async def test_the_quota_holds_and_what_ends_makes_room(tmp_path: Path) -> None:
    with running(tmp_path, *ECHO, "--attachment-quota", str(3 * CHUNK)) as service:
        async with service.connect(features=["follow"]) as client:
            conversation = await client.conversation()
            refused = await upload(client, bytes(3 * CHUNK + 1))
            assert (refused.error.code, refused.error.retryable) == ("RESOURCE_EXHAUSTED", False)
            unfinished = await begin(client, 2 * CHUNK)
            await client.send(unfinished, input=input_of(1, bytes(CHUNK)))
            assert (await upload(client, bytes(2 * CHUNK))).error.code == "RESOURCE_EXHAUSTED"
            await client.send(unfinished, cancel=message("CancelRequest"))
            assert (await client.all(unfinished))[-1].error.code == "CANCELLED"
            await until_files(tmp_path, 0)
            uploaded = (await upload(client, bytes(2 * CHUNK))).uploaded
            used = message("Attachment", upload_id=uploaded.upload_id)
            sent = await client.open(**sending(conversation, "", attachments=[used]))
            assert (await client.all(sent))[-1].HasField("completed")
            assert (await upload(client, bytes(2 * CHUNK))).error.code == "RESOURCE_EXHAUSTED"
            inline = message("Attachment", name="a", media_type="a/b", data=bytes(2 * CHUNK))
            sent = await client.open(**sending(conversation, "", attachments=[inline]))
            assert (await client.all(sent))[-1].error.code == "RESOURCE_EXHAUSTED"
            delete = message("DeleteSessionRequest", session_id=conversation)
            assert (await client.call(delete_session=delete)).HasField("session_deleted")
            assert files_of(tmp_path) == []
            assert (await upload(client, bytes(2 * CHUNK))).HasField("uploaded")


async def test_an_unfinished_upload_ends_with_its_session(tmp_path: Path) -> None:
    with running(tmp_path, *ECHO) as service:
        async with service.connect() as client:
            await client.send(await begin(client, 2), input=input_of(1, b"a"))
            await until_files(tmp_path, 1)
        await until_files(tmp_path, 0)
        # The session had four places, and so has the next one.
        async with service.connect() as client:
            for _ in range(4):
                await begin(client, 1)
            fifth = await begin(client, 1)
            (refused,) = await client.all(fifth)
            assert (refused.error.code, refused.error.retryable) == ("RESOURCE_EXHAUSTED", True)


async def test_forks_share_attachments_and_the_last_one_takes_them_along(tmp_path: Path) -> None:
    with running(tmp_path, *ECHO) as service:
        async with service.connect(features=["follow"]) as client:
            first = await client.conversation()
            one = message("Attachment", name="a", media_type="text/plain", data=b"shared")
            two = message("Attachment", name="b", media_type="text/plain", data=b"later")
            for attachment in (one, two):
                await client.all(await client.open(**sending(first, "", attachments=[attachment])))
            entries = (
                await client.call(get_history=message("GetHistoryRequest", session_id=first))
            ).history.entries
            shared, later = (e.attachments[0].id for e in entries if e.attachments)
            before = next(e.id for e in entries if e.attachments and e.attachments[0].id == later)
            forked = await client.call(
                fork_session=message("ForkSessionRequest", session_id=first, before=before)
            )
            copy = forked.session_info.id
            assert (await fetched(client, copy, later)).code == "NOT_FOUND"
            delete = message("DeleteSessionRequest", session_id=first)
            await client.call(delete_session=delete)
            assert [file.name for file in files_of(tmp_path)] == [shared]
            assert await fetched(client, copy, shared) == b"shared"
            delete = message("DeleteSessionRequest", session_id=copy)
            await client.call(delete_session=delete)
            assert files_of(tmp_path) == []


async def test_a_kill_leaves_nothing_but_what_messages_name(tmp_path: Path) -> None:
    folder = ("--data-dir", str(tmp_path / "data"))
    with running(tmp_path, *ECHO, *folder) as service:
        async with service.connect(features=["follow"]) as client:
            conversation = await client.conversation()
            one = message("Attachment", name="a", media_type="text/plain", data=b"kept")
            fields = {"message_id": "m", "admit_only": True, "attachments": [one]}
            await client.call(**sending(conversation, "[[delay:3600000]]a", **fields))
            await client.send(await begin(client, 2), input=input_of(1, b"a"))
            await until_files(tmp_path, 2)
            _kill(service)
    stray = files_of(tmp_path)[0].with_name("0" * 32)
    stray.write_bytes(b"of a message that was not admitted")
    with running(tmp_path, *ECHO, *folder) as service:
        (file,) = files_of(tmp_path)
        async with service.connect(features=["follow"]) as client:
            again = await client.call(**sending(conversation, "", **fields))
            (kept,) = again.turn.attachments
            assert kept.id == file.name
            assert await fetched(client, conversation, kept.id) == b"kept"


async def test_without_a_data_folder_attachments_are_in_a_temporary_one(tmp_path: Path) -> None:
    """It ends with the service, or is removed by the next one if the service is killed."""
    with running(tmp_path, *ECHO, CALLBOARD_DATA_DIR="") as service:
        async with service.connect() as client:
            answer = await upload(client, b"abc")
            (folder,) = scratch_folders(service)
            assert (folder / answer.uploaded.upload_id).read_bytes() == b"abc"
        service.signal()
        await service.wait()
        assert not folder.exists()


def scratch_folders(service: ServiceProcess) -> list[Path]:
    """Return the temporary folders that a service has made."""
    places = {Path(tempfile.gettempdir()), Path("/tmp")}
    found = []
    for owner in (path for place in places for path in place.glob("callboard-*/owner.json")):
        with contextlib.suppress(OSError, ValueError):  # of another service, which has ended
            if json.loads(owner.read_text())["pid"] == service.process.pid:
                found.append(owner.parent)
    return found


def _kill(service: ServiceProcess) -> None:
    service.signal(signal.SIGKILL)
    service.process.wait(20)


async def test_the_client_says_why_an_upload_was_refused(tmp_path: Path) -> None:
    async def pieces(*sizes: int) -> AsyncIterator[bytes]:
        for size in sizes:
            yield bytes(size)

    quota, kind = ("--attachment-quota", str(4 * MIB)), "application/octet-stream"
    with running(tmp_path, *ECHO, *quota, "--max-message-bytes", "20000") as service:
        async with Client(by_url(service.url, service.token)) as client:
            with pytest.raises(RequestFailed, match="do not fit"):
                await client.upload("a", kind, pieces(MIB, MIB), 5 * MIB)
            with pytest.raises(RequestFailed, match=f"{MIB} bytes, not the {2 * MIB}"):
                await client.upload("a", kind, pieces(MIB), 2 * MIB)
            with pytest.raises(RequestFailed, match=f"more than the {MIB}"):
                await client.upload("a", kind, pieces(MIB, MIB), MIB)
            with pytest.raises(ValueError, match="size"):
                await client.upload("a", kind, pieces(1))
            data = os.urandom(MIB)
            uploaded = await client.upload("a", kind, data)
            assert uploaded.sha256 == hashlib.sha256(data).digest()
        await until_files(tmp_path, 1)
