"""One process of a real agent serves two conversations at once (`acp_processes = shared`)."""

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import psutil
import pytest

from tests.agents.conftest import ALL
from tests.agents.scenarios import remembers, written
from tests.agents.talking import ALLOW_ONCE, Talk
from tests.e2e.contract_client import text_of
from tests.e2e.service_process import ServiceProcess, running
from tests.support.peers.acp_agents import RealAgent
from tests.support.peers.scripted_llm import ScriptedLLM, say, wait

SHARE = ("opencode", "qwen")
"""The agents that are known to keep conversations apart."""


@pytest.fixture(scope="module")
def sharing(agent: RealAgent, llm: ScriptedLLM, folder: Path) -> Iterator[ServiceProcess]:
    """A service whose conversations share a process, of which it leaves none."""
    settings = agent.settings(folder / "sharing", llm.url) | {
        "CALLBOARD_ACP_DIRECTORY": str(folder / "project"),
        "CALLBOARD_ACP_PROCESSES": "shared",
    }
    with running(folder / "sharing" / "service", **settings) as service:
        yield service
        tree = service.children()
        service.signal()
        assert service.process.wait(30) == 0, service.log.read_text()
        _, left = psutil.wait_procs(tree, 1)
        assert not left


@pytest.fixture(scope="module")
def pair(agent: RealAgent) -> list[str]:
    """The two conversations that tests use, as their agent takes seconds to start."""
    return []


@pytest.fixture
async def two(
    talk: Talk, pair: list[str], request: pytest.FixtureRequest
) -> AsyncIterator[list[Talk]]:
    """Two conversations in one process; new ones after a test has failed."""
    if talk.agent.name not in SHARE:
        pytest.skip("it is not known to keep conversations apart")
    if talk.agent.name != SHARE[0] and not ALL:
        pytest.skip("only `make agents` tries this one")
    service: ServiceProcess = request.getfixturevalue("sharing")
    async with service.connect(features=["follow"]) as client:
        here = talk.at(service, client)
        if not pair:
            for number in range(2):
                made = await here.renew()
                assert text_of((await made.reply([say(f"remember {number}")])).seen)
                pair.append(made.conversation)
        assert len(here.processes()) == 1
        failed = request.session.testsfailed
        yield [here.on(conversation) for conversation in pair]
        if request.session.testsfailed > failed:
            pair.clear()


@pytest.mark.timeout(180)
async def test_tools_and_permissions_are_those_of_their_conversation(two: list[Talk]) -> None:
    """Both are open at once, and are answered in the other order."""
    turns = []
    for number, talk in enumerate(two):
        made = talk.folder / f"made-{number}"
        command = f"echo n''{number} > {made}; cat {made}"
        turns.append(await talk.begin(talk.shell(command), [say(f"done {number}")]))
    asks = [await turn.asked() for turn in turns]
    for number in (1, 0):
        made = two[number].folder / f"made-{number}"
        assert str(made) in asks[number].title + asks[number].detail
        assert not made.exists()
        await turns[number].choose(asks[number], ALLOW_ONCE)
        await turns[number].end()
        assert made.read_text() == f"n{number}\n"
        assert text_of(turns[number].seen) == f"done {number}"
        (result,) = turns[number].of("tool_result")
        assert f"n{number}" in result.output
    for number, talk in enumerate(two):
        turn = await talk.goes_on()
        known = str(talk.llm.about(turn.text)[-1].body["messages"])
        assert (f"done {number}" in known, f"done {1 - number}" in known) == (True, False)
    assert len(two[0].processes()) == 1


@pytest.mark.timeout(180)
async def test_one_is_stopped_in_a_tool_while_the_other_goes_on(two: list[Talk]) -> None:
    one, other = two
    begun, hold = one.folder / "begun", one.folder / "hold"
    for pipe in (begun, hold):
        os.mkfifo(pipe)
    going_on = await other.begin([say("begun "), wait(other.conversation), say("reply")])
    await going_on.until("token")
    stopped = await one.begin(one.shell(f"echo $$ > {begun}; cat {hold}"), [say("never")])
    await stopped.choose(await stopped.asked(), ALLOW_ONCE)
    tool = psutil.Process(int(await written(begun)))
    before = one.processes()
    await stopped.stop()
    await one.goes_on()
    _, left = await asyncio.to_thread(psutil.wait_procs, [tool], 5)
    assert not left
    other.llm.go(other.conversation)
    await going_on.end()
    assert text_of(going_on.seen) == "begun reply"
    assert one.processes() == before


@pytest.mark.timeout(180)
async def test_a_kill_of_the_agent_interrupts_both_and_both_go_on(two: list[Talk]) -> None:
    turns = []
    for talk in two:
        turns.append(await talk.begin([say("begun "), wait(talk.conversation)]))
        await turns[-1].until("token")
    (agent,) = two[0].processes()
    tree = [agent, *agent.children(recursive=True)]
    for one in tree:
        one.suspend()  # or those that are killed last would tell
    for one in tree:
        one.kill()
    for turn in turns:
        error = (await turn.end())[-1].error
        assert (error.code, error.retryable) == ("ABORTED", True), error
    for number, talk in enumerate(two):
        assert await remembers(talk, f"remember {number}") == "the next message loads the session"
    assert len(two[0].processes()) == 1
