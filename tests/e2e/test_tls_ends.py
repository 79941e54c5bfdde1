"""Connections over TLS that end abnormally are closed, and logged once with their close code."""

import asyncio
import json
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.service_process import ServiceProcess, running
from tests.security.raw import Raw, frame, hello, upgrade
from tests.support.peers.certificates import Certificate, make_certificate

MEGABYTE = 1024 * 1024


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return make_certificate(tmp_path_factory.mktemp("certificate"))


@pytest.fixture
def loop() -> str:
    """The event loop: asyncio, where a transport must not be closed twice."""
    return "asyncio"


@pytest.fixture
def service(loop: str, tmp_path: Path, certificate: Certificate) -> Iterator[ServiceProcess]:
    flags = ["--backend", "echo", "--loop", loop, "--heartbeat-interval-ms", "500"]
    flags += ["--tls-certificate", str(certificate.chain), "--tls-key", str(certificate.key)]
    with running(tmp_path, *flags, "--resume-window-ms", "1") as service:
        yield service


async def connected(service: ServiceProcess, certificate: Certificate) -> Raw:
    trust = ssl.create_default_context(cafile=str(certificate.chain))
    reader, writer = await asyncio.open_connection("127.0.0.1", service.port, ssl=trust)
    raw = Raw(reader, writer)
    await raw.send(upgrade(f"127.0.0.1:{service.port}"))
    assert (await raw.response())[0] == 101
    await raw.send(frame(hello(service.token)))
    assert (await raw.answer()).WhichOneof("payload") == "welcome"
    return raw


def logged(service: ServiceProcess) -> list[tuple[str, object]]:
    lines = [json.loads(line) for line in service.log.read_text().splitlines()]
    return [(line["event"], line.get("code")) for line in lines if "connection" in line["event"]]


async def until_closed(service: ServiceProcess) -> None:
    while True:
        if logged(service):
            return
        await asyncio.sleep(0.01)


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
async def test_a_peer_that_is_cut_off_behind_a_bad_frame(
    service: ServiceProcess, certificate: Certificate
) -> None:
    raw = await connected(service, certificate)
    await raw.send(frame(bytes(2 * MEGABYTE)))
    assert await raw.close_code() == 1009
    await raw.end()
    await until_closed(service)
    assert logged(service) == [("connection closed", 1009)]
    raw.writer.close()


async def test_a_peer_that_says_nothing_any_more(
    service: ServiceProcess, certificate: Certificate
) -> None:
    raw = await connected(service, certificate)
    raw.writer.transport.pause_reading()  # type: ignore[attr-defined]  # asyncio's own
    await until_closed(service)
    assert logged(service) == [("connection closed", 4003)]
    raw.writer.transport.abort()
