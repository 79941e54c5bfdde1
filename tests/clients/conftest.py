"""One browser for each process that runs tests."""

from collections.abc import Iterator

import pytest

from tests.clients.browser import Browser, chromium


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """Chromium, or a skip where there is none."""
    with chromium(tmp_path_factory.mktemp("chromium")) as browser:
        yield browser
