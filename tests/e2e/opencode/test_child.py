"""The backend `opencode` starts its server, restarts it if killed, and leaves none behind."""

import asyncio
import re
import signal
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing
from pathlib import Path

import psutil
import pytest

from callboard_service.make_backend import OPENCODE_TURNS
from tests.e2e.contract_client import kinds_of, message, text_of
from tests.e2e.service_process import ServiceProcess, running
from tests.e2e.terminal import talking
from tests.support.peers.opencode_server import PROGRAM, isolated, server_of
from tests.support.peers.scripted_llm import ScriptedLLM, say, script, wait
from tests.support.peers.stubborn_tool import no_tool_outlives
from tests.support.peers.talk import history, listed, until

# The server takes seconds to start, and some tests start two; it only ends a test that hangs.
pytestmark = pytest.mark.timeout(180)


def supervising(llm: ScriptedLLM, tmp_path: Path) -> AbstractContextManager[ServiceProcess]:
    """Run a service that starts the server itself, in the folders of the test."""
    project = tmp_path / "project"
    project.mkdir(exist_ok=True)
    settings = {
        "CALLBOARD_OPENCODE_COMMAND": str(PROGRAM),
        "CALLBOARD_OPENCODE_DIRECTORY": str(project),
        "CALLBOARD_TOKEN": "a-token-that-is-nobody-elses",
    }
    isolation = isolated(tmp_path / "opencode", llm.url)
    return running(tmp_path / "service", **isolation, **settings)


@pytest.fixture
def service(llm: ScriptedLLM, tmp_path: Path) -> Iterator[ServiceProcess]:
    with supervising(llm, tmp_path) as service:
        yield service


async def test_the_server_is_ours_alone_and_is_back_with_its_conversations_when_killed(
    service: ServiceProcess, llm: ScriptedLLM, tmp_path: Path
) -> None:
    child = server_of(service)
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
        again = server_of(service)
        assert again.pid != child.pid
        assert again.environ()["OPENCODE_SERVER_PASSWORD"] != password
        assert text_of(await client.reply(conversation, script([say("after")]))) == "after"
        kept = await history(client, conversation)
        said = [entry.assistant_text for entry in kept.entries if entry.assistant_text]
        # OpenCode loses the text that it has not ended when it is killed; the service does not.
        assert said == ["before", "half ", "after"]
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
        server_of(service).kill()
        lost = terminal.prompt().strip()
        assert re.fullmatch(r"UNAVAILABLE: .* \(trying again may help\)", lost)
        assert terminal.say(script([say("after")]))[0] == "after"
        terminal.press("d")
        assert terminal.end()[0] == 0


@pytest.mark.skipif(sys.platform == "win32", reason="the tool is a shell script")
@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM])
async def test_tools_in_sessions_of_their_own_end_with_the_service(
    llm: ScriptedLLM, tmp_path: Path, end: signal.Signals
) -> None:
    with supervising(llm, tmp_path) as service:
        await no_tool_outlives(service, tmp_path, end)


async def test_an_orderly_end_leaves_no_process_and_ends_replies(service: ServiceProcess) -> None:
    children = service.children()
    async with service.connect() as client:
        created = await client.call(create_session=message("CreateSessionRequest", title="x"))
        assert created.session_info.title == "x"
        service.signal()
        assert await service.wait() == 0
    gone, alive = await asyncio.to_thread(psutil.wait_procs, children, 10)
    assert (len(gone), alive) == (len(children), [])


def wait_for_pieces(data: Path) -> None:
    """Return once output of a running turn is stored; only the test's timeout bounds the wait."""
    uri = f"file:{data / OPENCODE_TURNS}?mode=ro"
    with closing(sqlite3.connect(uri, uri=True)) as database:
        while database.execute("SELECT count(*) FROM pieces").fetchone() == (0,):
            pass


async def test_a_reply_that_ended_with_its_server_is_interrupted(
    llm: ScriptedLLM, tmp_path: Path
) -> None:
    """A killed service takes its server along; the next one keeps what had been said."""
    text = script([say("half "), wait("never")])
    request = {"text": text, "message_id": "m", "detached": True}
    with supervising(llm, tmp_path) as service:
        async with service.connect() as client:
            conversation = await client.conversation("ended with its server")
            send = message("SendMessageRequest", session_id=conversation, **request)
            stream = client.answers(await client.open(send_message=send))
            await until(stream, "token")
            await asyncio.to_thread(wait_for_pieces, tmp_path / "service" / "data")
            service.process.kill()
            await service.wait()
    with supervising(llm, tmp_path) as service:
        async with service.connect() as client:
            error = (await client.all(await client.open(send_message=send)))[-1].error
            entries = (await history(client, conversation)).entries
    assert (error.code, error.retryable) == ("ABORTED", False)
    said = [entry.user_text or entry.assistant_text or entry.error.code for entry in entries]
    assert said == [text, "half ", "ABORTED"]
    assert len(llm.about(text)) == 1
