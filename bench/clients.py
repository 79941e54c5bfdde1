"""`python -m bench.clients`: what it costs to read replies of a model server, by HTTP client.

Reads the relay's paced and short replies with each client that is installed, and does nothing with
them. Needs aiohttp and uvloop; beside them it knows httptools (a bare protocol, the floor), httpx,
niquests, pyreqwest, wreq and curl_cffi. The figures are CPU microseconds of this process a token.
"""

import argparse
import asyncio
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
from callboard_service.backends import tapped

Read: TypeAlias = "Callable[[dict[str, object]], Awaitable[int]]"
"""Asks for a reply and reads it to its end; returns its bytes."""

WORKLOADS: Final = {SPREAD.name: SPREAD, SHORT.name: SHORT}


@asynccontextmanager
async def _aiohttp(url: str, how: str) -> AsyncIterator[Read]:
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector) as session:

        async def by_line(body: dict[str, object]) -> int:
            async with session.post(url, json=body) as response:
                return sum([len(line) async for line in response.content])

        async def by_piece(body: dict[str, object]) -> int:
            async with session.post(url, json=body) as response:
                return sum([len(piece) async for piece in response.content.iter_any()])

        async def pushed(body: dict[str, object]) -> int:
            async with session.post(url, json=body) as response:
                size, connection = 0, response.connection
                ended = asyncio.get_running_loop().create_future()

                def took(piece: bytes) -> None:
                    nonlocal size
                    size += len(piece)

                def over() -> None:
                    if not ended.done():
                        ended.set_result(None)

                tap = tapped.Tap(took, over)
                size += len(response.content.read_nowait(-1))
                with tapped.tapped(response.content, tap, connection):
                    if not response.content.is_eof():
                        await ended
                return size

        yield {"line": by_line, "piece": by_piece, "pushed": pushed}[how]


class _Bare(asyncio.Protocol):
    """One connection, with httptools' parser and nothing else; it serves one request at a time."""

    def __init__(self, parser: Callable[[object], Any]) -> None:
        self._make = parser
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]  # of a TCP connection

    def begin(self) -> "asyncio.Future[int]":
        self._parser, self._size = self._make(self), 0
        self.ended = asyncio.get_running_loop().create_future()
        return self.ended

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_body(self, body: bytes) -> None:
        self._size += len(body)

    def on_message_complete(self) -> None:
        self.ended.set_result(self._size)


@asynccontextmanager
async def _httptools(url: str, _: str) -> AsyncIterator[Read]:
    import json

    parser: Callable[[object], Any] = import_module("httptools").HttpResponseParser
    where, loop = urlsplit(url), asyncio.get_running_loop()
    assert where.hostname is not None
    host, port = where.hostname, where.port or 80
    idle: list[_Bare] = []

    async def read(body: dict[str, object]) -> int:
        data = json.dumps(body).encode()
        head = f"POST {where.path} HTTP/1.1\r\nHost: {where.netloc}\r\nContent-Length: {len(data)}"
        if idle:
            connection = idle.pop()
        else:
            connection = _Bare(parser)
            await loop.create_connection(lambda: connection, host, port)
        ended = connection.begin()
        assert connection.transport is not None
        connection.transport.write(head.encode() + b"\r\n\r\n" + data)
        size = await ended
        idle.append(connection)
        return size

    yield read
    for connection in idle:
        assert connection.transport is not None
        connection.transport.close()


@asynccontextmanager
async def _httpx(url: str, _: str) -> AsyncIterator[Read]:
    httpx: Any = import_module("httpx")
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
    async with httpx.AsyncClient(limits=limits, timeout=None) as client:

        async def read(body: dict[str, object]) -> int:
            async with client.stream("POST", url, json=body) as response:
                return sum([len(piece) async for piece in response.aiter_raw()])

        yield read


@asynccontextmanager
async def _niquests(url: str, _: str) -> AsyncIterator[Read]:
    niquests: Any = import_module("niquests")
    async with niquests.AsyncSession(pool_connections=1, pool_maxsize=300) as session:

        async def read(body: dict[str, object]) -> int:
            response = await session.post(url, json=body, stream=True)
            return sum([len(piece) async for piece in await response.iter_raw(-1)])

        yield read


@asynccontextmanager
async def _pyreqwest(url: str, _: str) -> AsyncIterator[Read]:
    builder: Any = import_module("pyreqwest.client").ClientBuilder
    async with builder().build() as client:

        async def read(body: dict[str, object]) -> int:
            size = 0
            request = client.post(url).body_json(body).build_streamed()
            async with request as response:
                while (piece := await response.body_reader.read_chunk()) is not None:
                    size += len(piece)
            return size

        yield read


@asynccontextmanager
async def _wreq(url: str, _: str) -> AsyncIterator[Read]:
    client: Any = import_module("wreq").Client()

    async def read(body: dict[str, object]) -> int:
        response = await client.post(url, json=body)
        async with response.stream() as streamer:
            return sum([len(piece) async for piece in streamer])

    yield read


@asynccontextmanager
async def _curl(url: str, _: str) -> AsyncIterator[Read]:
    curl: Any = import_module("curl_cffi")
    async with curl.AsyncSession(max_clients=300) as session:

        async def read(body: dict[str, object]) -> int:
            async with session.stream("POST", url, json=body) as response:
                return sum([len(piece) async for piece in response.aiter_content()])

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


async def _run(read: Read, workload: Workload, seed: int) -> float:
    """Return the CPU microseconds a token."""
    draw = random.Random(seed)
    begins = sorted(draw.uniform(0, workload.over) for _ in range(workload.replies))
    body: dict[str, object] = {
        "model": "m",
        "stream": True,
        "messages": [{"role": "user", "content": workload.text}],
    }

    async def one(begin: float) -> int:
        await asyncio.sleep(begin)
        return await read(body)

    before = time.process_time()
    sizes = await asyncio.gather(*(one(begin) for begin in begins))
    used = time.process_time() - before
    assert len(set(sizes)) == 1, sizes
    return used / (workload.replies * workload.tokens) * 1e6


async def _measure(url: str, rounds: int) -> dict[tuple[str, str], list[float]]:
    figures: dict[tuple[str, str], list[float]] = {}
    for number in range(rounds + 1):
        for name, (package, client, how) in CLIENTS.items():
            try:
                version(package)
            except PackageNotFoundError:
                continue
            async with client(url, how) as read:
                for workload in WORKLOADS.values():
                    figure = await _run(read, workload, number)
                    if number:  # the first round is to become warm
                        figures.setdefault((name, workload.name), []).append(figure)
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
    names = [name for name in CLIENTS if (name, SPREAD.name) in figures]
    lines = [f"| client | {' | '.join(WORKLOADS)} |", f"|---|{'---|' * len(WORKLOADS)}"]
    for name in names:
        cells = []
        for workload in WORKLOADS:
            found = figures[name, workload]
            cells.append(f"{statistics.median(found):.1f} ({min(found):.1f}-{max(found):.1f})")
        package = CLIENTS[name][0]
        lines.append(f"| {name} {version(package)} | {' | '.join(cells)} |")
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
