"""Measure the memory of agents: conversations with a process each, and in one process.

    python -m bench.agent_memory [AGENT] [CONVERSATIONS]

Each conversation has had one reply of a scripted model. PSS: memory that processes share is counted
once. The service itself is not counted; the guardians are.
"""

import asyncio
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.e2e.service_process import ServiceProcess, running
from tests.support.peers.acp_agents import EVERY, RealAgent
from tests.support.peers.scripted_llm import say, script, scripted_llm


def pss(service: ServiceProcess) -> float:
    """Return the PSS of all processes that the service has started, in MB."""
    return sum(one.memory_full_info().pss for one in service.children()) / 1e6


async def measure(agent: RealAgent, processes: str, conversations: int) -> tuple[float, int]:
    """Return the PSS in MB, and the number of processes, with so many conversations."""
    with TemporaryDirectory() as name, scripted_llm() as llm:
        folder = Path(name)
        settings = agent.settings(folder / "agent", llm.url) | {
            "CALLBOARD_ACP_PROCESSES": processes,
            "CALLBOARD_ACP_MAX_PROCESSES": str(conversations),
        }
        with running(folder / "service", **settings) as service:
            async with service.connect(features=["follow"]) as client:
                for _ in range(conversations):
                    conversation = await client.conversation("memory")
                    await client.reply(conversation, script([say("hello")]))
                return pss(service), len(service.children())


def main() -> None:
    """Print a line for each setting."""
    name = sys.argv[1] if len(sys.argv) > 1 else "opencode"
    conversations = int(sys.argv[2]) if len(sys.argv) > 2 else 8
    (agent,) = (one for one in EVERY if one.name == name)
    for processes in ("conversation", "shared"):
        used, count = asyncio.run(measure(agent, processes, conversations))
        print(f"{agent.name} {agent.version}, {conversations} conversations, {processes}: "
              f"{used:.0f} MB in {count} processes")  # fmt: skip


if __name__ == "__main__":
    main()
