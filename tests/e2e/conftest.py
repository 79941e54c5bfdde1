"""Services for the tests: one shared by the tests that do not change it, and one per test."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.e2e.contract_client import Contract
from tests.e2e.service_process import ServiceProcess, running


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    """A service with the backend `echo`, for many tests."""
    flags = ("--backend", "echo", "--drain-ms", "100")  # some tests leave replies running
    with running(tmp_path_factory.mktemp("shared"), *flags) as service:
        yield service


@pytest.fixture
async def client(shared: ServiceProcess) -> AsyncIterator[Contract]:
    """A client connected to the shared service."""
    async with shared.connect() as client:
        yield client


@pytest.fixture
def echo(tmp_path: Path) -> Iterator[ServiceProcess]:
    """A service with the backend `echo` that the test may end."""
    with running(tmp_path / "echo", "--backend", "echo") as service:
        yield service
