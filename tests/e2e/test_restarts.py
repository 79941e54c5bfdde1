"""A service that is killed or stopped while turns are open, and the next one on its data folder."""

import signal
import time
from pathlib import Path
from typing import Any

from tests.e2e.contract_client import Contract, message, text_of
from tests.e2e.service_process import ServiceProcess, running
from tests.e2e.test_conversations import event, follow, sending, until

ECHO = ("--backend", "echo")


def users(history: Any) -> list[str]:
    return [entry.user_text for entry in history.history.entries if entry.user_text]


async def history_of(client: Contract, conversation: str) -> Any:
    return await client.call(get_history=message("GetHistoryRequest", session_id=conversation))


def kill(service: ServiceProcess) -> None:
    service.signal(signal.SIGKILL)
    service.process.wait(20)


async def test_a_turn_is_interrupted_by_a_kill_and_its_message_is_not_run_again(
    tmp_path: Path,
) -> None:
    said = {"message_id": "m", "detached": True}
    with running(tmp_path, *ECHO) as service:
        async with service.connect(features=["follow"]) as client:
            conversation = await client.conversation()
            following = await follow(client, conversation)
            await event(client, following)
            text = "kept [[tool:t {}]]lost [[delay:3600000]]never"
            await client.open(**sending(conversation, text, **said))
            seen = await until(client, following, "tool_result")
            last = seen[-1].position
            kill(service)
    with running(tmp_path, *ECHO) as service:
        async with service.connect(features=["follow"]) as client:
            following = await follow(client, conversation, after=last)
            snapshot = await event(client, following)
            assert (list(snapshot.snapshot.turns), snapshot.position > last) == ([], True)
            again = await client.all(await client.open(**sending(conversation, text, **said)))
            assert again[0].turn.state == 7
            assert [a.WhichOneof("payload") for a in again[1:]] == [
                "token", "tool_call", "tool_result", "error",
            ]  # fmt: skip
            assert again[-1].error.code == "ABORTED"
            assert not again[-1].error.retryable
            assert users(await history_of(client, conversation)) == [text]
            more = {"message_id": "2", "replaces": again[0].turn.id}
            fresh = await client.all(await client.open(**sending(conversation, "new", **more)))
            assert text_of(fresh) == "new"
            assert users(await history_of(client, conversation)) == ["new"]


async def test_what_a_kill_leaves_open_is_closed_in_the_history(tmp_path: Path) -> None:
    """A tool call gets a result that says that it was cut off, and an ask is void."""
    with running(tmp_path, *ECHO) as service:
        async with service.connect(features=["follow"]) as client:
            conversation = await client.conversation()
            other = await client.conversation()
            text = "[[tool:done {}]]kept [[tool:open {}]][[delay:3600000]][[progress:never]]"
            first = client.answers(await client.open(**sending(conversation, text)))
            second = client.answers(await client.open(**sending(other, "[[ask:permission]]")))
            while (call := (await anext(first)).tool_call).name != "open":
                pass
            ask = (await anext(second)).ask.ask_id
            kill(service)
    with running(tmp_path, *ECHO) as service:
        async with service.connect(features=["follow"]) as client:
            entries = (await history_of(client, conversation)).history.entries
            assert [entry.WhichOneof("entry") for entry in entries] == [
                "user_text", "tool_call", "tool_result", "assistant_text", "tool_call",
                "tool_result", "error",
            ]  # fmt: skip
            result = entries[-2].tool_result
            assert (result.call_id, result.is_error) == (call.call_id, True)
            assert "may still be running" in result.output
            entries = (await history_of(client, other)).history.entries
            assert [entry.WhichOneof("entry") for entry in entries] == [
                "user_text", "ask", "ask_closed", "error",
            ]  # fmt: skip
            closed = entries[-2].ask_closed
            assert (closed.ask_id, closed.answered) == (ask, False)


async def test_the_queue_survives_a_restart(tmp_path: Path) -> None:
    with running(tmp_path, *ECHO) as service:
        async with service.connect(features=["follow"]) as client:
            conversation = await client.conversation()
            await client.open(**sending(conversation, "[[delay:3600000]]a", message_id="1"))
            for number, detached in (("2", False), ("3", True)):
                fields = {"message_id": number, "detached": detached}
                await client.open(**sending(conversation, number, **fields))
            while len(await _turns(client, conversation)) < 3:
                pass
            kill(service)
    with running(tmp_path, *ECHO) as service:
        async with service.connect(features=["follow"]) as client:
            # The second waits for its message; the third waits for the second.
            turns = await _turns(client, conversation)
            assert [(t.info.message_id, t.info.state) for t in turns] == [("2", 1), ("3", 1)]
            following = await follow(client, conversation)
            await event(client, following)
            answers = await client.all(
                await client.open(**sending(conversation, "", message_id="2"))
            )
            assert text_of(answers) == "2"
            await until(client, following, "completed")
            await until(client, following, "completed")
            assert users(await history_of(client, conversation))[1:] == ["2", "3"]


async def test_a_detached_queued_turn_runs_after_a_restart_without_a_client(tmp_path: Path) -> None:
    fields = {"message_id": "2", "admit_only": True}
    with running(tmp_path, *ECHO) as service:
        async with service.connect(features=["follow"]) as client:
            conversation = await client.conversation()
            first = {"message_id": "1", "admit_only": True}
            await client.call(**sending(conversation, "[[delay:3600000]]a", **first))
            await client.call(**sending(conversation, "b", **fields))
            kill(service)
    with running(tmp_path, *ECHO) as service:
        async with service.connect(features=["follow"]) as client:
            while (
                done := await client.call(**sending(conversation, "b", **fields))
            ).turn.state != 4:
                assert done.turn.state in (1, 2)
            entries = (await history_of(client, conversation)).history.entries
            assert [e.error.code for e in entries if e.HasField("error")] == ["ABORTED"]
            assert entries[-1].assistant_text == "b"


async def test_a_stop_keeps_the_output_and_does_not_wait_for_followers(tmp_path: Path) -> None:
    with running(tmp_path, *ECHO, "--max-requests-in-flight", "500") as service:
        async with service.connect(features=["follow"]) as client:
            conversation = await client.conversation()
            followers = [await follow(client, conversation) for _ in range(200)]
            for follower in followers:
                await event(client, follower)
            began = time.monotonic()
            service.signal()
            for follower in followers:
                answers = await client.all(follower)
                assert (answers[-1].error.code, answers[-1].error.retryable) == (
                    "UNAVAILABLE",
                    True,
                )
            assert await service.wait() == 0
            assert (
                time.monotonic() - began < 5
            )  # a second, on a machine that has nothing else to do


async def _turns(client: Contract, conversation: str) -> list[Any]:
    """Return the open turns."""
    following = await follow(client, conversation)
    snapshot = (await event(client, following)).snapshot
    await client.send(following, cancel=message("CancelRequest"))
    await client.all(following)
    return list(snapshot.turns)
