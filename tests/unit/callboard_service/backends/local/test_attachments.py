"""Attachments of messages to the backend `local`: text files only, within the prompt's limit."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from actors import ActorSystem, Code
from actors.testing import actor_events, actor_system, manual_clock
from callboard.v1.chat_pb2 import Attachment
from callboard_service.backends.local.backend import LocalBackend
from callboard_service.backends.local.generation import largest_prompt
from callboard_service.backends.local.process import Loaded
from tests.support import conversing
from tests.support.conversing import LOG
from tests.unit.callboard_service.backends.local.test_backend import DONE, Model, Talk

__all__ = ["actor_events", "actor_system", "manual_clock"]


@pytest.fixture
async def talk(actor_system: ActorSystem, tmp_path: Path) -> AsyncIterator[Talk]:
    backend, model = LocalBackend(tmp_path / "m.gguf", tmp_path, LOG, print), Model()
    backend._attach(actor_system.spawn(lambda: model, name="model"), Loaded(1024, 1))
    async with conversing.conversing(backend, actor_system) as made:
        yield Talk(made, model)


async def test_text_files_are_part_of_the_prompt_and_of_later_ones(talk: Talk) -> None:
    files = [
        Attachment(name="a.txt", media_type="text/plain; charset=utf-8", data="é".encode()),
        Attachment(name="b.json", media_type="application/json", data=b"\xef\xbb\xbf{}"),
    ]
    reply = talk.send("What is this?", attachments=files)
    await talk.answer(1, {"event": "token", "text": "Files."}, DONE)
    assert [event async for event in reply]
    again = talk.send("And now?")
    await talk.answer(2, {"event": "token", "text": "The same."}, DONE)
    assert [event async for event in again]
    first = ("user", "[File: a.txt]\né\n\n[File: b.json]\n{}\n\nWhat is this?")
    assert list(talk.model.asked[0].turns) == [first]
    assert list(talk.model.asked[1].turns) == [
        first,
        ("assistant", "Files."),
        ("user", "And now?"),
    ]


@pytest.mark.parametrize(
    ("name", "media_type", "size"),
    [
        ("a.png", "image/png", 1),
        ("a.pdf", "application/pdf", 1),
        ("a.txt", "text/plain", largest_prompt(1024) + 1),
    ],
)
async def test_other_files_and_long_ones_are_refused_before_anything_is_stored(
    talk: Talk, tmp_path: Path, name: str, media_type: str, size: int
) -> None:
    file = Attachment(name=name, media_type=media_type, data=bytes(size))
    failure, events = await talk.failure("hi", attachments=[file])
    assert (failure.code, events) == (Code.INVALID_ARGUMENT, [])
    assert ("text files" if size == 1 else "at most") in failure.message
    assert await talk.kept() == []
    assert not (tmp_path / "attachments").exists()
