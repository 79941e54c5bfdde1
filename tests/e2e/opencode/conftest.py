"""One OpenCode server for all tests, and a service attached to it through a cutting proxy."""

import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.e2e.contract_client import Contract
from tests.e2e.service_process import ServiceProcess, running
from tests.support.peers.cutting_proxy import CuttingProxy
from tests.support.peers.opencode_server import OpenCodeServer, need_opencode, running_opencode
from tests.support.peers.scripted_llm import (
    ScriptedLLM,
    scripted_llm,
)

SHOUT, SLOW = "shout", "slow"
"""Commands; the second one waits for somebody to write to the project's `slow.pipe`."""

CRITIC, SMALL, PATCHING = "critic", "scripted-2", "gpt-5"
"""An agent, a model without efforts, and one that OpenCode gives the tool `apply_patch`."""


@pytest.fixture(scope="package")
def llm() -> Iterator[ScriptedLLM]:
    need_opencode()
    with scripted_llm() as llm:
        yield llm


def _configure(folder: Path) -> None:
    """Add commands, an agent and a second model to what the server offers by itself."""
    config = folder / "config" / "opencode"
    for kind, name, text in (
        ("command", SHOUT, "---\ndescription: Shouts\n---\nLOUD: $ARGUMENTS"),
        ("command", SLOW, "Read !`cat slow.pipe` and $ARGUMENTS"),
        ("agent", CRITIC, "---\ndescription: Criticizes\nmode: primary\n---\nCriticize."),
    ):
        (config / kind).mkdir(parents=True, exist_ok=True)
        (config / kind / f"{name}.md").write_text(text)
    small = {"name": "Small", "tool_call": True, "limit": {"context": 64_000, "output": 1000}}
    patching = {**small, "name": "Patching"}
    provider = {"scripted": {"models": {SMALL: small, PATCHING: patching}}}
    (config / "opencode.json").write_text(json.dumps({"provider": provider}))


@pytest.fixture(scope="package")
def server(llm: ScriptedLLM, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenCodeServer]:
    folder = tmp_path_factory.mktemp("opencode")
    _configure(folder)
    with running_opencode(folder, llm.url) as server:
        yield server


@pytest.fixture(scope="package")
def proxy(server: OpenCodeServer) -> Iterator[CuttingProxy]:
    with CuttingProxy(server.url) as proxy:
        yield proxy


@pytest.fixture(scope="package")
def service(
    server: OpenCodeServer, proxy: CuttingProxy, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ServiceProcess]:
    settings = {"CALLBOARD_OPENCODE_URL": proxy.url, "CALLBOARD_OPENCODE_PASSWORD": server.password}
    with running(tmp_path_factory.mktemp("service"), **settings) as service:
        yield service


@pytest.fixture
async def client(service: ServiceProcess, proxy: CuttingProxy) -> AsyncIterator[Contract]:
    proxy.mend()
    async with service.connect() as client:
        yield client
