"""Messages that are handed to a running reply of the OpenCode server."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.e2e.contract_client import Contract, message, text_of
from tests.e2e.opencode.conftest import CRITIC, SMALL
from tests.e2e.opencode.peer import entries, fork, peer_of, send, texts
from tests.e2e.service_process import ServiceProcess
from tests.support.peers.cutting_proxy import CuttingProxy
from tests.support.peers.opencode_server import OpenCodeServer
from tests.support.peers.scripted_llm import ScriptedLLM, call, fail, say, script, wait
from tests.support.peers.talk import answer, until

STEER = "DELIVERY_STEER"


@pytest.fixture
async def client(service: ServiceProcess, proxy: CuttingProxy) -> AsyncIterator[Contract]:
    """A client that knows turns."""
    proxy.mend()
    async with service.connect(features=["follow"]) as client:
        yield client


async def hand(client: Contract, conversation: str, text: str, message_id: str) -> Any:
    """Hand a message to the running turn, and return the answer."""
    request = message(
        "SendMessageRequest",
        session_id=conversation,
        text=text,
        message_id=message_id,
        delivery=STEER,
    )
    return await client.call(send_message=request)


async def running(client: Contract, text: str, after: str = "token") -> tuple[str, "Events"]:
    """Send a message in a new conversation, and follow it up to the first event of this kind."""
    conversation = await client.conversation("steered")
    follow = message("FollowSessionRequest", session_id=conversation)
    events = Events(client.answers(await client.open(follow_session=follow)))
    await events.until("snapshot")
    request = message(
        "SendMessageRequest", session_id=conversation, text=text, message_id="own", admit_only=True
    )
    await client.call(send_message=request)
    await events.until(after)
    return conversation, events


class Events:
    """The events of a conversation, as a follower sees them."""

    def __init__(self, answers: AsyncIterator[Any]) -> None:
        self._answers = answers
        self.seen: list[Any] = []

    async def until(self, kind: str) -> Any:
        """Return the next event of this kind."""
        async for one in self._answers:
            self.seen.append(one.event)
            if one.event.WhichOneof("event") == kind:
                return one.event
        raise AssertionError(f"no {kind} came")

    def outline(self) -> list[str]:
        """Return what was said, handed over and called so far; neighbouring tokens are joined."""
        said: list[str] = []
        kind = ""
        for event in self.seen:
            joined, kind = kind == "token" == event.WhichOneof("event"), event.WhichOneof("event")
            if joined:
                said[-1] += event.token.text
            elif kind in ("token", "steered", "tool_call", "tool_result", "completed", "error"):
                said.append(event.token.text or event.steered.text or kind)
        return said


def users(llm: ScriptedLLM, text: str) -> list[list[str]]:
    """Return what users had said in each request of the model that a message led to."""
    asked = (one.body["messages"] for one in llm.about(text))
    return [[m["content"] for m in messages if m["role"] == "user"] for messages in asked]


async def said_there(server: OpenCodeServer, conversation: str) -> list[str]:
    """Return what users have said in a conversation, as the server has it."""
    async with peer_of(server) as peer:
        found = [m for m in await peer.messages(conversation) if m["info"]["role"] == "user"]
    return [one["parts"][0]["text"] for one in found]


def outline(entries: list[Any]) -> list[str]:
    """Return what was said, and the kinds of other entries."""
    return [e.user_text or e.assistant_text or e.WhichOneof("entry") for e in entries]


async def test_a_message_is_used_by_the_next_step_of_the_reply(
    client: Contract, llm: ScriptedLLM, server: OpenCodeServer
) -> None:
    """It is shown where it was used, in the history and in copies, too."""
    assert "steer" in client.welcome.features
    own = script([say("looking"), wait("steer-1"), call("glob", pattern="*.none")], [say("never")])
    conversation, events = await running(client, own)
    handed = script([say("as you say")])
    info = (await hand(client, conversation, handed, "other")).turn
    assert info.message_id == "own"
    llm.go("steer-1")
    assert (await events.until("steered")).steered.message_id == "other"
    assert (await events.until("completed")).completed.output_tokens == 14
    said = ["looking", "tool_call", "tool_result", handed, "as you say"]
    assert events.outline() == [*said, "completed"]
    assert users(llm, handed) == [[own, handed]]
    kept = await entries(client, conversation)
    assert outline(kept) == [own, *said]
    assert {entry.turn_id for entry in kept} == {info.id}
    copy = (await fork(client, conversation)).session_info.id
    assert outline(await entries(client, copy)) == outline(kept)
    async with peer_of(server) as peer:
        assert len(await peer.messages(conversation)) == 4


async def test_messages_that_come_during_the_last_step_are_answered_by_another(
    client: Contract, llm: ScriptedLLM
) -> None:
    """One step sees all of them."""
    own = script([say("all "), wait("steer-2"), say("said")])
    conversation, events = await running(client, own)
    first, second = script([say("not this one")]), script([say("one more")])
    await hand(client, conversation, first, "1")
    await hand(client, conversation, second, "2")
    llm.go("steer-2")
    await events.until("completed")
    assert events.outline() == ["all said", first, second, "one more", "completed"]
    assert users(llm, second) == [[own, first, second]]
    said = [own, "all said", first, second, "one more"]
    assert texts(await entries(client, conversation)) == said


async def test_a_message_has_the_model_and_the_agent_of_the_turn(
    client: Contract, llm: ScriptedLLM
) -> None:
    """OpenCode would use its default agent."""
    conversation, gate = await client.conversation("as the turn"), "steer-3"
    for option, value in (("agent", CRITIC), ("model", f"scripted/{SMALL}")):
        request = message(
            "SetOptionRequest", session_id=conversation, option_id=option, value=value
        )
        await client.call(set_option=request)
    stream = client.answers(await client.say(conversation, script([say("a "), wait(gate)])))
    await until(stream, "token")
    handed = script([say("b")])
    await hand(client, conversation, handed, "other")
    llm.go(gate)
    assert text_of([one async for one in stream]) == "b"
    (asked,) = llm.about(handed)
    assert asked.body["model"] == SMALL
    assert "Criticize." in str(asked.body["messages"])


async def test_a_message_that_is_not_used_is_the_next_turn(
    client: Contract, llm: ScriptedLLM, server: OpenCodeServer
) -> None:
    """A refused permission ends the reply at once."""
    own = script([say("asking"), call("bash", command="true", description="ask")], [say("never")])
    conversation, events = await running(client, own, "ask")
    ask = events.seen[-1].ask
    handed = script([say("alone")])
    await hand(client, conversation, handed, "other")
    reject = message("AnswerRequest", ask_id=ask.ask_id, answers=["reject"])
    request = message("AnswerAskRequest", session_id=conversation, answer=reject)
    await client.call(answer_ask=request)
    for _ in range(2):
        await events.until("completed")
    assert not [event for event in events.seen if event.HasField("steered")]
    assert users(llm, handed) == [[own, handed]]
    kept = await entries(client, conversation)
    assert outline(kept)[-2:] == [handed, "alone"]
    assert kept[-1].turn_id not in ("", kept[0].turn_id)
    assert await said_there(server, conversation) == [own, handed]


async def test_a_message_that_a_stopped_reply_has_not_used_is_the_next_turn(
    client: Contract, llm: ScriptedLLM, server: OpenCodeServer
) -> None:
    """It is not in the conversation twice."""
    own = script([say("begun"), wait("never")])
    conversation, events = await running(client, own)
    handed = script([say("alone")])
    answer = await hand(client, conversation, handed, "other")
    stop = message("StopTurnRequest", session_id=conversation, turn_id=answer.turn.id)
    await client.call(stop_turn=stop)
    assert (await events.until("error")).error.code == "CANCELLED"
    await events.until("completed")
    assert events.outline() == ["begun", "error", "alone", "completed"]
    assert users(llm, handed) == [[own, handed]]
    assert await said_there(server, conversation) == [own, handed]


async def test_a_message_that_makes_the_reply_fail_was_used(
    client: Contract, llm: ScriptedLLM, server: OpenCodeServer
) -> None:
    """Replacing the turn removes both of its messages."""
    own = script([say("fine "), wait("steer-4")])
    conversation, events = await running(client, own)
    handed = script([fail(400)])
    await hand(client, conversation, handed, "other")
    llm.go("steer-4")
    assert (await events.until("error")).error.code == "INVALID_ARGUMENT"
    assert events.outline() == ["fine ", handed, "error"]
    assert len(users(llm, handed)) == 1
    turn = (await entries(client, conversation))[0].turn_id
    instead = script([say("instead")])
    assert text_of(await send(client, conversation, instead, message_id="m", replaces=turn)) == (
        "instead"
    )
    assert await said_there(server, conversation) == [instead]
    assert texts(await entries(client, conversation)) == [instead, "instead"]


async def test_no_message_is_taken_when_nothing_runs(client: Contract) -> None:
    conversation = await client.conversation("idle")
    assert (await hand(client, conversation, "hi", "m")).error.code == "FAILED_PRECONDITION"


async def test_an_ask_is_still_answered_after_a_message_was_handed_over(client: Contract) -> None:
    """The reply goes on with the tool's result, then with the message."""
    own = script([say("asking"), call("bash", command="seq 41 43", description="ask")])
    conversation = await client.conversation("both")
    request_id = await client.say(conversation, own)
    stream = client.answers(request_id)
    ask = (await until(stream, "ask"))[-1].ask
    await hand(client, conversation, script([say("both")]), "other")
    await answer(client, request_id, ask, "once")
    seen = [one async for one in stream]
    (result,) = (one.tool_result for one in seen if one.HasField("tool_result"))
    assert "42" in result.output
    assert text_of(seen) == "both"


async def test_a_message_that_could_not_be_taken_back_is_deleted_before_the_next_reply(
    client: Contract, llm: ScriptedLLM, server: OpenCodeServer
) -> None:
    """The server may have been away when the reply ended."""
    conversation = await client.conversation("left over")
    first = script([say("first")])
    await client.reply(conversation, first)
    async with peer_of(server) as peer:
        mark = {"callboard": {"turn": "0" * 32, "handed": "name"}}
        part = {"type": "text", "text": "left over", "metadata": mark}
        await peer.call(
            "POST", f"/session/{conversation}/message", {"noReply": True, "parts": [part]}
        )
    second = script([say("second")])
    assert text_of(await client.reply(conversation, second)) == "second"
    assert users(llm, second) == [[first, second]]
    assert await said_there(server, conversation) == [first, second]
