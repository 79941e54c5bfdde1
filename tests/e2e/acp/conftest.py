"""A service with the real OpenCode agent behind ACP, and a scripted model behind that."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.e2e.contract_client import Contract
from tests.e2e.service_process import ServiceProcess, running
from tests.support.peers.opencode_agent import acp_settings
from tests.support.peers.opencode_server import need_opencode
from tests.support.peers.scripted_llm import ScriptedLLM, scripted_llm


@pytest.fixture(scope="package")
def llm() -> Iterator[ScriptedLLM]:
    need_opencode()
    with scripted_llm() as llm:
        yield llm


@pytest.fixture(scope="package")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("acp")


@pytest.fixture(scope="package")
def service(llm: ScriptedLLM, folder: Path) -> Iterator[ServiceProcess]:
    with running(folder / "service", **acp_settings(folder, llm.url)) as service:
        yield service


@pytest.fixture
async def client(service: ServiceProcess) -> AsyncIterator[Contract]:
    """A client that understands turns: it gets every event."""
    async with service.connect(features=["follow"]) as client:
        yield client
