"""What the page loads, where each module costs time at the start; and what it never uses."""

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

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


HTML = (
    "innerHTML", "outerHTML", "insertAdjacentHTML", "createContextualFragment", "DOMParser",
    "document.write", "srcdoc", "setHTML", "parseHTML", "createPolicy", "eval(", "Function(",
    "javascript:",
)  # fmt: skip
"""The ways in which a string could become HTML, or a script."""


def test_no_string_becomes_html() -> None:
    spec = find_spec("callboard_page")
    assert spec is not None
    assert spec.origin is not None
    paths = sorted(Path(spec.origin).parent.rglob("*.py"))
    assert len(paths) > 20
    used = [(path.name, way) for path in paths for way in HTML if way in path.read_text("utf-8")]
    assert used == []
