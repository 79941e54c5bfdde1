"""The service ends in order and in time, whatever its agents do."""

import shlex
import sys
from pathlib import Path

import pytest

from tests.e2e.contract_client import message, text_of
from tests.e2e.service_process import running
from tests.support import scripted_agent
from tests.support.peers.talk import until
from tests.support.scripted_agent import pause, say, script

STUBBORN = [sys.executable, "-I", scripted_agent.__file__, '{"stubborn": true, "cancel": "ignore"}']


@pytest.mark.skipif(sys.platform == "win32", reason="the agent ignores SIGTERM")
@pytest.mark.parametrize("doing", ["nothing", "ending", "replying"])
async def test_an_agent_that_does_not_end_does_not_hold_the_service_up(
    tmp_path: Path, doing: str
) -> None:
    settings = {"CALLBOARD_BACKEND": "acp", "CALLBOARD_ACP_COMMAND": shlex.join(STUBBORN)}
    with running(tmp_path, "--drain-ms", "100", **settings) as service:
        async with service.connect(features=["follow"]) as client:
            conversation = await client.conversation("stubborn")
            assert text_of(await client.reply(conversation, script(say("here")))) == "here"
            tree = service.children()
            assert len(tree) == 2, "a guardian and its agent"
            if doing == "ending":
                delete = message("DeleteSessionRequest", session_id=conversation)
                await client.call(delete_session=delete)
            elif doing == "replying":
                request_id = await client.say(conversation, script(say("begun"), pause()))
                await until(client.answers(request_id), "token")
            service.signal()
            assert await service.wait() == 0, service.log.read_text()
        assert not any(one.is_running() for one in tree)
