"""No process of the real OpenCode agent is left, whatever becomes of the service."""

import signal
import sys
from pathlib import Path

import pytest

from tests.e2e.service_process import running
from tests.support.peers.opencode_agent import acp_settings
from tests.support.peers.scripted_llm import ScriptedLLM
from tests.support.peers.stubborn_tool import no_tool_outlives


@pytest.mark.skipif(sys.platform == "win32", reason="the tool is a shell script")
@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM])
async def test_tools_in_sessions_of_their_own_end_with_the_service(
    llm: ScriptedLLM, tmp_path: Path, end: signal.Signals
) -> None:
    settings = acp_settings(tmp_path / "agent", llm.url) | {"CALLBOARD_DRAIN_MS": "1"}
    with running(tmp_path / "service", **settings) as service:
        await no_tool_outlives(service, tmp_path, end)
