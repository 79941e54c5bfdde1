"""Replies of the real OpenCode server that are stopped, interrupted or impossible."""

import asyncio
import os

import psutil
import pytest

from tests.e2e.contract_client import Contract, kinds_of, message, text_of
from tests.e2e.service_process import ServiceProcess
from tests.support.peers.cutting_proxy import CuttingProxy
from tests.support.peers.opencode_server import OpenCodeServer
from tests.support.peers.scripted_llm import (
    ScriptedLLM,
    call,
    fail,
    say,
    script,
    wait,
)
from tests.support.peers.talk import answer, listed, questions, until

# -- stopped replies -------------------------------------------------------------------------


async def cancelled(client: Contract, request_id: int) -> None:
    """Cancel the request and check that it ends with CANCELLED."""
    await client.send(request_id, cancel=message("CancelRequest"))
    rest = await client.all(request_id)
    assert rest[-1].error.code == "CANCELLED"


async def test_cancel_in_text_closes_the_models_stream(client: Contract, llm: ScriptedLLM) -> None:
    conversation = await client.conversation("cancel in text")
    text = script([say("well "), wait("never")])
    request_id = await client.say(conversation, text)
    await until(client.answers(request_id), "token")
    await cancelled(client, request_id)
    (asked,) = llm.about(text)
    assert await asked.end(1.0)
    assert asked.abandoned
    assert text_of(await client.reply(conversation, script([say("next")]))) == "next"


async def test_cancel_before_the_model_is_asked_stops_it_too(
    client: Contract, llm: ScriptedLLM
) -> None:
    conversation = await client.conversation("cancel early")
    text = script([say("well "), wait("never")])
    await cancelled(client, await client.say(conversation, text))
    assert text_of(await client.reply(conversation, script([say("next")]))) == "next"
    assert all([await asked.end(1.0) for asked in llm.about(text)])


async def test_cancel_in_a_tool_ends_it(client: Contract, server: OpenCodeServer) -> None:
    conversation = await client.conversation("cancel in a tool")
    begun = server.project / "begun"
    os.mkfifo(begun)
    command = f"echo $$ > {begun}; sleep 600"
    bash = call("bash", command=command, description="wait")
    request_id = await client.say(conversation, script([bash], [say("never")]))
    stream = client.answers(request_id)
    await answer(client, request_id, (await until(stream, "ask"))[-1].ask, "once")
    shell = psutil.Process(int(await asyncio.to_thread(begun.read_text)))
    await cancelled(client, request_id)
    assert text_of(await client.reply(conversation, script([say("next")]))) == "next"
    gone, _ = await asyncio.to_thread(psutil.wait_procs, [shell], 10)
    assert gone == [shell]


async def test_cancel_in_a_retry_ends_the_attempts(client: Contract, llm: ScriptedLLM) -> None:
    conversation = await client.conversation("cancel in a retry")
    text = script([fail(500)])
    request_id = await client.say(conversation, text)
    await until(client.answers(request_id), "notice")
    await cancelled(client, request_id)
    assert text_of(await client.reply(conversation, script([say("next")]))) == "next"
    assert len(llm.about(text)) == 1


async def test_cancel_in_an_ask_leaves_no_ask_behind(client: Contract) -> None:
    conversation = await client.conversation("cancel in an ask")
    request_id = await client.say(conversation, script([questions("Well?")], [say("never")]))
    await until(client.answers(request_id), "ask")
    await cancelled(client, request_id)
    reply = await client.reply(conversation, script([say("next")]))
    assert kinds_of(reply) == ["token", "completed"]


async def test_two_conversations_advance_side_by_side(client: Contract, llm: ScriptedLLM) -> None:
    conversations = [await client.conversation(f"side {n}") for n in range(2)]
    texts = [script([say(f"{n}a "), wait(c), say(f"{n}b")]) for n, c in enumerate(conversations)]
    pairs = zip(conversations, texts, strict=True)
    ids = [await client.say(conversation, text) for conversation, text in pairs]
    streams = [client.answers(request_id) for request_id in ids]
    firsts = [await until(stream, "token") for stream in streams]
    llm.go(conversations[1])
    second = text_of(firsts[1] + [one async for one in streams[1]])
    llm.go(conversations[0])
    first = text_of(firsts[0] + [one async for one in streams[0]])
    assert (first, second) == ("0a 0b", "1a 1b")


async def test_two_messages_to_one_conversation_take_turns(
    client: Contract, llm: ScriptedLLM
) -> None:
    conversation = await client.conversation("turns")
    text = script([say("the "), wait(conversation), say("first")])
    first = await client.say(conversation, text)
    begun = await until(client.answers(first), "token")
    second = await client.say(conversation, script([say("second")]))
    notice = await anext(client.answers(second))
    assert notice.WhichOneof("payload") == "notice"
    llm.go(conversation)
    assert text_of(begun + await client.all(first)) == "the first"
    assert text_of(await client.all(second)) == "second"


async def test_deleting_a_busy_conversation_stops_its_reply(
    client: Contract, llm: ScriptedLLM
) -> None:
    conversation = await client.conversation("to be deleted")
    text = script([say("well "), wait("never")])
    request_id = await client.say(conversation, text)
    stream = client.answers(request_id)
    await until(stream, "token")
    request = message("DeleteSessionRequest", session_id=conversation)
    deleted = await client.call(delete_session=request)
    assert deleted.session_deleted.session_id == conversation
    assert [one async for one in stream][-1].error.code == "CANCELLED"
    assert await llm.about(text)[0].end(1.0)
    assert conversation not in await listed(client)
    again = await client.call(delete_session=request)
    assert again.error.code == "NOT_FOUND"


# -- interrupted streams ---------------------------------------------------------------------


async def test_text_goes_on_where_it_was_when_the_stream_was_cut(
    client: Contract, llm: ScriptedLLM, proxy: CuttingProxy
) -> None:
    conversation = await client.conversation("cut in text")
    text = script([say("one "), wait(conversation), say("two ", "three")])
    request_id = await client.say(conversation, text)
    stream = client.answers(request_id)
    first = await until(stream, "token")
    proxy.cut()
    llm.go(conversation)
    assert await llm.about(text)[0].end()
    proxy.mend()
    rest = [one async for one in stream]
    assert text_of(first + rest) == "one two three"
    assert rest[-1].WhichOneof("payload") == "completed"


async def test_an_ask_that_came_while_the_stream_was_cut_can_be_answered(
    client: Contract, llm: ScriptedLLM, proxy: CuttingProxy
) -> None:
    conversation = await client.conversation("cut before an ask")
    text = script([say("one "), wait(conversation), questions("Lost?")], [say("found")])
    request_id = await client.say(conversation, text)
    stream = client.answers(request_id)
    first = await until(stream, "token")
    proxy.cut()
    llm.go(conversation)
    assert await llm.about(text)[0].end()
    proxy.mend()
    asked = await until(stream, "ask")
    await answer(client, request_id, asked[-1].ask, "Yes")
    rest = [one async for one in stream]
    assert text_of(first + asked + rest) == "one found"
    assert [list(a.ask_closed.answers) for a in rest if a.HasField("ask_closed")] == [["Yes"]]


# -- impossible requests ---------------------------------------------------------------------


async def test_an_unknown_model_is_refused_and_does_not_stick(client: Contract) -> None:
    conversation = await client.conversation("models")
    for model in ("scripted/gpt-9", "gpt-9"):
        request = message(
            "SendMessageRequest", session_id=conversation, text=script([say("no")]), model=model
        )
        error = (await client.call(send_message=request)).error
        assert error.code == "INVALID_ARGUMENT"
        assert "gpt-9" in error.message
    known = message(
        "SendMessageRequest",
        session_id=conversation,
        text=script([say("yes")]),
        model="scripted/scripted-1",
    )
    assert text_of(await client.all(await client.open(send_message=known))) == "yes"
    assert text_of(await client.reply(conversation, script([say("still")]))) == "still"


@pytest.mark.parametrize("name", ["ses_doesnotexist", "other", "../global/health", ""])
async def test_an_unknown_conversation_is_not_found(client: Contract, name: str) -> None:
    request = message("GetHistoryRequest", session_id=name)
    assert (await client.call(get_history=request)).error.code == "NOT_FOUND"
    assert (await client.reply(name, "hello"))[-1].error.code == "NOT_FOUND"


async def test_a_client_that_takes_nothing_costs_bounded_memory(
    service: ServiceProcess, llm: ScriptedLLM
) -> None:
    async with service.connect(initial_credit=2) as client:
        conversation = await client.conversation("slow")
        text = script([say(*["word "] * 10_500), wait("never")])
        request_id = await client.say(conversation, text)
        stream = client.answers(request_id)
        for _ in range(2):
            await anext(stream)
        (asked,) = llm.about(text)
        assert await asked.end()
        assert asked.abandoned
        await client.send(request_id, credit=message("Credit", limit=100))
        assert [one async for one in stream][-1].error.code == "RESOURCE_EXHAUSTED"
