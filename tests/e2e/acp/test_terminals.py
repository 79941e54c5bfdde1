"""Commands that the service runs for an agent end with the service, however that ends."""

import shlex
import signal
import sys
from pathlib import Path

import pytest

from tests.e2e.contract_client import message
from tests.e2e.service_process import running
from tests.support import scripted_agent
from tests.support.peers.talk import answer, until
from tests.support.scripted_agent import pause, request, script, shows_terminal
from tests.support.witness import Witness

AGENT = [sys.executable, "-I", scripted_agent.__file__, "{}"]
SETTINGS = {
    "CALLBOARD_BACKEND": "acp",
    "CALLBOARD_ACP_COMMAND": shlex.join(AGENT),
    "CALLBOARD_ACP_TERMINALS": "yes",
    "CALLBOARD_DRAIN_MS": "1",
}


@pytest.mark.skipif(sys.platform == "win32", reason="the command is for a shell")
@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM])
async def test_no_command_outlives_the_service(tmp_path: Path, end: signal.Signals) -> None:
    """Two windows see its output until then."""
    witness = Witness(tmp_path)
    stubborn = "trap '' TERM HUP INT; echo begun; sleep 1000"
    line = f"""exec 3>{witness.path}; (setsid sh -c "{stubborn}" &); sleep 1000"""
    run = request("terminal/create", command="sh", args=["-c", line])
    settings = SETTINGS | {"CALLBOARD_ACP_DIRECTORY": str(tmp_path)}
    with running(tmp_path / "service", **settings) as service:
        features = ["follow"]
        async with (
            service.connect(features=features) as one,
            service.connect(features=features) as other,
        ):
            conversation = await one.conversation("commands")
            steps = script(run, shows_terminal("1"), pause())
            request_id = await one.say(conversation, steps)
            stream = one.answers(request_id)
            ask = (await until(stream, "ask"))[-1].ask
            assert ask.title == f"Run a command in {tmp_path.resolve()}"
            assert ask.detail == shlex.join(["sh", "-c", line])
            await answer(one, request_id, ask, "allow")
            assert (await until(stream, "tool_progress"))[-1].tool_progress.output == "begun\n"
            follow = message("FollowSessionRequest", session_id=conversation)
            events = other.answers(await other.open(follow_session=follow))
            seen = (await anext(events)).event.snapshot.turns[0].events
            assert [each.tool_progress.output for each in seen if each.HasField("tool_progress")]
            assert not witness.nobody_left()
            service.signal(end)
            await service.wait()
            await witness.wait()
    witness.close()
