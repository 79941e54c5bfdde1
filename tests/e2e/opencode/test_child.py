"""The backend `opencode` starts its server, restarts it if killed, and leaves none behind."""

import asyncio
import re
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.e2e.contract_client import kinds_of, message, text_of
from tests.e2e.service_process import ServiceProcess, running
from tests.e2e.terminal import talking
from tests.support.peers.opencode_server import PROGRAM, isolated
from tests.support.peers.scripted_llm import ScriptedLLM, say, script, wait
from tests.support.peers.talk import history, listed, until


@pytest.fixture
def service(llm: ScriptedLLM, tmp_path: Path) -> Iterator[ServiceProcess]:
    project = tmp_path / "project"
    project.mkdir()
    settings = {
        "CALLBOARD_OPENCODE_COMMAND": str(PROGRAM),
        "CALLBOARD_OPENCODE_DIRECTORY": str(project),
        "CALLBOARD_TOKEN": "a-token-that-is-nobody-elses",
    }
    with running(tmp_path / "service", **isolated(tmp_path / "opencode", llm.url), **settings) as s:
        yield s


async def test_the_server_is_ours_alone_and_is_back_with_its_conversations_when_killed(
    service: ServiceProcess, llm: ScriptedLLM, tmp_path: Path
) -> None:
    (child,) = service.children()
    environment, arguments = child.environ(), child.cmdline()
    password = environment["OPENCODE_SERVER_PASSWORD"]
    assert len(password) >= 43
    assert not [name for name in environment if name.startswith("CALLBOARD_")]
    assert not [word for word in arguments if password in word]
    assert arguments[arguments.index("--hostname") + 1] == "127.0.0.1"
    assert Path(child.cwd()) == tmp_path / "project"
    assert {conn.laddr.ip for conn in child.net_connections() if conn.status == "LISTEN"} == {
        "127.0.0.1"
    }
    async with service.connect() as client:
        conversation = await client.conversation("survives")
        reply = await client.reply(conversation, script([say("before")]))
        assert kinds_of(reply) == ["token", "completed"]
        request_id = await client.say(conversation, script([say("half "), wait("never")]))
        stream = client.answers(request_id)
        await until(stream, "token")
        child.kill()
        error = [one async for one in stream][-1].error
        assert (error.code, error.retryable) == ("UNAVAILABLE", True)
        assert (await listed(client))[conversation] == "survives"
        (again,) = service.children()
        assert again.pid != child.pid
        assert again.environ()["OPENCODE_SERVER_PASSWORD"] != password
        assert text_of(await client.reply(conversation, script([say("after")]))) == "after"
        kept = await history(client, conversation)
        said = [entry.assistant_text for entry in kept.entries if entry.assistant_text]
        assert said == ["before", "after"]
        # The server ends with the service, even if the service is killed.
        service.process.kill()
        await service.wait()
        gone, _ = await asyncio.to_thread(psutil.wait_procs, [again], 10)
        assert gone == [again]
    assert password not in service.log.read_text()


def test_a_person_in_a_terminal_goes_on_with_the_server_that_comes_back(
    service: ServiceProcess, tmp_path: Path
) -> None:
    with talking(tmp_path, service) as terminal:
        terminal.prompt()
        terminal.type(script([say("half "), wait("never")]))
        terminal.until("half ")
        service.children()[0].kill()
        lost = terminal.prompt().strip()
        assert re.fullmatch(r"UNAVAILABLE: .* \(trying again may help\)", lost)
        assert terminal.say(script([say("after")])) == ["after"]
        terminal.press("d")
        assert terminal.end()[0] == 0


async def test_an_orderly_end_leaves_no_process_and_ends_replies(service: ServiceProcess) -> None:
    children = service.children()
    async with service.connect() as client:
        created = await client.call(create_session=message("CreateSessionRequest", title="x"))
        assert created.session_info.title == "x"
        service.signal()
        assert await service.wait() == 0
    gone, alive = await asyncio.to_thread(psutil.wait_procs, children, 10)
    assert (len(gone), alive) == (1, [])
