"""One service with the backend `echo` for all tests that leave it as it was."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.e2e.contract_client import Contract
from tests.e2e.service_process import ServiceProcess, running


@pytest.fixture(scope="session")
def service_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("service")


@pytest.fixture
async def echo(tmp_path: Path) -> AsyncIterator[ServiceProcess]:
    async with running(tmp_path / "echo", "--backend", "echo") as service:
        yield service


@pytest.fixture
async def client(echo: ServiceProcess) -> AsyncIterator[Contract]:
    async with echo.connect() as client:
        yield client
