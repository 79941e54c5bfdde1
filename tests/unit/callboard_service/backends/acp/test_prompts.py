"""Attachments: in the form that the agent takes, or refused."""

from base64 import b64encode
from pathlib import Path
from typing import Any

import pytest

from actors import Code, Failure
from callboard.v1.chat_pb2 import Attachment, SendMessageRequest, TurnInfo
from callboard_service.backends.acp.prompts import blocks_of
from tests.support.attaching import inline, message_refused
from tests.support.conversing import text_of
from tests.support.scripted_agent import Traits, say, script
from tests.unit.callboard_service.backends.acp.talking import talking

ALL = {"image": True, "embeddedContext": True}
IMAGE = inline(b"png", name="i.png", media_type="image/png")
NOTE = inline(b"\xef\xbb\xbfnote", name="a b.txt")


@pytest.mark.parametrize(
    ("accepts", "block"),
    [
        (
            ALL,
            {
                "type": "resource",
                "resource": {
                    "uri": "attachment:///a%20b.txt", "mimeType": "text/plain", "text": "note",
                },
            },
        ),
        ({}, {"type": "text", "text": "[File: a b.txt]\nnote"}),
    ],
)  # fmt: skip
async def test_a_text_is_embedded_or_becomes_part_of_the_message(
    tmp_path: Path, accepts: Any, block: Any
) -> None:
    async with talking(tmp_path, Traits(accepts=accepts)) as talk:
        events = await talk.all(script(say("seen")), attachments=[NOTE])
        assert text_of(events) == "seen"
        (sent,) = talk.agents.sent("session/prompt")
        assert sent["prompt"][1:] == [block]


async def test_an_image_is_sent_to_an_agent_that_takes_images(tmp_path: Path) -> None:
    async with talking(tmp_path, Traits(accepts=ALL)) as talk:
        for _ in range(2):
            await talk.all(script(say("seen")), attachments=[IMAGE])
        data = b64encode(b"png").decode()
        block = {"type": "image", "mimeType": "image/png", "data": data}
        assert talk.agents.sent("session/prompt")[0]["prompt"][1:] == [block]


async def test_an_image_is_refused_at_once_if_the_agent_is_known_to_take_none(
    tmp_path: Path,
) -> None:
    """Before an agent has started, the message is admitted, and its reply fails."""
    async with talking(tmp_path) as talk:
        failure, _ = await talk.failure("[]", attachments=[IMAGE])
        assert failure.code is Code.INVALID_ARGUMENT
        assert "it takes text" in failure.message
        assert talk.agents.sent("session/prompt") == []
        request = SendMessageRequest(
            session_id=talk.conversation, text="[]", attachments=[IMAGE], detached=True
        )
        with pytest.raises(Failure, match="it takes text"):
            await talk.calls.call(request, TurnInfo)
        assert text_of(await talk.say(say("on"))) == "on"


async def test_other_files_are_refused(tmp_path: Path) -> None:
    async with talking(tmp_path, Traits(accepts=ALL)) as talk:
        archive = inline(name="a.zip", media_type="application/zip")
        assert (await message_refused(talk, archive)).code is Code.INVALID_ARGUMENT


async def test_a_file_that_is_lost_is_named() -> None:
    async def read(name: str) -> bytes:
        raise Failure(Code.NOT_FOUND, name)

    lost = [Attachment(id="1", name="i.png", media_type="image/png")]
    assert await blocks_of("", lost, ALL, read) == [
        {"type": "text", "text": "[File: i.png, which is missing]"}
    ]
