"""A conversation that is deleted takes its session in the agent along, where the agent can that."""

from dataclasses import replace
from pathlib import Path

import pytest

from actors import Code, Failure
from callboard.v1.chat_pb2 import ChatToken, DeleteSessionRequest, SessionDeleted
from tests.support.conversing import text_of
from tests.support.scripted_agent import Traits, pause, say
from tests.unit.callboard_service.backends.acp.talking import (
    QUICK,
    Talk,
    eventually,
    ignoring,
    talking,
    until,
)

DELETES = Traits(loads=True, can=("delete",))
GONE = [{"sessionId": "session-1"}]


async def delete(talk: Talk) -> None:
    request = DeleteSessionRequest(session_id=talk.conversation)
    await talk.calls.call(request, SessionDeleted)


async def test_a_running_agent_deletes_its_session_before_it_ends(tmp_path: Path) -> None:
    async with talking(tmp_path, DELETES) as talk:
        await talk.say(say("one"))
        await delete(talk)
        await eventually(lambda: talk.agents.last.closed)
        assert (talk.agents.sent("session/delete"), len(talk.agents.started)) == (GONE, 1)


async def test_a_session_is_deleted_after_its_stopped_reply(tmp_path: Path) -> None:
    async with talking(tmp_path, DELETES) as talk:
        stream = talk.begin(say("one"), pause())
        await until(stream, ChatToken)
        await delete(talk)
        async for _ in ignoring(stream):
            pass
        await eventually(lambda: talk.agents.last.closed)
        methods = [one.get("method") for one in talk.agents.last.agent.received]
        assert methods[-2:] == ["session/cancel", "session/delete"]


async def test_an_agent_that_has_ended_is_started_to_delete_its_session(tmp_path: Path) -> None:
    """It needs no session of its own, and ends at once."""
    async with talking(tmp_path, DELETES, limit=1) as talk:
        await talk.say(say("one"))
        gone = talk.conversation
        await talk.renew()
        talk.agents.traits = replace(DELETES, session="session-2")
        await talk.say(say("two"))
        talk.conversation = gone
        await delete(talk)
        await eventually(lambda: len(talk.agents.started) == 3 and talk.agents.last.closed)
        assert talk.agents.sent("session/delete") == GONE
        methods = [one["method"] for one in talk.agents.last.agent.received]
        assert methods == ["initialize", "session/delete"]
        await talk.renew()
        talk.agents.traits = replace(DELETES, session="session-3")
        assert text_of(await talk.say(say("three"))) == "three"


@pytest.mark.parametrize(
    "traits",
    [
        Traits(loads=True),
        replace(DELETES, refuses=("delete",)),
        replace(DELETES, name="gptme"),
    ],
)
async def test_an_agent_that_cannot_delete_hinders_nothing(tmp_path: Path, traits: Traits) -> None:
    """Nor is one asked that has the same session for several conversations."""
    async with talking(tmp_path, traits) as talk:
        await talk.say(say("one"))
        await delete(talk)
        await eventually(lambda: talk.agents.last.closed)
        assert talk.agents.sent("session/delete") == (GONE if traits.refuses else [])
        await talk.renew()
        await talk.say(say("two"))
        talk.agents.last.end(0)
        await eventually(lambda: talk.agents.last.closed)
        await delete(talk)
        assert len(talk.agents.started) == (3 if traits.refuses else 2)


async def test_a_delete_waits_for_no_agent(tmp_path: Path) -> None:
    silent = replace(QUICK, choose=0)
    async with talking(tmp_path, DELETES, timeouts=silent) as talk:
        await talk.say(say("one"))
        talk.agents.last.agent._traits = replace(DELETES, silent=True)
        await delete(talk)
        with pytest.raises(Failure) as caught:
            await talk.backend.get(talk.conversation)
        assert caught.value.code is Code.NOT_FOUND
        await eventually(lambda: talk.agents.last.closed)


async def test_a_session_stays_if_its_conversation_cannot_be_deleted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with talking(tmp_path, DELETES) as talk:
        await talk.say(say("one"))

        async def refuse(work: object) -> None:
            raise Failure(Code.UNAVAILABLE, "the disk is full")

        with monkeypatch.context() as patched:
            patched.setattr(talk.backend, "write", refuse)
            with pytest.raises(Failure):
                await talk.backend.delete(talk.conversation)
        assert text_of(await talk.say(say("two"))) == "two"
        assert (len(talk.agents.started), talk.agents.sent("session/delete")) == (1, [])
