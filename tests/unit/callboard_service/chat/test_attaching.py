"""The attachments of messages: what is refused, what is kept, and what goes."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest

from actors import ActorSystem, Code, Failure
from callboard.v1.chat_pb2 import (
    Attachment,
    ChatCompleted,
    ChatToken,
    Delivery,
    SteerEvent,
)
from callboard_service.backends.echo.backend import EchoBackend
from callboard_service.chat.attaching import (
    MAX_ATTACHMENTS,
    MAX_NAME,
)
from tests.support.attaching import (
    content,
    files_in,
    inline,
    message,
    message_refused,
    until_gone,
    upload,
)
from tests.support.chat_kit import ScriptedBackend
from tests.support.conversing import Talk, conversing, text_of
from tests.support.cues import Cues, begun, gate, send

Echo = Talk[EchoBackend]


@pytest.mark.parametrize(
    ("attachments", "said"),
    [
        ([Attachment(name="a", media_type="a/b")], "needs data or an upload_id"),
        ([Attachment(name="a", media_type="a/b", upload_id="none")], "no upload 'none'"),
        ([inline(name="")], "needs a name"),
        ([inline(name="..")], "needs a name"),
        ([inline(name="../a")], "no path"),
        ([inline(name="a\\b")], "no path"),
        ([inline(name="a\0b")], "no path"),
        ([inline(name="é" * (MAX_NAME // 2 + 1))], "longer than 255 bytes"),
        ([inline(media_type="")], "no media type"),
        ([inline(media_type="text/")], "no media type"),
        ([inline(media_type="text/plain\n")], "no media type"),
        ([inline(media_type="text/plain; charset")], "no media type"),
        ([inline(media_type="a/" + "b" * 300)], "no media type"),
        ([inline()] * (MAX_ATTACHMENTS + 1), "at most 16"),
        ([inline(), inline(name="/")], "no path"),
    ],
)
async def test_attachments_that_cannot_be_taken_are_refused_before_anything_is_stored(
    talk: Echo, tmp_path: Path, attachments: list[Attachment], said: str
) -> None:
    failure = await message_refused(talk, *attachments)
    assert failure.code is Code.INVALID_ARGUMENT
    assert said in failure.message
    assert files_in(tmp_path) == []
    assert await talk.kept() == []


@pytest.mark.parametrize(
    "media_type",
    ["text/plain;charset=utf-8", 'text/plain; title="a b"', "image/svg+xml", "a/vnd.b-c.d"],
)
async def test_media_types_may_have_parameters(talk: Echo, media_type: str) -> None:
    info = await message(talk, inline(media_type=media_type))
    assert info.attachments[0].media_type == media_type


async def test_a_message_may_have_attachments_and_no_text(talk: Echo) -> None:
    assert (await message_refused(talk, text=" ")).code is Code.INVALID_ARGUMENT
    assert text_of(await talk.all("", attachments=[inline()])) == "[a.txt text/plain 3 bytes]"
    (user, _) = await talk.entries()
    assert (user.user_text, len(user.attachments)) == ("", 1)
    assert (await talk.backend.get(talk.conversation)).title == "a.txt"


async def test_a_message_sent_again_stores_nothing_twice(talk: Echo, tmp_path: Path) -> None:
    """It gets its turn whatever it brings the second time."""
    first = await message(talk, inline(), message_id="m")
    again = [inline(b"other"), inline(name="/"), Attachment(upload_id="none")]
    for attachments in ([again[0]], [again[1]], [again[2]], [], again * 10):
        repeated = await message(talk, *attachments, message_id="m")
        assert (repeated.id, repeated.attachments) == (first.id, first.attachments)
    (file,) = files_in(tmp_path)
    assert file.read_bytes() == b"abc"


async def test_a_message_that_is_not_admitted_leaves_no_file(talk: Echo, tmp_path: Path) -> None:
    failure = await message_refused(talk, inline(), text="x", replaces="no such turn")
    assert failure.code is Code.FAILED_PRECONDITION
    await until_gone(tmp_path)
    assert await talk.backend.attachments.bytes_used() == 0


async def test_files_are_whole_before_a_message_names_them(talk: Echo, tmp_path: Path) -> None:
    with gate(talk.backend.journal, "admit") as admission:
        admitting = asyncio.ensure_future(message(talk, inline()))
        await admission.reached.wait()
        (file,) = files_in(tmp_path)
        assert file.read_bytes() == b"abc"
        assert await talk.backend.attachments.bytes_used() == 0
    (attachment,) = (await admitting).attachments
    assert attachment.id == file.name


async def test_an_upload_is_used_once(talk: Echo, tmp_path: Path) -> None:
    used = Attachment(upload_id=(await upload(talk, b"abc")).upload_id)
    twice = await message_refused(talk, used, used)
    assert twice.code is Code.INVALID_ARGUMENT
    await message(talk, used)
    failure = await message_refused(talk, used)
    assert (failure.code, "no upload" in failure.message) == (Code.INVALID_ARGUMENT, True)
    await talk.idle()
    await talk.backend.delete(talk.conversation)
    assert files_in(tmp_path) == []


async def test_an_upload_of_a_refused_message_can_be_used_by_another(talk: Echo) -> None:
    used = Attachment(upload_id=(await upload(talk, b"abc")).upload_id)
    await message_refused(talk, used, inline(name="/"))
    await message_refused(talk, used, replaces="none", text="x")
    (kept,) = (await message(talk, used)).attachments
    assert await content(talk, kept.id) == [b"abc"]


async def test_a_replaced_message_takes_its_attachments_along(talk: Echo, tmp_path: Path) -> None:
    await talk.failure("[[error:INTERNAL]]", attachments=[inline(b"first")])
    failed = (await talk.entries())[0]
    await message(talk, inline(b"second"), text="x", replaces=failed.turn_id, message_id="2")
    (file,) = files_in(tmp_path)
    assert file.read_bytes() == b"second"


class Steered(ScriptedBackend):
    """Takes attachments, and messages while it replies."""

    features = ("fork", "steer", "uploads")

    def check_attachments(self, attachments: Sequence[Attachment]) -> None:
        """Take all."""


async def test_attachments_of_a_message_for_the_running_turn_come_with_it(
    actor_system: ActorSystem,
) -> None:
    """If the backend does not take the message, the uploads are free again."""
    cues, steer = Cues(), Delivery.DELIVERY_STEER
    backend: ScriptedBackend = Steered(cues)
    async with conversing(backend, actor_system) as talk:
        stream = send(talk, "run", message_id="m")
        await begun(stream)
        used = Attachment(upload_id=(await upload(talk, b"abc")).upload_id)
        talk.backend.refusal = Failure(Code.FAILED_PRECONDITION, "not now")
        await message_refused(talk, used, inline(b"inline"), delivery=steer)
        assert await talk.backend.attachments.bytes_used() == 3
        talk.backend.refusal = None
        await message(talk, used, message_id="s", delivery=steer)
        (handed,) = talk.backend.handed[-1:]
        assert [attachment.size for attachment in handed.attachments] == [3]
        assert not handed.attachments[0].upload_id
        cues.give(SteerEvent(message_id="s"), ChatToken(text="a"), ChatCompleted())
        assert text_of([event async for event in stream]) == "a"
        entries = await talk.entries()
        assert [len(entry.attachments) for entry in entries] == [0, 1, 0]
        assert await content(talk, entries[1].attachments[0].id) == [b"abc"]
