"""Titles, the archive and copies of conversations, which the OpenCode server keeps."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.e2e.contract_client import Contract, message, text_of
from tests.e2e.opencode.peer import entries, fork, infos, peer_of, send, texts, update
from tests.e2e.service_process import ServiceProcess
from tests.support.peers.cutting_proxy import CuttingProxy
from tests.support.peers.opencode_server import OpenCodeServer
from tests.support.peers.scripted_llm import ScriptedLLM, call, fail, say, script, wait
from tests.support.peers.talk import until

PARENT = "the parent"


@pytest.fixture
async def client(service: ServiceProcess, proxy: CuttingProxy) -> AsyncIterator[Contract]:
    """A client that knows turns."""
    proxy.mend()
    async with service.connect(features=["follow"]) as client:
        yield client


def asked(llm: ScriptedLLM, text: str) -> list[str]:
    """Return what users said in the model's one request that this message led to."""
    (request,) = llm.about(text)
    said = [one["content"] for one in request.body["messages"] if one["role"] == "user"]
    return [one if isinstance(one, str) else one[0]["text"] for one in said]


@asynccontextmanager
async def seeing(
    service: ServiceProcess, conversation: str
) -> AsyncIterator[tuple[AsyncIterator[Any], AsyncIterator[Any]]]:
    """Watch the list and follow the conversation; yield what comes of both after the beginning."""
    async with service.connect(features=["follow"]) as other:
        watch = other.answers(
            await other.open(watch_sessions=message("WatchSessionsRequest", limit=1))
        )
        await until(watch, "session_changed")
        follow = message("FollowSessionRequest", session_id=conversation)
        events = other.answers(await other.open(follow_session=follow))
        await anext(events)
        yield watch, events


async def shows_title(watch: AsyncIterator[Any], events: AsyncIterator[Any]) -> None:
    """Wait until the model's title has reached the follower and the watcher."""
    async for seen in events:
        if seen.event.info.title == "A title":
            break
    async for seen in watch:
        if seen.session_changed.info.title == "A title":
            break


# -- titles and the archive --------------------------------------------------------------------


async def test_a_title_and_the_archive_are_the_server_s(
    client: Contract, server: OpenCodeServer
) -> None:
    """Its other clients see them, too."""
    conversation = await client.conversation("before")
    changed = await update(client, conversation, title="after", archived=True)
    assert (changed.title, changed.archived) == ("after", True)
    assert conversation not in await infos(client)
    assert (await infos(client, archived=True))[conversation].title == "after"
    async with peer_of(server) as peer:
        kept = await peer.call("GET", f"/session/{conversation}")
    assert kept["title"] == "after"
    assert kept["time"]["archived"] > kept["time"]["created"]
    assert not (await update(client, conversation, archived=False)).archived
    assert (await infos(client))[conversation].title == "after"


async def test_a_title_that_the_model_gives_reaches_followers_and_watchers(
    client: Contract, service: ServiceProcess
) -> None:
    """A blank title asks for one."""
    conversation = await client.conversation("mine")
    assert (await update(client, conversation, title=" ")).title.startswith("New session")
    async with seeing(service, conversation) as (watch, events):
        # The model gives the title while the reply waits for the answer to the command's ask.
        bash = call("bash", command="true", description="Wait")
        request_id = await client.say(conversation, script([bash], [say("done")]))
        answers = client.answers(request_id)
        ask = (await until(answers, "ask"))[-1].ask
        while (await infos(client))[conversation].title != "A title":
            pass
        reply = message("AnswerRequest", ask_id=ask.ask_id, answers=["once"])
        await client.send(request_id, answer=reply)
        await shows_title(watch, events)


async def test_a_title_that_comes_after_the_turn_reaches_followers_and_watchers(
    client: Contract, service: ServiceProcess, llm: ScriptedLLM
) -> None:
    conversation = await client.conversation("mine")
    await update(client, conversation, title=" ")
    async with seeing(service, conversation) as (watch, events):
        llm.titles_wait_for = conversation
        try:
            await client.reply(conversation, script([say("done")]))
            async for seen in events:
                if seen.event.WhichOneof("event") == "completed":
                    break
            assert (await infos(client))[conversation].title != "A title"
        finally:
            llm.titles_wait_for = ""
            llm.go(conversation)
        await shows_title(watch, events)


# -- copies ------------------------------------------------------------------------------------


async def test_a_copy_has_the_turns_before_an_entry(client: Contract, llm: ScriptedLLM) -> None:
    """Their entries are as they were, with the ids of their turns; the model sees no others."""
    conversation = await client.conversation(PARENT)
    first = script([call("glob", pattern="*.none")], [say("first")])
    for text in (first, script([say("second")]), script([say("third")])):
        await client.reply(conversation, text)
    whole = await entries(client, conversation)
    (third,) = (n for n, e in enumerate(whole) if e.assistant_text == "third")
    copy = (await fork(client, conversation, whole[third - 1].id)).session_info
    assert (copy.parent_id, copy.title) == (conversation, f"{PARENT} (fork #1)")
    kept = await entries(client, copy.id)
    for entry in (*kept, *whole):
        entry.ClearField("id")
    assert kept == whole[: third - 1]
    assert kept[-1].completed.output_tokens == 7
    text = script([say("another")])
    assert text_of(await client.reply(copy.id, text)) == "another"
    assert len(asked(llm, text)) == 3
    assert texts(await entries(client, copy.id))[-3:] == ["second", text, "another"]
    assert texts(await entries(client, conversation))[-1] == "third"
    listed = await infos(client)
    assert listed[copy.id].parent_id == conversation
    assert listed[conversation].parent_id == ""


async def test_a_copy_of_a_copy_outlives_what_it_was_made_from(client: Contract) -> None:
    """All of it, or nothing at all, can be copied."""
    conversation = await client.conversation(PARENT)
    for word in ("first", "second"):
        await client.reply(conversation, script([say(word)]))
    copy = (await fork(client, conversation, title="all")).session_info
    second = (await entries(client, copy.id))[2].id
    again = (await fork(client, copy.id, second)).session_info
    assert (copy.title, again.parent_id) == ("all", copy.id)
    for name in (conversation, copy.id):
        await client.call(delete_session=message("DeleteSessionRequest", session_id=name))
    kept = await entries(client, again.id)
    assert texts(kept)[1:] == ["first"]
    assert kept[0].turn_id == kept[1].turn_id != ""
    none = (await fork(client, again.id, kept[0].id)).session_info
    assert await entries(client, none.id) == []
    assert text_of(await client.reply(none.id, script([say("anew")]))) == "anew"


async def test_turns_of_other_clients_are_copied_too(
    client: Contract, server: OpenCodeServer
) -> None:
    """A copy may end before any message of a user."""
    conversation = await client.conversation(PARENT)
    await client.reply(conversation, script([say("ours")]))
    theirs = script([say("theirs")])
    async with peer_of(server) as peer:
        await peer.say(conversation, theirs)
    await client.reply(conversation, script([say("ours again")]))
    whole = await entries(client, conversation)
    for number, entry in enumerate(whole):
        answer = await fork(client, conversation, entry.id)
        if entry.user_text:
            assert texts(await entries(client, answer.session_info.id)) == texts(whole[:number])
        else:
            assert answer.error.code == "INVALID_ARGUMENT"
    assert (await fork(client, conversation, "nothing")).error.code == "INVALID_ARGUMENT"
    assert (await fork(client, "ses_none")).error.code == "NOT_FOUND"


async def test_a_turn_that_runs_is_not_copied(client: Contract, llm: ScriptedLLM) -> None:
    """It goes on where it runs; the copy may end before it by name, too."""
    conversation = await client.conversation(PARENT)
    await client.reply(conversation, script([say("ended")]))
    gate = f"{conversation}-copied"
    running = script([say("runs "), wait(gate), say("on")])
    stream = client.answers(await client.say(conversation, running))
    await until(stream, "token")
    newest = (await entries(client, conversation))[-1]
    for before in ("", newest.id):
        copy = (await fork(client, conversation, before)).session_info
        assert texts(await entries(client, copy.id))[1:] == ["ended"]
        assert text_of(await client.reply(copy.id, script([say("there")]))) == "there"
    llm.go(gate)
    assert text_of([one async for one in stream]) == "on"


async def test_a_failed_turn_can_be_replaced_in_a_copy(client: Contract, llm: ScriptedLLM) -> None:
    """The model does not see the failed attempt, although its message has a new id there."""
    conversation = await client.conversation(PARENT)
    failed = await send(client, conversation, script([fail(400)]), message_id="1")
    assert failed[-1].error.code == "INVALID_ARGUMENT"
    copy = (await fork(client, conversation)).session_info
    text = script([say("whole")])
    turn = failed[0].turn.id
    assert text_of(await send(client, copy.id, text, message_id="2", replaces=turn)) == "whole"
    assert texts(await entries(client, copy.id)) == [text, "whole"]
    assert asked(llm, text) == [text]


async def test_a_repeated_create_id_returns_the_copy_that_was_made(client: Contract) -> None:
    """At once or later, one is made."""
    conversation = await client.conversation(PARENT)
    await client.reply(conversation, script([say("once")]))
    answers = await asyncio.gather(
        *(fork(client, conversation, create_id=conversation) for _ in range(3))
    )
    answers.append(await fork(client, conversation, create_id=conversation))
    (made,) = {answer.session_info.id for answer in answers}
    copies = [info for info in (await infos(client)).values() if info.parent_id == conversation]
    assert [info.id for info in copies] == [made]


async def test_a_long_turn_of_a_copy_is_shown_whole(client: Contract) -> None:
    """Its message is on another page of the server's messages than the end of its reply."""
    conversation = await client.conversation(PARENT)
    steps: list[Any] = [[call("glob", pattern=f"{n}.none")] for n in range(55)]
    await client.reply(conversation, script(*steps, [say("at last")]))
    copy = (await fork(client, conversation)).session_info
    kept = await entries(client, copy.id)
    assert len(kept) == 1 + 2 * len(steps) + 1
    assert len({entry.turn_id for entry in kept}) == 1
    (last,) = await entries(client, copy.id, limit=1)
    assert last.completed.output_tokens == 7 * 56
