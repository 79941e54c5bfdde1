"""One process of an agent serves several conversations (`acp_processes = shared`)."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from copy import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from actors import Code, Failure
from callboard.v1.chat_pb2 import AnswerRequest, AskClosed, AskEvent, ChatToken
from callboard_service.backends.acp.agent import FORGOTTEN, Agent
from callboard_service.backends.acp.agent_process import BROKEN_OFF, AgentProcess, FirstStart
from callboard_service.backends.acp.agents import IDLE, Agents
from callboard_service.backends.acp.command import find_agent
from callboard_service.errors import BackendFailed
from tests.support import conversing
from tests.support.conversing import LOG, text_of
from tests.support.scripted_agent import (
    OPTIONS,
    FakeAgents,
    Step,
    Traits,
    ask,
    notify,
    pause,
    request,
    say,
)
from tests.unit.callboard_service.backends.acp.talking import (
    QUICK,
    Talk,
    answer,
    eventually,
    notices,
    of,
    talking,
    until,
)

SEVERAL = Traits(several=True, loads=True, can=("delete",))
PERMISSION = ask(*OPTIONS, toolCallId="1", title="run", rawInput={"command": "x"})


@asynccontextmanager
async def two(folder: Path, traits: Traits = SEVERAL, **more: Any) -> AsyncIterator[list[Talk]]:
    """Yield two conversations that have begun, in one process."""
    async with talking(folder, traits, shared=True, **more) as one:
        other = copy(one)
        await other.renew()
        for talk in (one, other):
            assert text_of(await talk.say(say("hello"))) == "hello"
        assert len(one.agents.started) == 1
        yield [one, other]


async def test_two_conversations_run_at_once_in_one_process(tmp_path: Path) -> None:
    """Text, permissions and their answers go to the conversation that they are about."""
    async with two(tmp_path) as (one, other):
        first = one.begin(say("one "), PERMISSION, say("1"))
        second = other.begin(say("two "), PERMISSION, say("2"))
        asked = await until(first, AskEvent)
        asked_too = await until(second, AskEvent)
        second.tell(AnswerRequest(ask_id=asked_too.ask_id, answers=["no"]))
        rest = [event async for event in second]
        assert text_of(rest) == "2"
        assert [list(one.answers) for one in of(AskClosed, rest)] == [["no"]]
        first.tell(AnswerRequest(ask_id=asked.ask_id, answers=["once"]))
        assert text_of([event async for event in first]) == "1"
        assert len(one.agents.started) == 1
        assert len(one.agents.sent("initialize")) == 1
        assert len({sent["sessionId"] for sent in one.agents.sent("session/prompt")}) == 2


async def test_one_is_stopped_while_the_other_goes_on(tmp_path: Path) -> None:
    async with two(tmp_path) as (one, other):
        first, second = one.begin(say("one"), pause()), other.begin(say("two"), pause(), say("!"))
        await until(first, ChatToken)
        await until(second, ChatToken)
        await one.stop(first)
        assert text_of(await one.say(say("next"))) == "next"
        one.agents.last.agent.go()
        assert text_of([event async for event in second]) == "!"
        assert len(one.agents.started) == 1


async def test_a_stop_without_effect_interrupts_the_others_and_tells_them(tmp_path: Path) -> None:
    """The next messages share a new process, which loads both sessions."""
    stubborn = replace(SEVERAL, cancel="ignore")
    async with two(tmp_path, stubborn, timeouts=replace(QUICK, cancel=0.0), limit=1) as talks:
        one, other = talks
        first, second = one.begin(say("one"), pause()), other.begin(say("two"), pause())
        await until(first, ChatToken)
        await until(second, ChatToken)
        await one.stop(first)
        failure, seen = await conversing.failure_of(second)
        assert (failure.code, failure.retryable) == (Code.ABORTED, True)
        assert notices(seen) == [BROKEN_OFF]
        for talk in talks:
            events = await talk.say(say("next"))
            assert (text_of(events), FORGOTTEN in notices(events)) == ("next", False)
        assert len(one.agents.started) == 2
        assert len(one.agents.sent("session/load")) == 2


async def test_the_end_of_the_process_interrupts_all_and_all_go_on(tmp_path: Path) -> None:
    async with two(tmp_path, limit=1) as talks:
        streams = [talk.begin(say("one"), pause()) for talk in talks]
        for stream in streams:
            await until(stream, ChatToken)
        talks[0].agents.last.end(1)
        for stream in streams:
            failure, _ = await conversing.failure_of(stream)
            assert failure.code is Code.ABORTED
        for talk in talks:
            assert text_of(await talk.say(say("next"))) == "next"
        assert len(talks[0].agents.started) == 2
        assert len(talks[0].agents.sent("session/load")) == 2


async def test_a_deleted_conversation_leaves_the_process_to_the_others(tmp_path: Path) -> None:
    """Its session is deleted, also in the middle of a reply. The last one ends the process."""
    async with two(tmp_path) as (one, other):
        stream, going_on = one.begin(say("one"), pause()), other.begin(say("two"), pause())
        await until(stream, ChatToken)
        await until(going_on, ChatToken)
        await one.backend.delete(one.conversation)
        await one.until_sent("session/delete")
        other.agents.last.agent.go()
        assert [event async for event in going_on]
        assert not other.agents.last.closed
        await other.backend.delete(other.conversation)
        await eventually(lambda: other.agents.last.closed)
        assert len(other.agents.sent("session/delete")) == 2
        assert len(other.agents.started) == 1


async def test_what_names_no_session_of_a_conversation_reaches_none(tmp_path: Path) -> None:
    """Once there are several; neither do terminals of another conversation."""
    async with two(tmp_path, terminals=True) as (one, other):
        agent = one.agents.last.agent
        stream = one.begin(request("terminal/create", command="true"), say("on"))
        await answer(stream, "allow")
        assert [event async for event in stream]
        (made,) = one.agents.answers()
        ids = [sent["sessionId"] for sent in one.agents.sent("session/prompt")][:2]
        update = {"sessionUpdate": "agent_message_chunk", "content": say("x")["update"]["content"]}

        foreign: list[Step] = [
            notify("session/update", sessionId="session-x", update=update),
            request("session/request_permission", **PERMISSION["params"], sessionId="x"),
            request("terminal/output", **made, sessionId=ids[1]),
            request("terminal/output", **made, sessionId="x"),
        ]

        events = await one.say(*foreign, say("on"))
        assert (text_of(events), of(AskEvent, events)) == ("on", [])
        codes = [one["code"] for one in one.agents.answers()[1:]]
        assert codes == [-32602, -32002, -32602]
        assert agent is other.agents.last.agent


async def test_updates_before_the_id_of_a_session_are_for_the_one_that_begins(
    tmp_path: Path,
) -> None:
    commands = {
        "sessionUpdate": "available_commands_update",
        "availableCommands": [{"name": "plan", "description": "Plan"}],
    }
    async with two(tmp_path, replace(SEVERAL, before=(commands,))) as (_, other):
        found = await other.backend.commands(other.conversation)
        assert [one.name for one in found.commands] == ["plan"]


async def test_a_live_session_is_not_loaded_again(tmp_path: Path) -> None:
    fakes = FakeAgents(SEVERAL)
    process = AgentProcess(fakes.start, lambda name: None, LOG, QUICK, FirstStart())
    agent = Agent(process)
    await agent.introduce()
    loaded = await process.begin(tmp_path, "session-x")
    again = await process.begin(tmp_path, "session-x")
    assert (loaded.id, again.id, again.continued) == ("session-x", "session-x", True)
    assert len(fakes.sent("session/load")) == 1
    await agent.close()


async def test_a_process_ends_once_all_its_conversations_are_idle(tmp_path: Path) -> None:
    now = 0.0
    agents, fakes = Agents(1, lambda: now, shared=True), FakeAgents(SEVERAL)

    async def begin(agent: Agent) -> None:
        await agent.open(tmp_path, "", "", begun=False)

    def start() -> AgentProcess:
        return AgentProcess(fakes.start, lambda name: None, LOG, QUICK, FirstStart())

    one = await agents.take("a", start, Agent, begin)
    agents.release("a", one)
    two = await agents.take("b", start, Agent, begin)
    assert (len(agents), len(fakes.started), one.process is two.process) == (1, 1, True)
    now = IDLE
    agents.sweep()
    assert one.usable
    agents.release("b", two)
    agents.sweep()
    assert one.usable, "b is idle since now"
    now = 2 * IDLE
    agents.sweep()
    assert (one.usable, two.usable) == (False, False)
    await agents.close()
    assert len(agents) == 0


async def test_agents_that_may_mix_conversations_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An entry in the user's table can say otherwise."""
    for name in ("opencode", "kimi", "gptme-acp", "other"):
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(0o755)
    assert find_agent(f"{tmp_path}/opencode acp", tmp_path, [], "", shared=True).shared
    for name in ("gptme-acp", "other"):
        with pytest.raises(BackendFailed, match="known to keep the conversations"):
            find_agent(f"{tmp_path}/{name} acp", tmp_path, [], "", shared=True)


async def test_a_process_that_does_not_start_is_told_to_all_who_wait(tmp_path: Path) -> None:
    async with talking(tmp_path, replace(SEVERAL, version=9), shared=True) as one:
        other = copy(one)
        await other.renew()
        streams = [talk.begin(say("x")) for talk in (one, other)]
        for stream in streams:
            failure, _ = await conversing.failure_of(stream)
            assert isinstance(failure, Failure)
        one.agents.traits = SEVERAL
        for talk in (one, other):
            assert text_of(await talk.say(say("next"))) == "next"
        assert len({id(process) for process in one.agents.started if not process.closed}) == 1
