"""The choice of a conversation's model, over real HTTP."""

from pathlib import Path

import pytest

from actors import Code, Failure
from actors.testing import LogLines
from callboard.v1.chat_pb2 import (
    ListOptionsRequest,
    OptionList,
    SessionOption,
    SetOptionRequest,
)
from callboard_service.backends.openai import models as module
from callboard_service.backends.openai.api import DEFAULT_TIMEOUTS, Api, ModelServer
from callboard_service.backends.openai.models import LIST_AGAIN, Models
from tests.support.openai.scripted_server import ScriptedServer, refusing, saying
from tests.support.openai.talk import Talk, talking

LISTED = {"data": [{"id": "small", "context_length": 4096}, {"id": "large"}]}


def shown(options: OptionList) -> tuple[str, list[tuple[str, int]]]:
    """Return the current model, and the names and contexts of all."""
    (option,) = options.options
    assert (option.id, option.category) == ("model", SessionOption.CATEGORY_MODEL)
    return option.current, [(choice.value, choice.context_size) for choice in option.choices]


async def choose(talk: Talk, value: str, option: str = "model") -> OptionList:
    request = SetOptionRequest(session_id=talk.conversation, option_id=option, value=value)
    return await talk.calls.call(request, OptionList)


async def test_the_model_that_was_chosen_is_used_unless_a_message_names_one(
    server: ScriptedServer, tmp_path: Path
) -> None:
    server.models = refusing(200, LISTED)
    server.will(*[saying("ok")] * 4)
    async with talking(tmp_path, server.url) as talk:
        request = ListOptionsRequest()
        new = await talk.calls.call(request, OptionList)
        assert shown(new) == ("small", [("small", 4096), ("large", 0)])
        await talk.all("hi")
        assert shown(await choose(talk, "large")) == ("large", [("large", 0), ("small", 4096)])
        await talk.all("hi again")
        await talk.all("and now", "medium")
        await talk.renew()
        await talk.all("elsewhere")
    used = [chat.body["model"] for chat in server.chats]
    assert used == ["small", "large", "medium", "small"]


async def test_the_configured_model_is_a_choice_even_if_it_is_not_listed(
    server: ScriptedServer, tmp_path: Path
) -> None:
    server.models = refusing(200, LISTED)
    async with talking(tmp_path, server.url, model="own") as talk:
        options = await talk.calls.call(ListOptionsRequest(), OptionList)
        assert shown(options) == ("own", [("own", 0), ("small", 4096), ("large", 0)])
        await choose(talk, "small")
        assert shown(await choose(talk, "own"))[0] == "own"


@pytest.mark.parametrize(("option", "value"), [("model", "huge"), ("model", ""), ("mode", "small")])
async def test_an_unknown_choice_is_refused(talk: Talk, option: str, value: str) -> None:
    with pytest.raises(Failure) as caught:
        await choose(talk, value, option)
    assert caught.value.code is Code.INVALID_ARGUMENT
    assert await talk.backend.journal.choices(talk.conversation) == {}


async def test_the_options_of_an_unknown_conversation_are_not_found(talk: Talk) -> None:
    with pytest.raises(Failure) as caught:
        await talk.calls.call(ListOptionsRequest(session_id="none"), OptionList)
    assert caught.value.code is Code.NOT_FOUND


async def test_models_are_listed_again_when_the_list_is_old(server: ScriptedServer) -> None:
    """A server that does not answer then leaves the old list."""
    time = 0.0
    api = Api(ModelServer(server.url), LogLines(), DEFAULT_TIMEOUTS)
    try:
        models = Models(api, "", LogLines(), lambda: time)
        await models.first_look()
        assert not await models.offers("new")
        server.models = refusing(200, {"data": [{"id": "new"}]})
        time = LIST_AGAIN - 1
        assert not await models.offers("new")
        assert server.listed == 1
        time = LIST_AGAIN
        assert await models.offers("new")
        assert server.listed == 2
        server.models = refusing(500)
        time = 2 * LIST_AGAIN
        assert await models.offers("new")
        assert await models.offers("new")
        assert server.listed == 3
    finally:
        await api.close()


async def test_a_long_list_is_cut_but_has_the_current_model(
    server: ScriptedServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every snapshot of a conversation has the choices."""
    monkeypatch.setattr(module, "MAX_CHOICES", 100)
    names = [f"model-{number}" for number in range(50)]
    server.models = refusing(200, {"data": [{"id": name} for name in names]})
    async with talking(tmp_path, server.url) as talk:
        current, choices = shown(await choose(talk, names[-1]))
        assert current == names[-1]
        assert [name for name, _ in choices] == [names[-1], *names[: len(choices) - 1]]
        assert 1 < len(choices) < 10
