"""A conversation may have a folder of its own, in which its agent works."""

from dataclasses import replace
from pathlib import Path

import pytest

from actors import Code, Failure
from callboard.v1.chat_pb2 import CreateSessionRequest, SessionInfo
from tests.support.conversing import text_of
from tests.support.scripted_agent import Traits, say
from tests.unit.callboard_service.backends.acp.talking import Talk, notices, talking

LOADS = Traits(loads=True)


async def create(talk: Talk, directory: str, **fields: str) -> str:
    request = CreateSessionRequest(directory=directory, **fields)
    return (await talk.calls.call(request, SessionInfo)).id


async def test_the_agent_works_in_the_folder_of_its_conversation(tmp_path: Path) -> None:
    """It is kept with the conversation, and its session is loaded there."""
    own = tmp_path / "own"
    own.mkdir()
    async with talking(tmp_path, LOADS) as talk:
        await talk.say(say("one"))
        talk.conversation = await create(talk, str(own))
        talk.agents.traits = replace(LOADS, session="session-2")
        await talk.say(say("two"))
        talk.agents.last.end(0)
        assert notices(await talk.say(say("three"))) == []
        assert [one["cwd"] for one in talk.agents.sent("session/new")] == [str(tmp_path), str(own)]
        assert [one["cwd"] for one in talk.agents.sent("session/load")] == [str(own)]


async def test_a_folder_is_kept_with_what_creates_the_conversation(tmp_path: Path) -> None:
    """A request that is sent again names the conversation that it has created, with its folder."""
    async with talking(tmp_path, LOADS) as talk:
        (tmp_path / "own").mkdir()
        talk.conversation = await create(talk, str(tmp_path / "own"), create_id="c")
        assert await create(talk, "", create_id="c") == talk.conversation
        await talk.say(say("one"))
        assert talk.agents.sent("session/new")[0]["cwd"] == str(tmp_path / "own")


@pytest.mark.parametrize("wrong", ["relative", "{folder}/none", "{folder}/file", "{folder}/\0"])
async def test_a_folder_must_be_absolute_and_exist(tmp_path: Path, wrong: str) -> None:
    (tmp_path / "file").write_text("")
    async with talking(tmp_path) as talk:
        with pytest.raises(Failure) as caught:
            await create(talk, wrong.format(folder=tmp_path))
        assert caught.value.code is Code.INVALID_ARGUMENT
        assert len((await talk.backend.conversations()).sessions) == 1


async def test_a_conversation_in_another_folder_does_not_disturb_an_agent_of_one_session(
    tmp_path: Path,
) -> None:
    """An agent may have one session for each folder."""
    async with talking(tmp_path) as talk:
        await talk.say(say("one"))
        talk.conversation = await create(talk, str(tmp_path))
        failure, _ = await talk.failure()
        assert failure.code is Code.FAILED_PRECONDITION
        (tmp_path / "own").mkdir()
        talk.conversation = await create(talk, str(tmp_path / "own"))
        talk.agents.traits = Traits(session="session-2")
        assert text_of(await talk.say(say("two"))) == "two"
