import pytest

from tests.extend.wheel import Installed


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """The wheel, built and installed outside the source tree."""
    return Installed.make(tmp_path_factory.mktemp("installed"))
