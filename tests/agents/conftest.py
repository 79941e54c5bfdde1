"""Each real agent behind a service, and a scripted model behind each agent.

`make test-programs` runs the quick scenarios with two agents, `make agents` all of them with four.
"""

import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from tempfile import mkdtemp

import psutil
import pytest

from tests.agents.talking import Talk
from tests.e2e.contract_client import Contract
from tests.e2e.service_process import ServiceProcess, running
from tests.support.peers.acp_agents import EVERY, OPENCODE, QWEN, RealAgent
from tests.support.peers.scripted_llm import ScriptedLLM, scripted_llm

ALL = os.environ.get("AGENTS") == "all"
AGENTS = EVERY if ALL else (OPENCODE, QWEN)


@pytest.fixture(scope="package", params=[pytest.param(agent, id=agent.name) for agent in AGENTS])
def agent(request: pytest.FixtureRequest) -> RealAgent:
    agent: RealAgent = request.param
    agent.need()
    return agent


@pytest.fixture(scope="package")
def llm() -> Iterator[ScriptedLLM]:
    with scripted_llm() as llm:
        yield llm


@pytest.fixture(scope="package")
def folder(agent: RealAgent, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp(agent.name)


@pytest.fixture(scope="package")
def service(agent: RealAgent, llm: ScriptedLLM, folder: Path) -> Iterator[ServiceProcess]:
    """A service that leaves no process, whatever was done with it."""
    settings = agent.settings(folder, llm.url)
    with running(folder / "service", **settings) as service:
        yield service
        tree = service.children()
        service.signal()
        assert service.process.wait(30) == 0, service.log.read_text()
        _, left = psutil.wait_procs(tree, 1)
        assert not left


@pytest.fixture
async def client(service: ServiceProcess) -> AsyncIterator[Contract]:
    async with service.connect(features=["follow"]) as client:
        yield client


@pytest.fixture(scope="package")
def shared(agent: RealAgent) -> dict[str, str]:
    """The conversation that scenarios share, until one of them fails."""
    return {}


@pytest.fixture
async def talk(
    agent: RealAgent, service: ServiceProcess, client: Contract, llm: ScriptedLLM, folder: Path
) -> Talk:
    """All that a conversation needs, without one."""
    made = Path(mkdtemp(dir=folder / "project"))  # agents ask twice about files elsewhere
    return Talk(agent, service, client, llm, made)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what came of the scenarios as a Markdown table."""
    table: dict[str, dict[str, str]] = {}
    for reports in terminalreporter.stats.values():
        for report in reports:
            for title, (name, outcome) in getattr(report, "user_properties", ()):
                table.setdefault(title, {})[name] = outcome
    names = [agent.name for agent in EVERY if any(agent.name in row for row in table.values())]
    if ALL and table:
        terminalreporter.section("what came of the scenarios")
        titles = [f"{agent.name} {agent.version}" for agent in EVERY if agent.name in names]
        terminalreporter.write_line(f"| | {' | '.join(titles)} |")
        terminalreporter.write_line(f"|---{'|---' * len(names)}|")
        for title, row in table.items():
            cells = " | ".join(row.get(name, "not run") for name in names)
            terminalreporter.write_line(f"| {title} | {cells} |")
