"""Unexpected behavior of the real OpenCode server."""

import contextlib
import re
import sqlite3
from typing import Any

import aiohttp
import pytest

from tests.e2e.contract_client import Contract, kinds_of, message, text_of
from tests.support.peers.opencode_server import OpenCodeServer
from tests.support.peers.scripted_llm import ScriptedLLM, call, say, script
from tests.support.peers.talk import answer, history, listed, until

HOURS = 5 * 3600 * 1000


async def tell(server: OpenCodeServer, method: str, path: str, body: Any = None) -> Any:
    """Call the server directly, as another of its clients would."""
    auth = aiohttp.encode_basic_auth("opencode", server.password)
    async with (
        aiohttp.ClientSession(headers={"Authorization": auth}) as http,
        http.request(method, server.url + path, data=body) as done,
    ):
        assert done.status == 200, await done.text()
        return await done.json()


async def test_o1_an_agent_that_is_taken_up_again_asks_in_the_reply(client: Contract) -> None:
    conversation = await client.conversation("taken up again")
    inner = script([say("looked")])
    task = call("task", description="look", prompt=inner, subagent_type="general")
    reply = await client.reply(conversation, script([task], [say("first done")]))
    (result,) = (a.tool_result for a in reply if a.HasField("tool_result"))
    found = re.search(r"ses_\w+", result.output)
    assert found, result.output
    again = script([call("bash", command="uname", description="tell")], [say("told")])
    task = call(
        "task", description="ask", prompt=again, subagent_type="general", task_id=found.group()
    )
    request_id = await client.say(conversation, script([task], [say("second done")]))
    stream = client.answers(request_id)
    await answer(client, request_id, (await until(stream, "ask"))[-1].ask, "once")
    rest = [one async for one in stream]
    assert text_of(rest) == "second done"
    told, result = (a.tool_result for a in rest if a.HasField("tool_result"))
    assert "Linux" in told.output
    assert "told" in result.output


async def test_o2_a_conversation_from_the_future_says_why_it_is_not_answered(
    client: Contract, server: OpenCodeServer, llm: ScriptedLLM
) -> None:
    """A clock that was ahead and has been set right leaves messages from the future.

    The server lists messages by time, takes the newest for the answer, and asks no model.
    """
    conversation = await client.conversation("from the future")
    assert text_of(await client.reply(conversation, script([say("then")]))) == "then"
    with contextlib.closing(sqlite3.connect(server.database)) as database, database:
        database.execute(
            "UPDATE message SET time_created = time_created + :more, data = json_set(data,"
            " '$.time.created', json_extract(data, '$.time.created') + :more)"
            " WHERE session_id = :session",
            {"more": HOURS, "session": conversation},
        )
    text = script([say("now")])
    reply = await client.reply(conversation, text)
    assert llm.about(text) == []
    assert kinds_of(reply) == ["error"]
    error = reply[-1].error
    assert (error.code, error.retryable) == ("FAILED_PRECONDITION", False)
    assert "clock" in error.message


async def test_o3_an_error_before_the_message_is_stored_is_the_reply_s(client: Contract) -> None:
    conversation = await client.conversation("no such model")
    said = message(
        "SendMessageRequest",
        session_id=conversation,
        text=script([say("never")]),
        model="scripted/none",
    )
    reply = await client.all(await client.open(send_message=said))
    error = reply[-1].error
    assert (error.code, error.retryable) == ("INVALID_ARGUMENT", False)
    assert "scripted/none" in error.message


async def test_o4_half_a_surrogate_pair_costs_one_character(
    client: Contract, server: OpenCodeServer
) -> None:
    made = await tell(server, "POST", "/session", b'{"title": "a half \\ud83d"}')
    # The server stores such a title as an empty string.
    assert (await listed(client))[made["id"]] == ""
    reply = await client.reply(made["id"], script([say("one ", "half \ud83d", " more")]))
    kept = (await history(client, made["id"])).entries[-1].assistant_text
    assert text_of(reply) == kept == "one half \N{REPLACEMENT CHARACTER} more"


@pytest.mark.parametrize("depth", [33, 40, 500])
async def test_o5_a_tool_s_input_is_bounded_in_depth(
    client: Contract, server: OpenCodeServer, depth: int
) -> None:
    nested: Any = "the end"
    for _ in range(depth):
        nested = [nested]
    conversation = await client.conversation(f"{depth} deep")
    read = call("read", filePath=str(server.project / "missing"), extra=nested)
    reply = await client.reply(conversation, script([read], [say("done")]))
    assert text_of(reply) == "done"
    kept = await history(client, conversation)
    calls = [entry.tool_call for entry in kept.entries if entry.HasField("tool_call")]
    assert [one.name for one in calls] == ["read"]
