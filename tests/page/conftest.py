"""Chromium, and a service with the echo backend, once for each process that runs tests."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect, sync_playwright

from tests.clients.browser import need_chromium
from tests.e2e.service_process import ServiceProcess, running
from tests.page.window import PATIENCE, ROOT, Window, flags, window


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """Chromium, or a skip where there is none."""
    program = need_chromium()
    if not (ROOT / "src/callboard_service/page/index.html.gz").exists():
        reason = "the page is not built: `make page`, which needs npm"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    expect.set_options(timeout=PATIENCE)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=flags())
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    """A service with the echo backend."""
    with running(tmp_path_factory.mktemp("service"), "--backend", "echo") as started:
        yield started


@pytest.fixture(scope="module")
def shared(chromium: Browser, service: ServiceProcess) -> Iterator[Window]:
    """A window that the tests of a module share: starting Python takes seconds."""
    with window(chromium) as opened:
        yield opened.open(address(service))


@pytest.fixture
def tab(shared: Window) -> Iterator[Window]:
    """The shared window, with a new conversation."""
    shared.begin()
    yield shared
    shared.check()


def address(service: ServiceProcess, path: str = "", port: int = 0) -> str:
    """Return the page's address with the token."""
    page = f"http://127.0.0.1:{port or service.port}/"
    return f"{page}{path}#token={service.token}"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder for the service of one test."""
    return tmp_path
