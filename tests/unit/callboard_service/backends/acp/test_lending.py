"""A model for one message: it is set before the prompt, and the chosen one after it."""

from dataclasses import replace
from pathlib import Path

import pytest

from actors import Code
from callboard.v1.chat_pb2 import ChatToken
from tests.support.conversing import text_of
from tests.support.scripted_agent import Step, Traits, option, pause, say, script, update
from tests.unit.callboard_service.backends.acp.talking import Talk, talking, until
from tests.unit.callboard_service.backends.acp.test_options import (
    CHOOSES,
    EFFORT,
    MODE,
    choose,
    look,
    sent,
)

LARGE, SMALL = ("model", "large"), ("model", "small")


async def say_with(talk: Talk, model: str, *steps: Step) -> str:
    return text_of(await talk.all(script(*steps), model))


async def test_the_model_is_that_of_one_message(tmp_path: Path) -> None:
    """Clients see the chosen model all the time."""
    async with talking(tmp_path, CHOOSES) as talk:
        assert await say_with(talk, "large", say("one")) == "one"
        assert sent(talk) == [LARGE]
        assert (await look(talk))["model"] == "small"
        await talk.say(say("two"))
        assert sent(talk) == [LARGE, SMALL]
        await talk.say(say("three"))
        assert sent(talk) == [LARGE, SMALL]


async def test_what_changes_with_the_model_is_not_kept(tmp_path: Path) -> None:
    """The agent tells of its model, and that another option has another value with it."""
    changed = [MODE, option("model", "model", "small", "large"), EFFORT]
    async with talking(tmp_path, CHOOSES) as talk:
        await choose(talk, "model", "large")
        await choose(talk, "effort", "high")
        await talk.say(say("one"))
        before = sent(talk)
        told = update("config_option_update", configOptions=changed)
        await say_with(talk, "small", told, say("two"))
        assert await look(talk) == {"mode": "build", "model": "large", "effort": "high"}
        await talk.say(say("three"))
        assert sent(talk)[len(before) :] == [SMALL, LARGE]


async def test_a_mode_that_the_agent_changes_meanwhile_is_kept(tmp_path: Path) -> None:
    async with talking(tmp_path, CHOOSES) as talk:
        await choose(talk, "mode", "build")
        changed = update("current_mode_update", currentModeId="plan")
        await say_with(talk, "large", changed, say("one"))
        await talk.say(say("two"))
        assert (await look(talk))["mode"] == "plan"


@pytest.mark.parametrize("end", ["stopped", "lost"])
async def test_the_chosen_model_comes_back_after_any_end(tmp_path: Path, end: str) -> None:
    async with talking(tmp_path, CHOOSES) as talk:
        stream = talk.send(script(say("one"), pause()), "large")
        await until(stream, ChatToken)
        if end == "stopped":
            await talk.stop(stream)
        else:
            kept = [MODE, option("model", "model", "large", "small"), EFFORT]
            talk.agents.traits = replace(CHOOSES, options=kept)
            talk.agents.last.end(1)
            await talk.stop(stream)
        await talk.say(say("two"))
        assert sent(talk) == [LARGE, SMALL]


@pytest.mark.parametrize(
    ("traits", "said"),
    [
        (Traits(), "no choice of its model"),
        (CHOOSES, "has no choice 'huge'"),
    ],
)
async def test_a_model_that_is_not_offered_is_refused(
    tmp_path: Path, traits: Traits, said: str
) -> None:
    async with talking(tmp_path, traits) as talk:
        failure, _ = await talk.failure(script(say("never")), model="huge")
        assert failure.code is Code.INVALID_ARGUMENT
        assert said in failure.message
        assert talk.agents.sent("session/prompt") == []
        assert text_of(await talk.say(say("next"))) == "next"
