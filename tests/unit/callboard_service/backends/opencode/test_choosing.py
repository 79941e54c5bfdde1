"""What is posted for a message: its mark, what was chosen, and whether it is a command."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web

from actors import Failure
from callboard.v1.chat_pb2 import AnswerRequest
from callboard_service.backends.base import Prompt
from callboard_service.backends.opencode.api import Address, Api
from callboard_service.backends.opencode.choosing import Choosing
from callboard_service.backends.opencode.marks import Mark, message_id_of
from callboard_service.backends.stored import StoredConversations
from tests.unit.callboard_service.backends.opencode.odd_server import answering

NAME, TURN = "ses_1", "0123456789abcdef" * 2
SESSION = {"id": NAME, "model": {"providerID": "p", "id": "own"}}


class Server:
    """Offers two models and a command, and counts what it is asked for."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(request.path)
        models = {"own": {"limit": {"context": 5}}, "other": {}}
        answers: dict[str, Any] = {
            "/config/providers": {"providers": [{"id": "p", "models": models}]},
            "/agent": [{"name": "build", "mode": "primary"}],
            "/config": {},
            "/command": [{"name": "known"}],
        }
        return web.json_response(answers[request.path])


@pytest.fixture
async def turns() -> AsyncIterator[StoredConversations]:
    turns = StoredConversations(":memory:", print)
    await turns.open()
    yield turns
    await turns.close()


async def unanswered() -> AnswerRequest:
    raise AssertionError("nothing is asked here")


def prompt(text: str = "said", model: str = "", **more: Any) -> Prompt:
    return Prompt(NAME, text, model, unanswered, turn_id=TURN, **more)


async def posted(choosing: Choosing, *prompts: Prompt) -> tuple[Server, list[dict[str, object]]]:
    """Return what is posted for these messages."""
    server = Server()
    async with answering(server.answer) as url:
        api = Api(Address(url))
        try:
            return server, [await choosing.message(api, SESSION, each) for each in prompts]
        finally:
            await api.close()


async def test_a_message_is_marked_with_its_turn(turns: StoredConversations) -> None:
    """A copy of the conversation needs no further call then."""
    _, (body,) = await posted(Choosing(turns), prompt())
    part = {"type": "text", "text": "said", "metadata": Mark(TURN).metadata()}
    assert body == {"messageID": message_id_of(TURN), "parts": [part]}


async def test_the_server_is_asked_only_for_what_is_needed(turns: StoredConversations) -> None:
    """The sizes of the contexts once, commands for a slash only."""
    choosing = Choosing(turns)
    server, _ = await posted(choosing, prompt(), prompt())
    assert sorted(server.asked) == ["/agent", "/config", "/config/providers"]
    assert choosing.context_sizes == {("p", "own"): 5, ("p", "other"): 0}
    server, _ = await posted(choosing, prompt("/unknown"))
    assert server.asked == ["/command"]


async def test_a_command_has_the_choices_too(turns: StoredConversations) -> None:
    choices = {"agent": "build", "model": "p/other"}
    _, (body,) = await posted(Choosing(turns), prompt("/known  a b", choices=choices))
    assert body == {
        "messageID": message_id_of(TURN),
        "command": "known",
        "arguments": "a b",
        "agent": "build",
        "model": "p/other",
    }


async def test_a_model_for_one_message_keeps_the_conversation_s_own(
    turns: StoredConversations,
) -> None:
    """A message that was waiting then has it, too: the choice is read when it starts."""
    other = {"providerID": "p", "modelID": "other"}
    own = {"providerID": "p", "modelID": "own"}
    _, bodies = await posted(Choosing(turns), prompt(model="p/other"), prompt())
    assert [body.get("model") for body in bodies] == [other, own]
    assert await turns.read(lambda store: store.choices(NAME)) == {"model": "p/own"}


async def test_a_conversation_that_has_chosen_keeps_its_choice(turns: StoredConversations) -> None:
    choices = {"model": "p/other"}
    _, (body,) = await posted(Choosing(turns), prompt(model="p/own", choices=choices))
    assert body["model"] == {"providerID": "p", "modelID": "own"}
    with pytest.raises(Failure):
        await turns.read(lambda store: store.choices(NAME))


async def test_an_unknown_model_is_refused(turns: StoredConversations) -> None:
    with pytest.raises(Failure) as caught:
        await posted(Choosing(turns), prompt(model="p/none"))
    assert caught.value.code.value == "INVALID_ARGUMENT"
