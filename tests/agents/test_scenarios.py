"""Each real agent goes through the same scenarios."""

import asyncio
import socket
from collections.abc import Callable
from typing import Any

import pytest

from tests.agents.conftest import ALL
from tests.agents.scenarios import AT_ONCE, DOWN, SCENARIOS, Scenario, remembers
from tests.agents.talking import Talk
from tests.e2e.service_process import running
from tests.support.peers.scripted_llm import say

RESTART = "the service is restarted"
COPY = "a copy of the conversation"
DELETED = "the conversation is deleted"

GOES_ON = "the model is asked to go on from there"
NEVER_ASKS = "runs without asking"
GIVEN = "the agent is given the text"

DIFFERENCES = {
    "qwen": {"it cuts a reply off once": GOES_ON, COPY: GIVEN},
    "kimi": {
        DELETED: "the agent deletes its session",
        "a tool that is refused": "does not run; the reply goes on",
        "it answers 500": "an empty turn, shown as one",
        "it cuts a reply off once": GOES_ON,
        "it is down": "an empty turn, shown as one",
    },
    "fast-agent": {
        "thoughts": "not shown",
        "a tool that is allowed": NEVER_ASKS,
        "a tool that is refused": NEVER_ASKS,
        "a permission that nobody answers": NEVER_ASKS,
        "a second window answers": NEVER_ASKS,
        "stop in a permission": NEVER_ASKS,
        "stop in a tool": "works; the next reply says that a tool may run on",
        "the model server answers 401": "a text that tells of it",
        "it answers 500": "a text that tells of it",
        "it cuts a reply off once": "works; text comes twice",
        "it is down": "a text that tells of it",
        COPY: GIVEN,
    },
}
"""What comes of a scenario with an agent, if it is not what USUAL says."""

USUAL = {
    "a tool that is refused": "does not run; the reply ends",
    "a permission that nobody answers": "stays open until the reply is stopped",
    "the agent is killed": "costs the turn; the next message loads the session",
    "its standard input is closed": "ends by itself",
    COPY: "the agent copies its session",
    DELETED: "its session stays with the agent",
    RESTART: "the next message loads the session",
    "the model server answers 401": "an error with the cause",
    "it answers 500": "an error with the cause",
    "it is silent": "a notice, and works after a stop",
    "it is down": "an error with the cause",
}
"""What comes of a scenario, if it is not that it works."""

Record = Callable[[str, Any], None]


def check(record_property: Record, talk: Talk, title: str, outcome: str) -> None:
    """Record what came of a scenario, which must be what is known of this agent."""
    name = talk.agent.name
    record_property(title, (name, outcome))
    assert outcome == DIFFERENCES.get(name, {}).get(title, USUAL.get(title, "works"))


@pytest.mark.timeout(180)  # some start several agents
@pytest.mark.parametrize(
    "scenario",
    [pytest.param(one, id=one.run.__name__) for one in SCENARIOS if one.quick or ALL],
)
async def test_a_scenario(
    talk: Talk, shared: dict[str, str], scenario: Scenario, record_property: Record
) -> None:
    conversation = "" if scenario.alone else shared.pop("conversation", "")
    one = talk.on(conversation) if conversation else await talk.renew()
    check(record_property, talk, scenario.title, await scenario.run(one))
    if not scenario.alone:
        shared["conversation"] = one.conversation


if ALL:

    async def test_a_conversation_goes_on_after_a_restart(
        talk: Talk, record_property: Record
    ) -> None:
        settings = talk.agent.settings(talk.folder / "agent", talk.llm.url)
        with running(talk.folder / "service", **settings) as service:
            async with service.connect(features=["follow"]) as client:
                before = await talk.at(service, client).renew()
                await before.reply([say("remember this")])
            service.signal()
            assert await service.wait() == 0
        with running(talk.folder / "service", **settings) as service:
            async with service.connect(features=["follow"]) as client:
                after = talk.at(service, client).on(before.conversation)
                outcome = await remembers(after, "remember this")
        check(record_property, talk, RESTART, outcome)

    @pytest.mark.timeout(600)
    async def test_failures_of_the_model_server(talk: Talk, record_property: Record) -> None:
        with socket.socket() as nobody:
            nobody.bind(("127.0.0.1", 0))  # it does not listen
            url = f"http://127.0.0.1:{nobody.getsockname()[1]}/v1"
            settings = talk.agent.settings(talk.folder / "agent", url)
            with running(talk.folder / "service", **settings) as service:
                async with service.connect(features=["follow"]) as client:
                    talks = [await talk.renew() for _ in AT_ONCE]
                    talks.append(await talk.at(service, client).renew())
                    scenarios = [*AT_ONCE, DOWN]
                    runs = [one.run(each) for one, each in zip(scenarios, talks, strict=True)]
                    outcomes = await asyncio.gather(*runs, return_exceptions=True)
        for one, outcome in zip(scenarios, outcomes, strict=True):
            record_property(one.title, (talk.agent.name, str(outcome)))
        for one, outcome in zip(scenarios, outcomes, strict=True):
            if isinstance(outcome, BaseException):
                raise outcome
            check(record_property, talk, one.title, outcome)
