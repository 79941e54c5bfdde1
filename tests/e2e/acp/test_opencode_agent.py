"""The real OpenCode agent behind ACP: text, tools, permissions, stops, and two windows."""

import asyncio
import signal
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.contract_client import Contract, kinds_of, message, text_of
from tests.e2e.service_process import ServiceProcess, told
from tests.support.peers.opencode_server import PROGRAM
from tests.support.peers.scripted_llm import ScriptedLLM, call, fail, say, script, think, wait
from tests.support.peers.talk import answer, history, until

# An agent takes seconds to start, and some tests start two; it only ends a test that hangs.
pytestmark = pytest.mark.timeout(180)


def bash(command: str) -> Any:
    return call("bash", command=command, description="d")


def of_kind(answers: list[Any], kind: str) -> list[Any]:
    return [getattr(one, kind) for one in answers if one.WhichOneof("payload") == kind]


def agents(service: ServiceProcess) -> list[Any]:
    return service.programs(str(PROGRAM), "acp")


def said_to(llm: ScriptedLLM) -> list[Any]:
    """Return the messages of the user that the model was last given."""
    return [one for one in llm.asked[-1].body["messages"] if one["role"] == "user"]


async def stop(client: Contract, conversation: str) -> Any:
    request = message("StopTurnRequest", session_id=conversation)
    return (await client.call(stop_turn=request)).turn


async def mode(client: Contract, conversation: str) -> str:
    """Return the mode that is set."""
    request = message("ListOptionsRequest", session_id=conversation)
    shown = (await client.call(list_options=request)).option_list
    (current,) = (str(one.current) for one in shown.options if one.id == "mode")
    return current


async def choose(client: Contract, conversation: str, value: str) -> None:
    """Set the mode, which must be in the answer."""
    request = message("SetOptionRequest", session_id=conversation, option_id="mode", value=value)
    chosen = (await client.call(set_option=request)).option_list
    assert {one.id: one.current for one in chosen.options}["mode"] == value


async def began(client: Contract, service: ServiceProcess, text: str) -> tuple[str, Any]:
    """Begin a conversation whose first reply is this text; return it and its agent's process."""
    before = agents(service)
    conversation = await client.conversation("new")
    assert text_of(await client.reply(conversation, script([say(text)]))) == text
    (agent,) = (one for one in agents(service) if one not in before)
    return conversation, agent


@pytest.fixture(scope="module")
def shared() -> list[str]:
    """The conversation that tests share: its agent takes seconds to start."""
    return []


@pytest.fixture
async def conversation(
    client: Contract, shared: list[str], request: pytest.FixtureRequest
) -> AsyncIterator[str]:
    """The shared conversation; a new one after a test has failed."""
    if not shared:
        shared.append(await client.conversation("shared"))
    failed = request.session.testsfailed
    yield shared[0]
    if request.session.testsfailed > failed:
        shared.clear()


async def test_text_and_thoughts_come_as_tokens_and_are_kept(
    client: Contract, conversation: str
) -> None:
    assert client.welcome.backend == "acp"
    text = script([think("let ", "me"), say("one ", "two ", "three")])
    reply = await client.reply(conversation, text)
    assert [kind for kind in kinds_of(reply) if kind != "usage"] == [
        "reasoning", "reasoning", "token", "completed",
    ]  # fmt: skip
    assert text_of(reply) == "one two three"
    done = reply[-1].completed
    assert (done.input_tokens, done.output_tokens, done.stop_detail) == (11, 7, "")
    assert of_kind(reply, "usage")[-1].context_size == 128_000
    kept = (await history(client, conversation)).entries[-3:]
    assert [entry.WhichOneof("entry") for entry in kept] == [
        "user_text", "reasoning_text", "assistant_text",
    ]  # fmt: skip
    assert kept[-1].assistant_text == "one two three"


async def test_a_tool_runs_once_it_is_allowed_and_the_next_message_goes_on(
    client: Contract, llm: ScriptedLLM, conversation: str
) -> None:
    text = script([bash("echo h''i > made.txt; cat made.txt")], [say("done")])
    request_id = await client.say(conversation, text)
    stream = client.answers(request_id)
    seen = await until(stream, "ask")
    ask = seen[-1].ask
    assert ask.title == ask.detail == "echo h''i > made.txt; cat made.txt"
    assert [(one.value, one.kind) for one in ask.choices] == [
        ("once", 1), ("always", 2), ("reject", 3),
    ]  # fmt: skip
    await answer(client, request_id, ask, "once")
    rest = [one async for one in stream]
    assert list(of_kind(rest, "ask_closed")[0].answers) == ["once"]
    (result,) = of_kind(rest, "tool_result")
    assert (result.output, result.is_error) == ("hi\n", False)
    last_call = of_kind(seen, "tool_call")[-1]
    assert (last_call.call_id, last_call.name, last_call.kind) == (result.call_id, "bash", 6)
    assert last_call.arguments["command"] == "echo h''i > made.txt; cat made.txt"
    assert text_of(rest) == "done"
    before = said_to(llm)
    assert text_of(await client.reply(conversation, script([say("more")]))) == "more"
    assert said_to(llm)[:-1] == before, "the model knows the first message"


async def test_a_refused_tool_does_not_run(
    client: Contract, conversation: str, tmp_path: Path
) -> None:
    made = tmp_path / "made"
    request_id = await client.say(conversation, script([bash(f"touch {made}")], [say("never")]))
    stream = client.answers(request_id)
    ask = (await until(stream, "ask"))[-1].ask
    await answer(client, request_id, ask)
    rest = [one async for one in stream]
    assert list(of_kind(rest, "ask_closed")[0].answers) == ["reject"]
    assert of_kind(rest, "tool_result")[0].is_error
    assert rest[-1].WhichOneof("payload") == "completed"
    assert not made.exists()


async def test_a_change_to_a_file_is_shown_as_a_diff(
    client: Contract, conversation: str, folder: Path
) -> None:
    path = str(folder / "project" / "new.txt")
    write = call("write", filePath=path, content="first\nsecond\n")
    edit = call("edit", filePath=path, oldString="first\n", newString="1st\n")
    reply = await client.reply(conversation, script([write], [edit], [say("changed")]))
    written, edited = of_kind(reply, "tool_result")
    assert [written.is_error, edited.is_error] == [False, False]
    (diff,) = edited.diffs
    assert diff.path == path
    assert "-first\n+1st\n" in diff.patch


async def test_a_stopped_reply_ends_at_once_and_the_next_one_works(
    client: Contract, llm: ScriptedLLM, conversation: str
) -> None:
    text = script([say("begun "), wait(conversation), say("never")])
    request_id = await client.say(conversation, text)
    stream = client.answers(request_id)
    await until(stream, "token")
    stopped = await stop(client, conversation)
    assert stopped.state == 6, "cancelled"
    rest = [one async for one in stream]
    assert rest[-1].error.code == "CANCELLED"
    assert await llm.about(text)[0].end()
    assert llm.about(text)[0].abandoned
    assert text_of(await client.reply(conversation, script([say("next")]))) == "next"


async def test_a_reply_that_is_stopped_at_once_and_the_next_one_works(client: Contract) -> None:
    """OpenCode answers a cancel that comes too early with an error, and goes on."""
    conversation = await client.conversation("stopped at once")
    request_id = await client.say(conversation, script([say("never")]))
    await stop(client, conversation)
    assert (await client.all(request_id))[-1].error.code == "CANCELLED"
    assert text_of(await client.reply(conversation, script([say("next")]))) == "next"


async def test_a_reply_that_waits_for_a_permission_can_be_stopped(
    client: Contract, conversation: str
) -> None:
    request_id = await client.say(conversation, script([bash("echo no")], [say("never")]))
    stream = client.answers(request_id)
    await until(stream, "ask")
    await stop(client, conversation)
    rest = [one async for one in stream]
    assert [closed.answered for closed in of_kind(rest, "ask_closed")] == [False]
    assert text_of(await client.reply(conversation, script([say("next")]))) == "next"


async def test_a_second_window_sees_the_permission_and_answers_it(
    client: Contract, service: ServiceProcess, conversation: str
) -> None:
    request_id = await client.say(conversation, script([bash("echo two")], [say("both")]))
    stream = client.answers(request_id)
    ask = (await until(stream, "ask"))[-1].ask
    async with service.connect(features=["follow"]) as other:
        follow = message("FollowSessionRequest", session_id=conversation)
        events = other.answers(await other.open(follow_session=follow))
        shown = (await anext(events)).event.snapshot.turns[-1]
        assert shown.info.state == 3, "waiting"
        assert [one.ask for one in shown.events if one.HasField("ask")] == [ask]
        said = message("AnswerRequest", ask_id=ask.ask_id, answers=["once"])
        request = message("AnswerAskRequest", session_id=conversation, answer=said)
        closed = (await other.call(answer_ask=request)).ask_closed
        assert list(closed.answers) == ["once"]
        rest = [one async for one in stream]
        assert text_of(rest) == "both"
        followed = []
        async for one in events:
            followed.append(one.event)
            if one.event.HasField("completed"):
                break
        assert "".join(one.token.text for one in followed) == "both"


async def test_a_text_that_is_attached_reaches_the_model(
    client: Contract, llm: ScriptedLLM, conversation: str
) -> None:
    note = message("Attachment", name="a b.txt", media_type="text/plain", data=b"a note")
    text = script([say("seen")])
    send = message("SendMessageRequest", session_id=conversation, text=text, attachments=[note])
    stream = client.answers(await client.open(send_message=send))
    assert text_of([one async for one in stream]) == "seen"
    asked = [str(one.body["messages"]) for one in llm.asked]
    assert any("a%20b.txt]\\na note" in one for one in asked)


async def test_the_options_are_listed_and_chosen(client: Contract, conversation: str) -> None:
    assert await mode(client, conversation) == "build"
    for value in ("plan", "build"):
        await choose(client, conversation, value)
        assert await mode(client, conversation) == value
    unknown = message("SetOptionRequest", session_id=conversation, option_id="mode", value="x")
    assert (await client.call(set_option=unknown)).error.code == "INVALID_ARGUMENT"


async def test_a_failure_of_the_model_server_is_an_error_for_a_person(
    client: Contract, conversation: str
) -> None:
    reply = await client.reply(conversation, script([fail(401)]))
    error = reply[-1].error
    assert "scripted failure 401" in error.message
    assert text_of(await client.reply(conversation, script([say("better")]))) == "better"


async def test_an_agent_that_is_killed_costs_its_turn_alone(
    client: Contract, service: ServiceProcess, llm: ScriptedLLM, conversation: str
) -> None:
    """The next one has its session and options, and ends when the conversation is deleted."""
    assert text_of(await client.reply(conversation, script([say("here")]))) == "here"
    others = agents(service)
    assert others
    conversation, agent = await began(client, service, "remember this")
    await choose(client, conversation, "plan")
    text = script([say("begun "), wait(conversation)])
    stream = client.answers(await client.say(conversation, text))
    await until(stream, "token")
    agent.send_signal(signal.SIGKILL)
    rest = [one async for one in stream]
    assert (rest[-1].error.code, rest[-1].error.retryable) == ("ABORTED", True)
    assert "SIGKILL" in rest[-1].error.message
    assert set(others) <= set(agents(service))
    reply = await client.reply(conversation, script([say("back")]))
    assert (text_of(reply), of_kind(reply, "notice")) == ("back", [])
    assert "remember this" in str(llm.asked[-1].body["messages"]), "its session was loaded"
    assert await mode(client, conversation) == "plan"
    (agent,) = set(agents(service)) - set(others)
    await client.call(delete_session=message("DeleteSessionRequest", session_id=conversation))
    await asyncio.to_thread(agent.wait, 20)
    assert set(others) <= set(agents(service))


async def test_the_command_line_chats_with_the_agent(
    service: ServiceProcess, tmp_path: Path
) -> None:
    text = script([say("from ", "the agent")])
    code, out, _ = await asyncio.to_thread(told, service, tmp_path, "chat", text)
    assert (code, out) == (0, "from the agent\n")


async def test_a_conversation_goes_on_after_a_restart_of_the_service(
    service: ServiceProcess,
    start: Callable[[], ServiceProcess],
    shared: list[str],
    llm: ScriptedLLM,
) -> None:
    async with service.connect(features=["follow"]) as client:
        conversation = shared[0] if shared else await client.conversation("restarted")
        await client.reply(conversation, script([say("before the restart")]))
    processes = service.children()
    assert processes
    service.signal()
    assert await service.wait() == 0
    assert not any(one.is_running() for one in processes)
    async with start().connect(features=["follow"]) as client:
        reply = await client.reply(conversation, script([say("after")]))
    assert (text_of(reply), of_kind(reply, "notice")) == ("after", [])
    assert "before the restart" in str(llm.asked[-1].body["messages"])
