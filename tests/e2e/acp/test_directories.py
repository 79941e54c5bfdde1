"""Conversations with folders of their own, and the command line that names them."""

import asyncio
import shlex
import sys
from pathlib import Path

from tests.e2e.contract_client import message
from tests.e2e.service_process import run, running, told
from tests.support import scripted_agent
from tests.support.scripted_agent import say, script

AGENT = [sys.executable, "-I", scripted_agent.__file__, '{"loads": true}']
SETTINGS = {"CALLBOARD_BACKEND": "acp", "CALLBOARD_ACP_COMMAND": shlex.join(AGENT)}


async def test_the_command_line_names_the_folder_of_a_new_conversation(tmp_path: Path) -> None:
    """It may be relative there. The process of the agent works in it."""
    folder = tmp_path / "here" / "project"
    folder.mkdir(parents=True)
    with running(tmp_path / "service", **SETTINGS) as service:
        chat = ("chat", "--directory", "project", script(say("hi")))
        done = await asyncio.to_thread(told, service, tmp_path / "here", *chat)
        assert done[:2] == (0, "hi\n"), done[2]
        assert [Path(one.cwd()) for one in service.programs(*AGENT)] == [folder]
        chat = ("chat", "--directory", "none", script(say("hi")))
        code, _, said = await asyncio.to_thread(told, service, tmp_path / "here", *chat)
        assert (code, "there is no directory" in said) == (1, True)


def test_a_conversation_that_is_continued_keeps_its_folder(tmp_path: Path) -> None:
    code, _, said = run(tmp_path, "chat", "--continue", "--directory", ".", "hi")
    assert (code, "has its directory already" in said) == (2, True)


async def test_backends_without_agents_have_no_folders(tmp_path: Path) -> None:
    with running(tmp_path, "--backend", "echo") as service:
        async with service.connect() as client:
            request = message("CreateSessionRequest", directory=str(tmp_path))
            assert (await client.call(create_session=request)).error.code == "UNIMPLEMENTED"
