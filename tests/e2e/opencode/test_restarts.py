"""A service that is killed while the OpenCode server goes on with a reply."""

from pathlib import Path
from typing import Any

import pytest

from callboard_service.make_backend import OPENCODE_TURNS
from callboard_service.store.store import ConversationStore, NewTurn
from tests.e2e.contract_client import Contract, kinds_of, message, text_of
from tests.e2e.service_process import ServiceProcess, running
from tests.support.peers.opencode_server import OpenCodeServer
from tests.support.peers.scripted_llm import ScriptedLLM, call, say, script, think, wait
from tests.support.peers.talk import history, until

IDLE = 1
"""CONVERSATION_STATE_IDLE."""


class Services:
    """Starts one service after another on the same data folder, each attached to the server."""

    def __init__(self, folder: Path, server: OpenCodeServer) -> None:
        self._folder = folder
        self.turns = folder / "data" / OPENCODE_TURNS
        self._settings = {
            "CALLBOARD_OPENCODE_URL": server.url,
            "CALLBOARD_OPENCODE_PASSWORD": server.password,
        }

    def start(self) -> Any:
        """Return a context manager that runs a service."""
        return running(self._folder, **self._settings)


@pytest.fixture
def services(tmp_path: Path, server: OpenCodeServer) -> Services:
    return Services(tmp_path, server)


async def kill(service: ServiceProcess) -> None:
    """End the service as a power failure does."""
    service.process.kill()
    await service.wait()


def sent(conversation: str, text: str) -> Any:
    return message(
        "SendMessageRequest",
        session_id=conversation,
        text=text,
        message_id="m",
        detached=True,
    )


async def begin(client: Contract, text: str, last: str) -> str:
    """Send the message in a new conversation, and wait for the first answer of this kind."""
    conversation = await client.conversation("restarts")
    stream = client.answers(await client.open(send_message=sent(conversation, text)))
    await until(stream, last)
    return conversation


async def again(client: Contract, conversation: str) -> list[Any]:
    """Send the message again, and return all answers."""
    return await client.all(await client.open(send_message=sent(conversation, "again")))


async def state_of(client: Contract, conversation: str) -> int:
    """Return the conversation's state in the list."""
    found = await client.call(list_sessions=message("ListSessionsRequest"))
    (state,) = (info.state for info in found.session_list.sessions if info.id == conversation)
    return int(state)


async def test_a_reply_that_the_server_continued_is_picked_up(
    services: Services, llm: ScriptedLLM, server: OpenCodeServer
) -> None:
    """All of it is there once, and the model is not asked again."""
    (server.project / "r.txt").write_text("a file")
    read = call("read", filePath=str(server.project / "r.txt"))
    text = script([read], [think("so"), say("one "), wait("picked up"), say("two")])
    with services.start() as service:
        async with service.connect(features=["follow"]) as client:
            conversation = await begin(client, text, "token")
            await kill(service)
    with services.start() as service:
        async with service.connect(features=["follow"]) as client:
            stream = client.answers(await client.open(send_message=sent(conversation, "again")))
            seen = await until(stream, "tool_result")
            llm.go("picked up")
            seen += [one async for one in stream]
            entries = (await history(client, conversation)).entries
    assert seen[0].turn.state == message("TurnInfo", state="TURN_STATE_RUNNING").state
    assert text_of(seen) == "one two"
    assert kinds_of(seen).count("tool_call") == 1
    assert seen[-1].WhichOneof("payload") == "completed"
    assert [entry.user_text for entry in entries if entry.user_text] == [text]
    assert [entry.assistant_text for entry in entries][-1] == "one two"
    assert len(llm.about(text)) == 2


async def test_a_reply_that_ended_meanwhile_is_complete(
    services: Services, llm: ScriptedLLM
) -> None:
    """The server ended it while no service was there; nobody has to ask for the conversation."""
    text = script([say("one "), wait("ended meanwhile"), say("two")])
    with services.start() as service:
        async with service.connect(features=["follow"]) as client:
            conversation = await begin(client, text, "token")
            await kill(service)
    llm.go("ended meanwhile")
    (asked,) = llm.about(text)
    assert await asked.end()
    with services.start() as service:
        async with service.connect(features=["follow"]) as client:
            while await state_of(client, conversation) != IDLE:
                pass
            seen = await again(client, conversation)
            entries = (await history(client, conversation)).entries
    assert text_of(seen) == "one two"
    assert seen[-1].WhichOneof("payload") == "completed"
    assert [entry.user_text or entry.assistant_text for entry in entries] == [text, "one two"]


async def test_a_message_that_never_reached_the_server_is_not_posted_later(
    services: Services, llm: ScriptedLLM
) -> None:
    """The service was killed after it had stored that the turn runs."""
    text = script([say("never")])
    with services.start() as service:
        async with service.connect(features=["follow"]) as client:
            conversation = await client.conversation("restarts")
    store = await ConversationStore.open(services.turns, report=print)
    await store.ensure(conversation)
    await store.admit(
        conversation, NewTurn("0" * 32, text, message_id="m", detached=True, starts=True)
    )
    await store.close()
    with services.start() as service:
        async with service.connect(features=["follow"]) as client:
            seen = await again(client, conversation)
    assert (seen[-1].error.code, seen[-1].error.retryable) == ("ABORTED", False)
    assert llm.about(text) == []


async def test_an_ask_is_still_open_after_a_restart(services: Services) -> None:
    """Any client can answer it then, and the reply goes on."""
    bash = call("bash", command="printf asked", description="print")
    text = script([bash], [say("printed")])
    with services.start() as service:
        async with service.connect(features=["follow"]) as client:
            conversation = await begin(client, text, "ask")
            await kill(service)
    with services.start() as service:
        async with service.connect(features=["follow"]) as client:
            stream = client.answers(await client.open(send_message=sent(conversation, "again")))
            ask = (await until(stream, "ask"))[-1].ask
            yes = message("AnswerRequest", ask_id=ask.ask_id, answers=["once"])
            closed = await client.call(
                answer_ask=message("AnswerAskRequest", session_id=conversation, answer=yes)
            )
            rest = [one async for one in stream]
    assert list(closed.ask_closed.answers) == ["once"]
    assert text_of(rest) == "printed"
