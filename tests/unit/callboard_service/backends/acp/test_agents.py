"""How many agents run, which one is ended for another, and what becomes of idle ones."""

import asyncio
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from actors import Code, Failure
from actors.testing import settle
from callboard.v1.chat_pb2 import ChatToken, Command, CommandList
from callboard_service.backends.acp.agent import FORGOTTEN, Agent
from callboard_service.backends.acp.agent_process import AgentProcess, FirstStart
from callboard_service.backends.acp.agents import IDLE, AgentKeeper, Agents
from callboard_service.backends.acp.command import AgentCommand, find_agent
from callboard_service.backends.acp.kept import SESSION
from callboard_service.errors import BackendFailed
from tests.support.conversing import LOG, failure_of, text_of
from tests.support.scripted_agent import FakeAgents, FakeProcess, Traits, pause, say
from tests.unit.callboard_service.backends.acp.talking import (
    QUICK,
    eventually,
    notices,
    talking,
    until,
)

LOADS = Traits(loads=True)


async def test_no_more_agents_run_than_there_are_places(tmp_path: Path) -> None:
    async with talking(tmp_path, LOADS, limit=1) as talk:
        first = talk.conversation
        await talk.say(say("one"))
        await talk.renew()
        assert text_of(await talk.say(say("two"))) == "two"
        assert [process.closed for process in talk.agents.started] == [True, False]
        talk.conversation = first
        assert notices(await talk.say(say("three"))) == []
        assert len(talk.agents.sent("session/load")) == 1


async def test_a_reply_waits_while_all_agents_are_busy(tmp_path: Path) -> None:
    async with talking(tmp_path, limit=1) as talk:
        busy = talk.begin(say("one"), pause())
        await until(busy, ChatToken)
        await talk.renew()
        waiting = talk.begin(say("two"))
        assert "waiting for its turn" in notices([await anext(waiting)])[0]
        talk.agents.last.agent.go()
        assert text_of([event async for event in busy]) == ""
        assert text_of([event async for event in waiting]) == "two"


class Started:
    """Agents that were started one after the other, with a clock that is set by hand."""

    def __init__(self, folder: Path, limit: int) -> None:
        self.now = 0.0
        self.agents = Agents(limit, lambda: self.now)
        self.fakes = FakeAgents(LOADS)
        self.folder = folder

    async def use(self, name: str, *, loads: bool = True) -> Agent:
        """Take the agent of a conversation for a moment."""

        async def begin(agent: Agent) -> None:
            self.fakes.traits = Traits(loads=loads, session=name)
            await agent.open(self.folder, "", "", begun=False)

        agent = await self.agents.take(name, self._start, Agent, begin)
        self.agents.release(name, agent)
        return agent

    def _start(self) -> AgentProcess:
        return AgentProcess(self.fakes.start, lambda name: None, LOG, QUICK, FirstStart())

    def running(self) -> list[str]:
        return [name for name in "abcd" if self.agents.find(name) is not None]


async def test_room_is_made_by_ending_the_oldest_that_can_load(tmp_path: Path) -> None:
    started = Started(tmp_path, 3)
    for name in "abc":
        started.now += 1
        await started.use(name, loads=name != "a")
    started.now += 1
    await started.use("b")
    await started.use("d")
    assert started.running() == ["a", "b", "d"], "b was used after c, and a cannot load"
    await started.agents.close()
    assert len(started.agents) == 0


async def test_an_agent_that_is_idle_for_long_is_ended_if_it_can_load(tmp_path: Path) -> None:
    started = Started(tmp_path, 4)
    for name in "abc":
        await started.use(name, loads=name != "a")
    started.now += IDLE - 1
    await started.use("c")
    started.agents.sweep()
    assert started.running() == ["a", "b", "c"]
    started.now += 1
    started.agents.sweep()
    assert started.running() == ["a", "c"]
    started.fakes.started[0].end(1)
    await eventually(lambda: started.fakes.started[0].closed)
    started.agents.sweep()
    assert started.running() == ["c"]
    await started.agents.close()


async def test_an_agent_starts_once_the_earlier_one_has_ended(tmp_path: Path) -> None:
    """Both would have the same session."""
    started = Started(tmp_path, 4)
    await started.use("a")
    started.now += IDLE
    started.fakes.ends.clear()
    started.agents.sweep()
    again = asyncio.ensure_future(started.use("a"))
    await started.use("b")
    assert (len(started.fakes.started), again.done()) == (2, False)
    started.fakes.ends.set()
    await again
    assert [process.closed for process in started.fakes.started] == [True, False, False]
    await started.agents.close()


async def test_no_agent_starts_while_the_service_stops(tmp_path: Path) -> None:
    started = Started(tmp_path, 1)
    await started.agents.close()
    with pytest.raises(Failure, match="stopping"):
        await started.use("a")
    keeper = AgentKeeper(started.agents)
    started.agents.open()
    await started.use("a")
    await keeper.stopped()
    assert started.running() == []


async def test_the_first_process_starts_alone_and_later_ones_together() -> None:
    agents, first = FakeAgents(LOADS), FirstStart()
    may_start = [asyncio.Event() for _ in range(4)]
    troubles = [RuntimeError("it does not start"), None, None, None]

    async def start(received: Callable[[bytes], None], ended: Callable[[str], None]) -> FakeProcess:
        process, number = await agents.start(received, ended), len(agents.started) - 1
        await may_start[number].wait()
        if (trouble := troubles[number]) is not None:
            raise trouble
        return process

    processes = [AgentProcess(start, lambda name: None, LOG, QUICK, first) for _ in range(4)]
    starts = [asyncio.create_task(process.introduce([])) for process in processes]
    for number in (0, 1):
        await settle()
        assert len(agents.started) == number + 1
        may_start[number].set()
    await eventually(lambda: len(agents.started) == 4)
    may_start[2].set()
    may_start[3].set()
    outcomes = await asyncio.gather(*starts, return_exceptions=True)
    assert outcomes == [troubles[0], None, None, None]
    for process in processes:
        await process.close()


async def test_an_agent_that_does_not_start_leaves_its_place(tmp_path: Path) -> None:
    async with talking(
        tmp_path, Traits(silent=True), limit=1, timeouts=replace(QUICK, start=0)
    ) as talk:
        failure, _ = await failure_of(talk.begin())
        assert (failure.code, failure.retryable) == (Code.UNAVAILABLE, True)
        assert "did not answer initialize" in failure.message
        talk.agents.traits = Traits()
        talk.backend._timeouts = QUICK
        assert text_of(await talk.say(say("now"))) == "now"
        assert talk.backend.health().detail == "agent: 1 running"


async def test_a_deleted_conversation_ends_its_agent(tmp_path: Path) -> None:
    async with talking(tmp_path) as talk:
        await talk.say(say("one"))
        await talk.backend.delete(talk.conversation)
        await eventually(lambda: talk.agents.last.closed)


async def test_a_stopping_service_interrupts_the_reply(tmp_path: Path) -> None:
    async with talking(tmp_path) as talk:
        stream = talk.begin(say("one"), pause())
        await until(stream, ChatToken)
        await talk.backend._agents.close()
        failure, _ = await failure_of(stream)
        assert failure.code is Code.ABORTED


@pytest.mark.parametrize("changed", ["conversation", "agent", "directory"])
async def test_a_session_of_another_conversation_agent_or_folder_is_not_loaded(
    tmp_path: Path, changed: str
) -> None:
    async with talking(tmp_path, LOADS) as talk:
        await talk.say(say("one"))
        kept = json.loads((await talk.backend.journal.choices(talk.conversation))[SESSION])
        other = json.dumps(kept | {changed: "other"})
        name = talk.conversation
        await talk.backend.write(lambda store: store.choose(name, SESSION, other))
        talk.agents.last.end(0)
        assert notices(await talk.say(say("two"))) == [FORGOTTEN]
        assert talk.agents.sent("session/load") == []


async def test_the_commands_of_an_agent_are_known_once_it_has_told(tmp_path: Path) -> None:
    told = [{"name": "init", "description": "d", "input": {"hint": "h"}}, {"name": "/web"}, {}]
    update_ = {"sessionUpdate": "available_commands_update", "availableCommands": told}
    async with talking(tmp_path, Traits(after=[update_]), limit=1) as talk:
        assert await talk.backend.commands(talk.conversation) == CommandList()
        await talk.say(say("one"))
        expected = [Command(name="init", description="d", hint="h"), Command(name="web")]
        assert list((await talk.backend.commands(talk.conversation)).commands) == expected
        await talk.renew()
        assert list((await talk.backend.commands(talk.conversation)).commands) == expected
        with pytest.raises(Failure):
            await talk.backend.commands("none")


async def test_a_stream_of_the_agent_that_nobody_reads_ends_its_reply(tmp_path: Path) -> None:
    async with talking(tmp_path) as talk:
        text = "x" * 1_000_000
        failure, _ = await failure_of(talk.begin(*[say(text) for _ in range(6)]))
        assert failure.code is Code.RESOURCE_EXHAUSTED
        assert text_of(await talk.say(say("next"))) == "next"


def test_the_command_is_checked_before_the_service_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    program = tmp_path / "an agent"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o700)
    command = find_agent(f"'{program}' acp --x", None, ["KEY"], "plan")
    assert command == AgentCommand(
        [str(program), "acp", "--x"], tmp_path, ["KEY"], "plan", command.known
    )
    assert command.identify("unknown") is None
    assert command.identify("qwen-code") is command.known["qwen"]
    named = AgentCommand(["/bin/OpenCode.exe", "acp"], tmp_path, known=command.known)
    assert named.identify("qwen-code") is command.known["opencode"]
    monkeypatch.setenv("PATH", "")
    for wrong, said in (
        (None, "set acp_command"),
        ("'open", "acp_command: "),
        ("agent", "program 'agent' not found"),
    ):
        with pytest.raises(BackendFailed, match=said):
            find_agent(wrong, None, [], "")
    with pytest.raises(BackendFailed, match="there is no folder"):
        find_agent(f"'{program}'", Path("none"), [], "")
    with pytest.raises(BackendFailed, match="acp_files"):
        find_agent(f"'{program}'", None, [], "", program)
    assert find_agent(f"'{program}'", None, [], "", Path()).files == tmp_path
