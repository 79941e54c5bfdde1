"""What can be chosen in a conversation of OpenCode: model, agent and effort; and its commands."""

import asyncio
import os
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.e2e.contract_client import Contract, message, text_of
from tests.e2e.opencode.conftest import CRITIC, SHOUT, SLOW, SMALL
from tests.e2e.opencode.peer import entries, fork, peer_of, send, texts
from tests.e2e.service_process import ServiceProcess
from tests.support.peers.cutting_proxy import CuttingProxy
from tests.support.peers.opencode_server import OpenCodeServer
from tests.support.peers.scripted_llm import MODEL, ScriptedLLM, say, script, wait
from tests.support.peers.talk import until

LARGE_MODEL, SMALL_MODEL = f"scripted/{MODEL}", f"scripted/{SMALL}"


@pytest.fixture
async def client(service: ServiceProcess, proxy: CuttingProxy) -> AsyncIterator[Contract]:
    """A client that knows turns."""
    proxy.mend()
    async with service.connect(features=["follow"]) as client:
        yield client


async def options(client: Contract, conversation: str = "") -> dict[str, Any]:
    """Return the options by their ids."""
    request = message("ListOptionsRequest", session_id=conversation)
    listed = (await client.call(list_options=request)).option_list
    return {option.id: option for option in listed.options}


async def choose(client: Contract, conversation: str, option: str, value: str) -> Any:
    """Set an option, and return the answer: the options, or an error."""
    request = message("SetOptionRequest", session_id=conversation, option_id=option, value=value)
    return await client.call(set_option=request)


def currents(found: dict[str, Any]) -> dict[str, str]:
    return {name: option.current for name, option in found.items()}


async def used(client: Contract, llm: ScriptedLLM, conversation: str, **fields: Any) -> Any:
    """Send a message; return what the model was asked: its own name, effort and instructions."""
    text = script([say("done")])
    assert text_of(await send(client, conversation, text, **fields)) == "done"
    (asked,) = llm.about(text)
    system = str([one for one in asked.body["messages"] if one["role"] == "system"])
    return asked.body["model"], asked.body.get("reasoning_effort"), "Criticize." in system


async def test_the_options_are_those_of_the_server(client: Contract) -> None:
    """A conversation begins with what a new one would have."""
    assert "options" in client.welcome.features
    found = await options(client)
    assert currents(found) == {"model": LARGE_MODEL, "agent": "build", "effort": "default"}
    models = {choice.value: choice for choice in found["model"].choices}
    assert {LARGE_MODEL, SMALL_MODEL} <= models.keys()
    assert (models[SMALL_MODEL].name, models[SMALL_MODEL].context_size) == ("Small", 64_000)
    agents = {choice.value: choice.description for choice in found["agent"].choices}
    assert agents.keys() == {"build", "plan", CRITIC}
    assert agents[CRITIC] == "Criticizes"
    efforts = [choice.value for choice in found["effort"].choices]
    assert efforts == ["default", "low", "medium", "high"]
    assert [option.category for option in found.values()] == [1, 2, 3]
    assert currents(await options(client, await client.conversation("new"))) == currents(found)


async def test_what_is_chosen_is_used_until_it_is_changed(
    client: Contract, llm: ScriptedLLM
) -> None:
    conversation = await client.conversation("chosen")
    assert await used(client, llm, conversation) == (MODEL, None, False)
    await choose(client, conversation, "effort", "high")
    assert await used(client, llm, conversation) == (MODEL, "high", False)
    await choose(client, conversation, "agent", CRITIC)
    assert await used(client, llm, conversation) == (MODEL, "high", True)
    left = (await choose(client, conversation, "model", SMALL_MODEL)).option_list
    assert [(o.id, o.current) for o in left.options] == [("model", SMALL_MODEL), ("agent", CRITIC)]
    assert await used(client, llm, conversation) == (SMALL, None, True)
    await choose(client, conversation, "model", LARGE_MODEL)
    await choose(client, conversation, "agent", "build")
    await choose(client, conversation, "effort", "default")
    assert await used(client, llm, conversation) == (MODEL, None, False)


async def test_a_model_for_one_message_is_not_kept_for_the_next(
    client: Contract, llm: ScriptedLLM
) -> None:
    """OpenCode itself would keep it."""
    conversation = await client.conversation("once")
    for _ in range(2):
        assert (await used(client, llm, conversation, model=SMALL_MODEL))[0] == SMALL
        assert (await used(client, llm, conversation))[0] == MODEL
    assert currents(await options(client, conversation))["model"] == LARGE_MODEL


async def test_what_another_client_has_used_is_shown_and_used(
    client: Contract, llm: ScriptedLLM, server: OpenCodeServer
) -> None:
    """A copy begins with the same model."""
    conversation = await client.conversation("elsewhere")
    async with peer_of(server) as peer:
        model = {"providerID": "scripted", "modelID": SMALL}
        body = {"parts": [{"type": "text", "text": script([say("hi")])}], "model": model}
        await peer.call("POST", f"/session/{conversation}/message", body)
    copy = (await fork(client, conversation)).session_info.id
    for name in (conversation, copy):
        assert currents(await options(client, name))["model"] == SMALL_MODEL
        assert (await used(client, llm, name))[0] == SMALL


async def test_what_the_server_does_not_offer_cannot_be_chosen(client: Contract) -> None:
    """OpenCode itself would take it."""
    conversation = await client.conversation("unknown")
    for option, value in (
        ("model", "scripted/none"),
        ("agent", "general"),
        ("agent", "title"),
        ("effort", "none"),
        ("none", "x"),
    ):
        answer = await choose(client, conversation, option, value)
        assert answer.error.code == "INVALID_ARGUMENT"
        assert value in answer.error.message or option in answer.error.message
    assert (await choose(client, "ses_none", "agent", "plan")).error.code == "NOT_FOUND"
    answers = await send(client, conversation, "hi", model="scripted/none")
    assert answers[-1].error.code == "INVALID_ARGUMENT"


# -- commands ----------------------------------------------------------------------------------


async def test_the_commands_of_the_server_are_listed(client: Contract) -> None:
    request = message("ListCommandsRequest")
    listed = (await client.call(list_commands=request)).command_list
    found = {command.name: command for command in listed.commands}
    assert {"init", "review", SHOUT, SLOW} <= found.keys()
    assert (found[SHOUT].description, found[SHOUT].hint) == ("Shouts", "arguments")


async def test_a_command_is_run_once_and_shown_as_it_was_sent(
    client: Contract, llm: ScriptedLLM
) -> None:
    """It is a turn like others: its choices are used, and a copy has it."""
    conversation = await client.conversation("commanded")
    await choose(client, conversation, "agent", CRITIC)
    argument = script([say("very ", "loud")])
    text = f"/{SHOUT} {argument}"
    for _ in range(2):
        assert text_of(await send(client, conversation, text, message_id="m")) == "very loud"
    (asked,) = [one for one in llm.asked if argument in one.text]
    assert asked.text == f"LOUD: {argument}"
    assert "Criticize." in str(asked.body["messages"])
    copy = (await fork(client, conversation)).session_info.id
    for name in (conversation, copy):
        kept = await entries(client, name)
        assert texts(kept) == [text, "very loud"]
        assert kept[0].turn_id == kept[1].turn_id != ""
        assert kept[1].completed.output_tokens == 7


async def test_a_message_that_names_no_command_is_a_message(
    client: Contract, llm: ScriptedLLM
) -> None:
    conversation = await client.conversation("no command")
    for text in ("/none of these", "/", f"see /{SHOUT}", f"/ {SHOUT}"):
        assert text_of(await client.reply(conversation, text)) == "Understood."
        assert llm.asked[-1].text == text


async def test_a_command_may_take_its_time_and_can_be_stopped(
    client: Contract, server: OpenCodeServer, llm: ScriptedLLM
) -> None:
    """It prepares its message before the server has one, and its reply before it is stopped."""
    pipe = server.project / "slow.pipe"
    os.mkfifo(pipe)
    conversation = await client.conversation("slow")
    gate = f"{conversation}-slow"
    argument = script([say("slowly "), wait(gate)])
    stream = client.answers(await client.say(conversation, f"/{SLOW} {argument}"))
    await asyncio.to_thread(pipe.write_text, "this")
    seen = await until(stream, "token")
    assert seen[-1].token.text == "slowly "
    (asked,) = [one for one in llm.asked if argument in one.text]
    assert asked.text.startswith("Read this and ")
    stop = message("StopTurnRequest", session_id=conversation)
    await client.call(stop_turn=stop)
    assert (await until(stream, "error"))[-1].error.code == "CANCELLED"
    assert await asked.end()
    assert asked.abandoned
    assert text_of(await client.reply(conversation, script([say("next")]))) == "next"
