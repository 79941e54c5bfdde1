"""`python -m bench.clients`: what it costs to read replies of a model server, by HTTP client.

Reads the relay's paced and short replies with each client that is installed, and looks only at the
time that each token bears. Needs aiohttp and uvloop; beside them it knows httptools (a bare
protocol, the floor), httpx, niquests, pyreqwest, wreq and curl_cffi. The figures are CPU
microseconds of this process a token, and the milliseconds from the server's write to here.
"""

import argparse
import asyncio
import json
import os
import random
import statistics
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final, TypeAlias
from urllib.parse import urlsplit

import aiohttp
import uvloop

from bench.process import ServerProcess
from bench.relay.contestants import ScriptedServer
from bench.relay.workloads import SHORT, SPREAD, Workload
from bench.servers.model_server import WRAP
from callboard_service.backends import tapped

Took: TypeAlias = "Callable[[bytes], None]"
Read: TypeAlias = "Callable[[dict[str, object], Took], Awaitable[None]]"
"""Asks for a reply and reads it to its end; calls the function with each piece."""

_BEFORE_CLOCK: Final = b'"content": " '

WORKLOADS: Final = {SPREAD.name: SPREAD, SHORT.name: SHORT}


@asynccontextmanager
async def _aiohttp(url: str, how: str) -> AsyncIterator[Read]:
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector) as session:

        async def by_line(body: dict[str, object], took: Took) -> None:
            async with session.post(url, json=body) as response:
                async for line in response.content:
                    took(line)

        async def by_piece(body: dict[str, object], took: Took) -> None:
            async with session.post(url, json=body) as response:
                async for piece in response.content.iter_any():
                    took(piece)

        async def pushed(body: dict[str, object], took: Took) -> None:
            async with session.post(url, json=body) as response:
                ended = asyncio.get_running_loop().create_future()

                def over() -> None:
                    if not ended.done():
                        ended.set_result(None)

                tap = tapped.Tap(took, over)
                took(response.content.read_nowait(-1))
                with tapped.tapped(response.content, tap, response.connection):
                    if not response.content.is_eof():
                        await ended

        yield {"line": by_line, "piece": by_piece, "pushed": pushed}[how]


class _Bare(asyncio.Protocol):
    """One connection, with httptools' parser and nothing else; it serves one request at a time."""

    def __init__(self, parser: Callable[[object], Any]) -> None:
        self._make = parser
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]  # of a TCP connection

    def begin(self, took: Took) -> "asyncio.Future[None]":
        self.on_body = took
        self._parser = self._make(self)
        self.ended = asyncio.get_running_loop().create_future()
        return self.ended

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_message_complete(self) -> None:
        self.ended.set_result(None)


@asynccontextmanager
async def _httptools(url: str, _: str) -> AsyncIterator[Read]:
    parser: Callable[[object], Any] = import_module("httptools").HttpResponseParser
    where, loop = urlsplit(url), asyncio.get_running_loop()
    assert where.hostname is not None
    host, port = where.hostname, where.port or 80
    idle: list[_Bare] = []

    async def read(body: dict[str, object], took: Took) -> None:
        data = json.dumps(body).encode()
        head = f"POST {where.path} HTTP/1.1\r\nHost: {where.netloc}\r\nContent-Length: {len(data)}"
        if idle:
            connection = idle.pop()
        else:
            connection = _Bare(parser)
            await loop.create_connection(lambda: connection, host, port)
        ended = connection.begin(took)
        assert connection.transport is not None
        connection.transport.write(head.encode() + b"\r\n\r\n" + data)
        await ended
        idle.append(connection)

    yield read
    for connection in idle:
        assert connection.transport is not None
        connection.transport.close()


@asynccontextmanager
async def _httpx(url: str, _: str) -> AsyncIterator[Read]:
    httpx: Any = import_module("httpx")
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
    async with httpx.AsyncClient(limits=limits, timeout=None) as client:

        async def read(body: dict[str, object], took: Took) -> None:
            async with client.stream("POST", url, json=body) as response:
                async for piece in response.aiter_raw():
                    took(piece)

        yield read


@asynccontextmanager
async def _niquests(url: str, _: str) -> AsyncIterator[Read]:
    niquests: Any = import_module("niquests")
    async with niquests.AsyncSession(pool_connections=1, pool_maxsize=300) as session:

        async def read(body: dict[str, object], took: Took) -> None:
            response = await session.post(url, json=body, stream=True)
            async for piece in await response.iter_raw(-1):
                took(piece)

        yield read


@asynccontextmanager
async def _pyreqwest(url: str, _: str) -> AsyncIterator[Read]:
    builder: Any = import_module("pyreqwest.client").ClientBuilder
    async with builder().build() as client:

        async def read(body: dict[str, object], took: Took) -> None:
            # By default it waits for 64 KiB before it hands over anything.
            asked = client.post(url).body_json(body).streamed_read_buffer_limit(0)
            async with asked.build_streamed() as response:
                while (piece := await response.body_reader.read_chunk()) is not None:
                    took(bytes(piece))

        yield read


@asynccontextmanager
async def _wreq(url: str, _: str) -> AsyncIterator[Read]:
    client: Any = import_module("wreq").Client()

    async def read(body: dict[str, object], took: Took) -> None:
        response = await client.post(url, json=body)
        async with response.stream() as streamer:
            async for piece in streamer:
                took(bytes(piece))

    yield read


@asynccontextmanager
async def _curl(url: str, _: str) -> AsyncIterator[Read]:
    curl: Any = import_module("curl_cffi")
    async with curl.AsyncSession(max_clients=300) as session:

        async def read(body: dict[str, object], took: Took) -> None:
            async with session.stream("POST", url, json=body) as response:
                async for piece in response.aiter_content():
                    took(piece)

        yield read


CLIENTS: Final[dict[str, tuple[str, Callable[..., AbstractAsyncContextManager[Read]], str]]] = {
    "aiohttp, as Callboard reads": ("aiohttp", _aiohttp, "pushed"),
    "aiohttp, by line": ("aiohttp", _aiohttp, "line"),
    "aiohttp, by piece": ("aiohttp", _aiohttp, "piece"),
    "httptools, nothing else": ("httptools", _httptools, ""),
    "httpx": ("httpx", _httpx, ""),
    "niquests": ("niquests", _niquests, ""),
    "pyreqwest": ("pyreqwest", _pyreqwest, ""),
    "wreq": ("wreq", _wreq, ""),
    "curl_cffi": ("curl_cffi", _curl, ""),
}


async def _run(read: Read, workload: Workload, seed: int) -> tuple[float, list[float]]:
    """Return the CPU microseconds a token, and the milliseconds that each was under way."""
    draw = random.Random(seed)
    begins = sorted(draw.uniform(0, workload.over) for _ in range(workload.replies))
    body: dict[str, object] = {
        "model": "m",
        "stream": True,
        "messages": [{"role": "user", "content": workload.text}],
    }
    waits: list[float] = []

    def took(piece: bytes) -> None:
        place = piece.find(_BEFORE_CLOCK)
        if place >= 0:
            place += len(_BEFORE_CLOCK)
            written = int(piece[place : place + 7])
            waits.append((time.monotonic_ns() // 1000 - written) % WRAP / 1000)

    async def one(begin: float) -> None:
        await asyncio.sleep(begin)
        await read(body, took)

    before = time.process_time()
    await asyncio.gather(*(one(begin) for begin in begins))
    used = time.process_time() - before
    return used / (workload.replies * workload.tokens) * 1e6, waits


async def _measure(url: str, rounds: int) -> dict[tuple[str, str], list[tuple[float, ...]]]:
    """Return, by client and workload, CPU microseconds and p50 and p99 of the way, each round."""
    figures: dict[tuple[str, str], list[tuple[float, ...]]] = {}
    for number in range(rounds + 1):
        for name, (package, client, how) in CLIENTS.items():
            try:
                version(package)
            except PackageNotFoundError:
                continue
            async with client(url, how) as read:
                for workload in WORKLOADS.values():
                    used, waits = await _run(read, workload, number)
                    waits.sort()
                    middle, late = waits[len(waits) // 2], waits[len(waits) * 99 // 100]
                    if number:  # the first round is to become warm
                        figures.setdefault((name, workload.name), []).append((used, middle, late))
    return figures


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(prog="python -m bench.clients", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    rounds: int = parser.parse_args().rounds
    cores = sorted(os.sched_getaffinity(0))
    with ServerProcess(ScriptedServer("model_server"), Path(sys.executable), cores[0]) as server:
        os.sched_setaffinity(0, [cores[-1]])
        url = server.url.removesuffix("/ws") + "/v1/chat/completions"
        figures = uvloop.run(_measure(url, rounds))
    head = "".join(f" {name}: us | p50, ms | p99, ms |" for name in WORKLOADS)
    lines = [f"| client |{head}", f"|---|{'---|' * 3 * len(WORKLOADS)}"]
    for name, (package, _, _) in CLIENTS.items():
        if (name, SPREAD.name) not in figures:
            continue
        cells = [
            f" {statistics.median(found):.2f} ({min(found):.2f}-{max(found):.2f}) |"
            for workload in WORKLOADS
            for found in zip(*figures[name, workload], strict=True)
        ]
        lines.append(f"| {name} {version(package)} |{''.join(cells)}")
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
