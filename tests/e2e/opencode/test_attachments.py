"""Files that are sent with a message reach OpenCode's model."""

import base64
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.e2e.contract_client import Contract, message, text_of
from tests.e2e.opencode.peer import entries, send
from tests.e2e.service_process import ServiceProcess
from tests.support.peers.cutting_proxy import CuttingProxy
from tests.support.peers.scripted_llm import ScriptedLLM, say, script

# A PNG of one black pixel.
PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABSK+kcQAAAABJRU5ErkJggg=="
)


@pytest.fixture
async def client(service: ServiceProcess, proxy: CuttingProxy) -> AsyncIterator[Contract]:
    """A client that knows turns."""
    proxy.mend()
    async with service.connect(features=["follow"]) as client:
        yield client


def file(name: str, media_type: str, data: bytes) -> Any:
    return message("Attachment", name=name, media_type=media_type, data=data)


async def test_a_text_and_an_image_reach_the_model(client: Contract, llm: ScriptedLLM) -> None:
    conversation = await client.conversation("files")
    text = script([say("seen")])
    files = [
        file("notes.json", "application/json", b'{"secret": "melon"}'),
        file("pixel.png", "image/png", PIXEL),
    ]
    assert text_of(await send(client, conversation, text, attachments=files)) == "seen"
    asked = llm.asked[-1]
    said = str(asked.body["messages"])
    assert "melon" in said
    assert base64.b64encode(PIXEL).decode() in said or "pixel.png" in said
    kept = (await entries(client, conversation))[0].attachments
    assert [(one.name, one.size) for one in kept] == [("notes.json", 19), ("pixel.png", len(PIXEL))]


async def test_a_file_that_no_model_takes_is_refused(client: Contract) -> None:
    conversation = await client.conversation("files")
    request = message(
        "SendMessageRequest",
        session_id=conversation,
        text="look",
        attachments=[file("a.zip", "application/zip", b"x")],
    )
    answer = await client.call(send_message=request)
    assert answer.error.code == "INVALID_ARGUMENT"
    assert list(await entries(client, conversation)) == []
