"""One service for all attacks, which logs at debug level and has a token to search for."""

from collections.abc import Iterator

import pytest

from tests.e2e.service_process import ServiceProcess, running

CANARY = "canary-3f9c1d7a5b2e4086-token"


@pytest.fixture(scope="session")
def canary() -> str:
    """The token of `service`."""
    return CANARY


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    """A service with the backend `echo`, which no attack may bring down."""
    settings = {
        "CALLBOARD_TOKEN": CANARY,
        "CALLBOARD_LOG_LEVEL": "debug",
        "CALLBOARD_HANDSHAKE_TIMEOUT_MS": "3000",
    }
    folder = tmp_path_factory.mktemp("attacked")
    flags = ("--backend", "echo", "--drain-ms", "100")  # some attacks leave replies running
    with running(folder, *flags, **settings) as service:
        yield service
        assert service.process.poll() is None, service.log.read_text()[-4000:]
