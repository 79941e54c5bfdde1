"""Attachments of messages to the backend `openai`, over real HTTP."""

import asyncio
from base64 import b64encode
from pathlib import Path
from typing import Any

import pytest

from actors import Code
from callboard.v1.chat_pb2 import Attachment, ChatNotice
from callboard_service.backends.openai import parts
from callboard_service.backends.openai.backend import LARGE_AT_ONCE, SMALL_PROMPT
from tests.support.conversing import text_of
from tests.support.openai.scripted_server import Exchange, ScriptedServer, refusing, saying
from tests.support.openai.talk import Talk

PNG = bytes(range(256)) * 4


def png(data: bytes = PNG) -> Attachment:
    return Attachment(name="a.png", media_type="image/PNG", data=data)


def notes(data: bytes = b"one\ntwo") -> Attachment:
    return Attachment(name="notes.md", media_type="text/markdown", data=data)


def image_part(data: bytes = PNG) -> dict[str, Any]:
    url = f"data:image/png;base64,{b64encode(data).decode()}"
    return {"type": "image_url", "image_url": {"url": url}}


def text_part(text: str) -> dict[str, str]:
    return {"type": "text", "text": text}


async def test_images_go_as_image_parts_also_for_earlier_turns(
    server: ScriptedServer, talk: Talk
) -> None:
    server.will(saying("A picture."), saying("Yes."))
    await talk.all("What is this?", attachments=[png(), notes()])
    await talk.all("Really?")
    first, second = (chat.body["messages"] for chat in server.chats)
    assert first == [
        {
            "role": "user",
            "content": [
                image_part(),
                text_part("[File: notes.md]\none\ntwo"),
                text_part("What is this?"),
            ],
        }
    ]
    assert second == [
        *first,
        {"role": "assistant", "content": "A picture."},
        {"role": "user", "content": "Really?"},
    ]


async def test_text_files_alone_go_as_text_which_every_server_knows(
    server: ScriptedServer, talk: Talk
) -> None:
    server.will(saying("ok"), saying("ok"))
    await talk.all("Summarize.", attachments=[notes()])
    await talk.renew()
    await talk.all("", attachments=[notes(b"\xff\x00")])
    contents = [chat.body["messages"][0]["content"] for chat in server.chats]
    assert contents == [
        "[File: notes.md]\none\ntwo\n\nSummarize.",
        "[File: notes.md]\n\ufffd\x00",
    ]


@pytest.mark.parametrize(
    ("attachments", "said"),
    [
        ([Attachment(name="a.pdf", media_type="application/pdf", data=b"x")], "'a.pdf'"),
        ([png(bytes(9)), notes(bytes(8))], "17 bytes"),
    ],
)
async def test_what_a_model_cannot_use_is_refused_before_anything_is_stored(
    talk: Talk,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    attachments: list[Attachment],
    said: str,
) -> None:
    monkeypatch.setattr(parts, "MAX_ATTACHED", 16)
    failure, events = await talk.failure("hi", attachments=attachments)
    assert (failure.code, events) == (Code.INVALID_ARGUMENT, [])
    assert said in failure.message
    assert await talk.kept() == []
    assert not (tmp_path / "attachments").exists()


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (500, "image input is not supported - hint: you may need to provide the mmproj"),
        (400, "At most 0 image(s) may be provided in one prompt."),
        (400, "Invalid content type. image_url is only supported by certain models."),
        (500, "this model is missing data required for image input"),
        (422, "unknown variant `image_url`, expected `text`"),
    ],
)
async def test_a_model_without_eyes_says_so_and_is_not_shown_the_image_again(
    server: ScriptedServer, talk: Talk, status: int, words: str
) -> None:
    server.will(refusing(status, {"error": {"message": words}}), saying("Hello."))
    failure, _ = await talk.failure("Look!", attachments=[png()])
    assert (failure.code, failure.retryable) == (Code.INVALID_ARGUMENT, False)
    assert words in failure.message
    assert talk.backend.health().ready
    assert text_of(await talk.all("hi")) == "Hello."
    assert server.chats[-1].body["messages"] == [{"role": "user", "content": "hi"}]


async def test_words_about_images_mean_nothing_without_one(
    server: ScriptedServer, talk: Talk
) -> None:
    busy = refusing(500, {"error": {"message": "the vision tower is down"}})
    server.will(busy)
    failure, _ = await talk.failure("hi")
    assert failure.code is Code.UNAVAILABLE


async def test_the_oldest_turns_are_left_out_with_their_attachments(
    server: ScriptedServer, talk: Talk
) -> None:
    """The bytes of attachments count for what a model gets at most."""
    large, small = bytes(SMALL_PROMPT), bytes(1024)
    too_long = refusing(400, {"error": {"code": "context_length_exceeded", "message": "long"}})
    server.will(saying("One."), saying("Two."), too_long, saying("Three."))
    for text, image in (("one", large), ("two", small)):
        await talk.all(text, attachments=[png(image)])
    events = await talk.all("three")
    assert [type(event) for event in events[:1]] == [ChatNotice]
    contents = [message["content"] for message in server.chats[-1].body["messages"]]
    assert contents == [[image_part(small), text_part("two")], "Two.", "three"]


async def test_a_file_that_is_lost_is_named_in_its_place(
    server: ScriptedServer, talk: Talk, tmp_path: Path
) -> None:
    server.will(saying("One."), saying("Two."))
    await talk.all("one", attachments=[png(), notes()])
    for file in (tmp_path / "attachments").rglob("*"):
        if file.is_file():
            file.unlink()
    await talk.all("two")
    content = server.chats[-1].body["messages"][0]["content"]
    assert content == (
        "[File: a.png, which is missing]\n\n[File: notes.md, which is missing]\n\none"
    )


async def test_a_large_image_waits_while_others_are_sent(
    server: ScriptedServer, talk: Talk
) -> None:
    """A prompt takes several times its size in memory until its answer begins."""
    arrived = asyncio.Semaphore(0)

    async def wait(exchange: Exchange) -> None:
        arrived.release()
        await exchange.gone.wait()

    server.will(*[wait] * LARGE_AT_ONCE)
    replies = []
    for _ in range(LARGE_AT_ONCE):
        await talk.renew()
        replies.append(talk.send("look", attachments=[png(bytes(SMALL_PROMPT))]))
        await arrived.acquire()
    await talk.renew()
    replies.append(talk.send("look", attachments=[png(bytes(SMALL_PROMPT))]))
    notice = await anext(replies[-1])
    assert isinstance(notice, ChatNotice)
    assert "is waiting for its turn" in notice.message
    for reply in replies:
        reply.cancel()
