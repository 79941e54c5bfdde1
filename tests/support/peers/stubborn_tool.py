"""A tool of a real agent, in a session of its own, that ends on no signal but SIGKILL."""

import signal
from pathlib import Path

from tests.e2e.service_process import ServiceProcess
from tests.support.peers.scripted_llm import call, script
from tests.support.peers.talk import answer, until
from tests.support.witness import Witness


async def no_tool_outlives(service: ServiceProcess, folder: Path, end: signal.Signals) -> None:
    """Let the agent run such a tool, end the service by this signal, and wait for the tool's end.

    folder: for the pipe that the tool holds open.
    """
    witness = Witness(folder)
    stubborn = "trap '' TERM HUP INT; echo; exec >&- 2>&-; sleep 1000"
    command = f"""exec 3>{witness.path}; (setsid sh -c "{stubborn}" &); sleep 1000"""
    text = script([call("bash", command=command, description="d")])
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
