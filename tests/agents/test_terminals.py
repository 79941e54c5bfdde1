"""What the agents that use terminals do with those of the service (`acp_terminals`)."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import psutil
import pytest

from tests.agents.conftest import ALL
from tests.agents.scenarios import stop_in_tool, written
from tests.agents.talking import ALLOW_ONCE, REJECT_ONCE, Talk
from tests.e2e.contract_client import text_of
from tests.e2e.service_process import running
from tests.support.peers.scripted_llm import call, say
from tests.support.witness import Witness

pytestmark = pytest.mark.skipif(not ALL, reason="only `make agents` has agents that use terminals")

USE_THEM = ("kimi", "fast-agent")


@asynccontextmanager
async def offered(talk: Talk) -> AsyncIterator[Talk]:
    """Yield a new conversation on a service that offers terminals."""
    settings = talk.agent.settings(talk.folder / "agent", talk.llm.url)
    with running(talk.folder / "service", **settings, CALLBOARD_ACP_TERMINALS="yes") as service:
        async with service.connect(features=["follow"]) as client:
            yield await talk.at(service, client).renew()
        if service.process.poll() is None:
            tree = service.children()
            service.signal()
            assert await service.wait() == 0
            _, left = psutil.wait_procs(tree, 1)
            assert not left


@pytest.fixture
async def here(talk: Talk) -> AsyncIterator[Talk]:
    """The same with an agent that uses them."""
    if talk.agent.name not in USE_THEM:
        pytest.skip("it runs its commands itself, as another test shows")
    if talk.agent.name == "fast-agent":  # it has another tool then
        execute = replace(talk.agent, shell=lambda command: call("execute", command=command))
        talk = replace(talk, agent=execute)
    async with offered(talk) as here:
        yield here


async def test_others_run_their_commands_themselves(talk: Talk) -> None:
    if talk.agent.name in USE_THEM:
        pytest.skip("it uses the terminals of the service")
    async with offered(talk) as here:
        turn = await here.begin(here.shell("tr '\\0' ' ' < /proc/$PPID/cmdline"), [say("done")])
        await turn.choose(await turn.asked(), ALLOW_ONCE)
        assert text_of(await turn.end()) == "done"
        (result,) = turn.of("tool_result")
        assert result.output
        assert "guardian.py" not in result.output


async def test_a_command_runs_under_the_service_once_it_is_allowed(here: Talk) -> None:
    """A person is asked once, as the agents ask first; the output is in the call."""
    made = here.folder / "made"
    command = f"touch {made}; tr '\\0' ' ' < /proc/$PPID/cmdline"
    turn = await here.begin(here.shell(command), [say("done")])
    ask = await turn.asked()
    assert command in ask.title + ask.detail
    assert not made.exists()
    await turn.choose(ask, ALLOW_ONCE)
    assert text_of(await turn.end()) == "done"
    assert made.exists()
    assert len(turn.of("ask")) == 1
    (result,) = turn.of("tool_result")
    assert "guardian.py" in result.output


async def test_a_command_that_is_refused_does_not_run(here: Talk) -> None:
    made = here.folder / "made"
    turn = await here.begin(here.shell(f"touch {made}"), [say("went on")])
    await turn.choose(await turn.asked(), REJECT_ONCE)
    await turn.end()
    assert not made.exists()


async def test_a_stop_ends_the_command(here: Talk) -> None:
    """Fast-agent tells neither that its call has ended, nor which terminal the call has."""
    told = "; the next reply says that a tool may run on" if here.agent.name != "kimi" else ""
    assert await stop_in_tool(here) == f"works{told}"


async def test_no_command_outlives_a_service_that_is_killed(here: Talk) -> None:
    witness, begun = Witness(here.folder), here.folder / "begun"
    os.mkfifo(begun)
    stubborn = f"trap '' TERM HUP INT; echo . > {begun}; sleep 1000"
    command = f"""exec 3>{witness.path}; (setsid sh -c "{stubborn}" &); sleep 1000"""
    turn = await here.begin(here.shell(command))
    begins = asyncio.create_task(written(begun))
    await turn.choose(await turn.asked(), ALLOW_ONCE)
    await begins
    assert not witness.nobody_left()
    here.service.signal(signal.SIGKILL)
    await here.service.wait()
    await witness.wait()
    witness.close()
