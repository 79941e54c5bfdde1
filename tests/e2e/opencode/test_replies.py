"""Replies of the real OpenCode server with a scripted model: texts, tools, asks and failures."""

from typing import Any

import aiohttp
import pytest

from tests.e2e.contract_client import Contract, kinds_of, message, text_of
from tests.support.peers.opencode_server import OpenCodeServer
from tests.support.peers.scripted_llm import (
    ScriptedLLM,
    call,
    cut,
    fail,
    say,
    script,
    think,
    wait,
)
from tests.support.peers.talk import answer, history, listed, questions, until

AT_ONCE = {"retry_after_ms": "20"}


# -- texts and tools -------------------------------------------------------------------------


async def test_text_comes_as_tokens_and_is_kept(client: Contract, llm: ScriptedLLM) -> None:
    assert client.welcome.backend == "opencode"
    conversation = await client.conversation("a first one")
    text = script([say("one ", "two ", "three")])
    reply = await client.reply(conversation, text)
    assert kinds_of(reply) == ["token", "completed"]
    assert text_of(reply) == "one two three"
    assert (reply[-1].completed.input_tokens, reply[-1].completed.output_tokens) == (11, 7)
    assert llm.about(text)[0].authorization == "Bearer sk-scripted"
    assert next(iter((await listed(client)).items())) == (conversation, "a first one")
    kept = (await history(client, conversation)).entries
    assert [entry.WhichOneof("entry") for entry in kept] == ["user_text", "assistant_text"]
    assert (kept[0].user_text, kept[1].assistant_text) == (text, "one two three")


async def test_reasoning_is_told_apart_and_the_next_message_follows(client: Contract) -> None:
    conversation = await client.conversation("thinking")
    reply = await client.reply(conversation, script([think("let ", "me"), say("done")]))
    assert "".join(answer.reasoning.text for answer in reply) == "let me"
    assert text_of(reply) == "done"
    assert text_of(await client.reply(conversation, script([say("again")]))) == "again"


async def test_parallel_tools_a_failing_one_and_one_that_is_none(
    client: Contract, server: OpenCodeServer
) -> None:
    for name in ("a", "b"):
        (server.project / f"{name}.txt").write_text(f"the text of {name}")
    paths = [str(server.project / name) for name in ("a.txt", "b.txt", "missing.txt")]
    reads = [call("read", filePath=path) for path in paths]
    conversation = await client.conversation("tools")
    reply = await client.reply(
        conversation, script([*reads, call("no_such_tool", x=1)], [say("all read")])
    )
    calls = {a.tool_call.call_id: a.tool_call for a in reply if a.HasField("tool_call")}
    results = {a.tool_result.call_id: a.tool_result for a in reply if a.HasField("tool_result")}
    assert sorted(one.name for one in calls.values()) == ["no_such_tool", "read", "read", "read"]
    by_path = {one.arguments["filePath"]: key for key, one in calls.items() if one.name == "read"}
    assert sorted(by_path) == sorted(paths)
    assert results.keys() == calls.keys()
    for name, path in zip("ab", paths, strict=False):
        assert f"the text of {name}" in results[by_path[path]].output
        assert not results[by_path[path]].is_error
    (none,) = (key for key, one in calls.items() if one.name == "no_such_tool")
    for key in (by_path[paths[2]], none):
        assert results[key].is_error
    assert text_of(reply) == "all read"
    assert reply[-1].completed.output_tokens == 14
    kept = await history(client, conversation)
    kinds = [entry.WhichOneof("entry") for entry in kept.entries]
    assert (kinds[0], kinds[-1]) == ("user_text", "assistant_text")
    assert (kinds.count("tool_call"), kinds.count("tool_result")) == (4, 4)
    page = await history(client, conversation, limit=3, before=kept.entries[-1].id)
    assert [entry.id for entry in page.entries] == [entry.id for entry in kept.entries[-4:-1]]
    assert page.more


# -- asks ------------------------------------------------------------------------------------


async def test_permission_once_then_always(client: Contract) -> None:
    conversation = await client.conversation("permissions")
    for command, choice, again in (
        ("printf once", "once", True),
        ("echo always", "always", True),
        ("echo always", "", False),
    ):
        bash = call("bash", command=command, description="print")
        request_id = await client.say(conversation, script([bash], [say("printed")]))
        stream = client.answers(request_id)
        if again:
            ask = (await until(stream, "ask"))[-1].ask
            assert ask.kind == 1
            assert list(ask.options) == ["once", "always", "reject"]
            assert command in ask.title + ask.detail
            await answer(client, request_id, ask, choice)
        rest = [one async for one in stream]
        assert ("ask_closed" in kinds_of(rest)) == again
        assert [list(a.ask_closed.answers) for a in rest if a.HasField("ask_closed")] == (
            [[choice]] if again else []
        )
        (result,) = (a.tool_result for a in rest if a.HasField("tool_result"))
        assert command.split()[1] in result.output
        assert text_of(rest) == "printed"


async def test_permission_refused_with_a_word_goes_on_and_without_ends(
    client: Contract, llm: ScriptedLLM
) -> None:
    conversation = await client.conversation("refusals")
    for word, after in (("use printf instead", "understood"), ("", "")):
        bash = call("bash", command="date", description="tell")
        text = script([bash], [say("understood")])
        request_id = await client.say(conversation, text)
        stream = client.answers(request_id)
        ask = (await until(stream, "ask"))[-1].ask
        await answer(client, request_id, ask, *(["reject"] if word else []), say=word)
        rest = [one async for one in stream]
        (result,) = (a.tool_result for a in rest if a.HasField("tool_result"))
        assert result.is_error
        assert text_of(rest) == after
        assert rest[-1].WhichOneof("payload") == "completed"
        if word:
            assert word in llm.about(text)[-1].tool_results[-1]


async def test_several_questions_are_answered_together(client: Contract, llm: ScriptedLLM) -> None:
    conversation = await client.conversation("questions")
    text = script([questions("First?", "Second?", multiple=True)], [say("thanks")])
    request_id = await client.say(conversation, text)
    stream = client.answers(request_id)
    asks = [(await until(stream, "ask"))[-1].ask for _ in range(2)]
    assert [ask.title for ask in asks] == ["First?", "Second?"]
    assert [(ask.kind, list(ask.options), ask.multiple) for ask in asks] == [
        (2, ["Yes", "No"], True)
    ] * 2
    await answer(client, request_id, asks[1], "Yes", "No")
    await answer(client, request_id, asks[1], "No")
    await answer(client, request_id, asks[0], "Maybe, in my own words")
    rest = [one async for one in stream]
    closed = {a.ask_closed.ask_id: list(a.ask_closed.answers) for a in rest}
    assert closed[asks[0].ask_id] == ["Maybe, in my own words"]
    assert closed[asks[1].ask_id] == ["Yes", "No"]
    assert text_of(rest) == "thanks"
    assert "Maybe, in my own words" in llm.about(text)[-1].tool_results[-1]


async def test_a_declined_question_ends_the_reply(client: Contract) -> None:
    conversation = await client.conversation("declined")
    request_id = await client.say(conversation, script([questions("Well?")], [say("never")]))
    stream = client.answers(request_id)
    await answer(client, request_id, (await until(stream, "ask"))[-1].ask)
    rest = [one async for one in stream]
    assert "ask_closed" in kinds_of(rest)
    assert rest[-1].WhichOneof("payload") == "completed"
    assert text_of(rest) == ""


async def test_an_ask_that_another_client_answers_is_closed_with_that(
    client: Contract, server: OpenCodeServer
) -> None:
    conversation = await client.conversation("elsewhere")
    request_id = await client.say(conversation, script([questions("Who?")], [say("fine")]))
    stream = client.answers(request_id)
    ask = (await until(stream, "ask"))[-1].ask
    async with aiohttp.ClientSession(
        headers={"Authorization": aiohttp.encode_basic_auth("opencode", server.password)}
    ) as http:
        url = f"{server.url}/question/{ask.ask_id}/reply"
        async with http.post(url, json={"answers": [["No"]]}) as done:
            assert done.status == 200
    rest = await until(stream, "ask_closed")
    assert list(rest[-1].ask_closed.answers) == ["No"]
    await answer(client, request_id, ask, "Yes")
    assert text_of([one async for one in stream]) == "fine"


async def test_an_agent_that_the_reply_starts_asks_in_the_reply(
    client: Contract, server: OpenCodeServer
) -> None:
    inner = script([call("bash", command="uname", description="tell")], [say("told")])
    task = call("task", description="look", prompt=inner, subagent_type="general")
    conversation = await client.conversation("agents")
    request_id = await client.say(conversation, script([task], [say("both done")]))
    stream = client.answers(request_id)
    seen = await until(stream, "ask")
    await answer(client, request_id, seen[-1].ask, "once")
    rest = [one async for one in stream]
    assert text_of(rest) == "both done"
    calls = {a.tool_call.call_id: a.tool_call.name for a in seen + rest if a.HasField("tool_call")}
    results = [a.tool_result for a in rest if a.HasField("tool_result")]
    assert [calls[result.call_id] for result in results] == ["bash", "task"]
    assert calls[seen[-1].ask.call_id] == "bash"
    assert "Linux" in results[0].output
    assert "told" in results[1].output
    assert [title for title in (await listed(client)).values() if "look" in title] == []


# -- failures of the model server -------------------------------------------------------------


async def test_failures_are_tried_again_with_notices(client: Contract) -> None:
    conversation = await client.conversation("retries")
    text = script([fail(500, 2, **AT_ONCE), say("recovered")])
    reply = await client.reply(conversation, text)
    assert kinds_of(reply) == ["notice", "notice", "token", "completed"]
    assert [a.notice.discard_tokens for a in reply if a.HasField("notice")] == [0, 0]
    assert "scripted failure 500" in reply[0].notice.message
    assert text_of(reply) == "recovered"


async def test_text_that_came_twice_is_shown_once(client: Contract, llm: ScriptedLLM) -> None:
    conversation = await client.conversation("twice")
    gate = f"{conversation}-cut"
    text = script([say("a ", "b "), wait(gate), cut(), say("c")])
    request_id = await client.say(conversation, text)
    stream = client.answers(request_id)
    first = [await anext(stream), await anext(stream)]
    assert text_of(first) == "a b "
    llm.go(gate)
    shown: list[str] = [one.token.text for one in first]
    async for one in stream:
        if one.HasField("notice"):
            assert one.notice.discard_tokens == 2
            del shown[len(shown) - one.notice.discard_tokens :]
        elif one.HasField("token"):
            shown.append(one.token.text)
    assert "".join(shown) == "a b c"


@pytest.mark.parametrize(("status", "code"), [(400, "INVALID_ARGUMENT"), (401, "UNAUTHENTICATED")])
async def test_a_refusal_is_an_error_without_secrets(
    client: Contract, status: int, code: str
) -> None:
    conversation = await client.conversation(f"refused {status}")
    reply = await client.reply(conversation, script([fail(status)]))
    error = reply[-1].error
    assert error.code == code
    assert not error.retryable
    assert "sk-" not in error.message
    assert "http" not in error.message
    kept = (await history(client, conversation)).entries
    assert [entry.WhichOneof("entry") for entry in kept] == ["user_text", "error"]
    assert kept[1].error.code == code
    assert text_of(await client.reply(conversation, script([say("better")]))) == "better"


async def test_a_message_that_replaces_a_failed_one_takes_its_place(
    client: Contract, llm: ScriptedLLM
) -> None:
    """Neither the history nor the model sees the failed attempt."""
    conversation = await client.conversation("replaced")
    broken, whole = script([fail(400)]), script([say("whole")])

    async def send(text: str, message_id: str, replaces: str = "") -> list[Any]:
        request = message(
            "SendMessageRequest",
            session_id=conversation,
            text=text,
            message_id=message_id,
            replaces=replaces,
        )
        return await client.all(await client.open(send_message=request))

    failed = await send(broken, "1")
    assert failed[-1].error.code == "INVALID_ARGUMENT"
    assert text_of(await send(whole, "2", replaces=failed[0].turn.id)) == "whole"
    kept = (await history(client, conversation)).entries
    assert [entry.user_text or entry.assistant_text for entry in kept] == [whole, "whole"]
    (asked,) = llm.about(whole)
    said = [one for one in asked.body["messages"] if one["role"] == "user"]
    assert len(said) == 1
