"""A service with the real OpenCode agent behind ACP, and a scripted model behind that."""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack
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
def start(llm: ScriptedLLM, folder: Path) -> Iterator[Callable[[], ServiceProcess]]:
    """Return the service that runs; it is started again if a test has ended it."""
    settings = acp_settings(folder, llm.url)
    services: list[ServiceProcess] = []
    with ExitStack() as stack:

        def started() -> ServiceProcess:
            if not services or services[-1].process.poll() is not None:
                services.append(stack.enter_context(running(folder / "service", **settings)))
            return services[-1]

        yield started


@pytest.fixture
def service(start: Callable[[], ServiceProcess]) -> ServiceProcess:
    return start()


@pytest.fixture
async def client(service: ServiceProcess) -> AsyncIterator[Contract]:
    """A client that understands turns: it gets every event."""
    async with service.connect(features=["follow"]) as client:
        yield client
