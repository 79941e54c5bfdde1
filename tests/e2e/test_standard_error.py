"""Whatever happens to standard error, the service keeps serving and stops when it is told to."""

import asyncio
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.wrappers_pb2 import StringValue

from tests.e2e.contract_client import message, text_of
from tests.e2e.service_process import ServiceProcess, logging_to, running

ODD = ("--backend", "echo", "--drain-ms", "100", "--actors", "odd_actors")
FOLDER = str(Path(__file__).parent)

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="pipes of POSIX")


def packed(value: str) -> Any:
    into = message("google.protobuf.Any")
    into.Pack(StringValue(value=value))
    return into


@pytest.fixture
def full_pipe() -> Iterator[int]:
    """The write end of a full pipe that nobody reads."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    for size in (4096, 1):
        try:
            while True:
                os.write(writer, b"x" * size)
        except BlockingIOError:
            pass
    os.set_blocking(writer, True)
    yield writer
    os.close(reader)
    os.close(writer)


async def refuse(service: ServiceProcess, times: int) -> None:
    """Make the service refuse this many connections because of their origin."""
    request = (
        f"GET /ws HTTP/1.1\r\nHost: 127.0.0.1:{service.port}\r\nOrigin: http://evil.example\r\n"
        "Connection: close\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    ).encode()
    room = asyncio.Semaphore(50)

    async def knock() -> None:
        async with room:
            reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
            writer.write(request)
            assert b" 403 " in await reader.readline()
            writer.close()

    await asyncio.gather(*(knock() for _ in range(times)))


async def check_served_and_stopped(service: ServiceProcess) -> None:
    """Check that a crash is an error, a reply is complete, and SIGTERM ends the process cleanly."""
    async with service.connect() as client:
        crashed = await client.call(call=packed("exit"))
        assert crashed.error.code == "INTERNAL"
        assert text_of(await client.reply(await client.conversation(), "hello")) == "hello"
    service.signal()
    assert await service.wait() == 0
    assert not Path(service.ready["runtime_file"]).exists()


async def test_a_pipe_that_nobody_reads_costs_log_lines_alone(
    tmp_path: Path, full_pipe: int
) -> None:
    with logging_to(full_pipe, tmp_path, *ODD, PYTHONPATH=FOLDER) as service:
        await refuse(service, 2000)
        async with service.connect() as client:
            for _ in range(200):
                await client.call(call=packed("print"))
        await check_served_and_stopped(service)


async def test_a_pipe_without_a_reader_costs_log_lines_alone(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    with logging_to(writer, tmp_path, *ODD, PYTHONPATH=FOLDER) as service:
        os.close(reader)
        os.close(writer)
        await check_served_and_stopped(service)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
async def test_a_full_disk_costs_log_lines_alone(tmp_path: Path) -> None:
    full = os.open("/dev/full", os.O_WRONLY)
    with logging_to(full, tmp_path, *ODD, PYTHONPATH=FOLDER) as service:
        os.close(full)
        await check_served_and_stopped(service)


async def test_a_standard_output_that_nobody_reads_stops_no_handler_that_prints(
    tmp_path: Path,
) -> None:
    with running(tmp_path, *ODD, PYTHONPATH=FOLDER) as service:
        async with service.connect() as client:
            for _ in range(200):
                await client.call(call=packed("print"))
        await check_served_and_stopped(service)
        lines = [json.loads(line) for line in service.log.read_text().splitlines()]
    printed = [line for line in lines if line["event"] == "printed"]
    assert {line["text"] for line in printed} == {"x" * 1000}


async def test_two_thousand_refused_connections_are_a_few_lines(tmp_path: Path) -> None:
    with running(tmp_path, *ODD, PYTHONPATH=FOLDER) as service:
        await refuse(service, 2000)
        service.signal()
        assert await service.wait() == 0
        lines = [json.loads(line) for line in service.log.read_text().splitlines()]
    refused = [line for line in lines if line["event"] == "refused"]
    assert len(refused) < 20
    assert sum(line.get("repeats", 1) for line in refused) == 2000
    assert {line["reason"] for line in refused} == {"this page may not connect"}
