"""The options of an agent's session: listed, chosen, kept, and changed by the agent itself."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from actors import Code, Failure
from callboard.v1.chat_pb2 import (
    ChatToken,
    ListOptionsRequest,
    OptionChoice,
    OptionList,
    SessionOption,
    SetOptionRequest,
)
from callboard_service.backends.acp.choosing import PREFIX
from callboard_service.backends.acp.options import MAX_CHOICES, Options
from tests.support.conversing import text_of
from tests.support.scripted_agent import Traits, option, pause, say, update
from tests.unit.callboard_service.backends.acp.talking import (
    QUICK,
    Talk,
    eventually,
    talking,
    until,
)

MODE = option("mode", "mode", "build", "plan")
MODEL = option("model", "model", "small", "large")
EFFORT = option("effort", "thought_level", "low", "high")
SAFE = option("safe", "", type="boolean", currentValue=True)
CHOOSES = Traits(loads=True, options=[MODE, MODEL, EFFORT])


def listed(*options: Any, **state: Any) -> Options:
    made = Options()
    made.take_state({"configOptions": list(options), **state})
    return made


def currents(options: OptionList) -> dict[str, str]:
    return {one.id: one.current for one in options.options}


async def choose(talk: Talk, option_id: str, value: str) -> dict[str, str]:
    """Set an option as a client does; return the current values of the answer."""
    request = SetOptionRequest(session_id=talk.conversation, option_id=option_id, value=value)
    return currents(await talk.calls.call(request, OptionList))


async def look(talk: Talk, conversation: str | None = None) -> dict[str, str]:
    name = talk.conversation if conversation is None else conversation
    return currents(await talk.calls.call(ListOptionsRequest(session_id=name), OptionList))


def sent(talk: Talk, key: str = "configId") -> list[tuple[Any, Any]]:
    """Return what the agents were told to set."""
    params = talk.agents.sent("session/set_config_option")
    return [(one[key], one["value"]) for one in params]


def test_options_have_names_kinds_and_choices() -> None:
    described = {"value": "ask", "name": "Ask", "description": "d"}
    group = {"group": "g", "name": "Group", "options": [{"value": "x"}, {"value": ""}]}
    shown = listed(option("m", "mode", "a", options=[described, group]), SAFE, {"id": "none"})
    mode, safe = shown.listed().options
    assert mode == SessionOption(
        id="m", name="M", category=SessionOption.CATEGORY_MODE, current="a",
        choices=[
            OptionChoice(value="ask", name="Ask", description="d"),
            OptionChoice(value="x", name="x"),
        ],
    )  # fmt: skip
    assert (safe.current, [one.name for one in safe.choices]) == ("true", ["On", "Off"])
    assert listed(EFFORT).listed().options[0].category == SessionOption.CATEGORY_EFFORT


def test_older_forms_are_used_where_the_new_one_lacks_them() -> None:
    modes = {"currentModeId": "a", "availableModes": [{"id": "a"}, {"id": "b", "name": "B"}]}
    large = {"modelId": "x", "name": "X", "_meta": {"contextLimit": 9}}
    models = {"currentModelId": "x", "availableModels": [large]}
    both = listed(EFFORT, modes=modes, models=models)
    assert currents(both.listed()) == {"effort": "low", "mode": "a", "model": "x"}
    assert both.listed().options[2].choices[0].context_size == 9
    assert currents(listed(MODE, modes=modes).listed()) == {"mode": "build"}
    assert currents(listed(replace_id(MODE, "m"), modes=modes).listed()) == {"m": "build"}


def replace_id(one: Any, option_id: str) -> dict[str, Any]:
    return {**one, "id": option_id}


def test_too_many_choices_are_left_out_but_for_the_current_one() -> None:
    values = [f"{number:0200}" for number in range(500)]
    shown = listed(option("model", "model", *values, currentValue=values[-1])).listed()
    assert shown.ByteSize() < MAX_CHOICES + 2000
    assert shown.options[0].choices[-1].value == values[-1]


@pytest.mark.parametrize("mode", ["plan", "unknown"])
def test_a_mode_that_the_agent_changes_to_is_taken_if_it_is_known(mode: str) -> None:
    options = listed(MODE)
    told = {"update": {"sessionUpdate": "current_mode_update", "currentModeId": mode}}
    changes = {"mode": ("build", "plan")} if mode == "plan" else {}
    assert options.take_update(told) == changes
    assert options.take_update({"update": {"sessionUpdate": "plan"}}) is None


async def test_looking_starts_an_agent_only_once(tmp_path: Path) -> None:
    async with talking(tmp_path, CHOOSES) as talk:
        assert await look(talk, "") == {}, "there is no conversation for an agent"
        expected = {"mode": "build", "model": "small", "effort": "low"}
        assert await look(talk) == expected
        first = talk.conversation
        await talk.renew()
        assert await look(talk) == expected == await look(talk, "")
        assert len(talk.agents.started) == 1
        talk.conversation = first
        assert text_of(await talk.say(say("hi"))) == "hi"
        assert len(talk.agents.started) == 1
        with pytest.raises(Failure):
            await look(talk, "none")


async def test_an_agent_that_does_not_start_is_not_tried_again_for_a_look(tmp_path: Path) -> None:
    async with talking(tmp_path, Traits(version=2)) as talk:
        assert await look(talk) == {} == await look(talk)
        assert len(talk.agents.started) == 1
        with pytest.raises(Failure, match="version 2") as caught:
            await choose(talk, "mode", "plan")
        assert caught.value.code is Code.UNAVAILABLE


async def test_an_idle_agent_takes_a_choice_at_once(tmp_path: Path) -> None:
    async with talking(tmp_path, CHOOSES) as talk:
        await talk.say(say("hi"))
        assert await choose(talk, "mode", "plan") == {
            "mode": "plan", "model": "small", "effort": "low",
        }  # fmt: skip
        assert sent(talk) == [("mode", "plan")]
        await talk.say(say("hi"))
        assert sent(talk) == [("mode", "plan")], "it has it already"


async def test_a_choice_is_set_again_in_a_new_process_the_model_first(tmp_path: Path) -> None:
    async with talking(tmp_path, CHOOSES, limit=1) as talk:
        first = talk.conversation
        await talk.say(say("hi"))
        await choose(talk, "effort", "high")
        await choose(talk, "model", "large")
        await talk.renew()
        assert (await look(talk))["model"] == "small", "of another conversation"
        await talk.say(say("hi"))
        talk.conversation = first
        assert (await look(talk))["model"] == "large"
        await talk.say(say("hi"))
        assert sent(talk)[2:] == [("model", "large"), ("effort", "high")]


async def test_a_choice_waits_for_the_next_message_while_a_reply_runs(tmp_path: Path) -> None:
    async with talking(tmp_path, CHOOSES) as talk:
        stream = talk.begin(say("one"), pause())
        await until(stream, ChatToken)
        assert (await choose(talk, "mode", "plan"))["mode"] == "plan"
        assert sent(talk) == []
        talk.agents.last.agent.go()
        assert text_of([event async for event in stream]) == ""
        await talk.say(say("two"))
        assert sent(talk) == [("mode", "plan")]


@pytest.mark.parametrize(
    ("option_id", "value", "message"),
    [("x", "plan", "no option 'x'"), ("mode", "x", "'mode' has no choice 'x'")],
)
async def test_what_is_not_offered_cannot_be_chosen(
    tmp_path: Path, option_id: str, value: str, message: str
) -> None:
    async with talking(tmp_path, CHOOSES) as talk:
        with pytest.raises(Failure, match=message) as caught:
            await choose(talk, option_id, value)
        assert caught.value.code is Code.INVALID_ARGUMENT


@pytest.mark.parametrize("answer", [{}, {"configOptions": [MODE]}, {"configOptions": []}, None])
async def test_a_choice_that_the_agent_does_not_take_is_not_kept(
    tmp_path: Path, answer: Any
) -> None:
    traits = Traits(state={"configOptions": [MODE]}, sets=answer)
    async with talking(tmp_path, traits) as talk:
        await talk.say(say("hi"))
        with pytest.raises(Failure):
            await choose(talk, "mode", "plan")
        assert PREFIX + "mode" not in await talk.backend.journal.choices(talk.conversation)


async def test_a_choice_is_kept_if_the_agent_dies_meanwhile(tmp_path: Path) -> None:
    async with talking(tmp_path, CHOOSES) as talk:
        await talk.say(say("hi"))
        talk.agents.last.end(1)
        assert (await choose(talk, "mode", "plan"))["mode"] == "plan"
        await talk.say(say("hi"))
        assert sent(talk)[-1] == ("mode", "plan")


@pytest.mark.parametrize("switch", ["true", "false"])
async def test_a_switch_is_set_as_a_boolean(tmp_path: Path, switch: str) -> None:
    traits = Traits(options=[{**SAFE, "currentValue": switch == "false"}])
    async with talking(tmp_path, traits) as talk:
        await talk.say(say("hi"))
        assert await choose(talk, "safe", switch) == {"safe": switch}
        assert sent(talk) == [("safe", switch == "true")]


@pytest.mark.parametrize(("method", "key"), [("mode", "modeId"), ("model", "modelId")])
async def test_older_forms_are_set_by_their_own_methods(
    tmp_path: Path, method: str, key: str
) -> None:
    modes = {"currentModeId": "a", "availableModes": [{"id": "a"}, {"id": "b"}]}
    models = {"currentModelId": "a", "availableModels": [{"modelId": "a"}, {"modelId": "b"}]}
    async with talking(tmp_path, Traits(state={"modes": modes, "models": models}, sets={})) as talk:
        await talk.say(say("hi"))
        assert (await choose(talk, method, "b"))[method] == "b"
        assert [one[key] for one in talk.agents.sent(f"session/set_{method}")] == ["b"]


NO_PLAN = option("mode", "mode", "build", "yolo")


@pytest.mark.parametrize(
    ("options", "message"),
    [([NO_PLAN], "no longer offers the mode 'plan'"), ([], "no mode 'plan'"), ([MODEL], None)],
)
async def test_a_mode_that_is_gone_is_an_error_and_no_prompt_is_sent(
    tmp_path: Path, options: Sequence[Any], message: str | None
) -> None:
    chosen = "mode" if message else "effort"
    async with talking(tmp_path, CHOOSES) as talk:
        await talk.say(say("hi"))
        await choose(talk, chosen, "plan" if message else "high")
        talk.agents.last.end(1)
        talk.agents.traits = replace(CHOOSES, options=options, loads=False)
        if message is None:
            assert text_of(await talk.say(say("without"))) == "without"
            return
        failure, _ = await talk.failure("[]")
        assert failure.code is Code.FAILED_PRECONDITION
        assert message in failure.message
        assert len(talk.agents.sent("session/prompt")) == 1


async def test_a_loaded_session_that_lists_no_modes_is_given_the_mode(tmp_path: Path) -> None:
    async with talking(tmp_path, CHOOSES) as talk:
        await talk.say(say("hi"))
        await choose(talk, "mode", "plan")
        talk.agents.last.end(1)
        talk.agents.traits = replace(CHOOSES, options=[], sets={})
        await talk.say(say("hi"))
        assert talk.agents.sent("session/set_mode") == [
            {"sessionId": "session-1", "modeId": "plan"}
        ]


async def test_what_the_agent_changes_by_itself_is_kept_and_told(tmp_path: Path) -> None:
    told: list[dict[str, str]] = []

    def tell(conversation_id: str, options: OptionList | None = None) -> None:
        told.append(currents(options or OptionList()))

    changed = [{**MODE, "currentValue": "build"}, {**MODEL, "currentValue": "large"}]
    async with talking(tmp_path, CHOOSES) as talk:
        talk.backend.watch(
            lambda name, options=None: told.append(currents(options or OptionList()))
        )
        await talk.say(say("hi"))
        await choose(talk, "mode", "plan")
        await talk.say(update("config_option_update", configOptions=changed), say("hi"))
        await eventually(lambda: told[-1:] == [{"mode": "build", "model": "large"}])
        await talk.say(say("hi"))
        assert sent(talk) == [("mode", "plan")], "the agent's own change stays"
        kept = await talk.backend.journal.choices(talk.conversation)
        assert json.loads(kept[PREFIX + "mode"])["value"] == "build"
        assert PREFIX + "model" not in kept


async def test_a_choice_of_another_agent_counts_as_none(tmp_path: Path) -> None:
    async with talking(tmp_path, CHOOSES) as talk:
        name, kept = talk.conversation, json.dumps({"agent": "other", "value": "plan"})
        await talk.backend.write(lambda store: store.choose(name, PREFIX + "mode", kept))
        assert (await look(talk))["mode"] == "build"
        await talk.say(say("hi"))
        assert sent(talk) == []


async def test_an_agent_that_does_not_answer_a_choice_is_an_error(tmp_path: Path) -> None:
    async with talking(tmp_path, CHOOSES, timeouts=replace(QUICK, choose=0.0)) as talk:
        await talk.say(say("hi"))
        with pytest.raises(Failure) as caught:
            await choose(talk, "mode", "plan")
        assert caught.value.code is Code.UNAVAILABLE
