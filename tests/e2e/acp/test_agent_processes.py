"""No process of the real OpenCode agent is left, whatever becomes of the service."""

import signal
import sys
from pathlib import Path

import pytest

from tests.e2e.service_process import running
from tests.support.peers.opencode_agent import acp_settings
from tests.support.peers.scripted_llm import ScriptedLLM, call, script
from tests.support.peers.talk import answer, until
from tests.support.witness import Witness


@pytest.mark.skipif(sys.platform == "win32", reason="the tool is a shell script")
@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM])
async def test_tools_in_sessions_of_their_own_end_with_the_service(
    llm: ScriptedLLM, tmp_path: Path, end: signal.Signals
) -> None:
    witness = Witness(tmp_path)
    stubborn = "trap '' TERM HUP INT; echo; exec >&- 2>&-; sleep 1000"
    command = f"""exec 3>{witness.path}; (setsid sh -c "{stubborn}" &); sleep 1000"""
    text = script([call("bash", command=command, description="d")])
    settings = acp_settings(tmp_path / "agent", llm.url) | {"CALLBOARD_DRAIN_MS": "1"}
    with running(tmp_path / "service", **settings) as service:
        async with service.connect(features=["follow"]) as client:
            conversation = await client.conversation("tool")
            request_id = await client.say(conversation, text)
            stream = client.answers(request_id)
            ask = (await until(stream, "ask"))[-1].ask
            await answer(client, request_id, ask, "once")
            await until(stream, "tool_progress")
            assert not witness.nobody_left()
            service.signal(end)
            await service.wait()
            await witness.wait()
    witness.close()
