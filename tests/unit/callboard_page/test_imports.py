"""What the page loads: in a browser, each module that is imported costs time at the start."""

import subprocess
import sys

import pytest

LOAD = """
import importlib, pkgutil, sys
import callboard_page
for module in pkgutil.walk_packages(callboard_page.__path__, "callboard_page."):
    name = module.name
    if not name.startswith("callboard_page.browser") and name != "callboard_page.main":
        importlib.import_module(name)
print("\\n".join(sys.modules))
"""

NOT_IN_A_BROWSER = (
    "aiohttp", "js", "multiprocessing", "psutil", "pyodide", "sqlite3", "structlog",
    "callboard_service", "transport.client.socket", "transport.discovery", "transport.server",
)  # fmt: skip

NOT_AT_THE_START = ("pygments.lexers",)


@pytest.fixture(scope="module")
def loaded() -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", LOAD], check=True, capture_output=True, text=True, timeout=50
    )
    return set(done.stdout.split())


@pytest.mark.parametrize("name", [*NOT_IN_A_BROWSER, *NOT_AT_THE_START])
def test_the_page_does_not_load(loaded: set[str], name: str) -> None:
    assert name not in loaded


def test_the_page_loads_its_views_and_the_client(loaded: set[str]) -> None:
    assert {"callboard_page.view.shell", "transport.client.client", "markdown_it"} <= loaded
